"""A whole sidecar in the test's loop between two scripted backends, and a client that speaks raw HTTP."""

import asyncio
import io
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.app import App
from proxy.control.log import Log
from rules.chunks import unchunk
from rules.fate import State
from tests.proxy.flow.background import configured
from tests.proxy.flow.scripted import Scripted, backends
from tests.proxy.samples import until


@dataclass
class Got:
    """A reply: `raw` is its head as it came; chunk lines are taken out of the body."""

    status: int
    raw: bytes
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        """What a problem document says."""
        assert self.headers["content-type"] == "application/problem+json"
        return str(json.loads(self.body)["detail"])


class Client:
    """One connection to a sidecar."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def ask(self, method: str, target: str, body: bytes = b"", fields: str = "") -> None:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {target} HTTP/1.1\r\nHost: shop\r\n{fields}{length}\r\n"
        self.send(head.encode("latin-1") + body)

    async def head(self) -> Got:
        """The head of the next reply."""
        raw = await self._reader.readuntil(b"\r\n\r\n")
        line, *fields = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {}
        for each in fields:
            name, _, value = each.partition(":")
            headers[name.lower()] = value.strip()
        return Got(int(line.split(" ")[1]), raw, headers, b"")

    async def reply(self) -> Got:
        """The next reply."""
        got = await self.head()
        if got.headers.get("transfer-encoding") == "chunked":
            pieces = [await self._reader.readuntil(b"\n")]
            while int(pieces[-1].split(b";")[0], 16):
                pieces.append(
                    await self._reader.readexactly(int(pieces[-1].split(b";")[0], 16) + 2)
                )
                pieces.append(await self._reader.readuntil(b"\n"))
            pieces.append(await self._reader.readuntil(b"\n"))
            got.body = unchunk(b"".join(pieces))
        else:
            got.body = await self._reader.readexactly(int(got.headers.get("content-length", "0")))
        return got

    async def exactly(self, count: int) -> bytes:
        return await self._reader.readexactly(count)

    async def ended(self) -> bytes:
        """What comes until the sidecar closes."""
        return await self._reader.read()

    def abort(self) -> None:
        """Go away at once: the other end is told by a reset."""
        connection: socket.socket = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def end(self) -> None:
        """Send nothing more, and still read."""
        self._writer.write_eof()


@dataclass
class Sidecar:
    """The running parts."""

    app: App
    log: io.StringIO
    legacy: Scripted
    new: Scripted

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        host, _, port = self.app.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        client = Client(reader, writer)
        try:
            yield client
        finally:
            client.abort()

    async def ask(self, method: str, target: str, body: bytes = b"", fields: str = "") -> Got:
        """One request on a connection of its own."""
        async with asyncio.timeout(10), self.client() as client:
            client.ask(method, target, body, fields)
            return await client.reply()

    def states(self) -> dict[str, int]:
        return {state.value: count for state, count in self.app.tally.states.items() if count}

    def skips(self) -> dict[str, int]:
        return {reason.value: count for reason, count in self.app.tally.skips.items() if count}

    async def idle(self) -> None:
        """Wait until nothing is in flight and nothing is owed that could be delivered."""
        tally = self.app.tally
        await until(lambda: not tally.in_flight and not len(self.app.fibers))
        await until(lambda: not len(self.app.delivery) or self.app.delivery.paused, 10)
        await until(lambda: not len(self.app.journal.writer) and not len(self.app.fibers))
        await self.app.journal.writer.call(lambda _: None)

    async def done(self, count: int = 1) -> None:
        await until(lambda: self.app.tally.states[State.DONE] == count)

    def spools(self) -> list[Path]:
        return list((self.app.journal.directory / "spool").iterdir())

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]


@asynccontextmanager
async def sidecar(directory: Path, toml: str = "", **settings: str) -> AsyncIterator[Sidecar]:
    """A sidecar at `dual_legacy_primary`; at its end the law holds and no task has failed."""
    async with backends() as (legacy, new):
        given = {"BREAKER_ENABLED": "false", "LISTEN_DRAIN_TIMEOUT_MS": "1", **settings}
        config = configured(directory, (legacy, new), toml, **given)
        log = io.StringIO()
        app = App(config, Log(log))
        await app.start()
        found = Sidecar(app, log, legacy, new)
        try:
            yield found
        finally:
            await app.stop()
        assert app.tally.holds(), found.states()
        assert "task_failed" not in found.events(), log.getvalue()
