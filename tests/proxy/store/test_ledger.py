"""The ledger: counts, groups, samples, and that its trouble is nobody else's."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from proxy.control.evidence import Ledger as Settings
from proxy.store import ledger as module
from proxy.store.batch import StoreError
from proxy.store.ledger import (
    FAILING_S,
    GROUPS_MAX,
    KEPT_MAX,
    PENDING_MAX,
    Ledger,
    Sample,
    field_path,
)
from rules.compare import Verdict, VerdictKind
from rules.difference import Class, Difference
from rules.reservoir import slot
from tests.proxy.samples import Clock, rows, until

HOUR = 1_800_000_000.0 - 1_800_000_000.0 % 3600
MATCH = Verdict(kind=VerdictKind.MATCH, reason="equal_bytes")


@asynccontextmanager
async def keeping(
    directory: Path, clock: Clock | None = None, **settings: int
) -> AsyncIterator[Ledger]:
    ledger = await Ledger.open(directory, Settings(**settings), clock or Clock())
    try:
        yield ledger
    finally:
        await ledger.close()


def differing(*paths: tuple[str, ...], kind: Class = Class.VALUE) -> tuple[Difference, ...]:
    return tuple(Difference(path=path, kind=kind, primary="1", secondary="2") for path in paths)


def mismatch(*differences: Difference) -> Verdict:
    return Verdict(kind=VerdictKind.MISMATCH, reason="body", differences=differences)


def keep(
    ledger: Ledger, *paths: tuple[str, ...], route: str = "orders", evidence: str = "{}"
) -> int:
    """What `proxy.flow.evidence` does with a mismatch."""
    verdict = mismatch(*differing(*paths))
    ledger.count(route, "default", verdict)
    wanted = ledger.group(route, "default", verdict.differences)
    sample = Sample(
        intent=7, route=route, category="default", method="PUT", target="/orders/1",
        verdict=verdict, differences=verdict.differences, evidence=evidence,
    )  # fmt: skip
    return ledger.keep(sample, wanted)


async def flushed(ledger: Ledger) -> None:
    ledger.sweep()
    await until(lambda: not len(ledger.writer) and ledger._forgetting is None)
    await ledger.writer.call(lambda _: None)


def found(ledger: Ledger, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in rows(ledger.writer.path, sql)]


async def test_verdicts_are_counted_by_hour_route_category_and_reason(tmp_path: Path) -> None:
    clock = Clock(HOUR + 3599)
    async with keeping(tmp_path, clock) as ledger:
        ledger.count("orders", "critical", MATCH)
        ledger.count("orders", "critical", MATCH)
        ledger.count("orders", "critical", mismatch())
        ledger.sweep()
        clock.forward(1)
        ledger.count("orders", "default", MATCH)
        await flushed(ledger)
        assert found(ledger, "SELECT * FROM counts ORDER BY hour, verdict") == [
            (HOUR, "orders", "critical", "match", "equal_bytes", 2),
            (HOUR, "orders", "critical", "mismatch", "body", 1),
            (HOUR + 3600, "orders", "default", "match", "equal_bytes", 1),
        ]


async def test_rules_are_counted_by_hour_and_route(tmp_path: Path) -> None:
    async with keeping(tmp_path, Clock(HOUR)) as ledger:
        ledger.used("orders", ("/at", "/etag"))
        ledger.used("orders", ("/at",))
        await flushed(ledger)
        assert found(ledger, "SELECT * FROM rules ORDER BY rule") == [
            (HOUR, "orders", "/at", 2),
            (HOUR, "orders", "/etag", 1),
        ]


async def test_the_primary_against_itself_is_counted_by_field(tmp_path: Path) -> None:
    async with keeping(tmp_path, Clock(HOUR)) as ledger:
        ledger.baseline("orders", differing(("body", "a", "0"), ("body", "a", "1")))
        ledger.baseline("orders", ())
        await flushed(ledger)
        assert found(ledger, "SELECT * FROM baseline ORDER BY path") == [
            (HOUR, "orders", "", "", 2),
            (HOUR, "orders", "/body/a/*", "value", 1),
        ]


async def test_a_sample_is_kept_with_its_differences(tmp_path: Path) -> None:
    clock = Clock()
    async with keeping(tmp_path, clock) as ledger:
        keep(ledger, ("body", "a"), ("body", "b", "0"), evidence='{"request": {}}')
        await flushed(ledger)
        (row,) = rows(ledger.writer.path, "SELECT * FROM verdicts")
        assert tuple(row)[:10] == (
            1, clock(), 7, "orders", "default", "mismatch", "body", "PUT", "/orders/1",
            '{"request": {}}',
        )  # fmt: skip
        assert json.loads(row["differences"]) == [
            {"path": "/body/a", "kind": "value", "primary": "1", "secondary": "2"},
            {"path": "/body/b/0", "kind": "value", "primary": "1", "secondary": "2"},
        ]
        columns = "verdict, path, kind, primary_value, secondary_value"
        assert found(ledger, f"SELECT {columns} FROM differences ORDER BY path") == [
            (1, "/body/a", "value", "1", "2"),
            (1, "/body/b/0", "value", "1", "2"),
        ]


async def test_differences_are_grouped_by_route_path_and_class(tmp_path: Path) -> None:
    clock = Clock(HOUR)
    async with keeping(tmp_path, clock) as ledger:
        for route in ("orders", "orders", "notes"):
            keep(ledger, ("body", "a"), route=route)
            clock.forward(1)
        await flushed(ledger)
        columns = "id, route, category, path, kind, count, first_at, last_at"
        assert found(ledger, f"SELECT {columns} FROM groups ORDER BY route") == [
            (2, "notes", "default", "/body/a", "value", 1, HOUR + 2, HOUR + 2),
            (1, "orders", "default", "/body/a", "value", 2, HOUR, HOUR + 1),
        ]
        assert found(ledger, "SELECT * FROM group_hours ORDER BY group_id") == [
            (HOUR, 1, 2), (HOUR, 2, 1),
        ]  # fmt: skip


async def test_the_elements_of_an_array_are_one_group_and_a_comparison_counts_once(
    tmp_path: Path,
) -> None:
    async with keeping(tmp_path) as ledger:
        keep(ledger, ("body", "items", "0", "id"), ("body", "items", "17", "id"))
        keep(ledger, ("body", "items", "3", "id"))
        await flushed(ledger)
        assert found(ledger, "SELECT path, count FROM groups") == [("/body/items/*/id", 2)]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/body/items/0/id", "/body/items/*/id"),
        ("/body/5F0C7A52-91c4-4c02-b4ea-0f3f4d1f8f6e/name", "/body/*/name"),
        ("/body/v2/a1", "/body/v2/a1"),
        ("/status", "/status"),
        ("", ""),
    ],
)
def test_numbers_and_uuids_are_one_of_many(text: str, path: str) -> None:
    assert field_path(text) == path


async def test_groups_go_on_after_a_restart(tmp_path: Path) -> None:
    for count in (1, 2):
        async with keeping(tmp_path) as ledger:
            keep(ledger, ("body", "a"))
            await flushed(ledger)
            assert found(ledger, "SELECT id, count FROM groups") == [(1, count)]
            assert found(ledger, "SELECT max(id) FROM verdicts") == [(count,)]


async def test_a_group_keeps_the_samples_that_its_reservoir_names(tmp_path: Path) -> None:
    async with keeping(tmp_path, group_samples=3) as ledger:
        for _ in range(40):
            keep(ledger, ("body", "a"))
        await flushed(ledger)
        expected: dict[int, int] = {}
        for number in range(1, 41):
            place = slot("orders\0/body/a\0value", number, 3)
            if place is not None:
                expected[place] = number
        kept = found(ledger, "SELECT slot, verdict FROM samples WHERE group_id = 1")
        assert dict(kept) == expected  # type: ignore[comparison-overlap]
        assert set(expected.values()) != {1, 2, 3}


async def test_made_up_names_do_not_fill_memory(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        names = [("body", f"name {n}") for n in range(GROUPS_MAX + 10)]
        for name in names:
            ledger.group("orders", "default", differing(name))
        ledger.group("orders", "default", differing(names[-1], kind=Class.EXTRA))
        await flushed(ledger)
        assert found(ledger, "SELECT count(*) FROM groups") == [(GROUPS_MAX + 2,)]
        elsewhere = found(ledger, "SELECT kind, count FROM groups WHERE path = '/**' ORDER BY 1")
        assert elsewhere == [("extra", 1), ("value", 10)]
        unknown = differing(*(("body", f"unknown {n}") for n in range(9)))
        assert ledger.knows("orders", unknown)  # they get no place of their own
        ((_, place),) = ledger.group("orders", "default", unknown)
        assert place == 10
        await flushed(ledger)
        elsewhere = found(ledger, "SELECT kind, count FROM groups WHERE path = '/**' ORDER BY 1")
        assert elsewhere == [("extra", 1), ("value", 11)]
        ledger.baseline("orders", unknown)
        await flushed(ledger)
        assert found(ledger, "SELECT path, count FROM baseline") == [("", 1)]


async def test_a_path_is_known_once_it_has_a_group_or_a_baseline(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        first, other = differing(("body", "items", "1"), ("body", "a"))
        assert ledger.knows("orders", ())
        assert not ledger.knows("orders", (first,))
        ledger.group("orders", "default", (first,))
        assert ledger.knows("orders", differing(("body", "items", "2")))
        assert not ledger.knows("orders", (first, other))
        ledger.baseline("orders", (other,))
        assert ledger.knows("orders", (first, other))
        assert not ledger.knows("elsewhere", (first,))


async def test_a_long_name_is_cut_off(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        keep(ledger, ("body", "a" * 100_000))
        await flushed(ledger)
        assert found(ledger, "SELECT length(path) FROM groups") == [(500,)]


async def test_a_flood_of_the_same_is_counted_and_not_kept(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        assert all(ledger.takes(VerdictKind.MISMATCH) for _ in range(KEPT_MAX))
        assert not ledger.takes(VerdictKind.MISMATCH)
        assert ledger.takes(VerdictKind.ERROR)
        ledger.sweep()
        assert ledger.takes(VerdictKind.MISMATCH)


async def test_a_slash_in_a_name_is_no_step(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        keep(ledger, ("body", "a/b", "c~d"), ("body", "a", "b"))
        await flushed(ledger)
        paths = found(ledger, "SELECT path FROM differences ORDER BY path")
        assert paths == [("/body/a/b",), ("/body/a~1b/c~0d",)]


async def test_a_name_that_is_no_unicode_spoils_nothing(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        keep(ledger, ("body", "\ud800"), ("body", "ok"))
        ledger.used("orders", ("/\ud800",))
        await flushed(ledger)
        paths = found(ledger, "SELECT path FROM groups ORDER BY path")
        assert paths == [("/body/?",), ("/body/ok",)]
        assert ledger.writer.dropped == 0


async def test_an_event_is_kept_with_its_details(tmp_path: Path) -> None:
    clock = Clock()
    async with keeping(tmp_path, clock) as ledger:
        ledger.event("breaker", {"category": "critical", "state": "open"})
        await flushed(ledger)
        expected = (clock(), "breaker", '{"category": "critical", "state": "open"}')
        assert found(ledger, "SELECT * FROM events") == [expected]


async def test_what_is_old_goes_and_its_group_too(tmp_path: Path) -> None:
    clock = Clock(HOUR)
    async with keeping(tmp_path, clock, age_max_seconds=7200) as ledger:
        for _ in range(300):
            keep(ledger, ("body", "old"))
        ledger.used("orders", ("/at",))
        ledger.event("breaker", {})
        await flushed(ledger)
        clock.forward(3 * 3600)
        keep(ledger, ("body", "young"))
        await flushed(ledger)
        clock.forward(60)
        await flushed(ledger)
        assert found(ledger, "SELECT path, count FROM groups") == [("/body/young", 1)]
        assert found(ledger, "SELECT id FROM verdicts") == [(301,)]
        assert found(ledger, "SELECT verdict FROM samples") == [(301,)]
        for table in ("rules", "events"):
            assert found(ledger, f"SELECT * FROM {table}") == []
        for table in ("counts", "group_hours"):
            assert found(ledger, f"SELECT hour FROM {table}") == [(HOUR + 3 * 3600,)]
        keep(ledger, ("body", "old"))
        await flushed(ledger)
        again = found(ledger, "SELECT id, count FROM groups WHERE path = '/body/old'")
        assert again == [(3, 1)]


async def test_a_sample_is_whole_or_not_there(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        await ledger.writer.call(lambda db: db.execute("PRAGMA query_only = 1"))
        keep(ledger, ("body", "a"))
        await ledger.writer.call(lambda _: None)
        assert found(ledger, "SELECT * FROM verdicts") == []
        await ledger.writer.call(lambda db: db.execute("PRAGMA query_only = 0"))
        ledger.writer.nudge()
        await flushed(ledger)
        for table in ("verdicts", "differences", "groups", "samples"):
            assert len(found(ledger, f"SELECT * FROM {table}")) == 1


async def test_a_ledger_whose_disk_refuses_says_so_and_that_it_is_well_again(
    tmp_path: Path,
) -> None:
    async with keeping(tmp_path) as ledger:
        await flushed(ledger)
        await ledger.writer.call(lambda db: db.execute("PRAGMA query_only = 1"))
        keep(ledger, ("body", "a"))
        ledger.sweep()
        await until(lambda: ledger.writer.failing)
        keep(ledger, ("body", "a"))
        await ledger.writer.call(lambda db: db.execute("PRAGMA query_only = 0"))
        ledger.sweep()
        await until(lambda: not ledger.writer.failing)
        await flushed(ledger)
        assert found(ledger, "SELECT count FROM groups") == [(2,)]


async def test_a_ledger_whose_disk_hangs_says_so(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        await flushed(ledger)
        go_on = threading.Event()
        held = asyncio.ensure_future(ledger.writer.call(lambda _: go_on.wait()))
        keep(ledger, ("body", "a"))
        ledger.sweep()
        await until(lambda: (ledger.sweep(), ledger.writer.failing)[1], 10 * FAILING_S)
        go_on.set()
        await held
        await until(lambda: not ledger.writer.failing)


async def test_a_ledger_whose_disk_hangs_takes_no_memory_without_end(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        await flushed(ledger)
        go_on = threading.Event()
        held = asyncio.ensure_future(ledger.writer.call(lambda _: go_on.wait()))
        paths = tuple(("body", f"name {number}") for number in range(500))
        for _ in range(100):
            ledger.group("orders", "default", differing(*paths))
            ledger.sweep()
        assert len(ledger.writer) <= PENDING_MAX + 2 * len(paths)
        go_on.set()
        await held
        await flushed(ledger)
        await flushed(ledger)
        counts = found(ledger, "SELECT DISTINCT count FROM groups")
        assert counts == [(100,)]


async def test_a_ledger_of_a_later_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with keeping(tmp_path) as ledger:
        pass
    with closing(sqlite3.connect(ledger.writer.path)) as db:
        db.execute("UPDATE meta SET value = 99 WHERE name = 'version'")
        db.commit()
    with pytest.raises(StoreError, match="format version 99"):
        async with keeping(tmp_path):
            pass
    assert {each.name for each in tmp_path.iterdir()} == {"ledger.db"}


@pytest.mark.parametrize("damage", ["no database", "malformed"])
async def test_a_damaged_ledger_is_moved_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "ledger.db"
    if damage == "no database":
        path.write_bytes(b"not a database" * 100)
    else:
        async with keeping(tmp_path) as ledger:
            keep(ledger, ("body", "a"))
            await flushed(ledger)
        content = path.read_bytes()
        path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    damaged = path.read_bytes()
    async with keeping(tmp_path, Clock(HOUR)) as ledger:
        moved = ledger.moved
        assert moved is not None
        assert moved.name == f"ledger.db.damaged-{int(HOUR)}"
        assert moved.read_bytes() == damaged
        keep(ledger, ("body", "a"))
        await flushed(ledger)
        assert found(ledger, "SELECT id FROM verdicts") == [(1,)]


WRITES = """
import asyncio, sys
from pathlib import Path
from tests.proxy.store.test_ledger import Settings, Clock, Ledger, keep

