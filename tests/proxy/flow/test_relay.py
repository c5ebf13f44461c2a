"""Unmirrored requests: streamed to the primary and back, between a real client and a real backend."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from proxy.control.log import Log
from proxy.fiber import Fibers
from proxy.flow.relay import Relay
from proxy.wire.connection import Connection
from proxy.wire.downstream import Downstream
from proxy.wire.pool import Pool
from proxy.wire.sink import Sink
from rules.framing import RequestHead, with_line
from tests.proxy.wire.raw import (
    OK,
    Front,
    Peer,
    Server,
    listening,
    on_uvloop,
    pooling,
    serving,
    sweeping,
    until,
)

GET = b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\n"
HOP = b"Twinwrite-Hop: 1"
SIZE = 40_000_000


@dataclass
class Line:
    """A client's door, the pool behind it, and the backend at the end."""

    front: Front
    pool: Pool
    server: Server
    fibers: Fibers

    async def connect(self, **options: int) -> Peer:
        return await self.front.connect(**options)

    async def both(self, request: bytes = GET, **options: int) -> tuple[Peer, Peer]:
        """A client that has sent a request, and the backend that has its head."""
        client = await self.connect(**options)
        client.writer.write(request)
        backend = await self.server.accept()
        await backend.until()
        return client, backend

    async def quiet(self) -> None:
        """Wait until no exchange is under way."""
        await until(lambda: not [each for each in self.pool._open if each.is_busy])


@asynccontextmanager
async def line(listen: dict[str, int] | None = None, **settings: int) -> AsyncIterator[Line]:
    async with serving(receive_buffer=65536) as server, pooling(server, **settings) as pool:
        fibers = Fibers(Log(io.StringIO()))

        def door(client: Downstream, head: RequestHead) -> Sink:
            sent = with_line(head.head, HOP)
            return Relay(
                client, pool, head, with_line(sent, head.asks) if head.asks else sent, fibers
            )

        async with listening(door, **(listen or {})) as front:
            yield Line(front, pool, server, fibers)
        await fibers.cancel()


async def problem(client: Peer) -> tuple[int, dict[str, str]]:
    status, body = await client.answer()
    return status, json.loads(body)


def big(start: bytes, size: int = SIZE) -> bytes:
    return start.replace(b": 5", b": %d" % size).replace(b": 2", b": %d" % size)


# there and back


@on_uvloop
async def test_a_request_and_its_reply_pass_unchanged() -> None:
    request = (
        b"PoST /Caf%E9?b=%20 HTTP/1.1\r\nhOST: shop\r\nX-b:  2 \r\nX-a: 1\r\nX-b:\r\n".replace(
            b"PoST", b"POST"
        )
    )
    reply = (
        b"HTTP/1.1 299 As It Were\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 2\r\n\r\nok"
    )
    async with line() as test:
        client = await test.connect()
        await client.send(request + b"Content-Length: 5\r\n\r\nhello")
        backend = await test.server.accept()
        assert (
            await backend.until(b"hello")
            == request + b"Content-Length: 5\r\n" + HOP + b"\r\n\r\nhello"
        )
        await backend.send(reply)
        assert await client.exactly(len(reply)) == reply


@on_uvloop
async def test_one_connection_serves_one_request_after_the_other_without_a_task() -> None:
    async with line() as test:
        client, backend = await test.both()
        for _ in range(5):
            await backend.send(OK)
            assert await client.exactly(len(OK)) == OK
            await test.quiet()
            client.writer.write(POST)
            await backend.until()
            assert len(test.fibers) == 0
            await client.send(b"hello")
            assert await backend.exactly(5) == b"hello"
        assert len(test.server.peers) == 1


@on_uvloop
async def test_chunks_and_trailers_pass_both_ways() -> None:
    body = b"5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    framed = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    async with line() as test:
        client, backend = await test.both(framed + body)
        assert await backend.exactly(len(body)) == body
        await backend.send(reply)
        assert await client.exactly(len(reply)) == reply


