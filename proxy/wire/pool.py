"""The connections to one backend, and the one way to send it a whole request.

Law: bounded (`connections_max`), fair (who waits first is served first), and silent about failure:
every failure comes back as a value. The most recently used idle connection is taken first, so that
the others grow old and are closed before the server closes them.
"""

import asyncio
import math
from collections import deque
from contextlib import ExitStack, suppress
from time import monotonic
from typing import Protocol

from proxy.control.sides import Backend
from proxy.fiber import Slot
from proxy.wire.body import open_spool
from proxy.wire.connection import Connection, Receiver
from proxy.wire.dial import Dialer
from proxy.wire.secure import Say
from rules.framing import ReplyHead, is_event_stream
from rules.message import Cause, Failure, Outcome, Reply, Request


class Hearer(Protocol):
    """Who is told of interim replies (RFC 9110 15.2)."""

    def interim(self, status: int, head: bytes) -> None:
        """An interim reply; the reply itself is still to come."""


class Exchange(Slot[Outcome]):
    """One request under way, and its reply up to `limit` bytes of body: the outcome that is waited for.

    With a `hearer`: it is told of interim replies; and of a longer body, or an event stream, the outcome
    is the start, `truncated`, and the rest waits on the socket until `pass_on` names who gets it.
    Without: the rest is read and dropped, so that the connection stays of use. `connection` is None
    until the request is on its way.
    """

    __slots__ = (
        "_head",
        "_hearer",
        "_limit",
        "_pieces",
        "_size",
        "_started",
        "connection",
    )

    def __init__(self, limit: int, hearer: Hearer | None) -> None:
        Slot.__init__(self)
        self.connection: Connection | None = None
        self._hearer = hearer
        self._limit = limit
        self._pieces: list[bytes] = []  # of a reply that does not come in one piece
        self._head: ReplyHead
        self._size: int
        self._started: float

    def send(self, connection: Connection, request: Request, head: bytes) -> None:
        """Send a request on this connection; of one whose body lies in a file only the head."""
        self.connection = connection
        pieces = request.pieces
        ended = request.spool is None and not pieces
        self._started = connection.start(self, request.method, head, request.body, ended=ended)
        for piece in pieces:
            connection.write(piece, ended=False)
        if pieces:
            connection.write(b"", ended=True)

    def reply(self, head: ReplyHead, data: bytes, ended: bool) -> None:
        """Part of Receiver."""
        if ended and len(data) <= self._limit:
            latency_s = monotonic() - self._started
            self.resolve(Reply(head.status, head.head, data, head.framing, False, latency_s))
            return
        self._head = head
        self._size = 0
        if is_event_stream(head.head):
            self._limit = -1
        self.data(data, ended)

    def interim(self, status: int, head: bytes) -> None:
        """Part of Receiver."""
        if self._hearer is not None:
            self._hearer.interim(status, head)

    def data(self, data: bytes, ended: bool) -> None:
        """Part of Receiver."""
        if self.done:
            return  # nobody wants the rest
        assert self.connection is not None
        self._pieces.append(data)
        self._size += len(data)
        if ended and self._size <= self._limit:
            self._resolve(truncated=False)
        elif self._size > self._limit:
            if self._hearer is not None and not ended:
                self.connection.flow(reading=False)
            self._resolve(truncated=not ended)

    def failed(self, failure: Failure) -> None:
        """Part of Receiver."""
        self.resolve(failure)

    def writable(self, ready: bool) -> None:
        """Part of Receiver: a whole request waits in the transport, whatever its length."""

    def pass_on(self, rest: Receiver, *, streamed: bool = True) -> None:
        """Let the rest of a truncated reply flow to `rest`: as a stream, or in the time that the reply had."""
        assert self.connection is not None
        if self.connection.serves(self):
            self.connection.hand_over(rest, streamed=streamed)
        else:
            detail = "the connection ended before the reply did"
            rest.failed(Failure(cause=Cause.RESET, sent=True, detail=detail))

    def _resolve(self, *, truncated: bool) -> None:
        head, latency_s = self._head, monotonic() - self._started
        body, self._pieces = b"".join(self._pieces), []
        self.resolve(Reply(head.status, head.head, body, head.framing, truncated, latency_s))


