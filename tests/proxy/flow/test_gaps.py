"""Gaps: what is one interval, that it is on disk before its first write, and that none is forgotten."""

import asyncio
import io

from proxy.control.log import Log
from proxy.fiber import Slot
from proxy.flow.gaps import IDLE_S, Gaps
from proxy.store.batch import Told
from proxy.store.gap import Gap
from rules.route import Skip
from tests.proxy.samples import Clock


class Disk:
    """Takes gaps, at once or when it is told to."""

    def __init__(self, *, waits: bool = False) -> None:
        self.kept: list[tuple[int, int]] = []
        self.waits = waits
        self.told: list[Told] = []

    def keep(self, gap: Gap) -> Told:
        self.kept.append((gap.id, gap.writes))
        told: Told = Slot()
        self.told.append(told)
        if not self.waits:
            told.resolve(None)
        return told


async def write(gaps: Gaps, category: str = "default", reason: Skip = Skip.BACKLOG) -> None:
    if not gaps.is_open(category, reason):
        await gaps.begin(category, reason)
    gaps.note(category, reason)


async def test_writes_that_follow_each_other_are_one_gap_per_category_and_reason() -> None:
    clock, disk, stream = Clock(), Disk(), io.StringIO()
    gaps = Gaps([], disk.keep, clock, Log(stream))
    await write(gaps)
    clock.forward(IDLE_S / 2)
    await write(gaps)
    await write(gaps, "critical")
    await write(gaps, "default", Skip.JOURNAL_ERROR)
    assert disk.kept == [(1, 0), (2, 0), (3, 0)]  # before their first writes
    gaps.sweep()
    gaps.sweep()
    assert disk.kept[3:] == [(1, 2), (2, 1), (3, 1)]  # once per change
    assert gaps.all[0].last_at - gaps.all[0].first_at == IDLE_S / 2
    assert stream.getvalue().count('"event": "gap"') == 3


async def test_a_write_long_after_the_last_one_begins_a_new_gap() -> None:
    clock = Clock()
    gaps = Gaps([], Disk().keep, clock, Log(io.StringIO()))
    await write(gaps)
    clock.forward(IDLE_S)
    await write(gaps)
    assert [each.writes for each in gaps.all] == [1, 1]


async def test_those_of_earlier_runs_stay_as_they_were() -> None:
    known = Gap(7, "default", "backlog", 1.0, 2.0, 5)
    gaps = Gaps([known], Disk().keep, Clock(), Log(io.StringIO()))
    await write(gaps)
    assert [(each.id, each.writes) for each in gaps.all] == [(7, 5), (8, 1)]


async def test_whoever_comes_while_a_gap_begins_waits_for_the_disk_too() -> None:
    disk = Disk(waits=True)
    gaps = Gaps([], disk.keep, Clock(), Log(io.StringIO()))
    writes = [asyncio.ensure_future(write(gaps)) for _ in range(3)]
    await asyncio.sleep(0)
    assert gaps.all[0].writes == 0
    disk.told[0].resolve(None)
    await asyncio.gather(*writes)
    assert [(each.id, each.writes) for each in gaps.all] == [(1, 3)]
    assert gaps.is_open("default", Skip.BACKLOG)
