"""`Expect: 100-continue` and interim replies through a whole sidecar, mirrored and not (RFC 9110 10.1.1)."""

import asyncio
from pathlib import Path

import pytest

from rules.message import Side
from tests.proxy.flow.foreground import Client, sidecar
from tests.proxy.flow.scripted import Answer, Gate
from tests.proxy.samples import until

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
EXPECT = "Expect: 100-continue\r\n"


def waits(client: Client, length: int = 4, method: str = "PUT") -> None:
    """Send a head, and not the body."""
    client.ask(method, "/a", fields=f"{EXPECT}Content-Length: {length}\r\n")


class Hinting(Answer):
    """An answer with interim replies before it."""

    def head(self) -> bytes:
        return CONTINUE + HINTS + super().head()


async def test_a_mirrored_write_is_told_to_continue_by_the_sidecar_alone(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s, s.client() as client:
        waits(client)
        assert (await client.head()).raw == CONTINUE
        assert s.legacy.seen == s.new.seen == []
        client.send(b"body")
        assert (await client.reply()).status == 200
        await s.done()
        for backend in (s.legacy, s.new):
            assert "expect" not in backend.seen[0].headers
            assert backend.seen[0].body == b"body"


async def test_a_mirrored_write_in_chunks_is_told_to_continue(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s, s.client() as client:
        client.ask("PUT", "/a", fields=f"{EXPECT}Transfer-Encoding: chunked\r\n")
        assert (await client.head()).raw == CONTINUE
        client.send(b"4\r\nbody\r\n0\r\n\r\n")
        assert (await client.reply()).status == 200
        await s.done()


async def test_who_does_not_wait_is_not_told(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s, s.client() as client:
        client.ask("PUT", "/a", b"body", EXPECT)
        assert (await client.head()).status == 200
        await s.done()


async def test_interim_replies_to_a_mirrored_write_are_relayed_and_100_is_not_said_twice(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path) as s, s.client() as client:
        s.legacy.always = s.new.always = Hinting()
        waits(client)
        assert (await client.head()).raw == CONTINUE
        client.send(b"body")
        assert (await client.head()).raw == HINTS
        assert (await client.reply()).status == 200
        await s.done()  # the secondary's were nobody's
        client.ask("PUT", "/a", b"body")
        assert (await client.head()).raw == CONTINUE
        assert (await client.head()).raw == HINTS
        assert (await client.reply()).status == 200
        await s.done(2)


async def test_interim_replies_to_a_spooled_write_are_relayed(tmp_path: Path) -> None:
    async with (
        sidecar(tmp_path, LISTEN_SPOOL_MEMORY_BYTES_MAX="2") as s,
        s.client() as client,
    ):
        s.legacy.always = Hinting()
        client.ask("PUT", "/a", b"body")
        assert (await client.head()).raw == CONTINUE
        assert (await client.head()).raw == HINTS
        assert (await client.reply()).status == 200
        await s.done()


async def test_interim_replies_do_not_wait_for_the_reply(tmp_path: Path) -> None:
    released = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"body")
        writer.write(HINTS)
        await released.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with sidecar(tmp_path, BACKENDS_LEGACY_URL=url) as s, s.client() as client:
        client.ask("PUT", "/a", b"body")
        assert (await client.head()).raw == HINTS
        released.set()
        assert (await client.reply()).status == 200
        await s.done()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("settings", "length", "status"),
    [
        ({"LISTEN_BODY_BYTES_MAX": "3"}, 4, 413),
        ({"JOURNAL_BACKLOG_ROWS_MAX": "1", "KILL_SWITCH": "1"}, 4, 503),
        ({"LISTEN_IN_FLIGHT_MAX": "1"}, 4, 503),
    ],
    ids=["too long", "backlog", "in flight"],
)
async def test_who_is_refused_was_not_told_to_continue(
    tmp_path: Path, settings: dict[str, str], length: int, status: int
) -> None:
    async with sidecar(tmp_path, **settings) as s, s.client() as client:
        gate = Gate()
        if "LISTEN_IN_FLIGHT_MAX" in settings:
            s.legacy.always = gate
        first = asyncio.create_task(s.ask("PUT", "/b", b"x"))
        await until(lambda: gate.held or first.done())
        waits(client, length)
        assert (await client.reply()).status == status
        gate.open()
        assert (await first).status == 200
        await s.idle()


async def test_a_client_that_is_told_to_continue_and_goes_away_is_aborted(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        async with s.client() as client:
            waits(client)
            await client.head()
        await until(lambda: s.states() == {"aborted": 1})
        assert s.legacy.seen == []


async def test_what_is_not_mirrored_waits_for_the_primarys_word(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\nExpect: 100-continue\r\n" in head
        writer.write(CONTINUE)
        assert await reader.readexactly(4) == b"body"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = {"STAGE": "legacy_only", "BACKENDS_LEGACY_URL": url}
    async with sidecar(tmp_path, **settings) as s, s.client() as client:
        waits(client)
        assert (await client.head()).raw == CONTINUE
        client.send(b"body")
        assert (await client.reply()).status == 200
    server.close()
    await server.wait_closed()


async def test_nothing_follows_a_write_that_went_out_as_http_1_0(tmp_path: Path) -> None:
    """Its server closes, and need not say so (RFC 9112 9.3): the next write would be lost with it."""
    async with sidecar(tmp_path) as s:
        for _ in range(3):
            async with s.client() as client:
                client.send(b"PUT /a HTTP/1.0\r\nContent-Length: 1\r\n\r\nx")
                assert (await client.reply()).status == 200
            await until(lambda: not s.app.pools[Side.LEGACY]._open)
        await s.done(3)


# replies that come early, or bit by bit


async def test_a_primary_that_answers_a_spooled_write_early_is_heard(tmp_path: Path) -> None:
    refusal = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with sidecar(tmp_path, BACKENDS_LEGACY_URL=url) as s, s.client() as client:
        for _ in range(2):  # the client's connection is not out of step
            client.ask("PUT", "/a", b"x" * 5_000_000)
            got = await client.reply()
            assert (got.status, got.body) == (413, b"no")
        await s.idle()
        assert (s.states(), s.new.seen, s.spools()) == ({"p_rejected": 2}, [], [])
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_each_event_reaches_the_client_before_the_next_is_sent(
    tmp_path: Path, method: str
) -> None:
    told: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"body")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while event := await told.get():
            writer.write(event)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with sidecar(tmp_path, BACKENDS_LEGACY_URL=url) as s, s.client() as client:
        client.ask(method, "/a", b"body")
        assert (await client.head()).headers["content-type"] == "text/event-stream"
        for number in range(5):
            event = b"data: %d\n\n" % number
            told.put_nowait(event)
            assert await client.exactly(len(event)) == event
        told.put_nowait(b"")
        assert await client.ended() == b""
        await s.idle()
    server.close()
    await server.wait_closed()
