"""Sidecars that start at once: the program is imported once, and each sidecar is a fork of that process.

    python -m tests.system.forks CONFIG

For every line of standard input it forks, says {"forked": PID}, and the fork runs `twinwrite run -c CONFIG`
with the same output. What a start costs beside the imports, and what a kill meets, is the sidecar's own.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from contextlib import suppress
from pathlib import Path

from proxy.__main__ import main
from tests.system.harness import environment

LOOK_SECONDS = 0.002
READY_SECONDS_MAX = 30.0


class Forks:
    """Starts sidecars of one configuration, one at a time, and kills them. Its settings are its environment."""

    def __init__(self, process: Process, log: Path) -> None:
        self.pid = 0  # of the last sidecar; 0: it was killed
        self._log = log
        self._process = process

    @classmethod
    async def open(cls, config: Path, **settings: str) -> "Forks":
        """Import the program."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.system.forks", str(config)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            env=environment(**settings),
        )
        return cls(process, config.with_name("forks.log"))

    async def fork(self) -> None:
        """Begin to start a sidecar."""
        assert not self.pid, "one at a time"
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self.pid = int(str((await self._line("forked"))["forked"]))

    async def ready(self) -> None:
        """Wait until the sidecar serves."""
        async with asyncio.timeout(READY_SECONDS_MAX):
            while (await self._line("event"))["event"] != "ready":
                pass

    async def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        if not self.pid:
            return
        os.kill(self.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            while True:
                os.kill(self.pid, 0)
                await asyncio.sleep(LOOK_SECONDS)
        self.pid = 0

    async def close(self) -> None:
        """End the last sidecar and what forks them."""
        await self.kill()
        self._process.kill()
        await self._process.communicate()

    async def _line(self, key: str) -> dict[str, object]:
        """The next line of output that has this key."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            with self._log.open("ab") as log:
                log.write(line)
            with suppress(ValueError):
                found = json.loads(line)
                if key in found:
                    return dict(found)
        raise AssertionError(f"no sidecar any more: {self._log.read_text()[-1000:]}")


def serve(config: str) -> None:
    """Fork for every line of standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets who ended
    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            main(["run", "-c", config])
        print(json.dumps({"forked": pid}), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
