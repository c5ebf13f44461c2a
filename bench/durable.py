"""Two that make writes durable: the journal, and a raw file with group commit, which is as good as a disk can be.

Law: both get the same bytes at the same moments: a write is begun (its request is durable when that returns), settled
(the primary's reply), and concluded (nobody waits for that). Each has a thread that commits what has gathered.
"""

import asyncio
import math
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from bench import sample
from proxy.app import TICK_S
from proxy.control.owed import Journal as Settings
from proxy.control.tally import Tally
from proxy.fiber import Slot
from proxy.store import record
from proxy.store.batch import StoreError
from proxy.store.intent import Intent, Result, pack_reply, pack_request, seal
from proxy.store.journal import Journal
from rules.fate import Event, State
from rules.message import Reply, Request, Side

HOLD_SECONDS = 1.0
"""How long done writes stay in the journal: short, so that a run pays for removing its own rows."""

_MATCH = Result("", "match", 200)

RING_BYTES = 4 * 1024 * 1024
"""The `ring` is written from its beginning again after so much, as the write-ahead log is (`proxy.store.batch`)."""


Begun = TypeVar("Begun")


class Store(Protocol[Begun]):
    """Makes writes durable. Both raise StoreError."""

    async def begin(self, number: int) -> Begun:
        """A write's request is durable when this returns."""

    async def settle(self, one: Begun) -> None:
        """Its reply is durable when this returns; it is concluded then."""


def request(number: int) -> Request:
    """The request to an entity, as the sidecar has it: 512 bytes of JSON behind a usual head."""
    head, _, body = sample.request(number % sample.ENTITIES, "127.0.0.1:8080").partition(
        b"\r\n\r\n"
    )
    target = head.split(b" ", 2)[1].decode()
    return Request(
        method="POST", target=target, head=head + b"\r\n\r\n", body=body, body_bytes=len(body)
    )


def reply() -> Reply:
    """What the primary answers: 200, and some 200 bytes of JSON."""
    head, _, body = sample.REPLY.partition(b"\r\n\r\n")
    return Reply(status=200, head=head + b"\r\n\r\n", body=body)


def intent(asked: Request, lane: str) -> Intent:
    """A write that was received just now."""
    return Intent(
        route="order", category="default", stage="dual_legacy_primary", primary=Side.LEGACY,
        lanes=(lane,), method=asked.method, target=asked.target, received_at=time.time(),
        request=asked,
    )  # fmt: skip


class Journaled:
    """The sidecar's journal. Use `open`."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._requests = [request(number) for number in range(sample.ENTITIES)]
        self._reply = reply()

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path) -> AsyncIterator["Journaled"]:
        """A journal that is swept as often as a sidecar does."""
        settings = Settings(directory=str(directory), done_hold_seconds=HOLD_SECONDS)
        journal = await Journal.open(settings, Tally(), time.time)
        sweeping = asyncio.create_task(_sweep(journal))
        try:
            yield cls(journal)
        finally:
            sweeping.cancel()
            await journal.close()

    async def begin(self, number: int) -> Intent:
        """Part of Store."""
        asked = self._requests[number % sample.ENTITIES]
        one = intent(asked, asked.target)
        self.journal.accept(one)
        raised(await self.journal.begin(one))
        return one

    async def settle(self, one: Intent) -> None:
        """Part of Store: and both sides have taken it."""
        journal = self.journal
        journal.order(one)
        raised(await journal.settle(one, Event.PRIMARY_APPLIED, self._reply))
        journal.sending(one)
        journal.conclude(one, Event.CONFIRM, _MATCH)


Records = tuple[bytes, bytes, bytes]
"""What the journal's log gets of one write: begun, settled, concluded."""


class Raw:
    """A file, and a thread that writes what has gathered and makes it durable. Use `open`."""

    def __init__(self, path: Path, *, ring: bool) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        self._bytes_max = RING_BYTES if ring else math.inf
        os.pwrite(self._file, bytes(RING_BYTES * ring), 0)
        os.fsync(self._file)
        self._at = 0
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[tuple[bytes, Slot[None]] | None] = SimpleQueue()
        self._behind: list[bytes] = []
        self._records = [_records(number) for number in range(sample.ENTITIES)]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path, *, ring: bool = False) -> AsyncIterator["Raw"]:
        """A file in a new directory; it grows, or is written around in a `ring`."""
        directory.mkdir()
        raw = cls(directory / "raw", ring=ring)
        try:
            yield raw
        finally:
            raw._queue.put(None)
            await asyncio.to_thread(raw._thread.join)
            os.close(raw._file)

    async def begin(self, number: int) -> Records:
        """Part of Store: the bytes that the journal makes of such a write, already packed."""
        records = self._records[number % sample.ENTITIES]
        await self._durable(records[0])
        return records

    async def settle(self, one: Records) -> None:
        """Part of Store."""
        await self._durable(one[1])
        self._behind.append(one[2])  # goes with the next

    def _durable(self, written: bytes) -> Slot[None]:
        if self._behind:
            written = b"".join((*self._behind, written))
            self._behind.clear()
        told: Slot[None] = Slot()
        self._queue.put((written, told))
        return told

    def _run(self) -> None:
        queue = self._queue
        while (first := queue.get()) is not None:
            gathered = [first]
            for _ in range(queue.qsize()):
                following = queue.get()
                assert following is not None, "closed while somebody waits"
                gathered.append(following)
            written = b"".join([each for each, _ in gathered])
            if self._at + len(written) > self._bytes_max:
                self._at = 0
            os.pwrite(self._file, written, self._at)
            self._at += len(written)
            os.fdatasync(self._file)
            self._loop.call_soon_threadsafe(_tell, gathered)


STORES: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Store[Any]]]] = {
    "journal": Journaled.open,
    "raw": Raw.open,
    "ring": partial(Raw.open, ring=True),
}
"""`raw` appends. `ring` is the stricter limit: it overwrites, and so never has to make a new size durable."""


def _records(number: int) -> Records:
    asked = request(number)
    one = intent(asked, asked.target)
    one.id = one.sequence = 1_000_000 + number
    packed = pack_request(asked)
    one.seal, one.bytes = seal(packed, None), len(packed)
    begun = record.begun(one, State.P_SENT, packed)
    one.state, one.changed_at = State.S_PENDING, one.received_at
    settled = record.settled(one, pack_reply(reply(), 65536))
    one.state, one.attempts, one.verdict, one.secondary_status = State.DONE, 1, "match", 200
    return begun, settled, record.concluded(one)


def _tell(gathered: list[tuple[bytes, Slot[None]]]) -> None:
    for _, told in gathered:
        told.resolve(None)


def raised(error: StoreError | None) -> None:
    """Raise what a store tells."""
    if error is not None:
        raise error


async def _sweep(journal: Journal) -> None:
    while True:
        journal.sweep()
        await asyncio.sleep(TICK_S)
