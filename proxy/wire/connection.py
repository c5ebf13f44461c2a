"""One connection to a backend, one exchange at a time.

Law: nothing is ever sent twice, and a reply that is not clean HTTP/1.x is a `Failure` that closes
the connection: what follows on it could be anybody's.
"""

import asyncio
import math
import os
from typing import Protocol, cast, runtime_checkable

from proxy.wire.body import Readable
from proxy.wire.framing import BadFraming, Reader, is_reply_head, reader_for
from proxy.wire.secure import refusal
from proxy.wire.writing import limit, write
from rules.framing import ReplyHead, is_event_stream, parse_reply
from rules.message import Cause, Failure, Framing

REPLY_HEAD_BYTES_MAX = 65536
"""Twice what common servers send at the most (nginx 4-32 KiB buffers, Node 16 KiB)."""

FILE_PIECE_BYTES = 262144
"""How much of a spool file is read and written at a time: uvloop's own largest read."""

INTERIM_REPLIES_MAX = 100
"""Interim replies before the reply itself; the limit of CPython's http.client and of Ruby's net/http."""

_OLD = b" HTTP/1.0\r"
"""After a request of HTTP/1.0 the server closes, and need not say so (RFC 9112 9.3): nothing follows it."""

_TUNNEL = Framing.TUNNEL
_COUNTED = frozenset((Framing.NONE, Framing.LENGTH))


class Receiver(Protocol):
    """Who gets the reply of one exchange. After `ended`, or `failed`, nothing more comes."""

    def interim(self, status: int, head: bytes) -> None:
        """An interim reply (RFC 9110 15.2); the reply itself is still to come."""

    def reply(self, head: ReplyHead, data: bytes, ended: bool) -> None:
        """The head, and what of the body came with it."""

    def data(self, data: bytes, ended: bool) -> None:
        """More of the body."""

    def failed(self, failure: Failure) -> None:
        """No reply, or no complete one."""

    def writable(self, ready: bool) -> None:
        """Whether the backend takes more of the request."""


@runtime_checkable
class Asker(Protocol):
    """A Receiver whose request asks for a tunnel."""

    def agreed(self, head: ReplyHead, data: bytes) -> None:
        """Instead of `reply`: from here on bytes pass both ways, `data` is the first of them."""


class Keeper(Protocol):
    """Who owns a connection between exchanges (the pool)."""

    first_byte_timeout_s: float
    total_timeout_s: float

    def now(self) -> float:
        """Monotonic seconds."""

    def give_back(self, connection: "Connection") -> None:
        """The connection is free for another exchange."""

    def forget(self, connection: "Connection") -> None:
        """The connection is gone."""


