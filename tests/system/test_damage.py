"""A journal that was damaged while nobody had it open: a clear error or dead letters, nothing lost in silence."""

import asyncio
import random
import shutil
import sqlite3
import time
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.control.owed import Journal as Settings
from proxy.control.tally import Tally
from proxy.demo.child import ChildEnded
from proxy.store import reader
from proxy.store.batch import StoreError
from proxy.store.intent import Damaged
from proxy.store.journal import Journal
from rules.fate import OWED
from tests.system.harness import (
    Sidecar,
    assert_balanced,
    caught_up,
    counted,
    start_sidecar,
    write_config,
)
from tests.system.stores import Stores, start_stores
from tests.system.writers import Connection, Mix, Write

pytestmark = pytest.mark.system

OLD, YOUNG = 120, 30
"""Owed writes with rows of their own, and in the log."""

FOLDED_SECONDS = 2.6
"""After so long every young write has its row: two folds, and a tick."""

PAGE = 4096
PAGES_DAMAGED = 100
SEED = 700


@dataclass(frozen=True, slots=True)
class Left:
    """What a sidecar left when it stopped: its journal's directory, and what it owed, in order."""

    data: Path
    owed: tuple[Write, ...]


async def leave(directory: Path) -> Left:
    """Owe OLD + YOUNG writes to a secondary that is sick, and stop."""
    async with AsyncExitStack() as stack:
        stores = await start_stores(directory, stack)
        await stores.set_sick(503)
        sidecar = await start_sidecar(write_config(directory, stores.config(directory / "data")))
        stack.push_async_callback(sidecar.child.stop)
        chance = random.Random(SEED)
        mix = Mix(keys=10_000, moves=0.0, deletes=0.0, sizes=(60, 300, 5000))
        writes = [mix.next(f"w{number}", chance) for number in range(OLD + YOUNG)]
        connection = await Connection.to(int(sidecar.port))
        for write in writes[:OLD]:
            assert await connection.ask(write) == 200
        await asyncio.sleep(FOLDED_SECONDS)
        for write in writes[OLD:]:
            assert await connection.ask(write) == 200
        connection.close()
        assert await sidecar.child.stop() == 0
    return Left(directory / "data", tuple(writes))


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """One journal for all tests; each damages a copy."""
    return asyncio.run(leave(tmp_path_factory.mktemp("left")))


