"""One connection to a backend: replies that are clean, replies that are not, and who is late."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from math import inf
from pathlib import Path

import pytest

from proxy.wire.connection import (
    FILE_PIECE_BYTES,
    INTERIM_REPLIES_MAX,
    REPLY_HEAD_BYTES_MAX,
    Connection,
)
from proxy.wire.pool import Pool
from rules.framing import ReplyHead
from rules.message import Cause, Framing, Reply
from tests.proxy.wire.raw import (
    OK,
    Ear,
    Peer,
    Taker,
    a_request,
    on_uvloop,
    pooling,
    serving,
    sweeping,
    until,
)

HEAD = b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n"
LONG = b"POST /a HTTP/1.1\r\nHost: shop\r\nContent-Length: 100000000\r\n\r\n"


@asynccontextmanager
async def connected(**settings: int) -> AsyncIterator[tuple[Pool, Connection, Peer]]:
    """A pool, its one connection, and the backend's end of it."""
    async with serving(receive_buffer=65536) as server, pooling(server, **settings) as pool:
        connection = await opened(pool)
        yield pool, connection, await server.accept()


async def opened(pool: Pool) -> Connection:
    connection = await pool.connect()
    assert isinstance(connection, Connection)
    return connection


def asked(connection: Connection, method: str = "GET") -> Taker:
    taker = Taker()
    connection.start(taker, method, HEAD.replace(b"GET", method.encode()), ended=True)
    return taker


# replies


@on_uvloop
async def test_an_exchange_writes_what_it_is_given_and_hands_the_reply_on() -> None:
    async with connected() as (pool, connection, backend):
        for _ in range(3):
            taker = asked(connection)
            assert connection.serves(taker)
            assert await backend.until() == HEAD
            await backend.send(OK)
            await taker.ended.wait()
            assert taker.head is not None
            assert (taker.head.head, taker.body) == (OK[:-2], b"ok")
            assert not connection.is_busy
            assert pool.idle() is connection


CLEAN: dict[str, tuple[str, bytes, bytes, bool]] = {
    "a length": ("GET", OK, b"ok", True),
    "no body": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", True),
    "chunks": (
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\r\nok\r\n0\r\nX: 1\r\n\r\n",
        b"2;a\r\nok\r\n0\r\nX: 1\r\n\r\n",
        True,
    ),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", True),
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"", True),
    "100 first": ("GET", b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok", True),
    "hints first": (
        "GET",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK,
        b"ok",
        True,
    ),
    "keep-alive of HTTP/1.0": (
        "GET",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        b"ok",
        True,
    ),
    "close": ("GET", OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"ok", False),
    "HTTP/1.0": ("GET", OK.replace(b"1.1", b"1.0"), b"ok", False),
    "a 204 that threatens with a body": (
        "GET",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"",
        False,
    ),
}


@pytest.mark.parametrize("name", CLEAN)
@on_uvloop
async def test_a_clean_reply_is_handed_on_and_the_connection_kept_if_it_may_be(name: str) -> None:
    method, reply, body, kept = CLEAN[name]
    for pieces in ([reply], [bytes([byte]) for byte in reply]):
        async with connected() as (pool, connection, backend):
            taker = asked(connection, method)
            await backend.until()
            for piece in pieces:
                await backend.send(piece)
                await asyncio.sleep(0)
            await taker.ended.wait()
            assert (taker.failure, taker.body) == (None, body)
            assert (pool.idle() is connection) is kept
            assert kept or await backend.rest() == b""


