"""One connection to a backend, one exchange at a time.

Law: nothing is ever sent twice, and a reply that is not clean HTTP/1.x is a `Failure` that closes
the connection: what follows on it could be anybody's.
"""

import asyncio
from pathlib import Path
from typing import Protocol, cast

from proxy.wire.framing import BadFraming, Reader, is_reply_head, reader_for
from rules.framing import ReplyHead, parse_reply
from rules.message import Cause, Failure, Framing

REPLY_HEAD_BYTES_MAX = 65536
"""Twice what common servers send at the most (nginx 4-32 KiB buffers, Node 16 KiB)."""

FILE_PIECE_BYTES = 262144
"""How much of a spool file is read and written at a time: uvloop's own largest read."""


class Receiver(Protocol):
    """Who gets the reply of one exchange. After `ended`, or `failed`, nothing more comes."""

    def reply(self, head: ReplyHead, data: bytes, ended: bool) -> None:
        """The head, and what of the body came with it."""

    def data(self, data: bytes, ended: bool) -> None:
        """More of the body."""

    def failed(self, failure: Failure) -> None:
        """No reply, or no complete one."""

    def writable(self, ready: bool) -> None:
        """Whether the backend takes more of the request."""


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
        "_buffer", "_flushed", "_head", "_method", "_pool", "_reader", "_receiver", "_request_ended",
        "_started", "deadline", "idle_since", "transport",
    )  # fmt: skip

    def __init__(self, pool: Keeper) -> None:
        self.transport: asyncio.Transport
        self.deadline = 0.0
        self.idle_since = 0.0
        self._pool = pool
        self._receiver: Receiver | None = None
        self._method = ""
        self._started = 0.0
        self._buffer = b""
        self._head: ReplyHead | None = None
        self._reader: Reader | None = None
        self._request_ended = False
        self._flushed: asyncio.Event | None = None

    def start(self, receiver: Receiver, method: str, data: bytes, *, ended: bool) -> None:
        """Begin an exchange by writing `data`; `ended`: it is the whole request."""
        assert self._receiver is None
        self._receiver = receiver
        self._method = method
        self._request_ended = ended
        self._head = None
        self._started = self._pool.now()
        self.deadline = self._started + self._pool.first_byte_timeout_s
        self.transport.write(data)

    def write(self, data: bytes, *, ended: bool) -> None:
        """More of the request."""
        if self._receiver is None:
            return  # the reply came first, or the exchange failed
        self._request_ended = ended
        self.deadline = self._pool.now() + self._pool.first_byte_timeout_s
        if data:
            self.transport.write(data)

    async def write_file(self, path: Path) -> None:
        """The rest of the request from a file, as fast as the backend takes it."""
        self._flushed = asyncio.Event()
        self._flushed.set()
        with path.open("rb") as file:
            while self._receiver is not None and (piece := file.read(FILE_PIECE_BYTES)):
                self.write(piece, ended=False)
                await self._flushed.wait()
        self._flushed = None
        self.write(b"", ended=True)

    def serves(self, receiver: Receiver) -> bool:
        """Whether the exchange under way is this receiver's."""
        return self._receiver is receiver

    def hand_over(self, receiver: Receiver) -> None:
        """The rest of the reply goes to this receiver."""
        self._receiver = receiver
        self.flow(reading=True)

    def flow(self, *, reading: bool) -> None:
        """Take the reply from the socket, or leave it there for now."""
        if self.transport.is_closing():
            return
        if reading:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def abandon(self) -> None:
        """End the exchange without its reply; the connection is of no more use."""
        self._receiver = None
        self.transport.abort()

    def expire(self) -> None:
        """The deadline has passed."""
        self._fail(Cause.TIMEOUT, "no reply in time")

    def now(self) -> float:
        """Monotonic seconds, on the pool's clock."""
        return self._pool.now()

    @property
    def is_busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._receiver is not None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        if self._receiver is None:
            self.transport.abort()  # nobody asked: the server is out of step
        elif self._head is None:
            self._take_head(self._buffer + data if self._buffer else data)
        else:
            self._take_body(data)

    def eof_received(self) -> bool:
        """Part of asyncio.Protocol: False closes the transport."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        self._pool.forget(self)
        if self._flushed is not None:
            self._flushed.set()
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if self._head is not None and self._head.framing is Framing.CLOSE and error is None:
            receiver.data(b"", True)
        else:
            detail = "the connection ended before the reply did"
            receiver.failed(self._failure(Cause.RESET, str(error or detail)))

    def pause_writing(self) -> None:
        """Part of asyncio.Protocol."""
        if self._flushed is not None:
            self._flushed.clear()
        elif self._receiver is not None:
            self._receiver.writable(False)

    def resume_writing(self) -> None:
        """Part of asyncio.Protocol."""
        if self._flushed is not None:
            self._flushed.set()
        elif self._receiver is not None:
            self._receiver.writable(True)

    # the reply

    def _take_head(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self._buffer = data
            if len(data) > REPLY_HEAD_BYTES_MAX:
                self._fail(Cause.BROKEN_REPLY, "the reply's head is too long")
            return
        self._buffer = b""
        raw, rest = data[:end], data[end:]
        head = parse_reply(raw, self._method)
        if head is None or head.status == 101 or not is_reply_head(raw):
            self._fail(Cause.BROKEN_REPLY, "the reply's head is malformed")
        elif head.status < 200:
            if rest:
                self._take_head(rest)
        else:
            self._head = head
            self._reader = reader_for(head.framing, head.length)
            self._begin_body(head, rest)

    def _begin_body(self, head: ReplyHead, data: bytes) -> None:
        assert self._reader is not None
        assert self._receiver is not None
        self.deadline = self._started + self._pool.total_timeout_s
        try:
            end = self._reader.take(data, 0)
        except BadFraming as error:
            self._fail(Cause.BROKEN_REPLY, str(error))
            return
        ended = self._reader.done
        receiver = self._receiver
        if ended:
            self._finish(clean=end == len(data))
        receiver.reply(head, data if end == len(data) else data[:end], ended)

    def _take_body(self, data: bytes) -> None:
        assert self._reader is not None
        assert self._receiver is not None
        try:
            end = self._reader.take(data, 0)
        except BadFraming as error:
            self._fail(Cause.BROKEN_REPLY, str(error))
            return
        ended = self._reader.done
        receiver = self._receiver
        if ended:
            self._finish(clean=end == len(data))
        receiver.data(data if end == len(data) else data[:end], ended)

    def _finish(self, *, clean: bool) -> None:
        assert self._head is not None
        self._receiver = None
        if clean and self._request_ended and self._head.keep_alive:
            self._pool.give_back(self)
        else:
            self.transport.close()

    def _fail(self, cause: Cause, detail: str) -> None:
        receiver, self._receiver = self._receiver, None
        self.transport.abort()
        if receiver is not None:
            receiver.failed(self._failure(cause, detail))

    def _failure(self, cause: Cause, detail: str) -> Failure:
        latency_s = self._pool.now() - self._started
        return Failure(cause=cause, sent=True, detail=detail, latency_s=latency_s)
