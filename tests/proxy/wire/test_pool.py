"""The pool of one backend: reuse, limits, fairness, failures as values, and one reply collected."""

import asyncio
import math
import os
import socket
from pathlib import Path

import pytest

from proxy.control.sides import Backend
from proxy.wire.body import Spool
from proxy.wire.connection import FILE_PIECE_BYTES, Connection
from proxy.wire.pool import Exchange, Pool
from rules.message import Cause, Failure, Framing, Outcome, Reply, Request
from tests.proxy.wire.raw import (
    OK,
    Ear,
    Peer,
    Server,
    Taker,
    a_request,
    on_uvloop,
    pooling,
    serving,
    sweeping,
    until,
)

LIMIT = 1000


async def opened(pool: Pool) -> Connection:
    connection = await pool.connect()
    assert isinstance(connection, Connection)
    return connection


def waiting(pool: Pool) -> asyncio.Task[Connection | Failure]:
    return asyncio.ensure_future(pool.connect())


async def in_line(pool: Pool, count: int) -> None:
    await until(lambda: len(pool._waiting) == count)


def sending(pool: Pool, request: Request, limit: int = LIMIT) -> asyncio.Task[Outcome]:
    async def outcome() -> Outcome:
        return await pool.ask(request, request.head, limit)

    return asyncio.ensure_future(outcome())


async def failed(pool: Pool) -> Failure:
    found = await pool.connect()
    assert isinstance(found, Failure)
    assert not found.sent
    return found


async def begun(pool: Pool, *, hold: bool = True, limit: int = LIMIT) -> Exchange:
    request = a_request()
    exchange = pool.ask(request, request.head, limit, Ear() if hold else None)
    await until(lambda: exchange.connection is not None)
    return exchange


async def replied(exchange: Exchange) -> Reply:
    outcome = await exchange
    assert isinstance(outcome, Reply)
    return outcome


# connections


@on_uvloop
async def test_the_most_recently_used_connection_is_taken_first() -> None:
    async with serving() as server, pooling(server) as pool:
        first, second = await opened(pool), await opened(pool)
        pool.give_back(first)
        pool.give_back(second)
        assert [pool.idle(), pool.idle(), pool.idle()] == [second, first, None]


@on_uvloop
async def test_a_connection_that_was_not_used_for_long_is_closed() -> None:
    async with serving() as server, pooling(server, idle_timeout_ms=10) as pool:
        pool.give_back(await opened(pool))
        backend = await server.accept()
        assert await sweeping(pool.sweep, backend.rest()) == b""
        assert pool.idle() is None


@on_uvloop
async def test_a_connection_past_its_lifetime_is_not_used_again() -> None:
    async with serving() as server, pooling(server, lifetime_seconds=100) as pool:
        first, second = await opened(pool), await opened(pool)
        assert 99 < first.retires_at - pool.now() < 100
        first.retires_at = second.retires_at = 1.0
        pool.give_back(first)  # after its exchange
        assert (pool.idle(), first.transport.is_closing()) == (None, True)
        pool._idle.append(second)  # while it was idle
        pool.sweep()
        assert (pool.idle(), second.transport.is_closing()) == (None, True)
        await until(lambda: pool._places == 0)


@on_uvloop
async def test_who_waits_gets_the_place_of_a_connection_past_its_lifetime() -> None:
    async with serving() as server, pooling(server, connections_max=1) as pool:
        connection = await opened(pool)
        task = waiting(pool)
        await in_line(pool, 1)
        connection.retires_at = 1.0
        pool.give_back(connection)
        assert await opened_by(task) is not connection


@on_uvloop
async def test_a_lifetime_of_0_has_no_end() -> None:
    async with serving() as server, pooling(server, lifetime_seconds=0) as pool:
        assert (await opened(pool)).retires_at == math.inf


@on_uvloop
async def test_a_connection_that_the_server_closes_as_it_is_used_is_a_failure_too() -> None:
    """A clean close on its way to us: as with a reset, nothing is sent twice."""
    async with serving() as server, pooling(server) as pool:
        pool.give_back(await opened(pool))
        (await server.accept()).writer.close()
        outcome = await pool.ask(a_request("POST", b"hello"), b"POST", LIMIT)
        assert isinstance(outcome, Failure)
        assert (outcome.cause, outcome.sent) == (Cause.RESET, True)
        assert server.accepted.empty()