@on_uvloop
async def test_what_follows_a_reply_ends_the_connection() -> None:
    async with connected() as (pool, connection, backend):
        taker = asked(connection)
        await backend.send(OK + OK)
        await taker.ended.wait()
        assert taker.body == b"ok"
        assert pool.idle() is None


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@on_uvloop
async def test_a_reply_without_a_length_ends_when_the_server_closes(version: bytes) -> None:
    async with connected() as (pool, connection, backend):
        taker = asked(connection)
        await backend.send(b"HTTP/%s 200 OK\r\n\r\nab" % version)
        await taker.begun.wait()
        assert taker.head is not None
        assert taker.head.framing is Framing.CLOSE
        await backend.send(b"c")
        backend.finish()
        await taker.ended.wait()
        assert (taker.failure, taker.body) == (None, b"abc")
        assert pool.idle() is None


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@on_uvloop
async def test_interim_replies_come_one_by_one_and_without_what_concerns_one_hop() -> None:
    async with connected() as (pool, connection, backend):
        taker = asked(connection)
        await backend.send(b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS)
        await until(lambda: len(taker.heard) == 2)
        assert taker.heard == [(100, b"HTTP/1.1 100 Continue\r\n\r\n"), (103, HINTS)]
        await backend.send(HINTS.replace(b"Link", b"Keep-Alive: 5\r\nLink") + OK)
        await taker.ended.wait()
        assert taker.heard[2:] == [(103, HINTS)]
        assert taker.body == b"ok"
        again = asked(connection)
        await backend.send(OK)
        await again.ended.wait()
        assert (again.heard, len(taker.heard)) == ([], 3)  # each exchange has its own
        assert pool.idle() is connection


@on_uvloop
async def test_interim_replies_up_to_the_limit_are_followed_by_the_reply() -> None:
    async with connected() as (pool, connection, backend):
        for _ in range(2):  # the limit is one of each exchange
            taker = asked(connection)
            await backend.send(HINTS * INTERIM_REPLIES_MAX + OK)
            await taker.ended.wait()
            assert taker.heard == [(103, HINTS)] * INTERIM_REPLIES_MAX
            assert taker.body == b"ok"
            assert pool.idle() is connection


@on_uvloop
async def test_interim_replies_without_end_are_no_reply() -> None:
    async with connected() as (pool, connection, backend):
        taker = asked(connection)
        await backend.send(HINTS * (INTERIM_REPLIES_MAX + 1) + OK)
        await taker.ended.wait()
        assert taker.failure is not None
        assert taker.failure.cause is Cause.BROKEN_REPLY
        assert "interim" in taker.failure.detail
        assert len(taker.heard) == INTERIM_REPLIES_MAX
        assert pool.idle() is None


@on_uvloop
async def test_interim_replies_are_passed_over_where_nobody_hears_them() -> None:
    async with connected() as (pool, connection, backend):
        for _ in range(2):
            pool.give_back(connection)
            exchange = pool.ask(a_request(), HEAD, 10)
            assert exchange.connection is connection
            await backend.send(HINTS * INTERIM_REPLIES_MAX + OK)
            outcome = await exchange
            assert isinstance(outcome, Reply)
            assert outcome.body == b"ok"
            assert pool.idle() is connection


@pytest.mark.parametrize("way", ["at once", "over a new connection", "from a file"])
@on_uvloop
async def test_the_hearer_of_an_exchange_gets_its_interim_replies_and_no_others(
    way: str, tmp_path: Path
) -> None:
    spool = tmp_path / "body"
    spool.write_bytes(b"hello")
    request = a_request("PUT", spool=spool, size=5) if way == "from a file" else a_request()
    async with serving() as server, pooling(server, connections_max=1) as pool:
        if way == "at once":
            pool.give_back(await opened(pool))
        ear, other = Ear(), Ear()
        exchange = pool.ask(request, HEAD, 10, ear)
        assert (exchange.connection is not None) is (way == "at once")
        backend = await server.accept()
        await backend.until()
        await backend.send(HINTS.replace(b"Link", b"Keep-Alive: 5\r\nLink"))
        await until(lambda: ear.heard == [(103, HINTS)])  # now, not with the reply
        assert not exchange.done
        await backend.send(HINTS + OK)
        outcome = await exchange
        assert isinstance(outcome, Reply)
        assert outcome.body == b"ok"
        assert ear.heard == [(103, HINTS)] * 2
        for hearer in (other, None):  # on the same connection
            again = pool.ask(a_request(), HEAD, 10, hearer)
            await backend.send(HINTS + OK)
            await again
        assert (ear.heard, other.heard) == ([(103, HINTS)] * 2, [(103, HINTS)])
        assert len(server.peers) == 1


# tunnels

SWITCHED = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n"


