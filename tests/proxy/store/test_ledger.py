"""The ledger: counts, samples, groups, what is forgotten, and that its trouble is nobody else's."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from proxy.store.batch import StoreError
from proxy.store.ledger import FORGET_EVERY, Ledger, Sample
from rules.compare import Verdict, VerdictKind
from rules.diff import Class, Difference
from tests.proxy.samples import Clock, rows, until

HOUR = 1_800_000_000.0 - 1_800_000_000.0 % 3600


@asynccontextmanager
async def keeping(
    directory: Path, clock: Clock | None = None, samples_max: int = 100
) -> AsyncIterator[Ledger]:
    ledger = await Ledger.open(directory, samples_max, clock or Clock())
    try:
        yield ledger
    finally:
        await ledger.close()


def differing(*paths: tuple[str, ...]) -> tuple[Difference, ...]:
    return tuple(
        Difference(path=path, kind=Class.VALUE, primary="1", secondary="2") for path in paths
    )


def a_sample(*paths: tuple[str, ...], route: str = "orders") -> Sample:
    differences = differing(*paths)
    verdict = Verdict(kind=VerdictKind.MISMATCH, reason="body", differences=differences)
    return Sample(
        intent=7, route=route, category="default", method="PUT", target="/orders/1",
        verdict=verdict, differences=differences, evidence=json.dumps({"request": {}}),
    )  # fmt: skip


async def flushed(ledger: Ledger) -> None:
    ledger.sweep()
    await until(lambda: not len(ledger.writer))
    await ledger.writer.call(lambda _: None)


def found(ledger: Ledger, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in rows(ledger.writer.path, sql)]


async def test_verdicts_are_counted_by_hour_and_route(tmp_path: Path) -> None:
    clock = Clock(HOUR + 3599)
    async with keeping(tmp_path, clock) as ledger:
        ledger.count("orders", "match")
        ledger.count("orders", "match")
        ledger.count("orders", "mismatch")
        ledger.sweep()
        clock.forward(1)
        ledger.count("orders", "match")
        await flushed(ledger)
        assert found(ledger, "SELECT * FROM counts ORDER BY hour, verdict") == [
            (HOUR, "orders", "match", 2),
            (HOUR, "orders", "mismatch", 1),
            (HOUR + 3600, "orders", "match", 1),
        ]


async def test_a_sample_is_kept_with_its_differences(tmp_path: Path) -> None:
    clock = Clock()
    async with keeping(tmp_path, clock) as ledger:
        ledger.keep(a_sample(("body", "a"), ("body", "b", "0")))
        await flushed(ledger)
        assert found(ledger, "SELECT * FROM verdicts") == [
            (1, clock(), 7, "orders", "default", "mismatch", "body", "PUT", "/orders/1",
             '{"request": {}}'),
        ]  # fmt: skip
        assert found(ledger, "SELECT * FROM differences ORDER BY path") == [
            (1, "/body/a", "value", "1", "2"),
            (1, "/body/b/0", "value", "1", "2"),
        ]


async def test_differences_are_grouped_by_route_path_and_kind(tmp_path: Path) -> None:
    clock = Clock(100.0)
    async with keeping(tmp_path, clock) as ledger:
        for route in ("orders", "orders", "notes"):
            ledger.keep(a_sample(("body", "a"), route=route))
            clock.forward(1)
        await flushed(ledger)
        assert found(ledger, "SELECT * FROM groups ORDER BY route") == [
            ("notes", "/body/a", "value", 1, 102.0, 102.0, 3),
            ("orders", "/body/a", "value", 2, 100.0, 101.0, 2),
        ]


async def test_a_slash_in_a_name_is_no_step(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        ledger.keep(a_sample(("body", "a/b", "c~d"), ("body", "a", "b")))
        await flushed(ledger)
        paths = found(ledger, "SELECT path FROM differences ORDER BY path")
        assert paths == [("/body/a/b",), ("/body/a~1b/c~0d",)]


async def test_a_name_that_is_no_unicode_spoils_nothing(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        ledger.keep(a_sample(("body", "\ud800"), ("body", "ok")))
        await flushed(ledger)
        paths = found(ledger, "SELECT path FROM groups ORDER BY path")
        assert paths == [("/body/?",), ("/body/ok",)]
        assert ledger.writer.dropped == 0


async def test_the_oldest_samples_go_and_the_counts_stay(tmp_path: Path) -> None:
    async with keeping(tmp_path, samples_max=10) as ledger:
        for _ in range(FORGET_EVERY + 5):
            ledger.keep(a_sample(("body", "a")))
        await flushed(ledger)
        kept = [number for (number,) in found(ledger, "SELECT id FROM verdicts ORDER BY id")]
        assert kept == list(range(FORGET_EVERY - 9, FORGET_EVERY + 6))
        assert [n for (n,) in found(ledger, "SELECT verdict FROM differences")] == kept
        assert found(ledger, "SELECT count, sample FROM groups") == [
            (FORGET_EVERY + 5, FORGET_EVERY + 5)
        ]


async def test_numbers_of_samples_go_on_after_a_restart(tmp_path: Path) -> None:
    for number in (1, 2):
        async with keeping(tmp_path) as ledger:
            ledger.keep(a_sample())
            await flushed(ledger)
            assert found(ledger, "SELECT max(id) FROM verdicts") == [(number,)]


async def test_an_event_is_kept_with_its_details(tmp_path: Path) -> None:
    clock = Clock()
    async with keeping(tmp_path, clock) as ledger:
        ledger.event("breaker", {"category": "critical", "state": "open"})
        await flushed(ledger)
        expected = (clock(), "breaker", '{"category": "critical", "state": "open"}')
        assert found(ledger, "SELECT * FROM events") == [expected]


async def test_a_sample_is_whole_or_not_there(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        await ledger.writer.call(lambda db: db.execute("PRAGMA query_only = 1"))
        ledger.keep(a_sample(("body", "a")))
        await ledger.writer.call(lambda _: None)
        assert found(ledger, "SELECT * FROM verdicts") == []
        await ledger.writer.call(lambda db: db.execute("PRAGMA query_only = 0"))
        ledger.writer.nudge()
        await flushed(ledger)
        for table in ("verdicts", "differences", "groups"):
            assert len(found(ledger, f"SELECT * FROM {table}")) == 1


async def test_a_ledger_of_another_release_is_refused(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        pass
    with closing(sqlite3.connect(ledger.writer.path)) as db:
        db.execute("UPDATE meta SET value = 2")
        db.commit()
    with pytest.raises(StoreError, match="format version 2"):
        async with keeping(tmp_path):
            pass


async def test_a_ledger_that_is_broken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="not a database"):
        async with keeping(tmp_path):
            pass
