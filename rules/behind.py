"""Which writes stand behind which: by the names of their lanes, in the primary's order.

Law: two names stand in each other's way if they name the same lane and one of them holds it alone
(`rules.lane`: a name that begins with `^` is held shared).
"""

from collections.abc import Iterable

from msgspec import Struct

from rules.fate import State

_WAITING = (State.DEAD, State.PARKED)


class Standing(Struct, frozen=True, gc=False):
    """One write that is owed, or a dead letter."""

    state: State
    lanes: tuple[str, ...]
    overtaken: bool = False


def conflicting(lane: str) -> tuple[str, ...]:
    """The names under which another write stands in the way of one that holds a lane under this name."""
    return (lane[1:],) if lane.startswith("^") else (lane, f"^{lane}")


def held_up(writes: Iterable[Standing], *, blocks: bool) -> int:
    """How many owed writes, of all in the primary's order, cannot move unless a person acts or an identity comes.

    Those that are parked, and those behind them, or behind a dead letter that holds its lanes (`blocks`).
    """
    held: set[str] = set()
    count = 0
    for write in writes:
        if write.state is State.DEAD and (write.overtaken or not blocks):
            continue
        if write.state in _WAITING or _is_behind(write, held):
            held.update(write.lanes)
            count += write.state is not State.DEAD
    return count


def _is_behind(write: Standing, held: set[str]) -> bool:
    return any(name in held for lane in write.lanes for name in conflicting(lane))