@dataclass
class Asking(Taker):
    """A Receiver that asks for a tunnel."""

    consent: list[tuple[bytes, bytes]] = field(default_factory=list)

    def agreed(self, head: ReplyHead, data: bytes) -> None:
        self.consent.append((head.head, data))


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("GET", SWITCHED),
        ("CONNECT", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("CONNECT", b"HTTP/1.1 204 OK\r\n\r\n"),
    ],
)
@on_uvloop
async def test_a_tunnel_that_was_asked_for_is_agreed_to_and_leaves_the_pool(
    method: str, reply: bytes
) -> None:
    async with connected(connections_max=1) as (pool, connection, backend):
        taker = Asking()
        connection.start(taker, method, HEAD, ended=True)
        await backend.send(HINTS + reply + b"first")
        await until(lambda: taker.consent)
        assert taker.consent == [(reply, b"first")]
        assert taker.heard == [(103, HINTS)]
        assert not taker.ended.is_set()
        transport = connection.leave()
        assert not pool._open
        assert not transport.is_closing()
        assert await opened(pool) is not connection  # its place is free
        transport.abort()


@on_uvloop
async def test_who_asks_for_a_tunnel_may_get_a_reply() -> None:
    async with connected() as (pool, connection, backend):
        for method in ("GET", "CONNECT"):
            taker = Asking()
            connection.start(taker, method, HEAD, ended=True)
            await backend.send(OK.replace(b"200 OK", b"403 No"))
            await taker.ended.wait()
            assert (taker.body, taker.consent) == (b"ok", [])
            assert pool.idle() is connection


@on_uvloop
async def test_a_consent_to_connect_that_nobody_asked_for_is_no_reply() -> None:
    async with connected() as (_, connection, backend):
        taker = asked(connection, "CONNECT")
        await backend.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await taker.ended.wait()
        assert taker.failure is not None
        assert taker.failure.cause is Cause.BROKEN_REPLY


BROKEN: dict[str, bytes] = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "one byte of another protocol": b"\x15",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "lines that end in LF": OK.replace(b"\r\n", b"\n") + b"\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
    "gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "an upgrade that nobody asked for": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * (REPLY_HEAD_BYTES_MAX // 6 + 1),
    "a head that is too long": b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * (REPLY_HEAD_BYTES_MAX // 6) + b"\r\n",
    "a broken interim reply": b"HTTP/1.1 100 Continue\r\nX\r\n\r\n" + OK,
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
@on_uvloop
async def test_a_reply_that_is_not_clean_is_a_failure(name: str) -> None:
    async with connected() as (pool, connection, backend):
        taker = asked(connection)
        await backend.send(BROKEN[name])
        await taker.ended.wait()
        assert taker.failure is not None
        assert (taker.failure.cause, taker.failure.sent) == (Cause.BROKEN_REPLY, True)
        assert pool.idle() is None
        await backend.gone()


@on_uvloop
async def test_chunks_that_break_in_the_middle_end_what_has_begun() -> None:
    async with connected() as (_, connection, backend):
        taker = asked(connection)
        await backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await taker.begun.wait()
        await backend.send(b"nonsense\r\n")
        await taker.ended.wait()
        assert taker.failure is not None
        assert taker.failure.cause is Cause.BROKEN_REPLY
        assert taker.body == b"2\r\nok\r\n"


@pytest.mark.parametrize("rudely", [False, True])
@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        OK[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
    ],
)
@on_uvloop
async def test_a_connection_that_ends_before_the_reply_does_is_a_failure(
    beginning: bytes, rudely: bool
) -> None:
    async with connected() as (pool, connection, backend):
        taker = asked(connection)
        await backend.until()
        await backend.send(beginning)
        if rudely:
            backend.reset()
        else:
            backend.finish()
        await taker.ended.wait()
        assert taker.failure is not None
        assert (taker.failure.cause, taker.failure.sent) == (Cause.RESET, True)
        assert taker.failure.detail
        assert pool.idle() is None


@on_uvloop
async def test_a_reset_does_not_end_a_reply_that_has_no_length() -> None:
    async with connected() as (_, connection, backend):
        taker = asked(connection)
        await backend.send(b"HTTP/1.1 200 OK\r\n\r\nab")
        await taker.begun.wait()
        backend.reset()
        await taker.ended.wait()
        assert taker.failure is not None


@on_uvloop
async def test_our_own_end_does_not_end_a_reply_that_has_no_length() -> None:
    async with connected() as (pool, connection, backend):
        taker = asked(connection)
        await backend.send(b"HTTP/1.1 200 OK\r\n\r\nab")
        await taker.begun.wait()
        pool.close()
        await taker.ended.wait()
        assert taker.failure is not None


