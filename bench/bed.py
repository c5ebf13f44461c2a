"""The test bed: the directory, the backends, and every process of a run.

Law: whatever is started here is ended here, by its own id, also after Ctrl-C and failure.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench import nginx, tools, wrk
from bench.load import Load
from proxy.demo.child import Child, ChildEnded, ready_event

ROOT = Path(__file__).parent.parent

SECONDS_SPARE = 30.0
"""Our own generator that takes so much longer than it was told hangs."""

STATUS_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a bed is made of: names of tools, and the cores."""

    load: str  # wrk or own
    backends: str  # nginx or own
    cores: tools.Cores


class Bed:
    """Starts, asks and ends processes. `legacy`, `new` and `hung` are host:port of the backends."""

    def __init__(self, directory: Path, choice: Choice) -> None:
        self.choice = choice
        self.directory = directory
        self.legacy = self.new = self.hung = ""
        self._children: list[Child] = []
        self._count = 0
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=STATUS_SECONDS_MAX)
        )

    @classmethod
    @asynccontextmanager
    async def made(cls, directory: Path, choice: Choice) -> AsyncIterator["Bed"]:
        """A bed with its backends running; everything is ended when the context ends."""
        bed = cls(directory, choice)
        try:
            await bed._start_backends()
            yield bed
        finally:
            await bed._end()

    async def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        is_proxy: bool = False,
        ready: Callable[[str], bool] = ready_event,
    ) -> Child:
        """Start a process on its cores and wait for its ready line; raises ToolError."""
        cores = self.choice.cores
        with tools.started_on(cores.proxy if is_proxy else cores.rest):
            try:
                child = await Child.start(
                    command,
                    environment=_environment(),
                    log=self.directory / f"{name}.log",
                    ready=ready,
                )
            except (ChildEnded, OSError) as error:
                raise tools.ToolError(str(error)) from error
        self._children.append(child)
        return child

    async def stop(self, child: Child) -> None:
        """End one process."""
        await child.stop()
        self._children.remove(child)

    def fresh(self, name: str) -> Path:
        """A new directory."""
        self._count += 1
        path = self.directory / f"{name}-{self._count}"
        path.mkdir()
        return path

    async def closed(self, address: str, connections: int, seconds: float) -> Load:
        """One closed-loop run with the chosen generator."""
        if self.choice.load == "own":
            return await self.own(address, connections, seconds)
        with tools.started_on(self.choice.cores.rest):
            return await wrk.run(address, connections, seconds, self.directory)

    async def own(self, address: str, connections: int, seconds: float, rate: float = 0.0) -> Load:
        """One run of `bench.load`; a rate makes it an open loop."""
        command = (
            *(sys.executable, "-m", "bench.load", "--url", address, "--seconds", str(seconds)),
            *("--connections", str(connections), "--rate", str(rate)),
        )
        with tools.started_on(self.choice.cores.rest):
            return Load(**json.loads(await tools.run(command, seconds + SECONDS_SPARE)))

    async def status(self, admin: str) -> dict[str, Any]:
        """A sidecar's `/status`; raises ToolError."""
        try:
            async with self._session.get(f"http://{admin}/status") as reply:
                found: dict[str, Any] = await reply.json()
                return found
        except (aiohttp.ClientError, TimeoutError) as error:
            raise tools.ToolError(f"the admin port {admin} does not answer: {error}") from error

    def busy(self) -> tools.Busy:
        """What the cores did up to now, for us and for others."""
        return tools.busy(child.pid for child in self._children)

    async def _start_backends(self) -> None:
        own = (sys.executable, "-m", "bench.backend")
        self.hung = (await self.start("hung", (*own, "--hang"))).fields()["listen"]
        if self.choice.backends == "own":
            self.legacy = (await self.start("legacy", own)).fields()["listen"]
            self.new = (await self.start("new", own)).fields()["listen"]
            return
        ports = tools.free_port(), tools.free_port()
        await self.start("nginx", nginx.command(self.directory, *ports), ready=nginx.is_ready)
        self.legacy, self.new = (f"127.0.0.1:{port}" for port in ports)

    async def _end(self) -> None:
        try:
            await self._session.close()
            await asyncio.gather(*(child.stop() for child in self._children))
        finally:  # a second Ctrl-C ends up here: no more waiting
            for child in self._children:
                if child.running:
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGKILL)


def missing() -> tuple[str, ...]:
    """The tools that a run would use and this machine does not have."""
    return tuple(tool for tool in ("wrk", "nginx") if shutil.which(tool) is None)


def _environment() -> dict[str, str]:
    """This process's environment without any setting of a sidecar; modules come from here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWINWRITE_")}
    return {**kept, "PYTHONPATH": str(ROOT)}
