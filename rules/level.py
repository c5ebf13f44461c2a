"""How much of its work the sidecar does now: named levels, and how full the backlog is.

Law: a level says what becomes of the next write; each has a way back by itself, when its cause is gone.
"""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """From the best to the worst."""

    FULL = "full"
    NO_EVIDENCE = (
        "no_evidence"  # the ledger takes nothing: writes go on, comparisons leave no trace
    )
    MIRROR_PAUSED = (
        "mirror_paused"  # the backlog is at its limit: writes go to the primary only, a gap
    )
    PRIMARY_ONLY = "primary_only"  # the journal takes nothing: writes go to the primary only, a gap
    REJECTING = "rejecting"  # writes that would be owed get 503: nothing is sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What the level depends on. `rejects_*`: what the settings say about it."""

    ledger_fails: bool = False
    journal_fails: bool = False
    backlog_full: bool = False
    rejects_unjournaled: bool = True
    rejects_backlog: bool = True


def level(condition: Condition) -> tuple[Level, tuple[str, ...]]:
    """The level, and why: the worst of what holds counts, every reason is named."""
    found, reasons = Level.FULL, []
    if condition.ledger_fails:
        found = Level.NO_EVIDENCE
        reasons.append("the ledger cannot be written")
    if condition.backlog_full:
        found = Level.REJECTING if condition.rejects_backlog else Level.MIRROR_PAUSED
        reasons.append("the backlog is at its limit")
    if condition.journal_fails:
        worse = Level.REJECTING if condition.rejects_unjournaled else Level.PRIMARY_ONLY
        found = found if found is Level.REJECTING else worse
        reasons.append("the journal cannot be written")
    return found, tuple(reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What is owed, or how much may be; an age of 0 as a limit is any."""

    rows: int
    bytes: int
    oldest_s: float


def fullness(owed: Owed, most: Owed) -> float:
    """The share of the limit that is nearest: 1 and more is at the limit."""
    shares = [owed.rows / max(most.rows, 1), owed.bytes / max(most.bytes, 1)]
    if most.oldest_s:
        shares.append(owed.oldest_s / most.oldest_s)
    return max(shares)