@on_uvloop
async def test_a_connection_that_the_server_closed_is_not_used() -> None:
    async with serving() as server, pooling(server, connections_max=1) as pool:
        pool.give_back(await opened(pool))
        (await server.accept()).finish()
        await until(lambda: not pool._open)
        assert pool.idle() is None
        assert isinstance(await pool.connect(), Connection)


@on_uvloop
async def test_a_stale_connection_is_a_failure_that_is_not_hidden() -> None:
    """The server closed it, and we cannot know yet: nothing is sent twice."""
    async with serving() as server, pooling(server) as pool:
        pool.give_back(await opened(pool))
        (await server.accept()).reset()
        outcome = await pool.ask(a_request("POST", b"hello"), b"POST", LIMIT)
        assert isinstance(outcome, Failure)
        assert (outcome.cause, outcome.sent) == (Cause.RESET, True)
        assert server.accepted.empty()


# the limit


@on_uvloop
async def test_who_waits_first_is_served_first() -> None:
    async with serving() as server, pooling(server, connections_max=1) as pool:
        connection = await opened(pool)
        tasks = []
        for count in range(1, 4):
            tasks.append(waiting(pool))
            await in_line(pool, count)
        for task in tasks:
            pool.give_back(connection)
            assert pool.idle() is None  # nobody can snatch it
            assert await task is connection
        assert server.accepted.qsize() == 1


@on_uvloop
async def test_a_newcomer_does_not_get_a_place_before_who_waits() -> None:
    async with serving() as server, pooling(server, connections_max=1) as pool:
        connection = await opened(pool)
        first = waiting(pool)
        await in_line(pool, 1)
        connection.abandon()
        await until(lambda: not pool._waiting)  # the place is free, and promised
        second = waiting(pool)
        pool.give_back(await opened_by(first))
        assert await second is first.result()
        assert server.accepted.qsize() == 2


async def opened_by(task: asyncio.Task[Connection | Failure]) -> Connection:
    found = await task
    assert isinstance(found, Connection)
    return found


@on_uvloop
async def test_who_waits_too_long_is_told_so_and_nothing_was_sent() -> None:
    async with serving() as server, pooling(server, connections_max=1, pool_timeout_ms=5) as pool:
        connection = await opened(pool)
        failure = await failed(pool)
        assert (failure.cause, failure.latency_s > 0) == (Cause.POOL_FULL, True)
        assert not pool._waiting
        pool.give_back(connection)
        assert pool.idle() is connection


@on_uvloop
async def test_a_connection_that_dies_makes_room_for_who_waits() -> None:
    async with serving() as server, pooling(server, connections_max=2) as pool:
        connections = [await opened(pool), await opened(pool)]
        tasks = [waiting(pool), waiting(pool)]
        await in_line(pool, 2)
        for connection in connections:
            connection.abandon()
        for task in tasks:
            assert await task not in connections
        assert len(pool._open) == 2


@on_uvloop
async def test_a_connection_that_dies_on_its_way_to_who_waits_costs_no_turn() -> None:
    async with serving() as server, pooling(server, connections_max=1) as pool:
        connection = await opened(pool)
        first, second = waiting(pool), waiting(pool)
        await in_line(pool, 2)
        pool.give_back(connection)
        connection.transport.abort()
        replacement = await opened_by(first)
        assert replacement is not connection
        assert not second.done()
        pool.give_back(replacement)
        assert await second is replacement


@on_uvloop
async def test_a_connect_that_fails_lets_the_next_one_try() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        pool = Pool(Backend(url=f"http://127.0.0.1:{nobody.getsockname()[1]}", connections_max=1))
        found = await asyncio.gather(*(failed(pool) for _ in range(5)))
        assert {failure.cause for failure in found} == {Cause.REFUSED}
        assert pool._places == 0


@on_uvloop
async def test_who_gives_up_waiting_loses_nothing_for_the_others() -> None:
    async with serving() as server, pooling(server, connections_max=1) as pool:
        connection = await opened(pool)
        first, second, third = waiting(pool), waiting(pool), waiting(pool)
        await in_line(pool, 3)
        first.cancel()
        pool.give_back(connection)
        second.cancel()  # served and cancelled in the same moment
        assert await third is connection
        fourth = waiting(pool)
        await in_line(pool, 1)
        connection.abandon()
        await until(lambda: not pool._waiting)
        fourth.cancel()  # given a place, and cancelled in the same moment
        assert isinstance(await pool.connect(), Connection)
        assert pool._places == 1


