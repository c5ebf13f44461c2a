"""What becomes of a write: the states of an intent, the transitions, and the outcome matrix.

Law: one table of transitions, two functions that choose the event. Every accepted write is in
exactly one of these states; the words are those of journal, metric, log and admin.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from rules.message import Failure, Outcome, Reply


class State(StrEnum):
    """The state of an intent."""

    RECEIVED = "received"  # accepted, not yet durable
    P_SENT = "p_sent"  # durable; the primary may have it
    P_DONE = "p_done"  # the primary applied it
    S_PENDING = "s_pending"  # owed to the secondary
    S_SENT = "s_sent"  # the secondary may have it
    DONE = "done"
    NOT_SENT = "not_sent"  # no byte reached the primary
    P_REJECTED = "p_rejected"
    ABORTED = "aborted"  # the client went away before the whole body arrived
    PARKED = "parked"  # waits for an identity
    DEAD = "dead"  # needs a person
    SUPERSEDED = "superseded"
    WAIVED = "waived"
    UNKNOWN = "unknown"  # the primary may or may not have applied it


class Event(StrEnum):
    """What moves an intent from one state to the next."""

    BEGIN = "begin"
    ABORT = "abort"
    PRIMARY_APPLIED = "primary_applied"
    PRIMARY_REJECTED = "primary_rejected"
    PRIMARY_NOT_REACHED = "primary_not_reached"
    PRIMARY_UNKNOWN = "primary_unknown"
    OWE = "owe"
    SEND = "send"
    CONFIRM = "confirm"
    RETRY = "retry"
    PARK = "park"
    UNPARK = "unpark"
    BURY = "bury"
    REVIVE = "revive"
    WAIVE = "waive"
    SUPERSEDE = "supersede"


TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (State.RECEIVED, Event.BEGIN): State.P_SENT,
    (State.RECEIVED, Event.ABORT): State.ABORTED,
    (State.P_SENT, Event.PRIMARY_APPLIED): State.P_DONE,
    (State.P_SENT, Event.PRIMARY_REJECTED): State.P_REJECTED,
    (State.P_SENT, Event.PRIMARY_NOT_REACHED): State.NOT_SENT,
    (State.P_SENT, Event.PRIMARY_UNKNOWN): State.UNKNOWN,
    (State.P_DONE, Event.OWE): State.S_PENDING,
    (State.S_PENDING, Event.SEND): State.S_SENT,
    (State.S_PENDING, Event.PARK): State.PARKED,
    (State.S_PENDING, Event.BURY): State.DEAD,
    (State.S_PENDING, Event.SUPERSEDE): State.SUPERSEDED,
    (State.S_SENT, Event.CONFIRM): State.DONE,
    (State.S_SENT, Event.RETRY): State.S_PENDING,
    (State.S_SENT, Event.PARK): State.PARKED,
    (State.S_SENT, Event.BURY): State.DEAD,
    (State.PARKED, Event.UNPARK): State.S_PENDING,
    (State.PARKED, Event.BURY): State.DEAD,
    (State.DEAD, Event.REVIVE): State.S_PENDING,
    (State.DEAD, Event.WAIVE): State.WAIVED,
    (State.UNKNOWN, Event.PRIMARY_APPLIED): State.P_DONE,
    (State.UNKNOWN, Event.PRIMARY_REJECTED): State.P_REJECTED,
    (State.UNKNOWN, Event.WAIVE): State.WAIVED,
    (State.UNKNOWN, Event.SUPERSEDE): State.SUPERSEDED,
}
"""The only moves there are; a pair that is not here is a bug in the caller."""

OWED = frozenset((State.P_DONE, State.S_PENDING, State.S_SENT, State.PARKED))
"""The backlog: the primary has it, the secondary does not (yet)."""

STUCK = frozenset((State.DEAD, State.UNKNOWN))
"""Nothing moves them by itself, or perhaps nothing does: a person."""

CLOSED = frozenset(
    (State.DONE, State.NOT_SENT, State.P_REJECTED, State.ABORTED, State.SUPERSEDED, State.WAIVED)
)
"""Nothing is owed any more: such rows are removed after a hold."""

MOVES: Mapping[tuple[State, Event], tuple[State, int, int]] = {
    pair: (
        following,
        (following in OWED) - (pair[0] in OWED),
        (following in STUCK) - (pair[0] in STUCK),
    )
    for pair, following in TRANSITIONS.items()
}
"""TRANSITIONS, and by how many rows each makes what is owed, and what is stuck, more or less."""

RECOVERY: Mapping[State, Event] = {
    State.P_SENT: Event.PRIMARY_UNKNOWN,
    State.S_SENT: Event.RETRY,
    State.P_DONE: Event.OWE,
}
"""What a restart makes of an intent that it finds in one of these states."""

RETRIED_STATUSES = frozenset((408, 425, 429))
"""4xx that ask for another try (RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585 4); with every 5xx."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When an owed write is given up, and how long its retries wait."""

    attempts_max: int
    age_max_s: float
    backoff_first_s: float
    backoff_max_s: float