async def main():
    ledger = await Ledger.open(Path(sys.argv[1]), Settings(), Clock())
    number = 0
    while True:
        for _ in range(20):
            number = keep(ledger, ("body", "a"), ("body", f"name {number % 7}"))
        print(number, flush=True)
        ledger.sweep()
        await asyncio.sleep(0)
        await ledger.writer.call(lambda _: None)

asyncio.run(main())
"""


async def test_a_killed_ledger_opens_and_tells_no_more_than_what_happened(tmp_path: Path) -> None:
    root = Path(module.__file__).parents[2]
    for _ in range(3):
        command = [sys.executable, "-c", WRITES, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, text=True) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(20)]
            process.kill()
            told += process.stdout.readlines()
        async with keeping(tmp_path) as ledger:
            assert ledger.moved is None
            assert found(ledger, "PRAGMA integrity_check") == [("ok",)]
            ((kept, rows_kept),) = found(ledger, "SELECT max(id), count(*) FROM verdicts")
            ((count,),) = found(ledger, "SELECT sum(count) FROM counts")
            ((grouped,),) = found(ledger, "SELECT count FROM groups WHERE path = '/body/a'")
            happened = int(told[-1])
            assert 0 < int(str(count)) == int(str(grouped)) <= int(str(kept)) <= happened
            assert rows_kept == kept
            await ledger.writer.call(
                lambda db: db.execute("INSERT INTO search (search) VALUES ('integrity-check')")
            )
