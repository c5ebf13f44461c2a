"""Processes that come and go: programs that run to their end, ports, cores, and CPU time.

Law: a process is ended by its own id; a run has a time limit; a core set is inherited at the start and
moved for all threads at once, so that no thread of a process stays outside it.
"""

import asyncio
import os
import random
import resource
import socket
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

CHECK_SECONDS = 0.03
"""The two clocks of a process may differ by so much: the ticks of `stat` are 10 ms long."""

CHECK_PART = 0.05
"""... or by this part of the time measured, whichever is more."""


_PORTS = range(10_000, 32_000)
"""Linux gives ports from 32768 on by itself (ip_local_port_range)."""

_ports = iter(random.sample(_PORTS, len(_PORTS)))

REACHABLE_SECONDS_MAX = 10.0
REACHABLE_SECONDS_BETWEEN = 0.02


class ToolError(Exception):
    """A program of the benchmark failed; one clear line."""


class Pin(StrEnum):
    """Which cores the processes run on."""

    ONE = "one"  # everything on core 0: the cleanest CPU numbers, the lowest requests/s
    SPLIT = "split"  # the proxy alone on core 0, load and backends on the others
    NONE = "none"  # as the scheduler likes


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """The cores of a proxy and of everything else."""

    proxy: frozenset[int]
    rest: frozenset[int]

    @classmethod
    def of(cls, pin: Pin) -> "Cores":
        """The cores under a pinning, out of those that this process may use; raises ToolError."""
        every = sorted(os.sched_getaffinity(0))
        if pin is Pin.SPLIT and len(every) == 1:
            raise ToolError("--pin split needs two cores; use --pin one")
        first, others = frozenset(every[:1]), frozenset(every[1:])
        if pin is Pin.NONE:
            return cls(proxy=frozenset(every), rest=frozenset(every))
        return cls(proxy=first, rest=others if pin is Pin.SPLIT else first)


@contextmanager
def started_on(cores: frozenset[int]) -> Iterator[None]:
    """What is started inside runs on these cores, threads and children included."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move(pid: int, cores: frozenset[int]) -> None:
    """A process runs on these cores from now on, with every thread that it has and begins."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)


async def reachable(host: str, port: int) -> None:
    """Wait until somebody listens, for programs that say they serve a little too early; raises ToolError."""
    deadline = time.monotonic() + REACHABLE_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except ConnectionError:
            await asyncio.sleep(REACHABLE_SECONDS_BETWEEN)
        else:
            writer.close()
            await writer.wait_closed()
            return
    raise ToolError(f"nobody listens at {host}:{port}")


async def run(command: Sequence[str], seconds_max: float) -> str:
    """Run a program to its end and return its output; raises ToolError. Never outlives the call."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    try:
        async with asyncio.timeout(seconds_max):
            out, errors = await process.communicate()
    except TimeoutError:
        raise ToolError(f"{command[0]} did not end within {seconds_max:.0f} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        told = (errors.decode(errors="replace").strip() or "it said nothing").splitlines()[-1]
        raise ToolError(f"{' '.join(command)}: exit code {process.returncode}: {told}")
    return out.decode()


def free_port() -> int:
    """A port that nobody has, for programs that cannot pick one; never the same twice in a run.

    It lies below the range that the kernel takes ports from by itself, so that no connection gets it
    before the program does. Raises ToolError.
    """
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ToolError("no free port")


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds of a process with all its threads since it began: `stat`'s, and `schedstat`'s."""

    user: float
    system: float
    scheduled: float

    def __sub__(self, earlier: "Cpu") -> "Cpu":
        return Cpu(
            self.user - earlier.user,
            self.system - earlier.system,
            self.scheduled - earlier.scheduled,
        )

    @property
    def total(self) -> float:
        """User and system time together."""
        return self.user + self.system

    @property
    def agrees(self) -> bool:
        """Whether the two clocks of the kernel tell the same."""
        return abs(self.total - self.scheduled) <= max(CHECK_SECONDS, CHECK_PART * self.total)


def cpu(pid: int) -> Cpu:
    """The CPU time of a process. `schedstat` covers the threads that live now."""
    # The name in parentheses may hold anything: count the fields from the last one.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            nanoseconds += int((task / "schedstat").read_text().split()[0])
    return Cpu(user / TICKS_PER_SECOND, system / TICKS_PER_SECOND, nanoseconds / 1e9)


def memory_mib(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass(frozen=True, slots=True)
class Busy:
    """Seconds of all cores together: `ours` used by this program and its processes, `all` by anybody,
    `stolen` by the host; and the `clock`."""

    clock: float
    all: float
    ours: float
    stolen: float

    def elsewhere(self, earlier: "Busy") -> float:
        """How many cores others kept busy since then."""
        used = (self.all - earlier.all) - (self.ours - earlier.ours)
        return max(used, 0.0) / (self.clock - earlier.clock)

    def stolen_since(self, earlier: "Busy") -> float:
        """How many cores the host took away since then."""
        return (self.stolen - earlier.stolen) / (self.clock - earlier.clock)


def busy(pids: Iterable[int]) -> Busy:
    """What the cores did up to now; `pids` are our processes that live and were not waited for."""
    fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _wait, hard, soft, stolen = fields[:8]
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Busy(
        clock=time.monotonic(),
        all=(user + nice + system + hard + soft) / TICKS_PER_SECOND,
        ours=sum(each.ru_utime + each.ru_stime for each in own)
        + sum(cpu(pid).scheduled for pid in pids),
        stolen=stolen / TICKS_PER_SECOND,
    )
