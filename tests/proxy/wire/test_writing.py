"""The head and the body of a message on a real socket."""

import asyncio
from typing import cast

import pytest

from proxy.wire.writing import APART_BYTES_MIN, WRITE_BUFFER_BYTES, limit, write
from tests.proxy.wire.raw import Server, on_uvloop, serving

HEAD = b"POST /a HTTP/1.1\r\nHost: a\r\n\r\n"
LONG = 30_000_000
"""More than the kernel takes of a peer that does not read."""


class Writer(asyncio.Protocol):
    """Remembers how much was unsent when it was told to stop, and to go on."""

    def __init__(self) -> None:
        self.stopped_at = -1
        self.went_on_at = -1
        self.ready = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        limit(self.transport)

    def pause_writing(self) -> None:
        self.stopped_at = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        self.went_on_at = self.transport.get_write_buffer_size()
        self.ready.set()


async def connected(server: Server) -> Writer:
    loop = asyncio.get_running_loop()
    _, writer = await loop.create_connection(Writer, "127.0.0.1", server.port)
    return writer


@pytest.mark.parametrize("size", [0, 1, APART_BYTES_MIN - 1, APART_BYTES_MIN, 3_000_000])
def test_head_and_body_arrive_as_one_message_whatever_their_length(size: int) -> None:
    @on_uvloop
    async def run() -> None:
        async with serving() as server:
            writer = await connected(server)
            peer = await server.accept()
            body = (bytes(range(256)) * (size // 256 + 1))[:size]
            write(writer.transport, HEAD, body)
            assert await peer.exactly(len(HEAD) + size) == HEAD + body
            writer.transport.abort()

    run()


@on_uvloop
async def test_a_writer_stops_at_the_high_mark_and_goes_on_at_the_low_one() -> None:
    async with serving() as server:
        writer = await connected(server)
        peer = await server.accept()
        write(writer.transport, HEAD, bytes(LONG))
        assert writer.stopped_at > WRITE_BUFFER_BYTES[1]
        assert not writer.ready.is_set()
        await peer.exactly(len(HEAD) + LONG)
        await writer.ready.wait()
        assert writer.went_on_at <= WRITE_BUFFER_BYTES[0]
        writer.transport.abort()
