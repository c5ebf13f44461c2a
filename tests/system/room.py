"""A small disk of its own: a tmpfs in a mount namespace, which goes with the process that keeps it.

Needs the right to mount: root's, or that of a user namespace. Where neither is given the tests are skipped.
"""

import asyncio
import errno
import os
import shutil
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Room:
    """A small disk. `inside` is its path for what runs `within`, `outside` for everybody else."""

    inside: Path
    outside: Path
    within: tuple[str, ...]

    def fill(self) -> int:
        """Take all that is free; how much that was, in bytes."""
        taken = 0
        filler = os.open(self.outside / "filler", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            while True:
                taken += os.write(filler, bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(filler)
        return taken

    def free(self) -> None:
        """Give it back."""
        (self.outside / "filler").unlink()


async def make_room(directory: Path, mib: int, stack: AsyncExitStack) -> Room:
    """A disk of so many MiB, at `directory`; it ends with the stack. Skips where none can be mounted."""
    directory.mkdir()
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("unshare and nsenter (util-linux) are not installed")
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    script = 'mount -t tmpfs -o size="$1"m,mode=0700 tmpfs "$2" && echo mounted && exec sleep 600'
    keeper = await asyncio.create_subprocess_exec(
        *("unshare", *user, "--mount", "--propagation", "private"),
        *("sh", "-c", script, "sh", str(mib), str(directory)),
        stdout=PIPE,
        stderr=PIPE,
    )
    stack.push_async_callback(_end, keeper)
    assert keeper.stdout is not None
    assert keeper.stderr is not None
    if await keeper.stdout.readline() != b"mounted\n":
        why = (await keeper.stderr.read()).decode().strip()
        pytest.skip(f"this machine lets nobody mount a small disk: {why}")
    entered = ("--user", "--preserve-credentials") if user else ()
    within = ("nsenter", "--target", str(keeper.pid), *entered, "--mount", f"--wd={os.getcwd()}")
    return Room(directory, Path(f"/proc/{keeper.pid}/root{directory}"), within)


async def _end(keeper: asyncio.subprocess.Process) -> None:
    if keeper.returncode is None:
        keeper.kill()
    await keeper.wait()
