"""Fate: every pair of state and event, the outcome matrix cell by cell, and the waits between tries."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.fate import (
    CLOSED,
    MOVES,
    OWED,
    RECOVERY,
    STUCK,
    TRANSITIONS,
    Event,
    Limits,
    State,
    Step,
    Try,
    after_primary,
    after_secondary,
    backoff,
    move,
)
from rules.message import Cause, Failure, Outcome, Reply

LIMITS = Limits(attempts_max=5, age_max_s=60.0, backoff_first_s=0.2, backoff_max_s=30.0)
BEGUN = {State.RECEIVED}
ANSWERED = {State.UNKNOWN}  # a person, or a probe, may still find out what the primary did
EVERY = set(State)

# Why an event cannot come in any other state than these. Every pair that TRANSITIONS does not name
# is in here, with its reason; a new state or event has to say where it stands.
IMPOSSIBLE: dict[Event, tuple[str, set[State]]] = {
    Event.BEGIN: ("an intent begins once", EVERY - BEGUN),
    Event.ABORT: ("once it is durable it has been sent", EVERY - BEGUN),
    Event.PRIMARY_APPLIED: ("the primary is asked once", EVERY - {State.P_SENT} - ANSWERED),
    Event.PRIMARY_REJECTED: ("the primary is asked once", EVERY - {State.P_SENT} - ANSWERED),
    Event.PRIMARY_NOT_REACHED: (
        "only who has just tried knows that no byte left",
        EVERY - {State.P_SENT},
    ),
    Event.PRIMARY_UNKNOWN: ("what is known does not become unknown", EVERY - {State.P_SENT}),
    Event.OWE: ("only what the primary applied is owed", EVERY - {State.P_DONE}),
    Event.SEND: ("only what is owed and not under way is sent", EVERY - {State.S_PENDING}),
    Event.CONFIRM: ("only what was sent is confirmed", EVERY - {State.S_SENT}),
    Event.RETRY: ("only what was sent is sent again", EVERY - {State.S_SENT}),
    Event.PARK: (
        "only what is owed waits for an identity",
        EVERY - {State.S_PENDING, State.S_SENT},
    ),
    Event.UNPARK: ("only what waits goes on", EVERY - {State.PARKED}),
    Event.BURY: (
        "only what is owed is given up",
        EVERY - {State.S_PENDING, State.S_SENT, State.PARKED},
    ),
    Event.REVIVE: ("only what was given up is revived", EVERY - {State.DEAD}),
    Event.WAIVE: (
        "a person waives what needs a person",
        EVERY - {State.DEAD, State.UNKNOWN},
    ),
    Event.SUPERSEDE: (
        "only what is owed, or may be, gives way to a later write",
        EVERY - {State.S_PENDING, State.UNKNOWN},
    ),
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_pair_is_a_move_or_impossible_for_a_reason(state: State, event: Event) -> None:
    reason, impossible = IMPOSSIBLE[event]
    if (state, event) in TRANSITIONS:
        assert state not in impossible
        assert move(state, event) is TRANSITIONS[state, event]
    else:
        assert reason
        assert state in impossible
        with pytest.raises(AssertionError, match=f"from {state} by {event}"):
            move(state, event)


def test_every_state_is_reached_and_every_end_is_an_end() -> None:
    assert set(TRANSITIONS.values()) | BEGUN == set(State)
    assert {state for state, _ in TRANSITIONS} & CLOSED == set()
    assert not CLOSED & OWED


def test_every_state_but_an_end_leads_to_an_end() -> None:
    leads = set(CLOSED)
    for _ in State:
        leads |= {state for (state, _), to in TRANSITIONS.items() if to in leads}
    assert leads == set(State)


def test_what_is_owed_only_leaves_the_backlog_by_an_outcome_or_a_person() -> None:
    leaving = {
        event for (state, event), to in TRANSITIONS.items() if state in OWED and to not in OWED
    }
    assert leaving == {Event.CONFIRM, Event.BURY, Event.SUPERSEDE}


def test_a_restart_forgets_nothing_and_repeats_nothing_blindly() -> None:
    assert {state: move(state, event) for state, event in RECOVERY.items()} == {
        State.P_SENT: State.UNKNOWN,
        State.S_SENT: State.S_PENDING,
        State.P_DONE: State.S_PENDING,
    }


# The outcome matrix (semantics.md section 3), left half: what the primary's outcome makes of it.

APPLIED, REJECTED = Event.PRIMARY_APPLIED, Event.PRIMARY_REJECTED
NOT_REACHED, UNKNOWN = Event.PRIMARY_NOT_REACHED, Event.PRIMARY_UNKNOWN


def replied(status: int) -> Reply:
    return Reply(status=status, head=b"")


def failed(cause: Cause, *, sent: bool) -> Failure:
    return Failure(cause=cause, sent=sent)


@pytest.mark.parametrize("by_rule", [False, True])
@pytest.mark.parametrize(
    ("status", "event"),
    [
        *((status, APPLIED) for status in (200, 201, 202, 204, 206, 226, 299, 303)),
        *((status, REJECTED) for status in (300, 304, 305, 307, 308)),
        *((status, REJECTED) for status in (400, 401, 403, 404, 408, 409, 412, 422, 425, 429, 499)),
        *((status, UNKNOWN) for status in (500, 501, 502, 503, 504, 599)),
    ],
)
def test_the_primarys_status_decides(status: int, event: Event, by_rule: bool) -> None:
    assert after_primary(replied(status), applied_redirects=by_rule) is event


@pytest.mark.parametrize("status", [301, 302])
def test_a_found_elsewhere_is_applied_where_the_rule_says_so(status: int) -> None:
    assert after_primary(replied(status), applied_redirects=True) is APPLIED
    assert after_primary(replied(status), applied_redirects=False) is REJECTED


@pytest.mark.parametrize("cause", Cause)
def test_a_failure_before_the_first_byte_is_not_sent_and_after_it_unknown(cause: Cause) -> None:
    assert after_primary(failed(cause, sent=False), applied_redirects=False) is NOT_REACHED
    assert after_primary(failed(cause, sent=True), applied_redirects=False) is UNKNOWN


# The right half: what the secondary's outcome makes of a write that the primary applied.


def a_try(method: str = "POST", attempts: int = 1, age_s: float = 0.0, **more: float | bool) -> Try:
    return Try(method=method, attempts=attempts, age_s=age_s, chance=0.5, **more)  # type: ignore[arg-type]


CONFIRM = Step(event=Event.CONFIRM)
REFUSED = Step(event=Event.BURY, reason="s_rejected")


@pytest.mark.parametrize(
    ("status", "step"),
    [
        *((status, CONFIRM) for status in (200, 201, 202, 204, 206, 299, 303)),
        *((status, REFUSED) for status in (300, 301, 302, 304, 307, 308)),
        *((status, REFUSED) for status in (400, 401, 403, 404, 405, 409, 410, 412, 422, 451, 499)),
    ],
)
def test_the_secondarys_status_ends_it(status: int, step: Step) -> None:
    assert after_secondary(replied(status), a_try(), LIMITS) == step


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
def test_a_status_that_may_pass_is_tried_again(status: int) -> None:
    expected = Step(event=Event.RETRY, reason=f"status_{status}", delay_s=0.1)
    assert after_secondary(replied(status), a_try(), LIMITS) == expected


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("cause", Cause)
def test_a_failure_of_the_secondary_is_tried_again(cause: Cause, sent: bool) -> None:
    expected = Step(event=Event.RETRY, reason=str(cause), delay_s=0.1)
    assert after_secondary(failed(cause, sent=sent), a_try(), LIMITS) == expected


@pytest.mark.parametrize("status", [301, 302])
def test_a_redirect_confirms_where_the_rule_says_so(status: int) -> None:
    assert after_secondary(replied(status), a_try(applied_redirects=True), LIMITS) == CONFIRM


@pytest.mark.parametrize("status", [404, 410])
def test_a_second_delete_that_finds_nothing_is_done(status: int) -> None:
    done = Step(event=Event.CONFIRM, reason="already_deleted")
    assert after_secondary(replied(status), a_try("DELETE", 2), LIMITS) == done
    assert after_secondary(replied(status), a_try("DELETE", 1), LIMITS) == REFUSED
    assert after_secondary(replied(status), a_try("PUT", 2), LIMITS) == REFUSED


@pytest.mark.parametrize("status", [404, 409])
def test_an_unmapped_key_that_is_not_found_parks(status: int) -> None:
    parked = Step(event=Event.PARK, reason="unmapped")
    assert after_secondary(replied(status), a_try(unmapped=True), LIMITS) == parked
    assert after_secondary(replied(410), a_try(unmapped=True), LIMITS) == REFUSED


@pytest.mark.parametrize("outcome", [replied(503), failed(Cause.RESET, sent=True)])
def test_the_last_try_and_the_oldest_write_are_given_up(outcome: Outcome) -> None:
    def step(attempts: int, age_s: float) -> tuple[Event, str]:
        found = after_secondary(outcome, a_try(attempts=attempts, age_s=age_s), LIMITS)
        return found.event, found.reason

    assert step(4, 59.9)[0] is Event.RETRY
    assert step(5, 0.0) == (Event.BURY, "attempts_max")
    assert step(1, 60.0) == (Event.BURY, "age_max")


def test_a_success_counts_however_late_it_comes() -> None:
    assert after_secondary(replied(200), a_try(attempts=99, age_s=1e9), LIMITS) == CONFIRM


def test_retry_after_lengthens_the_wait_and_never_shortens_it() -> None:
    def delay(retry_after_s: float) -> float:
        return after_secondary(replied(429), a_try(retry_after_s=retry_after_s), LIMITS).delay_s

    assert (delay(0.0), delay(0.05), delay(7.0)) == (0.1, 0.1, 7.0)


@pytest.mark.parametrize(
    ("attempts", "ceiling_s"), [(1, 0.2), (2, 0.4), (3, 0.8), (8, 25.6), (9, 30.0), (10**9, 30.0)]
)
def test_the_wait_doubles_up_to_a_limit(attempts: int, ceiling_s: float) -> None:
    assert backoff(attempts, 1.0, LIMITS) == pytest.approx(ceiling_s)
    assert backoff(attempts, 0.0, LIMITS) == 0.0


@given(st.integers(1, 10**6), st.floats(0.0, 1.0, exclude_max=True))
def test_the_wait_is_anywhere_up_to_its_ceiling(attempts: int, chance: float) -> None:
    assert 0.0 <= backoff(attempts, chance, LIMITS) <= backoff(attempts, 1.0, LIMITS) <= 30.0


statuses = st.builds(replied, st.integers(200, 599))
failures = st.builds(failed, st.sampled_from(Cause), sent=st.booleans())


@given(statuses | failures, st.integers(1, 10), st.floats(0, 100), st.booleans())
def test_every_outcome_has_a_legal_next_state(
    outcome: Outcome, attempts: int, age_s: float, unmapped: bool
) -> None:
    assert move(State.P_SENT, after_primary(outcome, applied_redirects=False)) in State
    step = after_secondary(outcome, a_try("PUT", attempts, age_s, unmapped=unmapped), LIMITS)
    assert move(State.S_SENT, step.event) in State
    assert (step.delay_s > 0) <= (step.event is Event.RETRY)
    assert step.reason or step.event is Event.CONFIRM


def test_a_move_tells_what_it_does_to_what_is_owed_and_what_is_stuck() -> None:
    assert {pair: found[0] for pair, found in MOVES.items()} == TRANSITIONS
    for (before, _), (after, owed, stuck) in MOVES.items():
        assert (before in OWED) + owed == (after in OWED)
        assert (before in STUCK) + stuck == (after in STUCK)
