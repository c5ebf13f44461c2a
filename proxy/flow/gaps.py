"""Gaps: intervals in which accepted writes were not journaled. Kept in the journal's file, told in log and ledger.

Law: a gap is never forgotten by itself: what is in it the secondary does not have.
"""

from collections.abc import Callable

from proxy.control.log import Log
from proxy.fiber import Slot
from proxy.flow.evidence import Evidence
from proxy.store.batch import Told
from proxy.store.gap import Gap
from rules.route import Skip

IDLE_S = 60.0
"""A write this long after the last one of a gap begins a new gap."""


class Gaps:
    """The gaps of a journal; `known` are those of earlier runs. `keep` writes one: it tells when that is durable."""

    def __init__(
        self,
        known: list[Gap],
        keep: Callable[[Gap], Told],
        now: Callable[[], float],
        log: Log,
        evidence: Evidence | None = None,
    ) -> None:
        self.all = list(known)
        self._evidence = evidence
        self._keep = keep
        self._now = now
        self._log = log
        self._open: dict[tuple[str, Skip], Gap] = {}
        self._changed: dict[int, Gap] = {}
        self._beginning: dict[tuple[str, Skip], list[Slot[None]]] = {}  # who waits for its row

    def is_open(self, category: str, reason: Skip) -> bool:
        """Whether a write now belongs to a gap that is known; else `begin` is to be awaited before it is sent."""
        gap = self._open.get((category, reason))
        if (category, reason) in self._beginning:
            return False
        return gap is not None and 0 <= self._now() - gap.last_at < IDLE_S

    async def begin(self, category: str, reason: Skip) -> None:
        """A gap begins: durable when this returns, if the disk takes anything now."""
        waiting = self._beginning.get((category, reason))
        if waiting is not None:
            slot: Slot[None] = Slot()
            waiting.append(slot)
            await slot
        elif not self.is_open(category, reason):
            waiting = self._beginning[category, reason] = []
            try:
                await self._keep(self._new(category, reason))
            finally:
                del self._beginning[category, reason]
                for each in waiting:
                    each.resolve(None)

    def _new(self, category: str, reason: Skip) -> Gap:
        now = self._now()
        number = 1 + max((each.id for each in self.all), default=0)
        gap = self._open[category, reason] = Gap(number, category, reason, now, now)
        self.all.append(gap)
        self._log.error("gap", category=category, reason=reason)
        if self._evidence is not None:
            self._evidence.event("gap", category=category, reason=reason)
        return gap

    def note(self, category: str, reason: Skip) -> None:
        """An accepted write goes to the primary only, within a gap that has begun."""
        gap, now = self._open[category, reason], self._now()
        gap.last_at = now
        gap.writes += 1
        self._changed[gap.id] = gap

    def sweep(self) -> None:
        """Once per tick: write what has changed."""
        changed, self._changed = self._changed, {}
        for gap in changed.values():
            _told = self._keep(gap)  # nobody waits for that
