"""How much may be owed, whether the journal takes it, and what becomes of the next write: the level.

Law: looked at once per tick and told at every change, in log, ledger, metrics and readiness; the way
back is the same look. Only the two limits that a burst could overrun within a tick are asked per write.
"""

import asyncio
from collections import deque

from proxy.control.log import Log
from proxy.control.owed import Journal as Settings
from proxy.control.owed import OnBacklogFull, OnJournalError
from proxy.control.tally import Tally
from proxy.fiber import Slot
from proxy.flow.delivery import Delivery
from proxy.flow.evidence import Evidence
from proxy.store.journal import Journal
from rules.fate import STUCK
from rules.framing import Refusal
from rules.level import Condition, Level, Owed, fullness, level
from rules.route import Skip

REOPENS_AT = 0.95
"""A backlog that was full takes writes again below this share: not one by one at the limit."""

BACKLOG_FULL = Refusal(503, "the backlog is at its limit; nothing was sent")
"""What a write gets that cannot be owed."""

_JOURNAL_FAILS = Refusal(503, "the write could not be journaled; nothing was sent")


class Capacity:
    """The level of one sidecar."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        delivery: Delivery,
        told: tuple[Tally, Evidence, Log],
    ) -> None:
        self.level, self.reasons = Level.FULL, tuple[str, ...]()
        self.fullness = 0.0
        self._settings = settings
        self._journal = journal
        self._delivery = delivery
        self._tally, self._evidence, self._log = told
        self._loop = asyncio.get_running_loop()
        self._most = Owed(
            rows=settings.backlog_rows_max,
            bytes=settings.backlog_bytes_max,
            oldest_s=settings.backlog_age_max_seconds,
        )
        self._is_full = self._is_soft = False
        self._waiting: deque[tuple[float, Slot[bool]]] = deque()

    @property
    def hinders(self) -> bool:
        """Whether a journaled write is to be asked about: `barred`, `has_room`."""
        return self._is_full or self._journal.writer.failing

    def barred(self) -> Refusal | Skip | None:
        """What becomes of a write that would be journaled: refused, or sent to the primary only, within a gap;
        None: it goes on."""
        settings = self._settings
        if self._journal.fails:
            if settings.on_journal_error is OnJournalError.REJECT:
                return _JOURNAL_FAILS
            return Skip.JOURNAL_ERROR
        self._look()
        if not self._is_full or settings.on_backlog_full is OnBacklogFull.BLOCK:
            return None
        if settings.on_backlog_full is OnBacklogFull.REJECT:
            return BACKLOG_FULL
        return Skip.BACKLOG

    async def has_room(self) -> bool:
        """Whether a write may be owed: with `block` it waits for it, a while."""
        if self._settings.on_backlog_full is not OnBacklogFull.BLOCK or not self._is_full:
            return True
        slot: Slot[bool] = Slot()
        self._waiting.append((self._loop.time() + self._settings.backlog_block_ms / 1000, slot))
        return await slot

    def at_limit(self) -> bool:
        """Whether rows or bytes are at their limit at this moment."""
        return (
            len(self._delivery) >= self._most.rows or self._tally.backlog_bytes >= self._most.bytes
        )

    def sweep(self) -> None:
        """Once per tick: how full, which level; who waited goes on."""
        self._look()
        while self._waiting and (not self._is_full or self._waiting[0][0] <= self._loop.time()):
            self._waiting.popleft()[1].resolve(not self._is_full)
            self._look()
        self._note_soft()
        settings = self._settings
        found, reasons = level(
            Condition(
                ledger_fails=self._evidence.fails,
                journal_fails=self._journal.fails,
                backlog_full=self._is_full,
                rejects_unjournaled=settings.on_journal_error is OnJournalError.REJECT,
                rejects_backlog=settings.on_backlog_full is not OnBacklogFull.PAUSE_MIRRORING,
            )
        )
        if (found, reasons) != (self.level, self.reasons):
            self.level, self.reasons = found, reasons
            say = self._log.info if found is Level.FULL else self._log.error
            say("level", now=found, reasons="; ".join(reasons))
            self._evidence.event("level", now=found, reasons="; ".join(reasons))

    def _look(self) -> None:
        owed = Owed(
            rows=len(self._delivery),
            bytes=self._tally.backlog_bytes,
            oldest_s=self._delivery.oldest_s(),
        )
        share, tally = fullness(owed, self._most), self._tally
        self._is_full = share >= (REOPENS_AT if self._is_full else 1.0)
        standing = Owed(
            rows=owed.rows + sum(tally.states[state] for state in STUCK),
            bytes=owed.bytes + tally.stuck_bytes,
            oldest_s=owed.oldest_s,
        )
        self.fullness = fullness(standing, self._most)  # what waits for a person takes room, too

    def _note_soft(self) -> None:
        soft = self.fullness * 100 >= self._settings.backlog_soft_percent
        if soft is not self._is_soft:
            self._is_soft = soft
            say = self._log.warning if soft else self._log.info
            say(
                "backlog_soft_limit" if soft else "backlog_below_soft_limit",
                percent=round(self.fullness * 100),
            )