@on_uvloop
async def test_pipelined_requests_come_back_in_order() -> None:
    async with line(connections_max=1) as test:
        client = await test.connect()
        await client.send(GET + POST + b"hello" + GET)
        backend = await test.server.accept()
        for number, tail in enumerate((b"", b"hello", b"")):
            await backend.until()
            assert await backend.exactly(len(tail)) == tail
            await backend.send(OK.replace(b"ok", b"%02d" % number))
        for number in range(3):
            assert (await client.answer())[1] == b"%02d" % number


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
WAITING = POST.replace(b"Host", b"Expect: 100-continue\r\nHost")


@on_uvloop
async def test_interim_replies_reach_the_client_one_by_one() -> None:
    async with line() as test:
        client, backend = await test.both()
        for interim in (CONTINUE, HINTS, HINTS.replace(b"103 Early Hints", b"102 Processing")):
            await backend.send(interim)
            assert await client.until() == interim
        await backend.send(HINTS + OK)
        assert await client.exactly(len(HINTS + OK)) == HINTS + OK


@on_uvloop
async def test_an_old_client_gets_no_interim_reply() -> None:
    async with line() as test:
        client, backend = await test.both(b"GET /a HTTP/1.0\r\nHost: shop\r\n\r\n")
        await backend.send(HINTS + OK)
        assert await client.rest() == OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@on_uvloop
async def test_interim_replies_without_end_are_502() -> None:
    async with line() as test:
        client, backend = await test.both()
        await backend.send(HINTS * 101)
        assert await client.exactly(len(HINTS) * 100) == HINTS * 100
        status, document = await problem(client)
        assert (status, document["reason"]) == (502, "broken_reply")
        await backend.gone()


# who waits to be told to continue


@on_uvloop
async def test_the_backend_tells_a_client_to_continue_and_nobody_else_does() -> None:
    async with line() as test:
        client, backend = await test.both(WAITING)
        await backend.send(CONTINUE)
        assert await client.until() == CONTINUE
        await client.send(b"hello")
        assert await backend.exactly(5) == b"hello"
        await backend.send(OK)
        assert await client.exactly(len(OK)) == OK


@on_uvloop
async def test_a_client_need_not_wait_for_a_backend_that_says_nothing() -> None:
    async with line() as test:
        client, backend = await test.both(WAITING)
        await client.send(b"hello")
        assert await backend.exactly(5) == b"hello"
        await backend.send(OK)
        assert await client.exactly(len(OK)) == OK


@on_uvloop
async def test_a_backend_that_wants_no_body_answers_and_the_connections_end() -> None:
    reply = OK.replace(b"200 OK", b"417 No")
    async with line() as test:
        client, backend = await test.both(WAITING)
        await backend.send(reply)
        head = await client.until()
        assert head.startswith(b"HTTP/1.1 417 No\r\n")
        assert head.endswith(b"\r\nConnection: close\r\n\r\n")
        assert await client.rest() == b"ok"  # a body that comes now could be taken for a request
        await client.send(b"hello")
        assert await backend.rest() == b""


@on_uvloop
async def test_a_client_that_never_sends_what_it_was_told_to_send_is_408() -> None:
    async with line({"body_timeout_ms": 20}) as test:
        client, backend = await test.both(WAITING)
        await backend.send(CONTINUE)
        assert await client.until() == CONTINUE
        status, _ = await sweeping(test.front.clients.sweep, problem(client))
        assert status == 408
        await backend.gone()


@on_uvloop
async def test_head_has_the_length_and_not_the_body() -> None:
    async with line() as test:
        client, backend = await test.both(GET.replace(b"GET", b"HEAD"))
        await backend.send(OK[:-2])
        assert await client.exactly(len(OK) - 2) == OK[:-2]
        await client.send(GET)
        await backend.until()
        await backend.send(OK)
        assert await client.exactly(len(OK)) == OK


@on_uvloop
async def test_an_old_client_and_a_new_backend_understand_each_other() -> None:
    async with line() as test:
        client, backend = await test.both(b"GET /a HTTP/1.0\r\nHost: shop\r\n\r\n")
        await backend.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        )
        assert await client.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"
        await test.quiet()
        assert test.pool.idle() is not None


@on_uvloop
async def test_a_new_client_and_an_old_backend_understand_each_other() -> None:
    async with line() as test:
        client, backend = await test.both()
        await backend.send(b"HTTP/1.0 200 OK\r\nX: 1\r\n\r\nab")
        await backend.send(b"c")
        backend.finish()
        assert await client.rest() == b"HTTP/1.1 200 OK\r\nX: 1\r\nConnection: close\r\n\r\nabc"


