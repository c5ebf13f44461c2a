"""The measurement: rounds of scenes, each with every contestant alive, in random order.

Law: a scene starts its contestants anew in each round (an empty journal, the same age), measures each
once per setting, and ends them. CPU is counted from the start of the load until the contestant is quiet
again, so that work done after the reply is paid for too.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench import tools
from bench.bed import Bed, Sides
from bench.contestants import Contestant, Served
from bench.load import Load, Requests
from bench.scenes import Scene, Setting

WARM_SECONDS = 0.5
"""Load before each measurement: connections open, caches warm, the interpreter specialised."""

QUIET_SECONDS = 0.1
"""A contestant is quiet when it used less than QUIET_CPU_SECONDS within this time."""

QUIET_CPU_SECONDS = 0.005
IDLE_SECONDS = 1.0
ELSEWHERE_MAX = 0.2
"""Cores that others may use during a measurement before it is called doubtful."""

CALM_SECONDS = 0.5
"""The machine is calm when others used less than half of ELSEWHERE_MAX for so long."""

TRIES_MAX = 3
"""Measurements per row under `patience`: the one that others disturbed least is kept."""

LOST_MAX = 0.001
"""The part of the mirrored requests that may be missing when a measurement ends."""

COUNTS_MAX = 10
"""Requests that asking for the count makes, at most."""

SETTLE_SECONDS_MAX = 20.0
OPEN_SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure."""

    scenes: tuple[Scene, ...]
    contestants: Mapping[str, Contestant]  # by name: those that take part, in the report's order
    rounds: int
    seconds: float
    rate: float  # of the open loop
    open_seconds: float
    seed: int
    patience: float  # seconds to wait for others on this machine, before each try

    @property
    def runs(self) -> int:
        """How many measurements there will be."""
        return sum(len(_jobs(self, scene, 1)) for scene in self.scenes) * self.rounds

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings, in the report's order."""
        return tuple(setting for scene in self.scenes for setting in scene.settings)

    def present(self, scene: Scene) -> tuple[Contestant, ...]:
        """Who takes part in a scene."""
        return tuple(each for name, each in self.contestants.items() if name in scene.contestants)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One measurement to make."""

    round: int
    contestant: Contestant
    setting: Setting
    body_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement. Times in microseconds, CPU per request; `direct` has no CPU.

    `rate`: requests per second of the open loop; 0 is the closed one. `owed`: writes not yet delivered
    when the load ended. `breaker`: its state then. `settled`: it became quiet, with nothing owed.
    `clocks_agree`: both of the kernel's clocks told the same CPU. `elsewhere`, `stolen`: cores that
    others on this machine, and its host, used meanwhile. `tries`: how often it was measured; the try
    with the smallest `elsewhere` is this row. `passed_on`: requests that the backends got beyond one
    per reply, per reply: 1 is a mirror that lost nothing; nobody counts what a hung side got.
    `mirrored`: whether that is what the contestant is there for.
    """

    round: int
    contestant: str
    setting: Setting
    rate: float
    requests: int
    seconds: float
    requests_per_second: float
    cpu_us: float
    user_us: float
    system_us: float
    p50_us: float
    p99_us: float
    p999_us: float
    late_p99_us: float
    errors: dict[str, int]
    owed: int
    breaker: str
    memory_mib: float
    passed_on: float
    mirrored: bool
    settled: bool
    clocks_agree: bool
    elsewhere: float
    stolen: float
    tries: int = 1

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """A contestant that has just been started and got no request yet: resident memory, and the CPU
    that it uses in a second, which is in its CPU per request as well."""

    round: int
    scene: str
    contestant: str
    memory_mib: float
    cpu_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was seen."""

    rows: list[Row]
    idle: list[Idle]


async def measure(bed: Bed, plan: Plan, told: Callable[[Row], None]) -> Measured:
    """Run all rounds; `told` is called with each row as it comes. Raises ToolError."""
    chance = random.Random(plan.seed)
    sides = {scene.name: await bed.sides(scene) for scene in plan.scenes}
    measured = Measured(rows=[], idle=[])
    for number in range(1, plan.rounds + 1):
        for scene in chance.sample(plan.scenes, len(plan.scenes)):
            jobs = _jobs(plan, scene, number)
            chance.shuffle(jobs)
            served = await _start(bed, plan.present(scene), sides[scene.name])
            for contestant, idle in (await _idle(served, min(IDLE_SECONDS, plan.seconds))).items():
                measured.idle.append(
                    Idle(round=number, scene=scene.name, contestant=contestant, **idle)
                )
            for job in jobs:
                row = await _best(bed, served[job.contestant.name], job, plan)
                measured.rows.append(row)
                told(row)
            await _stop(bed, list(served.values()))
    return measured


def _jobs(plan: Plan, scene: Scene, number: int) -> list[Job]:
    return [
        Job(round=number, contestant=each, setting=setting, body_bytes=scene.body_bytes)
        for each in plan.present(scene)
        for setting in scene.settings
    ]


async def _start(bed: Bed, contestants: Sequence[Contestant], sides: Sides) -> dict[str, Served]:
    """One after the other: two sidecars that start at once disturb each other's cores."""
    return {each.name: await each.start(bed, sides) for each in contestants}


async def _idle(served: Mapping[str, Served], seconds: float) -> dict[str, dict[str, float]]:
    pids = {name: each.child.pid for name, each in served.items() if each.child is not None}
    await asyncio.sleep(QUIET_SECONDS)  # the last one has only just begun to serve
    before = {name: tools.cpu(pid).scheduled for name, pid in pids.items()}
    await asyncio.sleep(seconds)
    return {
        name: {
            "memory_mib": tools.memory_mib(pid),
            "cpu_ms": (tools.cpu(pid).scheduled - before[name]) / seconds * 1000,
        }
        for name, pid in pids.items()
    }


