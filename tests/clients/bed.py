"""Two services and a sidecar between them on a loop in a thread, each behind a port that counts connections."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TypeVar

import uvloop
from aiohttp import web

from tests.clients.server import Service
from tests.faults.sidecar import Running, running

Got = TypeVar("Got")

CONFIG = """
stage = "dual_legacy_primary"
[listen]
port = 0
[admin]
port = 0
[backends.legacy]
url = "http://127.0.0.1:{legacy}"
[backends.new]
url = "http://127.0.0.1:{new}"
[journal]
directory = "{directory}/data"
[breaker]
enabled = false
"""


class Counted:
    """A port that passes everything on to another one, and counts who connects."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self.url = ""
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks)

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await asyncio.gather(_pass(reader, back), _pass(there, writer))
        except asyncio.CancelledError:  # by `stop`: for the streams of asyncio it must not show
            pass
        finally:
            back.close()
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while (data := await reader.read(65536)) and not writer.is_closing():
            writer.write(data)
            await writer.drain()
        if not writer.is_closing():  # uvloop's transport raises then
            writer.write_eof()


class Bed:
    """What a test needs: `direct` and `through` are the two ways to the service."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.direct: Counted
        self.legacy = Service()
        self.new = Service()
        self.sidecar: Running
        self.through: Counted
        self._loop = loop
        self._stack = AsyncExitStack()

    def call(self, work: Coroutine[None, None, Got]) -> Got:
        """Run something on the bed's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def start(self, directory: Path) -> None:
        ports = [await self._serve(service) for service in (self.legacy, self.new)]
        text = CONFIG.format(legacy=ports[0], new=ports[1], directory=directory)
        self.sidecar = await self._stack.enter_async_context(running(text, directory))
        self.direct, self.through = Counted(ports[0]), Counted(self.sidecar.port)
        for counted in (self.direct, self.through):
            server = await counted.start()
            self._stack.push_async_callback(counted.stop)
            self._stack.callback(server.close)

    async def _serve(self, service: Service) -> int:
        runner = web.AppRunner(service.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port: int = runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        await self._stack.aclose()


@contextmanager
def made_bed(directory: Path) -> Iterator[Bed]:
    loop = uvloop.new_event_loop()
    thread = Thread(target=loop.run_forever, name="bed")
    thread.start()
    bed = Bed(loop)
    try:
        bed.call(bed.start(directory))
        yield bed
        bed.call(bed.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
