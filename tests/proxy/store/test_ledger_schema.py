"""The ledger's tables: every statement fits them, an earlier file is taken over, and the text index follows."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.store import ledger_schema as schema
from proxy.store.batch import Statement, prepare

DOCS = Path(__file__).parents[3] / "docs" / "ledger.md"
STATEMENTS = {name: each for name, each in vars(schema).items() if isinstance(each, Statement)}

VERSION_1 = """
CREATE TABLE verdicts (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, intent INTEGER,
  route TEXT NOT NULL, category TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL,
  method TEXT NOT NULL, target TEXT NOT NULL, evidence TEXT NOT NULL);
CREATE INDEX verdicts_by_route ON verdicts (route, at);
CREATE TABLE differences (verdict INTEGER NOT NULL, path TEXT NOT NULL, kind TEXT NOT NULL,
  primary_value TEXT NOT NULL, secondary_value TEXT NOT NULL);
CREATE INDEX differences_by_verdict ON differences (verdict);
CREATE TABLE groups (route TEXT NOT NULL, path TEXT NOT NULL, kind TEXT NOT NULL,
  count INTEGER NOT NULL, first_at REAL NOT NULL, last_at REAL NOT NULL, sample INTEGER NOT NULL,
  PRIMARY KEY (route, path, kind)) WITHOUT ROWID;
CREATE TABLE counts (hour INTEGER NOT NULL, route TEXT NOT NULL, verdict TEXT NOT NULL,
  count INTEGER NOT NULL, PRIMARY KEY (hour, route, verdict)) WITHOUT ROWID;
