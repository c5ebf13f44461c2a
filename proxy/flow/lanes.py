"""Queues by lane name: whoever enters waits until it is first in all of its lanes.

Law: a ticket enters all of its lanes in one step, so every lane sees the tickets in one global order,
and no two can wait for each other. A name that begins with `^` is held shared: neighbours in a queue
that share the lane are first together; any other name is held alone. Nobody overtakes, shared or not.
Empty lanes cost nothing.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from itertools import islice
from typing import Any, Generic, TypeVar

Ticket = TypeVar("Ticket", bound=Hashable)


class _Shared(Generic[Ticket]):
    """A lane that is shared, or that somebody left from the middle.

    `inside`: how many are first. `waiting`: the others in order of arrival, and whether they share.
    """

    __slots__ = ("inside", "is_shared", "waiting")

    def __init__(self, waiting: OrderedDict[Ticket, bool], *, is_shared: bool) -> None:
        self.inside = 1
        self.is_shared = is_shared
        self.waiting = waiting

    def following(self) -> bool:
        """Whether the one who waits longest is first now, too."""
        if not self.waiting or not self.inside:
            return bool(self.waiting)
        return self.is_shared and self.waiting[next(iter(self.waiting))]


class Lanes(Generic[Ticket]):
    """The lanes of one purpose; tickets are told apart by equality and hash.

    Whatever a lane holds, an operation costs O(lanes of the ticket), amortised. A lane is its only
    ticket, a deque of those that hold it alone one after the other, or a `_Shared`, which it becomes
    at most once until it is empty, and from which anybody can leave without a search.
    """

    def __init__(self) -> None:
        self._held: dict[str, Ticket | deque[Ticket] | _Shared[Ticket]] = {}
        self._blocked: dict[Ticket, int] = {}  # in how many lanes each is not first

    def __len__(self) -> int:
        """How many lanes have a ticket in them."""
        return len(self._held)

    def enter(self, ticket: Ticket, lanes: tuple[str, ...]) -> bool:
        """Queue a ticket in all of its lanes, each of them named once; whether it is first in each."""
        blocked = 0
        held = self._held
        for name in lanes:
            if name[0] == "^":
                blocked += self._share(ticket, name[1:])
                continue
            lane = held.setdefault(name, ticket)
            if lane is ticket:
                continue
            blocked += 1
            if type(lane) is deque:
                lane.append(ticket)
            elif type(lane) is _Shared:
                lane.waiting[ticket] = False
            else:
                only: Any = lane  # a ticket
                held[name] = deque((only, ticket))
        if blocked:
            self._blocked[ticket] = blocked
        return not blocked

    def leave(self, ticket: Ticket, lanes: tuple[str, ...]) -> list[Ticket]:
        """Take a ticket out, wherever it stands; the tickets that are now first in all of their lanes."""
        if self._blocked:
            self._blocked.pop(ticket, None)
        freed: list[Ticket] = []
        held = self._held
        for name in lanes:
            lane = held.get(name)
            if type(lane) is deque and lane[0] == ticket:
                lane.popleft()
                if not lane:
                    del held[name]
                elif self._is_free(lane[0]):
                    freed.append(lane[0])
            elif lane is None:  # no lane begins with ^
                self._leave_shared(ticket, name[1:], freed)
            elif type(lane) is deque or type(lane) is _Shared:
                self._leave_shared(ticket, name, freed)
            else:
                del held[name]
        return freed

    def is_first(self, ticket: Ticket) -> bool:
        """Whether a ticket that is in is first in all of its lanes."""
        return ticket not in self._blocked

    def _share(self, ticket: Ticket, name: str) -> bool:
        """Queue a ticket that shares a lane; whether it must wait."""
        if name not in self._held:
            self._held[name] = _Shared(OrderedDict(), is_shared=True)
            return False
        lane = self._shared(name)
        if lane.is_shared and not lane.waiting:
            lane.inside += 1
            return False
        lane.waiting[ticket] = True
        return True

    def _shared(self, name: str) -> _Shared[Ticket]:
        lane = self._held[name]
        if isinstance(lane, _Shared):
            return lane
        waiting = islice(lane, 1, None) if isinstance(lane, deque) else ()
        self._held[name] = made = _Shared(OrderedDict.fromkeys(waiting, False), is_shared=False)
        return made

    def _leave_shared(self, ticket: Ticket, name: str, freed: list[Ticket]) -> None:
        lane = self._shared(name)
        if lane.waiting.pop(ticket, None) is None:
            lane.inside -= 1
        while lane.following():
            following, lane.is_shared = lane.waiting.popitem(last=False)
            lane.inside += 1
            if self._is_free(following):
                freed.append(following)
        if not lane.inside:
            del self._held[name]

    def _is_free(self, ticket: Ticket) -> bool:
        left = self._blocked[ticket] - 1
        if left:
            self._blocked[ticket] = left
        else:
            del self._blocked[ticket]
        return not left
