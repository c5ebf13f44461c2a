"""Many clients, few entities, two backends that take their time: the two sides end up equal."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.system.harness import (
    Sidecar,
    assert_balanced,
    caught_up,
    counted,
    start_sidecar,
    write_config,
)
from tests.system.stores import Dump, Stores, assert_same_order, start_stores
from tests.system.writers import Mix, Writers

pytestmark = pytest.mark.system

ROUNDS = 50
CLIENTS = 32
WRITES = 6  # of each client
KEYS = 5
DELAY_MS = 4.0
SEED = 4000


async def race(sidecar: Sidecar, number: int) -> Writers:
    """One round on keys of its own: every client writes WRITES times, as fast as it is answered."""
    mix = Mix(keys=KEYS, prefix=f"r{number}e", moves=0.25, deletes=0.2)
    writers = Writers(int(sidecar.port), mix, 0.0, SEED + number)
    running = asyncio.create_task(writers.run(CLIENTS))
    while writers.book.offered < CLIENTS * WRITES:
        await asyncio.sleep(0.005)
    writers.stop()
    await running
    return writers


def assert_equal(writers: Writers, number: int, legacy: Dump, new: Dump) -> None:
    seed = f"round {number}, seed {SEED + number}"
    book, prefix = writers.book, f"r{number}e"
    assert not book.unanswered, seed
    assert {status for _, _, status in book.answered} <= {200, 404}, seed
    there = {k: v for k, v in legacy.values.items() if k.startswith(prefix)}
    assert there == {k: v for k, v in new.values.items() if k.startswith(prefix)}, seed
    applied = {r for k in legacy.history if k.startswith(prefix) for r in legacy.refs(k)}
    assert applied == book.refs(200), seed


async def run_rounds(sidecar: Sidecar, stores: Stores) -> None:
    rounds = []
    for number in range(ROUNDS):
        rounds.append(await race(sidecar, number))
        await caught_up(sidecar)
    legacy, new = await stores.dumps()
    for number, writers in enumerate(rounds):
        assert_equal(writers, number, legacy, new)
    assert_same_order(legacy, new)
    assert not legacy.doubled()
    assert not new.doubled()
    written = sum(len(writers.book.answered) for writers in rounds)
    print(f"seeds {SEED} to {SEED + ROUNDS - 1}: {written} writes answered")


async def test_32_clients_on_few_entities_leave_both_sides_equal_in_50_rounds(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        stores = await start_stores(tmp_path, stack, "--strict", "--delay-ms", str(DELAY_MS))
        sidecar = await start_sidecar(
            write_config(tmp_path, stores.config(tmp_path / "journal", "done_hold_seconds = 1"))
        )
        stack.push_async_callback(sidecar.child.stop)
        await run_rounds(sidecar, stores)
        status = await caught_up(sidecar)
    assert_balanced(status)
    assert set(counted(status, "intents")) == {"done", "p_rejected"}, status
