"""One table type for conversations on raw sockets, and the stand that plays them.

A `Case` is one row: a name, the section of the RFC that it follows, and its steps. A step is one
sentence about one of the three parties around the sidecar: the `CLIENT`, the `LEGACY` backend
(primary) and the `NEW` one (secondary):

    says(CLIENT, b"...")     it sends these bytes
    gets(NEW, b"...")        it receives exactly these bytes next
    gets_untouched(...)      the same in a tunnel
    told(502)                the client receives a problem document of Twinwrite's own
    ends(LEGACY)             it closes its connection (the client: its half)
    breaks(LEGACY)           it resets its connection
    finds_end(CLIENT)        the sidecar closes the connection, after nothing more
    finds_break(CLIENT)      the sidecar resets it, after nothing more

The rows of the usual shapes are made by the functions in `tests.conformance.rows`.

At the end of a row nobody may have received more than the row says. `last` says what becomes of the
client's connection: `KEPT` (it serves one more request), or `CLOSED` (and another one is served).

What Twinwrite itself adds to a request is taken out before bytes are compared, and must be there:
to both sides, behind the client's fields, `Via: 1.1 twinwrite` (1.0 for a client of HTTP/1.0), a
`traceparent` unless the client sent a valid one, and `Twinwrite-Hop: <instance>`; to the secondary then
`Idempotency-Key: twinwrite-<journal>-<intent>`, unless the client sent such a key. Behind these stand
`Expect` and `Upgrade` where they are asked of the primary anew.

Every row is played in both `Way`s: each `says` as one write, and as one write per byte.
"""

import asyncio
import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from tests.proxy.wire.raw import Peer, until

STEP_SECONDS = 2.0
"""A step that takes longer will not come true."""

TURNS = 3
"""Turns of the loop in which bytes on loopback get from one end to the other, and are looked at."""

WRITES_MAX = 400
"""What is longer than this many bytes is cut into this many pieces."""

ADDED = re.compile(
    rb"Via: 1\.[01] twinwrite\r\n"
    rb"(?:traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n)?"
    rb"Twinwrite-Hop: [0-9a-f]{16}\r\n"
    rb"(?:Idempotency-Key: twinwrite-[0-9a-f]+-[0-9]+\r\n)?"
    rb"(?=\r\n|Expect: |Connection: Upgrade\r\n)"
)
"""What Twinwrite adds to a request head."""

HEAD = re.compile(rb"[A-Z-]+ [^ \r]+ HTTP/1\.[01]\r\n")
"""How a request begins, in contrast to the rest of a body."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Way(StrEnum):
    """How bytes are cut into writes."""

    WHOLE = "whole"
    BYTES = "byte by byte"


class Party(StrEnum):
    """Who says or gets something."""

    CLIENT = "client"
    LEGACY = "legacy"
    NEW = "new"


CLIENT, LEGACY, NEW = Party


class Last(StrEnum):
    """What becomes of the client's connection."""

    KEPT = "kept"
    CLOSED = "closed"
    OPEN = "open"  # neither: the row ends in the middle, or has said it all itself


KEPT, CLOSED, OPEN = Last

