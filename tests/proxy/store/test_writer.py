"""The writer: group commit, what happens while the disk refuses, and what a bad row may spoil."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.store import schema
from proxy.store.batch import (
    WAL_BYTES_MAX,
    Schema,
    Stalled,
    Statement,
    StoreError,
    Told,
    storable,
)
from proxy.store.writer import CHECKPOINT_EVERY, PUTS_MAX, ROW_BYTES_MAX, Writer
from rules.payload import digest
from tests.proxy.samples import rows, until

SCHEMA = Schema(
    1,
    """
    CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, digest NOT NULL, records NOT NULL);
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value);
    INSERT OR IGNORE INTO meta VALUES ('version', 1);
    """,
)
NOTE = Statement(1, "INSERT INTO notes (text) VALUES (?)")
EARLIER = Statement(0, "INSERT INTO notes (text) VALUES (?)")
LATER = Statement(2, "INSERT INTO notes (text) VALUES (?)")


@asynccontextmanager
async def writing(directory: Path) -> AsyncIterator[Writer]:
    writer = await Writer.open(directory / "notes.db", SCHEMA, synchronous="FULL")
    try:
        yield writer
    finally:
        await writer.close()


def notes(writer: Writer) -> list[str]:
    return [row["text"] for row in rows(writer.path, "SELECT text FROM notes ORDER BY id")]


async def refuse(writer: Writer) -> None:
    """From now on the disk is full."""

    def limit(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    await writer.call(limit)


async def relent(writer: Writer) -> None:
    """There is room again."""
    await writer.call(lambda connection: connection.execute("PRAGMA max_page_count = 100000"))


async def tries(writer: Writer) -> list[str]:
    """Every transaction that is begun from now on."""
    begun: list[str] = []

    def note(sql: str) -> None:
        if sql.startswith("BEGIN"):
            begun.append(sql)

    await writer.call(lambda connection: connection.set_trace_callback(note))
    return begun


async def told_of(slots: Iterable[Told]) -> list[StoreError | None]:
    """What each of them comes to."""
    return [await slot for slot in slots]


@asynccontextmanager
async def held(writer: Writer) -> AsyncIterator[None]:
    """The writer's thread does nothing until the end."""
    free = threading.Event()
    holding = asyncio.ensure_future(writer.call(lambda _: free.wait(10)))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        free.set()
        await holding


def long(name: str) -> str:
    return name * 20_000  # more than a page: a full disk has no place for it


# group commit