@pytest.mark.parametrize("pieces", [1, 2])
@on_uvloop
async def test_nothing_follows_a_request_that_went_out_as_http_1_0(pieces: int) -> None:
    """Its server closes, and need not say so (RFC 9112 9.3); the one that waits gets another connection."""
    async with serving() as server, pooling(server, connections_max=1) as pool:
        fibers = Fibers(Log(io.StringIO()))

        def door(client: Downstream, head: RequestHead) -> Sink:
            return Relay(client, pool, head, head.head, fibers)

        async with listening(door) as front:
            old, new = await front.connect(), await front.connect()
            await old.send(b"GET /a HTTP/1.0\r\n\r\n")
            backend = await server.accept()
            assert await backend.until() == b"GET /a HTTP/1.0\r\n\r\n"
            await new.send(GET)
            await until(lambda: len(pool._waiting) == 1)
            for piece in [OK] if pieces == 1 else [OK[:-1], OK[-1:]]:
                await backend.send(piece)
                await asyncio.sleep(0)
            assert (await old.rest()).endswith(b"ok")
            assert await backend.rest() == b""
            again = await server.accept()
            await again.until()
            await again.send(OK)
            assert await new.exactly(len(OK)) == OK
        await fibers.cancel()


@on_uvloop
async def test_what_comes_while_a_connection_is_awaited_is_not_lost() -> None:
    async with line(connections_max=1) as test:
        busy, backend = await test.both()
        client = await test.connect()
        await client.send(POST)
        await until(lambda: len(test.pool._waiting) == 1)
        sending = asyncio.ensure_future(client.send(b"hello"))
        await backend.send(OK)
        await busy.answer()
        assert await backend.until(b"hello") == with_line(POST, HOP) + b"hello"
        await sending
        await backend.send(OK)
        assert await client.exactly(len(OK)) == OK
        assert len(test.server.peers) == 1


# failures


@on_uvloop
async def test_a_backend_that_is_not_there_is_502() -> None:
    async with line() as test:
        client, backend = await test.both()
        await backend.send(OK)
        await client.answer()
        test.pool.close()
    async with listening(
        lambda client, head: Relay(client, test.pool, head, head.head, test.fibers)
    ) as front:
        client = await front.connect()
        for _ in range(2):
            await client.send(GET)
            status, document = await problem(client)
            assert (status, document["reason"]) == (502, "refused")
            assert "Location" not in document


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "reset"),
        (b"HTTP/1.1 200", "reset"),
        (b"nonsense\r\n", "broken_reply"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "broken_reply"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "broken_reply"),
    ],
)
@on_uvloop
async def test_a_reply_that_does_not_begin_is_502(reply: bytes, reason: str) -> None:
    async with line() as test:
        client, backend = await test.both()
        await backend.send(reply)
        backend.finish()
        status, document = await problem(client)
        assert (status, document["reason"]) == (502, reason)
        await client.send(GET)  # the client's own connection lives on
        again = await test.server.accept()
        await again.until()
        await again.send(OK)
        assert await client.exactly(len(OK)) == OK


@on_uvloop
async def test_a_reply_that_does_not_begin_in_time_is_504() -> None:
    async with line(first_byte_timeout_ms=5) as test:
        client, backend = await test.both()
        status, document = await sweeping(test.pool.sweep, problem(client))
        assert (status, document["reason"]) == (504, "timeout")
        await backend.gone()


@on_uvloop
async def test_no_free_connection_is_503() -> None:
    async with line(connections_max=1, pool_timeout_ms=5) as test:
        await test.both()
        client = await test.connect()
        await client.send(POST + b"he")
        status, document = await problem(client)
        assert (status, document["reason"]) == (503, "pool_full")
        assert await client.rest() == b""  # its body will not be read


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked", b"X: close"]
)
@on_uvloop
async def test_a_reply_that_breaks_off_breaks_off_for_the_client(framing: bytes) -> None:
    async with line() as test:
        client, backend = await test.both()
        await backend.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n5\r\nhe")
        await client.until(b"he")
        backend.reset()
        assert await client.gone()


