"""Queues by entity key: whoever enters waits until it is first in all of its lanes.

Law: a ticket enters all of its lanes in one step, so every lane sees the tickets in one global
order, and no two can wait for each other. Empty lanes cost nothing.
"""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Ticket = TypeVar("Ticket", bound=Hashable)


class Lanes(Generic[Ticket]):
    """The lanes of one purpose; tickets are told apart by identity and hash."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Ticket]] = {}
        self._blocked: dict[Ticket, int] = {}

    def __len__(self) -> int:
        """How many lanes have a ticket in them."""
        return len(self._queues)

    def enter(self, ticket: Ticket, lanes: tuple[str, ...]) -> bool:
        """Queue a ticket in all of its lanes; whether it is first in each."""
        blocked = 0
        queues = self._queues
        for lane in lanes:
            queue = queues.get(lane)
            if queue is None:
                queues[lane] = deque((ticket,))
            else:
                queue.append(ticket)
                blocked += 1
        if blocked:
            self._blocked[ticket] = blocked
        return not blocked

    def leave(self, ticket: Ticket, lanes: tuple[str, ...]) -> list[Ticket]:
        """Take a ticket out, wherever it stands; the tickets that are now first in all of their lanes."""
        if self._blocked:
            self._blocked.pop(ticket, None)
        freed: list[Ticket] = []
        for lane in lanes:
            queue = self._queues[lane]
            if queue[0] != ticket:
                queue.remove(ticket)
                continue
            queue.popleft()
            if not queue:
                del self._queues[lane]
            elif self._is_free(queue[0]):
                freed.append(queue[0])
        return freed

    def is_first(self, ticket: Ticket) -> bool:
        """Whether a ticket that is in is first in all of its lanes."""
        return ticket not in self._blocked

    def _is_free(self, ticket: Ticket) -> bool:
        left = self._blocked[ticket] - 1
        if left:
            self._blocked[ticket] = left
        else:
            del self._blocked[ticket]
        return not left
