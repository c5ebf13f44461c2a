"""What many tests begin with: messages, intents, an open journal, a clock, and waiting for a condition."""

import asyncio
import json
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

from proxy.control.owed import Journal as Settings
from proxy.control.tally import Tally
from proxy.store.intent import Intent
from proxy.store.journal import Journal
from proxy.store.recovery import young
from rules.fate import Event
from rules.message import Outcome, Reply, Request, Side


class Clock:
    """Seconds that pass only when the test says so."""

    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += seconds


async def until(holds: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until a condition holds; TimeoutError says that it never did."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.002)


def a_request(
    method: str = "PUT", target: str = "/a", body: bytes = b"", fields: str = ""
) -> Request:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: shop\r\n{fields}{length}\r\n".encode("latin-1")
    return Request(method=method, target=target, head=head, body=body, body_bytes=len(body))


def a_reply(status: int = 200, body: bytes = b"{}") -> Reply:
    head = f"HTTP/1.1 {status} OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return Reply(status=status, head=head, body=body)


def an_intent(*lanes: str, request: Request | None = None, **more: object) -> Intent:
    request = request or a_request()
    given: dict[str, object] = {
        "route": "orders", "category": "default", "stage": "dual_legacy_primary",
        "primary": Side.LEGACY, "lanes": lanes, "method": request.method,
        "target": request.target, "received_at": 1_800_000_000.0, "request": request,
    }  # fmt: skip
    return Intent(**{**given, **more})  # type: ignore[arg-type]


@asynccontextmanager
async def opened(
    directory: Path, tally: Tally | None = None, clock: Clock | None = None, **settings: object
) -> AsyncIterator[Journal]:
    """An open journal in a directory."""
    given = Settings(directory=str(directory), **settings)  # type: ignore[arg-type]
    journal = await Journal.open(given, tally or Tally(), clock or Clock())
    try:
        yield journal
    finally:
        await journal.close()


def rows(file: Path, sql: str, *values: object) -> list[sqlite3.Row]:
    """What another process sees in a database right now."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(sql, values).fetchall()


def journaled(directory: Path) -> dict[int, dict[str, Any]]:
    """What another process sees of every intent right now: the columns of its row, or what the log tells."""
    with closing(
        sqlite3.connect(f"file:{directory / 'journal.db'}?mode=ro", uri=True)
    ) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        found = {row["id"]: dict(row) for row in connection.execute("SELECT * FROM intents")}
        logged, _ = young(connection)
    for each in found.values():
        each["lanes"] = tuple(json.loads(each["lanes"]))
    for one in logged:
        assert one.columns["id"] not in found
        found[one.columns["id"]] = one.columns
    for columns in found.values():
        del columns["fingerprint"]  # a record of the log has a digest of its own
    return dict(sorted(found.items()))


async def written(journal: Journal) -> None:
    """Wait until what is written behind is on disk."""
    await until(lambda: not len(journal.writer))
    await journal.writer.call(lambda _: None)


def crashed(directory: Path, copy: Path) -> Path:
    """What a kill -9 leaves of a journal's directory: its files as they are now, without the lock."""
    shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("*.lock", "*-shm"))
    return copy


async def begun(journal: Journal, intent: Intent) -> Intent:
    """An intent that the primary may have."""
    journal.accept(intent)
    assert await journal.begin(intent) is None
    return intent


async def settled(
    journal: Journal,
    intent: Intent,
    event: Event = Event.PRIMARY_APPLIED,
    outcome: Outcome | None = None,
) -> Intent:
    """An intent whose primary outcome is known: by default it is owed."""
    await begun(journal, intent)
    if event is Event.PRIMARY_APPLIED:
        journal.order(intent)
    assert await journal.settle(intent, event, outcome or a_reply()) is None
    return intent


async def kept(
    journal: Journal,
    intent: Intent,
    event: Event = Event.PRIMARY_APPLIED,
    outcome: Outcome | None = None,
) -> Intent:
    """The same, with a row of its own."""
    await begun(journal, intent)
    journal.keep(intent)
    if event is Event.PRIMARY_APPLIED:
        journal.order(intent)
    assert await journal.settle(intent, event, outcome or a_reply()) is None
    return intent


async def disk_full(journal: Journal, *, full: bool = True) -> None:
    """From now on the journal's disk is full; or there is room again."""

    def limit(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages if full else 10**6}")

    await journal.writer.call(limit)


async def disk_broken(journal: Journal, *, broken: bool = True) -> None:
    """From now on every write to the journal fails, however small; or it works again."""
    await journal.writer.call(lambda db: db.execute(f"PRAGMA query_only = {int(broken)}"))


@asynccontextmanager
async def hanging(file: Path) -> AsyncIterator[Callable[[], bool]]:
    """Who reads this file waits until the end, and gets it whole then; yields whether somebody does by now.

    It is a pipe meanwhile: for one reader, and up to 64 KiB.
    """
    content, ends = file.read_bytes(), []
    file.unlink()
    os.mkfifo(file)

    def is_read() -> bool:
        with suppress(OSError):  # ENXIO: nobody has it open
            ends.append(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
        return bool(ends)

    try:
        yield is_read
    finally:
        end = ends[0] if ends else os.open(file, os.O_RDWR)
        os.write(end, content)
        aside = file.parent.parent / "aside"
        aside.write_bytes(content)
        aside.replace(file)
        for each in {end, *ends}:
            os.close(each)
