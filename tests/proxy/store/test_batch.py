"""One transaction: all or nothing, rows that are bad, records that are one row, and what may forget."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.fiber import Slot
from proxy.store.batch import (
    ROWS_MAX,
    WAL_BYTES_MAX,
    Batch,
    Operation,
    Schema,
    Statement,
    StoreError,
    checkpoint,
    compact,
    is_long,
    prepare,
    storable,
    transact,
    transaction,
)
from rules.payload import digest

SCHEMA = Schema(
    3,
    """
    CREATE TABLE IF NOT EXISTS notes (text NOT NULL UNIQUE, number);
    CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, digest NOT NULL, records NOT NULL);
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value);
    INSERT OR IGNORE INTO meta VALUES ('version', 3);
    """,
)
NOTE = Statement(0, "INSERT INTO notes VALUES (?, ?)", "INSERT INTO notes VALUES {rows}")
CHANGE = Statement(
    1,
    "UPDATE notes SET number = ? WHERE text = ?",
    "UPDATE notes SET number = v.column1 FROM (VALUES {rows}) AS v WHERE text = v.column2",
    keyed=True,
)
FORGET = Statement(2, "DELETE FROM notes WHERE text = ?", forgets=True)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "notes.db", isolation_level=None)) as connection:
        prepare(connection, SCHEMA, "FULL")
        yield connection


def notes(db: sqlite3.Connection) -> list[tuple[str, object]]:
    return db.execute("SELECT text, number FROM notes ORDER BY rowid").fetchall()


def log(db: sqlite3.Connection) -> list[tuple[int, bytes, bytes]]:
    return db.execute("SELECT * FROM log").fetchall()


def batch(*operations: tuple[Statement, object], records: tuple[bytes, ...] = ()) -> Batch:
    return Batch(
        7,
        [(each, Slot(), None) for each in records],
        [Operation(statement, row) for statement, row in operations],  # type: ignore[arg-type]
    )


def test_records_are_one_row_with_their_digest(db: sqlite3.Connection) -> None:
    assert transact(db, batch(records=(b"a", b"bc"))) == []
    assert log(db) == [(7, digest(b"abc"), b"abc")]
    assert not db.in_transaction


def test_rows_and_records_go_together(db: sqlite3.Connection) -> None:
    assert transact(db, batch((NOTE, ("a", 1)), (CHANGE, (2, "a")), records=(b"r",))) == []
    assert (notes(db), len(log(db))) == ([("a", 2)], 1)


def test_a_row_of_the_log_that_is_taken_already_changes_nothing(db: sqlite3.Connection) -> None:
    transact(db, batch(records=(b"a",)))
    for again in (batch(records=(b"b",)), batch((NOTE, ("a", 1)), records=(b"b",))):
        with pytest.raises(sqlite3.IntegrityError):
            transact(db, again)
        assert (notes(db), log(db)) == ([], [(7, digest(b"a"), b"a")])
        assert not db.in_transaction


def test_what_the_disk_refuses_changes_nothing(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA query_only = 1")
    for refused in (batch(records=(b"b",)), batch((NOTE, ("a", 1)), records=(b"b",))):
        with pytest.raises(sqlite3.OperationalError):
            transact(db, refused)
        assert (notes(db), log(db), db.in_transaction) == ([], [], False)


def test_a_bad_row_comes_back_and_the_others_are_taken(db: sqlite3.Connection) -> None:
    given = batch((NOTE, ("a", 1)), (NOTE, (None, 2)), (NOTE, ("c", 3)), records=(b"r",))
    ((operation, error),) = transact(db, given)
    assert (operation.row, type(error)) == ((None, 2), sqlite3.IntegrityError)
    assert (notes(db), len(log(db))) == ([("a", 1), ("c", 3)], 1)


def test_nothing_is_forgotten_where_an_essential_row_is_bad(db: sqlite3.Connection) -> None:
    essential = replace(NOTE, essential=True)
    transact(db, batch((NOTE, ("a", 1))))
    bad = transact(db, batch((essential, ("\ud800", 2)), (FORGET, ("a",))))
    assert [operation.row for operation, _ in bad] == [("\ud800", 2)]
    assert notes(db) == [("a", 1)]
    transact(db, batch((NOTE, ("\ud800", 2)), (FORGET, ("no such",))))
    assert notes(db) == [("a", 1)]
    assert transact(db, batch((FORGET, ("a",)))) == []
    assert notes(db) == []


def test_a_transaction_that_was_left_open_is_a_bug_and_not_told_as_durable(
    db: sqlite3.Connection,
) -> None:
    db.execute("BEGIN")
    with pytest.raises(AssertionError, match="left open"):
        transact(db, batch(records=(b"r",)))


@pytest.mark.parametrize("count", [1, 2, 3, ROWS_MAX - 1, ROWS_MAX, ROWS_MAX + 1, 3 * ROWS_MAX + 5])
def test_many_rows_of_a_kind_are_few_statements(db: sqlite3.Connection, count: int) -> None:
    ran: list[str] = []
    db.set_trace_callback(lambda sql: ran.append(sql[:6]))
    rows = [(NOTE, (f"{n}", n)) for n in range(count)]
    changes = [(CHANGE, (n + 1, f"{n % 2}")) for n in range(count)]  # of an id the last one counts
    assert transact(db, batch(*rows, *changes)) == []
    assert ran.count("INSERT") <= count.bit_length() + count // ROWS_MAX
    expected = {f"{n}": n for n in range(count)}
    expected |= {f"{n % 2}": n + 1 for n in range(count) if f"{n % 2}" in expected}
    assert dict(notes(db)) == expected


def test_a_transaction_that_fails_is_undone(db: sqlite3.Connection) -> None:
    def fail() -> None:
        with transaction(db):
            db.execute("INSERT INTO notes VALUES ('a', 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (notes(db), db.in_transaction) == ([], False)


def test_a_file_is_made_once_and_another_version_is_refused(db: sqlite3.Connection) -> None:
    transact(db, batch((NOTE, ("a", 1))))
    prepare(db, SCHEMA, "FULL")
    assert notes(db) == [("a", 1)]
    with pytest.raises(StoreError, match="format version 3; this release knows 4"):
        prepare(db, Schema(4, SCHEMA.script), "FULL")


def test_a_checkpoint_moves_the_write_ahead_log_to_the_database(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    file, wal = tmp_path / "notes.db", tmp_path / "notes.db-wal"
    transact(db, batch((NOTE, ("a" * 100_000, 1))))
    assert not is_long(wal)
    assert file.stat().st_size < 100_000
    checkpoint(db)
    assert file.stat().st_size > 100_000
    transact(db, batch((NOTE, ("b" * WAL_BYTES_MAX, 1))))
    assert is_long(wal)
    checkpoint(db)
    assert file.stat().st_size > WAL_BYTES_MAX
    assert not is_long(tmp_path / "nowhere")


def test_text_that_is_no_unicode_can_be_made_storable(db: sqlite3.Connection) -> None:
    assert storable("a\ud800é") == "a?é"
    assert transact(db, batch((NOTE, (storable("\udfff"), 1)))) == []


def filled(path: Path, rows: int) -> None:
    """A file with so many rows of a MiB, all but one of them deleted again."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE one (id INTEGER PRIMARY KEY, body BLOB)")
        for number in range(rows):
            db.execute("INSERT INTO one VALUES (?, zeroblob(1048576))", (number,))
        db.execute("DELETE FROM one WHERE id > 0")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@pytest.mark.parametrize(("rows", "compacted"), [(70, True), (30, False)])
def test_a_file_that_is_mostly_empty_gives_the_disk_back(
    tmp_path: Path, rows: int, compacted: bool
) -> None:
    path = tmp_path / "file.db"
    filled(path, rows)
    before = path.stat().st_size
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert compact(db) is compacted
        assert db.execute("SELECT id, length(body) FROM one").fetchall() == [(0, 1048576)]
    assert (path.stat().st_size < before / 10) is compacted


def test_a_file_with_much_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    filled(path, 100)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for number in range(1, 40):
            db.execute("INSERT INTO one VALUES (?, zeroblob(1048576))", (number,))
        assert not compact(db)
