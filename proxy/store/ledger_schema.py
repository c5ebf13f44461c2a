"""The tables and views of the ledger, and the statements on them. A version number guards the file.

Law: plain SQLite that others may read while the sidecar runs (docs/ledger.md describes it).
"""

import sqlite3

from proxy.store.batch import Schema, Statement, transaction

LEDGER_VERSION = 2
"""2: differences stand in their verdict's row; groups have ids, samples and hours; rules are counted."""

_COUNTED = """
CREATE TABLE IF NOT EXISTS groups (
  id INTEGER PRIMARY KEY,
  route TEXT NOT NULL,
  category TEXT NOT NULL,         -- the latest
  path TEXT NOT NULL,             -- JSON pointer; * stands for numbers and UUIDs
  kind TEXT NOT NULL,             -- the class: missing, extra, type, value, order, length
  count INTEGER NOT NULL,         -- comparisons in which it was found
  first_at REAL NOT NULL,         -- Unix seconds
  last_at REAL NOT NULL,
  UNIQUE (route, path, kind)
);
CREATE TABLE IF NOT EXISTS counts (
  hour INTEGER NOT NULL,          -- Unix seconds, the hour's start
  route TEXT NOT NULL,
  category TEXT NOT NULL,
  verdict TEXT NOT NULL,
  reason TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (hour, route, category, verdict, reason)
) WITHOUT ROWID;
"""

_TABLES = f"""
CREATE TABLE IF NOT EXISTS verdicts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,               -- Unix seconds
  intent INTEGER,                 -- NULL for shadow
  route TEXT NOT NULL,
  category TEXT NOT NULL,
  verdict TEXT NOT NULL,
  reason TEXT NOT NULL,
  method TEXT NOT NULL,
  target TEXT NOT NULL,           -- redacted
  evidence TEXT NOT NULL,         -- JSON, redacted: request, primary, secondary
  differences TEXT NOT NULL DEFAULT '[]' -- JSON, redacted: path, kind, primary, secondary
);
CREATE INDEX IF NOT EXISTS verdicts_by_time ON verdicts (at);
{_COUNTED}
CREATE TABLE IF NOT EXISTS samples (
  group_id INTEGER NOT NULL,      -- groups.id
  slot INTEGER NOT NULL,
  verdict INTEGER NOT NULL,       -- verdicts.id
  PRIMARY KEY (group_id, slot)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS samples_by_verdict ON samples (verdict);
CREATE TABLE IF NOT EXISTS group_hours (
  hour INTEGER NOT NULL,
  group_id INTEGER NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (hour, group_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS group_hours_by_group ON group_hours (group_id, hour, count);
CREATE TABLE IF NOT EXISTS rules (
  hour INTEGER NOT NULL,
  route TEXT NOT NULL,
  rule TEXT NOT NULL,             -- as the verdict names it
  count INTEGER NOT NULL,         -- comparisons in which it ate a difference
  PRIMARY KEY (hour, route, rule)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS baseline (
  hour INTEGER NOT NULL,
  route TEXT NOT NULL,
  path TEXT NOT NULL,             -- as in groups; empty: comparisons in all
  kind TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (hour, route, path, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (at REAL NOT NULL, event TEXT NOT NULL, details TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_time ON events (at);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('version', {LEDGER_VERSION});
"""

_VIEWS = """
CREATE VIEW IF NOT EXISTS differences AS
  SELECT v.id AS verdict, datetime(v.at, 'unixepoch') AS at, v.route, v.category,
    json_extract(d.value, '$.path') AS path, json_extract(d.value, '$.kind') AS kind,
    json_extract(d.value, '$.primary') AS primary_value,
    json_extract(d.value, '$.secondary') AS secondary_value
  FROM verdicts AS v, json_each(v.differences) AS d;
CREATE VIEW IF NOT EXISTS rates AS
  SELECT datetime(hour, 'unixepoch') AS hour, route, category,
    sum(count) FILTER (WHERE verdict IN ('match', 'ignored', 'mismatch')) AS compared,
    sum(count) FILTER (WHERE verdict = 'mismatch') AS mismatched,
    sum(count) AS verdicts
  FROM counts GROUP BY counts.hour, route, category;
CREATE VIEW IF NOT EXISTS classes AS
  SELECT datetime(h.hour, 'unixepoch') AS hour, g.route, g.category, g.kind, sum(h.count) AS count
  FROM group_hours AS h JOIN groups AS g ON g.id = h.group_id
  GROUP BY h.hour, g.route, g.category, g.kind;
"""

_FROM_1 = f"""
ALTER TABLE verdicts ADD COLUMN differences TEXT NOT NULL DEFAULT '[]';
UPDATE verdicts SET differences = (
  SELECT json_group_array(json_object('path', path, 'kind', kind, 'primary', primary_value,
    'secondary', secondary_value))
  FROM differences WHERE verdict = verdicts.id);
DROP TABLE differences;
DROP INDEX verdicts_by_route;
ALTER TABLE groups RENAME TO groups_1;
ALTER TABLE counts RENAME TO counts_1;
{_COUNTED}
INSERT INTO groups (route, category, path, kind, count, first_at, last_at)
  SELECT o.route, coalesce(v.category, ''), o.path, o.kind, o.count, o.first_at, o.last_at
  FROM groups_1 AS o LEFT JOIN verdicts AS v ON v.id = o.sample;
CREATE TABLE samples (group_id INTEGER NOT NULL, slot INTEGER NOT NULL, verdict INTEGER NOT NULL,
  PRIMARY KEY (group_id, slot)) WITHOUT ROWID;
INSERT INTO samples SELECT g.id, 0, v.id
  FROM groups_1 AS o JOIN groups AS g USING (route, path, kind) JOIN verdicts AS v ON v.id = o.sample;
INSERT INTO counts SELECT hour, route, '', verdict, '', count FROM counts_1;
DROP TABLE groups_1;
DROP TABLE counts_1;
"""
"""Everything of a version 1 file is kept; what that did not know (category and reason of counts) is empty."""

