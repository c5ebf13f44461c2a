"""One client's connection: requests in, checked and cut; replies out, in order.

Law: one request at a time; what follows waits on the socket until the reply is written. A request
that is malformed, too slow or too large is answered here and goes no further.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol, cast

from proxy.control.settings import Listen
from proxy.wire.framing import BadFraming, ChunkedReader, Reader, reader_for, second_opinion
from rules.framing import Refusal, RequestHead, parse_request, without
from rules.message import Framing
from rules.problem import problem

LINGER_S = 2.0
"""How long a connection stays open for a client that is still sending when its reply is complete:
closing at once would reset the connection and destroy the reply on its way (RFC 9112 9.6)."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FIRST_BYTES = frozenset(
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)


class Sink(Protocol):
    """Who takes one request's body. After `ended`, or `gone`, nothing more comes."""

    def data(self, data: bytes, ended: bool) -> None:
        """A piece of the framed body; the first call comes with the head, even if it is empty."""

    def gone(self) -> None:
        """The client went away before its reply was complete."""

    def writable(self, ready: bool) -> None:
        """Whether the client takes more of the reply."""


Door = Callable[["Downstream", RequestHead], Sink | Refusal]
"""Decides what to do with a request."""


class Clients:
    """Every client's connection of one listener: limits, deadlines, drain, counts."""

    def __init__(self, listen: Listen, door: Door) -> None:
        self.listen = listen
        self.door = door
        self.open: set[Downstream] = set()
        self.requests = 0
        self.refused = 0
        self.draining = False
        self.now = asyncio.get_running_loop().time
        self.idle_timeout_s = listen.idle_timeout_ms / 1000
        self.head_timeout_s = listen.head_timeout_ms / 1000
        self.body_timeout_s = listen.body_timeout_ms / 1000

    def connect(self) -> "Downstream":
        """A protocol for a connection that was just accepted."""
        return Downstream(self)

    def sweep(self) -> None:
        """Once per tick: answer or close what is past its deadline."""
        now = self.now()
        for client in [client for client in self.open if client.deadline < now]:
            client.expire()

    def drain(self) -> None:
        """Close what is idle now, and the rest after its reply."""
        self.draining = True
        for client in list(self.open):
            client.close_when_idle()

    def abort(self) -> None:
        """Close every connection now."""
        for client in list(self.open):
            client.transport.abort()


