"""Clients of a sidecar that write to few keys of a keyed store. Also a process of its own.

    python tests/system/writers.py --port 8080 --rate 2500 --connections 64 --keys 200 --out FILE

Open loop: a write is due every 1/rate seconds, whatever is unanswered; one that finds no free connection for
LATE_SECONDS is shed. Prints one JSON line when it begins; on SIGTERM it writes what it remembers (`Book`) to FILE.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

LATE_SECONDS = 0.25
AGAIN_SECONDS = 0.02
LENGTH = re.compile(rb"\ncontent-length: *([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Write:
    """One write: `ref` is unique, `size` is how many bytes its value has beside the ref."""

    ref: str
    method: str
    path: str
    size: int = 0

    @property
    def target(self) -> str:
        return f"{self.path}?ref={self.ref}"

    @property
    def body(self) -> bytes:
        return f"{self.ref} ".encode().ljust(self.size, b".") if self.method == "PUT" else b""

    def raw(self) -> bytes:
        """The request as bytes."""
        body = self.body
        head = f"{self.method} {self.target} HTTP/1.1\r\nHost: store\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What is written: to which keys, how often a move or a delete, how long the values are."""

    keys: int
    prefix: str = "e"
    moves: float = 0.15
    deletes: float = 0.15
    sizes: tuple[int, ...] = (100,)

    def next(self, ref: str, chance: random.Random) -> Write:
        """The next write."""
        key, draw = f"{self.prefix}{chance.randrange(self.keys)}", chance.random()
        if draw < self.moves:
            return Write(ref, "POST", f"/move/{key}/{self.prefix}{chance.randrange(self.keys)}")
        if draw < self.moves + self.deletes:
            return Write(ref, "DELETE", f"/k/{key}")
        return Write(ref, "PUT", f"/k/{key}", chance.choice(self.sizes))


@dataclass(slots=True)
class Book:
    """What the clients remember. `answered`: ref, monotonic ns of the answer, status."""

    answered: list[tuple[str, int, int]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)  # sent; the connection ended
    offered: int = 0
    refused: int = 0  # no connection could be opened
    shed: int = 0  # no connection was free in time
    seconds: float = 0.0

    def refs(self, *statuses: int) -> set[str]:
        """The writes that were answered with one of these."""
        return {ref for ref, _, status in self.answered if status in statuses}


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight. `head` is that of the last answer."""

    def __init__(self) -> None:
        self.head = b""
        self.open = True
        self._received = b""
        self._told: asyncio.Future[int] | None = None
        self._transport: asyncio.WriteTransport | None = None

    @classmethod
    async def to(cls, port: int) -> "Connection":
        """Connect to a port of this machine; raises OSError."""
        loop = asyncio.get_running_loop()
        _, found = await loop.create_connection(cls, "127.0.0.1", port)
        return found

    async def ask(self, write: Write) -> int | None:
        """The status of the answer; None when the connection ended without one."""
        assert self._transport is not None
        self._told = asyncio.get_running_loop().create_future()
        if not self.open:
            return None
        self._transport.write(write.raw())
        status = await self._told
        return status or None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        found = LENGTH.search(self._received, 0, end)
        if len(self._received) < end + 4 + (int(found[1]) if found else 0):
            return
        status, self.head, self._received = int(self._received[9:12]), self._received[:end], b""
        if self._told is not None and not self._told.done():
            self._told.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.open = False
        if self._told is not None and not self._told.done():
            self._told.set_result(0)


class Writers:
    """`connections` clients that share one rate (0: as fast as answers come) and one book."""

    def __init__(self, port: int, mix: Mix, rate: float, seed: int) -> None:
        self.book = Book()
        self._port = port
        self._mix = mix
        self._gap = 1 / rate if rate else 0.0
        self._chance = random.Random(seed)
        self._due = 0.0
        self._stopping = False

    async def run(self, connections: int) -> None:
        """Write until `stop`."""
        begun = self._due = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                group.create_task(self._client(f"{self._mix.prefix}c{number}"))
        self.book.seconds = time.monotonic() - begun

    def stop(self) -> None:
        """End when what is in flight is answered."""
        self._stopping = True

    async def _client(self, name: str) -> None:
        connection: Connection | None = None
        number = 0
        while not self._stopping:
            if not await self._is_in_time():
                continue
            if connection is None or not connection.open:
                connection = await self._connected()
            if connection is not None:
                number += 1
                await self._ask(connection, self._mix.next(f"{name}-{number}", self._chance))
        if connection is not None:
            connection.close()

    async def _is_in_time(self) -> bool:
        """Wait for the moment of the next write; whether it is not over by far."""
        self.book.offered += 1
        if not self._gap:
            return True
        due, self._due = self._due, self._due + self._gap
        left = due - time.monotonic()
        if left < -LATE_SECONDS:
            self.book.shed += 1
            return False
        await asyncio.sleep(max(left, 0))
        return True

    async def _connected(self) -> Connection | None:
        try:
            return await Connection.to(self._port)
        except OSError:
            self.book.refused += 1
            await asyncio.sleep(AGAIN_SECONDS)
            return None

    async def _ask(self, connection: Connection, write: Write) -> None:
        status = await connection.ask(write)
        if status is None:
            self.book.unanswered.append(write.ref)
        else:
            self.book.answered.append((write.ref, time.monotonic_ns(), status))


def read_book(path: Path) -> Book:
    """What a process of writers left."""
    found = json.loads(path.read_text())
    found["answered"] = [tuple(entry) for entry in found["answered"]]
    return Book(**found)


async def main(given: argparse.Namespace) -> None:
    mix = Mix(keys=given.keys, sizes=tuple(given.sizes))
    writers = Writers(given.port, mix, given.rate, given.seed)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, writers.stop)
    print(json.dumps({"event": "ready"}), flush=True)
    await writers.run(given.connections)
    given.out.write_text(json.dumps(asdict(writers.book)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    uvloop.run(main(parser.parse_args()))
