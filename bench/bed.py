"""The test bed: the directory, the backends, and every process of a run.

Law: whatever is started here is ended here, by its own id, also after Ctrl-C and failure.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench import envoy, nginx, tools, wrk
from bench.load import Load, Requests
from bench.scenes import Scene
from proxy.demo.child import Child, ChildEnded, ready_event

ROOT = Path(__file__).parent.parent

SECONDS_SPARE = 30.0
"""Our own generator that takes so much longer than it was told hangs."""

STATUS_SECONDS_MAX = 30.0

_REQUESTS = re.compile(r"requests\s+(?:\d+\s+\d+\s+)?(\d+)")
"""Ours tells `requests N`; nginx first the connections accepted and handled."""

HOW_TO_INSTALL = {
    "wrk": "apt-get install wrk",
    "nginx": "apt-get install nginx-light",
    "envoy": "pip install '.[bench]'",
}
"""The tools that a run would use, and where they come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a bed is made of: names of tools."""

    load: str  # wrk or own
    backends: str  # nginx or own


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Where the backends of a scene are, each host:port. `new_empty`: as new, with empty replies.

    `counters`: addresses that tell how many requests came, all together to `hung` excepted.
    """

    legacy: str
    new: str
    new_empty: str
    hung: str
    counters: tuple[str, ...] = ()


class Bed:
    """Starts, asks and ends processes."""

    def __init__(self, directory: Path, choice: Choice) -> None:
        self.choice = choice
        self.cores = tools.Cores.of(tools.Pin.NONE)
        self.directory = directory
        self._children: list[Child] = []
        self._count = 0
        self._hung = ""
        self._proxies: set[int] = set()  # their process ids
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=STATUS_SECONDS_MAX)
        )

    @classmethod
    @asynccontextmanager
    async def made(cls, directory: Path, choice: Choice) -> AsyncIterator["Bed"]:
        """An empty bed; everything that it started is ended when the context ends."""
        bed = cls(directory, choice)
        try:
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
        with tools.started_on(self.cores.proxy if is_proxy else self.cores.rest):
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
        if is_proxy:
            self._proxies.add(child.pid)
        return child

    async def stop(self, child: Child) -> None:
        """End one process."""
        await child.stop()
        self._children.remove(child)
        self._proxies.discard(child.pid)

    def pin(self, pin: tools.Pin) -> None:
        """Move every process to its cores; what is started from now on runs there too."""
        self.cores = tools.Cores.of(pin)
        for child in self._children:
            is_proxy = child.pid in self._proxies
            tools.move(child.pid, self.cores.proxy if is_proxy else self.cores.rest)

    def fresh(self, name: str) -> Path:
        """A new directory."""
        self._count += 1
        path = self.directory / f"{name}-{self._count}"
        path.mkdir()
        return path

    async def sides(self, scene: Scene) -> Sides:
        """Start the backends of a scene; they live as long as the bed."""
        if not self._hung:
            self._hung = await self._own("hung", "--hang")
        if self.choice.backends == "nginx" and not any(scene.delays_ms) and not scene.reads_bodies:
            directory, ports = self.fresh("backend"), [tools.free_port() for _ in nginx.BODIES]
            count_port = tools.free_port()
            bodies = dict(zip(ports, nginx.BODIES, strict=True))
            command = nginx.backend(directory, bodies, count_port)
            await self.start(directory.name, command, ready=nginx.is_ready)
            legacy, new, new_empty = (f"127.0.0.1:{port}" for port in ports)
            counters: tuple[str, ...] = (f"127.0.0.1:{count_port}",)
        else:
            late = [f"--delay={delay}" for delay in scene.delays_ms]
            legacy = await self._own(f"{scene.name}-legacy", late[0])
            new = await self._own(f"{scene.name}-new", late[1])
            new_empty = await self._own(f"{scene.name}-new-empty", late[1], "--empty")
            counters = (legacy, new, new_empty)
        return Sides(
            legacy=legacy, new=new, new_empty=new_empty, hung=self._hung, counters=counters
        )

    async def received(self, sides: Sides) -> int:
        """How many requests the backends got up to now, all together; raises ToolError."""
        total = 0
        for address in sides.counters:
            try:
                async with self._session.get(f"http://{address}/count") as reply:
                    found = _REQUESTS.search(await reply.text())
            except (aiohttp.ClientError, TimeoutError) as error:
                raise tools.ToolError(f"the backend {address} does not answer: {error}") from error
            assert found is not None
            total += int(found[1])
        return total

    async def closed(self, requests: Requests, connections: int, seconds: float) -> Load:
        """One closed-loop run with the chosen generator."""
        if self.choice.load == "own":
            return await self.own(requests, connections, seconds)
        with tools.started_on(self.cores.rest):
            return await wrk.run(requests, connections, seconds, self.directory)

    async def own(
        self, requests: Requests, connections: int, seconds: float, rate: float = 0.0
    ) -> Load:
        """One run of `bench.load`; a rate makes it an open loop."""
        command = (
            *(sys.executable, "-m", "bench.load", "--url", requests.address),
            *("--body-bytes", str(requests.body_bytes), "--seconds", str(seconds)),
            *("--connections", str(connections), "--rate", str(rate)),
        )
        with tools.started_on(self.cores.rest):
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

    async def _own(self, name: str, *options: str) -> str:
        command = (sys.executable, "-m", "bench.backend", *options)
        return (await self.start(name, command)).fields()["listen"]

    async def _end(self) -> None:
        try:
            await self._session.close()
            await asyncio.gather(*(child.stop() for child in self._children))
        finally:  # a second Ctrl-C ends up here: no more waiting
            for child in self._children:
                if child.running:
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGKILL)


def missing() -> dict[str, str]:
    """The tools that a run would use and this machine does not have: name -> how to install it."""
    found = {
        "wrk": shutil.which("wrk"),
        "nginx": shutil.which("nginx"),
        "envoy": envoy.program(),
    }
    return {tool: HOW_TO_INSTALL[tool] for tool, path in found.items() if path is None}


def _environment() -> dict[str, str]:
    """This process's environment without any setting of a sidecar; modules come from here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWINWRITE_")}
    return {**kept, "PYTHONPATH": str(ROOT)}
