"""The breaker: every (state, event), the thresholds, probes, the ramp, and long random lives."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.breaker import (
    IMPOSSIBLE,
    MANUAL,
    TRANSITIONS,
    Breaker,
    Call,
    Event,
    Limits,
    State,
    admit,
    force,
    record,
    release,
    retry_at,
    share,
)

LIMITS = Limits()
GOOD = Call(failed=False, latency_s=0.01, primary_latency_s=0.01)
BAD = Call(failed=True, latency_s=0.0, primary_latency_s=0.01)
PAIRS = tuple(product(State, Event))
PAIR_NAMES = [f"{state} {event}" for state, event in PAIRS]


def after(calls: list[Call], limits: Limits = LIMITS, spacing: float = 0.0) -> Breaker:
    breaker = Breaker()
    for number, call in enumerate(calls):
        breaker = record(breaker, limits, call, number * spacing)
    return breaker


def raised(state: State, event: Event) -> Breaker:
    """Do what raises `event`, in `state`, by the public functions only."""
    breaker = Breaker(state=state, reason="given", since=100.0)
    if event in MANUAL:
        return force(breaker, event, "a person", 200.0)
    match event:
        case Event.TRIP:
            for _ in range(LIMITS.calls_min):
                breaker = record(breaker, LIMITS, BAD, 100.0)
        case Event.COOL:
            breaker, _ = admit(breaker, LIMITS, 200.0)
        case Event.PROBE_FAIL:
            breaker = record(breaker, LIMITS, BAD, 110.0)
        case _:
            for _ in range(LIMITS.half_open_calls):
                breaker = record(breaker, LIMITS, GOOD, 110.0)
    return breaker


def half_open(now: float = 30.0) -> Breaker:
    breaker, admitted = admit(Breaker(state=State.OPEN, reason="given"), LIMITS, now)
    assert admitted
    assert breaker.state is State.HALF_OPEN
    return breaker


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=PAIR_NAMES)
def test_a_pair_leads_somewhere_or_is_named_impossible(state: State, event: Event) -> None:
    assert ((state, event) in TRANSITIONS) is not ((state, event) in IMPOSSIBLE)


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=PAIR_NAMES)
def test_what_raises_an_event_leads_where_the_table_says(state: State, event: Event) -> None:
    # A closed breaker that sees bad calls and an open one that cools are other events of the table.
    if (state, event) in TRANSITIONS:
        assert raised(state, event).state is TRANSITIONS[state, event]
    elif state in (State.OPEN, State.FORCED_OPEN, State.DISABLED):
        assert raised(state, event).state is state


@pytest.mark.parametrize("event", sorted(set(Event) - MANUAL), ids=str)
def test_nobody_forces_what_only_the_secondary_can_cause(event: Event) -> None:
    with pytest.raises(AssertionError):
        force(Breaker(), event, "a person", 0.0)


@pytest.mark.parametrize(
    ("failures", "calls", "state"),
    [
        (19, 19, State.CLOSED),
        (1, 20, State.OPEN),
        (0, 500, State.CLOSED),
        (4, 100, State.CLOSED),
        (5, 100, State.OPEN),
    ],
    ids=["too few calls", "exactly the rate", "no failure", "below the rate", "reaches the rate"],
)
def test_the_failure_rate_trips_it(failures: int, calls: int, state: State) -> None:
    breaker = after([GOOD] * (calls - failures) + [BAD] * failures)
    assert breaker.state is state
    assert (breaker.reason == "") is (state is State.CLOSED)


def test_a_rate_of_nothing_does_not_trip_without_a_failure() -> None:
    limits = replace(LIMITS, failure_rate=0.0)
    assert after([GOOD] * 100, limits).state is State.CLOSED
    assert after([*[GOOD] * 100, BAD], limits).state is State.OPEN


@pytest.mark.parametrize(
    ("latency_s", "primary_latency_s", "count", "state"),
    [
        (0.201, 0.1, 20, State.OPEN),
        (0.2, 0.1, 40, State.CLOSED),
        (0.149, 0.01, 40, State.CLOSED),
        (0.201, 0.1, 19, State.CLOSED),
        (9.0, 0.0, 40, State.CLOSED),
    ],
    ids=["too slow", "exactly the factor", "below the floor", "too few", "primary unknown"],
)
def test_a_slow_secondary_trips_it(
    latency_s: float, primary_latency_s: float, count: int, state: State
) -> None:
    call = Call(failed=False, latency_s=latency_s, primary_latency_s=primary_latency_s)
    assert after([call] * count).state is state


def test_one_long_time_out_is_a_failure_and_not_a_mean() -> None:
    timeout = Call(failed=True, latency_s=60.0, primary_latency_s=0.01)
    assert after([*[GOOD] * 60, timeout]).state is State.CLOSED


@pytest.mark.parametrize(
    ("spacing", "state"),
    [(1.4, State.OPEN), (1.8, State.CLOSED)],
    ids=["inside the window", "calls have left the window"],
)
def test_the_window_slides(spacing: float, state: State) -> None:
    assert after([*[GOOD] * 19, BAD], spacing=spacing).state is state


def test_old_failures_leave_the_window_one_bucket_at_a_time() -> None:
    breaker = after([BAD] * 10)
    for second in range(40):
        breaker = record(breaker, LIMITS, GOOD, 28.0 + second)
        assert breaker.state is State.CLOSED
    assert len(breaker.window.past) <= 9


@pytest.mark.parametrize("window_seconds", [3.0, 300.0], ids=["shorter", "longer"])
def test_another_window_length_starts_the_count_anew(window_seconds: float) -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker = record(breaker, LIMITS, BAD, 1000.0)
    limits = replace(LIMITS, window_seconds=window_seconds)
    for _ in range(19):
        breaker = record(breaker, limits, BAD, 1001.0)
    assert breaker.state is State.CLOSED
    assert record(breaker, limits, BAD, 1001.0).state is State.OPEN


@pytest.mark.parametrize(
    ("state", "admitted"),
    [
        (State.CLOSED, True),
        (State.DISABLED, True),
        (State.FORCED_OPEN, False),
        (State.OPEN, False),
    ],
    ids=str,
)
def test_a_state_admits_or_not(state: State, admitted: bool) -> None:
    breaker = Breaker(state=state, since=100.0)
    assert admit(breaker, LIMITS, 129.9) == (breaker, admitted)


def test_open_says_when_it_will_probe() -> None:
    breaker = Breaker(state=State.OPEN, since=100.0)
    assert retry_at(breaker, LIMITS) == 130.0
    assert not admit(breaker, LIMITS, 129.999)[1]
    assert admit(breaker, LIMITS, 130.0)[1]


@pytest.mark.parametrize("state", sorted(set(State) - {State.OPEN}), ids=str)
def test_any_other_state_waits_for_no_time(state: State) -> None:
    assert retry_at(Breaker(state=state), LIMITS) is None


def test_half_open_leases_only_so_many_probes() -> None:
    breaker = half_open()
    answers = []
    for _ in range(10):
        breaker, admitted = admit(breaker, LIMITS, 31.0)
        answers.append(admitted)
    assert answers == [True] * 4 + [False] * 6


def test_a_released_probe_may_be_leased_again() -> None:
    breaker = half_open()
    for _ in range(4):
        breaker, _ = admit(breaker, LIMITS, 31.0)
    assert admit(release(breaker, 32.0), LIMITS, 32.0)[1]


@pytest.mark.parametrize("state", sorted(set(State) - {State.HALF_OPEN}), ids=str)
def test_a_release_elsewhere_changes_nothing(state: State) -> None:
    breaker = Breaker(state=state)
    assert release(breaker, 1.0) == breaker


def test_a_release_without_a_lease_gives_none_away() -> None:
    breaker = half_open()
    for _ in range(3):
        breaker = release(breaker, 31.0)
    assert breaker.leased == 0


def test_one_failing_probe_reopens_at_once() -> None:
    breaker = record(record(half_open(), LIMITS, GOOD, 31.0), LIMITS, BAD, 32.0)
    assert breaker.state is State.OPEN
    assert retry_at(breaker, LIMITS) == 62.0


def test_enough_good_probes_close_it_and_forget_the_window() -> None:
    breaker = half_open()
    for second in range(5):
        assert breaker.state is State.HALF_OPEN
        breaker = record(breaker, LIMITS, GOOD, 31.0 + second)
    assert breaker == Breaker(reason="5 probes passed", since=35.0, ramp_from=35.0)


@pytest.mark.parametrize("failed", [True, False], ids=["failed", "answered"])
def test_a_call_from_before_it_opened_is_no_probe(failed: bool) -> None:
    breaker = half_open(now=30.0)
    late = Call(failed=failed, latency_s=31.0, primary_latency_s=0.01)
    assert record(breaker, LIMITS, late, 30.5) == breaker


def test_a_probe_is_known_although_two_clocks_differ() -> None:
    probe = Call(failed=True, latency_s=60.2, primary_latency_s=0.01)
    assert record(half_open(now=30.0), LIMITS, probe, 90.0).state is State.OPEN


def test_lowering_the_number_of_probes_does_not_jam_it() -> None:
    breaker = half_open()
    for _ in range(2):
        breaker, _ = admit(record(breaker, LIMITS, GOOD, 31.0), LIMITS, 31.0)
    breaker = record(breaker, LIMITS, GOOD, 31.0)
    assert (breaker.leased, breaker.passed) == (3, 3)
    fewer = replace(LIMITS, half_open_calls=2)
    breaker, admitted = admit(breaker, fewer, 32.0)
    assert admitted
    assert record(breaker, fewer, GOOD, 33.0).state is State.CLOSED


@pytest.mark.parametrize("state", [State.OPEN, State.HALF_OPEN], ids=str)
def test_switching_it_off_in_the_settings_closes_it(state: State) -> None:
    breaker, admitted = admit(Breaker(state=state), Limits(enabled=False), 1.0)
    assert admitted
    assert breaker.state is State.CLOSED
    assert breaker.reason == "breaker.enabled is false"


def test_switched_off_it_counts_nothing_but_still_obeys_a_person() -> None:
    off = Limits(enabled=False)
    assert after([BAD] * 100, off) == Breaker()
    assert not admit(Breaker(state=State.FORCED_OPEN), off, 1e9)[1]


def test_a_person_gives_the_reason() -> None:
    breaker = force(Breaker(), Event.FORCE_OPEN, "maintenance", 7.0)
    assert breaker == Breaker(state=State.FORCED_OPEN, reason="maintenance", since=7.0)


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [(0.0, 0.1), (-5.0, 0.1), (15.0, 0.55), (30.0, 1.0), (900.0, 1.0)],
    ids=["at once", "clock went back", "half way", "at the end", "long after"],
)
def test_dual_writing_is_restored_little_by_little(elapsed: float, expected: float) -> None:
    breaker = Breaker(since=100.0, ramp_from=100.0)
    assert share(breaker, LIMITS, 100.0 + elapsed) == pytest.approx(expected)


@pytest.mark.parametrize(
    "limits",
    [Limits(enabled=False), Limits(ramp_seconds=0.0), Limits(ramp_first=1.0)],
    ids=["switched off", "no ramp", "full from the first"],
)
def test_without_a_ramp_everything_is_sent(limits: Limits) -> None:
    assert share(Breaker(ramp_from=100.0), limits, 100.0) == 1.0


def test_a_share_is_never_nothing() -> None:
    assert 0 < share(Breaker(ramp_from=100.0), Limits(ramp_first=0.0), 100.0) <= 0.01


def test_closing_by_hand_does_not_ramp() -> None:
    assert share(force(half_open(), Event.CLOSE, "a person", 31.0), LIMITS, 31.0) == 1.0


STEPS = st.lists(
    st.sampled_from(["admit", "pass", "fail", "cancel", "wait", *sorted(MANUAL)]), max_size=80
)


@settings(max_examples=60, deadline=None, database=None)
@given(steps=STEPS, probes=st.integers(1, 4))
def test_no_life_breaks_the_rules_or_leaks_a_lease(steps: list[str], probes: int) -> None:
    limits = Limits(half_open_calls=probes, calls_min=3, failure_rate=0.5)
    breaker, now, out = Breaker(), 0.0, 0
    for step in steps:
        before, now = breaker, now + 0.25
        match step:
            case "admit":
                breaker, admitted = admit(breaker, limits, now)
                out = (0 if breaker.state is not before.state else out) + admitted
            case "pass" | "fail" if out:
                call = Call(failed=step == "fail", latency_s=0.0, primary_latency_s=0.1)
                breaker, out = record(breaker, limits, call, now), out - 1
            case "cancel" if out:
                breaker, out = release(breaker, now), out - 1
            case "wait":
                now += limits.open_seconds
            case "force_open" | "close" | "disable":
                breaker = force(breaker, Event(step), "a person", now)
        if breaker.state is not before.state:
            assert any(TRANSITIONS.get((before.state, event)) is breaker.state for event in Event)
            out = out if breaker.state is State.HALF_OPEN else 0
        if breaker.state is State.HALF_OPEN:
            assert breaker.leased - breaker.passed == out <= probes
        assert 0 < share(breaker, limits, now) <= 1
    if breaker.state is State.HALF_OPEN and not out:
        assert admit(breaker, limits, now)[1]


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.floats(0, 0.14), st.floats(0.001, 1), st.floats(0, 3)),
        max_size=20,
    ),
    st.integers(0, 3),
)
def test_calls_that_went_well_count_together_as_they_do_one_by_one(
    runs: list[tuple[int, float, float, float]], failures: int
) -> None:
    one_by_one = together = Breaker()
    now = 0.0
    for number, (count, latency_s, primary_latency_s, wait_s) in enumerate(runs):
        for _ in range(count):
            one_by_one = record(one_by_one, LIMITS, Call(False, latency_s, primary_latency_s), now)
        run = Call(False, count * latency_s, count * primary_latency_s, count)
        together = record(together, LIMITS, run, now)
        if number < failures:
            one_by_one, together = (record(b, LIMITS, BAD, now) for b in (one_by_one, together))
        if one_by_one.state is not State.CLOSED:
            return  # among those that went well the rate was, for a moment, too high
        ours, theirs = one_by_one.window.present, together.window.present
        assert ours[:3] == theirs[:3]
        assert ours[3:] == pytest.approx(theirs[3:])
        now += wait_s


def test_calls_that_failed_count_together_too() -> None:
    breaker = record(Breaker(), LIMITS, Call(True, 0.0, 0.0, LIMITS.calls_min), 0.0)
    assert breaker.state is State.OPEN
    assert breaker.reason.startswith(f"{LIMITS.calls_min} of {LIMITS.calls_min} ")
