"""An unmirrored request: streamed to the primary, and its reply streamed back.

Law: no journal, no copy, no task while a connection is free. A slow reader at either end slows the
writer at the other, and never fills memory.
"""

import asyncio

from proxy.fiber import Fibers
from proxy.flow.passing import Passing
from proxy.wire.connection import Connection
from proxy.wire.downstream import Downstream
from proxy.wire.pool import Pool
from rules.framing import Refusal, ReplyHead, RequestHead
from rules.message import Failure
from rules.problem import status_of


class Streamed:
    """A Receiver that passes a reply on to the client as it comes."""

    __slots__ = ("_begun", "_client", "connection")

    def __init__(self, client: Downstream, connection: Connection | None, *, begun: bool) -> None:
        self._begun = begun
        self._client = client
        self.connection = connection

    def reply(self, head: ReplyHead, data: bytes, ended: bool) -> None:
        """Part of Receiver."""
        self._begun = True
        if not ended and self.connection is not None:
            self.connection.stream()
        self._client.reply(head.head, data, head.framing, ended=ended)

    def interim(self, status: int, head: bytes) -> None:
        """Part of Receiver."""
        self._client.interim(status, head)

    def data(self, data: bytes, ended: bool) -> None:
        """Part of Receiver."""
        self._client.more(data, ended=ended)

    def failed(self, failure: Failure) -> None:
        """Part of Receiver."""
        if self._begun:
            self._client.cut()
        else:
            detail = f"the primary gave no reply: {failure.detail}"
            self._client.refuse(Refusal(status_of(failure), detail), reason=failure.cause)

    def writable(self, ready: bool) -> None:
        """Part of Receiver: the backend takes more of the request, or not."""
        if ready:
            self._client.resume()
        else:
            self._client.pause()

    def client_writable(self, ready: bool) -> None:
        """The client takes more of the reply, or not."""
        if self.connection is not None and self.connection.serves(self):
            self.connection.flow(reading=ready)

    def client_gone(self) -> None:
        """The client went away: the exchange is of no more use."""
        if self.connection is not None and self.connection.serves(self):
            self.connection.abandon()


class Measured(Streamed):
    """The rest of a reply that is to be compared: measured as it is passed on."""

    __slots__ = ("_passing",)

    def __init__(self, client: Downstream, connection: Connection, passing: Passing) -> None:
        Streamed.__init__(self, client, connection, begun=True)
        self._passing = passing

    def data(self, data: bytes, ended: bool) -> None:
        """Part of Receiver: the client comes first."""
        Streamed.data(self, data, ended)
        self._passing.add(data, ended=ended)

    def failed(self, failure: Failure) -> None:
        """Part of Receiver."""
        Streamed.failed(self, failure)
        self._passing.broke()

    def client_gone(self) -> None:
        """The client went away, and with it the rest."""
        Streamed.client_gone(self)
        self._passing.broke()


def streamed(client: Downstream, connection: Connection, passing: Passing | None) -> Streamed:
    """Who passes the rest of a long reply on, measured if there is something to measure it."""
    if passing is None:
        return Streamed(client, connection, begun=True)
    return Measured(client, connection, passing)


class Relay:
    """The Sink of one unmirrored request. `receiver` gets the reply."""

    __slots__ = ("_client", "_ended", "_fibers", "_first", "_gone", "_head", "_pool", "receiver")

    def __init__(
        self, client: Downstream, pool: Pool, head: RequestHead, sent_head: bytes, fibers: Fibers
    ) -> None:
        self._client = client
        self._ended = False
        self._first: list[bytes] | None = None  # what arrives while a connection is opened
        self._gone = False
        self._head = (head.method, sent_head)
        self._pool = pool
        self.receiver = Streamed(client, None, begun=False)
        self._fibers = fibers

    def data(self, data: bytes, ended: bool) -> None:
        """Part of Sink."""
        self._ended = ended
        if self.receiver.connection is not None:
            self.receiver.connection.write(data, ended=ended)
        elif self._first is not None:
            self._first.append(data)
        elif (connection := self._pool.idle()) is not None:
            self._start(connection, data)
        else:
            self._first = [data]
            if not ended:
                self._client.pause()
            self._fibers.start(self._open())

    def gone(self) -> None:
        """Part of Sink."""
        self._gone = True
        self.receiver.client_gone()

    def writable(self, ready: bool) -> None:
        """Part of Sink."""
        self.receiver.client_writable(ready)

    async def _open(self) -> None:
        connection = await asyncio.ensure_future(self._pool.connect())
        assert self._first is not None
        if isinstance(connection, Failure):
            self.receiver.failed(connection)
        elif self._gone:
            self._pool.give_back(connection)
        else:
            self._start(connection, b"".join(self._first))
            self._client.resume()

    def _start(self, connection: Connection, data: bytes) -> None:
        method, head = self._head
        self.receiver.connection = connection
        connection.start(self.receiver, method, head, data, ended=self._ended)