LEDGER = Schema(LEDGER_VERSION, _TABLES + _VIEWS, {1: _FROM_1})

SEARCHED = ("route", "category", "verdict", "reason", "method", "target", "differences")
"""Columns of `verdicts` that the full-text index `search` covers. Not `evidence`: an index of whole bodies is larger
than they are, and a row that goes would first make the file grow (FTS5 notes what is deleted, and merges later)."""

_ESCAPES = (r"\\\\", r"\n", r"\r", r"\t", r"\b", r"\f")  # values are JSON within JSON


def _indexed(row: str) -> str:
    """The columns as they are indexed: `differences` is JSON, and the letter of an escape (of a newline, a tab) would
    stick to the word behind it.
    """
    names = ", ".join(f"{row}.{name}" for name in SEARCHED[:-1])
    text = f"{row}.{SEARCHED[-1]}"
    for escape in _ESCAPES:
        text = f"replace({text}, '{escape}', ' ')"
    return f"{names}, {text}"


_INSERTED = (
    "CREATE TRIGGER verdicts_searched AFTER INSERT ON verdicts BEGIN"
    f" INSERT INTO search (rowid, {', '.join(SEARCHED)}) VALUES (new.id, {_indexed('new')}); END"
)

_NO_INDEX = (
    "DROP TRIGGER IF EXISTS verdicts_searched",
    "DROP TRIGGER IF EXISTS verdicts_forgotten",
    "DELETE FROM meta WHERE name = 'search_from'",
)
_INDEX = (
    *_NO_INDEX,
    f"CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5({', '.join(SEARCHED)},"
    ' content="verdicts", content_rowid="id")',
    "INSERT INTO search (search) VALUES ('delete-all')",
    "INSERT OR REPLACE INTO meta SELECT 'search_from', coalesce(max(seq), 0) + 1"
    " FROM sqlite_sequence WHERE name = 'verdicts'",
    _INSERTED,
    "CREATE TRIGGER verdicts_forgotten AFTER DELETE ON verdicts"
    " WHEN old.id >= (SELECT value FROM meta WHERE name = 'search_from') BEGIN"
    f" INSERT INTO search (search, rowid, {', '.join(SEARCHED)})"
    f" VALUES ('delete', old.id, {_indexed('old')}); END",
)
"""The index begins at the row that `search_from` names: rows of before it are read through instead."""


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite was built with FTS5: an option of its build (fts5.html, section 2.1)."""
    found = connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone()
    return found is not None


def make_searchable(connection: sqlite3.Connection, *, fts5: bool) -> None:
    """See to the full-text index. Without FTS5 the file is one without it, and stays writable. An index of another
    make begins anew.
    """
    sql = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'verdicts_searched'"
    row = connection.execute(sql).fetchone()
    if (row and row[0]) != (_INSERTED if fts5 else None):
        with transaction(connection):
            for statement in _INDEX if fts5 else _NO_INDEX:
                connection.execute(statement)


_VERDICT = (
    "INSERT INTO verdicts (id, at, intent, route, category, verdict, reason, method, target,"
    " evidence, differences) VALUES "
)

VERDICT = Statement(0, _VERDICT + "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _VERDICT + "{rows}")
GROUP = Statement(
    1,
    "INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (route, path, kind) DO UPDATE SET"
    " category = excluded.category, count = count + excluded.count, last_at = excluded.last_at",
)
"""So many comparisons more of a group, which may be new."""

GROUP_HOUR = Statement(
    2,
    "INSERT INTO group_hours VALUES (?, ?, ?) ON CONFLICT (hour, group_id) DO UPDATE SET"
    " count = count + excluded.count",
)
SAMPLE = Statement(
    3,
    "INSERT INTO samples VALUES (?, ?, ?) ON CONFLICT (group_id, slot) DO UPDATE SET"
    " verdict = excluded.verdict",
)
COUNT = Statement(
    4,
    "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (hour, route, category, verdict, reason) DO UPDATE SET count = count + excluded.count",
)
RULE = Statement(
    5,
    "INSERT INTO rules VALUES (?, ?, ?, ?) ON CONFLICT (hour, route, rule) DO UPDATE SET"
    " count = count + excluded.count",
)
BASELINE = Statement(
    5,
    "INSERT INTO baseline VALUES (?, ?, ?, ?, ?) ON CONFLICT (hour, route, path, kind) DO UPDATE SET"
    " count = count + excluded.count",
)
EVENT = Statement(6, "INSERT INTO events VALUES (?, ?, ?)")
FORGET_GROUP = Statement(7, "DELETE FROM groups WHERE id = ?")
FORGET_SAMPLES = Statement(8, "DELETE FROM samples WHERE group_id = ?")