class Connection(asyncio.Protocol):
    """One connection to a backend; idle while it has no receiver."""

    __slots__ = (
        "_buffer", "_eof", "_head", "_interims", "_method", "_pause_s", "_pool", "_reader", "_receiver",
        "_request_ended", "_room", "_sent_at", "_started", "_unsent", "deadline", "idle_since",
        "retires_at", "transport",
    )  # fmt: skip

    def __init__(self, pool: Keeper) -> None:
        self.transport: asyncio.Transport
        self.deadline = math.inf
        self.idle_since = 0.0
        self.retires_at = math.inf  # after that, no exchange begins
        self._buffer = b""  # part of a head
        self._eof = False
        self._head: ReplyHead | None = None
        self._interims = 0
        self._method = ""
        self._pool = pool
        self._reader: Reader | None = None
        self._receiver: Receiver | None = None
        self._request_ended = False
        self._room: asyncio.Future[None] | None = None  # while the backend takes no more
        self._pause_s = 0.0  # how long a streamed reply may pause; 0: it is not streamed
        self._sent_at = 0.0
        self._started = 0.0
        self._unsent = 0

    def start(
        self, receiver: Receiver, method: str, head: bytes, body: bytes = b"", *, ended: bool
    ) -> float:
        """Begin an exchange by writing `head` and `body`; `ended`: that is the whole request.

        When, on the pool's clock.
        """
        assert self._receiver is None
        if head.find(_OLD, 0, head.find(b"\r") + 1) >= 0:
            self.retires_at = 0.0
        self._receiver = receiver
        self._method = method
        self._request_ended = ended
        self._head = None
        self._interims = 0
        self._pause_s = 0.0
        self._started = self._sent_at = now = self._pool.now()
        self.deadline = now + self._pool.first_byte_timeout_s if ended else math.inf
        write(self.transport, head, body)
        return now

    def write(self, data: bytes, *, ended: bool) -> None:
        """More of the request. Until it is whole, only a backend that does not take it can be late."""
        if self._receiver is None:
            return  # the reply came first, or the exchange failed
        if data:
            self.transport.write(data)
        if ended:
            self._request_ended = True
            self._sent_at = self._pool.now()
            if self._head is None:
                self.deadline = self._sent_at + self._pool.first_byte_timeout_s

    async def write_file(self, file: Readable) -> None:
        """The rest of the request from a file, as fast as the backend takes it; closes the file."""
        with file:
            try:
                while self._receiver is not None and (piece := file.read(FILE_PIECE_BYTES)):
                    self.write(piece, ended=False)
                    await (asyncio.sleep(0) if self._room is None else self._room)
            except asyncio.CancelledError:
                self.abandon()  # half a request must not end as a whole one
                raise
            except OSError as error:
                self._fail(Cause.RESET, f"the spool file cannot be read: {error}")
                return
        self.write(b"", ended=True)

    def serves(self, receiver: Receiver) -> bool:
        """Whether the exchange under way is this receiver's."""
        return self._receiver is receiver

    def hand_over(self, receiver: Receiver, *, streamed: bool = True) -> None:
        """The rest of the reply goes to this receiver: as a stream, or in the time that it had."""
        self._receiver = receiver
        if streamed:
            self.stream()
        self.flow(reading=True)

    def stream(self) -> None:
        """The reply may take as long as it keeps coming: a pause of the total time-out ends it, but for an event
        stream, which may have nothing to tell."""
        assert self._head is not None
        events = is_event_stream(self._head.head)
        self._pause_s = math.inf if events else self._pool.total_timeout_s
        self.deadline = self._pool.now() + self._pause_s

    def flow(self, *, reading: bool) -> None:
        """Take the reply from the socket, or leave it there for now: that is no pause of the backend's."""
        if self.transport.is_closing():
            return
        if reading:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()
        if self._pause_s:
            self.deadline = self._pool.now() + self._pause_s if reading else math.inf

    def abandon(self) -> None:
        """End the exchange without its reply; the connection is of no more use."""
        self._receiver = None
        self.transport.abort()

    def leave(self) -> asyncio.Transport:
        """Leave the transport to a tunnel: it is no connection of the pool any more."""
        self._receiver = None
        self._pool.forget(self)
        return self.transport

    def expire(self) -> None:
        """The deadline has passed; a backend that still takes the request is not late."""
        if self._room is not None:
            unsent = self.transport.get_write_buffer_size()
            if unsent < self._unsent:
                self._unsent = unsent
                self.deadline = self._pool.now() + self._pool.first_byte_timeout_s
                return
        self._fail(Cause.TIMEOUT, "no reply in time")

    def now(self) -> float:
        """Monotonic seconds, on the pool's clock."""
        return self._pool.now()

    @property
    def is_busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._receiver is not None

    # asyncio.Protocol: its methods

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only
        limit(self.transport)

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            self.transport.abort()  # nobody asked: the server is out of step
        elif self._head is not None:
            self._take_body(data)
        elif self._buffer or not self._take_whole(data, receiver):
            self._take_head(self._buffer + data)

    def eof_received(self) -> bool:
        self._eof = True
        self.transport.abort()  # a server that has stopped sending may have stopped reading
        return False

    def connection_lost(self, error: Exception | None) -> None:
        in_clear = self.transport.can_write_eof()  # of TLS, the socket has nothing that can be read
        if error is not None and self._receiver is not None and not self._eof and in_clear:
            self._take_last_words()
        self._pool.forget(self)
        self._set_room()
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if self._eof and self._head is not None and self._head.framing is Framing.CLOSE:
            receiver.data(b"", True)
        elif not self.idle_since and self._head is None and (why := refusal(error)):
            detail = f"TLS: {why}"  # its first exchange: the handshake itself was refused (TLS 1.3)
            receiver.failed(Failure(cause=Cause.TLS, sent=False, detail=detail))
        else:
            detail = "the connection ended before the reply did"
            receiver.failed(self._failure(Cause.RESET, str(error or detail)))

    def pause_writing(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        self._unsent = self.transport.get_write_buffer_size()
        if self._head is None:
            self.deadline = self._pool.now() + self._pool.first_byte_timeout_s
        if self._receiver is not None:
            self._receiver.writable(False)

    def resume_writing(self) -> None:
        self._set_room()
        if self._receiver is None:
            return
        if self._head is None:
            late = self._pool.now() + self._pool.first_byte_timeout_s
            self.deadline = late if self._request_ended else math.inf
        self._receiver.writable(True)

    def _set_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    # the reply

    def _take_whole(self, data: bytes, receiver: Receiver) -> bool:
        """The usual reply: all of it at once, and nothing unusual in it. It says what the long way would say."""
        end = data.find(b"\r\n\r\n") + 4
        if not 4 <= end <= REPLY_HEAD_BYTES_MAX:
            return False
        raw = data[:end]
        head = parse_reply(raw, self._method)
        if head is None or head.framing not in _COUNTED or len(data) != end + head.length:
            return False
        if head.status < 200 or not is_reply_head(raw):
            return False
        self._head = head
        self._finish(clean=True)
        receiver.reply(head, data[end:], True)
        return True

    def _take_head(self, data: bytes) -> None:
        while (end := data.find(b"\r\n\r\n") + 4) >= 4:
            raw, data = data[:end], data[end:]
            head = parse_reply(raw, self._method) if end <= REPLY_HEAD_BYTES_MAX else None
            if head is None or not is_reply_head(raw):
                self._fail(Cause.BROKEN_REPLY, "the reply's head is malformed or too long")
                return
            if head.status >= 200 and head.framing is not _TUNNEL:
                self._buffer = b""
                self._begin_body(head, data)
                return
            if not self._take_aside(head, data):
                return
        self._buffer = data
        if len(data) > REPLY_HEAD_BYTES_MAX or not b"HTTP/1.".startswith(data[:7]):
            self._fail(Cause.BROKEN_REPLY, "the reply's head is malformed or too long")

    def _take_aside(self, head: ReplyHead, data: bytes) -> bool:
        """An interim reply, or the consent to a tunnel; whether the reply is still to come."""
        receiver = self._receiver
        assert receiver is not None
        if head.framing is _TUNNEL:
            if isinstance(receiver, Asker) and not self.transport.is_closing():
                receiver.agreed(head, data)
            else:
                self._fail(Cause.BROKEN_REPLY, "the reply is a tunnel that nobody asked for")
            return False
        self._interims += 1
        if self._interims > INTERIM_REPLIES_MAX:
            self._fail(Cause.BROKEN_REPLY, f"more than {INTERIM_REPLIES_MAX} interim replies")
            return False
        receiver.interim(head.status, head.head)
        return True

    def _begin_body(self, head: ReplyHead, data: bytes) -> None:
        self._head = head
        receiver = self._receiver
        assert receiver is not None
        self.deadline = self._sent_at + self._pool.total_timeout_s
        if head.framing in _COUNTED and len(data) == head.length:
            self._finish(clean=True)
            receiver.reply(head, data, True)
            return
        self._reader = reader_for(head.framing, head.length)
        taken = self._take(data)
        if taken is not None:
            receiver.reply(head, taken, self._reader.done)

    def _take_body(self, data: bytes) -> None:
        receiver, reader = self._receiver, self._reader
        assert receiver is not None
        assert reader is not None
        if self._pause_s:
            self.deadline = self._pool.now() + self._pause_s
        taken = self._take(data)
        if taken is not None:
            receiver.data(taken, reader.done)

    def _take(self, data: bytes) -> bytes | None:
        """What of `data` belongs to the body, or None after a failure."""
        assert self._reader is not None
        try:
            end = self._reader.take(data)
        except BadFraming as error:
            self._fail(Cause.BROKEN_REPLY, str(error))
            return None
        if self._reader.done:
            self._finish(clean=end == len(data))
        return data if end == len(data) else data[:end]

    def _take_last_words(self) -> None:
        """A server that refuses a long request may reset; uvloop stops reading when a write fails."""
        self._request_ended = False  # in no case is the connection of use again
        descriptor = self.transport.get_extra_info("socket").fileno()
        try:
            while self._receiver is not None and (rest := os.read(descriptor, FILE_PIECE_BYTES)):
                self.data_received(rest)
        except OSError:
            return

    def _finish(self, *, clean: bool) -> None:
        """The reply is complete: keep the connection if nobody can be in doubt about what comes next."""
        assert self._head is not None
        self._receiver = None
        if (
            clean
            and self._request_ended
            and self._head.keep_alive
            and not self.transport.get_write_buffer_size()
        ):
            self._pool.give_back(self)
        else:
            self.transport.abort()

    def _fail(self, cause: Cause, detail: str) -> None:
        receiver, self._receiver = self._receiver, None
        self.transport.abort()
        if receiver is not None:
            receiver.failed(self._failure(cause, detail))

    def _failure(self, cause: Cause, detail: str) -> Failure:
        latency_s = self._pool.now() - self._started
        return Failure(cause=cause, sent=True, detail=detail, latency_s=latency_s)
