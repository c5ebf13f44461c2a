"""A client's connection, seen from the client: what it gets for what it sends."""

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from math import inf

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.control.ports import Listen
from proxy.wire.clients import Clients
from proxy.wire.downstream import Downstream
from proxy.wire.sink import Sink
from rules.framing import Refusal, RequestHead
from rules.message import Framing
from tests.proxy.wire.raw import (
    OK,
    Guest,
    Hall,
    Peer,
    at_once,
    listening,
    on_uvloop,
    sweeping,
    until,
)

GET = b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n"
OLD = b"GET /a HTTP/1.0\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


async def refused(client: Peer) -> tuple[int, bytes]:
    """A refusal that ends the connection: its status, and its document's detail."""
    reply = await client.rest()
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    assert json.loads(body)["status"] == int(head[9:12])
    return int(head[9:12]), body


# what comes in


@on_uvloop
async def test_a_request_is_shown_to_the_door_and_answered() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET)
        guest = await hall.guest()
        assert guest.ended.is_set()
        assert (guest.head.method, guest.head.target, guest.body) == ("GET", "/a", b"")
        guest.say()
        assert await client.exactly(len(OK)) == OK
        assert (front.clients.requests, front.clients.refused) == (1, 0)


@on_uvloop
async def test_a_connection_is_used_for_one_request_after_the_other() -> None:
    hall = Hall(at_once)
    async with listening(hall) as front:
        client = await front.connect()
        for _ in range(5):
            await client.send(POST + b"hello")
            assert await client.exactly(len(OK)) == OK
        assert [guest.body for guest in hall.guests] == [b"hello"] * 5
        assert len(front.clients.open) == 1


@on_uvloop
async def test_a_body_comes_as_it_was_framed() -> None:
    hall = Hall(at_once)
    chunks = b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    async with listening(hall) as front:
        client = await front.connect()
        for byte in CHUNKED + chunks:
            await client.send(bytes([byte]))
        assert await client.exactly(len(OK)) == OK
        assert hall.guests[0].body == chunks
        assert hall.guests[0].head.framing is Framing.CHUNKED


@on_uvloop
async def test_the_door_is_asked_before_the_body_is_there() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(POST)
        guest = await hall.guest()
        assert (guest.pieces, guest.ended.is_set()) == ([b""], False)
        await client.send(b"hello")
        await guest.ended.wait()
        assert guest.body == b"hello"


@pytest.mark.parametrize("cut", [len(GET), len(GET) + 3, 1])
@on_uvloop
async def test_pipelined_requests_are_answered_in_order_and_one_at_a_time(cut: int) -> None:
    hall = Hall()
    stream = GET + POST + b"hello" + CHUNKED + b"0\r\n\r\n" + GET
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(stream[:cut])
        await client.send(stream[cut:])
        for number in range(4):
            guest = await hall.guest()
            await guest.ended.wait()
            assert len(hall.guests) == number + 1
            guest.say(OK.replace(b"ok", b"%02d" % number))
            assert (await client.answer())[1] == b"%02d" % number


@on_uvloop
async def test_an_empty_line_before_a_request_is_passed_over() -> None:
    hall = Hall(at_once)
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(b"\r\n" + GET)
        await client.answer()
        await client.send(b"\r")
        await client.send(b"\n" + GET)
        await client.answer()
        await client.send(b"\r\n\r\n" + GET)
        assert (await refused(client))[0] == 400


WAITING = POST.replace(b"Host", b"Expect: 100-continue\r\nHost")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@on_uvloop
async def test_a_client_that_waits_is_told_to_continue_when_the_sink_says_so() -> None:
    hall = Hall(at_once)
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(WAITING)
        guest = await hall.guest()
        assert guest.head.expects_continue
        assert b"Expect" not in guest.head.head
        guest.client.go_on()
        assert await client.until() == CONTINUE
        await client.send(b"hello")
        assert await client.exactly(len(OK)) == OK
        await client.send(WAITING + b"hello")  # it did not wait
        assert await client.exactly(len(OK)) == OK


