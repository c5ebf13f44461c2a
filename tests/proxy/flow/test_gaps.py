"""Gaps: what is one interval, and that none is forgotten."""

import io

from proxy.control.log import Log
from proxy.flow.gaps import IDLE_S, Gaps
from proxy.store.gap import Gap
from rules.route import Skip
from tests.proxy.samples import Clock


def test_writes_that_follow_each_other_are_one_gap_per_category_and_reason() -> None:
    clock, kept, stream = Clock(), list[tuple[int, int]](), io.StringIO()
    gaps = Gaps([], lambda gap: kept.append((gap.id, gap.writes)), clock, Log(stream))
    gaps.note("default", Skip.BACKLOG)
    clock.forward(IDLE_S / 2)
    gaps.note("default", Skip.BACKLOG)
    gaps.note("critical", Skip.BACKLOG)
    gaps.note("default", Skip.JOURNAL_ERROR)
    gaps.sweep()
    gaps.sweep()
    assert kept == [(1, 2), (2, 1), (3, 1)]  # written once per change
    assert gaps.all[0].last_at - gaps.all[0].first_at == IDLE_S / 2
    assert stream.getvalue().count('"event": "gap"') == 3


def test_a_write_long_after_the_last_one_begins_a_new_gap() -> None:
    clock = Clock()
    gaps = Gaps([], lambda _: None, clock, Log(io.StringIO()))
    gaps.note("default", Skip.BACKLOG)
    clock.forward(IDLE_S)
    gaps.note("default", Skip.BACKLOG)
    assert [each.writes for each in gaps.all] == [1, 1]


def test_those_of_earlier_runs_stay_as_they_were() -> None:
    known = Gap(7, "default", "backlog", 1.0, 2.0, 5)
    gaps = Gaps([known], lambda _: None, Clock(), Log(io.StringIO()))
    gaps.note("default", Skip.BACKLOG)
    assert [(each.id, each.writes) for each in gaps.all] == [(7, 5), (8, 1)]
