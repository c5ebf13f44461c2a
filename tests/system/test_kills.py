"""kill -9 of the sidecar, fifty times, at random moments, while thousands of writes a second are due."""

import asyncio
import json
import random
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.forks import Forks
from tests.system.harness import (
    Sidecar,
    assert_balanced,
    caught_up,
    counted,
    run_cli,
    start_sidecar,
    write_config,
)
from tests.system.stores import Dump, assert_same_order, start_stores, start_writers
from tests.system.writers import Book, read_book

pytestmark = pytest.mark.system

KILLS = 50
RATE = 2500
CONNECTIONS = 48
KEYS = 200
SEED = 50
UP_SECONDS = (0.05, 0.7)
"""How long a sidecar serves before it is killed: a random time between these."""

EARLY_EVERY = 5
EARLY_SECONDS = (0.01, 0.2)
"""So many of the kills are followed by one of a sidecar that is still starting, so long after its start."""


@dataclass(slots=True)
class Killer:
    """Starts one configuration on the same ports again and again, and kills what it started."""

    forks: Forks
    chance: random.Random
    up_seconds: float = 0.0

    async def kill_and_restart(self, number: int) -> None:
        """One crash at a random moment, sometimes a second one during the start."""
        up = self.chance.uniform(*UP_SECONDS)
        self.up_seconds += up
        await asyncio.sleep(up)
        await self.forks.kill()
        if number % EARLY_EVERY == 0:
            await self.forks.fork()
            await asyncio.sleep(self.chance.uniform(*EARLY_SECONDS))
            await self.forks.kill()
        await self.forks.fork()
        await self.forks.ready()


async def unknown_refs(config: Path) -> Counter[str]:
    """The writes that the journal holds as unknown; each names its ref in its target."""
    asked = ("intents", "--state", "unknown", "--limit", "100000", "--json")
    code, out, errors = await run_cli(*asked, "-c", str(config))
    assert code == 0, errors
    return Counter(row["target"].partition("?ref=")[2] for row in json.loads(out))


def assert_nothing_is_lost(book: Book, unknown: Counter[str], legacy: Dump, new: Dump) -> None:
    answered, unanswered = book.refs(200), set(book.unanswered)
    there, here = set(legacy.times()), set(new.times())
    assert not answered - there, "answered, and not on legacy"
    assert not answered - here, "answered, and not on new"
    assert not here - there, "on new only"
    assert not legacy.doubled()
    assert not new.doubled()
    assert there - here <= unanswered, "on legacy only, and answered"
    assert there - here <= set(unknown), "on legacy only, and not known as unknown"
    assert set(unknown) <= unanswered, "unknown, and answered"
    assert set(unknown.values()) <= {1}
    assert_same_order(legacy, new, there - here)


def tell(killer: Killer, book: Book, unknown: Counter[str]) -> None:
    reached = len(book.answered) / killer.up_seconds
    print(
        f"seed {SEED}: {KILLS} kills in {book.seconds:.0f} s, of these {killer.up_seconds:.0f} s up:"
        f" {book.offered / book.seconds:.0f} writes/s offered, {reached:.0f}/s answered while up;"
        f" {len(book.answered)} answered, {len(book.unanswered)} unanswered, {unknown.total()} unknown,"
        f" {book.refused} refused, {book.shed} shed"
    )


async def drive(sidecar: Sidecar, out: Path) -> tuple[Killer, Book]:
    """Load for a sidecar that was stopped, through all of its crashes."""
    ports = {"TWINWRITE_LISTEN_PORT": sidecar.port, "TWINWRITE_ADMIN_PORT": sidecar.admin_port}
    options = {"--rate": RATE, "--connections": CONNECTIONS, "--keys": KEYS, "--seed": SEED}
    killer = Killer(await Forks.open(sidecar.config, **ports), random.Random(SEED))
    try:
        await killer.forks.fork()
        await killer.forks.ready()
        given = [str(word) for option in options.items() for word in option]
        writers = await start_writers(sidecar.port, out, *given)
        try:
            for number in range(KILLS):
                await killer.kill_and_restart(number)
        finally:
            await writers.stop()
    finally:
        await killer.forks.close()
    return killer, read_book(out)


async def test_fifty_kills_at_thousands_of_writes_a_second_lose_no_answered_write(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        stores = await start_stores(tmp_path, stack)
        text = stores.config(tmp_path / "journal", "done_hold_seconds = 1")
        sidecar = await start_sidecar(write_config(tmp_path, text))
        await sidecar.child.stop()
        killer, book = await drive(sidecar, tmp_path / "book.json")
        sidecar = await start_sidecar(sidecar.config)
        stack.push_async_callback(sidecar.child.stop)
        status = await caught_up(sidecar)
        unknown = await unknown_refs(sidecar.config)
        legacy, new = await stores.dumps()
    tell(killer, book, unknown)
    assert {code for _, _, code in book.answered} == {200}
    assert book.unanswered, "no crash met a write"
    assert_balanced(status)
    assert_nothing_is_lost(book, unknown, legacy, new)
    left = counted(status, "intents")
    assert left.get("unknown", 0) == unknown.total()
    assert set(left) <= {"done", "unknown", "not_sent", "aborted"}, left
