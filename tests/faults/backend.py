"""A backend of raw bytes that answers well, except while a fault is set: then it does just that harm."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

DRIP_SECONDS = 0.04
"""Between two bytes of a reply that drips."""

LONG = b"long" * 16_384
"""More than the sidecar keeps of a reply (`reply_bytes_max` and `compare.body_bytes_max` in sidecar.py)."""

MEASURED = b"measured"
"""The body of replies that go wrong: what its Content-Length says."""

INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
PIECE = b"endless " * 4096

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nidempotency-key: *([^\r]*)", re.IGNORECASE)


class Fault(StrEnum):
    """What a backend does to every request while it is set."""

    REFUSE = "refuse the connection"
    HANG = "accept and hang"
    RESET_BEFORE_REPLY = "reset before the reply"
    RESET_MID_BODY = "reset in the middle of the body"
    RESET_LONG_BODY = "reset in the middle of a long body"
    STALL_MID_BODY = "half a reply, then nothing"
    DRIP_HEAD = "drip the head"
    DRIP_BODY = "drip the body"
    GARBAGE = "garbage"
    INTERIM_FLOOD = "1xx without end"
    INTERIM_DRIP = "1xx now and then"
    FEWER = "fewer bytes than Content-Length"
    MORE = "more bytes than Content-Length"
    EARLY = "a reply before the body is read"
    CLOSE_AT_REUSE = "close at the second request of a connection"
    ENDLESS = "a body without end"


def good_reply(method: str, body: bytes) -> bytes:
    """What a healthy backend answers: the request's body, under odd header names."""
    told = b"%s got " % method.encode() + body
    return (
        b"HTTP/1.1 200 Fine\r\nX-One: 1\r\nx-one:  2\r\nContent-Length: %d\r\n\r\n" % len(told)
        + told
    )


def head(length: int) -> bytes:
    """The head of a reply that will go wrong."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


@dataclass(frozen=True)
class Seen:
    """One request that arrived whole."""

    method: str
    target: str
    body: bytes
    key: bytes


class Gone(Exception):
    """The connection is of no more use."""


class Talk:
    """One connection at the backend's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        if self.writer.is_closing():  # uvloop's transport raises then
            raise Gone
        self.writer.write(data)
        await self.writer.drain()

    async def left(self) -> None:
        """Wait until the other end is gone."""
        while await self.reader.read(65536):
            pass
        raise Gone

    async def drip(self, data: bytes) -> None:
        for at in range(len(data)):
            await self.send(data[at : at + 1])
            await asyncio.sleep(DRIP_SECONDS)

    def reset(self) -> None:
        """End with RST."""
        if not self.writer.is_closing():
            peer = self.writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        raise Gone

    def close(self) -> None:
        self.writer.close()
        raise Gone


async def hang(talk: Talk) -> None:
    await talk.left()


async def reset_before_reply(talk: Talk) -> None:
    talk.reset()


async def reset_mid_body(talk: Talk) -> None:
    await talk.send(head(len(MEASURED)) + MEASURED[:4])
    await asyncio.sleep(DRIP_SECONDS)  # so that the reset does not overtake it
    talk.reset()


async def reset_long_body(talk: Talk) -> None:
    await talk.send(head(2 * len(LONG)) + LONG)
    await asyncio.sleep(DRIP_SECONDS)
    talk.reset()


async def stall_mid_body(talk: Talk) -> None:
    await talk.send(head(len(MEASURED)) + MEASURED[:4])
    await talk.left()


async def drip_head(talk: Talk) -> None:
    await talk.drip(head(len(MEASURED)) + MEASURED)


async def drip_body(talk: Talk) -> None:
    await talk.send(head(4 * len(MEASURED)))
    await talk.drip(4 * MEASURED)