@on_uvloop
async def test_who_gives_up_connecting_leaves_the_place_to_another() -> None:
    async with serving() as server, pooling(server, connections_max=1) as pool:
        first, second = waiting(pool), waiting(pool)
        await in_line(pool, 1)
        first.cancel()
        assert isinstance(await second, Connection)
        assert pool._places == 1


@on_uvloop
async def test_a_connection_that_is_closed_at_once_leaves_its_place() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        pool = Pool(Backend(url=url, connections_max=1, pool_timeout_ms=100))
        for _ in range(5):
            task = waiting(pool)
            accepted = await asyncio.get_running_loop().run_in_executor(None, listener.accept)
            accepted[0].close()
            found = await task
            if isinstance(found, Connection):  # it was not so quick
                await until(found.transport.is_closing)
            else:
                assert found.cause is Cause.REFUSED
            await until(lambda: pool._places == 0)


@on_uvloop
async def test_no_place_is_lost_when_connections_end_at_any_moment() -> None:
    async with serving() as server, pooling(server, connections_max=3) as pool:

        async def misbehave() -> None:
            for turn in range(10_000):
                peer = await server.accept()
                match turn % 4:
                    case 0:
                        peer.reset()
                    case 1:
                        peer.finish()
                    case 2:
                        await peer.send(b"unasked")
                    case _:
                        await answer(
                            peer, OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
                        )

        backend = asyncio.ensure_future(misbehave())
        outcomes = await asyncio.gather(*(sending(pool, a_request()) for _ in range(80)))
        assert sum(isinstance(outcome, Reply) for outcome in outcomes) >= 10
        assert Cause.POOL_FULL not in {
            outcome.cause for outcome in outcomes if isinstance(outcome, Failure)
        }
        backend.cancel()
        pool.close()
        await until(lambda: not pool._open)
        assert (pool._places, len(pool._waiting), len(pool._idle)) == (0, 0, 0)


async def answer(peer: Peer, reply: bytes) -> None:
    try:
        await peer.until()
        await peer.send(reply)
    except (ConnectionError, asyncio.IncompleteReadError):
        return


# no connection


@pytest.mark.parametrize(("host", "cause"), [("a..b", Cause.NAME), ("[1:2]", Cause.NAME)])
@on_uvloop
async def test_a_name_that_does_not_resolve_is_a_failure(host: str, cause: Cause) -> None:
    failure = await failed(Pool(Backend(url=f"http://{host}:80")))
    assert failure.cause is cause
    assert failure.detail


@on_uvloop
async def test_a_backend_that_does_not_take_the_connection_is_a_failure() -> None:
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        pool = Pool(Backend(url=url, connect_timeout_ms=20))
        assert (await failed(pool)).cause is Cause.CONNECT_TIMEOUT
        assert not await pool.is_reachable()
        assert pool._places == 0


@on_uvloop
async def test_a_backend_is_reachable_if_it_takes_connections() -> None:
    async with serving() as server, pooling(server, connections_max=1, pool_timeout_ms=5) as pool:
        assert await pool.is_reachable()
        connection = pool.idle()
        assert connection is not None
        assert await pool.is_reachable()  # every place is in use
        connection.idle_since = 1.0
        pool._idle.append(connection)
        assert await pool.is_reachable()
        assert connection.idle_since == 1.0  # a look is no use: it still grows old
        assert server.accepted.qsize() == 1


@on_uvloop
async def test_a_pool_says_what_it_is() -> None:
    async with serving() as server, pooling(server) as pool:
        pool.give_back(await opened(pool))
        await opened(pool)
        connection = pool.idle() or await opened(pool)
        pool.give_back(connection)
        assert f"127.0.0.1:{server.port} busy=1 idle=1 waiting=0" in repr(pool)


# one reply


