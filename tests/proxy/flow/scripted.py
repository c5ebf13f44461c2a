"""A backend that answers by script: a real server on loopback that records what it saw, and can misbehave."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

from tests.proxy.samples import until


@dataclass
class Seen:
    """One request as it arrived; header names in lower case, body without chunk lines."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """A reply. `pieces` follow the body, one write each, as fast as the other end takes them.

    In `ends` it ends, one byte too early; before each piece it waits `pause_s`. With a Transfer-Encoding of its
    own, body and pieces have the chunk lines in them.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[str, ...] = ("Content-Type: application/json",)
    pieces: tuple[bytes, ...] = ()
    ends: "Fault | None" = None
    pause_s: float = 0.0

    def head(self) -> bytes:
        length = len(self.body) + sum(len(piece) for piece in self.pieces) + (self.ends is not None)
        lines = [f"HTTP/1.1 {self.status} Word", *self.headers, f"Content-Length: {length}", "", ""]
        if any(line.startswith("Transfer-Encoding:") for line in self.headers):
            del lines[-3]
        return "\r\n".join(lines).encode()


class Fault(Enum):
    """How a backend may fail to answer."""

    RESET = "the connection is reset"
    HANG = "nothing comes"


Step = Answer | Fault | Callable[[Seen], Awaitable[Answer | Fault]]


@dataclass
class Scripted:
    """The steps of a target are taken in turn; then, and for other targets, `always` is."""

    always: Step = field(default_factory=Answer)
    seen: list[Seen] = field(default_factory=list)
    busy: Counter[str] = field(default_factory=Counter)  # requests under way, by target
    busiest: Counter[str] = field(default_factory=Counter)
    streamed: int = 0  # bytes of pieces that were taken
    port: int = 0

    def __post_init__(self) -> None:
        self._steps: dict[str, deque[Step]] = defaultdict(deque)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def will(self, target: str, *steps: Step) -> None:
        """Answer the next requests for a target with these."""
        self._steps[target].extend(steps)

    def targets(self) -> list[str]:
        return [seen.target for seen in self.seen]

    async def start(self) -> None:
        """Listen; again on the same port after a stop."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await until(lambda: not self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._answer(await _read(reader), writer):
                    pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        self.seen.append(seen)
        self.busy[seen.target] += 1
        self.busiest[seen.target] = max(self.busiest[seen.target], self.busy[seen.target])
        try:
            answer = await self._step(seen)
        finally:
            self.busy[seen.target] -= 1
        if answer is Fault.RESET:
            writer.transport.abort()
            return False
        assert isinstance(answer, Answer)
        writer.write(answer.head() + answer.body)
        for piece in answer.pieces:
            await asyncio.sleep(answer.pause_s)
            writer.write(piece)
            await writer.drain()
            self.streamed += len(piece)
        await writer.drain()
        if answer.ends is Fault.HANG:
            await asyncio.Event().wait()
        return answer.ends is None

    async def _step(self, seen: Seen) -> Answer | Fault:
        steps = self._steps[seen.target]
        step = steps.popleft() if steps else self.always
        if not isinstance(step, Answer | Fault):
            step = await step(seen)
        if step is Fault.HANG:
            await asyncio.Event().wait()
        return step


async def _read(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.rstrip("\r\n").split("\r\n")
    method, target, _ = line.split(" ")
    headers = {}
    for each in fields:
        name, _, value = each.partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()) != b"\r\n":
        pass
    return b"".join(pieces)


@dataclass
class Gate:
    """Holds what comes until it is opened; then, and from then on, answers."""

    answer: Answer | Fault = field(default_factory=Answer)
    held: int = 0

    def __post_init__(self) -> None:
        self._open = asyncio.Event()

    async def __call__(self, _: Seen) -> Answer | Fault:
        self.held += 1
        await self._open.wait()
        return self.answer

    def open(self) -> None:
        self._open.set()


@asynccontextmanager
async def backends() -> AsyncIterator[tuple[Scripted, Scripted]]:
    """Legacy and new, both listening."""
    legacy, new = Scripted(), Scripted()
    await legacy.start()
    await new.start()
    try:
        yield legacy, new
    finally:
        await legacy.stop()
        await new.stop()
