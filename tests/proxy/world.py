"""A whole sidecar in the test's own loop, between two real servers on loopback."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.app import App
from proxy.control.config import parse
from proxy.control.log import Log


@dataclass
class Backend:
    """A backend that remembers what it saw; `answers` overrides the reply by path."""

    name: str
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    answers: dict[str, tuple[int, object]] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append((request.method, request.raw_path, await request.read()))
        status, document = self.answers.get(request.path, (200, {"path": request.path}))
        return web.json_response(document, status=status)


@dataclass
class World:
    """The running parts; `config` is the file that the command line is given."""

    app: App
    legacy: Backend
    new: Backend
    url: str
    admin: str
    config: Path
    log: io.StringIO

    async def delivered(self) -> None:
        """Wait until nothing is owed, nothing is under way, and all of it is on disk."""
        stores = [self.app.journal, *([self.app._ledger] if self.app._ledger else [])]
        async with asyncio.timeout(10):
            while len(self.app.delivery) or len(self.app.fibers):
                await asyncio.sleep(0.005)
            for store in stores:
                store.sweep()
                while len(store.writer):
                    await asyncio.sleep(0.005)
                await store.writer.call(lambda _: None)

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]


@asynccontextmanager
async def world(directory: Path, extra: str = "", **variables: str) -> AsyncIterator[World]:
    """Two backends and a sidecar at `dual_legacy_primary`, on ports that the system picks."""
    legacy, new = Backend("legacy"), Backend("new")
    servers = []
    for backend in (legacy, new):
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{rest:.*}", backend.handle)
        servers.append(TestServer(application))
        await servers[-1].start_server()
    text = f"""
stage = "dual_legacy_primary"
[listen]
port = 0
[admin]
port = 0
[backends.legacy]
url = "http://127.0.0.1:{servers[0].port}"
[backends.new]
url = "http://127.0.0.1:{servers[1].port}"
[journal]
directory = "{directory}/data"
{extra}
"""
    log = io.StringIO()
    app = App(parse(text, "world.toml", variables), Log(log))
    await app.start()
    ready = next(
        found
        for line in log.getvalue().splitlines()
        if (found := json.loads(line))["event"] == "ready"
    )
    config = directory / "twinwrite.toml"
    admin_port = ready["admin"].rpartition(":")[2]
    config.write_text(text.replace("[admin]\nport = 0", f"[admin]\nport = {admin_port}"))
    try:
        yield World(
            app, legacy, new, f"http://{ready['listen']}", f"http://{ready['admin']}", config, log
        )
    finally:
        await app.stop()
        for server in servers:
            await server.close()
