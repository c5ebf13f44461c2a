"""A start with many owed writes: how long until the sidecar is ready, what it takes, how fast it catches up.

Law: the journal is filled by the journal itself, and the sidecar is a process of its own.
"""

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from sys import executable

from bench import tools
from bench.bed import Bed
from bench.durable import intent, raised, reply
from proxy.control.owed import Journal as Settings
from proxy.control.tally import Tally
from proxy.demo.child import Child
from proxy.store.intent import Intent
from proxy.store.journal import Journal
from proxy.store.schema import NOTHING
from proxy.store.young import FOLD_SECONDS
from rules.fate import OWED, Event, State
from rules.message import Request

LANES = 1000

AT_ONCE = 2000
"""Writes that are begun together while a journal is filled."""

LOOK_SECONDS = 0.2
"""Between two looks at what is still owed."""

LIMIT = 1000.0
"""What `catch_up_per_second_max` is where the catch-up is held to a rate."""

KINDS = ("rows", "log")
"""Where the owed writes are: in rows of their own, as all that are older than two seconds; or all still in the log."""

_CONFIG = """
stage = "dual_legacy_primary"
[listen]
port = 0
[admin]
port = 0
[backends.legacy]
url = "http://127.0.0.1:9"
[backends.new]
url = "http://{backend}"
[journal]
directory = "{directory}"
backlog_rows_max = 10000000
backlog_bytes_max = 107374182400
[delivery]
catch_up_per_second_max = {per_second}
[[routes]]
name = "order"
methods = ["POST"]
path = "/orders/{{order_id}}"
entity_key = ["path:order_id"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start. Seconds: until the log says `ready` (and the CPU that took), the same with nothing owed, and for the
    journal alone to open and to list what is owed. `memory_mib`: resident, when ready; and with nothing owed."""

    round: int
    kind: str
    rows: int
    ready_s: float
    ready_cpu_s: float
    empty_s: float
    open_s: float
    memory_mib: float
    empty_memory_mib: float
    elsewhere: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """One catch-up. `per_second`: writes delivered in a second, on average; `fastest`: in the fastest second of all.
    `limit`: what it was held to; 0 is nothing. `memory_mib`: resident, at its end."""

    round: int
    limit: float
    rows: int
    seconds: float
    per_second: float
    fastest: float
    memory_mib: float
    elsewhere: float


def small(number: int) -> Request:
    """A small write, one of many of its lane."""
    target = f"/orders/{number % LANES}"
    body = b'{"state":"paid","n":%d}' % number
    head = (
        f"POST {target} HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return Request(
        method="POST", target=target, head=head.encode(), body=body, body_bytes=len(body)
    )


async def fill(directory: Path, rows: int, kind: str) -> None:
    """A journal that owes so many small writes."""
    clock = _Clock()
    journal = await Journal.open(
        Settings(directory=str(directory), done_hold_seconds=0), Tally(), clock
    )
    waiting = iter(range(rows))
    while some := list(islice(waiting, AT_ONCE)):
        intents = [intent(small(number), f"order/{number % LANES}") for number in some]
        await asyncio.gather(*(_owe(journal, one) for one in intents))
        if kind == "rows":
            for one in intents:
                journal.keep(one)
    while kind == "rows" and await journal.writer.call(_has_log):
        clock.at += FOLD_SECONDS
        journal.sweep()
        await journal.writer.submit(NOTHING, ())
    await journal.close()


async def _owe(journal: Journal, one: Intent) -> None:
    journal.accept(one)
    raised(await journal.begin(one))
    journal.order(one)
    raised(await journal.settle(one, Event.PRIMARY_APPLIED, reply()))


