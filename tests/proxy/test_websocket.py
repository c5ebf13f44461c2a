"""WebSockets through a whole sidecar, with a real client and a real server on both ends (RFC 6455)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMessage, WSMsgType, web
from aiohttp.test_utils import TestServer

from tests.proxy.world import World, world

MIB = 1024 * 1024
MESSAGE_BYTES_MAX = 8 * MIB
CLOSE_CODE = 4001


class Socket:
    """A server of one WebSocket: it answers each message with the same, pings and closes when told to."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.pings: list[bytes] = []
        self.codes: list[int | None] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(status=426, text="speak WebSocket")
        socket = web.WebSocketResponse(
            autoping=False, max_msg_size=MESSAGE_BYTES_MAX, protocols=("chat",)
        )
        await socket.prepare(request)
        async for message in socket:
            await self._answer(socket, message)
        self.codes.append(socket.close_code)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, message: WSMessage) -> None:
        if message.type is WSMsgType.PING:
            self.pings.append(message.data)
            await socket.pong(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.data == "go":
            await socket.close(code=CLOSE_CODE, message=b"as you wish")
        elif message.data == "ping me":
            await socket.ping(b"are you there")
        else:
            await socket.send_str(message.data)


@asynccontextmanager
async def connected(directory: Path) -> AsyncIterator[tuple[World, Socket, str]]:
    """A sidecar whose legacy backend serves a WebSocket; its new one must not hear of it."""
    served = Socket()
    application = web.Application()
    application.router.add_get("/socket", served.serve)
    server = TestServer(application)
    await server.start_server()
    url = f"http://127.0.0.1:{server.port}"
    try:
        async with world(directory, TWINWRITE_BACKENDS_LEGACY_URL=url) as w:
            yield w, served, f"{w.url}/socket?room=1"
            await w.delivered()
            assert w.new.seen == []
    finally:
        await server.close()


async def test_a_handshake_passes_with_all_its_fields(tmp_path: Path) -> None:
    async with connected(tmp_path) as (w, served, url), aiohttp.ClientSession() as session:
        async with session.ws_connect(url, protocols=("chat",), compress=15) as socket:
            assert socket.protocol == "chat"
            await socket.send_str("hello " * 1000)
            assert await socket.receive_str() == "hello " * 1000
            assert w.app.tally.tunnels == 1
        (request,) = served.requests
        assert request.query_string == "room=1"
        assert request.headers["Twinwrite-Hop"] == w.app.instance
        assert request.headers.getall("Connection") == ["Upgrade"]


async def test_text_and_bytes_of_any_length_pass(tmp_path: Path) -> None:
    async with (
        connected(tmp_path) as (_, _, url),
        aiohttp.ClientSession() as session,
        session.ws_connect(url, max_msg_size=MESSAGE_BYTES_MAX) as socket,
    ):
        for text in ("", "a", "Grüße", "x" * 126, "x" * 65536):
            await socket.send_str(text)
            assert await socket.receive_str() == text
        for data in (b"", bytes(range(256)), b"\0" * MIB, b"\xff" * (MIB + 1)):
            await socket.send_bytes(data)
            assert await socket.receive_bytes() == data


async def test_pings_pass_both_ways(tmp_path: Path) -> None:
    async with (
        connected(tmp_path) as (_, served, url),
        aiohttp.ClientSession() as session,
        session.ws_connect(url, autoping=False) as socket,
    ):
        await socket.ping(b"hello")
        answer = await socket.receive()
        assert (answer.type, answer.data, served.pings) == (WSMsgType.PONG, b"hello", [b"hello"])
        await socket.send_str("ping me")
        asked = await socket.receive()
        assert (asked.type, asked.data) == (WSMsgType.PING, b"are you there")
        await socket.pong(asked.data)


async def test_a_client_that_closes_is_heard_with_its_reason(tmp_path: Path) -> None:
    async with connected(tmp_path) as (w, served, url), aiohttp.ClientSession() as session:
        async with session.ws_connect(url) as socket:
            await socket.close(code=CLOSE_CODE)
        async with asyncio.timeout(5):
            while not served.codes or w.app.clients.open:
                await asyncio.sleep(0.002)
        assert served.codes == [CLOSE_CODE]


async def test_a_server_that_closes_is_heard_with_its_reason(tmp_path: Path) -> None:
    async with (
        connected(tmp_path) as (_, _, url),
        aiohttp.ClientSession() as session,
        session.ws_connect(url) as socket,
    ):
        await socket.send_str("go")
        last = await socket.receive()
        assert (last.type, last.data, last.extra) == (WSMsgType.CLOSE, CLOSE_CODE, "as you wish")
        assert socket.close_code == CLOSE_CODE


async def test_twenty_sockets_at_once_do_not_mix(tmp_path: Path) -> None:
    async def talk(session: aiohttp.ClientSession, url: str, number: int) -> None:
        async with session.ws_connect(url) as socket:
            for count in range(20):
                await socket.send_str(f"{number} {count} " + "x" * number * 1000)
                assert (await socket.receive_str()).startswith(f"{number} {count} ")

    async with connected(tmp_path) as (w, served, url), aiohttp.ClientSession() as session:
        await asyncio.gather(*(talk(session, url, number) for number in range(20)))
        assert (len(served.requests), w.app.tally.tunnels) == (20, 20)
        assert (w.app.tally.relayed, w.app.tally.accepted) == (20, 0)


async def test_a_server_that_refuses_is_heard(tmp_path: Path) -> None:
    async with connected(tmp_path) as (w, _, url), aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="404"):
            await session.ws_connect(url.replace("/socket", "/none"))
        async with session.get(url) as reply:
            assert (reply.status, await reply.text()) == (426, "speak WebSocket")
        assert w.app.tally.tunnels == 0
