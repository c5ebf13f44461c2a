"""All connections of a listener: their number, their deadlines, their end."""

import asyncio

import pytest

from proxy.control.ports import Listen
from proxy.wire.clients import LINGER_S, Clients
from tests.proxy.wire.raw import Hall, Peer, at_once, listening, on_uvloop, sweeping, until
from tests.proxy.wire.test_downstream import CLOSING, GET, POST, refused


@on_uvloop
async def test_times_are_those_of_the_settings() -> None:
    clients = Clients(Listen(idle_timeout_ms=500, body_timeout_ms=3000), Hall())
    assert (clients.idle_timeout_s, clients.body_timeout_s, clients.linger_s) == (0.5, 3, 0.5)
    assert Clients(Listen(), Hall()).linger_s == LINGER_S
    assert Clients(Listen(body_bytes_per_second_min=100), Hall()).body_byte_s == 0.01
    assert Clients(Listen(body_bytes_per_second_min=0), Hall()).body_byte_s >= 30


@pytest.mark.parametrize("hurried", [False, True])
@on_uvloop
async def test_one_connection_too_many_is_told_so(hurried: bool) -> None:
    async with listening(Hall(at_once), connections_max=1) as front:
        first = await front.connect()
        await first.send(GET)
        await first.answer()
        second = await front.connect()
        if (
            hurried
        ):  # its request is there before it is refused: unread, it would reset the reply away
            await second.send(GET)
        assert (await refused(second))[0] == 503
        await second.close()
        await until(lambda: not front.clients.surplus)
        await first.send(GET)
        await first.answer()
        assert front.clients.refused == 1


async def told(client: Peer) -> bytes:
    head = await client.until()
    await client.rest()
    return head


@on_uvloop
async def test_those_who_are_too_many_are_told_when_to_come_again_and_not_waited_for() -> None:
    async with listening(Hall(at_once), connections_max=1, idle_timeout_ms=20) as front:
        first = await front.connect()
        await first.send(GET)
        await first.answer()
        second = await front.connect()
        assert b"\r\nRetry-After: " in await told(second)
        third = await front.connect()
        assert await third.rest() == b""  # even telling has a limit
        assert len(front.clients.surplus) == 1
        await sweeping(front.clients.sweep, until(lambda: not front.clients.surplus))


@on_uvloop
async def test_a_drain_closes_what_is_idle_and_lets_the_rest_end() -> None:
    hall = Hall()
    async with listening(hall) as front:
        idle, busy, begun = [await front.connect() for _ in range(3)]
        await busy.send(POST + b"he")
        guest = await hall.guest()
        await begun.send(GET[:9])
        await until(lambda: any(client._buffer for client in front.clients.open))
        front.clients.drain()
        assert await idle.rest() == b""
        await busy.send(b"llo")
        await guest.ended.wait()
        guest.say()
        assert await busy.rest() == CLOSING
        await begun.send(GET[9:])
        (await hall.guest()).say()
        assert await begun.rest() == CLOSING
        for client in (busy, begun):
            await client.close()
        await until(lambda: not front.clients.open)


@on_uvloop
async def test_an_abort_ends_every_connection_and_tells_every_sink() -> None:
    hall = Hall()
    async with listening(hall) as front:
        clients = [await front.connect() for _ in range(3)]
        await clients[0].send(GET)
        guest = await hall.guest()
        front.clients.abort()
        await guest.left.wait()
        for client in clients:
            await client.gone()
        await until(lambda: not front.clients.open)


@on_uvloop
async def test_an_abort_ends_those_who_are_too_many() -> None:
    async with listening(Hall(), connections_max=1) as front:
        for _ in range(2):
            await front.connect()
        await until(lambda: front.clients.surplus)
        front.clients.abort()
        await until(lambda: not front.clients.surplus and not front.clients.open)


@on_uvloop
async def test_only_who_is_late_is_ended() -> None:
    async with listening(Hall()) as front:
        for _ in range(3):
            await front.connect()
        await until(lambda: len(front.clients.open) == 3)
        late = next(iter(front.clients.open))
        late.deadline = 0
        front.clients.sweep()
        await asyncio.sleep(0)
        await until(lambda: late not in front.clients.open)
        assert len(front.clients.open) == 2
