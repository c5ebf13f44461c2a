"""Real sockets on uvloop, raw bytes in and out: peers that say exactly what a test says."""

import asyncio
import functools
import inspect
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import uvloop

from proxy.control.ports import Listen
from proxy.control.sides import Backend
from proxy.wire.clients import Clients
from proxy.wire.downstream import Door, Downstream
from proxy.wire.pool import Pool
from proxy.wire.sink import Sink
from rules.framing import Refusal, ReplyHead, RequestHead
from rules.message import Failure, Framing, Request

TEST_SECONDS = 10.0
"""A test that takes longer hangs."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

P = ParamSpec("P")
T = TypeVar("T")


def on_uvloop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Run an async test on uvloop; what the loop would only log fails the test."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def watched() -> None:
            trouble: list[dict[str, Any]] = []
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: trouble.append(context))
            async with asyncio.timeout(TEST_SECONDS):
                await test(*args, **kwargs)
            assert not trouble

        uvloop.run(watched())

    assert inspect.iscoroutinefunction(test)
    return run


class Peer:
    """One end of a TCP connection that does only what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write, and wait until the system has taken it."""
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, end: bytes = b"\r\n\r\n") -> bytes:
        """What comes up to and with `end`: by default, a head."""
        return await self.reader.readuntil(end)

    async def exactly(self, count: int) -> bytes:
        return await self.reader.readexactly(count)

    async def rest(self) -> bytes:
        """What comes until the other end closes."""
        return await self.reader.read()

    async def answer(self) -> tuple[int, bytes]:
        """One reply that is framed by Content-Length: its status and body."""
        head = await self.until()
        named = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
        return int(head[9:12]), await self.exactly(int(named[0][16:]) if named else 0)

    def finish(self) -> None:
        """Close this half; the other end may still send."""
        self.writer.write_eof()

    def reset(self) -> None:
        """End the connection with RST."""
        peer = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    async def gone(self) -> bool:
        """Wait for the end of the connection; whether it was a reset."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            return True
        return False


