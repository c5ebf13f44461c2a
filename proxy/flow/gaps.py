"""Gaps: intervals in which accepted writes were not journaled. Kept in the journal's file, told in log and ledger.

Law: a gap is never forgotten by itself: what is in it the secondary does not have.
"""

from collections.abc import Callable

from proxy.control.log import Log
from proxy.flow.evidence import Evidence
from proxy.store.gap import Gap
from rules.route import Skip

IDLE_S = 60.0
"""A write this long after the last one of a gap begins a new gap."""


class Gaps:
    """The gaps of a journal; `known` are those of earlier runs. `keep` writes one, behind the path."""

    def __init__(
        self, known: list[Gap], keep: Callable[[Gap], None], now: Callable[[], float], log: Log
    ) -> None:
        self.all = list(known)
        self.evidence: Evidence | None = None
        self._keep = keep
        self._now = now
        self._log = log
        self._open: dict[tuple[str, Skip], Gap] = {}
        self._changed: dict[int, Gap] = {}

    def note(self, category: str, reason: Skip) -> None:
        """An accepted write went to the primary only."""
        now = self._now()
        gap = self._open.get((category, reason))
        if gap is None or not 0 <= now - gap.last_at < IDLE_S:
            number = 1 + max((each.id for each in self.all), default=0)
            gap = self._open[category, reason] = Gap(number, category, reason, now, now)
            self.all.append(gap)
            self._log.error("gap", category=category, reason=reason)
            if self.evidence is not None:
                self.evidence.event("gap", category=category, reason=reason)
        gap.last_at = now
        gap.writes += 1
        self._changed[gap.id] = gap

    def sweep(self) -> None:
        """Once per tick: write what has changed."""
        changed, self._changed = self._changed, {}
        for gap in changed.values():
            self._keep(gap)