@on_uvloop
async def test_a_whole_request_goes_out_and_a_whole_reply_comes_back() -> None:
    async with serving() as server, pooling(server) as pool:
        request = a_request("POST", b"hello")
        for _ in range(2):
            task = sending(pool, request)
            await answer_next(server, OK)
            outcome = await task
            assert isinstance(outcome, Reply)
            assert (outcome.status, outcome.head, outcome.body) == (200, OK[:-2], b"ok")
            assert (outcome.framing, outcome.truncated) == (Framing.LENGTH, False)
            assert 0 < outcome.latency_s < 5
        assert len(server.peers) == 1


@on_uvloop
async def test_a_body_in_pieces_goes_out_whole() -> None:
    pieces = tuple(bytes([each]) * 700_000 for each in b"abc")
    head = b"PUT /a HTTP/1.1\r\nHost: shop\r\nContent-Length: 2100000\r\n\r\n"
    request = Request(method="PUT", target="/a", head=head, pieces=pieces, body_bytes=2_100_000)
    async with serving() as server, pooling(server) as pool:
        for _ in range(2):
            task = sending(pool, request)
            backend = server.peers[0] if server.peers else await server.accept()
            assert await backend.until() == head
            assert await backend.exactly(2_100_000) == b"".join(pieces)
            await backend.send(OK)
            assert isinstance(await task, Reply)
        assert len(server.peers) == 1  # it was of use again


async def answer_next(server: Server, reply: bytes) -> Peer:
    """The backend's answer on the one connection."""
    peer = server.peers[0] if server.peers else await server.accept()
    assert await peer.until(b"hello") == a_request("POST", b"hello").head + b"hello"
    await peer.send(reply)
    return peer


@on_uvloop
async def test_a_failure_comes_back_as_a_value() -> None:
    async with serving() as server, pooling(server) as pool:
        task = sending(pool, a_request())
        (await server.accept()).reset()
        outcome = await task
        assert isinstance(outcome, Failure)
        assert (outcome.cause, outcome.sent) == (Cause.RESET, True)