class Try(Struct, frozen=True, kw_only=True, gc=False):
    """One try at the secondary, as far as the decision needs it. `chance` is in [0, 1).

    `unmapped`: it was sent without an identity that it names. Nobody does so today: what is missing
    parks a write before it is sent.
    """

    method: str
    attempts: int
    age_s: float
    chance: float
    unmapped: bool = False
    applied_redirects: bool = False
    retry_after_s: float = 0.0


class Step(Struct, frozen=True, kw_only=True, gc=False):
    """What to do after the secondary's outcome: the event, its reason, and the wait before a retry."""

    event: Event
    reason: str = ""
    delay_s: float = 0.0


_APPLIED = Event.PRIMARY_APPLIED
CONFIRMED = Step(event=Event.CONFIRM)
"""What to do when the secondary applied the write."""


def move(state: State, event: Event) -> State:
    """The next state; an illegal move is a bug and raises AssertionError naming both."""
    following = TRANSITIONS.get((state, event))
    assert following is not None, f"no move from {state} by {event}"
    return following


def is_applied(status: int, *, applied_redirects: bool) -> bool:
    """Whether a status says that the write took effect."""
    return 200 <= status < 300 or status == 303 or (applied_redirects and status in (301, 302))


def after_primary(outcome: Outcome, *, applied_redirects: bool) -> Event:
    """The left half of the outcome matrix: what the primary's outcome makes of an intent."""
    if isinstance(outcome, Failure):
        return Event.PRIMARY_UNKNOWN if outcome.sent else Event.PRIMARY_NOT_REACHED
    if is_applied(outcome.status, applied_redirects=applied_redirects):
        return _APPLIED
    return Event.PRIMARY_UNKNOWN if outcome.status >= 500 else Event.PRIMARY_REJECTED


def is_confirmed(outcome: Outcome, *, applied_redirects: bool) -> bool:
    """Whether the secondary applied the write: then `after_secondary` is CONFIRMED, whatever the try was."""
    return isinstance(outcome, Reply) and is_applied(
        outcome.status, applied_redirects=applied_redirects
    )


def after_secondary(outcome: Outcome, attempt: Try, limits: Limits) -> Step:
    """The right half of the outcome matrix, for a write that the primary applied."""
    if isinstance(outcome, Failure):
        return _retry(str(outcome.cause), attempt, limits)
    status = outcome.status
    if is_applied(status, applied_redirects=attempt.applied_redirects):
        return CONFIRMED
    if status >= 500 or status in RETRIED_STATUSES:
        return _retry(f"status_{status}", attempt, limits)
    if status in (404, 410) and attempt.method == "DELETE" and attempt.attempts > 1:
        return Step(event=Event.CONFIRM, reason="already_deleted")
    if status in (404, 409) and attempt.unmapped:
        return Step(event=Event.PARK, reason="unmapped")
    return Step(event=Event.BURY, reason="s_rejected")


def backoff(attempts: int, chance: float, limits: Limits) -> float:
    """Seconds to wait after so many tries: exponential with full jitter.

    Source: Brooker, "Exponential Backoff And Jitter" (AWS architecture blog, 2015).
    """
    ceiling = limits.backoff_first_s * 2.0 ** min(attempts - 1, 30)
    return chance * min(limits.backoff_max_s, ceiling)


def _retry(reason: str, attempt: Try, limits: Limits) -> Step:
    if attempt.attempts >= limits.attempts_max:
        return Step(event=Event.BURY, reason="attempts_max")
    if attempt.age_s >= limits.age_max_s:
        return Step(event=Event.BURY, reason="age_max")
    delay = max(backoff(attempt.attempts, attempt.chance, limits), attempt.retry_after_s)
    return Step(event=Event.RETRY, reason=reason, delay_s=delay)
