"""Writes at a steady rate: what the journal's files grow to, what is written to them, and whom a checkpoint holds up.

Law: an open loop: a write is begun when it is due, whatever the ones before it wait for.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import tools
from bench.durable import Journaled
from proxy.control.log import Log
from proxy.fiber import Fibers

GRACE_SECONDS = 10.0

Percentiles = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of a run. Sizes at its end. Bytes per write: what the process caused to be written to the disk (`device`),
    and what it handed to the kernel (`handed`), by /proc/self/io. Latencies of `begin` in microseconds: median, p99,
    p99.9; `beside`: of those during which a checkpoint wrote to the database, how many, their p50, p99 and longest.
    `late_p99_us`: how late writes were begun: it is not part of the latencies.
    """

    at_s: float
    writes: int
    database_mib: float
    wal_mib: float
    device_bytes: float
    handed_bytes: float
    begin_us: Percentiles
    beside: int
    beside_us: Percentiles
    checkpoints: int
    late_p99_us: float
    cpu_us: float
    elsewhere: float


@dataclass(slots=True)
class _Seen:
    """What a stretch has seen."""

    begins: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    checkpoints: set[int] = field(default_factory=set)


async def steady(
    store: Journaled, per_second: float, seconds: float, stretches: int
) -> list[Stretch]:
    """So many writes per second for so long; what each part of it saw. Raises StoreError."""
    run, started = _Run(store, per_second), time.perf_counter()
    ends = [started + seconds * number / stretches for number in range(1, stretches + 1)]
    found = [await run.stretch(started, end) for end in ends]
    await run.fibers.drain(GRACE_SECONDS)
    return found


class _Run:
    def __init__(self, store: Journaled, per_second: float) -> None:
        self.fibers = Fibers(Log())
        self._store = store
        self._every = 1 / per_second
        self._number = 0
        self._database = store.journal.writer.path
        self._wal = Path(f"{self._database}-wal")

    async def stretch(self, started: float, until: float) -> Stretch:
        """Begin writes until then."""
        seen, first = _Seen(), self._number
        io, cpu, busy = _written(), time.process_time(), tools.busy(())
        while (due := started + self._number * self._every) < until:
            left = due - time.perf_counter()
            if left > 0:
                await asyncio.sleep(left)
            seen.late.append(time.perf_counter() - due)
            self.fibers.start(self._one(self._number, seen))
            self._number += 1
        writes = self._number - first
        device, handed = (now - before for now, before in zip(_written(), io, strict=True))
        beside = sorted(seen.beside)
        p50, p99, _ = percentiles(beside)
        return Stretch(
            at_s=until - started, writes=writes, database_mib=_mib(self._database),
            wal_mib=_mib(self._wal), device_bytes=device / writes, handed_bytes=handed / writes,
            begin_us=percentiles(seen.begins), beside=len(beside),
            beside_us=(p50, p99, beside[-1] * 1e6 if beside else 0.0),
            checkpoints=len(seen.checkpoints), late_p99_us=percentiles(seen.late)[1],
            cpu_us=(time.process_time() - cpu) / writes * 1e6,
            elsewhere=tools.busy(()).elsewhere(busy),
        )  # fmt: skip

    async def _one(self, number: int, seen: _Seen) -> None:
        before = self._changed()
        started = time.perf_counter()
        one = await self._store.begin(number)
        took = time.perf_counter() - started
        after = self._changed()
        seen.begins.append(took)
        if after != before:
            seen.beside.append(took)
            seen.checkpoints.add(after)
        await self._store.settle(one)

    def _changed(self) -> int:
        """When the database was written to: only a checkpoint does that, a commit writes to the log."""
        return os.stat(self._database).st_mtime_ns


def percentiles(found: Sequence[float]) -> Percentiles:
    """Median, p99 and p99.9 in microseconds, of seconds; zeros of nothing."""
    if not found:
        return 0.0, 0.0, 0.0
    ordered, last = sorted(found), len(found) - 1
    p50, p99, p999 = (ordered[min(int(len(ordered) * part), last)] for part in (0.5, 0.99, 0.999))
    return p50 * 1e6, p99 * 1e6, p999 * 1e6


def _mib(path: Path) -> float:
    return path.stat().st_size / 2**20


def _written() -> tuple[int, int]:
    """Bytes that this process caused to be written to a disk, and bytes that it wrote to anything."""
    told = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(told["write_bytes"]), int(told["wchar"])