def damaged(data: bytes, chance: random.Random) -> bytes:
    """One page of a file is not what it was: zeros, noise, a stretch of noise, or one bit."""
    changed = bytearray(data)
    at = chance.randrange(len(data) // PAGE) * PAGE
    match chance.randrange(4):
        case 0:
            changed[at : at + PAGE] = bytes(PAGE)
        case 1:
            changed[at : at + PAGE] = chance.randbytes(PAGE)
        case 2:
            begin = at + chance.randrange(PAGE - 64)
            changed[begin : begin + 64] = chance.randbytes(64)
        case _:
            changed[at + chance.randrange(PAGE)] ^= 1 << chance.randrange(8)
    return bytes(changed)


async def judged(data: Path, owed: tuple[Write, ...]) -> str:
    """Open a damaged journal: "" if that loses nothing in silence and makes nothing up, else what is wrong."""
    tally = Tally()
    try:
        journal = await Journal.open(Settings(directory=str(data)), tally, time.time)
    except StoreError as error:
        return "" if len(str(error).splitlines()) == 1 else f"more than a line: {error}"
    try:
        return await told(journal, tally, owed)
    except StoreError:
        return ""
    finally:
        await journal.close()


async def told(journal: Journal, tally: Tally, owed: tuple[Write, ...]) -> str:
    """What is wrong with what an open journal says it owes."""
    expected = {write.ref: write for write in owed}
    found = []
    for intent in await journal.standing(OWED):
        try:
            request, _ = await journal.load(intent)
        except Damaged:
            tally.journal_errors += 1  # becomes a dead letter
            continue
        write = expected[request.target.partition("?ref=")[2]]
        if (request.body, intent.lanes) != (write.body, (f"key:{write.path[3:]}",)):
            return f"{write.ref} is owed as another write, or in other lanes"
        found.append(write.ref)
    if len(found) < len(expected) and not tally.journal_errors:
        return f"{sorted(set(expected) - set(found))} lost in silence"
    if found != [ref for ref in expected if ref in set(found)]:
        return "another order"
    return ""


async def test_a_damaged_page_loses_nothing_in_silence(left: Left, tmp_path: Path) -> None:
    whole = (left.data / "journal.db").read_bytes()
    assert await judged(Path(shutil.copytree(left.data, tmp_path / "whole")), left.owed) == ""
    wrong = []
    for seed in range(SEED, SEED + PAGES_DAMAGED):
        copy = Path(shutil.copytree(left.data, tmp_path / str(seed)))
        (copy / "journal.db").write_bytes(damaged(whole, random.Random(seed)))
        try:
            why = await judged(copy, left.owed)
        except Exception as error:  # noqa: BLE001 - what would be a traceback
            why = repr(error)[:200]
        if why:
            wrong.append(f"seed {seed}: {why}")
        else:
            shutil.rmtree(copy)
    assert wrong == []


async def started(stores: Stores, directory: Path, data: Path) -> Sidecar | str:
    """A sidecar on a journal; or, where it does not start, what it said."""
    config = write_config(directory, stores.config(data))
    try:
        return await start_sidecar(config)
    except ChildEnded:
        return config.with_name("sidecar.log").read_text()


async def assert_told_by_process(left: Left, data: Path, directory: Path) -> set[str]:
    """Start on a damaged journal: one clear line, or all is delivered but dead letters; their ids."""
    async with AsyncExitStack() as stack:
        stores = await start_stores(directory, stack)
        sidecar = await started(stores, directory, data)
        if isinstance(sidecar, str):
            assert len(sidecar.splitlines()) == 1, sidecar
            assert sidecar.startswith("twinwrite: error: ")
            return {write.ref for write in left.owed}
        stack.push_async_callback(sidecar.child.stop)
        status = await caught_up(sidecar)
        assert_balanced(status)
        dead = dead_refs(data)
        _, new = await stores.dumps()
    there = set(new.times())
    assert there | dead == {write.ref for write in left.owed}
    assert len(dead) == counted(status, "intents").get("dead", 0)
    bodies = {write.ref: write.body.decode() for write in left.owed}
    assert all(value == bodies[value.partition(" ")[0]] for value in new.values.values())
    assert '"traceback"' not in (directory / "sidecar.log").read_text()
    return dead


def dead_refs(data: Path) -> set[str]:
    rows = reader.intents(data, states=("dead",), limit=1000)
    return {row["target"].partition("?ref=")[2] for row in rows}


DAMAGES = {
    "payload": "zeroblob(length(payload))",
    "payload gone": "NULL",
    "digest": "'0123456789abcdef'",
    "reply": "zeroblob(length(reply))",
    "reply gone": "NULL",
    "state": "'s_pgnding'",
    "primary_side": "'Legacy'",
    "stage": "'dual'",
    "category": "'no such'",
    "route": "'no such'",
    "lanes": "'[\"key:'",
    "lanes of another": "'[\"key:other\"]'",
    "sequence": "'ten'",
    "sequence of another": "sequence + 20",
    "received_at": "'now'",
    "due_at": "'now'",
    "attempts": "'two'",
    "bytes": "'many'",
}
"""What one row is changed to: its column, and an SQL expression."""


def damage_row(data: Path, damage: str) -> None:
    with closing(sqlite3.connect(data / "journal.db")) as connection, connection:
        column = damage.partition(" ")[0]
        (row,) = connection.execute("SELECT min(id) + 5 FROM intents").fetchone()
        connection.execute(f"UPDATE intents SET {column} = {DAMAGES[damage]} WHERE id = ?", (row,))


@pytest.mark.parametrize("damage", DAMAGES)
async def test_one_damaged_row_loses_nothing_in_silence(
    left: Left, tmp_path: Path, damage: str
) -> None:
    data = Path(shutil.copytree(left.data, tmp_path / "data"))
    damage_row(data, damage)
    assert await judged(data, left.owed) == ""


async def test_an_index_that_misses_a_row_loses_nothing_in_silence(
    left: Left, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(left.data, tmp_path / "data"))
    with closing(sqlite3.connect(data / "journal.db", isolation_level=None)) as connection:
        change = "UPDATE intents SET state = ? WHERE id = (SELECT min(id) + 5 FROM intents)"
        connection.execute(change, ("elsewhere",))
        connection.execute("PRAGMA writable_schema = ON")
        where = "FROM sqlite_master WHERE name = 'intents_by_state'"
        index = connection.execute(f"SELECT * {where}").fetchone()
        connection.execute(f"DELETE {where}")
        connection.execute("PRAGMA writable_schema = RESET")
        connection.execute(change, ("s_pending",))
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)
        connection.execute("PRAGMA writable_schema = RESET")
        assert connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
    assert await judged(data, left.owed) == ""


@pytest.mark.parametrize("damage", ["payload", "payload gone", "reply", "state", "lanes", "bytes"])
async def test_a_process_meets_a_damaged_row_with_a_clear_error_or_a_dead_letter(
    left: Left, tmp_path: Path, damage: str
) -> None:
    data = Path(shutil.copytree(left.data, tmp_path / "data"))
    damage_row(data, damage)
    dead = await assert_told_by_process(left, data, tmp_path)
    if damage.startswith("payload"):
        assert len(dead) == 1, "one damaged payload stops the others"


@pytest.mark.parametrize("value", ["x'00'", "'text'"])
async def test_a_damaged_row_of_the_log_is_told(left: Left, tmp_path: Path, value: str) -> None:
    data = Path(shutil.copytree(left.data, tmp_path / "data"))
    with closing(sqlite3.connect(data / "journal.db")) as connection, connection:
        connection.execute(
            f"UPDATE log SET records = {value} WHERE id = (SELECT max(id) - 4 FROM log)"
        )
    async with AsyncExitStack() as stack:
        stores = await start_stores(tmp_path, stack)
        sidecar = await started(stores, tmp_path, data)
        if not isinstance(sidecar, str):
            await sidecar.child.stop()
    log = (tmp_path / "sidecar.log").read_text()
    assert '"level": "error"' in log or log.startswith("twinwrite: error: ")
    assert "Traceback" not in log
