"""The stand that rows are played on: a whole sidecar, in the test's own loop, between two backends."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path

from proxy.app import App
from proxy.control.config import parse
from proxy.control.log import Log
from rules.message import Side
from tests.conformance.harness import (
    CLIENT,
    CLOSED,
    KEPT,
    LEGACY,
    NEW,
    OK,
    STEP_SECONDS,
    TURNS,
    Backend,
    Case,
    Party,
    Play,
    Recorder,
    Way,
    finds_end,
    gets,
    says,
    turns,
)
from tests.proxy.wire.raw import Peer, until

LIMITS = """
stage = "dual_legacy_primary"
[listen]
port = 0
connect = true
head_bytes_max = 4096
body_bytes_max = 16384
spool_memory_bytes_max = 1024
[admin]
port = 0
[breaker]
enabled = false
[delivery]
backoff_first_ms = 1
[[routes]]
name = "unmirrored"
path = "/unmirrored/{rest...}"
mirror = "never"
"""
"""Small enough that a row comes near them."""

PROBE = b"GET /probe HTTP/1.1\r\nHost: shop\r\n\r\n"


@dataclass
class Stand:
    """A whole sidecar at `dual_legacy_primary` between two backends, for one row after the other."""

    runner: asyncio.Runner
    directory: Path
    backends: dict[Party, Backend] = field(default_factory=dict)
    app: App | None = None
    trouble: list[object] = field(default_factory=list)
    _listeners: list[asyncio.Server] = field(default_factory=list)
    _starts: int = 0

    def play(self, case: Case, way: Way) -> None:
        """Play one row; after one that fails, the next finds a new sidecar."""
        try:
            self.runner.run(self._play(case, way))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Take the sidecar and its backends down, whatever state they are in."""
        self.runner.run(self._stop())

    async def _play(self, case: Case, way: Way) -> None:
        app = self.app or await self._start()
        client = await self._connect()
        play = Play(client, self.backends, way)
        try:
            for step in case.steps:
                await step(play)
            if case.last is KEPT:
                await _probe(play)
            elif case.last is CLOSED:
                await finds_end(CLIENT)(play)
        finally:
            await client.close()
        if case.last is not KEPT:
            await self._serves_another()
        async with asyncio.timeout(STEP_SECONDS):
            await until(lambda: not len(app.delivery) and not len(app.fibers))
        for party, backend in self.backends.items():
            assert backend.received == b"", f"{party} received more"
        assert app.tally.holds()
        assert not self.trouble

    async def _serves_another(self) -> None:
        client = await self._connect()
        try:
            await _probe(Play(client, self.backends, Way.WHOLE))
        finally:
            await client.close()

    async def _connect(self) -> Peer:
        assert self.app is not None
        host, _, port = self.app.address.rpartition(":")
        return Peer(*await asyncio.open_connection(host, int(port)))

    async def _start(self) -> App:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.trouble.append(context))
        text = LIMITS
        for party, side in ((LEGACY, Side.LEGACY), (NEW, Side.NEW)):
            backend = self.backends[party] = Backend()
            listener = await loop.create_server(partial(Recorder, backend), "127.0.0.1", 0)
            self._listeners.append(listener)
            port = listener.sockets[0].getsockname()[1]
            text += f'[backends.{side}]\nurl = "http://127.0.0.1:{port}"\n'
        self._starts += 1
        text += (
            f'[journal]\ndirectory = "{self.directory}/{self._starts}"\nreply_bytes_max = 1024\n'
        )
        self.app = App(parse(text, "conformance.toml", {}), Log(StringIO()))
        await self.app.start()
        return self.app

    async def _stop(self) -> None:
        app, self.app = self.app, None
        if app is None:
            return
        app.clients.abort()
        for backend in self.backends.values():
            if backend.talks is not None:
                backend.talks.transport.abort()
        app.delivery.pause()
        await app.fibers.cancel()
        await app.stop()
        for listener in self._listeners:
            listener.close()
            await listener.wait_closed()
        self._listeners.clear()
        self.trouble.clear()
        await turns(TURNS)


async def _probe(play: Play) -> None:
    """One more request is served on the client's connection; what was sent to a side before it is there."""
    play.way = Way.WHOLE
    for step in (says(CLIENT, PROBE), gets(LEGACY, PROBE), says(LEGACY, OK), gets(CLIENT, OK)):
        await step(play)