@on_uvloop
async def test_interim_replies_come_before_the_reply_and_not_within_it() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET)
        guest = await hall.guest()
        guest.client.interim(100, CONTINUE)
        guest.client.interim(103, HINTS)
        guest.client.reply(OK[:-2], b"o", Framing.LENGTH, ended=False)
        guest.client.interim(103, HINTS)
        guest.client.more(b"k", ended=True)
        guest.client.interim(103, HINTS)
        expected = CONTINUE + HINTS + OK
        assert await client.exactly(len(expected)) == expected
        await client.send(GET)
        (await hall.guest()).say()
        assert await client.exactly(len(OK)) == OK


@on_uvloop
async def test_a_client_is_told_once_to_continue() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        for _ in range(2):
            await client.send(WAITING)
            guest = await hall.guest()
            guest.client.go_on()
            guest.client.interim(100, CONTINUE)
            guest.client.interim(103, HINTS)
            assert await client.exactly(len(CONTINUE + HINTS)) == CONTINUE + HINTS
            await client.send(b"hello")
            await guest.ended.wait()
            guest.say()
            assert await client.exactly(len(OK)) == OK


@on_uvloop
async def test_an_old_client_gets_no_interim_reply() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(OLD)
        guest = await hall.guest()
        guest.client.interim(103, HINTS)
        guest.say()
        assert await client.rest() == CLOSING


@on_uvloop
async def test_a_client_that_waits_may_be_refused_without_sending() -> None:
    async with listening(lambda _client, _head: Refusal(413, "too long")) as front:
        client = await front.connect()
        await client.send(POST.replace(b"Host", b"Expect: 100-continue\r\nHost"))
        assert (await refused(client))[0] == 413


# what is refused


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /a HTTP/1.1\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\nHost: shop\n\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"CONNECT shop:443 HTTP/1.1\r\nHost: shop\r\n\r\n", 400),
        (b"BREW /pot HTTP/1.1\r\nHost: shop\r\n\r\n", 501),
        (POST.replace(b"Host", b"Expect: x\r\nHost"), 417),
        (CHUNKED.replace(b"Host", b"Content-Length: 5\r\nHost"), 400),
        (CHUNKED.replace(b"chunked", b"gzip"), 501),
        (b"GET /" + b"a" * 1000, 414),
        (b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\nHost: shop\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 1000, 431),
        (b"GET / HTTP/1.1\r\nHost: shop\r\nX: " + b"a" * 1000 + b"\r\n\r\n", 431),
    ],
)
@on_uvloop
async def test_what_is_not_clean_is_refused_and_the_connection_ends(
    data: bytes, status: int
) -> None:
    hall = Hall(at_once)
    async with listening(hall, head_bytes_max=512) as front:
        client = await front.connect()
        await client.send(data + GET)
        assert (await refused(client))[0] == status
        assert not hall.guests
        assert front.clients.refused == 1


@on_uvloop
async def test_a_clean_request_before_an_unclean_one_is_served() -> None:
    hall = Hall(at_once)
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET + b"GET / HTTP/1.1\r\nHost : shop\r\n\r\n" + GET)
        assert (await client.answer())[0] == 200
        assert (await refused(client))[0] == 400
        assert len(hall.guests) == 1


@on_uvloop
async def test_a_body_whose_chunks_break_is_refused_and_the_sink_is_told() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(CHUNKED + b"5\r\nhello\r\n")
        guest = await hall.guest()
        await client.send(b"5\nhello")
        assert (await refused(client))[0] == 400
        await guest.left.wait()
        assert not guest.ended.is_set()
        assert guest.body == b"5\r\nhello\r\n"


@on_uvloop
async def test_a_refusal_at_the_door_keeps_the_connection_if_nothing_is_to_come() -> None:
    async with listening(lambda _client, _head: Refusal(508, "a loop")) as front:
        client = await front.connect()
        for request in (GET, POST + b"hello", GET + GET):
            await client.send(request)
            assert (await client.answer())[0] == 508
        assert (await client.answer())[0] == 508


@on_uvloop
async def test_a_refused_head_request_has_no_body() -> None:
    async with listening(lambda _client, _head: Refusal(508, "a loop")) as front:
        client = await front.connect()
        await client.send(GET.replace(b"GET", b"HEAD") + GET)
        head = await client.until()
        assert b"Content-Length: " in head
        assert (await client.answer())[0] == 508


