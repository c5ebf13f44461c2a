"""Who is compared: one table. A contestant is how to start it, and what is asked of it.

To add one (another proxy, another setting): write a function that starts it on a `Bed` and returns a
`Served`, add a row to CONTESTANTS, and its name to a scene.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sys import executable

from bench import envoy, nginx, sample, tools
from bench.bed import Bed, Sides
from proxy.demo.child import Child

HOLD_SECONDS = 1
"""How long done writes stay in the journal: short, so that a run pays for removing its own rows."""

TIMEOUT_MS = 1000
"""How long a sidecar waits for the new side: short, so that a hung side trips the breaker soon."""

CONCURRENCY = 32
"""Writes to the new side at once (`delivery.concurrency_max`, its default)."""

_CONFIG = (
    """
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
"""
    + sample.ROUTE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A contestant that serves: host:port, its process, its admin port, the backends that it serves.
    No child: no proxy at all."""

    address: str
    sides: Sides
    child: Child | None = None
    admin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One row of the table.

    `mirrors`: whether the new side must get every request; the run looks before it measures.
    `tail_seconds`: how long after the load its own work may go on; its CPU is counted until then.
    None: it never ends (writes stay owed), and its CPU is counted until the load ends.
    `opens`: it is measured only once its breaker is open. `needs`: a tool that may be missing here.
    `reconnects`: it may open a connection to the new side per request; nobody else may.
    """

    name: str
    what: str
    start: Callable[[Bed, Sides], Awaitable[Served]]
    mirrors: bool = True
    tail_seconds: float | None = 0.2
    opens: bool = False
    needs: str = ""
    reconnects: bool = False


async def _direct(bed: Bed, sides: Sides) -> Served:  # noqa: ARG001 - a contestant's signature
    return Served(address=sides.legacy, sides=sides)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sidecar:
    """Starts a sidecar in a stage."""

    stage: str
    hung: bool = False
    breaker: bool = True
    compare: bool = True

    async def __call__(self, bed: Bed, sides: Sides) -> Served:
        directory = bed.fresh("sidecar")
        config = directory / "twinwrite.toml"
        config.write_text(self.toml(sides, directory))
        command = (executable, "-m", "proxy", "run", "-c", str(config))
        child = await bed.start(directory.name, command, is_proxy=True)
        told = child.fields()
        return Served(address=told["listen"], sides=sides, child=child, admin=told["admin"])

    def toml(self, sides: Sides, directory: Path) -> str:
        """Its settings."""
        return _CONFIG.format(
            stage=self.stage,
            legacy=sides.legacy,
            new=sides.hung if self.hung else sides.new,
            timeout_ms=TIMEOUT_MS,
            directory=directory / "journal",
            hold_seconds=HOLD_SECONDS,
            concurrency=CONCURRENCY,
            breaker=str(self.breaker).lower(),
            compare=str(self.compare).lower(),
        )


async def _nginx(mirror: nginx.Mirror, bed: Bed, sides: Sides, *, empty: bool = False) -> Served:
    directory, port = bed.fresh("nginx"), tools.free_port()
    new = sides.new_empty if empty else sides.new
    command = nginx.proxy(directory, port, sides.legacy, new, mirror)
    child = await bed.start(directory.name, command, is_proxy=True, ready=nginx.is_ready)
    return Served(address=f"127.0.0.1:{port}", sides=sides, child=child)


async def _envoy(bed: Bed, sides: Sides, *, mirrors: bool) -> Served:
    directory, port = bed.fresh("envoy"), tools.free_port()
    command = envoy.command(directory, port, sides.legacy, sides.new if mirrors else None)
    child = await bed.start(directory.name, command, is_proxy=True, ready=envoy.is_ready)
    await tools.reachable("127.0.0.1", port)
    return Served(address=f"127.0.0.1:{port}", sides=sides, child=child)


_DUAL = "dual_legacy_primary"
_TAIL_SECONDS = HOLD_SECONDS + 0.5

_TWINWRITE = (
    Contestant(
        name="relay",
        what="Twinwrite, stage legacy_only: passed through, nothing mirrored, nothing journaled",
        start=_Sidecar(stage="legacy_only"),
        mirrors=False,
        tail_seconds=0.0,
    ),
    Contestant(
        name="shadow",
        what="Twinwrite, stage shadow: also sent to the new side, replies compared; no journal",
        start=_Sidecar(stage="shadow"),
    ),
    Contestant(
        name="shadow_plain",
        what="as shadow with `compare = false`: what hash and comparison cost is the difference",
        start=_Sidecar(stage="shadow", compare=False),
    ),
    Contestant(
        name="dual",
        what="Twinwrite, stage dual_legacy_primary: journaled durably (FULL) before and after the "
        "primary's answer, sent to the new side in order, replies compared",
        start=_Sidecar(stage=_DUAL),
        tail_seconds=_TAIL_SECONDS,
    ),
    Contestant(
        name="hung",
        what="as dual, but the new side accepts and never answers; the breaker is open",
        start=_Sidecar(stage=_DUAL, hung=True),
        tail_seconds=None,
        opens=True,
    ),
    Contestant(
        name="hung_breaker_off",
        what=f"as hung with the breaker disabled: {CONCURRENCY} writes hang at the new side, always",
        start=_Sidecar(stage=_DUAL, hung=True, breaker=False),
        tail_seconds=None,
    ),
)

_NGINX = (
    Contestant(
        name="nginx_relay",
        what="nginx, proxy_pass only",
        start=partial(_nginx, nginx.Mirror.NONE),
        mirrors=False,
        tail_seconds=0.0,
        needs="nginx",
    ),
    Contestant(
        name="nginx_mirror",
        what="nginx, mirror module, its location as in the manual: a connection per mirrored request",
        start=partial(_nginx, nginx.Mirror.DEFAULT),
        needs="nginx",
        reconnects=True,
    ),
    Contestant(
        name="nginx_mirror_tuned",
        what="as nginx_mirror with upstream keepalive in the mirror location; nginx closes the "
        "connection all the same, because the reply has a body",
        start=partial(_nginx, nginx.Mirror.TUNED),
        needs="nginx",
        reconnects=True,
    ),
    Contestant(
        name="nginx_mirror_best",
        what="as nginx_mirror_tuned, but the new side's replies are empty, so connections are kept: "
        "nginx's best case, and less work than the others do",
        start=partial(_nginx, nginx.Mirror.TUNED, empty=True),
        needs="nginx",
    ),
)

_ENVOY = (
    Contestant(
        name="envoy_relay",
        what="Envoy, one worker, a route only",
        start=partial(_envoy, mirrors=False),
        mirrors=False,
        tail_seconds=0.0,
        needs="envoy",
    ),
    Contestant(
        name="envoy_mirror",
        what="Envoy, one worker, request_mirror_policies; replies of the new side are dropped",
        start=partial(_envoy, mirrors=True),
        needs="envoy",
    ),
)

CONTESTANTS: tuple[Contestant, ...] = (
    Contestant(
        name="direct",
        what="no proxy: the load generator and the legacy backend",
        start=_direct,
        mirrors=False,
        tail_seconds=0.0,
    ),
    *_TWINWRITE,
    *_NGINX,
    *_ENVOY,
)
"""Everybody, in the order of the report."""
