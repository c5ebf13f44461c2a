"""Young intents: they live in the log, and leave it closed, or with a row of their own.

Law: a row of the log goes only when every intent that begins in it is closed and counted, or has its
row: in the same transaction. So each intent is in exactly one place, and counted once.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.store import schema
from proxy.store.intent import Intent
from proxy.store.writer import Writer
from rules.fate import CLOSED, State

FOLD_SECONDS = 1.0
"""How old an open intent is when it gets a row (twice as old at the most): older than most writes ever
get, and little to read again after a crash."""

HELD_BYTES_MAX = 64 * 1024 * 1024
"""The log of what is closed is kept for `done_hold_seconds`, but no longer than it takes to write this much."""


ROWS_MAX = 16
"""Rows that are made, or removed, per transaction beside its own, at the most: a commit that is longer would hold up
whoever waits for it. All of a second's 500 at once made the p99 of clients 7 times as long."""

TRANSACTIONS = 256
"""Over so many transactions a fold's rows are spread, where that is fewer than ROWS_MAX each."""

LOOKS_MAX = 256
"""Young intents that are looked at per transaction: most are closed, which takes 0.1 us each."""


@dataclass(slots=True)
class _Fold:
    """The log up to a row. `open` is what may still need a row; `counts`, what was closed without one;
    `rows`, the rows that may go with it, and the states in which they were closed."""

    at: float
    log_id: int
    log_bytes: int
    open: deque[Intent]
    rows: deque[tuple[int, State]]
    counts: Counter[State] = field(default_factory=Counter)
    pace: int = 1
    is_forgotten: bool = False  # the log up to here


class Young:
    """The intents in the log of one writer. `keep` gives an intent its row."""

    def __init__(self, writer: Writer, keep: Callable[[Intent], None], now: float) -> None:
        self._writer = writer
        self._keep = keep
        self._folded_at = now
        self._new: list[Intent] = []  # begun since the last fold
        self._old: list[Intent] = []  # begun before it: the next fold takes them
        self._old_id = self._old_bytes = 0  # how far the log went at the last fold
        self._folding: _Fold | None = None
        self._forgotten = 0  # how far of the log is to go
        self._rows: deque[tuple[int, State]] = deque()  # closed since the last fold
        self._rows_before: deque[tuple[int, State]] = deque()
        self._held: deque[_Fold] = deque()
        self._over: deque[_Fold] = deque()  # their hold is over
        self._following = (1, 1)
        writer.committed = self._go_on

    def begun(self, intent: Intent) -> None:
        """The beginning of an intent is durable. Called by the writer, before anything else can happen:
        so it is in a row of the log that the next fold knows of.
        """
        self._new.append(intent)

    def closed(self, intent: Intent) -> None:
        """An intent with a row owes nothing any more."""
        self._rows.append((intent.id, intent.state))

    def sweep(self, now: float, hold_seconds: float, following: tuple[int, int]) -> None:
        """Once per tick: fold when it is time, and let go of what has been held for long enough.

        `following`: the next id and the next sequence number, never to be used twice.
        """
        self._following = following
        if self._folding is None and not 0 <= now - self._folded_at < FOLD_SECONDS:
            self._fold(now)
        if self._folding is not None:
            self._keep_some(self._folding)
        while self._held and self._is_over(self._held[0], now - hold_seconds):
            self._over.append(self._held.popleft())
        if self._over:
            self._forget_some(self._over[0])

    def _is_over(self, fold: _Fold, before: float) -> bool:
        return fold.at <= before or self._writer.log_bytes - fold.log_bytes > HELD_BYTES_MAX

    def _fold(self, now: float) -> None:
        self._folded_at = now
        waiting = self._new or self._old or self._rows or self._rows_before
        if not waiting and self._forgotten == self._writer.log_id:
            return
        self._folding = _Fold(
            now, self._old_id, self._old_bytes, deque(self._old), self._rows_before
        )
        self._folding.pace = min(ROWS_MAX, 1 + len(self._old) // TRANSACTIONS)
        # A row may go when the log has forgotten where its intent began: with the next fold.
        self._rows_before, self._rows = self._rows, deque()
        self._old, self._new = self._new, []
        self._old_id, self._old_bytes = self._writer.log_id, self._writer.log_bytes

    def _go_on(self) -> None:
        """A little of what is to be done, beside each transaction."""
        if self._folding is not None:
            self._keep_some(self._folding)
        elif self._over:
            self._forget_some(self._over[0])

    def _keep_some(self, fold: _Fold) -> None:
        """Count what was closed while it was young, and give the rest rows: then the log up to here says
        nothing that is not elsewhere."""
        kept = looked = 0
        while fold.open and kept < fold.pace and looked < LOOKS_MAX:
            intent = fold.open.popleft()
            looked += 1
            if intent.state in CLOSED and not intent.has_row:
                fold.counts[intent.state] += 1
            elif not intent.has_row:
                kept += 1
                self._keep(intent)
        if not fold.open:
            self._folding = None
            self._forgotten = fold.log_id
            self._held.append(fold)

    def _forget_some(self, fold: _Fold) -> None:
        if self._writer.broken:
            self._over.clear()
            return  # what was lost can still be read from the log, at the next start
        put = self._writer.put
        gone: Counter[State] = Counter()
        if (
            not fold.is_forgotten
        ):  # before any of its rows: else the log would bring back what was done
            fold.is_forgotten = True
            gone += fold.counts
            put(schema.FORGET_LOG, (fold.log_id,))
            put(schema.NEXT, self._following)
        else:
            while fold.rows and gone.total() < ROWS_MAX:
                intent_id, state = fold.rows.popleft()
                put(schema.REMOVE, (intent_id,))
                gone[state] += 1
        for state, count in gone.items():
            put(schema.REMOVED, (state, count))
        if not fold.rows:
            self._over.popleft()