async def _stop(bed: Bed, served: Sequence[Served]) -> None:
    await asyncio.gather(*(bed.stop(each.child) for each in served if each.child is not None))


async def _best(bed: Bed, served: Served, job: Job, plan: Plan) -> Row:
    """Measure; with patience again, while others disturb. It chooses by the disturbance only."""
    rows: list[Row] = []
    while len(rows) < (TRIES_MAX if plan.patience else 1):
        await _calm(bed, plan.patience)
        rows.append(await _run(bed, served, job, plan))
        if rows[-1].elsewhere <= ELSEWHERE_MAX:
            break
    return replace(min(rows, key=lambda row: row.elsewhere), tries=len(rows))


async def _calm(bed: Bed, patience: float) -> None:
    """Wait until others leave the machine alone, at most `patience` seconds."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience
    while clock() < deadline:
        before = bed.busy()
        await asyncio.sleep(CALM_SECONDS)
        if bed.busy().elsewhere(before) < ELSEWHERE_MAX / 2:
            return


async def _run(bed: Bed, served: Served, job: Job, plan: Plan) -> Row:
    bed.pin(job.setting.pin)
    requests = Requests(served.address, job.body_bytes)
    await bed.own(requests, job.setting.connections, min(WARM_SECONDS, plan.seconds))
    if job.contestant.opens:
        await _opened(bed, served)
    if not await _settled(bed, served, job.contestant):
        raise tools.ToolError(
            f"{job.contestant.name} does not become quiet: {await _doing(bed, served)}"
        )
    received = await bed.received(served.sides)
    cpu, busy = _cpu(served), bed.busy()
    load = await _load(bed, requests, job, plan)
    busy_then = bed.busy()
    status = await bed.status(served.admin) if served.admin else {}
    breakers = status.get("breakers", {}).values()
    settled = await _settled(bed, served, job.contestant)
    used = _cpu(served) - cpu
    received = await bed.received(served.sides) - received
    return Row(
        round=job.round,
        contestant=job.contestant.name,
        setting=job.setting,
        rate=plan.rate if job.setting.is_open else 0.0,
        **asdict(load),
        requests_per_second=load.requests / load.seconds,
        cpu_us=used.total / max(load.requests, 1) * 1e6,
        user_us=used.user / max(load.requests, 1) * 1e6,
        system_us=used.system / max(load.requests, 1) * 1e6,
        owed=status.get("backlog", {}).get("rows", 0),
        breaker=",".join(sorted({each["state"] for each in breakers} - {"closed"})),
        memory_mib=0.0 if served.child is None else tools.memory_mib(served.child.pid),
        passed_on=received / max(load.requests, 1) - 1,
        mirrored=_mirrored(job, load, received),
        settled=settled,
        clocks_agree=used.agrees,
        elsewhere=busy_then.elsewhere(busy),
        stolen=busy_then.stolen_since(busy),
    )


async def _load(bed: Bed, requests: Requests, job: Job, plan: Plan) -> Load:
    connections = job.setting.connections
    if job.setting.is_open:
        return await bed.own(requests, connections, plan.open_seconds, plan.rate)
    return await bed.closed(requests, connections, plan.seconds)


def _mirrored(job: Job, load: Load, received: int) -> bool:
    """Whether the backends got what they should. The generator ends with a request in flight per
    connection; `received` may hold those, twice, and a few for the count itself."""
    if job.contestant.tail_seconds is None:
        return True
    wanted = load.requests * (2 if job.contestant.mirrors else 1)
    spare = 2 * job.setting.connections + COUNTS_MAX
    return wanted * (1 - LOST_MAX) <= received <= wanted + spare


def _cpu(served: Served) -> tools.Cpu:
    return tools.Cpu(0, 0, 0) if served.child is None else tools.cpu(served.child.pid)


async def _settled(bed: Bed, served: Served, contestant: Contestant) -> bool:
    """Wait until the contestant is quiet and owes nothing; whether it came to that."""
    if served.child is None or contestant.tail_seconds is None:
        return True
    await asyncio.sleep(contestant.tail_seconds)
    deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS_MAX
    while asyncio.get_running_loop().time() < deadline:
        before = tools.cpu(served.child.pid)
        await asyncio.sleep(QUIET_SECONDS)
        used = (tools.cpu(served.child.pid) - before).scheduled
        if used < QUIET_CPU_SECONDS and not await _owed(bed, served):
            return True
    return False


async def _owed(bed: Bed, served: Served) -> int:
    if not served.admin:
        return 0
    rows: int = (await bed.status(served.admin))["backlog"]["rows"]
    return rows


async def _doing(bed: Bed, served: Served) -> str:
    """What an operator would look at first."""
    status = await bed.status(served.admin) if served.admin else {}
    intents = {state: count for state, count in status.get("intents", {}).items() if count}
    return f"intents {intents}, breakers {status.get('breakers')}"


async def _opened(bed: Bed, served: Served) -> None:
    """Wait until the breaker is not closed any more; raises ToolError."""
    deadline = asyncio.get_running_loop().time() + OPEN_SECONDS_MAX
    while asyncio.get_running_loop().time() < deadline:
        breakers = (await bed.status(served.admin))["breakers"]
        if any(each["state"] != "closed" for each in breakers.values()):
            return
        await asyncio.sleep(QUIET_SECONDS)
    raise tools.ToolError("the breaker did not open although the new side hangs")