@on_uvloop
async def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    async with connected() as (pool, connection, backend):
        pool.give_back(connection)
        await backend.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert await backend.gone() in (True, False)
        await until(lambda: not pool._open)
        assert pool.idle() is None


# requests


@on_uvloop
async def test_the_start_tells_when_it_was_and_the_deadline_counts_from_there() -> None:
    async with connected() as (pool, connection, _):
        before = pool.now()
        started = connection.start(Taker(), "GET", HEAD, ended=True)
        assert before <= started <= pool.now()
        assert connection.deadline == started + pool.first_byte_timeout_s


@on_uvloop
async def test_a_request_may_be_written_in_pieces() -> None:
    async with connected() as (pool, connection, backend):
        taker = Taker()
        connection.start(taker, "POST", HEAD, ended=False)
        assert connection.serves(taker)
        assert connection.deadline == inf
        connection.write(b"he", ended=False)
        connection.write(b"llo", ended=False)
        connection.write(b"", ended=True)
        assert connection.deadline < inf
        assert await backend.exactly(len(HEAD) + 5) == HEAD + b"hello"
        await backend.send(OK)
        await taker.ended.wait()
        assert pool.idle() is connection


@on_uvloop
async def test_a_reply_before_the_request_is_whole_ends_the_connection() -> None:
    async with connected() as (pool, connection, backend):
        taker = Taker()
        connection.start(taker, "POST", LONG, ended=False)
        await backend.until()
        await backend.send(OK)
        await taker.ended.wait()
        assert taker.body == b"ok"
        connection.write(b"the rest", ended=True)
        assert pool.idle() is None
        assert await backend.rest() == b""


@on_uvloop
async def test_a_reply_before_the_request_was_taken_ends_the_connection() -> None:
    async with connected() as (pool, connection, backend):
        taker = Taker()
        connection.start(taker, "POST", LONG + b"x" * 10_000_000, ended=True)
        await backend.until()
        await backend.send(OK)
        await taker.ended.wait()
        assert taker.body == b"ok"
        assert pool.idle() is None


@on_uvloop
async def test_a_server_that_refuses_a_long_request_and_resets_is_still_heard() -> None:
    reply = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
    async with connected() as (pool, connection, backend):
        taker = Taker()
        connection.start(taker, "POST", LONG, ended=False)
        await backend.until()
        connection.flow(reading=False)  # the write fails before the reply is read
        await backend.send(reply)
        backend.reset()
        while not taker.ended.is_set():
            connection.write(b"x" * 10_000, ended=False)
            await asyncio.sleep(0)
        assert taker.failure is None
        assert taker.head is not None
        assert (taker.head.status, taker.body) == (413, b"no")
        assert pool.idle() is None


@on_uvloop
async def test_a_server_that_stops_reading_and_closes_its_half_is_not_waited_for() -> None:
    async with connected() as (_, connection, backend):
        taker = Taker()
        connection.start(taker, "POST", LONG + b"x" * 10_000_000, ended=False)
        await backend.until()
        backend.finish()
        await taker.ended.wait()
        assert taker.failure is not None


@on_uvloop
async def test_a_backend_that_is_slow_to_take_the_request_is_told_of() -> None:
    async with connected() as (_, connection, backend):
        taker = Taker()
        connection.start(taker, "POST", LONG, ended=False)
        sent = 0
        while not taker.ready:
            connection.write(b"x" * 50_000, ended=False)
            sent += 50_000
        assert taker.ready == [False]
        await backend.until()
        await backend.exactly(sent)
        assert taker.ready == [False, True]
        assert connection.deadline == inf


@on_uvloop
async def test_a_file_is_written_no_faster_than_it_is_taken() -> None:
    async with connected() as (_, connection, backend):
        taker = Taker()
        size = 20_000_000
        connection.start(taker, "PUT", HEAD, ended=False)
        file = BytesIO(b"x" * size)
        writing = asyncio.ensure_future(connection.write_file(file))
        await asyncio.wait({writing}, timeout=0.05)
        assert not writing.done()
        assert file.tell() < size // 2
        assert connection.transport.get_write_buffer_size() <= FILE_PIECE_BYTES
        await backend.until()
        assert await backend.exactly(size) == b"x" * size
        await writing
        await backend.send(OK)
        await taker.ended.wait()
        assert taker.body == b"ok"


