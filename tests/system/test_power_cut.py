"""Power cuts: every disk that a cut could have left, opened again, holds what was answered before it."""

import asyncio
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.control.owed import Journal as Settings
from proxy.control.tally import Tally
from proxy.store import reader
from proxy.store.batch import StoreError
from proxy.store.intent import Intent
from proxy.store.journal import Journal
from rules.fate import OWED
from tests.system.harness import Sidecar, caught_up, start_sidecar, write_config
from tests.system.power import Act, Disk, Kind, read_record, write_files
from tests.system.shim import Shim, make_shim
from tests.system.stores import Dump, Stores, start_stores, start_writers
from tests.system.writers import Book, Write, read_book

pytestmark = pytest.mark.system

CUTS = 250
DISHONEST_CUTS = 25
DIRECTORY_CUTS = 25
DATABASE_WRITES_MIN = 100
"""Of pages to the database itself: only its making and checkpoints do that."""

LOADED_EVERY = 7
"""Of what is owed after a cut, every so many is read back, and every body in a file."""

SEED = 3000
RATE = 600
SICK_SECONDS = 0.8
WELL_SECONDS = 0.6
SIZES = (100, 100, 100, 100, 100, 1000, 6000, 20_000)
"""Of the values: the last is longer than `spool_memory_bytes_max`."""


@dataclass(frozen=True, slots=True)
class Run:
    """What was recorded of one run, and what others saw of it. `acts` tell of `disk/`, `data` is in it."""

    acts: list[Act]
    book: Book
    legacy: Dump
    new: Dump
    disk: Path

    def __post_init__(self) -> None:
        assert [act for act in self.acts if act.kind is Kind.SYNC_END], "nothing was recorded"


async def drive(stores: Stores, sidecar: Sidecar, shim: Shim, out: Path) -> Book:
    """Load, a sick secondary, a crash, a start, load again, a stop; all of it recorded."""
    sizes = [str(size) for size in SIZES]
    options = ["--rate", str(RATE), "--connections", "32", "--keys", "40", "--seed", str(SEED)]
    writers = await start_writers(sidecar.port, out, *options, "--sizes", *sizes)
    try:
        await asyncio.sleep(WELL_SECONDS)
        await stores.set_sick(503)
        await asyncio.sleep(SICK_SECONDS)
        await sidecar.child.kill()
        assert shim.record is not None
        read_record(shim.record)
        ports = {"TWINWRITE_LISTEN_PORT": sidecar.port, "TWINWRITE_ADMIN_PORT": sidecar.admin_port}
        sidecar = await start_sidecar(sidecar.config, **ports, **shim.environment())
        try:
            await stores.set_sick(0)
            await asyncio.sleep(WELL_SECONDS)
            await writers.stop()
            await caught_up(sidecar)
        finally:
            await sidecar.child.stop()
    finally:
        await writers.stop()
    return read_book(out)


async def record(directory: Path) -> Run:
    """One recorded run below `directory`."""
    disk = directory / "disk"
    disk.mkdir()
    shim = make_shim(directory, disk, recording=True)
    async with AsyncExitStack() as stack:
        stores = await start_stores(directory, stack)
        config = write_config(directory, stores.config(disk / "data", "done_hold_seconds = 0.3"))
        sidecar = await start_sidecar(config, **shim.environment())
        stack.push_async_callback(sidecar.child.stop)
        book = await drive(stores, sidecar, shim, directory / "book.json")
        legacy, new = await stores.dumps()
    assert shim.record is not None
    return Run(read_record(shim.record), book, legacy, new, disk)


def cuts(run: Run, count: int, disk: Disk) -> Iterator[tuple[int, int, dict[str, bytes]]]:
    """Random moments of a run: the seed, the moment (monotonic ns), and the files that were left."""
    chance = random.Random(SEED)
    chosen = set(chance.sample(range(len(run.acts)), min(count, len(run.acts))))
    for number, act in enumerate(run.acts):
        if number in chosen:
            yield number, act.ns, disk.cut(SEED + number)
        disk.do(act)


@dataclass(frozen=True, slots=True)
class Found:
    """What a journal tells after a cut: refs of what is owed, in order, by lane; of what is unknown."""

    owed: list[str]
    lanes: dict[str, list[str]]
    unknown: set[str]
    next_id: int