@on_uvloop
async def test_a_refusal_reaches_a_client_that_is_still_sending() -> None:
    async with listening(lambda _client, _head: Refusal(413, "too long")) as front:
        client = await front.connect()
        size = 20_000_000
        await client.send(POST.replace(b": 5", b": %d" % size) + b"x" * size)
        assert (await refused(client))[0] == 413
        await client.close()
        await until(lambda: not front.clients.open)


# what goes out


@on_uvloop
async def test_a_reply_may_come_in_pieces() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET)
        guest = await hall.guest()
        guest.client.reply(OK[:-2], b"", Framing.LENGTH, ended=False)
        guest.client.more(b"o", ended=False)
        guest.client.more(b"k", ended=True)
        assert await client.exactly(len(OK)) == OK


@on_uvloop
async def test_nothing_is_written_after_a_reply_has_ended() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET)
        guest = await hall.guest()
        guest.say()
        guest.say()
        guest.client.more(b"stray", ended=True)
        guest.client.refuse(Refusal(502, "stray"))
        await client.send(GET)
        (await hall.guest()).say()
        assert await client.exactly(2 * len(OK)) == OK + OK


@pytest.mark.parametrize(
    "head", [OLD, OLD.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"),
             GET.replace(b"Host", b"Connection: close\r\nHost")],
)  # fmt: skip
@on_uvloop
async def test_a_client_that_does_not_stay_gets_its_reply_and_the_end(head: bytes) -> None:
    async with listening(Hall(at_once)) as front:
        client = await front.connect()
        await client.send(head)
        assert await client.rest() == CLOSING
        await client.close()
        await until(lambda: not front.clients.open)


@on_uvloop
async def test_what_follows_a_last_request_is_never_looked_at() -> None:
    hall = Hall(at_once)
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(
            GET.replace(b"Host", b"Connection: close\r\nHost") + GET + b"\0" * 300_000
        )
        assert await client.rest() == CLOSING
        assert len(hall.guests) == 1


@on_uvloop
async def test_a_reply_without_a_length_ends_with_the_connection() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET)
        guest = await hall.guest()
        guest.client.reply(b"HTTP/1.1 200 OK\r\n\r\n", b"ab", Framing.CLOSE, ended=False)
        guest.client.more(b"c", ended=False)
        guest.client.more(b"", ended=True)
        assert await client.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"


CHUNKED_REPLY = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"


@on_uvloop
async def test_a_chunked_reply_is_taken_apart_for_a_client_that_knows_no_chunks() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(OLD)
        guest = await hall.guest()
        guest.client.reply(CHUNKED_REPLY, b"5\r\nhe", Framing.CHUNKED, ended=False)
        guest.client.more(b"llo\r\n6;x=", ended=False)
        guest.client.more(b"y\r\n world\r\n0\r\nX: 1\r\n\r\n", ended=True)
        assert await client.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world"


@on_uvloop
async def test_a_chunked_reply_passes_unchanged_to_a_client_that_knows_chunks() -> None:
    hall = Hall()
    body = b"5;x=y\r\nhello\r\n0\r\nX: 1\r\n\r\n"
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET)
        (await hall.guest()).client.reply(CHUNKED_REPLY, body, Framing.CHUNKED, ended=True)
        assert await client.exactly(len(CHUNKED_REPLY + body)) == CHUNKED_REPLY + body


@pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE])
@on_uvloop
async def test_a_reply_that_cannot_be_completed_cannot_be_taken_for_one(framing: Framing) -> None:
    for end in (Downstream.cut, lambda client: client.refuse(Refusal(502, "broken"))):
        hall = Hall()
        async with listening(hall) as front:
            client = await front.connect()
            await client.send(GET)
            guest = await hall.guest()
            guest.client.reply(OK[:-2], b"o", framing, ended=False)
            await client.until(b"o")
            end(guest.client)
            assert await client.gone()
            await until(lambda: not front.clients.open)
            assert not guest.left.is_set()  # who cuts knows


