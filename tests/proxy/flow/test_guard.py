"""The guard: one breaker per category, told of outcomes, telling of changes."""

import pytest

from proxy.flow.guard import Guard
from rules.breaker import Breaker, Limits, State
from rules.message import Cause, Failure, Outcome, Reply
from tests.proxy.samples import Clock

LIMITS = Limits(
    calls_min=2, failure_rate=0.5, open_seconds=10.0, half_open_calls=2, ramp_seconds=10.0
)
BAD: Outcome = Failure(cause=Cause.RESET, sent=True)
GOOD: Outcome = Reply(status=200, head=b"", latency_s=0.01)


def guarded() -> tuple[Guard, Clock, list[tuple[str, State, str]]]:
    clock = Clock(1000.0)
    guard = Guard(LIMITS, clock)
    told: list[tuple[str, State, str]] = []

    def change(category: str, breaker: Breaker) -> None:
        told.append((category, breaker.state, breaker.reason))

    guard.watch(change)
    return guard, clock, told


def calls(guard: Guard, *outcomes: Outcome, category: str = "default") -> None:
    for outcome in outcomes:
        assert guard.admit(category)
        guard.record(category, outcome, 0.01)


def test_it_trips_for_one_category_and_tells_it_once() -> None:
    guard, _, told = guarded()
    calls(guard, BAD, BAD)
    assert not guard.admit("default")
    assert guard.admit("critical")
    assert told == [("default", State.OPEN, "2 of 2 calls failed in 30 s")]
    states = {name: breaker.state for name, breaker in guard.breakers().items()}
    assert states == {"default": State.OPEN, "critical": State.CLOSED}


@pytest.mark.parametrize(
    ("outcome", "failed"),
    [
        *((Failure(cause=cause, sent=False), True) for cause in Cause),
        *((Reply(status=status, head=b""), True) for status in (429, 500, 503, 599)),
        *((Reply(status=status, head=b""), False) for status in (200, 303, 400, 404, 408, 425)),
    ],
)
def test_it_counts_what_says_that_the_secondary_is_sick(outcome: Outcome, failed: bool) -> None:
    guard, _, told = guarded()
    calls(guard, outcome, outcome)
    assert bool(told) is failed


def test_it_says_how_long_to_wait_and_then_lets_probes_through() -> None:
    guard, clock, told = guarded()
    assert guard.wait_s("default") is None
    calls(guard, BAD, BAD)
    assert guard.wait_s("default") == 10.0
    clock.forward(4)
    assert guard.wait_s("default") == 6.0
    clock.forward(100)
    assert guard.wait_s("default") == 0.0
    assert [guard.admit("default") for _ in range(3)] == [True, True, False]
    assert guard.hold("default") == "breaker_half_open"
    assert guard.wait_s("default") is None
    assert [state for _, state, _ in told] == [State.OPEN, State.HALF_OPEN]


def test_a_lease_that_is_given_back_is_free_for_another() -> None:
    guard, clock, _ = guarded()
    calls(guard, BAD, BAD)
    clock.forward(10)
    assert [guard.admit("default") for _ in range(3)] == [True, True, False]
    guard.release("default")
    assert [guard.admit("default") for _ in range(2)] == [True, False]


def test_after_its_probes_it_lets_more_and_more_through() -> None:
    guard, clock, told = guarded()
    assert guard.share("default") == 1.0
    calls(guard, BAD, BAD)
    clock.forward(10)
    calls(guard, GOOD, GOOD)
    shares = []
    for _ in range(3):
        shares.append(guard.share("default"))
        clock.forward(5)
    assert shares == [pytest.approx(0.1), pytest.approx(0.55), 1.0]
    assert [state for _, state, _ in told] == [State.OPEN, State.HALF_OPEN, State.CLOSED]


def test_a_probe_that_fails_opens_it_again() -> None:
    guard, clock, told = guarded()
    calls(guard, BAD, BAD)
    clock.forward(10)
    calls(guard, BAD)
    assert not guard.admit("default")
    assert [state for _, state, _ in told] == [State.OPEN, State.HALF_OPEN, State.OPEN]


def test_what_holds_a_write_back_has_a_word() -> None:
    guard = Guard(Limits(calls_min=1, open_seconds=30.0), lambda: 100.0)
    assert guard.hold("default") == ""
    assert guard.admit("default")

    guard.record("default", Failure(cause=Cause.TIMEOUT, sent=True), 0.0)

    assert guard.hold("default") == "breaker_open"


QUICK: Outcome = Reply(status=200, head=b"", latency_s=0.01)
SLOW: Outcome = Reply(status=200, head=b"", latency_s=0.9)


def calls_in_window(guard: Guard) -> int:
    return guard._breakers["default"].window.present[0]


def test_calls_that_went_well_are_counted_by_the_next_tick() -> None:
    guard, _, told = guarded()
    calls(guard, *[QUICK] * 5)
    assert calls_in_window(guard) == 0
    guard.sweep()
    assert calls_in_window(guard) == 5
    guard.sweep()
    assert (calls_in_window(guard), told) == (5, [])


@pytest.mark.parametrize("outcome", [BAD, Reply(status=503, head=b"", latency_s=0.01)])
def test_what_may_trip_it_is_counted_at_once_and_with_all_that_came_before(
    outcome: Outcome,
) -> None:
    guard, _, _ = guarded()
    calls(guard, QUICK, QUICK, QUICK, outcome)
    assert calls_in_window(guard) == 4


def test_a_slow_call_trips_it_at_once() -> None:
    guard, _, told = guarded()
    calls(guard, QUICK, QUICK, QUICK, SLOW)
    assert [state for _, state, _ in told] == [State.OPEN]


def test_good_calls_before_a_failure_lower_its_rate() -> None:
    guard, _, told = guarded()
    calls(guard, QUICK, QUICK, QUICK, BAD, BAD)
    assert told == []
    calls(guard, BAD)
    assert [state for _, state, _ in told] == [State.OPEN]


def test_who_asks_for_the_breakers_sees_what_went_well() -> None:
    guard, _, _ = guarded()
    calls(guard, QUICK, QUICK)
    assert guard.breakers()["default"].window.present[0] == 2


def test_categories_are_counted_apart() -> None:
    guard, _, _ = guarded()
    calls(guard, QUICK, QUICK)
    calls(guard, QUICK, category="critical")
    guard.sweep()
    windows = {name: each.window.present[0] for name, each in guard.breakers().items()}
    assert windows == {"default": 2, "critical": 1}