Step = Callable[["Play"], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row."""

    name: str
    section: str
    steps: tuple[Step, ...]
    last: Last = KEPT
    ways: tuple[Way, ...] = tuple(Way)

    def __str__(self) -> str:
        return f"{self.section}: {self.name}"


class Recorder(asyncio.Protocol):
    """One connection that a backend took."""

    def __init__(self, backend: "Backend") -> None:
        self.backend = backend
        self.transport: asyncio.Transport
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.backend.received += data
        self.backend.talks = self

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_open = False


class Backend:
    """A backend that remembers every byte and says only what it is told, where it last heard something."""

    def __init__(self) -> None:
        self.received = b""
        self.talks: Recorder | None = None

    @property
    def current(self) -> Recorder:
        assert self.talks is not None, "nothing was received"
        return self.talks


@dataclass
class Play:
    """One row while it is played."""

    client: Peer
    backends: dict[Party, Backend]
    way: Way

    async def say(self, who: Party, data: bytes) -> None:
        recorder = None if who is CLIENT else self.backends[who].current
        count = min(len(data), WRITES_MAX) if self.way is Way.BYTES else 1
        for number in range(count):
            piece = data[number * len(data) // count : (number + 1) * len(data) // count]
            if recorder is None:
                await self.client.send(piece)
            elif recorder.is_open:
                recorder.transport.write(piece)
            await asyncio.sleep(0)
        await turns(TURNS)

    async def get(self, who: Party, data: bytes) -> None:
        if who is CLIENT:
            await self._client_gets(data)
            return
        backend = self.backends[who]
        with suppress(TimeoutError):
            async with asyncio.timeout(STEP_SECONDS):
                await until(lambda: ADDED.sub(b"", backend.received) == data)
        assert ADDED.sub(b"", backend.received) == data, f"at {who}"
        assert len(ADDED.findall(backend.received)) == bool(HEAD.match(data)), "what Twinwrite adds"
        backend.received = b""

    async def _client_gets(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(STEP_SECONDS):
                found = await self.client.exactly(len(data))
        except asyncio.IncompleteReadError as error:
            found = error.partial
        except TimeoutError:
            found = bytes(self.client.reader._buffer)  # type: ignore[attr-defined]
        assert found == data, "at the client"

    async def end(self) -> bool:
        """Wait for the end of the client's connection; whether it was a reset."""
        async with asyncio.timeout(STEP_SECONDS):
            try:
                assert await self.client.rest() == b"", "the client gets more"
            except ConnectionError:
                return True
            return False


async def turns(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


# steps


def says(who: Party, *pieces: bytes) -> Step:
    async def step(play: Play) -> None:
        for piece in pieces:
            await play.say(who, piece)

    return step


def gets(who: Party, data: bytes) -> Step:
    async def step(play: Play) -> None:
        await play.get(who, data)

    return step


def gets_untouched(who: Party, data: bytes) -> Step:
    """What a backend receives through a tunnel: Twinwrite adds nothing."""

    async def step(play: Play) -> None:
        backend = play.backends[who]
        with suppress(TimeoutError):
            async with asyncio.timeout(STEP_SECONDS):
                await until(lambda: backend.received == data)
        assert backend.received == data, f"at {who}"
        backend.received = b""

    return step


def told(status: int, *, closes: bool = False, head_only: bool = False) -> Step:
    """The client gets a problem document (RFC 9457), which says so if the connection ends with it."""

    async def step(play: Play) -> None:
        async with asyncio.timeout(STEP_SECONDS):
            head = await play.client.until()
            assert head.startswith(b"HTTP/1.1 %d " % status), head
            assert b"\r\nContent-Type: application/problem+json\r\n" in head
            assert (b"\r\nConnection: close\r\n" in head) is closes, head
            length = int(re.search(rb"\r\nContent-Length: ([0-9]+)\r\n", head)[1])  # type: ignore[index]
            if not head_only:
                assert json.loads(await play.client.exactly(length))["status"] == status

    return step


def ends(who: Party) -> Step:
    async def step(play: Play) -> None:
        if who is CLIENT:
            play.client.finish()
        else:
            play.backends[who].current.transport.close()
        await turns(TURNS)

    return step


def breaks(who: Party) -> Step:
    async def step(play: Play) -> None:
        if who is CLIENT:
            play.client.reset()
        else:
            transport = play.backends[who].current.transport
            peer = transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        await turns(TURNS)

    return step


def finds_end(who: Party) -> Step:
    async def step(play: Play) -> None:
        if who is CLIENT:
            assert not await play.end(), "a reset"
            return
        recorder = play.backends[who].current
        async with asyncio.timeout(STEP_SECONDS):
            await until(lambda: not recorder.is_open)

    return step


def finds_break(who: Party) -> Step:
    async def step(play: Play) -> None:
        assert who is CLIENT
        assert await play.end(), "an end that could be taken for that of a whole message"

    return step