class Downstream(asyncio.Protocol):
    """A client's connection: waiting for a head, taking a body, or waiting for the reply's end."""

    __slots__ = (
        "_buffer", "_clients", "_close", "_decoder", "_paused", "_reader", "_replying", "_sink", "deadline", "transport",
    )  # fmt: skip

    def __init__(self, clients: Clients) -> None:
        self.transport: asyncio.Transport
        self.deadline = math.inf
        self._buffer = b""
        self._clients = clients
        self._close = False
        self._paused = False
        self._decoder: ChunkedReader | None = None  # for a client that knows no chunks
        self._reader: Reader | None = None
        self._replying = False
        self._sink: Sink | None = None

    # for the door and its sinks

    def reply(self, head: bytes, body: bytes, framing: Framing, *, ended: bool) -> None:
        """Begin the reply with its head and the first of its body."""
        if self._sink is None:
            return
        self._replying = True
        if framing is Framing.CLOSE:
            self._close = True
        if framing is not Framing.CHUNKED:
            self._decoder = None
        elif self._decoder is not None:
            head = without(head, (b"transfer-encoding", b"trailer"))
            self._decoder.take(body, 0)
            body = self._decoder.payload
        if self._close:
            head = head[:-2] + b"Connection: close\r\n\r\n"
        self.transport.write(head + body)
        if ended:
            self._end()

    def more(self, data: bytes, *, ended: bool) -> None:
        """More of the reply's body."""
        if self._sink is None:
            return
        if self._decoder is not None:
            self._decoder.take(data, 0)
            data = self._decoder.payload
        if data:
            self.transport.write(data)
        if ended:
            self._end()

    def refuse(self, refusal: Refusal, **members: str) -> None:
        """Answer with a problem document instead of a backend's reply."""
        if self.transport.is_closing():
            return
        if self._replying:
            self.cut()
            return
        self._clients.refused += 1
        self._close = self._close or not self._request_ended
        self.transport.write(problem(refusal.status, refusal.detail, close=self._close, **members))
        self._end()

    def pause(self) -> None:
        """Take no more of the request's body for now: time spent so is not the client's."""
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.deadline = math.inf
            self.transport.pause_reading()

    def resume(self) -> None:
        """Take the request's body again."""
        if self._paused and not self.transport.is_closing():
            self._paused = False
            if not self._request_ended:
                self.deadline = self._clients.now() + self._clients.body_timeout_s
            self.transport.resume_reading()

    def cut(self) -> None:
        """The reply cannot be completed: end the connection so that the client sees it."""
        self._sink = None
        self.transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only
        clients = self._clients
        if len(clients.open) >= clients.listen.connections_max:
            self.transport.write(problem(503, "too many connections", close=True))
            transport.close()
            return
        clients.open.add(self)
        self.deadline = clients.now() + clients.idle_timeout_s

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while data:
            if self._sink is not None and self._request_ended:
                self._buffer = data  # pipelined: it waits for its turn
                self.pause()
                return
            data = self._take_head(data) if self._sink is None else self._take_body(data)

    def eof_received(self) -> bool:
        """Part of asyncio.Protocol: a client may close its half and still wait for the reply."""
        waiting = self._sink is not None and self._request_ended
        self._close = True
        return waiting

    def connection_lost(self, error: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        self._clients.open.discard(self)
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.gone()

    def pause_writing(self) -> None:
        """Part of asyncio.Protocol."""
        if self._sink is not None:
            self._sink.writable(False)

    def resume_writing(self) -> None:
        """Part of asyncio.Protocol."""
        if self._sink is not None:
            self._sink.writable(True)

    # deadlines

    def expire(self) -> None:
        """The deadline has passed: a head or a body that stopped arriving, or an idle connection."""
        if self._sink is not None:
            sink = self._sink
            self.refuse(Refusal(408, "the request's body stopped arriving"))
            sink.gone()
        elif self._buffer and not self._close:
            self._bad(Refusal(408, "the request's head stopped arriving"))
        else:
            self.transport.abort()

    def close_when_idle(self) -> None:
        """Take no further request."""
        self._close = True
        if self._sink is None:
            self.transport.close()

    # the request

    @property
    def _request_ended(self) -> bool:
        return self._reader is None

    def _take_head(self, data: bytes) -> bytes:
        if self._close:
            return b""  # lingering: the client is told already
        if data.startswith(b"\r\n"):  # RFC 9112 2.2: an empty line before the request line
            return data[2:]
        end = data.find(b"\r\n\r\n") + 4
        listen = self._clients.listen
        if end < 4 or end > listen.head_bytes_max:
            return self._wait_for_head(data, listen.head_bytes_max)
        raw = data[:end]
        head = parse_request(raw)
        if isinstance(head, RequestHead):
            head = second_opinion(raw) or head
        if isinstance(head, Refusal):
            self._bad(head)
            return b""
        self._open(head)
        return self._begin(head, data[end:])

    def _wait_for_head(self, data: bytes, bytes_max: int) -> bytes:
        bare = data.find(b"\n")
        if len(data) > bytes_max:
            line = data.find(b"\r\n")
            self._bad(
                Refusal(414 if not 0 <= line < bytes_max else 431, "the request head is too long")
            )
        elif data[0] not in _FIRST_BYTES or bare == 0 or (bare > 0 and data[bare - 1] != 13):
            self._bad(Refusal(400, "the request head is malformed"))
        else:
            self.deadline = min(self.deadline, self._clients.now() + self._clients.head_timeout_s)
            self._buffer = data
        return b""

    def _open(self, head: RequestHead) -> None:
        self._clients.requests += 1
        self._close = not head.keep_alive or self._clients.draining
        self._decoder = ChunkedReader(decode=True) if head.minor == 0 else None
        self._reader = (
            reader_for(head.framing, head.length) if head.framing is not Framing.NONE else None
        )

    def _begin(self, head: RequestHead, data: bytes) -> bytes:
        sink = self._clients.door(self, head)
        if isinstance(sink, Refusal):
            self.refuse(sink)
            return b"" if self._close else data
        self._sink = sink
        if self._reader is None:
            self.deadline = math.inf
            sink.data(b"", True)
            return data
        self.deadline = self._clients.now() + self._clients.body_timeout_s
        if head.expects_continue and not data:
            self.transport.write(CONTINUE)
        return self._take_body(data, first=True)

    def _take_body(self, data: bytes, *, first: bool = False) -> bytes:
        assert self._reader is not None
        sink = self._sink
        assert sink is not None
        try:
            end = self._reader.take(data, 0)
        except BadFraming as error:
            self.refuse(Refusal(400, str(error)))
            sink.gone()
            return b""
        ended = self._reader.done
        if ended:
            self._reader = None
            self.deadline = math.inf
        else:
            self.deadline = self._clients.now() + self._clients.body_timeout_s
        if end or ended or first:
            sink.data(data if end == len(data) else data[:end], ended)
        return data[end:]

    def _bad(self, refusal: Refusal) -> None:
        self._buffer = b""
        self._reader = None
        self._close = True
        self.refuse(refusal)

    # the end of a reply

    def _end(self) -> None:
        self._sink = None
        self._replying = False
        if not self._request_ended:
            self._linger()
        elif self._close:
            self.transport.close()
        else:
            clients = self._clients
            self.deadline = clients.now() + clients.idle_timeout_s
            self.resume()
            if self._buffer:
                asyncio.get_running_loop().call_soon(self.data_received, b"")

    def _linger(self) -> None:
        self._close = True
        self._reader = None
        self.resume()
        self.deadline = self._clients.now() + LINGER_S
        if self.transport.can_write_eof():
            self.transport.write_eof()