CREATE TABLE events (at REAL NOT NULL, event TEXT NOT NULL, details TEXT NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('version', 1);
INSERT INTO verdicts VALUES (3, 10.5, 7, 'orders', 'critical', 'mismatch', 'body', 'PUT', '/o', '{"request": {}}');
INSERT INTO verdicts VALUES (4, 11.5, NULL, 'notes', 'default', 'error', 'timeout', 'PUT', '/n', '{}');
INSERT INTO differences VALUES (3, '/body/a', 'value', '1', '"é"'), (3, '/body/b', 'missing', '2', '');
INSERT INTO groups VALUES ('orders', '/body/a', 'value', 9, 1.0, 10.5, 3), ('gone', '/body/x', 'extra', 2, 1.0, 2.0, 1);
INSERT INTO counts VALUES (3600, 'orders', 'match', 20), (3600, 'orders', 'mismatch', 9);
INSERT INTO events VALUES (1.0, 'breaker', '{}');
"""


@pytest.fixture
def made() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(schema.LEDGER.script)
        yield connection


def insert(connection: sqlite3.Connection, number: int, text: str) -> None:
    row = (number, 1.0, None, "orders", "default", "mismatch", "body", "PUT", "/a", "{}", text)
    connection.execute(schema.VERDICT.sql, row)


def matching(connection: sqlite3.Connection, word: str) -> list[int]:
    sql = "SELECT rowid FROM search WHERE search MATCH ? ORDER BY rowid"
    return [number for (number,) in connection.execute(sql, (word,))]


def test_every_statement_fits_the_tables(made: sqlite3.Connection) -> None:
    for each in STATEMENTS.values():
        made.execute(each.sql, (1,) * each.sql.count("?"))


def test_making_the_tables_again_changes_nothing(made: sqlite3.Connection) -> None:
    before = list(made.iterdump())
    made.executescript(schema.LEDGER.script)
    assert list(made.iterdump()) == before


def test_every_view_can_be_read(made: sqlite3.Connection) -> None:
    for view in ("differences", "rates", "classes"):
        assert made.execute(f"SELECT * FROM {view}").fetchall() == []


def test_every_table_and_column_is_documented(made: sqlite3.Connection) -> None:
    documented = {
        name: line
        for line in DOCS.read_text().partition("## ledger.db")[2].splitlines()
        for name in re.findall(r"^\| `(\w+)` \|", line)
    }
    sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
    names = {name for (name,) in made.execute(sql)}
    assert documented.keys() == names | {"search"}
    for name in names:
        for column in made.execute(f"PRAGMA table_info({name})"):
            assert f"`{column[1]}`" in documented[name], (name, column[1])


def test_samples_are_written_before_what_forgets_them() -> None:
    life = ("VERDICT", "GROUP", "GROUP_HOUR", "SAMPLE", "FORGET_GROUP", "FORGET_SAMPLES")
    orders = [STATEMENTS[name].order for name in life]
    assert orders == sorted(set(orders))


def test_the_evidence_of_a_version_1_file_is_kept(tmp_path: object) -> None:
    with closing(sqlite3.connect(f"{tmp_path}/ledger.db", isolation_level=None)) as connection:
        connection.executescript(VERSION_1)
        prepare(connection, schema.LEDGER, "NORMAL")
        schema.make_searchable(connection, fts5=schema.has_fts5(connection))
        rows = connection.execute("SELECT id, at, intent, evidence, differences FROM verdicts")
        first, second = rows.fetchall()
        assert first[:4] == (3, 10.5, 7, '{"request": {}}')
        assert json.loads(first[4]) == [
            {"path": "/body/a", "kind": "value", "primary": "1", "secondary": '"é"'},
            {"path": "/body/b", "kind": "missing", "primary": "2", "secondary": ""},
        ]
        assert second == (4, 11.5, None, "{}", "[]")
        found = connection.execute("SELECT route, category, count, first_at FROM groups ORDER BY 1")
        assert found.fetchall() == [("gone", "", 2, 1.0), ("orders", "critical", 9, 1.0)]
        found = connection.execute(
            "SELECT g.route, s.verdict FROM samples s JOIN groups g ON g.id = group_id"
        )
        assert found.fetchall() == [("orders", 3)]
        assert connection.execute("SELECT * FROM counts").fetchall() == [
            (3600, "orders", "", "match", "", 20), (3600, "orders", "", "mismatch", "", 9),
        ]  # fmt: skip
        assert connection.execute("SELECT * FROM events").fetchall() == [(1.0, "breaker", "{}")]
        meta = dict(connection.execute("SELECT name, value FROM meta"))
        assert meta == {"version": 2, "search_from": 5}
        with closing(sqlite3.connect(":memory:")) as fresh:
            fresh.executescript(schema.LEDGER.script)
            assert shape(connection) == shape(fresh)


def shape(connection: sqlite3.Connection) -> dict[str, object]:
    """Tables and indexes, with their columns."""
    sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view', 'index') AND name NOT LIKE 'search%'"
    return {
        name: sorted(row[1:3] for row in connection.execute(f"PRAGMA table_info({name})"))
        for (name,) in connection.execute(sql)
    }


def test_the_text_index_follows_what_is_written_and_removed(made: sqlite3.Connection) -> None:
    schema.make_searchable(made, fts5=True)
    insert(made, 1, "needle in hay")
    insert(made, 2, "only hay")
    assert (matching(made, "needle"), matching(made, "hay")) == ([1], [1, 2])
    made.execute("DELETE FROM verdicts WHERE id = 1")
    assert (matching(made, "needle"), matching(made, "hay")) == ([], [2])
    made.execute("INSERT INTO search (search) VALUES ('integrity-check')")


def test_without_fts5_the_file_stays_writable_and_with_it_again_the_index_begins_anew(
    made: sqlite3.Connection,
) -> None:
    schema.make_searchable(made, fts5=True)
    insert(made, 1, "needle")
    schema.make_searchable(made, fts5=False)
    assert made.execute("SELECT * FROM meta WHERE name = 'search_from'").fetchall() == []
    insert(made, 2, "needle")
    schema.make_searchable(made, fts5=True)
    insert(made, 3, "needle")
    assert matching(made, "needle") == [3]
    made.execute("DELETE FROM verdicts")
    assert matching(made, "needle") == []


def test_an_index_of_another_make_begins_anew(made: sqlite3.Connection) -> None:
    schema.make_searchable(made, fts5=True)
    insert(made, 1, "needle")
    sql = "SELECT sql FROM sqlite_master WHERE name = 'verdicts_searched'"
    (old,) = made.execute(sql).fetchone()
    made.execute("DROP TRIGGER verdicts_searched")
    made.execute(old.replace("AFTER INSERT", "AFTER  INSERT"))
    schema.make_searchable(made, fts5=True)
    assert made.execute(sql).fetchone() == (old,)
    insert(made, 2, "needle")
    assert matching(made, "needle") == [2]


def test_making_it_searchable_again_changes_nothing(made: sqlite3.Connection) -> None:
    schema.make_searchable(made, fts5=True)
    insert(made, 1, "needle")
    schema.make_searchable(made, fts5=True)
    assert matching(made, "needle") == [1]