class Pool:
    """The pool of one backend."""

    def __init__(self, backend: Backend, say: Say = lambda _: None) -> None:
        """`say` gets what an operator should know. Raises TlsError if its certificates are not good."""
        self.first_byte_timeout_s = backend.first_byte_timeout_ms / 1000
        self.total_timeout_s = backend.total_timeout_ms / 1000
        self._backend = backend
        self._dialer = Dialer(backend, say)
        self._lifetime_s = backend.lifetime_seconds or math.inf
        self._loop = asyncio.get_running_loop()
        self.now = monotonic  # the time of uvloop stands still for a whole turn of the loop
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._places = 0  # taken: by open connections, and by those who are to open one
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()

    def __repr__(self) -> str:
        busy = len(self._open) - len(self._idle)
        return f"<Pool {self._backend.url} busy={busy} idle={len(self._idle)} waiting={len(self._waiting)}>"

    def ask(
        self, request: Request, head: bytes, limit: int, hearer: Hearer | None = None
    ) -> Exchange:
        """Send a whole request under `head`; the exchange, which resolves with its outcome."""
        exchange = Exchange(limit, hearer)
        if request.spool is None and (connection := self.idle()) is not None:
            exchange.send(connection, request, head)
        else:
            work = self._loop.create_task(self._ask(exchange, request, head))
            self._asking.add(work)
            work.add_done_callback(self._asking.discard)
        return exchange

    async def _ask(self, exchange: Exchange, request: Request, head: bytes) -> None:
        """What `ask` cannot do at once. A backend may reply while it reads: then the upload ends with the exchange."""
        try:
            if request.spool is None:
                connection = await self.connect()
                if isinstance(connection, Failure):
                    exchange.failed(connection)
                else:
                    exchange.send(connection, request, head)
            else:
                await self._ask_spooled(exchange, request, head)
        except BaseException:  # we end, or a bug of ours: in both cases the side may have acted
            exchange.failed(Failure(cause=Cause.RESET, sent=True, detail="the sidecar failed"))
            raise

    async def _ask_spooled(self, exchange: Exchange, request: Request, head: bytes) -> None:
        with ExitStack() as opened:
            try:
                file = opened.enter_context(open_spool(request))
            except OSError as error:
                exchange.failed(
                    _not_sent(Cause.RESET, f"the spool file cannot be read: {error}", 0.0)
                )
                return
            connection = self.idle() or await self.connect()
            if isinstance(connection, Failure):
                exchange.failed(connection)
                return
            opened.pop_all()  # the upload closes it
        exchange.send(connection, request, head)
        await connection.write_file(file)

    def idle(self) -> Connection | None:
        """A free open connection, if there is one now."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def connect(self) -> Connection | Failure:
        """A free connection, new or given back by another; waits at most `pool_timeout_ms` for it."""
        started = self.now()
        timeout_s = self._backend.pool_timeout_ms / 1000
        again = False
        while self._places >= self._backend.connections_max:
            try:
                async with asyncio.timeout(started + timeout_s - self.now()):
                    connection = await self._wait(first=again)
            except TimeoutError:
                return _not_sent(Cause.POOL_FULL, "no connection became free", self.now() - started)
            if connection is None:
                return await self._connect()  # a place became free, and is ours
            if not connection.transport.is_closing():
                return connection
            again = True  # it died on its way here: the next one is ours
        self._places += 1
        return await self._connect()

    async def _wait(self, *, first: bool) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        if first:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):  # not there any more if it has been passed over
                    self._waiting.remove(waiter)
            else:  # served and cancelled in the same moment
                self._pass_on(waiter.result())
            raise

    def _pass_on(self, connection: Connection | None) -> None:
        if connection is None:
            self._free_place()
        elif not connection.transport.is_closing():
            self.give_back(connection)

    async def _connect(self) -> Connection | Failure:
        """Open a connection in a place that is taken already; after a failure the place is free."""
        connection = Connection(self)
        failure: Failure | None = None
        try:
            failure = await self._dialer.open(connection)
            if failure is None:
                connection.retires_at = self.now() + self._lifetime_s
                self._open.add(connection)
        finally:
            if connection not in self._open:
                self._free_place()
        return failure or connection

    def give_back(self, connection: Connection) -> None:
        """Part of Keeper: the longest waiting gets it, else it is idle."""
        connection.idle_since = now = monotonic()
        if now > connection.retires_at:
            connection.transport.close()
        elif not (self._waiting and self._wake(connection)):
            self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """Part of Keeper."""
        if connection in self._open:
            self._open.remove(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._free_place()

    def _free_place(self) -> None:
        """The longest waiting gets the place, to open a connection of its own."""
        if not self._wake(None):
            self._places -= 1

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
        for connection in [c for c in self._idle if c.idle_since < oldest or c.retires_at < now]:
            self._idle.remove(connection)
            connection.transport.close()

    async def is_reachable(self) -> bool:
        """Whether the backend takes connections: one is idle, all are in use, or another one opens."""
        full = len(self._open) >= self._backend.connections_max
        if full or any(not idle.transport.is_closing() for idle in self._idle):
            return True
        connection = await self.connect()
        if isinstance(connection, Failure):
            return False
        self.give_back(connection)
        return True

    def close(self) -> None:
        """Abort every connection."""
        for work in self._asking:
            work.cancel()
        self._dialer.close()
        for connection in list(self._open):
            connection.transport.abort()


def _not_sent(cause: Cause, detail: str, latency_s: float) -> Failure:
    return Failure(cause=cause, sent=False, detail=detail, latency_s=latency_s)