async def reopened(data: Path) -> Found:
    """Open the journal as a sidecar would."""
    tally = Tally()
    journal = await Journal.open(Settings(directory=str(data)), tally, time.time)
    try:
        owed = await journal.standing(OWED)
        for number, intent in enumerate(owed):
            if intent.spool or number % LOADED_EVERY == 0:
                await assert_is_what_was_sent(journal, intent)
        rows = reader.intents(data, states=("unknown",), limit=1_000_000)
        assert tally.journal_errors == 0, "damaged rows"
    finally:
        await journal.close()
    lanes: dict[str, list[str]] = {}
    for intent in owed:
        for lane in intent.lanes:
            lanes.setdefault(lane.partition(":")[2], []).append(ref_of(intent.target))
    unknown = {ref_of(row["target"]) for row in rows}
    refs = [ref_of(intent.target) for intent in owed]
    assert_sound(data)
    return Found(refs, lanes, unknown, next_id_of(data))


async def assert_is_what_was_sent(journal: Journal, intent: Intent) -> None:
    request, _ = await journal.load(intent)
    body = Path(request.spool).read_bytes() if request.spool else request.body
    assert body == Write(ref_of(request.target), request.method, "", len(body)).body


def assert_sound(data: Path) -> None:
    for name in ("journal.db", "ledger.db"):
        with closing(sqlite3.connect(data / name)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
        assert found == [("ok",)], name


def next_id_of(data: Path) -> int:
    with closing(sqlite3.connect(data / "journal.db")) as connection:
        (found,) = connection.execute("SELECT value FROM meta WHERE name = 'next_id'").fetchone()
        return int(found)


def ref_of(target: str) -> str:
    return target.partition("?ref=")[2]


def before(dump: Dump, moment: int) -> set[str]:
    return {ref for ref, at in dump.times().items() if at < moment}


def assert_all_there(run: Run, moment: int, found: Found) -> None:
    """What a cut at this moment must not have taken, nor added."""
    answered = {ref for ref, at, status in run.book.answered if at < moment and status == 200}
    on_legacy, on_new = before(run.legacy, moment), before(run.new, moment)
    owed = set(found.owed)
    assert len(owed) == len(found.owed), "owed twice"
    assert not answered - owed - on_new, "answered, and neither owed nor delivered"
    assert not on_legacy - owed - found.unknown - on_new, "applied by the primary and forgotten"
    assert not owed - on_legacy, "owed, and the primary had not applied it"
    for lane, refs in found.lanes.items():
        assert refs == [ref for ref in run.legacy.refs(lane) if ref in owed], lane
    entries = [entry for entries in run.new.history.values() for entry in entries]
    used = [int(key.rpartition("-")[2]) for _, at, key in entries if at < moment]
    assert found.next_id > max(used, default=0), "an Idempotency-Key would be used again"


async def hold(run: Run, count: int, disk: Disk, directory: Path) -> list[str]:
    """Why what, after each of `count` cuts: empty when nothing was lost."""
    failures = []
    for number, moment, files in cuts(run, count, disk):
        place = directory / str(number)
        place.mkdir()
        write_files(files, place)
        try:
            assert_all_there(run, moment, await reopened(place / "data"))
        except (AssertionError, StoreError, OSError, sqlite3.Error, ValueError) as error:
            failures.append(f"seed {SEED + number}: {error!r}"[:300])
            continue
        shutil.rmtree(place)
    return failures


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One recorded run for all tests."""
    return asyncio.run(record(tmp_path_factory.mktemp("power")))


def test_the_record_tells_all_that_is_on_the_disk(run: Run) -> None:
    disk = Disk()
    for act in run.acts:
        disk.do(act)
    there = {
        str(path.relative_to(run.disk)): path.read_bytes()
        for path in run.disk.rglob("*")
        if path.is_file()
    }
    told = {path: data for path, data in disk.everything().items() if not path.endswith("/")}
    assert set(there) == set(told)
    assert [path for path in there if there[path] != told[path]] == []


async def test_no_power_cut_loses_a_write_that_was_answered(run: Run, tmp_path: Path) -> None:
    syncs = sum(act.kind is Kind.SYNC_END for act in run.acts)
    pages = [act for act in run.acts if act.path == "data/journal.db" and act.kind is Kind.WRITE]
    assert len(pages) > DATABASE_WRITES_MIN, "the log was never moved to the database"
    print(f"seed {SEED}: {len(run.book.answered)} answers, {len(run.acts)} acts, {syncs} syncs")
    assert await hold(run, CUTS, Disk(durable=("data",)), tmp_path) == []


async def test_the_directory_that_a_sidecar_makes_for_its_journal_outlives_a_power_cut(
    run: Run, tmp_path: Path
) -> None:
    assert await hold(run, DIRECTORY_CUTS, Disk(), tmp_path) == []


@pytest.mark.parametrize("path", ["data/journal.db-wal", "data/spool"])
async def test_a_disk_that_ignores_the_syncs_of_some_files_does_lose_writes(
    run: Run, tmp_path: Path, path: str
) -> None:
    assert await hold(run, DISHONEST_CUTS, Disk(lies=path, durable=("data",)), tmp_path) != []
