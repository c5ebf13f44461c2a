"""What the journal costs, beside a raw file: `python -m bench.journal`."""

import asyncio
import json
import random
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import uvloop

from bench import machine, tools
from bench.durable import STORES, Store
from proxy.control.log import Log
from proxy.fiber import Fibers
from proxy.memory import tune

IN_FLIGHT = (1, 16, 64, 256)
WARM_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One measurement. Latencies in microseconds: `begin`, and begin and settle together."""

    store: str
    in_flight: int
    round: int
    per_second: float
    pair_us: tuple[float, float, float]
    begin_us: tuple[float, float, float]
    cpu_us: float
    elsewhere: float


async def rate(store: Store, in_flight: int, seconds: float) -> dict:
    """Writes as fast as they become durable, so many at a time: a closed loop."""
    begins, pairs = [], []
    state = {"number": 0, "measuring": False, "ended": False}
    fibers = Fibers(Log())

    async def writer() -> None:
        while not state["ended"]:
            state["number"] += 1
            begin, settle = await store.write(state["number"])
            if state["measuring"]:
                begins.append(begin)
                pairs.append(begin + settle)

    for _ in range(in_flight):
        fibers.start(writer())
    await asyncio.sleep(WARM_SECONDS)
    state["measuring"] = True
    busy = tools.busy(())
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    state["measuring"] = False
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    elsewhere = tools.busy(()).elsewhere(busy)
    state["ended"] = True
    await fibers.drain(10)
    return dict(per_second=len(pairs) / took, pair_us=percentiles(pairs), begin_us=percentiles(begins), cpu_us=cpu / len(pairs) * 1e6, elsewhere=elsewhere)


def percentiles(found: list[float]) -> tuple[float, float, float]:
    ordered = sorted(found)
    return tuple(ordered[min(int(len(ordered) * part), len(ordered) - 1)] * 1e6 for part in (0.5, 0.99, 0.999))


async def run(rounds: int, seconds: float, directory: Path) -> list[Rate]:
    chance = random.Random(1)
    rows = []
    tune()
    for number in range(rounds):
        for in_flight in IN_FLIGHT:
            for name in chance.sample(list(STORES), len(STORES)):
                with tempfile.TemporaryDirectory(dir=directory) as scratch:
                    async with STORES[name](Path(scratch) / "store") as store:
                        found = await rate(store, in_flight, seconds)
                rows.append(Rate(store=name, in_flight=in_flight, round=number, **found))
                print(rows[-1])
    return rows


if __name__ == "__main__":
    import sys
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    rows = asyncio.run(run(int(sys.argv[1]), float(sys.argv[2]), Path.cwd()))
    for n in IN_FLIGHT:
        j=[r.per_second for r in rows if r.in_flight==n and r.store=='journal']
        w=[r.per_second for r in rows if r.in_flight==n and r.store=='raw']
        print(n, statistics.median(a/b for a,b in zip(j,w)), [round(a/b,2) for a,b in zip(j,w)])
