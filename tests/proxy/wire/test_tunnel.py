"""A tunnel between a real client and a real backend: bytes both ways, slowness, ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from proxy.wire.clients import Clients
from proxy.wire.pool import Pool
from proxy.wire.tunnel import LAST_BYTES_S, End, open_tunnel
from tests.certificates import Certificates
from tests.proxy.wire.raw import (
    Front,
    Guest,
    Hall,
    Peer,
    listening,
    on_uvloop,
    pooling,
    serving,
    sweeping,
    until,
)
from tests.proxy.wire.test_connection import HEAD, SWITCHED, Asking, opened
from tests.proxy.wire.test_listen import manned, tls
from tests.proxy.wire.test_secure import paired

SIZE = 30_000_000


@dataclass
class Joined:
    """A tunnel and its two ends."""

    client: Peer
    backend: Peer
    front: Front
    pool: Pool
    taker: Asking = field(default_factory=Asking)


@asynccontextmanager
async def joined(
    early: bytes = b"", first: bytes = b"", idle_s: float = 60.0, *, finish: bool = False
) -> AsyncIterator[Joined]:
    """A client that has asked, and sent `early` along; a backend that has agreed, with `first` behind."""
    hall = Hall()
    async with (
        serving(receive_buffer=65536) as server,
        pooling(server) as pool,
        listening(hall) as front,
    ):
        client = await front.connect(receive_buffer=65536)
        await client.send(HEAD + early)
        guest = await hall.guest()
        if finish:
            client.finish()
            await until(lambda: guest.client._eof)
        connection = await opened(pool)
        backend = await server.accept()
        test = Joined(client, backend, front, pool)
        connection.start(test.taker, "GET", HEAD, ended=True)
        await backend.until()
        await backend.send(SWITCHED + first)
        await until(lambda: test.taker.consent)
        ((head, data),) = test.taker.consent
        open_tunnel(guest.client, connection, head, data, idle_s)
        assert await client.until() == SWITCHED
        yield test
        await nobody(guest)


async def nobody(guest: Guest) -> None:
    """The sink of the request has nothing more to do with it."""
    assert not guest.left.is_set()


async def over(test: Joined) -> None:
    """Wait until both ends are closed, and nothing of the tunnel is left."""
    await test.client.gone()
    await test.backend.gone()
    await until(lambda: not test.front.clients.open)


@on_uvloop
async def test_bytes_pass_both_ways_as_they_are() -> None:
    async with joined() as test:
        for data in (b"\0\xff", b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000):
            await test.client.send(data)
            assert await test.backend.exactly(len(data)) == data
            await test.backend.send(data)
            assert await test.client.exactly(len(data)) == data


@on_uvloop
async def test_what_came_before_the_tunnel_was_open_is_not_lost() -> None:
    async with joined(b"early", b"first") as test:
        assert await test.backend.exactly(5) == b"early"
        assert await test.client.exactly(5) == b"first"
        await test.client.send(b"more")
        assert await test.backend.exactly(4) == b"more"


@on_uvloop
async def test_it_is_no_connection_of_the_pool_any_more() -> None:
    async with joined() as test:
        test.pool.close()
        await test.client.send(b"still")
        assert await test.backend.exactly(5) == b"still"


# ends


@on_uvloop
async def test_one_half_may_end_before_the_other() -> None:
    async with joined() as test:
        await test.client.send(b"all")
        test.client.finish()
        assert await test.backend.rest() == b"all"
        await test.backend.send(b"answer")
        assert await test.client.exactly(6) == b"answer"
        test.backend.finish()
        await over(test)


@on_uvloop
async def test_the_backend_may_end_its_half_first() -> None:
    async with joined() as test:
        await test.backend.send(b"all")
        test.backend.finish()
        assert await test.client.rest() == b"all"
        await test.client.send(b"answer")
        assert await test.backend.exactly(6) == b"answer"
        await test.client.close()
        await over(test)


@on_uvloop
async def test_a_half_that_ended_before_the_tunnel_was_open_has_ended() -> None:
    async with joined(finish=True) as test:
        assert await test.backend.rest() == b""
        await test.backend.send(b"answer")
        assert await test.client.exactly(6) == b"answer"


@pytest.mark.parametrize("who", ["client", "backend"])
@on_uvloop
async def test_who_closes_ends_it_and_the_last_bytes_arrive(who: str) -> None:
    async with joined() as test:
        leaving, staying = test.client, test.backend
        if who == "backend":
            leaving, staying = staying, leaving
        await leaving.send(b"last")
        await leaving.close()
        assert await staying.rest() == b"last"
        await staying.close()
        await over(test)


@pytest.mark.parametrize("who", ["client", "backend"])
@on_uvloop
async def test_a_reset_ends_it(who: str) -> None:
    async with joined() as test:
        leaving, staying = test.client, test.backend
        if who == "backend":
            leaving, staying = staying, leaving
        leaving.reset()
        await staying.gone()
        await until(lambda: not test.front.clients.open)


@on_uvloop
async def test_last_bytes_that_nobody_takes_are_given_up() -> None:
    async with joined() as test:
        sending = asyncio.ensure_future(test.client.send(b"x" * SIZE))
        (client,) = test.front.clients.open
        here = client.transport.get_protocol()
        assert isinstance(here, End)
        there = here.other.transport
        await until(there.get_write_buffer_size)
        client.deadline = 0
        test.front.clients.sweep()
        with pytest.raises(ConnectionError):
            await sending
        assert there.is_closing()
        assert there.get_write_buffer_size()
        await asyncio.sleep(LAST_BYTES_S)
        await until(lambda: not there.get_write_buffer_size())


@on_uvloop
async def test_one_that_is_silent_for_too_long_ends() -> None:
    async with joined(idle_s=0.03) as test:
        await sweeping(test.front.clients.sweep, over(test))


@on_uvloop
async def test_one_that_is_not_silent_lasts() -> None:
    async with joined(idle_s=0.05) as test:
        started = test.front.clients.now()
        sender, receiver = test.client, test.backend
        while test.front.clients.now() < started + 0.15:
            await sender.send(b"x")
            assert await sweeping(test.front.clients.sweep, receiver.exactly(1)) == b"x"
            sender, receiver = receiver, sender
            await asyncio.sleep(0.002)
        assert test.front.clients.open


@on_uvloop
async def test_a_drain_leaves_it_and_an_abort_ends_it() -> None:
    async with joined() as test:
        test.front.clients.drain()
        await test.client.send(b"still")
        assert await test.backend.exactly(5) == b"still"
        test.front.clients.abort()
        await over(test)


# a slow reader slows the writer


def held(test: Joined) -> int:
    """Bytes that our side holds for either end."""
    (client,) = test.front.clients.open
    here = client.transport.get_protocol()
    assert isinstance(here, End)
    ends = (here, here.other)
    return sum(end.transport.get_write_buffer_size() for end in ends)


@pytest.mark.parametrize("who", ["client", "backend"])
@on_uvloop
async def test_who_does_not_read_stops_who_sends(who: str) -> None:
    async with joined() as test:
        sender, reader = test.client, test.backend
        if who == "backend":
            sender, reader = reader, sender
        sending = asyncio.ensure_future(sender.send(b"x" * SIZE))
        await asyncio.wait({sending}, timeout=0.1)
        assert not sending.done()
        assert 0 < held(test) < 1_000_000
        await reader.send(b"the other way is free")
        assert await sender.exactly(21) == b"the other way is free"
        assert await reader.exactly(SIZE) == b"x" * SIZE
        await sending


# TLS: a transport without halves


@asynccontextmanager
async def secured(certificates: Certificates) -> AsyncIterator[tuple[Peer, Peer, Clients]]:
    """A tunnel with TLS at both ends."""
    hall = Hall()
    async with paired(certificates) as (pool, server), manned(hall, tls=tls(certificates)) as post:
        client = await post.connect(certificates.client_context())
        await client.send(HEAD + b"early")
        guest = await hall.guest()
        connection = await opened(pool)
        backend = await server.accept()
        taker = Asking()
        connection.start(taker, "GET", HEAD, ended=True)
        await backend.until()
        await backend.send(SWITCHED + b"first")
        await until(lambda: taker.consent)
        ((head, data),) = taker.consent
        open_tunnel(guest.client, connection, head, data, 60.0)
        assert await client.until(b"first") == SWITCHED + b"first"
        assert await backend.exactly(5) == b"early"
        yield client, backend, post.clients


@on_uvloop
async def test_bytes_pass_both_ways_between_two_ends_with_tls(certificates: Certificates) -> None:
    async with secured(certificates) as (client, backend, _):
        for sender, receiver in ((client, backend), (backend, client)):
            sending = asyncio.ensure_future(sender.send(b"x" * 20_000_000))
            assert await receiver.exactly(20_000_000) == b"x" * 20_000_000
            await sending


@pytest.mark.parametrize("who", [0, 1])
@on_uvloop
async def test_with_tls_one_end_ends_both(certificates: Certificates, who: int) -> None:
    async with secured(certificates) as (client, backend, clients):
        leaving, staying = (client, backend) if who == 0 else (backend, client)
        await leaving.send(b"last")
        leaving.writer.close()
        assert await staying.rest() == b"last"
        await until(lambda: not clients.open)
