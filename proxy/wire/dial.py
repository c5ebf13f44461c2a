"""Opens one connection to a backend: its name, its addresses, TCP or a Unix socket, TLS.

Law: every step has a deadline of its own, and every failure is a value: nothing was sent.
"""

import asyncio
import socket
import time
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import Any

import aiohappyeyeballs

from proxy.control.sides import Backend
from proxy.control.tls import client_context
from proxy.wire.secure import Contexts, Say, explain, secure
from rules.message import Cause, Failure

NEXT_ADDRESS_S = 0.25
"""How long an address may be silent before the next one is tried beside it (RFC 8305 8)."""

Addresses = list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int]]]
"""What getaddrinfo gives: family, type, protocol, canonical name, (host, port)."""

_LATE = {
    Cause.NAME: (Cause.NAME, "the name did not resolve in time"),
    Cause.REFUSED: (Cause.CONNECT_TIMEOUT, "connect timed out"),
    Cause.TLS: (Cause.CONNECT_TIMEOUT, "the TLS handshake timed out"),
}


class Dialer:
    """The way to one backend. No address is kept: a name is looked up for each connection."""

    def __init__(self, backend: Backend, say: Say) -> None:
        """Raises TlsError if the files of its TLS table are not good."""
        self._address = backend.address
        self._loop = asyncio.get_running_loop()
        self._lookup: asyncio.Task[Addresses] | None = None
        self._name_timeout_s = backend.name_timeout_ms / 1000
        self._connect_timeout_s = backend.connect_timeout_ms / 1000
        self._tls_timeout_s = backend.tls_timeout_ms / 1000
        self._server_name = backend.tls.server_name or self._address.host
        self._contexts: Contexts | None = None
        if self._address.is_secure:
            make = partial(client_context, backend.tls)
            self._contexts = Contexts(backend.tls.files, make, say)
        self._written = _is_written(self._address.host)

    async def open(self, protocol: asyncio.Protocol) -> Failure | None:
        """Connect `protocol`: None, or why it is not connected. Cancelled, it leaves nothing open."""
        started = time.monotonic()
        step = Cause.NAME
        try:
            addresses = await self._resolve()
            step = Cause.REFUSED
            transport = await self._connect(addresses, protocol)
            if self._contexts is not None:
                step = Cause.TLS
                context = self._contexts.at(time.monotonic())
                await secure(transport, protocol, context, self._tls_timeout_s, self._server_name)
        except TimeoutError:
            cause, detail = _LATE[step]
        except (
            OSError,
            ValueError,
            RuntimeError,
        ) as error:  # the last two: of odd names, by uvloop
            cause, detail = step, str(error)
            if step is Cause.TLS:
                detail = explain(error, self._server_name)
        else:
            return None
        latency_s = time.monotonic() - started
        return Failure(cause=cause, sent=False, detail=detail, latency_s=latency_s)

    def close(self) -> None:
        """Forget a name that is being looked up."""
        if self._lookup is not None:
            self._lookup.cancel()

    async def _resolve(self) -> Addresses:
        """The addresses of a name; one look-up at a time: a dead name server holds one thread, not all."""
        if self._written or self._address.path:
            return []
        if self._lookup is None or self._lookup.done():
            self._lookup = self._loop.create_task(self._look_up())
            self._lookup.add_done_callback(_heard)
        async with asyncio.timeout(self._name_timeout_s):
            return await asyncio.shield(self._lookup)

    async def _look_up(self) -> Addresses:
        host, port = self._address.host, self._address.port
        found: Any = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(found)

    async def _connect(self, addresses: Addresses, protocol: asyncio.Protocol) -> asyncio.Transport:
        """An open transport: the protocol's own, or, where TLS is to follow, nobody's yet."""
        first = asyncio.Protocol() if self._contexts is not None else protocol
        transport: asyncio.Transport
        async with asyncio.timeout(self._connect_timeout_s):
            if self._address.path:
                transport, _ = await self._loop.create_unix_connection(
                    lambda: first, self._address.path
                )
            elif self._written:  # half the time: as often as a backend that keeps no connection
                transport, _ = await self._loop.create_connection(
                    lambda: first, self._address.host, self._address.port
                )
            else:
                opened = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, loop=self._loop
                )
                transport, _ = await self._loop.create_connection(lambda: first, sock=opened)
        if transport.is_closing():
            raise ConnectionResetError("it was closed at once")
        return transport


def _is_written(host: str) -> bool:
    """Whether a host is an address itself, and not a name."""
    with suppress(ValueError):
        return bool(ip_address(host))
    return False


def _heard(lookup: asyncio.Task[Addresses]) -> None:
    """Nobody may be waiting any more: its failure is not to be logged as one that nobody saw."""
    if not lookup.cancelled():
        lookup.exception()
