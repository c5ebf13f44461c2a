"""The measurement: rounds, each with every contestant alive, in random order.

Law: a round starts every contestant anew (an empty journal, the same age), measures each once per
number of connections and once at the fixed rate, and ends them. CPU is counted from the start of the
load until the contestant is quiet again, so that work done after the reply is paid for too.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
SETTLE_SECONDS_MAX = 20.0
OPEN_SECONDS_MAX = 20.0
ELSEWHERE_SECONDS = 0.5


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

    @property
    def runs(self) -> int:
        """How many measurements there will be."""
        return self.rounds * len(_jobs(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One measurement to make; `rate` 0 is the closed loop."""

    contestant: Contestant
    connections: int
    rate: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement. Times in microseconds, CPU per request; `direct` has no CPU.

    `owed`: writes not yet delivered when the load ended. `breaker`: its state then. `settled`: it
    became quiet, with nothing owed. `clocks_agree`: both of the kernel's clocks told the same CPU.
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

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All rows, and how busy others kept the machine before each round (in cores; stolen too)."""

    rows: list[Row]
    elsewhere: list[float]
    stolen: list[float]


async def measure(bed: Bed, plan: Plan, told: Callable[[int, Row], None]) -> Measured:
    """Run all rounds; `told` is called with round and row after each measurement. Raises ToolError."""
    chance = random.Random(plan.seed)
    found = Measured(rows=[], elsewhere=[], stolen=[])
    for number in range(1, plan.rounds + 1):
        served = dict(zip(plan.contestants, await _start(bed, plan.contestants), strict=True))
        busy, stolen = await _elsewhere()
        found.elsewhere.append(busy)
        found.stolen.append(stolen)
        jobs = _jobs(plan)
        chance.shuffle(jobs)
        for job in jobs:
            row = await _run(bed, served[job.contestant], job, plan, number)
            found.rows.append(row)
            told(number, row)
        await _stop(bed, list(served.values()))
    return found


def _jobs(plan: Plan) -> list[Job]:
    jobs = [
        Job(contestant=each, connections=connections)
        for each in plan.contestants
        for connections in plan.connections
    ]
    if plan.rate:
        jobs += [
            Job(contestant=each, connections=plan.open_connections, rate=plan.rate)
            for each in plan.contestants
            if each.in_open_loop
        ]
    return jobs


async def _start(bed: Bed, contestants: Sequence[Contestant]) -> list[Served]:
    """One after the other: two sidecars that start at once disturb each other's cores."""
    return [await each.start(bed) for each in contestants]


async def _stop(bed: Bed, served: Sequence[Served]) -> None:
    await asyncio.gather(*(bed.stop(each.child) for each in served if each.child is not None))


async def _run(bed: Bed, served: Served, job: Job, plan: Plan, number: int) -> Row:
    await bed.own(served.address, job.connections, WARM_SECONDS)
    if job.contestant.opens:
        await _opened(bed, served)
    await _settled(bed, served, job.contestant)
    before = _cpu(served)
    load = await _load(bed, served, job, plan)
    status = await bed.status(served.admin) if served.admin else {}
    settled = await _settled(bed, served, job.contestant)
    return _row(number, job, load, _Seen(served, _cpu(served) - before, status, settled))


async def _load(bed: Bed, served: Served, job: Job, plan: Plan) -> Load:
    if job.rate:
        return await bed.own(served.address, job.connections, plan.open_seconds, job.rate)
    return await bed.closed(served.address, job.connections, plan.seconds)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the contestant's process told about a measurement."""

    served: Served
    cpu: tools.Cpu
    status: dict[str, Any]
    settled: bool


def _row(number: int, job: Job, load: Load, seen: _Seen) -> Row:
    requests, child = max(load.requests, 1), seen.served.child
    breakers = seen.status.get("breakers", {}).values()
    return Row(
        round=number,
        contestant=job.contestant.name,
        connections=job.connections,
        rate=job.rate,
        requests=load.requests,
        seconds=load.seconds,
        requests_per_second=load.requests / load.seconds,
        cpu_us=seen.cpu.total / requests * 1e6,
        user_us=seen.cpu.user / requests * 1e6,
        system_us=seen.cpu.system / requests * 1e6,
        p50_us=load.p50_us,
        p99_us=load.p99_us,
        p999_us=load.p999_us,
        late_p99_us=load.late_p99_us,
        errors=load.errors,
        owed=seen.status.get("backlog", {}).get("rows", 0),
        breaker=",".join(sorted({each["state"] for each in breakers} - {"closed"})),
        memory_mib=0.0 if child is None else tools.memory_mib(child.pid),
        settled=seen.settled,
        clocks_agree=seen.cpu.agrees,
    )


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


async def _opened(bed: Bed, served: Served) -> None:
    """Wait until the breaker is not closed any more; raises ToolError."""
    deadline = asyncio.get_running_loop().time() + OPEN_SECONDS_MAX
    while asyncio.get_running_loop().time() < deadline:
        breakers = (await bed.status(served.admin))["breakers"]
        if any(each["state"] != "closed" for each in breakers.values()):
            return
        await asyncio.sleep(QUIET_SECONDS)
    raise tools.ToolError("the breaker did not open although the new side hangs")


async def _elsewhere() -> tuple[float, float]:
    """Cores that are busy, and stolen, while the benchmark itself does nothing."""
    before = tools.busy_seconds()
    await asyncio.sleep(ELSEWHERE_SECONDS)
    after = tools.busy_seconds()
    busy, stolen = ((new - old) / ELSEWHERE_SECONDS for new, old in zip(after, before, strict=True))
    return busy, stolen
