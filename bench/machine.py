"""Where a run was made: the facts without which its numbers mean nothing."""

import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bench import envoy

SYNCS = 100
SYNC_BYTES = 4096

NOT_A_DISK = frozenset(("tmpfs", "ramfs"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The facts. `sync_us`: the median of an fdatasync of 4 KiB in the journal's directory."""

    date: str
    processor: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    uvloop: str
    twinwrite: str
    wrk: str
    nginx: str
    envoy: str
    filesystem: str
    sync_us: float
    load_average: float


def describe(directory: Path) -> Machine:
    """The facts of now; `directory` is where journals will be."""
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        processor=_processor(),
        cores=cores(),
        memory_gib=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30,
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        uvloop=version("uvloop"),
        twinwrite=version("twinwrite") + _commit(),
        wrk=_first_line("wrk", "-v"),
        nginx=_first_line("nginx", "-v"),
        envoy=_envoy(),
        filesystem=filesystem(directory),
        sync_us=_sync_us(directory),
        load_average=os.getloadavg()[0],
    )


def filesystem(directory: Path) -> str:
    """The kind of file system that a directory is on, as ext4."""
    best, kind = Path("/"), ""
    resolved = directory.resolve()
    for line in Path("/proc/self/mounts").read_text().splitlines():
        at, found = line.split()[1:3]
        point = Path(at.replace("\\040", " "))
        if resolved.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, found
    return kind


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def disk() -> Path:
    """A directory for temporary files on a disk, not in memory, if there is one."""
    candidates = (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd())
    for each in candidates:
        if os.access(each, os.W_OK) and filesystem(each) not in NOT_A_DISK:
            return each
    return candidates[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    if shutil.which("git") is None:
        return ""
    command = ("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return f" ({found.stdout.strip()})" if found.returncode == 0 else ""


def _first_line(program: str, option: str) -> str:
    if shutil.which(program) is None:
        return "missing"
    found = subprocess.run((program, option), capture_output=True, text=True, check=False)
    lines = (found.stdout or found.stderr).splitlines()
    return lines[0].partition(" Copyright")[0].removeprefix("nginx version: ") if lines else "?"


def _envoy() -> str:
    """Its version; it tells `commit/version/...`."""
    program = envoy.program()
    if program is None:
        return "missing"
    found = subprocess.run((program, "--version"), capture_output=True, text=True, check=False)
    version_found = re.search(r"/(\d+\.\d+\.\d+)/", found.stdout)
    return version_found[1] if version_found else "?"


def _sync_us(directory: Path) -> float:
    path = directory / "sync"
    took = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(SYNC_BYTES))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - started) * 1e6)
    path.unlink()
    return median(took)