@on_uvloop
async def test_a_stream_may_last_longer_than_any_reply_may_take() -> None:
    async with line(first_byte_timeout_ms=1, total_timeout_ms=1) as test:
        client, backend = await test.both()
        await backend.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await client.until()
        for number in range(5):
            test.pool.sweep()
            test.front.clients.sweep()
            await backend.send(b"data: %d\n\n" % number)
            assert await client.until(b"\n\n") == b"data: %d\n\n" % number


@on_uvloop
async def test_each_event_reaches_the_client_before_the_next_is_sent() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    async with line() as test:
        client, backend = await test.both()
        await backend.send(head)
        assert await client.until() == head
        for number in range(20):
            event = b"9\r\ndata: %d\n\n\r\n" % (number % 10)
            await backend.send(event)
            assert await client.exactly(len(event)) == event
        await backend.send(b"0\r\n\r\n")
        assert await client.exactly(5) == b"0\r\n\r\n"


@on_uvloop
async def test_a_short_early_reply_does_not_put_the_connection_out_of_step() -> None:
    async with line() as test:
        client, backend = await test.both(POST + b"he")
        await backend.send(OK)
        assert (await client.answer())[1] == b"ok"
        await client.send(b"llo" + GET)
        assert await client.rest() == b""
        assert await backend.rest() in (b"", b"he")
        again = await test.connect()
        await again.send(GET)
        fresh = await test.server.accept()
        await fresh.until()
        await fresh.send(OK)
        assert await again.exactly(len(OK)) == OK


@on_uvloop
async def test_an_early_reply_may_go_on_while_the_body_comes() -> None:
    async with line() as test:
        client, backend = await test.both(POST + b"he")
        await backend.send(OK[:-1])
        closing = OK[:-2].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert await client.until() == closing
        await client.send(b"llo")
        assert await backend.exactly(5) == b"hello"
        await backend.send(b"k")
        assert await client.rest() == b"ok"
        await test.quiet()
        assert test.pool.idle() is not None  # the body came whole: the backend is in step


@on_uvloop
async def test_an_early_reply_without_a_length_reaches_a_client_that_is_still_sending() -> None:
    async with line() as test:
        client, backend = await test.both(POST + b"he")
        await backend.send(b"HTTP/1.1 413 No\r\n\r\nno")
        backend.finish()
        assert await client.rest() == b"HTTP/1.1 413 No\r\nConnection: close\r\n\r\nno"


@on_uvloop
async def test_a_client_that_takes_its_time_with_the_body_does_not_make_the_backend_late() -> None:
    async with line(first_byte_timeout_ms=5) as test:
        client, backend = await test.both(POST + b"he")
        started = test.pool.now()
        while test.pool.now() < started + 0.02:
            test.pool.sweep()
            await asyncio.sleep(0.002)
        await client.send(b"llo")
        assert await backend.exactly(5) == b"hello"
        await backend.send(OK)
        assert await client.exactly(len(OK)) == OK


@on_uvloop
async def test_an_early_reply_reaches_a_client_that_is_still_sending() -> None:
    reply = OK.replace(b"200 OK", b"413 No").replace(b"ok", b"no")
    async with line() as test:
        client, backend = await test.both(big(POST) + b"x" * SIZE)
        await backend.send(reply)
        backend.reset()
        assert await client.answer() == (413, b"no")
        assert await client.rest() == b""


@on_uvloop
async def test_chunks_that_break_are_not_passed_on() -> None:
    async with line() as test:
        framed = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
        client, backend = await test.both(framed + b"5\r\nhello\r\n")
        await backend.exactly(10)
        await client.send(b"0x5\r\nhello\r\n")
        assert (await problem(client))[0] == 400
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await backend.exactly(1)


# who goes away


@pytest.mark.parametrize("rudely", [False, True])
@on_uvloop
async def test_a_client_that_goes_in_the_middle_of_its_body_ends_the_exchange(rudely: bool) -> None:
    async with line() as test:
        client, backend = await test.both(POST + b"he")
        if rudely:
            client.reset()
        else:
            await client.close()
        await backend.gone()
        await until(lambda: not test.pool._open)


@on_uvloop
async def test_a_client_that_goes_in_the_middle_of_its_reply_ends_the_exchange() -> None:
    async with line() as test:
        client, backend = await test.both()
        await backend.send(big(OK[:-2]) + b"x" * 1000)
        await client.until()
        client.reset()
        await backend.gone()
        await until(lambda: not test.pool._open)