def long_reply(size: int, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (fields, size)


@on_uvloop
async def test_a_reply_at_the_limit_is_whole() -> None:
    async with serving() as server, pooling(server) as pool:
        exchange = await begun(pool)
        await (await server.accept()).send(long_reply(LIMIT) + b"x" * LIMIT)
        reply = await replied(exchange)
        assert (len(reply.body), reply.truncated) == (LIMIT, False)


@on_uvloop
async def test_the_rest_of_a_longer_reply_is_dropped_and_the_connection_kept() -> None:
    async with serving() as server, pooling(server) as pool:
        exchange = await begun(pool, hold=False)
        backend = await server.accept()
        await backend.send(long_reply(LIMIT + 5) + b"x" * (LIMIT + 1))
        reply = await replied(exchange)
        assert (len(reply.body), reply.truncated) == (LIMIT + 1, True)
        assert pool.idle() is None
        await backend.send(b"yyyy")
        await until(lambda: pool._idle)
        assert len((await replied(exchange)).body) == LIMIT + 1


@on_uvloop
async def test_the_rest_of_a_longer_reply_waits_until_it_is_passed_on() -> None:
    async with serving() as server, pooling(server) as pool:
        exchange = await begun(pool)
        backend = await server.accept()
        size = 30_000_000
        flood = asyncio.ensure_future(backend.send(long_reply(size) + b"x" * size))
        reply = await replied(exchange)
        assert reply.truncated
        await asyncio.wait({flood}, timeout=0.05)
        assert not flood.done()
        taker = Taker()
        exchange.pass_on(taker)
        await taker.ended.wait()
        assert len(reply.body) + len(taker.body) == size
        assert taker.failure is None
        await flood
        assert pool.idle() is exchange.connection


@on_uvloop
async def test_an_event_stream_is_not_waited_for() -> None:
    async with serving() as server, pooling(server) as pool:
        exchange = await begun(pool)
        backend = await server.accept()
        await backend.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        reply = await replied(exchange)
        assert (reply.body, reply.truncated, reply.framing) == (b"", True, Framing.CLOSE)
        taker = Taker()
        exchange.pass_on(taker)
        await backend.send(b"data: 1\n\n")
        backend.finish()
        await taker.ended.wait()
        assert (taker.body, taker.failure) == (b"data: 1\n\n", None)


@on_uvloop
async def test_what_is_passed_on_too_late_is_a_failure() -> None:
    async with serving() as server, pooling(server, total_timeout_ms=5) as pool:
        exchange = await begun(pool)
        backend = await server.accept()
        await backend.send(long_reply(LIMIT + 5) + b"x" * (LIMIT + 1))
        assert (await replied(exchange)).truncated
        connection = exchange.connection
        assert connection is not None
        await sweeping(pool.sweep, until(lambda: not connection.is_busy))
        taker = Taker()
        exchange.pass_on(taker)
        assert taker.failure is not None
        assert (taker.failure.cause, taker.failure.sent) == (Cause.RESET, True)


@on_uvloop
async def test_a_held_reply_that_nobody_takes_does_not_keep_its_place_for_ever() -> None:
    async with (
        serving() as server,
        pooling(server, total_timeout_ms=5, connections_max=1) as pool,
    ):
        exchange = await begun(pool)
        backend = await server.accept()
        await backend.send(long_reply(LIMIT + 5) + b"x" * (LIMIT + 1))
        assert (await replied(exchange)).truncated
        assert isinstance(await sweeping(pool.sweep, pool.connect()), Connection)


# spooled bodies


@on_uvloop
async def test_a_spooled_body_is_sent_from_its_file(tmp_path: Path) -> None:
    size = 3 * FILE_PIECE_BYTES + 7
    path = tmp_path / "body"
    path.write_bytes(b"x" * size)
    request = a_request("PUT", spool=path, size=size)
    async with serving() as server, pooling(server) as pool:
        task = sending(pool, request)
        backend = await server.accept()
        assert await backend.until() == request.head
        assert await backend.exactly(size) == b"x" * size
        await backend.send(OK)
        assert isinstance(await task, Reply)
        assert pool.idle() is not None


@pytest.mark.parametrize("content", [None, b"too short", b"much too long for it"])
@on_uvloop
async def test_a_spool_that_is_not_whole_is_not_sent(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "body"
    if content is not None:
        path.write_bytes(content)
    async with serving() as server, pooling(server) as pool:
        outcome = await sending(pool, a_request("PUT", spool=path, size=10))
        assert isinstance(outcome, Failure)
        assert not outcome.sent
        assert "spool" in outcome.detail
        assert (server.accepted.empty(), pool._places) == (True, 0)


@on_uvloop
async def test_a_backend_that_ends_in_the_middle_of_a_file_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"x" * 20_000_000)
    request = a_request("PUT", spool=path, size=20_000_000)
    async with serving(receive_buffer=65536) as server, pooling(server) as pool:
        task = sending(pool, request)
        backend = await server.accept()
        await backend.until()
        backend.reset()
        outcome = await task
        assert isinstance(outcome, Failure)
        assert (outcome.cause, outcome.sent) == (Cause.RESET, True)
        assert isinstance(await pool.connect(), Connection)


@on_uvloop
async def test_a_backend_that_answers_in_the_middle_of_a_file_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"x" * 20_000_000)
    request = a_request("PUT", spool=path, size=20_000_000)
    async with serving(receive_buffer=65536) as server, pooling(server) as pool:
        task = sending(pool, request)
        backend = await server.accept()
        await backend.until()
        await backend.send(OK.replace(b"200", b"413"))
        outcome = await task
        assert isinstance(outcome, Reply)
        assert outcome.status == 413
        assert pool.idle() is None


@on_uvloop
async def test_a_backend_that_takes_nothing_of_a_file_is_late(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"x" * 20_000_000)
    request = a_request("PUT", spool=path, size=20_000_000)
    async with (
        serving(receive_buffer=65536) as server,
        pooling(server, first_byte_timeout_ms=10) as pool,
    ):
        outcome = await sweeping(pool.sweep, sending(pool, request))
        assert isinstance(outcome, Failure)
        assert (outcome.cause, outcome.sent) == (Cause.TIMEOUT, True)