@on_uvloop
async def test_a_reply_before_the_body_is_complete_ends_the_connection_gently() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(POST + b"he")
        (await hall.guest()).say()
        assert await client.rest() == CLOSING
        await client.send(b"llo" + GET)  # no reset
        await client.close()
        await until(lambda: not front.clients.open)
        assert len(hall.guests) == 1


@on_uvloop
async def test_an_early_reply_in_pieces_ends_the_connection_too() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(POST + b"he")
        guest = await hall.guest()
        guest.client.reply(OK[:-2], b"o", Framing.LENGTH, ended=False)
        guest.client.more(b"k", ended=True)
        assert await client.rest() == CLOSING


@on_uvloop
async def test_a_body_may_go_on_within_an_early_reply() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(POST + b"he")
        guest = await hall.guest()
        guest.client.reply(OK[:-2], b"o", Framing.LENGTH, ended=False)
        await client.send(b"llo" + GET)
        await guest.ended.wait()
        assert guest.body == b"hello"
        guest.client.more(b"k", ended=True)
        assert await client.rest() == CLOSING
        assert len(hall.guests) == 1


@on_uvloop
async def test_a_reply_without_body_speaks_of_no_chunks_to_an_old_client() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(OLD.replace(b"GET", b"HEAD"))
        (await hall.guest()).client.reply(CHUNKED_REPLY, b"", Framing.NONE, ended=True)
        assert await client.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@on_uvloop
async def test_a_client_that_goes_on_sending_after_an_early_reply_is_not_waited_for_long() -> None:
    hall = Hall()
    async with listening(hall, idle_timeout_ms=20) as front:
        client = await front.connect()
        await client.send(POST + b"he")
        (await hall.guest()).say()
        await client.rest()
        await sweeping(front.clients.sweep, until(lambda: not front.clients.open))


# who goes away


@on_uvloop
async def test_a_client_may_close_its_half_and_still_gets_its_reply() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET + POST + b"hello")
        client.finish()
        (await hall.guest()).say()
        assert (await client.answer())[0] == 200
        guest = await hall.guest()
        await until(lambda: guest.client._eof)
        guest.say()
        assert await client.rest() == CLOSING
        await until(lambda: not front.clients.open)
        assert not guest.left.is_set()


@on_uvloop
async def test_a_client_that_closed_its_half_is_not_waited_for_without_end() -> None:
    hall = Hall()
    async with listening(hall, idle_timeout_ms=50) as front:
        client = await front.connect()
        await client.send(GET)
        guest = await hall.guest()
        client.finish()
        await sweeping(front.clients.sweep, guest.left.wait())
        assert not front.clients.open


@pytest.mark.parametrize("greet", [None, at_once])
@on_uvloop
async def test_what_was_pipelined_before_a_client_closed_its_half_is_served(
    greet: Callable[[Guest], None] | None,
) -> None:
    hall = Hall(greet)
    async with listening(hall) as front:
        client = await front.connect()
        await client.send((GET + POST + b"hello") * 3 + b"GET /part")
        client.finish()
        for _ in range(6):
            guest = await hall.guest()
            await guest.ended.wait()
            if greet is None:
                guest.say()
        assert (await client.rest()).count(b"HTTP/1.1 200 OK") == 6
        await until(lambda: not front.clients.open)
        assert len(hall.guests) == 6


@on_uvloop
async def test_a_body_that_was_pipelined_and_broken_off_is_reported() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET + POST + b"he")
        client.finish()
        (await hall.guest()).say()
        assert (await client.answer())[0] == 200
        guest = await hall.guest()
        await guest.left.wait()
        assert guest.body == b"he"
        assert not guest.ended.is_set()


@pytest.mark.parametrize("pipelined", [b"G", GET, GET[:-2]])
@pytest.mark.parametrize("rudely", [False, True])
@on_uvloop
async def test_a_client_that_goes_behind_what_it_pipelined_is_not_waited_for_without_end(
    pipelined: bytes, rudely: bool
) -> None:
    hall = Hall()
    async with listening(hall, idle_timeout_ms=50) as front:
        client = await front.connect()
        await client.send(GET)
        guest = await hall.guest()
        guest.client.reply(OK[:-2], b"o", Framing.LENGTH, ended=False)
        await client.send(pipelined)
        await until(lambda: guest.client._buffer == pipelined)
        if rudely:
            client.reset()
            await guest.left.wait()
        else:
            client.finish()
            await sweeping(front.clients.sweep, guest.left.wait())
        await until(lambda: not front.clients.open)
        assert len(hall.guests) == 1


