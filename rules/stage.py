"""The stages of a migration: who is primary at each, what is mirrored, and which moves are legal.

Law: a stage says everything about roles. No other room asks which side is which. Stages move one
step at a time, forward or back, and nothing leads back from `new_only`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType

from rules.message import Side


class Stage(StrEnum):
    """Where a category stands in the migration, in the order in which stages follow each other."""

    LEGACY_ONLY = "legacy_only"
    SHADOW = "shadow"
    DUAL_LEGACY_PRIMARY = "dual_legacy_primary"
    DUAL_NEW_PRIMARY = "dual_new_primary"
    NEW_ONLY = "new_only"


class Mirror(StrEnum):
    """What the secondary gets of a write, and whether it is owed."""

    NONE = "none"  # nothing
    SHADOW = "shadow"  # sent, not journaled: it may be lost
    JOURNAL = "journal"  # journaled before it is sent: it may not be lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What a stage asks for: the side that answers, and what the other side gets."""

    primary: Side
    mirror: Mirror


DUTIES: Mapping[Stage, Duty] = MappingProxyType(
    {
        Stage.LEGACY_ONLY: Duty(primary=Side.LEGACY, mirror=Mirror.NONE),
        Stage.SHADOW: Duty(primary=Side.LEGACY, mirror=Mirror.SHADOW),
        Stage.DUAL_LEGACY_PRIMARY: Duty(primary=Side.LEGACY, mirror=Mirror.JOURNAL),
        Stage.DUAL_NEW_PRIMARY: Duty(primary=Side.NEW, mirror=Mirror.JOURNAL),
        Stage.NEW_ONLY: Duty(primary=Side.NEW, mirror=Mirror.NONE),
    }
)
"""The stage table."""

_FORWARD = frozenset(pairwise(Stage))
_BACK = frozenset((after, before) for before, after in _FORWARD if after is not Stage.NEW_ONLY)

MOVES: frozenset[tuple[Stage, Stage]] = _FORWARD | _BACK
"""Every legal move, as (current, wanted): one step forward, or one step back."""


def may_move(current: Stage, wanted: Stage) -> bool:
    """Say whether one command may take `current` to `wanted`. Staying is not a move."""
    return (current, wanted) in MOVES