@on_uvloop
async def test_a_backend_may_answer_at_length_while_it_still_reads(tmp_path: Path) -> None:
    """As one that echoes: its reply is held, it stops reading, and the upload waits for us."""
    path = tmp_path / "body"
    size = 20_000_000
    path.write_bytes(b"x" * size)
    request = a_request("PUT", spool=path, size=size)
    async with serving(receive_buffer=65536) as server, pooling(server) as pool:
        exchange = pool.ask(request, request.head, LIMIT, Ear())
        backend = await server.accept()
        await backend.until()

        async def echo() -> None:
            await backend.send(long_reply(size))
            for _ in range(size // 100_000):
                await backend.send(await backend.exactly(100_000))

        echoing = asyncio.ensure_future(echo())
        reply = await replied(exchange)
        assert reply.truncated
        taker = Taker()
        exchange.pass_on(taker)
        await taker.ended.wait()
        assert (len(reply.body) + len(taker.body), taker.failure) == (size, None)
        await echoing
        await until(lambda: not pool._asking)


@pytest.mark.parametrize("turns", range(1, 5))
@on_uvloop
async def test_no_place_is_lost_and_nobody_waits_when_a_pool_closes_as_an_upload_begins(
    tmp_path: Path, turns: int
) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"x" * 20_000_000)
    request = a_request("PUT", spool=path, size=20_000_000)
    async with serving(receive_buffer=65536) as server, pooling(server) as pool:
        pool.give_back(await opened(pool))
        exchange = pool.ask(request, request.head, LIMIT)
        for _ in range(turns):
            await asyncio.sleep(0)
        pool.close()
        assert isinstance(await exchange, Failure)
        await until(lambda: not pool._asking and not pool._open)
        assert pool._places == 0


@on_uvloop
async def test_a_request_that_is_given_up_does_not_end_as_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"x" * 20_000_000)
    request = a_request("PUT", spool=path, size=20_000_000)
    async with serving(receive_buffer=65536) as server, pooling(server) as pool:
        exchange = pool.ask(request, request.head, LIMIT)
        backend = await server.accept()
        await backend.until()
        pool.close()
        await backend.gone()
        outcome = await exchange
        assert isinstance(outcome, Failure)
        assert outcome.sent
        await until(lambda: pool._places == 0)


def encrypted(path: Path, body: bytes) -> Request:
    spool = Spool(path, 0, len(body), sealed=True)
    spool.add(body)
    spool.close()
    request = a_request("PUT", spool=path, size=len(body))
    return Request(
        method=request.method, target=request.target, head=request.head, spool=request.spool,
        body_bytes=request.body_bytes, spool_key=spool.key,
    )  # fmt: skip


@on_uvloop
async def test_an_encrypted_body_is_sent_as_it_was(tmp_path: Path) -> None:
    body = bytes(number % 251 for number in range(3 * FILE_PIECE_BYTES + 7))
    async with serving(receive_buffer=65536) as server, pooling(server) as pool:
        task = sending(pool, encrypted(tmp_path / "body", body))
        backend = await server.accept()
        await backend.until()
        assert await backend.exactly(len(body)) == body
        await backend.send(OK)
        assert isinstance(await task, Reply)


@on_uvloop
async def test_an_encrypted_body_that_was_changed_does_not_end_as_a_whole_one(
    tmp_path: Path,
) -> None:
    request = encrypted(tmp_path / "body", b"x" * 2 * FILE_PIECE_BYTES)
    with (tmp_path / "body").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        (last,) = file.read()
        file.seek(-1, os.SEEK_END)
        file.write(
            bytes([last ^ 1])
        )  # the key is a new one each time: any one value may be there already
    async with serving() as server, pooling(server) as pool:
        task = sending(pool, request)
        backend = await server.accept()
        await backend.until()
        await backend.gone()
        outcome = await task
        assert isinstance(outcome, Failure)
        assert outcome.sent
        assert "not what was encrypted" in outcome.detail


@on_uvloop
async def test_who_waits_for_a_connection_is_told_when_the_pool_closes() -> None:
    async with serving() as server, pooling(server, connections_max=1) as pool:
        await opened(pool)
        exchange = pool.ask(a_request(), b"GET", LIMIT)
        await in_line(pool, 1)
        pool.close()
        assert isinstance(await exchange, Failure)


@on_uvloop
async def test_who_waits_goes_on_before_the_loop_turns_and_finds_the_connection_free() -> None:
    async with serving() as server, pooling(server) as pool:
        exchange = await begun(pool)
        seen: list[Connection | None] = []
        exchange.told = lambda: seen.append(pool.idle())
        await (await server.accept()).send(OK)
        await until(lambda: exchange.done)
        assert seen == [exchange.connection]
