"""Rows that are not what was written: a dead letter, never a wrong write, never a start that fails."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.control.tally import Tally
from proxy.store.intent import Result
from rules.fate import OWED, Event, State
from rules.message import Cause, Failure
from tests.proxy.samples import an_intent, begun, kept, opened, rows, written

COLUMNS = [
    ("state", "s_pgnding"),
    ("state", b"\x00"),
    ("route", "elsewhere"),
    ("primary_side", "Legacy"),
    ("lanes", "no JSON"),
    ("lanes", "[1]"),
    ("lanes", '["another"]'),
    ("sequence", 77),
    ("sequence", "x"),
    ("method", "GET"),
    ("target", "/elsewhere"),
    ("received_at", "yesterday"),
    ("received_at", float("inf")),
    ("attempts", "many"),
    ("bytes", "big"),
    ("spool", 5),
    ("overtaken", "yes"),
]


@pytest.mark.parametrize(("column", "value"), COLUMNS)
async def test_a_damaged_row_is_a_dead_letter_and_the_others_go_on(
    tmp_path: Path, column: str, value: object
) -> None:
    async with opened(tmp_path) as journal:
        await kept(journal, an_intent("a"))
        second = await kept(journal, an_intent("a"))
        await written(journal)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.execute(f"UPDATE intents SET {column} = ? WHERE id = 1", (value,))
        db.commit()
    tally = Tally()
    async with opened(tmp_path, tally) as journal:
        assert [each.id for each in await journal.standing(OWED)] == [second.id]
        (dead,) = await journal.standing([State.DEAD])
        assert (dead.id, dead.overtaken, dead.reason[:13]) == (1, True, "damaged_row: ")
        assert journal.damaged == (0, 1)
        assert tally.journal_errors == 1
        assert tally.holds()
        payload = rows(journal.writer.path, "SELECT payload FROM intents WHERE id = 1")[0][0]
        assert payload is not None  # a person may still send it
    async with opened(tmp_path) as journal:
        assert journal.damaged == (0, 0)  # told once


async def test_a_damaged_row_of_the_log_is_kept_told_and_a_gap(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        from_log = await kept(journal, an_intent("a"))
        await written(journal)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.execute("DELETE FROM log")
        db.execute("INSERT INTO log VALUES (5, zeroblob(16), 'text')")
        db.execute("INSERT INTO log VALUES (6, 'text', x'00')")
        db.commit()
    async with opened(tmp_path) as journal:
        assert journal.damaged == (2, 0)
        (gap,) = await journal.gaps.all()
        assert (gap.reason, gap.writes) == ("damaged_log", 0)
        found = rows(journal.writer.path, "SELECT id, records FROM damaged ORDER BY id")
        assert [tuple(row) for row in found] == [(5, "text"), (6, b"\x00")]
        assert [each.id for each in await journal.standing(OWED)] == [from_log.id]
    async with opened(tmp_path) as journal:
        assert journal.damaged == (0, 0)
        assert len(await journal.gaps.all()) == 1


async def test_an_index_that_has_lost_a_row_hides_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        first = await kept(journal, an_intent("a"))
        await written(journal)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.execute("DROP INDEX intents_by_state")
        db.execute("CREATE INDEX intents_by_state ON intents (state, sequence) WHERE id > 1")
        db.commit()
    async with opened(tmp_path) as journal:
        assert [each.id for each in await journal.standing(OWED)] == [first.id]


def as_version_2(directory: Path) -> None:
    """The journal as version 2 had it, which kept no word of what was overtaken."""
    with closing(sqlite3.connect(directory / "journal.db")) as db:
        db.execute("ALTER TABLE intents DROP COLUMN overtaken")
        db.execute("ALTER TABLE intents DROP COLUMN fingerprint")
        db.execute("DROP TABLE gaps")
        db.execute("DROP TABLE damaged")
        db.execute("UPDATE meta SET value = 2 WHERE name = 'version'")
        db.commit()


async def test_a_journal_of_version_2_is_taken_over_whole(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        first = await kept(journal, an_intent("a"))
        await written(journal)
        before = await journal.load(first)
    as_version_2(tmp_path)
    async with opened(tmp_path) as journal:
        (found,) = await journal.standing(OWED)
        assert (found.id, found.overtaken) == (first.id, False)
        assert await journal.load(found) == before
        assert rows(journal.writer.path, "SELECT value FROM meta WHERE name = 'version'")[0][0] == 3


async def test_what_version_2_left_dead_or_unknown_may_have_been_overtaken(tmp_path: Path) -> None:
    failure = Failure(cause=Cause.TIMEOUT, sent=True)
    async with opened(tmp_path) as journal:
        for lanes in (("a",), ()):
            intent = an_intent(*lanes)
            dead = await kept(journal, intent)
            journal.conclude(dead, Event.BURY, Result("s_rejected"))
            await kept(journal, an_intent(*lanes), Event.PRIMARY_UNKNOWN, failure)
        await kept(journal, an_intent("a"))
        await kept(journal, an_intent("b"), Event.PRIMARY_UNKNOWN, failure)
        journal.keep(await begun(journal, an_intent("c")))  # in flight: the last of its lanes
        await written(journal)
    as_version_2(tmp_path)
    async with opened(tmp_path) as journal:
        found = await journal.standing(list(State))
        assert {(each.id, each.state.value, each.overtaken) for each in found} == {
            (1, "dead", True),
            (2, "unknown", True),
            (3, "dead", False),  # without a lane there is nothing that goes on
            (4, "unknown", False),
            (5, "s_pending", False),
            (6, "unknown", True),
            (7, "unknown", False),
        }