@on_uvloop
async def test_a_client_of_which_nothing_more_is_read_is_there_while_its_reply_moves() -> None:
    hall = Hall()
    async with listening(hall, idle_timeout_ms=50) as front:
        client = await front.connect()
        await client.send(GET)
        guest = await hall.guest()
        guest.client.reply(OK[:-2].replace(b": 2", b": 99"), b"o", Framing.LENGTH, ended=False)
        await client.send(GET * 2000)
        await until(lambda: front.only._paused)
        before = front.only.deadline
        guest.client.more(b"k", ended=False)
        assert before < front.only.deadline < inf
        client.reset()  # nobody can see that
        await sweeping(front.clients.sweep, guest.left.wait())
        assert not front.clients.open


@pytest.mark.parametrize("data", [b"", b"GET /a HT", b"\r", GET[:-2]])
@on_uvloop
async def test_a_client_that_closes_between_requests_is_gone(data: bytes) -> None:
    hall = Hall(at_once)
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(data)
        client.finish()
        assert await client.rest() == b""
        await until(lambda: not front.clients.open)
        assert not hall.guests


@pytest.mark.parametrize("rudely", [False, True])
@on_uvloop
async def test_a_client_that_goes_before_its_body_is_complete_is_reported(rudely: bool) -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(POST + b"he")
        guest = await hall.guest()
        if rudely:
            client.reset()
        else:
            client.finish()
        await guest.left.wait()
        assert not guest.ended.is_set()
        guest.say()  # too late, and no harm
        await until(lambda: not front.clients.open)


@on_uvloop
async def test_a_client_that_resets_while_it_waits_is_reported() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET)
        guest = await hall.guest()
        client.reset()
        await guest.left.wait()
        guest.client.reply(OK[:-2], b"o", Framing.LENGTH, ended=False)
        guest.client.more(b"k", ended=True)
        guest.client.refuse(Refusal(502, "late"))
        guest.client.pause()
        guest.client.resume()
        guest.client.cut()


@on_uvloop
async def test_requests_pipelined_by_a_client_that_is_gone_are_not_begun() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET + GET)
        guest = await hall.guest()
        guest.say()
        guest.client.transport.abort()  # before the second one's turn
        await until(lambda: not front.clients.open)
        assert len(hall.guests) == 1


# deadlines


@on_uvloop
async def test_an_unused_connection_is_closed_without_a_word() -> None:
    async with listening(Hall(at_once), idle_timeout_ms=5) as front:
        fresh, used = await front.connect(), await front.connect()
        await used.send(GET)
        await used.answer()
        for client in (fresh, used):
            assert await sweeping(front.clients.sweep, client.rest()) == b""


@on_uvloop
async def test_a_head_that_stops_arriving_is_answered_408() -> None:
    async with listening(Hall(at_once), head_timeout_ms=5) as front:
        client = await front.connect()
        await client.send(GET[:-2])
        status, document = await sweeping(front.clients.sweep, refused(client))
        assert (status, b"head" in document) == (408, True)


@on_uvloop
async def test_a_head_that_drips_is_not_waited_for_longer() -> None:
    async with listening(Hall(at_once), head_timeout_ms=30) as front:
        client = await front.connect()
        answer = asyncio.ensure_future(sweeping(front.clients.sweep, refused(client)))
        while not answer.done():
            client.writer.write(b"x")
            await asyncio.wait({answer}, timeout=0.005)
        assert answer.result()[0] == 408


@on_uvloop
async def test_a_head_has_its_own_time_however_long_the_connection_was_idle() -> None:
    async with listening(Hall(at_once), idle_timeout_ms=50, head_timeout_ms=60_000) as front:
        client = await front.connect()
        await client.send(GET[:5])
        await until(lambda: front.only.deadline > front.clients.now() + 50)


