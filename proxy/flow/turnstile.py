"""The fair lock around the primary: one write of a lane at a time, in the order of arrival."""

import asyncio

from proxy.flow.lanes import Lanes

Turn = asyncio.Future[None]


class Turnstile:
    """Lets a write through when it is first in all of its lanes."""

    def __init__(self) -> None:
        self._lanes: Lanes[Turn] = Lanes()
        self._loop = asyncio.get_running_loop()

    async def enter(self, lanes: tuple[str, ...]) -> Turn:
        """Wait for the turn; `leave` gives it on."""
        turn = self._loop.create_future()
        if not self._lanes.enter(turn, lanes):
            try:
                await turn
            except asyncio.CancelledError:
                self.leave(turn, lanes)
                raise
        return turn

    def leave(self, turn: Turn, lanes: tuple[str, ...]) -> None:
        """Let the next ones through."""
        for freed in self._lanes.leave(turn, lanes):
            if not freed.done():
                freed.set_result(None)