@on_uvloop
async def test_writing_a_file_lets_others_work() -> None:
    async with connected() as (_, connection, backend):
        connection.start(Taker(), "PUT", HEAD, ended=False)
        writing = asyncio.ensure_future(connection.write_file(BytesIO(b"x" * 20_000_000)))
        turns = 0
        reading = asyncio.ensure_future(backend.exactly(20_000_000))
        while not writing.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns >= 20_000_000 // FILE_PIECE_BYTES
        await reading


class Measured(BytesIO):
    """A file that says afterwards how much of it was read, and may break."""

    done = 0

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        self.done += len(piece)
        return piece


class Torn(Measured):
    def read(self, size: int | None = -1) -> bytes:
        if self.done:
            raise OSError("the disk is gone")
        return super().read(size)


@pytest.mark.parametrize("answer", [b"", OK])
@on_uvloop
async def test_a_file_is_not_written_on_when_the_exchange_has_ended(answer: bytes) -> None:
    async with connected() as (_, connection, backend):
        taker = Taker()
        connection.start(taker, "PUT", LONG, ended=False)
        file = Measured(b"x" * 20_000_000)
        writing = asyncio.ensure_future(connection.write_file(file))
        await backend.until()
        await backend.send(answer)
        if not answer:
            backend.reset()
        await taker.ended.wait()
        await writing
        assert (taker.failure is None) is bool(answer)
        assert file.closed
        assert file.done < 20_000_000


@on_uvloop
async def test_half_a_file_never_ends_as_a_whole_request() -> None:
    async with connected() as (_, connection, backend):
        taker = Taker()
        connection.start(taker, "PUT", LONG, ended=False)
        file = Torn(b"x" * 1_000_000)
        await connection.write_file(file)
        assert taker.failure is not None
        assert (taker.failure.cause, taker.failure.sent) == (Cause.RESET, True)
        assert "the disk is gone" in taker.failure.detail
        assert file.closed
        await backend.gone()


@on_uvloop
async def test_a_file_that_is_given_up_never_ends_as_a_whole_request() -> None:
    async with connected() as (_, connection, backend):
        connection.start(Taker(), "PUT", LONG, ended=False)
        file = Measured(b"x" * 20_000_000)
        writing = asyncio.ensure_future(connection.write_file(file))
        await backend.until()
        writing.cancel()
        await backend.gone()
        assert file.closed
        assert not connection.is_busy


# the flow of a reply


@on_uvloop
async def test_a_reply_that_is_not_taken_waits_on_the_backends_side() -> None:
    async with connected() as (_, connection, backend):
        taker = asked(connection)
        size = 30_000_000
        await backend.send(OK[:-2].replace(b": 2", b": %d" % size))
        await taker.begun.wait()
        connection.flow(reading=False)
        sending = asyncio.ensure_future(backend.send(b"x" * size))
        await asyncio.wait({sending}, timeout=0.05)
        assert not sending.done()
        assert len(taker.body) <= 300_000
        connection.flow(reading=True)
        await taker.ended.wait()
        assert len(taker.body) == size
        await sending


@on_uvloop
async def test_the_rest_of_a_reply_can_go_to_another() -> None:
    async with connected() as (pool, connection, backend):
        first, second = asked(connection), Taker()
        await backend.send(OK[:-1])
        await first.begun.wait()
        connection.flow(reading=False)
        connection.hand_over(second)
        assert connection.deadline == pytest.approx(pool.now() + pool.total_timeout_s, abs=1.0)
        connection.flow(reading=False)
        assert connection.deadline == inf  # it is the client who takes its time
        connection.flow(reading=True)
        assert not connection.serves(first)
        await backend.send(b"k")
        await second.ended.wait()
        assert (first.body, second.body) == (b"o", b"k")
        assert pool.idle() is connection


