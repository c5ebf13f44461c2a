"""One client's connection: requests in, checked and cut; replies out, in order.

Law: one request at a time; what follows waits here, up to a bound, until the reply is written. A
request that is malformed, too slow or too large is answered here and goes no further. While no end of
the client's can be seen, there is a deadline.
"""

import asyncio
import math
import socket
import struct
from collections.abc import Callable
from typing import cast

from proxy.wire.framing import BadFraming, ChunkedReader, Reader, reader_for, second_opinion
from proxy.wire.sink import Keeper, Sink
from proxy.wire.writing import limit, write
from rules.framing import Refusal, RequestHead, parse_request, refuse_fragment, with_line, without
from rules.message import Framing
from rules.problem import problem

_CLOSE, _CHUNKED = Framing.CLOSE, Framing.CHUNKED
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close sends RST


Door = Callable[["Downstream", RequestHead], Sink | Refusal]
"""Decides what to do with a request."""


class Downstream(asyncio.Protocol):
    """A client's connection: waiting for a head, taking a body, or waiting for the reply's end."""

    __slots__ = (
        "_blocked", "_buffer", "_clients", "_close", "_continued", "_decoder", "_eof", "_head", "_heading",
        "_moved_at", "_paused", "_reader", "_replying", "_sink", "_unsent", "deadline", "peer", "sent_head",
        "transport",
    )  # fmt: skip

    def __init__(self, clients: Keeper) -> None:
        self.transport: asyncio.Transport
        self.deadline = math.inf
        self.peer: tuple[str, str] | None = None  # address and scheme, once somebody asked for them
        self.sent_head = b""  # of the request under way, as the sides get it
        self._blocked = False  # the client does not take its reply
        self._buffer = b""  # part of a head, or pipelined requests
        self._clients = clients
        self._close = False  # no request after this one
        self._continued: RequestHead | None = None  # the last request that was answered 100
        self._decoder: ChunkedReader | None = None  # for a client that knows no chunks
        self._eof = False
        self._head: RequestHead | None = None
        self._heading = False  # a head has begun to arrive
        self._moved_at = 0.0
        self._paused = False  # nothing is read from the socket
        self._reader: Reader | None = None  # while the body is not complete
        self._replying = False
        self._sink: Sink | None = None  # while a request is open
        self._unsent = 0

    # for the door and its sinks

    def go_on(self) -> None:
        """Tell a client that waits (`Expect: 100-continue`) to send its body."""
        self._continued = self._head
        self.transport.write(CONTINUE)

    def interim(self, status: int, head: bytes) -> None:
        """Pass on an interim reply: not to HTTP/1.0, which knows none (RFC 9110 15.2), nor a second 100."""
        told = status == 100 and self._continued is self._head
        waiting = self._sink is not None and not self._replying and not told
        if waiting and self._head is not None and self._head.minor:
            self.transport.write(head)

    def leave(self) -> tuple[bytes, bool, bool]:
        """Leave the transport to a tunnel: it moves `deadline` on, and hands `connection_lost` back.

        What has come that nobody looked at; whether no more comes; whether the client does not read.
        """
        data, self._buffer = self._buffer, b""
        self._close = True
        self._sink = None
        self._start_reading()
        return data, self._eof, self._blocked

    def reply(self, head: bytes, body: bytes, framing: Framing, *, ended: bool) -> None:
        """Begin the reply with its head and the first of its body."""
        if self._sink is None:
            return
        assert self._head is not None
        self._replying = True
        if framing is _CLOSE or self._reader is not None:  # RFC 9110 10.1.1: it says so
            self._close = True
        if self._head.minor == 0:
            head = without(head, (b"transfer-encoding", b"trailer"))
            if framing is Framing.CHUNKED:
                self._decoder = ChunkedReader(decode=True)
                self._decoder.take(body)
                body = self._decoder.payload
        if self._close:
            head = with_line(head, b"Connection: close")
        write(self.transport, head, body)
        if self._eof or self._paused:
            self.deadline = self._patience()
        if ended:
            self._end()
        elif self._blocked:
            self._sink.writable(False)

    def more(self, data: bytes, *, ended: bool) -> None:
        """More of the reply's body."""
        if self._sink is None:
            return
        if self._decoder is not None:
            self._decoder.take(data)
            data = self._decoder.payload
        if data:
            self.transport.write(data)
        if self._eof or self._paused:
            self.deadline = self._patience()
        if ended:
            self._end()
        elif self._blocked:  # a sink that has just begun to stream was not told
            self._sink.writable(False)

    def refuse(self, refusal: Refusal, **members: str) -> None:
        """Answer with a problem document instead of a backend's reply; a reply that has begun is cut."""
        if self._sink is not None:
            self._refuse(refusal, **members)

    def pause(self) -> None:
        """Take no more of the request's body for now: time spent so is not the client's."""
        if self._reader is not None:
            self._stop_reading()
            self.deadline = self._patience() if self._replying else math.inf

    def resume(self) -> None:
        """Take the request's body again."""
        if self._reader is not None:
            self.deadline = self._clients.now() + self._clients.body_timeout_s
            self._start_reading()

    def cut(self) -> None:
        """The reply cannot be completed: reset the connection, which cannot be taken for an end."""
        self._sink = None
        if not self.transport.is_closing():
            peer = self.transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    # asyncio.Protocol: its methods

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only
        clients = self._clients
        limit(self.transport)
        if len(clients.open) < clients.listen.connections_max:
            clients.open.add(self)
            self.deadline = clients.now() + clients.idle_timeout_s
        elif len(clients.surplus) < clients.listen.connections_max:
            clients.surplus.add(self)
            self._bad(Refusal(503, "too many connections"))
        else:
            clients.refused += 1
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while data:
            if self._reader is not None:
                data = self._take_body(data)
            elif self._sink is None and (self._close or not self._blocked):
                data = self._take_head(data)
            else:
                self._buffer = data  # pipelined: it waits for its turn
                if len(data) > self._clients.listen.head_bytes_max:
                    self._stop_reading()
                    self.deadline = min(self.deadline, self._patience())
                return

    def eof_received(self) -> bool:
        """A client may close its half and still wait for replies; one that is gone looks the same."""
        self._eof = True
        if self._sink is None and not self._blocked:
            self.data_received(b"")  # what would have had its turn next
        self.deadline = min(self.deadline, self._patience())
        half_open = self._sink is not None and self._reader is None
        if self._buffer and (half_open or self._blocked):
            half_open = True  # pipelined requests: when they have begun, `_next` comes here again
        else:
            self._close = True
        return half_open and self.transport.can_write_eof()  # TLS ends both halves at once

    def connection_lost(self, _error: Exception | None) -> None:
        self._clients.open.discard(self)
        self._clients.surplus.discard(self)
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.gone()

    def pause_writing(self) -> None:
        self._blocked = True
        if self._reader is None:
            self._watch()
        if self._sink is not None:
            self._sink.writable(False)

    def resume_writing(self) -> None:
        self._blocked = False
        if self._sink is not None:
            if self._reader is None:
                self.deadline = math.inf
            if self._eof or self._paused:
                self.deadline = self._patience()
            self._sink.writable(True)
        elif self._buffer:
            self._clients.loop.call_soon(self._next)

    # deadlines

    def expire(self) -> None:
        """The deadline has passed: something stopped arriving, or the client stopped reading."""
        unsent, now = self.transport.get_write_buffer_size(), self._clients.now()
        if unsent != self._unsent:
            self._unsent, self._moved_at = unsent, now
        sink = self._sink
        if unsent and now < self._moved_at + self._clients.idle_timeout_s:
            self.deadline = now + self._clients.linger_s
        elif sink is not None and self._reader is not None:
            self._refuse(Refusal(408, "the request's body stopped arriving"))
            sink.gone()
        elif sink is None and self._buffer and not self._close:
            self._bad(Refusal(408, "the request's head stopped arriving"))
        else:
            self.transport.abort()

    def close_when_idle(self) -> None:
        """Take no further request; one whose head has begun to arrive is still served."""
        if self._sink is not None:
            self._close = True
        elif not self._close and not self._buffer:
            self._close = True
            self.transport.close()

    def _patience(self) -> float:
        """How long a client is believed to be there that shows nothing of itself: while its reply moves."""
        return self._clients.now() + self._clients.idle_timeout_s

    def _watch(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._moved_at = self._clients.now()
        self.deadline = self._moved_at + self._clients.linger_s

    # the request

    def _take_head(self, data: bytes) -> bytes:
        if self._close:
            return b""  # lingering: the client is told already
        if not self._heading and data.startswith(b"\r"):
            if data == b"\r":
                self._buffer = data
                return b""
            self._heading = True  # RFC 9112 2.2: one empty line before the request line
            self.deadline = self._clients.now() + self._clients.head_timeout_s
            return data.removeprefix(b"\r\n")
        end = data.find(b"\r\n\r\n") + 4
        head_bytes_max = self._clients.listen.head_bytes_max
        if end < 4 or end > head_bytes_max:
            return self._wait_for_head(data, head_bytes_max)
        raw = data[:end]
        head = parse_request(raw)
        if isinstance(head, Refusal):
            return self._bad(head)
        refusal = second_opinion(raw)
        return self._begin(head, data[end:]) if refusal is None else self._bad(refusal)

    def _wait_for_head(self, data: bytes, bytes_max: int) -> bytes:
        refusal = refuse_fragment(data, bytes_max)
        if refusal is not None:
            return self._bad(refusal)
        if not self._heading:
            self._heading = True
            self.deadline = self._clients.now() + self._clients.head_timeout_s
        self._buffer = data
        return b""

    def _begin(self, head: RequestHead, data: bytes) -> bytes:
        clients = self._clients
        clients.requests += 1
        self._head, self.sent_head = head, head.head
        self._heading = False
        self._close = not head.keep_alive or clients.draining
        length = head.length
        whole = head.framing is not _CHUNKED and len(data) >= length
        if not whole:
            self._reader = reader_for(head.framing, length)
        sink = clients.door(self, head)
        if isinstance(sink, Refusal):
            self._refuse(sink)
            return b"" if self._close else data[length:]
        self._sink = sink
        if whole:
            self.deadline = math.inf
            sink.data(data[:length], True)
            return data[length:]
        return self._take_body(data, first=True)

    def _take_body(self, data: bytes, *, first: bool = False) -> bytes:
        sink, reader = self._sink, self._reader
        assert sink is not None
        assert reader is not None
        try:
            end = reader.take(data)
        except BadFraming as error:
            self._refuse(Refusal(400, str(error)))
            sink.gone()
            return b""
        if reader.done:
            self._reader = None
            self.deadline = math.inf
            if self._blocked:
                self._watch()
        else:
            late = self._clients.now() + self._clients.body_timeout_s
            self.deadline = (
                late if first else min(late, self.deadline + end * self._clients.body_byte_s)
            )
        if end or reader.done or first:
            sink.data(data if end == len(data) else data[:end], reader.done)
        return data[end:]

    # the end

    def _bad(self, refusal: Refusal) -> bytes:
        self._head, self.sent_head = None, b""
        self._close = True
        self._refuse(refusal)
        return b""

    def _refuse(self, refusal: Refusal, **members: str) -> None:
        if self._replying:
            self.cut()
        if self.transport.is_closing():
            return
        self._clients.refused += 1
        self._close = self._close or self._reader is not None
        sent, close = self.sent_head, self._close
        reply = problem(refusal.status, refusal.detail, close=close, head=sent, **members)
        self.transport.write(reply)
        self._end()

    def _end(self) -> None:
        self._sink = None
        self._replying = False
        self._decoder = None
        if self._close or self._reader is not None:
            self._leave()
            return
        self.deadline = self._clients.now() + self._clients.idle_timeout_s
        if self._buffer:
            self._clients.loop.call_soon(self._next)
        elif self._paused:
            self._start_reading()

    def _next(self) -> None:
        if self._sink is None and not self.transport.is_closing():
            self._start_reading()
            self.data_received(b"")
            if self._eof and not self.eof_received():
                self.transport.close()

    def _leave(self) -> None:
        """Let the client have its reply; then close, but not before it does: it may still be sending."""
        self._close = True
        self._reader = None
        self._buffer = b""
        self._watch()
        if self._eof:
            self.transport.close()
        else:
            self._start_reading()
            self.transport.write_eof()  # TLS has no halves: there it drops what still comes

    def _stop_reading(self) -> None:
        self._paused = True
        self.transport.pause_reading()

    def _start_reading(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
