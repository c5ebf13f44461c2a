"""The circuit breaker that guards the secondary: a value, and functions from value to value.

Law: a state is written in one place, along TRANSITIONS. The clock comes in as `now`, in seconds
of one clock that does not jump; after a restart build `Breaker(state, reason, since=now)`.
Every call that `admit` let through ends in exactly one `record` or `release`.
"""

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

_BUCKETS = 10  # the window slides in tenths
_SHARE_MIN = 0.001


class State(StrEnum):
    """Whether the secondary is written to."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"


class Event(StrEnum):
    """What can happen to a breaker: the first four by itself, the rest by a person."""

    TRIP = "trip"  # too many failures, or too slow
    COOL = "cool"  # open for long enough
    PROBE_FAIL = "probe_fail"
    RECOVER = "recover"  # enough probes passed
    FORCE_OPEN = "force_open"
    CLOSE = "close"
    DISABLE = "disable"


MANUAL: frozenset[Event] = frozenset({Event.FORCE_OPEN, Event.CLOSE, Event.DISABLE})
"""What a person may ask for, in any state."""

TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.CLOSED, Event.TRIP): State.OPEN,
    (State.OPEN, Event.COOL): State.HALF_OPEN,
    (State.HALF_OPEN, Event.PROBE_FAIL): State.OPEN,
    (State.HALF_OPEN, Event.RECOVER): State.CLOSED,
    **{(state, Event.FORCE_OPEN): State.FORCED_OPEN for state in State},
    **{(state, Event.CLOSE): State.CLOSED for state in State},
    **{(state, Event.DISABLE): State.DISABLED for state in State},
}
"""Where every event leads. A pair that is not here is in IMPOSSIBLE."""

IMPOSSIBLE: frozenset[tuple[State, Event]] = frozenset(
    {
        *product((State.OPEN, State.HALF_OPEN, State.FORCED_OPEN, State.DISABLED), (Event.TRIP,)),
        *product((State.CLOSED, State.HALF_OPEN, State.FORCED_OPEN, State.DISABLED), (Event.COOL,)),
        *product(
            (State.CLOSED, State.OPEN, State.FORCED_OPEN, State.DISABLED),
            (Event.PROBE_FAIL, Event.RECOVER),
        ),
    }
)
"""Events that are never raised in that state: only a closed breaker counts, only an open one cools,
only a half-open one probes. A call that ends late, in another state than it began, is not counted.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The `[breaker]` table, same keys and units; may change between any two calls.

    `failure_rate` is a share (0.05 is 5 %); `latency_floor_ms` is the mean below which the
    secondary is never too slow.
    """

    enabled: bool = True
    window_seconds: float = 30.0
    calls_min: int = 20
    failure_rate: float = 0.05
    latency_factor: float = 2.0
    latency_floor_ms: float = 150.0
    open_seconds: float = 30.0
    half_open_calls: int = 5
    ramp_seconds: float = 30.0
    ramp_first: float = 0.1


class Call(Struct, frozen=True, gc=False):
    """One finished call to the secondary, or `count` that went alike: then the latencies are their sums.

    `failed`: time-out, connection error, 5xx or 429. `latency_s` is measured from after `admit`, 0
    when unknown. `primary_latency_s` is what the primary took for the same write, 0 when unknown:
    such a call counts for the failure rate only.
    """

    failed: bool
    latency_s: float
    primary_latency_s: float
    count: int = 1


Tally = tuple[int, int, int, float, float]
"""Counters of one bucket: all calls, those that failed, those that answered with both latencies
known, and of these the seconds of the secondary and of the primary. Plain, because it is made anew
for every call."""

_NOTHING: Tally = (0, 0, 0, 0.0, 0.0)


class Window(NamedTuple):
    """The sliding window: bucket number `slot` being filled, those before it, and their sum."""

    slot: int = 0
    present: Tally = _NOTHING
    past: tuple[Tally, ...] = ()
    past_sum: Tally = _NOTHING


_BLANK = Window()


class Breaker(Struct, frozen=True, kw_only=True, gc=False):
    """A breaker at one moment.

    `since`: when the state was entered. `leased`: probes let through since half-open, less those
    released; `passed`: those of them that succeeded. `ramp_from`: when probes closed it.
    """

    state: State = State.CLOSED
    reason: str = ""
    since: float = 0.0
    window: Window = _BLANK
    leased: int = 0
    passed: int = 0
    ramp_from: float | None = None


def admit(breaker: Breaker, limits: Limits, now: float) -> tuple[Breaker, bool]:
    """Say whether a call may go to the secondary now; in half_open, yes is the lease of a probe."""
    if breaker.state in (State.OPEN, State.HALF_OPEN):
        if not limits.enabled:
            return _enter(breaker, Event.CLOSE, "breaker.enabled is false", now), True
        return _lease(breaker, limits, now)
    return breaker, breaker.state is not State.FORCED_OPEN


def record(breaker: Breaker, limits: Limits, call: Call, now: float) -> Breaker:
    """Count the end of an admitted call; trips, reopens or closes the breaker where that is due."""
    if breaker.state is State.CLOSED and limits.enabled:
        return _count(breaker, limits, call, now)
    if breaker.state is State.HALF_OPEN:
        return _probe(breaker, limits, call, now)
    return breaker


def release(breaker: Breaker, _now: float) -> Breaker:
    """Give back the lease of an admitted call that was cancelled before it told anything."""
    if breaker.state is State.HALF_OPEN and breaker.leased > breaker.passed:
        return replace(breaker, leased=breaker.leased - 1)
    return breaker


def force(breaker: Breaker, event: Event, reason: str, now: float) -> Breaker:
    """Do what a person asked for: `event` is one of MANUAL, `reason` says who and why."""
    assert event in MANUAL, event
    return _enter(breaker, event, reason, now)


def share(breaker: Breaker, limits: Limits, now: float) -> float:
    """Tell the share of writes to send at once, in (0, 1]: below 1 only after probes closed it."""
    if breaker.ramp_from is None or not limits.enabled:
        return 1.0
    elapsed = now - breaker.ramp_from
    if elapsed >= limits.ramp_seconds:
        return 1.0
    risen = max(elapsed, 0.0) / limits.ramp_seconds
    return min(max(limits.ramp_first + (1.0 - limits.ramp_first) * risen, _SHARE_MIN), 1.0)


def retry_at(breaker: Breaker, limits: Limits) -> float | None:
    """Tell when an open breaker lets the first probe through; None when no time will change it."""
    return breaker.since + limits.open_seconds if breaker.state is State.OPEN else None


def _enter(breaker: Breaker, event: Event, reason: str, now: float) -> Breaker:
    """Follow TRANSITIONS: the one place that writes a state. All counters start anew."""
    return Breaker(
        state=TRANSITIONS[breaker.state, event],
        reason=reason,
        since=now,
        ramp_from=now if event is Event.RECOVER else None,
    )


def _lease(breaker: Breaker, limits: Limits, now: float) -> tuple[Breaker, bool]:
    if breaker.state is State.OPEN:
        if now < breaker.since + limits.open_seconds:
            return breaker, False
        breaker = _enter(breaker, Event.COOL, f"open for {limits.open_seconds:g} s", now)
    # The second case: the limit was lowered while no probe was out. Without it nothing would move.
    if breaker.leased < limits.half_open_calls or breaker.leased == breaker.passed:
        return replace(breaker, leased=breaker.leased + 1), True
    return breaker, False


def _probe(breaker: Breaker, limits: Limits, call: Call, now: float) -> Breaker:
    # A call from before the breaker opened began at least open_seconds before half_open; a probe
    # began after. Half way between leaves room for both clocks to differ.
    if now - call.latency_s < breaker.since - limits.open_seconds / 2:
        return breaker
    if call.failed:
        return _enter(breaker, Event.PROBE_FAIL, "a probe failed", now)
    passed = breaker.passed + 1
    if passed >= limits.half_open_calls:
        return _enter(breaker, Event.RECOVER, f"{passed} probes passed", now)
    return replace(breaker, passed=passed, leased=max(breaker.leased, passed))


def _count(breaker: Breaker, limits: Limits, call: Call, now: float) -> Breaker:
    window = _counted(breaker.window, int(now * _BUCKETS // limits.window_seconds), call)
    reason = _sickness(window, limits)
    if reason:
        return _enter(breaker, Event.TRIP, reason, now)
    return Breaker(  # replace() would take three times as long
        state=breaker.state,
        reason=breaker.reason,
        since=breaker.since,
        window=window,
        ramp_from=breaker.ramp_from,
    )


def _counted(window: Window, slot: int, call: Call) -> Window:
    if slot != window.slot:
        window = _advanced(window, slot)
    calls, failures, answered, seconds, primary_seconds = window.present
    if call.failed:
        failures += call.count
    elif call.primary_latency_s > 0:
        answered += call.count
        seconds += call.latency_s
        primary_seconds += call.primary_latency_s
    present = (calls + call.count, failures, answered, seconds, primary_seconds)
    return Window(slot, present, window.past, window.past_sum)


def _advanced(window: Window, slot: int) -> Window:
    """Begin bucket number `slot`. One that went back means another window_seconds: start anew."""
    steps = slot - window.slot
    if steps < 0 or steps >= _BUCKETS:
        return Window(slot)
    past = (*window.past, window.present, *[_NOTHING] * (steps - 1))[1 - _BUCKETS :]
    calls, failures, answered, seconds, primary_seconds = zip(*past, strict=True)
    total = (sum(calls), sum(failures), sum(answered), sum(seconds), sum(primary_seconds))
    return Window(slot, _NOTHING, past, total)


def _sickness(window: Window, limits: Limits) -> str:
    """Say why the breaker trips, or nothing. Failures count by rate only, not by their latency."""
    calls, failures, answered, seconds, primary_seconds = window.present
    past = window.past_sum
    calls += past[0]
    if calls < limits.calls_min:
        return ""
    failures += past[1]
    if failures and failures / calls >= limits.failure_rate:
        return f"{failures} of {calls} calls failed in {limits.window_seconds:g} s"
    answered += past[2]
    if not answered or answered < limits.calls_min:
        return ""
    mean = (seconds + past[3]) / answered
    primary = (primary_seconds + past[4]) / answered
    if mean > limits.latency_factor * primary and mean * 1000 > limits.latency_floor_ms:
        return f"mean latency {mean * 1000:.0f} ms, primary {primary * 1000:.0f} ms"
    return ""