@on_uvloop
async def test_a_body_that_stops_arriving_is_answered_408_and_the_sink_is_told() -> None:
    hall = Hall()
    async with listening(hall, body_timeout_ms=5) as front:
        client = await front.connect()
        await client.send(POST + b"he")
        status, document = await sweeping(front.clients.sweep, refused(client))
        assert (status, b"body" in document) == (408, True)
        assert (await hall.guest()).left.is_set()


@on_uvloop
async def test_a_body_that_drips_is_not_waited_for_without_end() -> None:
    hall = Hall()
    async with listening(hall, body_timeout_ms=60, body_bytes_per_second_min=1000) as front:
        client = await front.connect()
        await client.send(POST.replace(b": 5", b": 500"))
        answer = asyncio.ensure_future(sweeping(front.clients.sweep, refused(client)))
        while not answer.done():
            client.writer.write(b"x")
            await asyncio.wait({answer}, timeout=0.005)
        assert answer.result()[0] == 408
        assert (await hall.guest()).left.is_set()


@on_uvloop
async def test_a_body_may_take_its_time_where_that_is_allowed() -> None:
    hall = Hall(at_once)
    async with listening(hall, body_timeout_ms=60, body_bytes_per_second_min=0) as front:
        client = await front.connect()
        await client.send(POST.replace(b": 5", b": 40"))
        answer = asyncio.ensure_future(sweeping(front.clients.sweep, client.answer()))
        for _ in range(40):
            client.writer.write(b"x")
            await asyncio.wait({answer}, timeout=0.005)
        assert (await answer)[0] == 200


@on_uvloop
async def test_a_body_that_came_fast_may_pause_for_as_long_as_any() -> None:
    hall = Hall()
    async with listening(hall, body_bytes_per_second_min=1000) as front:
        client = await front.connect()
        await client.send(POST.replace(b": 5", b": 500000"))
        guest = await hall.guest()
        await client.send(b"x" * 400_000)
        await until(lambda: len(guest.body) == 400_000)
        pause_s = front.clients.body_timeout_s
        assert front.only.deadline == pytest.approx(front.clients.now() + pause_s, abs=1)


@on_uvloop
async def test_a_body_that_stops_while_its_reply_is_under_way_is_cut() -> None:
    hall = Hall()
    async with listening(hall, body_timeout_ms=5) as front:
        client = await front.connect()
        await client.send(POST + b"he")
        guest = await hall.guest()
        guest.client.reply(OK[:-2], b"o", Framing.LENGTH, ended=False)
        assert await sweeping(front.clients.sweep, client.gone())
        assert guest.left.is_set()


@on_uvloop
async def test_time_that_the_backend_takes_is_not_the_clients() -> None:
    hall = Hall()
    async with listening(hall, body_timeout_ms=1, idle_timeout_ms=1) as front:
        client = await front.connect()
        await client.send(POST + b"he")
        guest = await hall.guest()
        guest.client.pause()
        assert front.only.deadline == inf
        guest.client.resume()
        assert front.only.deadline < inf
        await client.send(b"llo")
        await guest.ended.wait()
        assert front.only.deadline == inf
        guest.say()
        assert await client.exactly(len(OK)) == OK


@pytest.mark.parametrize("reply_first", [False, True])
@on_uvloop
async def test_a_paused_body_is_not_waited_for_without_end_once_the_reply_has_begun(
    reply_first: bool,
) -> None:
    hall = Hall()
    async with listening(hall, idle_timeout_ms=50) as front:
        client = await front.connect()
        await client.send(POST + b"he")
        guest = await hall.guest()
        for step in (True, False):
            if step is reply_first:
                guest.client.reply(OK[:-2], b"o", Framing.LENGTH, ended=False)
            else:
                guest.client.pause()
        client.reset()  # nobody can see that
        await sweeping(front.clients.sweep, guest.left.wait())
        assert not front.clients.open


# back-pressure


@on_uvloop
async def test_a_paused_body_waits_on_the_clients_side() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        size = 30_000_000
        await client.send(POST.replace(b": 5", b": %d" % size))
        guest = await hall.guest()
        guest.on_data = lambda guest: guest.client.pause()
        sending = asyncio.ensure_future(client.send(b"x" * size))
        await asyncio.wait({sending}, timeout=0.05)
        assert not sending.done()
        assert len(guest.body) <= 300_000
        guest.on_data = None
        guest.client.resume()
        await guest.ended.wait()
        assert len(guest.body) == size
        guest.say()
        assert await client.exactly(len(OK)) == OK


