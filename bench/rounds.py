"""The measurement: rounds, each with every contestant alive, in random order.

Law: a round starts every contestant anew (an empty journal, the same age), measures each once per
number of connections and once at the fixed rate, and ends them. CPU is counted from the start of the
load until the contestant is quiet again, so that work done after the reply is paid for too.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench import tools
from bench.bed import Bed
from bench.contestants import Contestant, Served
from bench.load import Load

WARM_SECONDS = 0.5
"""Load before each measurement: connections open, caches warm, the interpreter specialised."""

QUIET_SECONDS = 0.1
"""A contestant is quiet when it used less than QUIET_CPU_SECONDS within this time."""

QUIET_CPU_SECONDS = 0.005
ELSEWHERE_MAX = 0.2
"""Cores that others may use during a measurement before it is called doubtful."""

CALM_SECONDS = 0.5
"""The machine is calm when others used less than half of ELSEWHERE_MAX for so long."""

TRIES_MAX = 3
"""Measurements per row under `patience`: the one that others disturbed least is kept."""

SETTLE_SECONDS_MAX = 20.0
OPEN_SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure."""

    contestants: tuple[Contestant, ...]
    connections: tuple[int, ...]  # of the closed loop; none: no closed loop
    rounds: int
    seconds: float
    rate: float  # of the open loop; 0: no open loop
    open_seconds: float
    open_connections: int
    seed: int
    patience: float  # seconds to wait for others on this machine, before each try

    @property
    def runs(self) -> int:
        """How many measurements there will be."""
        return len(_jobs(self, 1)) * self.rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One measurement to make; `rate` 0 is the closed loop."""

    round: int
    contestant: Contestant
    connections: int
    rate: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement. Times in microseconds, CPU per request; `direct` has no CPU.

    `owed`: writes not yet delivered when the load ended. `breaker`: its state then. `settled`: it
    became quiet, with nothing owed. `clocks_agree`: both of the kernel's clocks told the same CPU.
    `elsewhere`, `stolen`: cores that others on this machine, and its host, used meanwhile.
    `tries`: how often it was measured; the try with the smallest `elsewhere` is this row.
    """

    round: int
    contestant: str
    connections: int
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
    settled: bool
    clocks_agree: bool
    elsewhere: float
    stolen: float
    tries: int = 1

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


async def measure(bed: Bed, plan: Plan, told: Callable[[Row], None]) -> list[Row]:
    """Run all rounds; `told` is called with each row as it comes. Raises ToolError."""
    chance = random.Random(plan.seed)
    rows = []
    for number in range(1, plan.rounds + 1):
        served = dict(zip(plan.contestants, await _start(bed, plan.contestants), strict=True))
        jobs = _jobs(plan, number)
        chance.shuffle(jobs)
        for job in jobs:
            row = await _best(bed, served[job.contestant], job, plan)
            rows.append(row)
            told(row)
        await _stop(bed, list(served.values()))
    return rows


def _jobs(plan: Plan, number: int) -> list[Job]:
    jobs = [
        Job(round=number, contestant=each, connections=connections)
        for each in plan.contestants
        for connections in plan.connections
    ]
    if plan.rate:
        jobs += [
            Job(round=number, contestant=each, connections=plan.open_connections, rate=plan.rate)
            for each in plan.contestants
            if each.in_open_loop
        ]
    return jobs


async def _start(bed: Bed, contestants: Sequence[Contestant]) -> list[Served]:
    """One after the other: two sidecars that start at once disturb each other's cores."""
    return [await each.start(bed) for each in contestants]


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
    await bed.own(served.address, job.connections, WARM_SECONDS)
    if job.contestant.opens:
        await _opened(bed, served)
    if not await _settled(bed, served, job.contestant):
        raise tools.ToolError(
            f"{job.contestant.name} does not become quiet: {await _doing(bed, served)}"
        )
    cpu, busy = _cpu(served), bed.busy()
    load = await _load(bed, served, job, plan)
    busy_then = bed.busy()
    status = await bed.status(served.admin) if served.admin else {}
    breakers = status.get("breakers", {}).values()
    settled = await _settled(bed, served, job.contestant)
    used = _cpu(served) - cpu
    return Row(
        round=job.round,
        contestant=job.contestant.name,
        connections=job.connections,
        rate=job.rate,
        **asdict(load),
        requests_per_second=load.requests / load.seconds,
        cpu_us=used.total / max(load.requests, 1) * 1e6,
        user_us=used.user / max(load.requests, 1) * 1e6,
        system_us=used.system / max(load.requests, 1) * 1e6,
        owed=status.get("backlog", {}).get("rows", 0),
        breaker=",".join(sorted({each["state"] for each in breakers} - {"closed"})),
        memory_mib=0.0 if served.child is None else tools.memory_mib(served.child.pid),
        settled=settled,
        clocks_agree=used.agrees,
        elsewhere=busy_then.elsewhere(busy),
        stolen=busy_then.stolen_since(busy),
    )


async def _load(bed: Bed, served: Served, job: Job, plan: Plan) -> Load:
    if job.rate:
        return await bed.own(served.address, job.connections, plan.open_seconds, job.rate)
    return await bed.closed(served.address, job.connections, plan.seconds)


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
