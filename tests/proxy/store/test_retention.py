"""What goes: by age all, by size the oldest that no group wants, in small steps, and the size stays within bounds."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.store import ledger_schema as schema
from proxy.store.retention import STEP_ROWS, Limits, forget, used_bytes

NEVER = Limits(before=0.0, bytes_max=2**40)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
        connection.executescript(schema.LEDGER.script)
        schema.make_searchable(connection, fts5=True)
        yield connection


def insert(connection: sqlite3.Connection, numbers: range, characters: int = 1000) -> None:
    """Rows of random text, one a second; a tenth of it is in the full-text index."""
    connection.execute("BEGIN")
    for number in numbers:
        text = os.urandom(characters // 2).hex(" ", 4)
        row = (
            number, float(number), None, "orders", "default", "mismatch", "body", "PUT", "/a", text,
            text[: characters // 10],
        )  # fmt: skip
        connection.execute(schema.VERDICT.sql, row)
    connection.execute("COMMIT")


def kept(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT id FROM verdicts ORDER BY id")]


def everything(connection: sqlite3.Connection, limits: Limits) -> int:
    """Carry out all steps; how many there were."""
    steps = 1
    while forget(connection, limits):
        steps += 1
    return steps


def test_nothing_goes_within_the_limits(made: sqlite3.Connection) -> None:
    insert(made, range(1, 50))
    assert not forget(made, NEVER)
    assert len(kept(made)) == 49


def test_a_step_is_small(made: sqlite3.Connection) -> None:
    insert(made, range(1, 3 * STEP_ROWS), 10)
    assert forget(made, Limits(before=1e9, bytes_max=2**40))
    assert kept(made) == list(range(STEP_ROWS + 1, 3 * STEP_ROWS))


def test_what_is_older_goes_also_when_a_group_wants_it(made: sqlite3.Connection) -> None:
    insert(made, range(1, 301), 10)
    made.execute("INSERT INTO samples VALUES (1, 0, 7), (1, 1, 290)")
    everything(made, Limits(before=251.0, bytes_max=2**40))
    assert kept(made) == list(range(251, 301))
    assert made.execute("SELECT verdict FROM samples").fetchall() == [(290,)]


def test_hours_go_one_by_one(made: sqlite3.Connection) -> None:
    for hour in range(5):
        made.execute("INSERT INTO group_hours VALUES (?, 1, 1)", (hour * 3600,))
        made.execute("INSERT INTO counts VALUES (?, 'a', 'b', 'match', '', 1)", (hour * 3600,))
        made.execute("INSERT INTO events VALUES (?, 'breaker', '{}')", (hour * 3600.0,))
    steps = everything(made, Limits(before=3 * 3600.0 + 10, bytes_max=2**40))
    assert steps == 4
    for column, table in (("hour", "group_hours"), ("hour", "counts")):
        found = made.execute(f"SELECT {column} FROM {table} ORDER BY 1").fetchall()
        assert found == [(3 * 3600,), (4 * 3600,)]
    assert made.execute("SELECT at FROM events").fetchall() == [(4 * 3600.0,)]


def test_the_oldest_go_by_size_and_those_that_groups_want_stay(made: sqlite3.Connection) -> None:
    insert(made, range(1, 2001))
    made.execute("INSERT INTO samples VALUES (1, 0, 3), (1, 1, 5)")
    before = used_bytes(made)
    everything(made, Limits(before=0.0, bytes_max=before // 2))
    assert used_bytes(made) <= before // 2
    found = kept(made)
    assert found[:2] == [3, 5]
    assert found[2:] == list(range(found[2], 2001))
    assert 200 < len(found) < 1500


def test_those_that_groups_want_go_when_nothing_else_is_left(made: sqlite3.Connection) -> None:
    insert(made, range(1, 1001))
    made.execute("INSERT INTO samples SELECT 1, id, id FROM verdicts")
    before = used_bytes(made)
    everything(made, Limits(before=0.0, bytes_max=before // 2))
    assert 100 < len(kept(made)) < 800
    assert made.execute("SELECT count(*) FROM samples").fetchone() == (len(kept(made)),)


def test_a_file_that_is_written_to_for_ever_stays_within_its_bounds(
    made: sqlite3.Connection, tmp_path: Path
) -> None:
    limits = Limits(before=0.0, bytes_max=2 * 2**20)
    for start in range(0, 8_000, 200):
        insert(made, range(start + 1, start + 201))
        everything(made, limits)
    assert used_bytes(made) <= limits.bytes_max
    assert (tmp_path / "ledger.db").stat().st_size <= 2 * limits.bytes_max
    assert kept(made)[-1] == 8_000
    assert len(kept(made)) > 200
    made.execute("INSERT INTO search (search) VALUES ('integrity-check')")
