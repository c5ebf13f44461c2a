"""The journal's bench, small and without its clock: both stores do the work, and what is counted is there."""

from pathlib import Path

import pytest

from bench.bed import Bed, Choice
from bench.durable import STORES, Journaled
from bench.journal import Found, Plan, Rate, rates, ratios, tables, verdicts
from bench.restart import KINDS, Restarts, fastest, fill
from bench.steady import steady
from proxy.control.owed import Journal as Settings
from proxy.control.tally import Tally
from proxy.store.journal import Journal
from rules.fate import OWED, State

PLAN = Plan(
    parts=(), rounds=1, seconds=0.1, in_flight=(1, 4), minutes=0.0, per_second=500.0, rows=20,
    directory=Path(), seed=1, json_file=None,
)  # fmt: skip


async def test_every_store_makes_writes_durable_at_every_number_in_flight(tmp_path: Path) -> None:
    found = await rates(tmp_path, PLAN)
    assert {(each.store, each.in_flight) for each in found} == {
        (name, in_flight) for name in STORES for in_flight in PLAN.in_flight
    }
    assert all(each.per_second > 0 for each in found)
    (table,) = tables(Found(rates=found))
    assert len(table) == 2 + len(found)
    assert list(tmp_path.iterdir()) == []


async def test_the_raw_file_holds_the_bytes_of_the_journals_log(tmp_path: Path) -> None:
    async with STORES["raw"](tmp_path / "raw") as raw:
        await raw.settle(await raw.begin(3))
        await raw.begin(4)
    written = (tmp_path / "raw" / "raw").read_bytes()
    async with Journaled.open(tmp_path / "journal") as journaled:
        await journaled.settle(await journaled.begin(3))
        await journaled.begin(4)
        assert await journaled.journal.find(1) is None  # all of it is durable, and in the log
        rows = await journaled.journal.writer.call(
            lambda db: db.execute("SELECT records FROM log").fetchall()
        )
    logged = b"".join(records for (records,) in rows)
    assert abs(len(written) - len(logged)) < 40  # ids and sequence numbers take fewer bytes


async def test_a_steady_rate_counts_what_it_wrote(tmp_path: Path) -> None:
    async with Journaled.open(tmp_path / "journal") as store:
        found = await steady(store, 400, 0.2, 2)
    assert sum(each.writes for each in found) == 80
    for each in found:
        assert each.handed_bytes > 700  # the request alone is as long
        assert each.wal_mib > 0
    (table,) = tables(Found(stretches=found))
    assert len(table) == 4


@pytest.mark.parametrize("kind", KINDS)
async def test_a_filled_journal_owes_every_row_and_is_as_its_kind_says(
    tmp_path: Path, kind: str
) -> None:
    await fill(tmp_path, 30, kind)
    journal = await Journal.open(Settings(directory=str(tmp_path)), Tally(), lambda: 0.0)
    try:
        found = journal.take(OWED)
        assert [each.state for each in found] == [State.S_PENDING] * 30
        assert len({each.lanes for each in found}) == 30
        assert journal.take(OWED) == []
    finally:
        await journal.close()


@pytest.mark.system
async def test_a_sidecar_that_owes_starts_and_catches_up(tmp_path: Path) -> None:
    async with Bed.made(tmp_path, Choice(load="own", backends="own")) as bed:
        restarts = Restarts(bed, 40)
        await restarts.fill()
        begun = [await restarts.start(1, kind) for kind in KINDS]
        caught = await restarts.catch_up(1, 0.0, 30.0)
    assert [each.rows for each in begun] == [40, 40]
    assert caught.rows <= 40
    (table,) = tables(Found(starts=begun, catch_ups=[caught]))
    assert table[2].startswith("| 40 | rows |")


def test_a_second_is_as_fast_as_what_went_in_it() -> None:
    assert fastest([(0.0, 100), (0.5, 90), (1.0, 50), (2.0, 45)]) == 50.0
    assert fastest([(0.0, 100), (0.5, 90)]) == 0.0


def test_the_target_is_judged_round_by_round() -> None:
    found = [
        Rate(round=number, store=store, in_flight=64, per_second=rate, begin_us=(1, 2, 3),
             pair_us=(1, 2, 3), cpu_us=9.0, elsewhere=0.0)
        for number, store, rate in ((1, "raw", 100), (1, "journal", 60), (2, "raw", 10), (2, "journal", 4))
    ]  # fmt: skip
    assert ratios(found, 64) == [0.6, 0.4]
    (told,) = verdicts(Found(rates=found))
    assert told == "journal / raw file at 64 in flight: 0.50, at least 0.5 wanted: met"
