"""When a write that is ready goes to the secondary: live writes first, the backlog in measure, behind the breaker.

Law: it decides when, never whether; what is ready here is first in its lanes, and runs once. A write
is live when it is ready soon after it was received and nothing stands in its way; what waited for the
breaker, a restart or a retry is backlog.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from proxy.control.owed import Delivery as Settings
from proxy.fiber import Fibers
from proxy.flow.guard import Guard
from proxy.store.intent import Intent
from rules.breaker import Breaker

BACKLOG_EVERY = 8
"""One in so many goes to the backlog while there are live writes, too: so it ends, however busy the sidecar is."""

BURST_S = 0.05
"""How much of the rate may be made up for: timers are late by a millisecond or two."""

Run = Callable[[Intent], Coroutine[Any, None, None]]


@dataclass(slots=True)
class _Ready:
    """What may be sent of one category."""

    live: deque[Intent] = field(default_factory=deque)
    backlog: deque[Intent] = field(default_factory=deque)
    active: int = 0

    def __len__(self) -> int:
        return len(self.live) + len(self.backlog)


class Dispatch:
    """The queues of what is ready, by category. `run` carries one write to the secondary, and calls `ended`."""

    def __init__(self, guard: Guard, fibers: Fibers, settings: Settings, run: Run) -> None:
        self.paused = True  # until `start`; later by the kill switch and at the end
        self._guard = guard
        self._fibers = fibers
        self._run_one = run
        self._loop = asyncio.get_running_loop()
        self._most = settings.concurrency_max
        self._ready: dict[str, _Ready] = {}
        self._in_work = 0  # of all categories
        self._picked = 0
        self._pumping: set[str] = set()
        self._held: set[str] = set()  # categories whose breaker holds them
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._rate = _Rate(settings.catch_up_per_second_max, self._loop.time)
        guard.watch(self._breaker_changed)

    def __len__(self) -> int:
        return sum(len(each) for each in self._ready.values())

    def start(self) -> None:
        """Begin to send."""
        self.paused = False
        self.pump()

    def live(self, intent: Intent) -> None:
        """A write that was received just now may go."""
        category = intent.category
        ready = self._of(category)
        if self.paused or category in self._held:
            ready.backlog.append(intent)
        else:
            ready.live.append(intent)
        self._pump(category, ready)

    def backlog(self, intent: Intent) -> None:
        """A write that waited may go."""
        ready = self._of(intent.category)
        ready.backlog.append(intent)
        self._pump(intent.category, ready)

    def backlog_later(self, intent: Intent, delay_s: float) -> None:
        """The same after a while."""
        self._loop.call_later(delay_s, self.backlog, intent)

    def ended(self, category: str) -> None:
        """A write of this category has had its turn."""
        self._ready[category].active -= 1
        self._in_work -= 1
        self.pump()

    def pump(self) -> None:
        """See whether what is ready may go: once per tick, too, as a lease may have come back without a word.

        Live writes of any category before a backlog, but for one in BACKLOG_EVERY; backlogs in turn.
        """
        if self._picked % BACKLOG_EVERY:
            for category, ready in list(self._ready.items()):
                if ready.live:
                    self._pump(category, ready)
        for category, ready in list(self._ready.items()):
            self._pump(category, ready)

    def _of(self, category: str) -> _Ready:
        ready = self._ready.get(category)
        if ready is None:
            ready = self._ready[category] = _Ready()
        return ready

    def _pump(self, category: str, ready: _Ready) -> None:
        if not (ready.live or ready.backlog) or self.paused or category in self._pumping:
            return
        self._pumping.add(category)  # a write that ends at once pumps again: not from within itself
        try:
            self._send_some(category, ready)
        finally:
            self._pumping.discard(category)

    def _send_some(self, category: str, ready: _Ready) -> None:
        guard = self._guard
        limit = max(1, int(self._most * guard.share(category)))
        live, backlog = ready.live, ready.backlog
        while (live or backlog) and ready.active < limit and self._in_work < self._most:
            wait_s = 0.0 if live else self._rate.wait_s()
            if wait_s > 0:
                self._pump_later(category, wait_s)
                return
            if not guard.admit(category):
                self._pump_later(category, guard.wait_s(category))
                return
            intent = self._next(ready)
            if self._in_work + 1 == self._most:  # the next place goes to another category
                self._ready[category] = self._ready.pop(category)
            ready.active += 1
            self._in_work += 1
            self._fibers.start(self._run_one(intent))

    def _next(self, ready: _Ready) -> Intent:
        self._picked += 1
        if ready.live and not (
            ready.backlog and self._picked % BACKLOG_EVERY == 0 and self._rate.wait_s() == 0
        ):
            return ready.live.popleft()
        self._rate.take()
        return ready.backlog.popleft()

    def _pump_later(self, category: str, wait_s: float | None) -> None:
        if wait_s is not None and category not in self._timers:
            self._timers[category] = self._loop.call_later(wait_s, self._timer, category)

    def _timer(self, category: str) -> None:
        self._timers.pop(category, None)
        self._pump(category, self._of(category))

    def _breaker_changed(self, category: str, _breaker: Breaker) -> None:
        self._held.discard(category)
        if self._guard.hold(category):  # what waits for the breaker is backlog, in its order
            self._held.add(category)
            ready = self._of(category)
            ready.backlog.extend(ready.live)
            ready.live.clear()
        self._loop.call_soon(self.pump)


class _Rate:
    """So many of the backlog per second at the most; 0 is any number."""

    def __init__(self, per_second: float, now: Callable[[], float]) -> None:
        self._per_second = per_second
        self._now = now
        self._free_at = 0.0

    def wait_s(self) -> float:
        """Seconds until the next one may go."""
        if not self._per_second:
            return 0.0
        return max(self._free_at - self._now(), 0.0)

    def take(self) -> None:
        """One goes. A pause is not made up for, beyond BURST_S."""
        if self._per_second:
            self._free_at = max(self._free_at, self._now() - BURST_S) + 1 / self._per_second
