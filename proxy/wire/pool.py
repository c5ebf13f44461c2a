"""The connections to one backend, and the one way to send it a whole request.

Law: bounded (`connections_max`), fair (who waits first is served first), and silent about failure:
every failure comes back as a value. The most recently used idle connection is taken first, so that
the others grow old and are closed before the server closes them.
"""

import asyncio
import math
import socket
from collections import deque
from pathlib import Path

from proxy.control.settings import Backend
from proxy.wire.connection import Connection, Receiver
from rules.framing import ReplyHead
from rules.message import Cause, Failure, Outcome, Reply, Request

EVENT_STREAM = b"text/event-stream"


class Exchange:
    """Collects one reply, up to `limit` bytes of body; `outcome` resolves with it or with the failure.

    A longer body, or an event stream: `outcome` resolves with its start, `truncated`. If `hold`, the
    rest waits on the socket until `pass_on` names who gets it; else it is read and dropped, so that
    the connection stays of use.
    """

    __slots__ = (
        "_head",
        "_hold",
        "_limit",
        "_pieces",
        "_size",
        "_started",
        "connection",
        "outcome",
    )

    def __init__(self, connection: Connection, limit: int, *, hold: bool) -> None:
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.connection = connection
        self._head: ReplyHead | None = None
        self._hold = hold
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._started = connection.now()

    def reply(self, head: ReplyHead, data: bytes, ended: bool) -> None:
        """Part of Receiver."""
        self._head = head
        if not ended and EVENT_STREAM in head.head:
            self._limit = -1
        self.data(data, ended)

    def data(self, data: bytes, ended: bool) -> None:
        """Part of Receiver."""
        if self.outcome.done():
            return  # nobody wants the rest
        self._pieces.append(data)
        self._size += len(data)
        if ended and self._size <= self._limit:
            self._resolve(truncated=False)
        elif self._size > self._limit:
            if self._hold and not ended:
                self.connection.flow(reading=False)
                self.connection.deadline = math.inf
            self._resolve(truncated=not ended)

    def failed(self, failure: Failure) -> None:
        """Part of Receiver."""
        if not self.outcome.done():
            self.outcome.set_result(failure)

    def writable(self, ready: bool) -> None:
        """Part of Receiver: a whole request waits in the transport, whatever its length."""

    def pass_on(self, rest: Receiver) -> None:
        """Let the rest of a truncated reply flow to `rest`."""
        if self.connection.serves(self):
            self.connection.hand_over(rest)
        else:
            detail = "the connection ended before the reply did"
            rest.failed(Failure(cause=Cause.RESET, sent=True, detail=detail))

    def _resolve(self, *, truncated: bool) -> None:
        assert self._head is not None
        self.outcome.set_result(
            Reply(
                status=self._head.status,
                head=self._head.head,
                body=b"".join(self._pieces),
                framing=self._head.framing,
                truncated=truncated,
                latency_s=self.connection.now() - self._started,
            )
        )
        self._pieces = []


class Pool:
    """The pool of one backend."""

    def __init__(self, backend: Backend) -> None:
        self.first_byte_timeout_s = backend.first_byte_timeout_ms / 1000
        self.total_timeout_s = backend.total_timeout_ms / 1000
        self._backend = backend
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting = 0
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()

    def __repr__(self) -> str:
        busy = len(self._open) - len(self._idle)
        return f"<Pool {self._backend.url} busy={busy} idle={len(self._idle)} waiting={len(self._waiting)}>"

    async def send(self, request: Request, head: bytes, limit: int) -> Outcome:
        """Send a whole request; the outcome has up to `limit` bytes of the reply's body."""
        exchange = await self.begin(request, head, limit)
        return exchange if isinstance(exchange, Failure) else await exchange.outcome

    async def begin(
        self, request: Request, head: bytes, limit: int, *, hold: bool = False
    ) -> Exchange | Failure:
        """Send a whole request under `head`; the exchange under way, or why no byte could be sent."""
        connection = self.idle() or await self.connect()
        if isinstance(connection, Failure):
            return connection
        exchange = Exchange(connection, limit, hold=hold)
        try:
            connection.start(exchange, request.method, head + request.body, ended=not request.spool)
            if request.spool:
                await connection.write_file(Path(request.spool))
        except (asyncio.CancelledError, OSError):
            connection.abandon()
            raise
        return exchange

    def idle(self) -> Connection | None:
        """A free open connection, if there is one now."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def connect(self) -> Connection | Failure:
        """A free connection, new or given back by another; waits at most `pool_timeout_ms`."""
        started = self.now()
        deadline = started + self._backend.pool_timeout_ms / 1000
        while len(self._open) + self._connecting >= self._backend.connections_max:
            waiter: asyncio.Future[Connection | None] = self._loop.create_future()
            self._waiting.append(waiter)
            await asyncio.wait((waiter,), timeout=deadline - self.now())
            if not waiter.done():
                self._waiting.remove(waiter)
                return _not_sent(Cause.POOL_FULL, "no connection became free", self.now() - started)
            connection = waiter.result()
            if connection is not None and not connection.transport.is_closing():
                return connection
        return await self._connect(started)

    async def _connect(self, started: float) -> Connection | Failure:
        self._connecting += 1
        try:
            async with asyncio.timeout(self._backend.connect_timeout_ms / 1000):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self), self._backend.host, self._backend.port
                )
        except TimeoutError:
            return self._failed(Cause.CONNECT_TIMEOUT, "connect timed out", started)
        except socket.gaierror as error:
            return self._failed(Cause.NAME, str(error), started)
        except OSError as error:
            return self._failed(Cause.REFUSED, str(error), started)
        finally:
            self._connecting -= 1
        self._open.add(connection)
        return connection

    def _failed(self, cause: Cause, detail: str, started: float) -> Failure:
        self._wake(None)  # there is room again for somebody else's try
        return _not_sent(cause, detail, self.now() - started)

    def give_back(self, connection: Connection) -> None:
        """Part of Keeper: the longest waiting gets it, else it is idle."""
        connection.idle_since = self.now()
        if not self._wake(connection):
            self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """Part of Keeper."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake(None)

    def _wake(self, connection: Connection | None) -> bool:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def sweep(self) -> None:
        """Once per tick: end what is past its deadline, close what has been idle for too long."""
        now = self.now()
        oldest = now - self._backend.idle_timeout_ms / 1000
        for connection in list(self._open):
            if connection.is_busy and connection.deadline < now:
                connection.expire()
        for connection in [idle for idle in self._idle if idle.idle_since < oldest]:
            self._idle.remove(connection)
            connection.transport.close()

    async def is_reachable(self) -> bool:
        """Whether the backend takes a connection now (it is kept for the next request)."""
        connection = self.idle() or await self.connect()
        if isinstance(connection, Failure):
            return False
        self.give_back(connection)
        return True

    def close(self) -> None:
        """Abort every connection."""
        for connection in list(self._open):
            connection.transport.abort()


def _not_sent(cause: Cause, detail: str, latency_s: float) -> Failure:
    return Failure(cause=cause, sent=False, detail=detail, latency_s=latency_s)
