"""Looks, before anything is measured, whether a contestant does what it is measured for.

Law: a mirror that loses, changes or doubles a request, and a relay that mirrors, ends the run: it must
not win by doing less. Nor may it lose by a bad configuration: connections to the backends are kept. The
backends here run in this process and keep what they get.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from bench import sample
from bench.backend import head_length
from bench.bed import Bed, Sides
from bench.contestants import Contestant
from bench.tools import Pin, ToolError

COUNT = 16
"""Requests per contestant, one after the other."""

CONNECTIONS_MAX = COUNT // 2
"""Who needs more of them to one side, for requests one after the other, does not keep connections."""

SECONDS_MAX = 10.0
"""So long the requests may take together, and the mirrored ones to arrive."""

SECONDS_AFTER = 0.1
"""So long is looked whether more arrives than was sent."""

_READ_BYTES = 1 << 20

Seen = Counter[tuple[bytes, bytes, bytes]]
"""Requests by method, target and body."""


@dataclass(slots=True)
class Recorder:
    """A backend that keeps what it gets; `news` is set whenever something came."""

    reply: bytes
    news: asyncio.Event
    seen: Seen = field(default_factory=Counter)
    connections: int = 0
    address: str = ""
    _server: asyncio.Server | None = None

    async def open(self) -> None:
        """Serve on a free port of 127.0.0.1; `address` tells it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"

    def close(self) -> None:
        """Stop serving. Connections end when the contestant ends."""
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head_length(head)
                assert length is not None
                body = await reader.readexactly(length - len(head))
                method, target, _ = head.split(b" ", 2)
                self.seen[method, target, body] += 1
                self.news.set()
                writer.write(self.reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the contestant closed it
        finally:
            writer.close()


async def check(
    bed: Bed,
    contestants: Sequence[Contestant],
    body_bytes: int,
    seconds: float = SECONDS_MAX,
) -> None:
    """Try every contestant on backends that record; raises ToolError that names who failed, and how.

    `seconds`: how long the mirrored requests may take to arrive.
    """
    bed.pin(Pin.NONE)
    tries = (_tried(bed, each, body_bytes, seconds) for each in contestants)
    found = await asyncio.gather(*tries, return_exceptions=True)
    wrong = []
    for each in found:
        if isinstance(each, BaseException):
            raise each
        if each:
            wrong.append(each)
    if wrong:
        raise ToolError("; ".join(wrong))


async def _tried(bed: Bed, contestant: Contestant, body_bytes: int, seconds: float) -> str:
    news = asyncio.Event()
    legacy, new = Recorder(sample.REPLY, news), Recorder(sample.REPLY, news)
    new_empty = Recorder(sample.reply(""), news)
    recorders = (legacy, new, new_empty)
    for each in recorders:
        await each.open()
    sides = Sides(
        legacy=legacy.address, new=new.address, new_empty=new_empty.address, hung=new.address
    )
    served = await contestant.start(bed, sides)
    try:
        async with asyncio.timeout(SECONDS_MAX):
            sent = await _sent(served.address, body_bytes)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await _arrived((new, new_empty), COUNT if contestant.mirrors else 0, news)
    except (OSError, asyncio.IncompleteReadError) as error:
        return f"{contestant.name} does not serve: {error!r}"
    finally:
        if served.child is not None:
            await bed.stop(served.child)
        for each in recorders:
            each.close()
    new.connections += new_empty.connections
    new.seen += new_empty.seen
    wanted: Seen = sent if contestant.mirrors else Counter()
    return judged(f"{contestant.name}, legacy", legacy, sent) or judged(
        f"{contestant.name}, new", new, wanted, reconnects=contestant.reconnects
    )


def judged(name: str, side: Recorder, wanted: Seen, *, reconnects: bool = False) -> str:
    """What is wrong with what a side got; nothing: an empty text."""
    if side.seen != wanted:
        return (
            f"{name}: of {wanted.total()} requests it got {(side.seen & wanted).total()} as they were "
            f"sent, and {(side.seen - wanted).total()} that were not"
        )
    if side.connections > CONNECTIONS_MAX and not reconnects:
        return f"{name}: {side.connections} connections for {wanted.total()} requests"
    return ""


async def _sent(address: str, body_bytes: int) -> Seen:
    """Send requests on one connection and read the replies; what was sent. Raises OSError and
    IncompleteReadError."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=_READ_BYTES)
    sent: Seen = Counter()
    try:
        for request in sample.requests(address, body_bytes)[:COUNT]:
            writer.write(request)
            await _answered(reader)
            head, _, body = request.partition(b"\r\n\r\n")
            method, target, _ = head.split(b" ", 2)
            sent[method, target, body] += 1
    finally:
        writer.close()
    return sent


async def _answered(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head_length(head)
    if length is None or not head.startswith(b"HTTP/1.1 200"):
        raise OSError(f"it answered {head.splitlines()[0]!r}")
    body = await reader.readexactly(length - len(head))
    if body != sample.REPLY_BODY.encode():
        raise OSError("it did not pass on the primary's reply")


async def _arrived(recorders: Sequence[Recorder], count: int, news: asyncio.Event) -> None:
    """Wait until the recorders have that many requests together, then a little more."""
    while sum(each.seen.total() for each in recorders) < count:
        news.clear()
        await news.wait()
    await asyncio.sleep(SECONDS_AFTER)