class Server:
    """A listening socket whose connections the test takes one by one."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[Peer] = asyncio.Queue()
        self.peers: list[Peer] = []
        self.port = 0

    async def accept(self) -> Peer:
        return await self.accepted.get()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        self.accepted.put_nowait(peer)

    def settings(self, **more: int) -> Backend:
        return Backend(url=f"http://127.0.0.1:{self.port}", **more)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(**socket_options: int) -> AsyncIterator[Server]:
    """A backend to script; `receive_buffer` makes it slow to take what it does not read."""
    server = Server()
    listener = socket.socket()
    for name, value in socket_options.items():
        assert name == "receive_buffer"
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, value)
    listener.bind(("127.0.0.1", 0))
    listening = await asyncio.start_server(server.connected, sock=listener, limit=4096)
    server.port = listener.getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for peer in server.peers:
            await peer.close()
        await listening.wait_closed()


@asynccontextmanager
async def pooling(server: Server, **settings: int) -> AsyncIterator[Pool]:
    """The pool of a scripted backend."""
    pool = Pool(server.settings(**settings))
    try:
        yield pool
    finally:
        pool.close()


class Front:
    """Our own listening port, with a door that the test chose."""

    def __init__(self, clients: Clients, port: int) -> None:
        self.clients = clients
        self.port = port
        self.peers: list[Peer] = []

    async def connect(self, **socket_options: int) -> Peer:
        """A new client; `receive_buffer` makes it slow to take what it does not read."""
        client = socket.socket()
        client.setblocking(False)
        for name, value in socket_options.items():
            assert name == "receive_buffer"
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, value)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.port))
        peer = Peer(*await asyncio.open_connection(sock=client, limit=4096))
        self.peers.append(peer)
        return peer

    @property
    def only(self) -> Downstream:
        """The one open connection."""
        (client,) = self.clients.open
        return client


@asynccontextmanager
async def listening(door: Door, **settings: int) -> AsyncIterator[Front]:
    """Our side of the wire, on a port that the system picks."""
    loop = asyncio.get_running_loop()
    clients = Clients(Listen(**settings), door)  # type: ignore[arg-type]
    listener = await loop.create_server(clients.connect, "127.0.0.1", 0)
    front = Front(clients, listener.sockets[0].getsockname()[1])
    try:
        yield front
    finally:
        listener.close()
        clients.abort()
        for peer in front.peers:
            await peer.close()
        await listener.wait_closed()


@dataclass
class Guest:
    """A Sink that remembers, and says nothing unless the test does."""

    client: Downstream
    head: RequestHead
    pieces: list[bytes] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    ready: list[bool] = field(default_factory=list)
    on_data: Callable[["Guest"], None] | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def data(self, data: bytes, ended: bool) -> None:
        assert not self.ended.is_set()
        self.pieces.append(data)
        if ended:
            self.ended.set()
        if self.on_data is not None:
            self.on_data(self)

    def gone(self) -> None:
        self.left.set()

    def writable(self, ready: bool) -> None:
        self.ready.append(ready)

    def say(self, reply: bytes = OK) -> None:
        """Answer with a whole reply."""
        head, _, body = reply.partition(b"\r\n\r\n")
        self.client.reply(head + b"\r\n\r\n", body, Framing.LENGTH, ended=True)


class Hall:
    """A door that lets everybody in; guests come out in order. `greet` may act on each."""

    def __init__(self, greet: Callable[[Guest], None] | None = None) -> None:
        self.guests: list[Guest] = []
        self._arrived: asyncio.Queue[Guest] = asyncio.Queue()
        self._greet = greet

    def __call__(self, client: Downstream, head: RequestHead) -> Sink | Refusal:
        guest = Guest(client, head, on_data=self._greet)
        self.guests.append(guest)
        self._arrived.put_nowait(guest)
        return guest

    async def guest(self) -> Guest:
        """The next one."""
        return await self._arrived.get()


def at_once(guest: Guest) -> None:
    """Answer as soon as the request is whole."""
    if guest.ended.is_set():
        guest.say()


@dataclass
class Ear:
    """A Hearer that remembers."""

    heard: list[tuple[int, bytes]] = field(default_factory=list)

    def interim(self, status: int, head: bytes) -> None:
        self.heard.append((status, head))


@dataclass
class Taker(Ear):
    """A Receiver that remembers."""

    head: ReplyHead | None = None
    pieces: list[bytes] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Failure | None = None
    ready: list[bool] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def interim(self, status: int, head: bytes) -> None:
        assert self.head is None
        super().interim(status, head)

    def reply(self, head: ReplyHead, data: bytes, ended: bool) -> None:
        assert self.head is None
        self.head = head
        self.begun.set()
        self.data(data, ended)

    def data(self, data: bytes, ended: bool) -> None:
        assert not self.ended.is_set()
        self.pieces.append(data)
        if ended:
            self.ended.set()

    def failed(self, failure: Failure) -> None:
        assert not self.ended.is_set()
        self.failure = failure
        self.ended.set()

    def writable(self, ready: bool) -> None:
        self.ready.append(ready)


def a_request(
    method: str = "GET", body: bytes = b"", *, spool: Path | None = None, size: int = 0
) -> Request:
    """A request to /a, its body framed by Content-Length."""
    size = size or len(body)
    head = f"{method} /a HTTP/1.1\r\nHost: shop\r\n" + (
        f"Content-Length: {size}\r\n" if size else ""
    )
    return Request(
        method=method, target="/a", head=f"{head}\r\n".encode(), body=body, body_bytes=size,
        spool=None if spool is None else str(spool),
    )  # fmt: skip


async def sweeping(sweep: Callable[[], None], awaited: Awaitable[T]) -> T:
    """What is awaited, while deadlines are looked at as the app's tick does."""
    task = asyncio.ensure_future(awaited)
    while not task.done():
        sweep()
        await asyncio.wait({task}, timeout=0.002)
    return task.result()


async def until(holds: Callable[[], object]) -> None:
    """Wait until a condition holds that nobody announces."""
    while not holds():
        await asyncio.sleep(0)
