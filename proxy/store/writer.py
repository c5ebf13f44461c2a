"""One SQLite file, one connection, one thread: group commit.

Law: while one transaction is committed, everything that arrives waits in a list; then all of it is
the next transaction. Source: storage.md, "group commit": 91,500 durable writes/s at 64 in flight
against 4,700 with one commit per write.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

Result = TypeVar("Result")
Row = Sequence[Any]
After = Callable[[], None] | None

WAL_BYTES_MAX = 4 * 1024 * 1024
"""The write-ahead log is checkpointed beyond this: SQLite's own default of 1,000 pages, but after the
waiters are told (5 ms instead of 8 ms at p99.9: storage.md)."""

PUT_DELAY_S = 0.02
"""How long an operation that nobody waits for may wait for company: a commit costs an fdatasync (0.1-0.2
ms of this machine's disk, milliseconds of others'), whatever is in it. A crash repeats what was not yet written."""

PUTS_MAX = 100_000
"""Operations that nobody waits for, kept for the next try while the disk refuses them. Beyond it they
are lost and counted (`dropped`): a restart then repeats what they would have recorded."""

ROWS_MAX = 64
"""Rows in one statement; 16 columns each is far below SQLite's 32,766 variables."""

SQLITE_MIN = (3, 33, 0)
"""UPDATE ... FROM came with this version (2020)."""

_NEVER = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    TypeError,
    ValueError,  # UnicodeEncodeError: a lone surrogate
)
"""What is wrong with one row, and will be at every further try; everything else is the disk's trouble."""


