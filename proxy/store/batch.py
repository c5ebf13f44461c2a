"""One transaction, as the writer's thread carries it out: statements on rows, and records for the log.

Law: all or nothing; a row that can never be taken does not keep the others from the disk.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from proxy.fiber import Slot
from rules.payload import digest

Row = Sequence[Any]
After = Callable[[], None] | None

WAL_BYTES_MAX = 4 * 1024 * 1024
"""The write-ahead log is checkpointed beyond this: SQLite's own default of 1,000 pages, but after the
waiters are told (5 ms instead of 8 ms at p99.9: storage.md)."""

COMPACT_BYTES_MIN = 64 * 1024 * 1024
"""A file with less to give back is left as it is."""

COMPACT_BYTES_MAX = 64 * 1024 * 1024
"""A file with more in it is not written anew: a start would take a second and more."""

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


_LOG = "INSERT INTO log (id, digest, records) VALUES (?, ?, ?)"


class StoreError(Exception):
    """The store could not make an operation durable: disk full, I/O error, damaged file."""


class Stalled(StoreError):
    """The disk does not answer: the operation may yet become durable."""


Told = Slot[StoreError | None]
"""Resolves when an operation is durable, or with why it is not."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one kind of file: its format version, and a script that makes what is not there.

    The script keeps the version in the table `meta`, under the name `version`. `migrations`: by the
    version that is found, what makes the next one of it.
    """

    version: int
    script: str
    migrations: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Statement:
    """One kind of operation. Within a transaction a lower `order` runs first: that of a row's life.

    `sql` is for one row. `many`, where it is given, is the same for several at once, with `{rows}`
    for the lists of values. `keyed`: of rows with the same last value (the id) only the last one counts.
    `essential`: nothing else records what it does, so it is never given up while the disk refuses it.
    `forgets`: it removes what stands elsewhere: not carried out once an essential row was lost.
    """

    order: int
    sql: str
    many: str = ""
    keyed: bool = False
    essential: bool = False
    forgets: bool = False


@dataclass(slots=True)
class Operation:
    """A statement and its row; who waits for it, and what is called when it is durable."""

    statement: Statement
    row: Row
    told: Told | None = None
    after: After = None


Entry = tuple[bytes, Told | None, After]
"""A record, who waits for it, and what is called when it is durable."""

Bad = list[tuple[Operation, Exception]]

_by_statement = attrgetter("statement")


@dataclass(slots=True)
class Batch:
    """What one transaction carries out."""

    log_id: int
    entries: list[Entry]
    operations: list[Operation]

    def log(self) -> Row:
        """The row of the log."""
        records = b"".join([entry[0] for entry in self.entries])
        return self.log_id, digest(records), records


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


def prepare(connection: sqlite3.Connection, schema: Schema, synchronous: str) -> None:
    """Set a connection up, and make the tables that are not there; raises StoreError for another version."""
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; 3.33 or newer is needed")
    found = _version(connection)
    if found not in (None, schema.version, *schema.migrations):
        raise StoreError(f"format version {found}; this release knows {schema.version}")
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StoreError("the file system allows no write-ahead log")
    for pragma in (
        f"synchronous={synchronous}",
        "wal_autocheckpoint=0",
        f"journal_size_limit={WAL_BYTES_MAX}",
        "foreign_keys=OFF",
        "secure_delete=FAST",  # Debian's SQLite zeroes what is deleted: decision 0019
        "cache_size=-4096",
    ):
        connection.execute(f"PRAGMA {pragma}")
    scripts = [schema.migrations[each] for each in _versions(found, schema.version)]
    now = f"UPDATE meta SET value = {schema.version} WHERE name = 'version';"
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE; {' '.join(scripts)} {schema.script} {now} COMMIT;"
        )
    except sqlite3.Error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def compact(connection: sqlite3.Connection) -> bool:
    """Give the disk back what a backlog of former times took, if the file is mostly empty; whether it was.

    Only at start: it writes all that is left anew (some 10 ms a MiB), and would hold up every commit meanwhile.
    """
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    left = (pages - free) * page_bytes
    if (
        free * page_bytes < COMPACT_BYTES_MIN
        or left > free * page_bytes // 4
        or left > COMPACT_BYTES_MAX
    ):
        return False
    with suppress(sqlite3.Error):  # no room for the copy: later, then
        connection.execute("VACUUM")
        checkpoint(connection)
    return True


def _versions(found: object, to: int) -> range:
    """The versions to migrate from, one after the other; none for a new file."""
    return range(found, to) if isinstance(found, int) else range(0)


def _version(connection: sqlite3.Connection) -> object:
    """The format version of the file; None when it is new."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if not tables:
        return None
    if ("meta",) not in tables:
        return "unknown"
    row = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    return "unknown" if row is None else row[0]


def transact(connection: sqlite3.Connection, batch: Batch) -> Bad:
    """Carry out a batch in one transaction, without the rows that can never be taken: these come back."""
    assert not connection.in_transaction, "a transaction has been left open"
    if not batch.operations:
        connection.execute(_LOG, batch.log())  # a transaction of its own
        return []
    bad: Bad = []
    try:
        with transaction(connection):
            if batch.entries:
                connection.execute(_LOG, batch.log())
            for statement, operations in groupby(batch.operations, _by_statement):
                _carry_out(connection, statement, [operation.row for operation in operations])
    except _NEVER:
        with transaction(connection):
            if batch.entries:
                connection.execute(_LOG, batch.log())
            for operation in batch.operations:
                if operation.statement.forgets and any(lost.statement.essential for lost, _ in bad):
                    continue
                try:
                    connection.execute(operation.statement.sql, operation.row)
                except _NEVER as error:
                    bad.append((operation, error))
    return bad


def is_long(wal: Path) -> bool:
    """Whether the write-ahead log has outgrown WAL_BYTES_MAX."""
    try:
        return wal.stat().st_size > WAL_BYTES_MAX
    except OSError:
        return False


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


def checkpoint(connection: sqlite3.Connection) -> None:
    """Move what is in the write-ahead log to the database, as far as no reader is in the way."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
