"""Levels: what becomes of the next write, and how near the limit is."""

from itertools import product

import pytest

from rules.level import Condition, Level, Owed, fullness, level


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition(), Level.FULL),
        (Condition(ledger_fails=True), Level.NO_EVIDENCE),
        (Condition(backlog_full=True), Level.REJECTING),
        (Condition(backlog_full=True, rejects_backlog=False), Level.MIRROR_PAUSED),
        (Condition(journal_fails=True), Level.REJECTING),
        (Condition(journal_fails=True, rejects_unjournaled=False), Level.PRIMARY_ONLY),
        (
            Condition(journal_fails=True, rejects_unjournaled=False, backlog_full=True),
            Level.REJECTING,
        ),
        (
            Condition(
                journal_fails=True, rejects_unjournaled=False, backlog_full=True, rejects_backlog=False
            ),
            Level.PRIMARY_ONLY,
        ),
    ],
)  # fmt: skip
def test_the_worst_counts(condition: Condition, expected: Level) -> None:
    assert level(condition)[0] is expected


def test_every_trouble_is_a_reason_and_more_trouble_is_never_a_better_level() -> None:
    order = list(Level)
    for ledger, journal, backlog, unjournaled, full in product((False, True), repeat=5):
        rules = {"rejects_unjournaled": unjournaled, "rejects_backlog": full}
        found, reasons = level(
            Condition(ledger_fails=ledger, journal_fails=journal, backlog_full=backlog, **rules)
        )
        assert len(reasons) == ledger + journal + backlog
        without_ledger = level(Condition(journal_fails=journal, backlog_full=backlog, **rules))[0]
        assert order.index(found) >= order.index(without_ledger)


@pytest.mark.parametrize(
    ("owed", "expected"),
    [
        (Owed(rows=0, bytes=0, oldest_s=0), 0.0),
        (Owed(rows=50, bytes=10, oldest_s=1), 0.5),
        (Owed(rows=1, bytes=1000, oldest_s=1), 1.0),
        (Owed(rows=1, bytes=1, oldest_s=120), 2.0),
    ],
)
def test_the_nearest_limit_says_how_full_it_is(owed: Owed, expected: float) -> None:
    assert fullness(owed, Owed(rows=100, bytes=1000, oldest_s=60)) == expected


def test_an_age_of_0_is_no_limit() -> None:
    assert fullness(Owed(rows=0, bytes=0, oldest_s=1e9), Owed(rows=1, bytes=1, oldest_s=0)) == 0.0