@on_uvloop
async def test_pipelined_requests_wait_on_the_clients_side() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        sending = asyncio.ensure_future(client.send(GET * 500_000))
        for _ in range(20):
            guest = await hall.guest()
            guest.say()
            guest.client.resume()  # a sink may say so at any time
            await client.answer()
        await asyncio.wait({sending}, timeout=0.05)
        assert not sending.done()
        assert len(front.only._buffer) < 2 * 262_144
        sending.cancel()


@on_uvloop
async def test_a_client_that_reads_slowly_is_told_of_to_the_sink_until_it_reads() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect(receive_buffer=4096)
        await client.send(GET)
        guest = await hall.guest()
        size = 5_000_000
        head = OK[:-2].replace(b": 2", b": %d" % size)
        guest.client.reply(head, b"", Framing.LENGTH, ended=False)
        sent = 0
        while not guest.ready:
            guest.client.more(b"x" * 50_000, ended=False)
            sent += 50_000
            await asyncio.sleep(0)
        guest.client.more(b"x", ended=False)
        assert set(guest.ready) == {False}
        assert len(guest.ready) >= 2  # again, for a sink that was not listening
        rest = asyncio.ensure_future(client.exactly(len(head) + size))
        await until(lambda: True in guest.ready)
        guest.client.more(b"x" * (size - sent - 1), ended=True)
        assert len(await rest) == len(head) + size


@on_uvloop
async def test_pipelined_requests_of_a_client_that_does_not_read_are_not_begun() -> None:
    reply = OK.replace(b": 2", b": 100000").replace(b"ok", b"x" * 100_000)

    def answer(guest: Guest) -> None:
        guest.say(reply)

    hall = Hall(answer)
    async with listening(hall) as front:
        client = await front.connect(receive_buffer=4096)
        await client.send(GET * 200)
        await until(lambda: front.only._blocked)
        begun = len(hall.guests)
        await asyncio.wait({asyncio.ensure_future(hall.guest())}, timeout=0.01)
        assert begun <= len(hall.guests) < 100
        for _ in range(200):
            assert await client.exactly(len(reply)) == reply
        assert len(hall.guests) == 200


@on_uvloop
async def test_a_client_that_stops_reading_is_given_up() -> None:
    hall = Hall()
    async with listening(hall, idle_timeout_ms=20) as front:
        client = await front.connect(receive_buffer=4096)
        await client.send(GET)
        guest = await hall.guest()
        guest.client.reply(OK[:-2], b"x" * 5_000_000, Framing.CLOSE, ended=False)
        await sweeping(front.clients.sweep, guest.left.wait())
        assert not front.clients.open


@on_uvloop
async def test_a_client_that_reads_nothing_while_it_sends_is_watched_too() -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect(receive_buffer=4096)
        await client.send(POST + b"he")
        guest = await hall.guest()
        guest.client.reply(OK[:-2], b"x" * 5_000_000, Framing.CLOSE, ended=False)
        await until(lambda: guest.ready)
        await client.send(b"llo")
        await guest.ended.wait()
        assert front.only.deadline < inf


@on_uvloop
async def test_a_client_that_reads_slowly_but_reads_is_not_given_up() -> None:
    hall = Hall()
    size = 12_000_000
    async with listening(hall, idle_timeout_ms=60) as front:
        client = await front.connect(receive_buffer=65536)
        await client.send(GET)
        guest = await hall.guest()
        guest.say(OK.replace(b": 2", b": %d" % size).replace(b"ok", b"x" * size))
        started, got = front.clients.now(), 0
        while got < size:
            got += len(await client.exactly(200_000))
            front.clients.sweep()
            await asyncio.sleep(0.002)
        assert front.clients.now() > started + 2 * 0.06


# tunnels


