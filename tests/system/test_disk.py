"""A disk that is full, that fails, that comes back, and a clock that jumps: no write is lost, none is made up."""

import asyncio
import errno
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.system.harness import (
    Sidecar,
    Status,
    assert_balanced,
    caught_up,
    counted,
    run_cli,
    start_sidecar,
    wait_until,
    write_config,
)
from tests.system.room import Room, make_room
from tests.system.shim import Shim, make_shim
from tests.system.stores import Dump, Stores, assert_same_order, start_stores
from tests.system.writers import Book, Connection, Mix, Write, Writers

pytestmark = pytest.mark.system

ROOM_MIB = 16
RATE = 400.0
CLIENTS = 16
MIX = Mix(keys=20, sizes=(100, 100, 100, 20_000))
"""The longest value is longer than `spool_memory_bytes_max`."""

SMALL = Mix(keys=20, sizes=(100,))
"""Values that need no spool: on a full disk a longer one is refused, whatever is configured."""

SOME = 100
"""Writes that are waited for before the next thing happens."""

PATIENCE_SECONDS = 20.0
DAY_SECONDS = 86_400.0


@dataclass(slots=True)
class Scene:
    """A sidecar between two stores, under load."""

    sidecar: Sidecar
    stores: Stores
    writers: Writers
    load: asyncio.Task[None]

    @property
    def book(self) -> Book:
        return self.writers.book

    async def answers(self, status: int, count: int = SOME) -> None:
        """Wait for so many further answers of one status."""
        before = len(self.book.refs(status))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.book.refs(status)) < before + count:
                await asyncio.sleep(0.01)

    async def level(self, word: str) -> Status:
        """Wait until the sidecar says that it works at this level."""
        return await wait_until(self.sidecar, lambda it: it["level"] == word, PATIENCE_SECONDS)

    async def rest(self) -> Status:
        """Stop the load and wait until nothing is owed."""
        self.writers.stop()
        await self.load
        status = await caught_up(self.sidecar, PATIENCE_SECONDS)
        assert_balanced(status)
        return status


@asynccontextmanager
async def scene(
    directory: Path,
    journal: Path,
    *within: str,
    mix: Mix = MIX,
    keys: str = "",
    shim: Shim | None = None,
) -> AsyncIterator[Scene]:
    """Start all of it; the sidecar is stopped, and what it logged looked at, at the end."""
    async with AsyncExitStack() as stack:
        stores = await start_stores(directory, stack)
        config = write_config(directory, stores.config(journal, f"done_hold_seconds = 1\n{keys}"))
        settings = {} if shim is None else shim.environment()
        sidecar = await start_sidecar(config, *within, **settings)
        stack.push_async_callback(sidecar.child.stop)
        writers = Writers(int(sidecar.port), mix, RATE, seed=1)
        load = asyncio.create_task(writers.run(CLIENTS))
        try:
            yield Scene(sidecar, stores, writers, load)
        finally:
            writers.stop()
            await load
    log = config.with_name("sidecar.log").read_text().splitlines()
    failures = {line.partition('"traceback"')[2] for line in log} - {""}
    assert not failures, failures


async def refusal(sidecar: Sidecar) -> bytes:
    """The head of one 503."""
    connection = await Connection.to(int(sidecar.port))
    assert await connection.ask(Write("refused", "PUT", "/k/refused")) == 503
    connection.close()
    return connection.head


async def is_ready(sidecar: Sidecar) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{sidecar.admin}/readyz") as reply:
        return reply.status == 200


def gap_writes(status: Status) -> int:
    """How many writes are in gaps that the journal's trouble made."""
    gaps = status["gaps"]
    assert isinstance(gaps, list)
    return sum(gap["writes"] for gap in gaps if gap["reason"] == "journal_error")


