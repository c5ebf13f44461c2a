"""Tunnels through a whole sidecar: who is asked, who agrees, who never hears of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.proxy.flow.foreground import Client, Sidecar, sidecar
from tests.proxy.samples import until

HELLO = "Connection: Upgrade\r\nUpgrade: chat\r\n"
SWITCHED = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
CONNECTED = b"HTTP/1.1 200 Connected\r\n\r\n"
REFUSED = b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"
CONNECT = b"CONNECT pay:443 HTTP/1.1\r\nHost: pay:443\r\n\r\n"
ALLOWED = {"LISTEN_CONNECT": "true"}


@dataclass
class Talker:
    """A backend that answers each head with `reply`, and echoes whatever comes after a consent."""

    reply: bytes = SWITCHED
    heads: list[bytes] = field(default_factory=list)
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.reply)
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def talking(
    directory: Path, reply: bytes = SWITCHED, settings: dict[str, str] | None = None
) -> AsyncIterator[tuple[Sidecar, Talker]]:
    """A sidecar whose legacy backend is a talker; its new one is as always."""
    talker = Talker(reply)
    server = await asyncio.start_server(talker.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with sidecar(directory, BACKENDS_LEGACY_URL=url, **(settings or {})) as s:
        yield s, talker
        assert s.new.seen == []
    await until(lambda: not talker.open)
    server.close()
    await server.wait_closed()


async def echoes(client: Client) -> None:
    """What the client says comes back, whatever it is."""
    for data in (b"\0\xff", b"PUT /a HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\n\r\nx"):
        client.send(data)
        assert await client.exactly(len(data)) == data


async def test_an_upgrade_becomes_a_tunnel_to_the_primary(tmp_path: Path) -> None:
    async with talking(tmp_path) as (s, talker), s.client() as client:
        client.ask("GET", "/chat?a", fields=HELLO)
        assert (await client.head()).raw == SWITCHED
        await echoes(client)
        assert talker.heads[0].startswith(b"GET /chat?a HTTP/1.1\r\nHost: shop\r\n")
        assert talker.heads[0].endswith(b"\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
        tally = s.app.tally
        assert (tally.tunnels, tally.relayed, tally.accepted) == (1, 1, 0)
        client.end()
        assert await client.ended() == b""
        await until(lambda: not s.app.clients.open)


async def test_connect_becomes_a_tunnel_to_the_primary(tmp_path: Path) -> None:
    async with (
        talking(tmp_path, reply=CONNECTED, settings=ALLOWED) as (s, talker),
        s.client() as client,
    ):
        client.send(CONNECT + b"early")
        assert (await client.head()).raw == CONNECTED
        assert await client.exactly(5) == b"early"
        await echoes(client)
        assert talker.heads[0].startswith(CONNECT[:-2])
        assert s.app.tally.tunnels == 1


@pytest.mark.parametrize("reply", [REFUSED, REFUSED.replace(b"403", b"200")])
async def test_a_primary_that_does_not_switch_is_answered_for_as_ever(
    tmp_path: Path, reply: bytes
) -> None:
    async with talking(tmp_path, reply=reply) as (s, _), s.client() as client:
        client.ask("GET", "/chat", fields=HELLO)
        assert (await client.reply()).body == b"no"
        assert (s.app.tally.tunnels, s.app.tally.relayed) == (0, 1)
        assert len(s.app.clients.open) == 1  # the next request may come


async def test_after_a_refused_connect_the_client_is_sent_away(tmp_path: Path) -> None:
    async with (
        talking(tmp_path, reply=REFUSED, settings=ALLOWED) as (s, _),
        s.client() as client,
    ):
        client.send(CONNECT + b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")  # meant for the tunnel
        got = await client.reply()
        assert (got.status, got.headers["connection"]) == (403, "close")
        assert await client.ended() == b""
        assert s.app.clients.requests == 1


async def test_a_switch_to_what_was_not_asked_for_is_502(tmp_path: Path) -> None:
    switched = SWITCHED.replace(b"chat", b"h2c")
    async with talking(tmp_path, reply=switched) as (s, talker), s.client() as client:
        client.ask("GET", "/chat", fields=HELLO)
        got = await client.reply()
        assert (got.status, "nobody asked for" in got.detail) == (502, True)
        assert s.app.tally.tunnels == 0
        await until(lambda: not talker.open)


@pytest.mark.parametrize("reply", [CONNECTED, REFUSED])
async def test_connect_is_refused_unless_it_is_allowed(tmp_path: Path, reply: bytes) -> None:
    async with talking(tmp_path, reply=reply) as (s, talker), s.client() as client:
        client.send(CONNECT + b"POST /a HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n")
        got = await client.reply()
        assert (got.status, "listen.connect" in got.detail) == (501, True)
        assert await client.ended() == b""
        assert (talker.heads, s.app.tally.tunnels, s.app.tally.accepted) == ([], 0, 0)


async def test_a_primary_that_is_not_there_is_502(tmp_path: Path) -> None:
    async with sidecar(tmp_path, **ALLOWED) as s:
        await s.legacy.stop()
        assert (await s.ask("GET", "/chat", fields=HELLO)).status == 502
        async with s.client() as client:
            client.send(CONNECT)
            assert (await client.reply()).status == 502


@pytest.mark.parametrize(
    ("method", "toml"), [("PUT", ""), ("GET", '[[routes]]\nname = "a"\nmirror = "always"')]
)
async def test_what_is_mirrored_asks_for_no_tunnel(tmp_path: Path, method: str, toml: str) -> None:
    async with sidecar(tmp_path, toml) as s:
        assert (await s.ask(method, "/a", fields=HELLO)).status == 200
        await s.done()
        for backend in (s.legacy, s.new):
            assert not {"upgrade", "connection"} & set(backend.seen[0].headers)
        assert s.app.tally.tunnels == 0


async def test_a_write_that_is_not_mirrored_may_ask_for_one(tmp_path: Path) -> None:
    async with talking(tmp_path, settings={"STAGE": "legacy_only"}) as (s, _), s.client() as client:
        client.ask("POST", "/attach", fields=HELLO)
        assert (await client.head()).status == 101
        await echoes(client)
        assert (s.skips(), s.app.tally.tunnels) == ({"stage": 1}, 1)


async def test_http_2_is_not_asked_for(tmp_path: Path) -> None:
    fields = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    async with sidecar(tmp_path) as s:
        assert (await s.ask("GET", "/a", fields=fields)).status == 200
        found = set(s.legacy.seen[0].headers)
        assert not {"upgrade", "connection", "http2-settings"} & found


async def test_a_silent_tunnel_ends(tmp_path: Path) -> None:
    limit = {"LISTEN_TUNNEL_IDLE_TIMEOUT_MS": "10"}
    async with talking(tmp_path, settings=limit) as (s, talker), s.client() as client:
        client.ask("GET", "/chat", fields=HELLO)
        assert (await client.head()).status == 101
        assert await client.ended() == b""
        await until(lambda: not talker.open)


async def test_a_tunnel_takes_no_place_in_the_pool(tmp_path: Path) -> None:
    limit = {"BACKENDS_LEGACY_CONNECTIONS_MAX": "1"}
    async with (
        talking(tmp_path, settings=limit) as (s, talker),
        s.client() as one,
        s.client() as two,
    ):
        for client in (one, two):
            client.ask("GET", "/chat", fields=HELLO)
            assert (await client.head()).status == 101
        await echoes(one)
        await echoes(two)
        assert (talker.open, s.app.tally.tunnels) == (2, 2)


async def test_a_drain_waits_for_a_tunnel_until_its_deadline(tmp_path: Path) -> None:
    limit = {"LISTEN_DRAIN_TIMEOUT_MS": "100"}
    async with talking(tmp_path, settings=limit) as (s, talker), s.client() as client:
        client.ask("GET", "/chat", fields=HELLO)
        assert (await client.head()).status == 101
        stopping = asyncio.create_task(s.app.stop())
        await until(lambda: s.app.clients.draining)
        await echoes(client)
        await stopping
        assert await client.ended() == b""
        await until(lambda: not talker.open)
