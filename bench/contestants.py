"""Who is compared: one table. A contestant is how to start it, and what is asked of it.

To add one (another proxy, another setting): write a function that starts it on a `Bed` and returns a
`Served`, and add a row to CONTESTANTS.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sys import executable

from bench.bed import Bed
from proxy.demo.child import Child

HOLD_SECONDS = 1
"""How long done writes stay in the journal: short, so that a run pays for removing its own rows."""

TIMEOUT_MS = 1000
"""How long a sidecar waits for the new side: short, so that a hung side trips the breaker soon."""

CONCURRENCY = 32
"""Writes to the new side at once (`delivery.concurrency_max`, its default)."""

_CONFIG = """
stage = "{stage}"
[listen]
port = 0
[admin]
port = 0
[backends.legacy]
url = "http://{legacy}"
[backends.new]
url = "http://{new}"
first_byte_timeout_ms = {timeout_ms}
[journal]
directory = "{directory}"
done_hold_seconds = {hold_seconds}
backlog_rows_max = 10000000
backlog_bytes_max = 107374182400
[delivery]
concurrency_max = {concurrency}
[breaker]
enabled = {breaker}
[[routes]]
name = "order"
methods = ["POST"]
path = "/orders/{{order_id}}"
entity_key = ["path:order_id"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A contestant that serves: host:port, its process, its admin port. No child: no proxy at all."""

    address: str
    child: Child | None = None
    admin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One row of the table.

    `tail_seconds`: how long after the load its own work may go on; its CPU is counted until then.
    None: it never ends (writes stay owed), and its CPU is counted until the load ends.
    `opens`: it is measured only once its breaker is open. `in_open_loop`: also at a fixed rate.
    """

    name: str
    what: str
    start: Callable[[Bed], Awaitable[Served]]
    tail_seconds: float | None = 0.0
    opens: bool = False
    in_open_loop: bool = True


async def _direct(bed: Bed) -> Served:
    return Served(address=bed.legacy)


async def _sidecar(stage: str, bed: Bed, *, hung: bool = False, breaker: bool = True) -> Served:
    directory = bed.fresh("sidecar")
    config = directory / "twinwrite.toml"
    config.write_text(_toml(bed, stage, directory, hung=hung, breaker=breaker))
    command = (executable, "-m", "proxy", "run", "-c", str(config))
    child = await bed.start(directory.name, command, is_proxy=True)
    told = child.fields()
    return Served(address=told["listen"], child=child, admin=told["admin"])


def _toml(bed: Bed, stage: str, directory: Path, *, hung: bool, breaker: bool) -> str:
    return _CONFIG.format(
        stage=stage,
        legacy=bed.legacy,
        new=bed.hung if hung else bed.new,
        timeout_ms=TIMEOUT_MS,
        directory=directory / "journal",
        hold_seconds=HOLD_SECONDS,
        concurrency=CONCURRENCY,
        breaker=str(breaker).lower(),
    )


_DUAL = "dual_legacy_primary"
_TAIL_SECONDS = HOLD_SECONDS + 0.5

CONTESTANTS: tuple[Contestant, ...] = (
    Contestant(
        name="direct",
        what="no proxy: the load generator and the legacy backend",
        start=_direct,
        in_open_loop=False,
    ),
    Contestant(
        name="relay",
        what="stage legacy_only: passed through, nothing mirrored, nothing journaled",
        start=partial(_sidecar, "legacy_only"),
    ),
    Contestant(
        name="shadow",
        what="stage shadow: also sent to the new side, replies compared; no journal",
        start=partial(_sidecar, "shadow"),
        tail_seconds=0.2,
        in_open_loop=False,
    ),
    Contestant(
        name="dual",
        what="stage dual_legacy_primary: journaled durably before and after the primary, sent to the "
        "new side in order, replies compared",
        start=partial(_sidecar, _DUAL),
        tail_seconds=_TAIL_SECONDS,
    ),
    Contestant(
        name="hung",
        what="as dual, but the new side accepts and never answers; the breaker is open",
        start=partial(_sidecar, _DUAL, hung=True),
        tail_seconds=None,
        opens=True,
    ),
    Contestant(
        name="hung_breaker_off",
        what=f"as hung with the breaker disabled: {CONCURRENCY} writes hang at the new side, always",
        start=partial(_sidecar, _DUAL, hung=True, breaker=False),
        tail_seconds=None,
    ),
)
"""Everybody, in the order of the report."""