def _has_log(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM log").fetchone() is not None


class _Clock:
    """The wall clock, when it was looked at first; later on as the filling says."""

    def __init__(self) -> None:
        self.at = time.time()

    def __call__(self) -> float:
        return self.at


class Restarts:
    """Starts sidecars on copies of filled journals."""

    def __init__(self, bed: Bed, rows: int) -> None:
        self._bed = bed
        self._rows = rows
        self._backend = ""

    async def fill(self) -> None:
        """Fill a journal of each kind, and start the backend."""
        child = await self._bed.start("backend", (executable, "-m", "bench.backend"))
        self._backend = child.fields()["listen"]
        for kind in KINDS:
            await fill(self._bed.directory / kind, self._rows, kind)

    async def start(self, number: int, kind: str) -> Start:
        """Start a sidecar that owes, and one that does not."""
        busy = self._bed.busy()
        empty_s, empty = await self._ready(self._bed.fresh("empty"), 1.0)
        empty_memory = tools.memory_mib(empty.pid)
        await self._bed.stop(empty)
        ready_s, child = await self._ready(self._copy(kind), 1.0)
        memory, cpu = tools.memory_mib(child.pid), tools.cpu(child.pid).total
        await self._bed.stop(child)
        return Start(
            round=number, kind=kind, rows=self._rows, ready_s=ready_s, ready_cpu_s=cpu, empty_s=empty_s,
            open_s=await _open_seconds(self._copy(kind)), memory_mib=memory,
            empty_memory_mib=empty_memory, elsewhere=self._bed.busy().elsewhere(busy),
        )  # fmt: skip

    async def catch_up(self, number: int, limit: float, seconds: float) -> CatchUp:
        """Let a sidecar deliver for so many seconds, or until nothing is owed."""
        _, child = await self._ready(self._copy("rows"), limit)
        admin, busy = child.fields()["admin"], self._bed.busy()
        seen = [(time.perf_counter(), await self._owed(admin))]
        while seen[-1][1] and seen[-1][0] - seen[0][0] < seconds:
            await asyncio.sleep(LOOK_SECONDS)
            seen.append((time.perf_counter(), await self._owed(admin)))
        elsewhere, memory = self._bed.busy().elsewhere(busy), tools.memory_mib(child.pid)
        await self._bed.stop(child)
        took, delivered = seen[-1][0] - seen[0][0], seen[0][1] - seen[-1][1]
        return CatchUp(
            round=number, limit=limit, rows=delivered, seconds=took, per_second=delivered / took,
            fastest=fastest(seen), memory_mib=memory, elsewhere=elsewhere,
        )  # fmt: skip

    async def _owed(self, admin: str) -> int:
        return int((await self._bed.status(admin))["backlog"]["rows"])

    async def _ready(self, directory: Path, limit: float) -> tuple[float, Child]:
        config = directory / "twinwrite.toml"
        config.write_text(
            _CONFIG.format(backend=self._backend, directory=directory / "journal", per_second=limit)
        )
        started = time.perf_counter()
        command = (executable, "-m", "proxy", "run", "-c", str(config))
        child = await self._bed.start(directory.name, command, is_proxy=True)
        return time.perf_counter() - started, child

    def _copy(self, kind: str) -> Path:
        directory = self._bed.fresh(kind)
        shutil.copytree(self._bed.directory / kind, directory / "journal")
        os.sync()  # else the first commit would write the copy as well
        return directory


async def _open_seconds(directory: Path) -> float:
    started = time.perf_counter()
    settings = Settings(directory=str(directory / "journal"))
    journal = await Journal.open(settings, Tally(), time.time)
    taken = journal.take(OWED | {State.DEAD})
    took = time.perf_counter() - started
    assert taken
    await journal.close()
    return took


def fastest(seen: Sequence[tuple[float, int]]) -> float:
    """The most that was delivered in a second, out of looks (seconds, owed): between looks a second or more apart."""
    most = 0.0
    for at, owed in seen:
        later = next((each for each in seen if each[0] >= at + 1.0), None)
        if later is not None:
            most = max(most, (owed - later[1]) / (later[0] - at))
    return most
