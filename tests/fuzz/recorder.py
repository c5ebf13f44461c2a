"""A backend that reads with llhttp, remembers what it read, and answers so that answers can be told apart."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

from tests.fuzz.oracle import Llhttp, Message, Refused, Stricter


def mark(message: Message) -> bytes:
    """What a recorder answers: it names the one request that it answers."""
    return hashlib.sha256(repr((message.start, message.body)).encode()).hexdigest().encode()


def answer(message: Message) -> bytes:
    """A whole reply; to HEAD one that has no body whoever asks."""
    if message.start[0] == b"HEAD":
        return b"HTTP/1.1 204 No Content\r\nX-Mark: %b\r\n\r\n" % mark(message)
    return b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + mark(message)


class Recorder:
    """One side: every request that arrived whole, in order, and what llhttp did not take for HTTP."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.refused: list[str] = []
        self.script: tuple[bytes, bool] | None = (
            None  # to send instead of an answer; whether to end then
        )
        self.port = 0


class Line(asyncio.Protocol):
    """One connection to a recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._read = Llhttp()
        self._answered = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._read.feed(data)
        except Stricter:
            self._transport.abort()
        except Refused as error:
            self._recorder.refused.append(str(error))
            self._transport.abort()
        whole = [message for message in self._read.messages if message.complete]
        for message in whole[self._answered :]:
            self._recorder.messages.append(message)
            self._answer(message)
        self._answered = len(whole)

    def _answer(self, message: Message) -> None:
        if self._transport.is_closing():  # uvloop's transport raises then
            return
        script = self._recorder.script
        if script is None:
            self._transport.write(answer(message))
            return
        data, ends = script
        self._recorder.script = None
        self._transport.write(data)
        if ends:
            self._transport.write_eof()


@asynccontextmanager
async def recorders() -> AsyncIterator[tuple[Recorder, Recorder]]:
    """Legacy and new."""
    pair = Recorder(), Recorder()
    loop, servers = asyncio.get_running_loop(), []
    for recorder in pair:
        servers.append(await loop.create_server(partial(Line, recorder), "127.0.0.1", 0))
        recorder.port = servers[-1].sockets[0].getsockname()[1]
    try:
        yield pair
    finally:
        for server in servers:
            server.close()
