"""Young intents: they live in the log, and leave it closed, or with a row of their own.

Law: a row of the log goes only when every intent that begins in it is closed and counted, or has its
row: in the same transaction. So each intent is in exactly one place, and counted once.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from proxy.store import schema
from proxy.store.intent import Intent
from proxy.store.writer import Writer
from rules.fate import CLOSED, State

FOLD_SECONDS = 1.0
"""How old an open intent is when it gets a row (twice as old at the most): older than most writes ever
get, and little to read again after a crash."""

HELD_BYTES_MAX = 64 * 1024 * 1024
"""The log of what is closed is kept for `done_hold_seconds`, but no longer than it takes to write this much."""


@dataclass(frozen=True, slots=True)
class _Fold:
    """The log up to a row, which may go when its hold is over; what was closed in it, and the rows of
    intents that were closed."""

    at: float
    log_id: int
    log_bytes: int
    counts: Counter[State]
    rows: list[int]


class Young:
    """The intents in the log of one writer. `keep` gives an intent its row."""

    def __init__(self, writer: Writer, keep: Callable[[Intent], None], now: float) -> None:
        self._writer = writer
        self._keep = keep
        self._folded_at = now
        self._new: list[Intent] = []  # begun since the last fold
        self._old: list[Intent] = []  # begun before it: the next fold takes them
        self._old_id = self._old_bytes = 0  # how far the log went at the last fold
        self._forgotten = 0  # how far of the log is to go
        self._rows: list[int] = []  # rows whose intents were closed since the last fold
        self._counts: Counter[State] = Counter()
        self._rows_before: tuple[Counter[State], list[int]] = (Counter(), [])
        self._held: deque[_Fold] = deque()

    def begun(self, intent: Intent) -> None:
        """The beginning of an intent is durable. Called by the writer, before anything else can happen:
        so it is in a row of the log that the next fold knows of.
        """
        self._new.append(intent)

    def closed(self, intent: Intent) -> None:
        """An intent with a row owes nothing any more."""
        self._rows.append(intent.id)
        self._counts[intent.state] += 1

    def sweep(self, now: float, hold_seconds: float, following: tuple[int, int]) -> None:
        """Once per tick: fold when it is time, and let go of what has been held for long enough.

        `following`: the next id and the next sequence number, never to be used twice.
        """
        if not 0 <= now - self._folded_at < FOLD_SECONDS:
            self._fold(now)
        while self._held and self._is_over(self._held[0], now - hold_seconds):
            self._forget(self._held.popleft(), following)

    def _is_over(self, fold: _Fold, before: float) -> bool:
        return fold.at <= before or self._writer.log_bytes - fold.log_bytes > HELD_BYTES_MAX

    def _fold(self, now: float) -> None:
        self._folded_at = now
        waiting = self._new or self._old or self._rows or self._rows_before[1]
        if not waiting and self._forgotten == self._writer.log_id:
            return
        counts, rows = self._rows_before
        for intent in self._old:
            if intent.state in CLOSED and not intent.has_row:
                counts[intent.state] += 1
            else:
                self._keep(intent)
        self._held.append(_Fold(now, self._old_id, self._old_bytes, counts, rows))
        self._forgotten = self._old_id
        # A row may go when the log has forgotten where its intent began: with the next fold.
        self._rows_before = self._counts, self._rows
        self._counts, self._rows = Counter(), []
        self._old, self._new = self._new, []
        self._old_id, self._old_bytes = self._writer.log_id, self._writer.log_bytes

    def _forget(self, fold: _Fold, following: tuple[int, int]) -> None:
        if self._writer.broken:
            return  # what was lost can still be read from the log, at the next start
        put = self._writer.put
        for intent_id in fold.rows:
            put(schema.REMOVE, (intent_id,))
        for state, count in fold.counts.items():
            put(schema.REMOVED, (state, count))
        put(schema.FORGET_LOG, (fold.log_id,))
        put(schema.NEXT, following)