async def test_what_arrives_together_is_one_transaction(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        assert not any(await told_of([writer.submit(NOTE, (f"{n}",)) for n in range(500)]))
        assert writer.commits == 1
        assert len(notes(writer)) == 500


async def test_what_arrives_during_a_commit_is_the_next_transaction(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        first = writer.submit(NOTE, ("first",))
        await until(lambda: not len(writer))
        rest = [writer.submit(NOTE, (f"{n}",)) for n in range(50)]
        assert not any(await told_of([first, *rest]))
        assert writer.commits == 2
        assert writer.commit_seconds > 0


async def test_a_waiter_is_told_only_when_the_row_is_durable(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        seen: list[list[str]] = []
        waiter = writer.submit(NOTE, ("a",))
        waiter.told = lambda: seen.append(notes(writer))
        assert notes(writer) == []
        await until(lambda: waiter.done)
        assert seen == [["a"]]


async def test_a_transaction_runs_in_the_order_of_a_rows_life(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        writer.put(LATER, ("5",))
        writer.put(NOTE, ("3",))
        writer.put(EARLIER, ("1",))
        writer.put(NOTE, ("4",))
        await writer.submit(EARLIER, ("2",))
        assert notes(writer) == ["1", "2", "3", "4", "5"]


async def test_what_nobody_waits_for_tells_when_it_is_durable(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        seen: list[list[str]] = []
        writer.put(NOTE, ("a",), after=lambda: seen.append(notes(writer)))
        await writer.submit(NOTE, ("b",))
        assert seen == [["a", "b"]]


async def test_a_waiter_that_went_away_harms_nobody(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        gone, kept = writer.submit(NOTE, ("a",)), writer.submit(NOTE, ("b",))
        gone.told = lambda: None
        gone.told = None
        assert await kept is None
        assert notes(writer) == ["a", "b"]


# the log


def log(writer: Writer) -> list[tuple[int, bytes]]:
    found = rows(writer.path, "SELECT * FROM log ORDER BY id")
    assert all(row["digest"] == digest(row["records"]) for row in found)
    return [(row["id"], row["records"]) for row in found]


async def test_the_records_of_a_transaction_are_one_row_in_the_order_they_came(
    tmp_path: Path,
) -> None:
    async with writing(tmp_path) as writer:
        writer.put_log(b"a")
        told = [writer.log(b"b"), writer.log(b"c")]
        assert await told_of(told) == [None, None]
        assert await writer.log(b"d") is None
        assert log(writer) == [(1, b"abc"), (2, b"d")]
        assert (writer.log_id, writer.log_bytes) == (2, 4)


async def test_records_and_rows_of_a_transaction_are_durable_together(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        writer.put(NOTE, ("a",))
        assert await writer.log(b"record") is None
        assert (notes(writer), log(writer), writer.commits) == (["a"], [(1, b"record")], 1)


async def test_a_transaction_without_records_is_no_row_of_the_log(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await writer.submit(NOTE, ("a",))
        assert (log(writer), writer.log_id) == ([], 0)


async def test_who_waits_for_a_record_is_told_after_what_is_called_and_in_order(
    tmp_path: Path,
) -> None:
    async with writing(tmp_path) as writer:
        seen: list[str] = []
        first = writer.log(b"a", lambda: seen.append(f"after a, row {writer.log_id}"))
        second = writer.log(b"b", lambda: seen.append("after b"))
        first.told = lambda: seen.append("told a")
        second.told = lambda: seen.append("told b")
        await until(lambda: second.done)
        assert seen == ["after a, row 1", "told a", "after b", "told b"]


async def test_a_full_disk_refuses_records_that_are_waited_for_and_keeps_the_others(
    tmp_path: Path,
) -> None:
    async with writing(tmp_path) as writer:
        await refuse(writer)
        called: list[str] = []
        writer.put_log(long("a").encode(), lambda: called.append("a"))
        assert isinstance(await writer.log(b"b", lambda: called.append("b")), StoreError)
        writer.put_log(b"c", lambda: called.append("c"))
        assert (len(writer), writer.log_id, called) == (2, 0, [])
        await relent(writer)
        assert await writer.log(b"d") is None
        assert log(writer) == [(1, long("a").encode() + b"cd")]
        assert called == ["a", "c"]


async def test_refused_records_stay_before_those_that_came_meanwhile(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await refuse(writer)
        async with held(writer):
            told = writer.log(long("lost").encode())
            writer.put_log(b"a")
            await until(lambda: not len(writer))  # under way
            writer.put_log(b"b")
        assert await told is not None
        await relent(writer)
        assert await writer.log(b"c") is None
        assert log(writer) == [(1, b"abc")]


async def test_a_bad_row_does_not_keep_the_records_from_the_disk(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        writer.put(NOTE, ("\ud800",))
        assert await writer.log(b"record") is None
        assert (log(writer), writer.dropped) == ([(1, b"record")], 1)


async def test_more_records_than_it_can_keep_are_lost_and_counted(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await refuse(writer)
        writer.put(NOTE, (long("a"),))
        for _ in range(PUTS_MAX):
            writer.put_log(b"x")
        await until(lambda: writer.dropped)
        assert (writer.dropped, len(writer)) == (PUTS_MAX + 1, 0)


ESSENTIAL = replace(NOTE, essential=True)
FORGET = Statement(3, "DELETE FROM notes WHERE text = ?", forgets=True)


async def test_nothing_is_forgotten_in_a_transaction_that_loses_an_essential_row_nor_after_it(
    tmp_path: Path,
) -> None:
    async with writing(tmp_path) as writer:
        await writer.submit(NOTE, ("kept",))
        writer.put(FORGET, ("kept",))
        writer.put(ESSENTIAL, ("\ud800",))
        await writer.submit(NOTE, ("a",))
        assert (notes(writer), writer.dropped) == (["kept", "a"], 1)
        writer.put(FORGET, ("kept",))
        await writer.submit(NOTE, ("b",))
        assert notes(writer) == ["kept", "a", "b"]


async def test_what_is_essential_is_never_given_up_and_what_rests_on_it_goes_on(
    tmp_path: Path,
) -> None:
    async with writing(tmp_path) as writer:
        await writer.submit(NOTE, ("old",))
        await refuse(writer)
        async with held(writer):
            writer.put(ESSENTIAL, (long("a"),))
            for n in range(PUTS_MAX):
                writer.put(NOTE, (n,))
            await until(lambda: not len(writer))  # under way
            writer.put(FORGET, ("old",))
        await until(lambda: writer.dropped)
        assert (writer.dropped, writer.broken) == (PUTS_MAX, False)
        await relent(writer)
        await writer.submit(NOTE, ("b",))
        assert notes(writer) == [long("a"), "b"]


async def test_a_row_of_the_log_has_its_limit_and_the_rest_comes_with_the_next(
    tmp_path: Path,
) -> None:
    async with writing(tmp_path) as writer:
        half = b"x" * (ROW_BYTES_MAX // 2)
        async with held(writer):
            writer.put_log(b"first")
            await until(lambda: not len(writer))  # under way
            told = [writer.log(half) for _ in range(4)]
        assert [await each for each in told] == [None] * 4
        assert [len(records) for _, records in log(writer)] == [5, 3 * len(half), len(half)]
        assert writer.log_bytes_queued == 0


# a disk that refuses


async def test_a_full_disk_fails_those_who_wait_and_only_them(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await writer.submit(NOTE, ("before",))
        await refuse(writer)
        failed = await told_of([writer.submit(NOTE, (long("a"),)), writer.submit(NOTE, ("b",))])
        assert [str(error) for error in failed] == ["database or disk is full"] * 2
        assert all(isinstance(error, StoreError) for error in failed)
        await relent(writer)
        await writer.submit(NOTE, ("after",))
        assert notes(writer) == ["before", "after"]


async def test_what_nobody_waits_for_is_kept_until_there_is_room(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await refuse(writer)
        writer.put(NOTE, (long("a"),))
        writer.put(NOTE, ("b",))
        assert await writer.submit(NOTE, ("lost",)) is not None
        assert (notes(writer), len(writer)) == ([], 2)
        await relent(writer)
        writer.nudge()
        await until(lambda: not len(writer) and len(notes(writer)) == 2)
        assert notes(writer) == [long("a"), "b"]
        assert writer.dropped == 0


async def test_what_was_kept_goes_before_what_comes_later(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await refuse(writer)
        writer.put(NOTE, (long("a"),))
        assert await writer.submit(NOTE, ("lost",)) is not None
        await relent(writer)
        await writer.submit(NOTE, ("b",))
        assert notes(writer) == [long("a"), "b"]


async def test_a_disk_that_refuses_is_asked_once_per_nudge(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await refuse(writer)
        begun = await tries(writer)
        writer.put(NOTE, (long("a"),))
        await until(lambda: begun)
        for _ in range(100):
            await writer.call(lambda _: None)  # a turn of the loop and of the writer's thread
        assert len(begun) == 1
        writer.nudge()
        await until(lambda: len(begun) > 1)
        await relent(writer)


async def test_nothing_pending_is_no_reason_to_ask(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        begun = await tries(writer)
        writer.nudge()
        for _ in range(10):
            await writer.call(lambda _: None)
        assert begun == []


async def test_more_than_it_can_keep_is_lost_and_counted(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await refuse(writer)
        writer.put(NOTE, (long("a"),))
        for n in range(PUTS_MAX):
            writer.put(NOTE, (n,))
        await until(lambda: writer.dropped)
        assert (writer.dropped, len(writer)) == (PUTS_MAX + 1, 0)


# a row that is bad


@pytest.mark.parametrize("bad", [None, "taken", "\ud800", 2**63, object()])
async def test_a_bad_row_spoils_only_itself(tmp_path: Path, bad: object) -> None:
    async with writing(tmp_path) as writer:
        await writer.submit(NOTE, ("taken",))
        good = writer.submit(NOTE, ("good",))
        waited = writer.submit(NOTE, (bad,))
        also = writer.submit(NOTE, ("also",))
        assert await told_of([good, also]) == [None, None]
        assert isinstance(await waited, StoreError)
        assert notes(writer) == ["taken", "good", "also"]


async def test_a_bad_row_that_nobody_waits_for_is_dropped_and_counted(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        called: list[int] = []
        writer.put(NOTE, ("\ud800",), after=lambda: called.append(1))
        writer.put(NOTE, ("a",), after=lambda: called.append(2))
        await writer.submit(NOTE, ("b",))
        assert (notes(writer), writer.dropped, called) == (["a", "b"], 1, [2])


async def test_text_that_is_no_unicode_can_be_made_storable(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await writer.submit(NOTE, (storable("a\ud800é"),))
        assert notes(writer) == ["a?é"]
    assert storable("plain") == "plain"


# reading, closing


async def test_a_call_runs_between_transactions(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await writer.submit(NOTE, ("a",))
        count = await writer.call(lambda db: db.execute("SELECT count(*) FROM notes").fetchone())
        assert count == (1,)


async def test_a_call_that_fails_says_why(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        with pytest.raises(StoreError, match="no such table: nowhere"):
            await writer.call(lambda db: db.execute("SELECT * FROM nowhere"))


async def test_closing_commits_what_is_queued(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        first = writer.submit(NOTE, ("a",))
        await until(lambda: not len(writer))
        writer.put(NOTE, ("b",))
        last = writer.submit(NOTE, ("c",))
    assert await told_of([first, last]) == [None, None]
    assert [path.name for path in tmp_path.iterdir()] == ["notes.db"]
    assert notes(writer) == ["a", "b", "c"]


async def test_closing_on_a_full_disk_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await refuse(writer)
        writer.put(NOTE, (long("a"),))
        waiter = writer.submit(NOTE, ("b",))
    assert isinstance(await waiter, StoreError)
    assert (writer.dropped, notes(writer)) == (1, [])


async def test_nothing_is_taken_after_the_end(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        pass
    with pytest.raises(AssertionError, match="closed"):
        writer.put(NOTE, ("a",))


async def test_the_log_is_folded_in_before_it_grows_long(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        wal = tmp_path / "notes.db-wal"
        longest = 0
        for n in range(100):
            await writer.submit(NOTE, (f"{n}" + "x" * 500_000,))
            longest = max(longest, wal.stat().st_size)
        noticed = WAL_BYTES_MAX + CHECKPOINT_EVERY * 1_100_000  # the text, and in its index
        assert (
            WAL_BYTES_MAX < longest < noticed + CHECKPOINT_EVERY * 1_100_000
        )  # commits go on beside it


# opening


async def test_a_file_is_for_its_owner_only(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await writer.submit(NOTE, ("a",))
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert modes == {"notes.db": 0o600, "notes.db-wal": 0o600, "notes.db-shm": 0o600}


async def test_what_was_written_is_there_the_next_time(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        await writer.submit(NOTE, ("a",))
    async with writing(tmp_path) as writer:
        await writer.submit(NOTE, ("b",))
        assert notes(writer) == ["a", "b"]


def of_another_version(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE meta (name, value, note)")
        db.execute("INSERT INTO meta VALUES ('version', 2, '')")
        db.commit()


def of_another_program(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE theirs (id)")
        db.commit()


def of_no_version(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE meta (name, value)")
        db.commit()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (of_another_version, "format version 2; this release knows 1"),
        (of_another_program, "format version unknown"),
        (of_no_version, "format version unknown"),
        (lambda file: file.write_bytes(b"not a database" * 100), "file is not a database"),
        (lambda file: file.mkdir(), "Is a directory"),
    ],
)
async def test_a_file_that_is_not_ours_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    file = tmp_path / "notes.db"
    make(file)
    before = None if file.is_dir() else file.read_bytes()
    with pytest.raises(StoreError, match=reason) as caught:
        await Writer.open(file, SCHEMA, synchronous="FULL")
    assert str(file) in str(caught.value)
    assert before is None or file.read_bytes() == before


async def test_a_schema_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    broken = Schema(1, f"{SCHEMA.script} CREATE TABLE notes (again);")
    with pytest.raises(StoreError, match="already exists"):
        await Writer.open(tmp_path / "notes.db", broken, synchronous="FULL")
    async with writing(tmp_path) as writer:
        assert notes(writer) == []


def changes(statement: Statement, count: int) -> list[tuple[object, ...]]:
    """Rows for a statement on intents, some of them for the same intent."""
    width = statement.sql.count("?")
    return [
        (*(f"value {number} {column}" for column in range(width - 1)), number % 150 + 1)
        for number in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 200])
@pytest.mark.parametrize(
    "name", ["SETTLE", "SETTLE_CLOSED", "SEND", "CONCLUDE", "CONCLUDE_CLOSED", "REMOVE"]
)
async def test_many_rows_at_once_do_what_one_after_the_other_does(
    tmp_path: Path, name: str, count: int
) -> None:
    statement = getattr(schema, name)
    begun = [(number, *("a" * (len(schema.ROW) - 1))) for number in range(1, 151)]
    found = []
    for form in (statement, Statement(statement.order, statement.sql)):
        writer = await Writer.open(
            tmp_path / f"{bool(form.many)}.db", schema.JOURNAL, synchronous="OFF"
        )
        for row in begun:
            writer.put(schema.FOLD, row)
        for row in changes(form, count):
            writer.put(form, row)
        await writer.close()
        found.append([tuple(row) for row in rows(writer.path, "SELECT * FROM intents ORDER BY id")])

    assert found[0] == found[1]
    assert len(found[0]) == (150 - min(count, 150) if name == "REMOVE" else 150)


async def test_a_disk_that_hangs_in_a_checkpoint_is_noticed_and_recovers(tmp_path: Path) -> None:
    async with writing(tmp_path) as writer:
        for number in range(CHECKPOINT_EVERY - 1):
            await writer.submit(NOTE, (f"{number}",))
        last = writer.submit(NOTE, ("last",))
        async with held(writer):  # from the end of this commit on: the checkpoint stands behind it
            assert await last is None
            waiting = writer.submit(NOTE, ("waiting",))

            def is_noticed() -> bool:
                writer.expire(0.02)
                return waiting.done

            await until(is_noticed, 2)
            assert isinstance(await waiting, Stalled)
            assert writer.failing
        await until(lambda: not writer.failing and not len(writer))
        await writer.call(lambda _: None)
        assert notes(writer)[-2:] == ["last", "waiting"]  # it became durable all the same
