"""A client of raw bytes: it says what it got, to the byte, and how it ended."""

import asyncio
import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class End(StrEnum):
    """How an answer ended."""

    KEPT = "complete, and the connection stays"
    CLOSED = "complete, and the connection is closed"
    BROKEN = "the connection ended before the answer did"
    OPEN = "the answer goes on"


@dataclass(frozen=True)
class Answer:
    """What the client got to one request. `raw` is all of it, without interim answers."""

    status: int
    raw: bytes
    end: End
    seconds: float

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]


class Client:
    """One connection, or another one where the last is of no more use."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.connections = 0

    async def ask(
        self, target: str, body: bytes, *, patience: float = 5.0, enough: int | None = None
    ) -> Answer:
        """POST a body; the answer, up to `enough` bytes or `patience` seconds."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
            self.connections += 1
        reader, writer = self._streams
        head = f"POST {target} HTTP/1.1\r\nHost: shop\r\nContent-Length: {len(body)}\r\n\r\n"
        sending = asyncio.create_task(_send(writer, head.encode() + body))
        started = monotonic()
        answer = await _answer(reader, started, patience, enough)
        await sending
        if answer.end is not End.KEPT:
            await self.leave()
        return answer

    async def leave(self) -> None:
        """End the connection with RST: a close alone may be that of one half."""
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            if not writer.transport.is_closing():
                peer = writer.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    with suppress(OSError, RuntimeError):  # uvloop's for a closed transport; the answer says why
        writer.write(data)
        await writer.drain()


async def _answer(
    reader: asyncio.StreamReader, started: float, patience: float, enough: int | None
) -> Answer:
    head, body, end = b"", b"", End.OPEN
    try:
        async with asyncio.timeout(patience):
            head = await reader.readuntil(b"\r\n\r\n")
            while head.startswith(b"HTTP/1.1 1"):
                head = await reader.readuntil(b"\r\n\r\n")
            measured = _LENGTH.search(head)
            wanted = int(measured[1]) if measured and enough is None else enough or 0
            while len(body) < wanted:
                piece = await reader.read(min(wanted - len(body), 65536))
                if not piece:
                    raise ConnectionResetError
                body += piece
            if enough is None:
                end = await _end(reader, head)
    except TimeoutError:
        end = End.OPEN
    except (ConnectionError, asyncio.IncompleteReadError):
        end = End.BROKEN
    status = int(head[9:12]) if head else 0
    return Answer(status, head + body, end, monotonic() - started)


async def _end(reader: asyncio.StreamReader, head: bytes) -> End:
    if b"\r\nconnection: close" not in head.lower():
        return End.KEPT
    assert await reader.read() == b""
    return End.CLOSED