def assert_sound(journal: Path, directory: Path) -> None:
    """Both files are whole, after a stop; looked at in a copy below `directory`: SQLite takes no /proc path."""
    copy = Path(shutil.copytree(journal, directory / "copy"))
    for name in ("journal.db", "ledger.db"):
        with closing(sqlite3.connect(copy / name)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
        assert found == [("ok",)], name


def assert_equal(legacy: Dump, new: Dump) -> None:
    assert_same_order(legacy, new)
    assert legacy.values == new.values
    assert not new.doubled()


def assert_refused_were_not_sent(book: Book, legacy: Dump) -> None:
    """What was answered 503 never reached the primary; what was answered 200 did."""
    sent = set(legacy.times())
    assert book.refs(200) == sent
    assert not book.refs(503) & sent
    assert {status for _, _, status in book.answered} <= {200, 503}
    assert book.unanswered == []


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """A small disk."""
    async with AsyncExitStack() as stack:
        yield await make_room(tmp_path / "small", ROOM_MIB, stack)


async def test_a_full_disk_rejects_writes_until_there_is_space_again(
    tmp_path: Path, room: Room
) -> None:
    async with scene(tmp_path, room.inside / "data", *room.within) as on:
        await on.answers(200)
        room.fill()
        await on.answers(503)
        assert b"\r\nRetry-After: " in await refusal(on.sidecar)
        await on.level("rejecting")
        assert not await is_ready(on.sidecar)
        room.free()
        await on.answers(200)
        await on.level("full")
        assert await is_ready(on.sidecar)
        status = await on.rest()
        legacy, new = await on.stores.dumps()
    assert_refused_were_not_sent(on.book, legacy)
    assert_equal(legacy, new)
    assert set(counted(status, "intents")) <= {"done", "aborted"}
    assert_sound(room.outside / "data", tmp_path)


async def test_a_full_disk_passes_writes_to_the_primary_alone_where_that_is_chosen(
    tmp_path: Path, room: Room
) -> None:
    def skipped(status: Status) -> bool:
        return counted(status, "skipped").get("journal_error", 0) >= SOME

    keys = 'on_journal_error = "pass_through"'
    async with scene(tmp_path, room.inside / "data", *room.within, mix=SMALL, keys=keys) as on:
        await on.answers(200)
        room.fill()
        await wait_until(on.sidecar, skipped, PATIENCE_SECONDS)
        await on.level("primary_only")
        assert await is_ready(on.sidecar)
        room.free()
        await on.answers(200)
        await on.level("full")
        status = await on.rest()
        legacy, new = await on.stores.dumps()
    assert {code for _, _, code in on.book.answered} == {200}
    assert set(legacy.times()) == on.book.refs(200)
    only_legacy = set(legacy.times()) - set(new.times())
    assert len(only_legacy) == counted(status, "skipped")["journal_error"] == gap_writes(status)
    assert not set(new.times()) - set(legacy.times())
    assert_same_order(legacy, new, only_legacy)
    assert_sound(room.outside / "data", tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy" / "journal.db")) as connection:
        kept = connection.execute("SELECT sum(writes) FROM gaps").fetchone()
    assert kept == (gap_writes(status),), "the next start does not know the whole gap"


async def test_a_backlog_that_met_a_full_disk_is_delivered_whole(
    tmp_path: Path, room: Room
) -> None:
    async with scene(tmp_path, room.inside / "data", *room.within) as on:
        await on.stores.set_sick(503)
        await on.answers(200)
        room.fill()
        await on.answers(503)
        await on.stores.set_sick(0)
        await wait_until(on.sidecar, lambda it: "done" in counted(it, "intents"), PATIENCE_SECONDS)
        room.free()
        await on.answers(200)
        await on.rest()
        legacy, new = await on.stores.dumps()
    assert_refused_were_not_sent(on.book, legacy)
    assert_equal(legacy, new)
    assert_sound(room.outside / "data", tmp_path)


async def test_a_kill_while_the_disk_is_full_loses_no_answered_write(
    tmp_path: Path, room: Room
) -> None:
    async with scene(tmp_path, room.inside / "data", *room.within) as on:
        await on.stores.set_sick(503)
        await on.answers(200)
        room.fill()
        await on.answers(503)
        await on.sidecar.child.kill()
        on.writers.stop()
        await on.load
        room.free()
        await on.stores.set_sick(0)
        again = await start_sidecar(on.sidecar.config, *room.within)
        try:
            status = await caught_up(again, PATIENCE_SECONDS)
        finally:
            await again.child.stop()
        legacy, new = await on.stores.dumps()
    left = set(legacy.times()) - set(new.times())
    print(f"{len(left)} unknown, {len(left & on.book.refs(200))} of these were answered")
    assert len(left) == counted(status, "intents").get("unknown", 0)
    assert_same_order(legacy, new, left)
    assert_sound(room.outside / "data", tmp_path)


async def test_a_start_on_a_full_disk_ends_with_1_and_one_line(tmp_path: Path, room: Room) -> None:
    async with AsyncExitStack() as stack:
        stores = await start_stores(tmp_path, stack)
    config = write_config(tmp_path, stores.config(room.inside / "data"))
    room.fill()
    await assert_one_clear_line(config, *room.within)
    room.free()


async def assert_one_clear_line(config: Path, *within: str) -> str:
    """A start that is refused: what it says."""
    code, _, errors = await run_cli("run", "-c", str(config), within=within)
    assert (code, len(errors.splitlines())) == (1, 1), errors
    assert errors.startswith("twinwrite: error: ")
    return errors


@pytest.mark.parametrize("trouble", [errno.EIO, errno.EROFS], ids=["EIO", "EROFS"])
async def test_a_disk_that_fails_for_a_while_costs_no_write(tmp_path: Path, trouble: int) -> None:
    """A file system with open files cannot be remounted read-only by hand (EBUSY): what it would say is said."""
    shim = make_shim(tmp_path, tmp_path / "data")
    async with scene(tmp_path, tmp_path / "data", shim=shim) as on:
        for _ in range(3):
            await on.answers(200)
            shim.set(error=trouble)
            await on.answers(503, 20)
            shim.set()
        await on.answers(200)
        await on.rest()
        legacy, new = await on.stores.dumps()
    assert_refused_were_not_sent(on.book, legacy)
    assert_equal(legacy, new)
    assert_sound(tmp_path / "data", tmp_path)


async def test_a_disk_that_hangs_for_a_while_costs_no_write(tmp_path: Path) -> None:
    shim = make_shim(tmp_path, tmp_path / "data")
    keys = "commit_timeout_ms = 300"
    async with scene(tmp_path, tmp_path / "data", keys=keys, shim=shim) as on:
        await on.answers(200)
        shim.set(hangs=True)
        await on.answers(503, 20)
        await on.level("rejecting")
        shim.set()
        await on.answers(200)
        await on.level("full")
        await on.rest()
        legacy, new = await on.stores.dumps()
    assert_refused_were_not_sent(on.book, legacy)
    assert_equal(legacy, new)
    assert_sound(tmp_path / "data", tmp_path)


@pytest.mark.parametrize("days", [30.0, -30.0, 20_000.0], ids=["on", "back", "from 1970"])
async def test_a_clock_that_jumps_delays_nothing_and_buries_nothing(
    tmp_path: Path, days: float
) -> None:
    shim = make_shim(tmp_path, tmp_path / "data")
    shim.set(clock_seconds=-days * DAY_SECONDS if days > 10_000 else 0)
    async with scene(tmp_path, tmp_path / "data", shim=shim) as on:
        await on.stores.set_sick(503)
        await on.answers(200)
        shim.set(clock_seconds=0 if days > 10_000 else days * DAY_SECONDS)
        await on.answers(200)
        await on.stores.set_sick(0)
        status = await on.rest()
        legacy, new = await on.stores.dumps()
    assert set(counted(status, "intents")) == {"done"}, status
    assert_equal(legacy, new)