@on_uvloop
async def test_a_client_that_goes_while_it_waits_for_a_connection_leaves_it_to_others() -> None:
    async with line(connections_max=1) as test:
        busy, backend = await test.both()
        leaving, staying = await test.connect(), await test.connect()
        for client in (leaving, staying):
            await client.send(GET)
            await until(lambda: len(test.pool._waiting) >= 1)
        leaving.reset()
        await until(lambda: len(test.front.clients.open) == 2)
        await backend.send(OK)
        await busy.answer()
        await backend.until()
        await backend.send(OK)
        await staying.answer()
        assert len(test.server.peers) == 1


@on_uvloop
async def test_a_client_that_has_closed_its_half_gets_its_reply() -> None:
    async with line() as test:
        client, backend = await test.both(POST + b"hello")
        client.finish()
        await backend.exactly(5)
        await until(lambda: test.front.only._eof)
        await backend.send(OK)
        assert (await client.rest()).endswith(b"\r\nConnection: close\r\n\r\nok")


EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize("rudely", [False, True])
@on_uvloop
async def test_a_client_that_leaves_a_silent_event_stream_frees_the_backend_whatever_it_sent_last(
    rudely: bool,
) -> None:
    async with line({"idle_timeout_ms": 50}) as test:
        client, backend = await test.both()
        await backend.send(EVENTS)
        await client.until()
        await client.send(b"G")
        await until(lambda: test.front.only._buffer == b"G")
        if rudely:
            client.reset()
        else:
            await client.close()
        await sweeping(test.front.clients.sweep, until(lambda: not test.pool._open))
        assert not test.front.clients.open


@on_uvloop
async def test_a_client_that_leaves_an_upload_that_nobody_reads_frees_the_backend() -> None:
    async with line({"idle_timeout_ms": 50}) as test:
        client, backend = await test.both(big(POST))
        await backend.send(EVENTS)
        await client.until()
        sending = asyncio.ensure_future(client.send(b"x" * SIZE))
        await until(lambda: test.front.only._paused)
        sending.cancel()
        client.reset()
        await sweeping(test.front.clients.sweep, until(lambda: not test.pool._open))
        assert not test.front.clients.open


# a slow reader slows the writer


def held(test: Line) -> int:
    """Bytes that our side holds for either end."""
    transports = [*(each.transport for each in test.front.clients.open)]
    transports += [each.transport for each in test.pool._open]
    return sum(transport.get_write_buffer_size() for transport in transports)


@on_uvloop
async def test_a_slow_backend_slows_the_client() -> None:
    async with line({"body_timeout_ms": 1}) as test:
        client, backend = await test.both(big(POST))
        sending = asyncio.ensure_future(client.send(b"x" * SIZE))
        await asyncio.wait({sending}, timeout=0.1)
        assert not sending.done()
        assert 0 < held(test) < 1_000_000
        test.front.clients.sweep()  # the time is the backend's: nobody answers 408
        assert await backend.exactly(SIZE) == b"x" * SIZE
        await sending
        await backend.send(OK)
        assert await client.exactly(len(OK)) == OK


@on_uvloop
async def test_a_slow_client_slows_the_backend() -> None:
    async with line() as test:
        client, backend = await test.both(receive_buffer=65536)
        await backend.send(big(OK[:-2]))
        sending = asyncio.ensure_future(backend.send(b"x" * SIZE))
        await asyncio.wait({sending}, timeout=0.1)
        assert not sending.done()
        assert 0 < held(test) < 1_000_000
        await client.until()
        assert await client.exactly(SIZE) == b"x" * SIZE
        await sending
        await test.quiet()
        assert isinstance(test.pool.idle(), Connection)


@on_uvloop
async def test_a_client_that_stops_reading_frees_the_backend() -> None:
    async with line({"idle_timeout_ms": 20}) as test:
        _, backend = await test.both(receive_buffer=65536)
        await backend.send(big(OK[:-2]))
        sending = asyncio.ensure_future(backend.send(b"x" * SIZE))
        await sweeping(test.front.clients.sweep, until(lambda: not test.pool._open))
        with pytest.raises(ConnectionError):
            await sending
