"""The fair lock around the primary: one write of a lane at a time, or those that share it, in the order of arrival."""

from proxy.fiber import Slot
from proxy.flow.lanes import Lanes


class Turnstile:
    """Lets a write through when it is first in all of its lanes."""

    def __init__(self) -> None:
        self._lanes: Lanes[Slot[None]] = Lanes()

    def enter(self, turn: Slot[None], lanes: tuple[str, ...]) -> bool:
        """Queue a turn; whether it has come already. Else it resolves when it does; `leave` gives it on."""
        return self._lanes.enter(turn, lanes)

    def leave(self, turn: Slot[None], lanes: tuple[str, ...]) -> None:
        """Let the next ones through: they go on now."""
        for freed in self._lanes.leave(turn, lanes):
            freed.resolve(None)