@pytest.mark.parametrize("early", [b"", b"early"])
@on_uvloop
async def test_a_connection_that_is_left_to_a_tunnel_says_what_it_has_and_keeps_its_deadline(
    early: bytes,
) -> None:
    hall = Hall()
    async with listening(hall) as front:
        client = await front.connect()
        await client.send(GET + early)
        guest = await hall.guest()
        client.finish()
        await until(lambda: guest.client._eof)
        assert guest.client.leave() == (early, True, False)
        front.clients.drain()
        assert len(front.clients.open) == 1  # it is not idle, and not ours to end
        guest.client.deadline = 0
        front.clients.sweep()
        await client.gone()
        await until(lambda: not front.clients.open)
        assert not guest.left.is_set()


# any bytes, in any pieces


class Wire(asyncio.Transport):
    """A transport that writes down what it is told; a socket cannot choose how bytes are cut."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write_eof(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


def fed(pieces: list[bytes], greet: Callable[[Guest], None]) -> tuple[Hall, Wire]:
    """What the door saw and what was written, when these pieces arrive one after the other."""
    hall, wire = Hall(greet), Wire()

    async def feed() -> None:
        client = Clients(Listen(), hall).connect()
        client.connection_made(wire)
        for piece in pieces:
            while not wire.reading:
                await asyncio.sleep(0)
            client.data_received(piece)
        for _ in range(20):
            await asyncio.sleep(0)

    uvloop.run(feed())
    return hall, wire


def a_stream_of_requests() -> st.SearchStrategy[list[bytes]]:
    request = st.sampled_from([
        GET, POST + b"hello", CHUNKED + b"5;x=y\r\nhello\r\n0\r\n\r\n", b"\r\n" + GET,
        CHUNKED + b"1\r\n\r\r\n0\r\nX-Sum: 1\r\n\r\n", POST + GET[:5],
        GET.replace(b"Host", b"X: " + b"y" * 40 + b"\r\nHost"),
    ])  # fmt: skip
    return st.lists(request, min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(a_stream_of_requests(), st.lists(st.integers(0, 2000), max_size=15), st.booleans())
def test_the_door_sees_the_same_requests_however_the_bytes_are_cut(
    requests: list[bytes], places: list[int], later: bool
) -> None:
    stream = b"".join(requests)
    edges = sorted({0, *(place % len(stream) for place in places), len(stream)})

    def greet(guest: Guest) -> None:
        if guest.ended.is_set():
            if later:
                asyncio.get_running_loop().call_soon(guest.say)
            else:
                guest.say()

    hall, wire = fed([stream[start:end] for start, end in pairwise(edges)], greet)
    wholes = [request.removeprefix(b"\r\n").partition(b"\r\n\r\n") for request in requests]
    assert [guest.head.head for guest in hall.guests] == [head + end for head, end, _ in wholes]
    assert [guest.body for guest in hall.guests] == [body for _, _, body in wholes]
    assert wire.written == OK * len(requests)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from(
                [GET, POST, CHUNKED, b"5\r\nhello", b"\r\n", b"0\r\n\r\n", b"\0", OLD, b"\r"]
            ),
        ),
        max_size=12,
    )
)
def test_no_bytes_make_the_connection_raise(pieces: list[bytes]) -> None:
    hall, wire = fed(pieces, at_once)
    assert wire.written.count(b"HTTP/1.1 200 OK") == sum(
        guest.ended.is_set() for guest in hall.guests
    )


def test_a_sink_may_refuse_in_the_middle_of_its_first_data() -> None:
    """As a write does whose body is too long: nothing after it is looked at."""

    class Full:
        def __init__(self, client: Downstream, _head: RequestHead) -> None:
            self.client = client

        def data(self, _data: bytes, _ended: bool) -> None:
            self.client.refuse(Refusal(413, "too long"))

        def gone(self) -> None:
            raise AssertionError("who refuses knows")

        def writable(self, _ready: bool) -> None:
            raise AssertionError("nothing is written but the refusal")

    async def feed() -> bytes:
        wire = Wire()

        def door(client: Downstream, head: RequestHead) -> Sink:
            return Full(client, head)

        client = Clients(Listen(), door).connect()
        client.connection_made(wire)
        client.data_received(POST + b"he")
        client.data_received(b"llo" + GET)
        return wire.written

    written = uvloop.run(feed())
    assert written.startswith(b"HTTP/1.1 413")
    assert written.count(b"HTTP/1.1") == 1
