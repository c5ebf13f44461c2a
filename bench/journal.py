"""What the journal costs: `python -m bench.journal`. Beside a raw file, at a steady rate, and at a start that owes.

Law: journal and raw file are measured in the same rounds, in an order drawn anew for each, on the same disk.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import click
import uvloop

from bench import tools
from bench.bed import Bed, Choice
from bench.durable import STORES, Journaled, Store
from bench.place import directory_option, json_option, on_disk, write
from bench.restart import KINDS, LIMIT, CatchUp, Restarts, Start
from bench.steady import Percentiles, Stretch, percentiles, steady
from proxy.control.log import Log
from proxy.fiber import Fibers
from proxy.memory import tune

IN_FLIGHT = (1, 16, 64, 256)

TARGET = (64, 0.5)
"""At so many in flight the journal makes so much of the raw file's writes per second durable (issue 4)."""

READY_SECONDS_MAX = 2.0
"""A start with 100,000 owed rows takes no longer (issue 4)."""

WARM_SECONDS = 0.3
GRACE_SECONDS = 10.0
CATCH_UP_SECONDS = 30.0
STRETCHES_MIN = 5
PARTS = ("rate", "steady", "start")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The command line."""

    parts: tuple[str, ...]
    rounds: int
    seconds: float
    in_flight: tuple[int, ...]
    minutes: float
    per_second: float
    rows: int
    directory: Path
    seed: int
    json_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One closed loop. Latencies in microseconds (median, p99, p99.9): of begin, and of begin and settle together.
    `cpu_us`: of all threads, per write. `elsewhere`: cores that others kept busy."""

    round: int
    store: str
    in_flight: int
    per_second: float
    begin_us: Percentiles
    pair_us: Percentiles
    cpu_us: float
    elsewhere: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a run has measured; parts that were not asked for are empty."""

    rates: Sequence[Rate] = ()
    stretches: Sequence[Stretch] = ()
    starts: Sequence[Start] = ()
    catch_ups: Sequence[CatchUp] = ()


class Loop:
    """Writes as fast as they become durable, so many at a time."""

    def __init__(self, store: Store[Any]) -> None:
        self.begins: list[float] = []
        self.pairs: list[float] = []
        self.fibers = Fibers(Log())
        self._store = store
        self._number = 0
        self._ended = False

    def start(self, in_flight: int) -> None:
        """Begin."""
        for _ in range(in_flight):
            self.fibers.start(self._write())

    async def end(self) -> None:
        """Let what is under way come to its end."""
        self._ended = True
        await self.fibers.drain(GRACE_SECONDS)

    async def _write(self) -> None:
        store, clock = self._store, time.perf_counter
        while not self._ended:
            self._number += 1
            started = clock()
            one = await store.begin(self._number)
            begun = clock()
            await store.settle(one)
            self.begins.append(begun - started)
            self.pairs.append(clock() - started)


async def rate(store: Store[Any], in_flight: int, seconds: float) -> Mapping[str, Any]:
    """Measure a closed loop: the fields of a Rate that it tells."""
    loop = Loop(store)
    loop.start(in_flight)
    await asyncio.sleep(WARM_SECONDS)
    loop.begins.clear()
    loop.pairs.clear()
    busy, started, cpu = tools.busy(()), time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    took, used = time.perf_counter() - started, time.process_time() - cpu
    elsewhere, count = tools.busy(()).elsewhere(busy), len(loop.pairs)
    told = {
        "per_second": count / took, "begin_us": percentiles(loop.begins),
        "pair_us": percentiles(loop.pairs), "cpu_us": used / max(count, 1) * 1e6,
        "elsewhere": elsewhere,
    }  # fmt: skip
    await loop.end()
    return told


async def rates(directory: Path, plan: Plan) -> list[Rate]:
    """Every store at every number in flight, interleaved."""
    chance, found = random.Random(plan.seed), []
    for number in range(1, plan.rounds + 1):
        for in_flight in plan.in_flight:
            for name in chance.sample(list(STORES), len(STORES)):
                with tempfile.TemporaryDirectory(dir=directory) as scratch:
                    async with STORES[name](Path(scratch) / name) as store:
                        told = await rate(store, in_flight, plan.seconds)
                found.append(Rate(round=number, store=name, in_flight=in_flight, **told))
        click.echo(f"rates: round {number}/{plan.rounds} done", err=True)
    return found


async def starts(directory: Path, plan: Plan) -> tuple[list[Start], list[CatchUp]]:
    """Starts that owe so much, and their catch-up: free, and held to a rate."""
    found: list[Start] = []
    catch_ups: list[CatchUp] = []
    async with Bed.made(directory, Choice(load="own", backends="own")) as bed:
        restarts = Restarts(bed, plan.rows)
        click.echo(f"filling journals with {plan.rows} owed writes", err=True)
        await restarts.fill()
        for number in range(1, plan.rounds + 1):
            found += [await restarts.start(number, kind) for kind in KINDS]
            catch_ups += [
                await restarts.catch_up(number, limit, CATCH_UP_SECONDS) for limit in (0.0, LIMIT)
            ]
            click.echo(f"starts: round {number}/{plan.rounds} done", err=True)
    return found, catch_ups


def ratios(found: Sequence[Rate], in_flight: int, store: str = "journal") -> list[float]:
    """A store over the raw file, in writes per second, round by round."""
    by = {
        (each.round, each.store): each.per_second for each in found if each.in_flight == in_flight
    }
    rounds = sorted({number for number, _ in by})
    return [by[number, store] / by[number, "raw"] for number in rounds]


def rate_table(found: Sequence[Rate]) -> list[str]:
    """The closed loops as Markdown: medians over the rounds."""
    lines = [
        "| in flight | store | writes/s | p50, p99, p99.9 us | begin alone | CPU us | x raw |",
        "|---|---|---|---|---|---|---|",
    ]
    for in_flight in sorted({each.in_flight for each in found}):
        for name in STORES:
            rows = [each for each in found if (each.in_flight, each.store) == (in_flight, name)]
            against = "" if name == "raw" else _spread(ratios(found, in_flight, name), 2)
            lines.append(
                f"| {in_flight} | {name} | {_spread([each.per_second for each in rows])} "
                f"| {_medians([each.pair_us for each in rows])} "
                f"| {_medians([each.begin_us for each in rows])} "
                f"| {_spread([each.cpu_us for each in rows])} | {against} |"
            )
    return lines


def steady_table(found: Sequence[Stretch]) -> list[str]:
    """The steady rate as Markdown: a line per stretch."""
    lines = [
        "| s | writes | database, WAL MiB | bytes a write: to the disk, to the kernel | begin p50, p99, p99.9 us "
        "| beside a checkpoint: begins, p50, p99, longest us | checkpoints | CPU us |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return lines + [
        f"| {each.at_s:.0f} | {each.writes} | {each.database_mib:.1f}, {each.wal_mib:.1f} "
        f"| {each.device_bytes:,.0f}, {each.handed_bytes:,.0f} | {_three(each.begin_us)} "
        f"| {each.beside}, {_three(each.beside_us)} | {each.checkpoints} | {each.cpu_us:,.0f} |"
        for each in found
    ]


def start_table(found: Sequence[Start], catch_ups: Sequence[CatchUp]) -> list[str]:
    """Starts and catch-ups as Markdown: medians over the rounds."""
    lines = [
        "| owed | in | ready s | with nothing owed | CPU s until then | journal alone s | MiB | with nothing owed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        rows = [each for each in found if each.kind == kind]
        columns = (
            (_spread([getattr(each, name) for each in rows], digits))
            for name, digits in (
                ("ready_s", 2), ("empty_s", 2), ("ready_cpu_s", 2), ("open_s", 2), ("memory_mib", 0),
                ("empty_memory_mib", 0),
            )
        )  # fmt: skip
        lines.append(f"| {rows[0].rows} | {kind} | {' | '.join(columns)} |")
    lines += ["", "| catch-up held to | writes/s | fastest second | MiB |", "|---|---|---|---|"]
    for limit in sorted({each.limit for each in catch_ups}):
        held = [each for each in catch_ups if each.limit == limit]
        lines.append(
            f"| {limit or 'nothing'} | {_spread([each.per_second for each in held])} "
            f"| {_spread([each.fastest for each in held])} | {_spread([each.memory_mib for each in held])} |"
        )
    return lines


def verdicts(found: Found) -> list[str]:
    """Each target that this run measured, and whether it is met."""
    told = []
    if any(each.in_flight == TARGET[0] for each in found.rates):
        in_flight, least = TARGET
        reached = median(ratios(found.rates, in_flight))
        what = f"journal / raw file at {in_flight} in flight"
        told.append(f"{what}: {reached:.2f}, at least {least} wanted: {_met(reached >= least)}")
    for kind in KINDS if found.starts else ():
        ready = median(each.ready_s for each in found.starts if each.kind == kind)
        wanted = f"below {READY_SECONDS_MAX:g} wanted: {_met(ready < READY_SECONDS_MAX)}"
        told.append(f"ready, all owed in {kind}: {ready:.2f} s, {wanted}")
    return told


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"


def _spread(found: Sequence[float], digits: int = 0) -> str:
    middle, least, most = (
        f"{each:,.{digits}f}" for each in (median(found), min(found), max(found))
    )
    return f"{middle} ({least}..{most})"


def _three(found: Percentiles) -> str:
    return ", ".join(f"{each:,.0f}" for each in found)


def _medians(found: Sequence[Percentiles]) -> str:
    p50, p99, p999 = (median(each) for each in zip(*found, strict=True))
    return _three((p50, p99, p999))


@click.command(
    help="Measure what the journal costs: beside a raw file, at a steady rate, at a start that owes."
)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only these.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 1000))
@click.option(
    "--in-flight",
    multiple=True,
    default=IN_FLIGHT,
    show_default=True,
    type=click.IntRange(1),
    help="Writes at a time in a closed loop; may be repeated.",
)
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.1, 600),
    help="Length of a closed loop.",
)
@click.option(
    "--minutes",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.01, 1440),
    help="Length of the steady rate.",
)
@click.option(
    "--rate",
    "per_second",
    default=500.0,
    show_default=True,
    type=click.FloatRange(1, 100_000),
    help="Writes per second of the steady rate.",
)
@click.option(
    "--rows",
    default=100_000,
    show_default=True,
    type=click.IntRange(1),
    help="Owed writes of a start.",
)
@directory_option
@click.option("--seed", default=1, show_default=True, help="Chooses the order within the rounds.")
@json_option
def main(**given: Any) -> None:  # noqa: ANN401 - see Plan
    """Run the benchmark; see --help."""
    plan = Plan(**given)
    with on_disk(plan.directory, "journal") as (directory, facts):
        found = uvloop.run(measure(directory, plan))
    for table in tables(found):
        click.echo("\n".join(table) + "\n")
    told = verdicts(found)
    click.echo("\n".join(told))
    write(plan.json_file, {"machine": asdict(facts), **asdict(found), "targets": told})


async def measure(directory: Path, plan: Plan) -> Found:
    """Every part that was asked for."""
    parts = plan.parts or PARTS
    found = Found()
    tune()
    if "rate" in parts:
        found = replace(found, rates=await rates(directory, plan))
    if "steady" in parts:
        stretches = max(round(plan.minutes), STRETCHES_MIN)
        async with Journaled.open(directory / "steady") as store:
            seen = await steady(store, plan.per_second, plan.minutes * 60, stretches)
        found = replace(found, stretches=seen)
    if "start" in parts:
        begun, catch_ups = await starts(directory, plan)
        found = replace(found, starts=begun, catch_ups=catch_ups)
    return found


def tables(found: Found) -> list[list[str]]:
    """A table for each part that was measured."""
    told = []
    if found.rates:
        told.append(rate_table(found.rates))
    if found.stretches:
        told.append(steady_table(found.stretches))
    if found.starts:
        told.append(start_table(found.starts, found.catch_ups))
    return told


if __name__ == "__main__":
    main()
