"""Both ends of a sidecar without sockets: clients and backends that are objects of its own process.

Law: of the sidecar everything is real, from the dialer of its pools to the protocol of its clients. Only
`create_connection` of the loop is not, and what one end writes comes to the other in the next turn of the loop.
"""

import asyncio
from collections.abc import Callable
from itertools import cycle
from typing import Any, TypeVar, cast

import uvloop

from bench import sample

ADDRESS = "127.0.0.1:8080"
"""What the requests name as their host; nobody listens there."""

_PEER = {"peername": ("127.0.0.1", 50_000)}
_ANSWERED = b"HTTP/1.1 200 "

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


class Transport(asyncio.Transport):
    """One end of a connection. What is not needed here raises NotImplementedError, so that nobody uses it unseen."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__(_PEER)
        self._call_soon = asyncio.get_running_loop().call_soon
        self._closing = False
        self._protocol = protocol
        protocol.connection_made(self)

    def is_closing(self) -> bool:
        """Whether one of the two has closed it."""
        return self._closing

    def close(self) -> None:
        """End it; the protocol is told in the next turn."""
        if not self._closing:
            self._closing = True
            self._call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        """As `close`: nothing ever waits to be sent."""
        self.close()

    def can_write_eof(self) -> bool:
        """As TCP."""
        return True

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing ever waits."""


class Backend:
    """A side that answers each request at once, with `sample.REPLY`. `requests`: how many came."""

    def __init__(self) -> None:
        self.requests = 0

    def connect(self, protocol: asyncio.Protocol) -> Transport:
        """Open a connection for a protocol of the sidecar's."""
        return _ToBackend(self, protocol)


class _ToBackend(Transport):
    """What the sidecar writes requests to: each in one piece, or a request would be answered twice."""

    def __init__(self, backend: Backend, protocol: asyncio.Protocol) -> None:
        super().__init__(protocol)
        self._backend = backend
        self._receive = protocol.data_received

    def write(self, _data: Any) -> None:  # noqa: ANN401 - as in asyncio
        """A request."""
        self._backend.requests += 1
        self._call_soon(self._receive, sample.REPLY)


class Loop(uvloop.Loop):
    """uvloop's loop; a connection to port N of any host is one to the Nth backend that was `added`."""

    def __init__(self) -> None:
        self._backends: list[Backend] = []

    def added(self, backend: Backend) -> int:
        """The port of one more backend, from 1 on."""
        self._backends.append(backend)
        return len(self._backends)

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], _Protocol], host: str, port: int
    ) -> tuple[Transport, _Protocol]:
        """Part of asyncio's loop, as the dialer calls it for an address without a name and without TLS."""
        assert host
        protocol = protocol_factory()
        return self._backends[port - 1].connect(protocol), protocol


def running() -> Loop:
    """The loop that runs."""
    return cast("Loop", asyncio.get_running_loop())


class Clients:
    """A closed loop: each client sends its next request when its last one is answered.

    They send the different requests of `sample` in turn. `answered`: how many got 200; `others`: what came
    instead, its beginning.
    """

    def __init__(self, connect: Callable[[], asyncio.Protocol], count: int) -> None:
        self.answered = 0
        self.others: list[bytes] = []
        self._requests = cycle(sample.requests(ADDRESS))
        self._left = 0  # to be sent
        self._open = 0  # to be answered
        self._all_answered: asyncio.Future[None]
        self._clients = [_ToClient(self, connect()) for _ in range(count)]

    async def send(self, count: int) -> None:
        """So many requests, until the last is answered."""
        self._left = self._open = count
        self._all_answered = asyncio.get_running_loop().create_future()
        for client in self._clients:
            self._next(client)
        await self._all_answered

    def heard(self, client: "_ToClient", data: bytes) -> None:
        """A reply: to be written in one piece."""
        if data.startswith(_ANSWERED):
            self.answered += 1
        else:
            self.others.append(data[:80])
        self._open -= 1
        self._next(client)
        if not self._open:
            self._all_answered.set_result(None)

    def _next(self, client: "_ToClient") -> None:
        if self._left:
            self._left -= 1
            client.send(next(self._requests))


class _ToClient(Transport):
    """What the sidecar writes replies to."""

    def __init__(self, clients: Clients, protocol: asyncio.Protocol) -> None:
        super().__init__(protocol)
        self._clients = clients
        self._receive = protocol.data_received

    def send(self, request: bytes) -> None:
        """The client's next request."""
        self._call_soon(self._receive, request)

    def write(self, data: Any) -> None:  # noqa: ANN401 - as in asyncio
        """A reply."""
        self._clients.heard(self, data)
