"""Our own load generator, a process of its own: closed loop (wrk's way) and open loop.

    python -m bench.load --url 127.0.0.1:8080 --connections 32 --seconds 2
    python -m bench.load --url 127.0.0.1:8080 --connections 64 --seconds 5 --rate 500

Closed loop: every connection sends its next request when the last is answered. Open loop: requests
start at a fixed rate whatever is unanswered, and a latency counts from when the request was *due*, so
nothing that the server (or this program) delays is left out: no coordinated omission.
Law: prints one JSON object, of `Load`, and nothing else.
"""

import asyncio
import gc
import json
import math
import sys
import time
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import cast

import click
import uvloop

from bench import sample
from bench.backend import message_end, precise_loop

GRACE_SECONDS = 5.0
"""How long the open loop waits at its end for replies; later ones count as unanswered."""

CONNECTIONS_MAX = 900
"""The open loop's selector (select) takes fewer than 1,024 files."""


@dataclass(frozen=True, slots=True)
class Requests:
    """What is sent: where to (host:port), and how long the bodies are."""

    address: str
    body_bytes: int = sample.BODY_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a generator saw. Latencies in microseconds.

    `errors`: requests without a 2xx reply, by kind. `late_p99_us`: how late the generator itself
    began requests (open loop only): near the latencies it means that the generator was the limit.
    """

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    p999_us: float
    late_p99_us: float = 0.0
    errors: dict[str, int]


def percentile(ordered: Sequence[float], part: float) -> float:
    """The nearest-rank percentile of sorted values; 0 when there are none."""
    return ordered[max(math.ceil(part * len(ordered)) - 1, 0)] if ordered else 0.0


class Client(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, generator: "Generator") -> None:
        self._generator = generator
        self._received = b""
        self._since = -1.0  # when the request in flight counts from
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is not a subclass

    def send(self, request: bytes, since: float) -> None:
        """Send a request whose latency counts from `since`, in seconds of `Generator.now`."""
        assert self._transport is not None
        self._since = since
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        received = self._received + data if self._received else data
        end = message_end(received)
        if end is None:
            self._received = received
            return
        since, self._since, self._received = self._since, -1.0, received[end:]
        if since < 0 or self._received:
            self._generator.errors["unasked bytes"] += 1
        self._generator.answered(self, received[9:12], since)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its signature
        """Part of asyncio.Protocol."""
        self._generator.lost(self, in_flight=self._since >= 0)


class Generator:
    """What both loops share: connections, requests, counts."""

    def __init__(self, requests: Requests) -> None:
        self.errors: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.loop = asyncio.get_running_loop()
        self.now = time.monotonic  # uvloop's own clock knows milliseconds only
        self.stopping = False
        self._host, _, port = requests.address.rpartition(":")
        self._port = int(port)
        self._requests = cycle(sample.requests(requests.address, requests.body_bytes))
        self._tasks: set[asyncio.Task[None]] = set()

    def next(self) -> bytes:
        """The next request to send."""
        return next(self._requests)

    async def connect(self) -> None:
        """Open one connection and put it to use; a refusal is counted."""
        try:
            _, client = await self.loop.create_connection(
                lambda: Client(self), self._host, self._port
            )
        except OSError:
            self.errors["connect"] += 1
            return
        self.free(client)

    def answered(self, client: Client, status: bytes, since: float) -> None:
        """A reply is whole."""
        if not status.startswith(b"2"):
            self.errors[f"status {status.decode('latin-1')}"] += 1
        self.latencies.append((self.now() - since) * 1e6)
        self.free(client)

    def lost(self, client: Client, *, in_flight: bool) -> None:
        """A connection ended; while the run lasts it is replaced."""
        self.forget(client)
        if self.stopping:
            return
        if in_flight:
            self.errors["closed"] += 1
        task = self.loop.create_task(self.connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @abstractmethod
    def free(self, client: Client) -> None:
        """A connection can take a request."""

    def forget(self, client: Client) -> None:
        """A connection is gone."""

    def result(self, seconds: float, late: Sequence[float] = ()) -> Load:
        """The numbers of the run."""
        ordered = sorted(self.latencies)
        return Load(
            requests=len(ordered),
            seconds=seconds,
            p50_us=percentile(ordered, 0.5),
            p99_us=percentile(ordered, 0.99),
            p999_us=percentile(ordered, 0.999),
            late_p99_us=percentile(sorted(late), 0.99) * 1e6,
            errors=dict(self.errors),
        )


class ClosedLoop(Generator):
    """Every connection sends when it can."""

    async def run(self, connections: int, seconds: float) -> Load:
        """Run for `seconds`."""
        started = self.now()
        await asyncio.gather(*(self.connect() for _ in range(connections)))
        await asyncio.sleep(seconds)
        self.stopping = True
        return self.result(self.now() - started)

    def free(self, client: Client) -> None:
        """Part of Generator."""
        if not self.stopping:
            client.send(self.next(), self.now())


class OpenLoop(Generator):
    """Requests start when they are due; without a free connection they wait, and the wait counts."""

    def __init__(self, requests: Requests, rate: float) -> None:
        super().__init__(requests)
        self._done = asyncio.Event()
        self._idle: list[Client] = []
        self._late: list[float] = []
        self._rate = rate
        self._sent = 0
        self._started = math.inf
        self._total = 0
        self._waiting: deque[float] = deque()

    async def run(self, connections: int, seconds: float) -> Load:
        """Start `rate * seconds` requests, evenly spaced, and wait for the replies, but not forever."""
        await asyncio.gather(*(self.connect() for _ in range(connections)))
        self._started = self.now()
        self._total = math.ceil(self._rate * seconds)
        self._due()
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                await self._done.wait()
        except TimeoutError:
            self.errors["unanswered"] = self._total - len(self.latencies)
        self.stopping = True
        return self.result(self.now() - self._started, self._late)

    def _due(self) -> None:
        now = self.now()
        while self._sent < self._total and (due := self._started + self._sent / self._rate) <= now:
            self._sent += 1
            self._late.append(now - due)
            if self._idle:
                self._idle.pop().send(self.next(), due)
            else:
                self._waiting.append(due)
        if self._sent < self._total:
            self.loop.call_at(self._started + self._sent / self._rate, self._due)

    def free(self, client: Client) -> None:
        """Part of Generator."""
        if self._waiting:
            client.send(self.next(), self._waiting.popleft())
        else:
            self._idle.append(client)
        self._look()

    def forget(self, client: Client) -> None:
        """Part of Generator."""
        if client in self._idle:
            self._idle.remove(client)

    def _look(self) -> None:
        if self._total and len(self.latencies) + self.errors["closed"] >= self._total:
            self._done.set()


async def _closed(requests: Requests, connections: int, seconds: float) -> Load:
    return await ClosedLoop(requests).run(connections, seconds)


async def _open(requests: Requests, connections: int, seconds: float, rate: float) -> Load:
    return await OpenLoop(requests, rate).run(connections, seconds)


@click.command()
@click.option("--url", "address", required=True, metavar="HOST:PORT", help="Where to send.")
@click.option("--connections", default=32, type=click.IntRange(1, CONNECTIONS_MAX))
@click.option("--seconds", default=2.0, type=click.FloatRange(0, min_open=True))
@click.option("--rate", default=0.0, help="Requests per second, open loop; 0 is the closed loop.")
@click.option("--body-bytes", default=sample.BODY_BYTES, type=click.IntRange(sample.BODY_BYTES))
def main(address: str, connections: int, seconds: float, rate: float, body_bytes: int) -> None:
    """Send the sample's requests and print what came back."""
    gc.disable()
    requests = Requests(address, body_bytes)
    if rate:
        with asyncio.Runner(loop_factory=precise_loop) as runner:
            load = runner.run(_open(requests, connections, seconds, rate))
    else:
        load = uvloop.run(_closed(requests, connections, seconds))
    json.dump(asdict(load), sys.stdout)


if __name__ == "__main__":
    main()
