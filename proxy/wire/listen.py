"""The listener: a port or a Unix socket, with or without TLS.

Law: who does not finish its handshake in time never becomes a client; a socket file is removed only
if nobody listens on it, or if it is ours.
"""

import asyncio
import os
import socket
import stat
import time
from collections.abc import Callable
from functools import partial
from typing import cast

from proxy.control.ports import Listen
from proxy.control.tls import server_context
from proxy.wire.secure import Contexts, Say, secure

BACKLOG = 1024
"""Connections that may wait to be accepted."""

Factory = Callable[[], asyncio.Protocol]
"""Makes the protocol of a connection that was accepted."""


class ListenError(Exception):
    """It cannot listen; its text is one line with the address and the reason."""


class Listener:
    """What accepts clients. `open` it once."""

    def __init__(self, listen: Listen, factory: Factory, say: Say) -> None:
        """Raises TlsError if the files of `[listen.tls]` are not good."""
        self.handshakes_failed = 0
        self._factory = factory
        self._file: tuple[int, int] | None = None  # device and inode of our socket file
        self._handshakes: set[asyncio.Task[None]] = set()
        self._listen = listen
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._contexts: Contexts | None = None
        if listen.tls.certificate_file:
            make = partial(server_context, listen.tls)
            self._contexts = Contexts(listen.tls.files, make, say)

    @property
    def address(self) -> str:
        """Where clients connect: host:port, with the port that was picked, or unix:/path."""
        assert self._server is not None
        if self._listen.unix:
            return f"unix:{self._listen.unix}"
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def open(self) -> None:
        """Begin to accept; raises ListenError."""
        listen = self._listen
        factory = self._factory if self._contexts is None else self._greet
        where = f"unix:{listen.unix}" if listen.unix else f"{listen.host}:{listen.port}"
        try:
            if listen.unix:
                opened = self._bind()
                self._server = await self._loop.create_unix_server(
                    factory, sock=opened, backlog=BACKLOG
                )
            else:
                self._server = await self._loop.create_server(
                    factory, listen.host, listen.port, backlog=BACKLOG
                )
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise ListenError(f"cannot listen on {where}: {why}") from error

    def close(self) -> None:
        """Accept nobody any more, end the handshakes under way, remove the socket file."""
        if self._server is not None:
            self._server.close()
        for handshake in self._handshakes:
            handshake.cancel()
        if self._file is not None and _identity(self._listen.unix) == self._file:
            os.unlink(self._listen.unix)
        self._file = None

    # a Unix socket

    def _bind(self) -> socket.socket:
        """A socket that listens. Nobody can connect before it does, so its mode is set in time; nothing is
        awaited before it does, or another process could take its file for that of a dead one."""
        path = self._listen.unix
        _make_room(path)
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.bind(path)
            self._file = _identity(path)
            os.chmod(path, int(self._listen.unix_mode, 8))
            opened.listen(BACKLOG)
        except BaseException:
            opened.close()
            raise
        return opened

    # TLS

    def _greet(self) -> asyncio.Protocol:
        return _Greeting(self._begin)

    def _begin(self, greeting: "_Greeting") -> None:
        if len(self._handshakes) >= self._listen.connections_max:
            greeting.raw.abort()
            return
        handshake = self._loop.create_task(self._shake_hands(greeting))
        self._handshakes.add(handshake)
        handshake.add_done_callback(partial(self._ended, greeting))

    async def _shake_hands(self, greeting: "_Greeting") -> None:
        assert self._contexts is not None
        context = self._contexts.at(time.monotonic())
        self._loop.call_soon(greeting.pass_on)
        try:
            timeout_s = self._listen.tls_timeout_ms / 1000
            await secure(greeting.raw, self._factory(), context, timeout_s)
        except (
            OSError
        ):  # a stranger, a scanner, plain HTTP, too slow, a certificate that is not good
            self.handshakes_failed += 1

    def _ended(self, greeting: "_Greeting", handshake: asyncio.Task[None]) -> None:
        self._handshakes.discard(handshake)
        if handshake.cancelled():  # perhaps before it began
            greeting.raw.abort()


class _Greeting(asyncio.Protocol):
    """Who holds a connection until its handshake begins: one turn of the loop."""

    def __init__(self, begin: Callable[["_Greeting"], None]) -> None:
        self.raw: asyncio.Transport
        self._begin = begin
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.raw = cast("asyncio.Transport", transport)
        self._begin(self)

    def data_received(self, data: bytes) -> None:
        """The client's first words came within that turn."""
        self._early += data

    def pass_on(self) -> None:
        """To whom the connection belongs now: TLS, which has begun in this same turn."""
        taker = self.raw.get_protocol()
        if taker is not self:
            taker = cast("asyncio.BufferedProtocol", taker)
            early = memoryview(self._early)
            while early:
                room = memoryview(taker.get_buffer(len(early)))
                count = min(len(room), len(early))
                room[:count] = early[:count]
                taker.buffer_updated(count)
                early = early[count:]


def _make_room(path: str) -> None:
    """Remove the socket file of a process that is gone; OSError if somebody else needs the path."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError("there is a file of that name, and it is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            raise OSError(f"whether it is in use cannot be found out: {error.strerror}") from error
        else:
            raise OSError("another process listens there")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
