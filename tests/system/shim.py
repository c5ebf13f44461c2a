"""The library between a sidecar and its disk (disk.c): compiled once, its controls, its environment."""

import mmap
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.harness import needed

SOURCE = Path(__file__).with_name("disk.c")
CONTROL = struct.Struct("=iiq")


@dataclass(frozen=True, slots=True)
class Shim:
    """One program's disk below `root`. `record` is where every change of it is kept."""

    library: Path
    root: Path
    record: Path | None
    control: mmap.mmap

    def environment(self) -> dict[str, str]:
        """What the program is started with."""
        return {
            "LD_PRELOAD": str(self.library),
            "DISK_ROOT": str(self.root),
            "DISK_RECORD": str(self.record or ""),
            "DISK_CONTROL": str(self.library.with_suffix(".control")),
        }

    def set(self, *, error: int = 0, hangs: bool = False, clock_seconds: float = 0.0) -> None:
        """From now on: the errno of writes and syncs (0: they work), whether syncs hang, how far the wall
        clock is off.
        """
        self.control[:] = CONTROL.pack(error, hangs, int(clock_seconds * 1e9))


def make_shim(directory: Path, root: Path, *, recording: bool = False) -> Shim:
    """Compile the library into `directory`; where that is not possible, skip with the reason."""
    library = directory / "disk.so"
    command = [needed("gcc"), "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    built = subprocess.run([*command, "-ldl", "-pthread"], capture_output=True, text=True)
    if built.returncode:
        pytest.fail(f"disk.c does not compile: {built.stderr}")
    record = directory / "disk.record" if recording else None
    if record is not None:
        record.touch()
    shared = library.with_suffix(".control")
    shared.write_bytes(CONTROL.pack(0, 0, 0))
    with shared.open("r+b") as file:
        return Shim(library, root, record, mmap.mmap(file.fileno(), CONTROL.size))