async def garbage(talk: Talk) -> None:
    await talk.send(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
    await talk.left()


async def interim_flood(talk: Talk) -> None:
    while True:
        await talk.send(INTERIM)
        await asyncio.sleep(0)


async def interim_drip(talk: Talk) -> None:
    while True:
        await talk.send(INTERIM)
        await asyncio.sleep(DRIP_SECONDS)


async def fewer(talk: Talk) -> None:
    await talk.send(head(len(MEASURED)) + MEASURED[:-1])
    talk.close()


async def more(talk: Talk) -> None:
    smuggled = good_reply("GET", b"what nobody asked for")
    await talk.send(head(len(MEASURED)) + MEASURED + smuggled)


async def early(talk: Talk) -> None:
    await talk.send(b"HTTP/1.1 413 Too Long\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!")
    talk.close()


async def close_at_reuse(talk: Talk) -> None:
    talk.close()


async def endless(talk: Talk) -> None:
    await talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await talk.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))


HARMS: dict[Fault, Callable[[Talk], Awaitable[None]]] = {
    Fault.HANG: hang,
    Fault.RESET_BEFORE_REPLY: reset_before_reply,
    Fault.RESET_MID_BODY: reset_mid_body,
    Fault.RESET_LONG_BODY: reset_long_body,
    Fault.STALL_MID_BODY: stall_mid_body,
    Fault.DRIP_HEAD: drip_head,
    Fault.DRIP_BODY: drip_body,
    Fault.GARBAGE: garbage,
    Fault.INTERIM_FLOOD: interim_flood,
    Fault.INTERIM_DRIP: interim_drip,
    Fault.FEWER: fewer,
    Fault.MORE: more,
    Fault.EARLY: early,
    Fault.CLOSE_AT_REUSE: close_at_reuse,
    Fault.ENDLESS: endless,
}
"""REFUSE is not here: it is a socket that does not listen."""


class Backend:
    """One side. `fault` may be set and taken away at any time; `heal` takes it away."""

    def __init__(self) -> None:
        self.connections = 0
        self.fault: Fault | None = None
        self.ended = asyncio.Event()  # a connection that a fault was done to has ended
        self.seen: list[Seen] = []
        self._listening: asyncio.Server | None = None
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._talks: set[asyncio.Task[None]] = set()

    async def heal(self) -> None:
        """Answer well from now on."""
        self.fault = None
        if self._listening is None:
            self._listening = await asyncio.start_server(self._connected, sock=self._socket)

    async def close(self) -> None:
        if self._listening is None:
            self._socket.close()
        else:
            self._listening.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        if self._listening is not None:
            await self._listening.wait_closed()

    def bodies(self) -> list[bytes]:
        """The bodies that arrived, in order; those sent again count once if nothing came between."""
        found = [seen.body for seen in self.seen]
        return [body for at, body in enumerate(found) if at == 0 or found[at - 1] != body]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            await self._serve(Talk(reader, writer))
        except (Gone, OSError, asyncio.IncompleteReadError):
            writer.close()
        except asyncio.CancelledError:  # by `close`: for the streams of asyncio it must not show
            writer.transport.abort()
        finally:
            self._talks.discard(task)
            if self.fault is not None:
                self.ended.set()

    async def _serve(self, talk: Talk) -> None:
        used = False
        while True:
            raw = await talk.reader.readuntil(b"\r\n\r\n")
            if self.fault is Fault.EARLY:
                await early(talk)
            method = await self._see(talk, raw)
            if self.fault is None or (self.fault is Fault.CLOSE_AT_REUSE and not used):
                await talk.send(good_reply(method, self.seen[-1].body))
            else:
                await HARMS[self.fault](talk)
            used = True

    async def _see(self, talk: Talk, raw: bytes) -> str:
        measured, key = _LENGTH.search(raw), _KEY.search(raw)
        body = await talk.reader.readexactly(int(measured[1]) if measured else 0)
        method, target, _ = raw.decode("latin-1").split(" ", 2)
        self.seen.append(Seen(method, target, body, key[1] if key else b""))
        return method


@asynccontextmanager
async def backends() -> AsyncIterator[tuple[Backend, Backend]]:
    """Legacy and new; they do not listen yet, for that they want to be healed."""
    pair = Backend(), Backend()
    try:
        yield pair
    finally:
        for backend in pair:
            await backend.close()
