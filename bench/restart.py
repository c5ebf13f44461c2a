"""A start with many owed writes: how long until the sidecar is ready, what it takes, how fast it catches up.

Law: the journal is filled by the journal itself, and the sidecar is a process of its own.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from sys import executable

from bench import tools
from bench.bed import Bed
from bench.durable import intent, reply
from bench.tools import ToolError
from proxy.control.owed import Journal as Settings
from proxy.control.tally import Tally
from proxy.demo.child import Child
from proxy.store.intent import Intent
from proxy.store.journal import Journal
from rules.fate import OWED, Event, State
from rules.message import Request

LANES = 1000

AT_ONCE = 2000
"""Writes that are begun together while a journal is filled."""

CATCH_UP_SECONDS_MAX = 600.0
LOOK_SECONDS = 0.1

_CONFIG = """
stage = "dual_legacy_primary"
[listen]
port = 0
[admin]
port = 0
[backends.legacy]
url = "http://{backend}"
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
    """One start. `rows`: owed. `kind`: in `rows` of their own, or all in the `log`. Seconds: until the log says that the
    sidecar is ready, of these with an empty journal, for the journal alone to open and list them, and until nothing was
    owed. `per_second`: writes delivered in a second, the slowest and the fastest second in between."""

    kind: str
    rows: int
    limit: float
    ready_s: float
    empty_s: float
    open_s: float
    memory_mib: float
    catch_up_s: float
    per_second: float
    fastest: float


def small(number: int) -> Request:
    """A small write, one of many of its lane."""
    target = f"/orders/{number % LANES}"
    body = b'{"state":"paid","n":%d}' % number
    head = (
        f"POST {target} HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return Request(method="POST", target=target, head=head.encode(), body=body, body_bytes=len(body))


async def fill(directory: Path, rows: int, *, in_rows: bool) -> None:
    """A journal that owes so many writes."""
    journal = await Journal.open(Settings(directory=str(directory)), Tally(), time.time)
    answer = reply()

    async def owe(one: Intent) -> None:
        journal.accept(one)
        for error in (await journal.begin(one), journal.order(one), await journal.settle(one, Event.PRIMARY_APPLIED, answer)):
            if error is not None:
                raise error
        if in_rows:
            journal.keep(one)

    waiting = iter(range(rows))
    while some := [intent(small(number), f"order/{number % LANES}") for number in islice(waiting, AT_ONCE)]:
        await asyncio.gather(*map(owe, some))
    await journal.close()


if __name__ == "__main__":
    import sys
    base = Path(sys.argv[1])
    for kind in ("rows", "log"):
        started = time.perf_counter()
        asyncio.run(fill(base / kind, 100_000, in_rows=kind == "rows"))
        print(kind, time.perf_counter() - started)
