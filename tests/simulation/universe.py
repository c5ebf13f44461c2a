"""Virtual time: one queue of events for the world, and one event loop per life of a sidecar.

Law: nothing waits. Time moves on to the next event when nothing can be done now; what happens depends
on the seed alone. A life that ends leaves its loop behind, with all that was still to be run there.
"""

import asyncio
import random
from asyncio import events
from collections.abc import Callable
from concurrent.futures import Executor
from heapq import heappop, heappush
from typing import Any

START = 4_000_000_000.0
"""Unix seconds at virtual time 0: later than any machine's clock, so that who looks at that finds no age."""


class Loop(asyncio.BaseEventLoop):
    """The event loop of one life: asyncio's own, without a selector. `apart` runs what asks for a thread."""

    def __init__(self, universe: "Universe", apart: Callable[..., None]) -> None:
        super().__init__()
        self._universe = universe
        self._apart = apart
        self.failures: list[str] = []

    def time(self) -> float:
        """Part of asyncio's loop."""
        return self._universe.now

    def run_one(self) -> bool:
        """Run the next callback that is ready; whether there was one."""
        ready = self._ready  # type: ignore[attr-defined]
        while ready:
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
                return True
        return False

    def next_at(self) -> float | None:
        """When its next timer is due."""
        scheduled = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            heappop(scheduled)._scheduled = False
        return scheduled[0]._when if scheduled else None

    def fire(self) -> None:
        """The next timer is due."""
        handle = heappop(self._scheduled)  # type: ignore[attr-defined]
        handle._scheduled = False
        self._ready.append(handle)  # type: ignore[attr-defined]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Part of asyncio's loop: nothing may fail here."""
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    def run_in_executor(  # type: ignore[override]
        self, _executor: Executor | None, func: Callable[..., object], *args: object
    ) -> "asyncio.Future[object]":
        """Part of asyncio's loop: run inline, later."""
        future = self.create_future()
        self._apart(future, func, args)
        return future

    def _write_to_self(self) -> None:
        """Part of asyncio's loop: nothing needs waking."""


class Universe:
    """The clock, the events of the world outside of the sidecar, chance, and the trace."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.skew = 0.0  # how much the clock of the machine was set
        self.chance = random.Random(seed)
        self.loop: Loop | None = None
        self.trace: list[tuple[float, tuple[object, ...]]] = []
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0

    def clock(self) -> float:
        """Unix seconds."""
        return START + self.now + self.skew

    def later(self, delay_s: float, call: Callable[..., None], *args: object) -> None:
        """Call it after so many seconds, whatever becomes of the sidecar meanwhile."""
        self._count += 1
        heappush(self._events, (self.now + delay_s, self._count, call, args))

    def note(self, *what: object) -> None:
        """A line of the trace."""
        self.trace.append((self.now, what))

    def enter(self, loop: Loop | None) -> None:
        """From now on this loop is the one that runs."""
        self.loop = loop
        events._set_running_loop(loop)

    def step(self) -> bool:
        """Do the next thing; False when nothing is left to do."""
        loop = self.loop
        if loop is not None:
            if loop.run_one():
                return True
            due = loop.next_at()
            if due is not None and (not self._events or due <= self._events[0][0]):
                self.now = max(self.now, due)
                loop.fire()
                return True
        if not self._events:
            return False
        at, _, call, args = heappop(self._events)
        self.now = max(self.now, at)
        call(*args)
        return True