@on_uvloop
async def test_a_streamed_reply_may_last_but_not_pause_for_longer_than_the_total_time_out() -> None:
    async with connected(total_timeout_ms=50) as (pool, connection, backend):
        taker = asked(connection)
        await backend.send(OK[:-2])
        await taker.begun.wait()
        connection.stream()
        before = connection.deadline
        await backend.send(b"o")
        await until(lambda: taker.body == b"o")
        assert connection.deadline > before
        await until(lambda: connection.deadline < pool.now())
        pool.sweep()
        assert taker.failure is not None
        assert taker.failure.cause is Cause.TIMEOUT


@on_uvloop
async def test_an_event_stream_may_have_nothing_to_tell() -> None:
    async with connected() as (_, connection, backend):
        taker = asked(connection)
        await backend.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await taker.begun.wait()
        connection.stream()
        assert connection.deadline == inf


@on_uvloop
async def test_an_abandoned_exchange_says_nothing_more() -> None:
    async with connected() as (pool, connection, backend):
        taker = asked(connection)
        await backend.until()
        connection.abandon()
        await backend.gone()
        await until(lambda: not pool._open)
        connection.flow(reading=True)
        connection.write(b"late", ended=True)
        assert not taker.ended.is_set()


# deadlines


@on_uvloop
async def test_a_reply_that_does_not_begin_in_time_is_a_failure() -> None:
    async with connected(first_byte_timeout_ms=5) as (pool, connection, backend):
        taker = asked(connection)
        await backend.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2")
        await sweeping(pool.sweep, taker.ended.wait())
        assert taker.failure is not None
        assert (taker.failure.cause, taker.failure.sent) == (Cause.TIMEOUT, True)
        assert taker.failure.latency_s >= 0.005
        await backend.gone()


@on_uvloop
async def test_a_reply_that_does_not_end_in_time_is_a_failure() -> None:
    async with connected(first_byte_timeout_ms=60_000, total_timeout_ms=5) as (
        pool,
        connection,
        backend,
    ):
        taker = asked(connection)
        await backend.send(OK[:-1])
        await sweeping(pool.sweep, taker.ended.wait())
        assert taker.failure is not None
        assert taker.failure.cause is Cause.TIMEOUT
        assert taker.body == b"o"


@on_uvloop
async def test_a_backend_is_not_late_while_the_request_is_on_its_way() -> None:
    async with connected(first_byte_timeout_ms=20, total_timeout_ms=40) as (
        pool,
        connection,
        backend,
    ):
        taker = Taker()
        connection.start(taker, "POST", HEAD, ended=False)
        until_ = pool.now() + 0.06
        while pool.now() < until_:  # a client that takes its time
            connection.write(b"x", ended=False)
            pool.sweep()
            await asyncio.sleep(0.001)
        connection.write(b"x", ended=True)
        await backend.send(OK[:-1])
        await taker.begun.wait()
        pool.sweep()
        await backend.send(b"k")
        await taker.ended.wait()
        assert taker.failure is None


@on_uvloop
async def test_the_end_of_the_request_does_not_set_a_deadline_for_a_reply_that_has_begun() -> None:
    async with connected() as (_, connection, backend):
        taker = Taker()
        connection.start(taker, "POST", HEAD, ended=False)
        await backend.send(OK[:-1])
        await taker.begun.wait()
        connection.deadline = inf  # as for a stream
        connection.write(b"x", ended=True)
        assert connection.deadline == inf


@on_uvloop
async def test_a_backend_that_takes_nothing_of_the_request_is_late() -> None:
    async with connected(first_byte_timeout_ms=10) as (pool, connection, _):
        taker = Taker()
        connection.start(taker, "POST", LONG + b"x" * 10_000_000, ended=False)
        await sweeping(pool.sweep, taker.ended.wait())
        assert taker.failure is not None
        assert taker.failure.cause is Cause.TIMEOUT


@on_uvloop
async def test_a_backend_that_takes_the_request_slowly_is_not_late() -> None:
    async with connected(first_byte_timeout_ms=60) as (pool, connection, backend):
        taker = Taker()
        size = 12_000_000
        connection.start(taker, "POST", LONG + b"x" * size, ended=True)
        started, got = pool.now(), 0
        await backend.until()
        while got < size:
            got += len(await backend.exactly(200_000))
            pool.sweep()
            await asyncio.sleep(0.002)
        assert pool.now() > started + 2 * 0.06
        assert taker.failure is None
        assert connection.deadline < inf
        await backend.send(OK)
        await taker.ended.wait()
        assert taker.body == b"ok"
