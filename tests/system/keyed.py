"""A keyed store as one backend: values by key, what was applied to each key, chosen delays. A process of its own.

    PUT /k/KEY?ref=R          sets the value (the body)
    DELETE /k/KEY?ref=R       removes it
    POST /move/FROM/TO?ref=R  takes the value of one key to another
    GET /dump                 {"values": {KEY: VALUE}, "history": {KEY: [[R, monotonic ns, Idempotency-Key]]}}
    PUT /sick/STATUS          answers every write with this status and applies none, until STATUS is 0

Law: a write is applied at one moment, between a delay before it and one after it. Bodies are framed by
Content-Length. Prints one JSON line when it serves; ends with SIGTERM.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVarTuple, cast
from urllib.parse import parse_qs, urlsplit

import uvloop

LENGTH = re.compile(rb"\ncontent-length: *([0-9]+)", re.IGNORECASE)
KEY = re.compile(rb"\nidempotency-key: *([^\r]+)", re.IGNORECASE)

Entry = tuple[str, int, str]
Arguments = TypeVarTuple("Arguments")


@dataclass(slots=True, kw_only=True)
class Store:
    """What all connections share. `exact`: an Idempotency-Key is applied once. `strict`: what is missing is 404."""

    delay_ms: float
    exact: bool
    strict: bool
    chance: random.Random
    sick: int = 0
    values: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[Entry]] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)

    def delay_s(self) -> float:
        return self.chance.uniform(0, self.delay_ms) / 1000

    def apply(self, method: str, target: str, key: str, body: bytes) -> tuple[int, bytes]:
        """Carry out one request: the status, and the body of the answer."""
        parts = urlsplit(target)
        words = parts.path.split("/")[1:]
        if words[0] == "sick":
            self.sick = int(words[1])
            return 200, b""
        if method == "GET":
            return 200, json.dumps({"values": self.values, "history": self.history}).encode()
        if self.sick:
            return self.sick, b""
        if self.exact and key in self.answers:
            return self.answers[key], b""
        status = self._change(method, words, body)
        if self.exact and key:
            self.answers[key] = status
        if status < 300:
            entry = (parse_qs(parts.query)["ref"][0], time.monotonic_ns(), key)
            for name in dict.fromkeys(words[1:]):
                self.history.setdefault(name, []).append(entry)
        return status, b""

    def _change(self, method: str, words: list[str], body: bytes) -> int:
        if self.strict and method != "PUT" and words[1] not in self.values:
            return 404
        if method == "PUT":
            self.values[words[1]] = body.decode()
            return 200
        taken = self.values.pop(words[1], None)
        if method == "POST":
            self.values.pop(words[2], None)
            if taken is not None:
                self.values[words[2]] = taken
        return 200


class Connection(asyncio.Protocol):
    """One keep-alive connection: a request at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        found = LENGTH.search(self._received, 0, end)
        whole = end + 4 + (int(found[1]) if found else 0)
        if len(self._received) < whole:
            return
        head, body = self._received[:end], self._received[end + 4 : whole]
        self._received = self._received[whole:]
        self._later(self._apply, head, body)

    def _later(self, function: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        if self._store.delay_ms:
            asyncio.get_running_loop().call_later(self._store.delay_s(), function, *arguments)
        else:
            function(*arguments)

    def _apply(self, head: bytes, body: bytes) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        key = KEY.search(head)
        answer = self._store.apply(method, target, key[1].decode() if key else "", body)
        self._later(self._answer, *answer)

    def _answer(self, status: int, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            head = f"HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            self._transport.write(f"{head}\r\n\r\n".encode() + body)


async def serve(store: Store) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    server = await loop.create_server(lambda: Connection(store), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"event": "ready", "url": f"http://127.0.0.1:{port}"}), flush=True)
    await stopping.wait()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    store = Store(delay_ms=given.delay_ms, exact=given.exact, strict=given.strict, chance=chance)
    uvloop.run(serve(store))