class StoreError(Exception):
    """The store could not make an operation durable: disk full, I/O error, damaged file."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one kind of file: its format version, and a script that makes what is not there.

    The script keeps the version in the table `meta`, under the name `version`.
    """

    version: int
    script: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One kind of operation. Within a transaction a lower `order` runs first: that of a row's life.

    `sql` is for one row. `many`, where it is given, is the same for several at once, with `{rows}`
    for the lists of values. `keyed`: of rows with the same last value (the id) only the last one counts.
    """

    order: int
    sql: str
    many: str = ""
    keyed: bool = False


@dataclass(slots=True)
class _Operation:
    statement: Statement
    row: Row
    waiter: asyncio.Future[None] | None = None
    after: After = None


_Bad = list[tuple[_Operation, Exception]]

_by_order = attrgetter("statement.order")
_by_statement = attrgetter("statement")


class Writer:
    """The writer of one file. Use `open`, not the constructor."""

    def __init__(self, path: Path, connection: aiosqlite.Connection) -> None:
        self.path = path
        self.commits = 0
        self.commit_seconds = 0.0
        self.dropped = 0  # operations that nobody waited for and that are lost
        self._wal = Path(f"{path}-wal")
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._pending: list[_Operation] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._task = self._loop.create_task(self._run())

    def __len__(self) -> int:
        """How many operations wait for the next transaction."""
        return len(self._pending)

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
            await writer.call(partial(_prepare, schema=schema, synchronous=synchronous))
        except StoreError as error:
            await writer.close()
            raise StoreError(f"{path}: {error}") from error
        except BaseException:
            await writer.close()  # its thread would keep the process alive
            raise
        return writer

    def submit(self, statement: Statement, row: Row, after: After = None) -> asyncio.Future[None]:
        """Queue an operation; the future resolves when it is durable, or fails with StoreError.

        `after` is called when it is durable; it must not raise.
        """
        assert not self._closing, "the store is closed"
        waiter = self._loop.create_future()
        self._pending.append(_Operation(statement, row, waiter, after))
        self._wake.set()
        return waiter

    def put(self, statement: Statement, row: Row, after: After = None) -> None:
        """Queue an operation that nobody waits for: it goes with the next one that somebody does wait for,
        or after PUT_DELAY_S. It is tried again while the disk refuses it.
        """
        assert not self._closing, "the store is closed"
        self._pending.append(_Operation(statement, row, after=after))
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
        with suppress(StoreError):
            await self.call(_checkpoint)
        await self._connection.close()

    def nudge(self) -> None:
        """Try again what the disk refused. Called once per tick."""
        if self._pending:
            self._wake.set()

    async def _run(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            await self._commit_pending()
        if not await self._commit_pending():
            self.dropped += len(self._pending)

    async def _commit_pending(self) -> bool:
        """Whether nothing was refused."""
        batch, self._pending = self._pending, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not batch:
            return True
        batch.sort(key=_by_order)
        started = self._loop.time()
        try:
            bad, is_long = await self.call(partial(_transact, batch=batch, wal=self._wal))
        except Exception as error:  # noqa: BLE001 - the loop of the one writer must not end
            self._refuse(batch, error)
            return False
        self.commits += 1
        self.commit_seconds += self._loop.time() - started
        if bad:
            self._give_up(bad)
        self._tell(batch)
        if is_long:
            with suppress(StoreError):
                await self.call(_checkpoint)
        return True

    def _tell(self, batch: list[_Operation]) -> None:
        for operation in batch:
            if operation.waiter is not None and not operation.waiter.done():
                operation.waiter.set_result(None)
            if operation.after is not None:
                operation.after()

    def _give_up(self, bad: _Bad) -> None:
        """These rows will never be taken; what else was in the transaction is durable."""
        for operation, error in bad:
            operation.after = None
            if operation.waiter is None:
                self.dropped += 1
            elif not operation.waiter.done():
                operation.waiter.set_exception(StoreError(repr(error)))

    def _refuse(self, batch: list[_Operation], error: Exception) -> None:
        kept = [operation for operation in batch if operation.waiter is None]
        for operation in batch:
            if operation.waiter is not None and not operation.waiter.done():
                operation.waiter.set_exception(StoreError(str(error)))
        # They go first, but with the next operation or tick: no busy loop on a full disk.
        if len(self._pending) + len(kept) <= PUTS_MAX:
            self._pending = kept + self._pending
        else:
            self.dropped += len(kept)


def storable(text: str) -> str:
    """Text as SQLite takes it: lone surrogates, which are no Unicode, become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _prepare(connection: sqlite3.Connection, schema: Schema, synchronous: str) -> None:
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; 3.33 or newer is needed")
    found = _version(connection)
    if found is not None and found != schema.version:
        raise StoreError(f"format version {found}; this release knows {schema.version}")
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StoreError("the file system allows no write-ahead log")
    for pragma in (
        f"synchronous={synchronous}",
        "wal_autocheckpoint=0",
        f"journal_size_limit={WAL_BYTES_MAX}",
        "foreign_keys=OFF",
        "cache_size=-4096",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.executescript(f"BEGIN IMMEDIATE; {schema.script} COMMIT;")


def _version(connection: sqlite3.Connection) -> object:
    """The format version of the file; None when it is new."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if not tables:
        return None
    if ("meta",) not in tables:
        return "unknown"
    row = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    return "unknown" if row is None else row[0]


def _transact(
    connection: sqlite3.Connection, batch: list[_Operation], wal: Path
) -> tuple[_Bad, bool]:
    """Carry out a batch in one transaction, without the rows that can never be taken: these come back,
    and whether the write-ahead log is due for a checkpoint."""
    bad: _Bad = []
    try:
        with transaction(connection):
            for statement, operations in groupby(batch, _by_statement):
                _carry_out(connection, statement, [operation.row for operation in operations])
    except _NEVER:
        with transaction(connection):
            for operation in batch:
                try:
                    connection.execute(operation.statement.sql, operation.row)
                except _NEVER as error:
                    bad.append((operation, error))
    try:
        return bad, wal.stat().st_size > WAL_BYTES_MAX
    except OSError:
        return bad, False


def _carry_out(connection: sqlite3.Connection, statement: Statement, rows: list[Row]) -> None:
    """Rows of one kind. Several in one statement: sqlite3 lets go of the interpreter lock and has to
    win it back for each; under a busy loop that is 138 us a row instead of 976 (this machine)."""
    if not statement.many or len(rows) == 1:
        connection.executemany(statement.sql, rows)
        return
    if statement.keyed:
        rows = list({row[-1]: row for row in rows}.values())
    while rows:
        count = min(1 << (len(rows).bit_length() - 1), ROWS_MAX)  # few lengths: the SQL is cached
        chunk, rows = rows[:count], rows[count:]
        connection.execute(
            _many(statement, count, len(chunk[0])), [v for row in chunk for v in row]
        )


@cache
def _many(statement: Statement, count: int, width: int) -> str:
    values = f"({', '.join('?' * width)})"
    return statement.many.format(rows=", ".join([values] * count))


def _checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
