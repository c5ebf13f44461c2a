"""One SQLite file, one connection, one thread: group commit.

Law: while one transaction is committed, everything that arrives waits in a list; then all of it is
the next transaction. Source: storage.md, "group commit": 91,500 durable writes/s at 64 in flight
against 4,700 with one commit per write.

There are two kinds of operations: a statement on rows, and a record, a piece of bytes for the table
`log`. All records of a transaction are one row there: that is what makes them cheap (decision 0008).
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

import aiosqlite

from proxy.fiber import Slot
from proxy.store.batch import (
    After,
    Bad,
    Batch,
    Entry,
    Operation,
    Row,
    Schema,
    Stalled,
    Statement,
    StoreError,
    Told,
    checkpoint,
    compact,
    is_long,
    prepare,
    transact,
)

Result = TypeVar("Result")

_by_order = attrgetter("statement.order")

CHECKPOINT_EVERY = 16
"""Commits between two looks at the length of the write-ahead log."""

PUT_DELAY_S = 0.02
"""How long an operation that nobody waits for may wait for company: a commit costs an fdatasync (0.1-0.2
ms of this machine's disk, milliseconds of others'), whatever is in it. A crash repeats what was not yet written."""

ROW_BYTES_MAX = 64 * 1024 * 1024
"""Records beyond this wait for the next transaction: SQLite takes rows of up to 1e9 bytes (limits.html)."""

PUTS_MAX = 100_000
"""Operations that nobody waits for, kept for the next try while the disk refuses them. Beyond it they
are lost and counted (`dropped`), unless they are essential: a restart then repeats what they would have recorded."""


class Writer:
    """The writer of one file. Use `open`, not the constructor."""

    def __init__(self, path: Path, connection: aiosqlite.Connection) -> None:
        self.path = path
        self.commits = 0
        self.commit_seconds = 0.0
        self.committed: Callable[[], None] | None = None  # told of every transaction
        self.broken = False  # an essential row can never be taken
        self.failing = False  # the last transaction was refused, or is not over in time
        self._busy: Batch | None = None  # under way
        self._busy_since = 0.0
        self.dropped = 0  # operations that nobody waited for and that are lost
        self.log_id = 0  # of the last row of the log that is durable
        self.log_bytes = 0  # written to the log
        self.log_bytes_queued = 0
        self._wal = Path(f"{path}-wal")
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._entries: list[Entry] = []
        self._pending: list[Operation] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._checkpointing: asyncio.Task[None] | None = None
        self._beside: aiosqlite.Connection | None = None  # for checkpoints
        self._task = self._loop.create_task(self._run())

    def __len__(self) -> int:
        """How many operations wait for the next transaction."""
        return len(self._pending) + len(self._entries)

    @classmethod
    async def open(cls, path: Path, schema: Schema, *, synchronous: str) -> "Writer":
        """Open or create the file (mode 0600); raises StoreError when that cannot be.

        A file of another format version is refused and left as it is.
        """
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = await aiosqlite.connect(path, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: {error}") from error
        writer = cls(path, connection)
        try:
            await writer.call(partial(prepare, schema=schema, synchronous=synchronous))
            await writer.call(compact)
        except StoreError as error:
            await writer.close()
            raise StoreError(f"{path}: {error}") from error
        except BaseException:
            await writer.close()  # its thread would keep the process alive
            raise
        return writer

    def submit(self, statement: Statement, row: Row, after: After = None) -> Told:
        """Queue a statement; the slot resolves when it is durable. `after` is called then; it must not raise."""
        assert not self._closing, "the store is closed"
        told: Told = Slot()
        self._pending.append(Operation(statement, row, told, after))
        self._wake.set()
        return told

    def put(self, statement: Statement, row: Row, after: After = None) -> None:
        """Queue a statement that nobody waits for: it goes with the next operation that somebody does wait
        for, or after PUT_DELAY_S. It is tried again while the disk refuses it.
        """
        assert not self._closing, "the store is closed"
        self._pending.append(Operation(statement, row, after=after))
        self._soon()

    def log(self, record: bytes, after: After = None) -> Told:
        """Queue a record; when it is durable `after` is called, and the slot resolves."""
        assert not self._closing, "the store is closed"
        told: Told = Slot()
        self._entries.append((record, told, after))
        self.log_bytes_queued += len(record)
        self._wake.set()
        return told

    def put_log(self, record: bytes, after: After = None) -> None:
        """Queue a record that nobody waits for, as `put` does a statement."""
        assert not self._closing, "the store is closed"
        self._entries.append((record, None, after))
        self.log_bytes_queued += len(record)
        self._soon()

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(PUT_DELAY_S, self._wake.set)

    async def call(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a function on the writer's thread, between transactions; raises StoreError."""
        try:
            # aiosqlite offers no public way to run a callable on its thread: hence the pinned range.
            result: Result = await self._connection._execute(function, self._connection._conn)  # type: ignore[no-untyped-call]  # noqa: SLF001
        except (sqlite3.Error, MemoryError) as error:
            raise StoreError(str(error) or repr(error)) from error
        return result

    async def close(self) -> None:
        """Commit what is queued, then close. What the disk refuses now is lost."""
        self._closing = True
        self._wake.set()
        await self._task
        if self._checkpointing is not None:
            await self._checkpointing
        if self._beside is not None:
            await self._beside.close()
        with suppress(StoreError):
            await self.call(checkpoint)
        await self._connection.close()

    def nudge(self) -> None:
        """Try again what the disk refused. Called once per tick."""
        if self._pending or self._entries:
            self._wake.set()

    def expire(self, timeout_s: float) -> None:
        """Tell whoever waits that the disk does not answer, if a transaction has been under way for so long.

        What they asked for may yet become durable: then what comes after it is called all the same.
        """
        batch = self._busy
        if batch is None or self._loop.time() - self._busy_since < timeout_s:
            return
        self.failing = True
        waiting = [told for _, told, _ in (*batch.entries, *self._entries)]
        waiting += [each.told for each in (*batch.operations, *self._pending)]
        for told in waiting:
            if told is not None:
                told.resolve(Stalled(f"the disk has not answered for {timeout_s:.0f} s"))

    async def _run(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            await self._commit_pending()
        if not await self._commit_pending():
            self.dropped += len(self)

    async def _commit_pending(self) -> bool:
        """Whether nothing was refused."""
        if self.broken:  # what was lost can still be read from the log, at the next start
            self._pending = [each for each in self._pending if not each.statement.forgets]
        batch = Batch(self.log_id + 1, self._taken(), self._pending)
        self._pending = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not batch.entries and not batch.operations:
            return True
        batch.operations.sort(key=_by_order)
        started = self._busy_since = self._loop.time()
        self._busy = batch
        try:
            bad = await self.call(partial(transact, batch=batch))
        except Exception as error:  # noqa: BLE001 - the loop of the one writer must not end
            self.failing = True
            self._refuse(batch, error)
            with suppress(
                StoreError
            ):  # it may have filled the disk itself: this lets it begin again
                await self.call(checkpoint)
            return False
        finally:
            self._busy = None
        self.failing = False
        self.commits += 1
        self.commit_seconds += self._loop.time() - started
        if bad:
            self._give_up(bad)
        self._tell(batch)
        if self.commits % CHECKPOINT_EVERY == 0 and is_long(self._wal):
            if self._checkpointing is None:
                self._checkpointing = self._loop.create_task(self._checkpoint())
            else:  # commits are faster than it: the log would grow without end
                self._busy, self._busy_since = Batch(self.log_id, [], []), self._loop.time()
                await self._checkpointing
                self._busy, self.failing = None, False
        return True

    async def _checkpoint(self) -> None:
        """Move most of the write-ahead log on a thread of its own, while commits go on; then what has come meanwhile,
        between two of them: only then does the log begin again."""
        try:
            with suppress(OSError, sqlite3.Error):
                if self._beside is None:
                    self._beside = await aiosqlite.connect(self.path, isolation_level=None)
                await self._beside._execute(checkpoint, self._beside._conn)  # type: ignore[no-untyped-call]  # noqa: SLF001
            with suppress(StoreError):
                await self.call(checkpoint)
        finally:
            self._checkpointing = None

    def _taken(self) -> list[Entry]:
        """The records for the next row of the log: all of them, unless that would be too long a row."""
        if self.log_bytes_queued <= ROW_BYTES_MAX:
            self.log_bytes_queued = 0
            entries, self._entries = self._entries, []
            return entries
        size = count = 0
        for record, _, _ in self._entries:
            size += len(record)
            count += 1
            if size > ROW_BYTES_MAX:
                break
        entries, self._entries = self._entries[:count], self._entries[count:]
        self.log_bytes_queued = sum(len(record) for record, _, _ in self._entries)
        if self._entries:
            self._wake.set()
        return entries

    def _tell(self, batch: Batch) -> None:
        if batch.entries:
            self.log_id = batch.log_id
        for record, told, after in batch.entries:
            self.log_bytes += len(record)
            if after is not None:
                after()
            if told is not None:
                told.resolve(None)
        for operation in batch.operations:
            if operation.told is not None:
                operation.told.resolve(None)
            if operation.after is not None:
                operation.after()
        if self.committed is not None and not self._closing:
            self.committed()

    def _give_up(self, bad: Bad) -> None:
        """These rows will never be taken; what else was in the transaction is durable."""
        for operation, error in bad:
            operation.after = None
            self.broken = self.broken or operation.statement.essential
            if operation.told is None:
                self.dropped += 1
            else:
                operation.told.resolve(StoreError(repr(error)))

    def _refuse(self, batch: Batch, error: Exception) -> None:
        entries = [entry for entry in batch.entries if entry[1] is None]
        kept = [operation for operation in batch.operations if operation.told is None]
        if len(self) + len(entries) + len(kept) > PUTS_MAX:
            essential = [operation for operation in kept if operation.statement.essential]
            self.dropped += len(entries) + len(kept) - len(essential)
            entries, kept = [], essential
        # They go first, but with the next operation or tick: no busy loop on a full disk.
        self._entries[:0] = entries
        self._pending[:0] = kept
        self.log_bytes_queued += sum(len(record) for record, _, _ in entries)
        trouble = StoreError(str(error))
        waiting = [entry[1] for entry in batch.entries]
        waiting += [operation.told for operation in batch.operations]
        for told in waiting:
            if told is not None:
                told.resolve(trouble)
