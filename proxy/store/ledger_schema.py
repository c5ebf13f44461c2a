"""The tables of the ledger, and the statements on them. A version number guards the file.

Law: plain SQLite that others may read while the sidecar runs (docs/ledger.md describes it).
"""

from proxy.store.batch import Schema, Statement

LEDGER_VERSION = 1

LEDGER = Schema(
    LEDGER_VERSION,
    f"""
CREATE TABLE IF NOT EXISTS verdicts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,
  intent INTEGER,                 -- NULL for shadow
  route TEXT NOT NULL,
  category TEXT NOT NULL,
  verdict TEXT NOT NULL,
  reason TEXT NOT NULL,
  method TEXT NOT NULL,
  target TEXT NOT NULL,           -- redacted
  evidence TEXT NOT NULL          -- JSON, redacted: request, primary, secondary
);
CREATE INDEX IF NOT EXISTS verdicts_by_route ON verdicts (route, at);
CREATE TABLE IF NOT EXISTS differences (
  verdict INTEGER NOT NULL,       -- verdicts.id
  path TEXT NOT NULL,
  kind TEXT NOT NULL,
  primary_value TEXT NOT NULL,
  secondary_value TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS differences_by_verdict ON differences (verdict);
CREATE TABLE IF NOT EXISTS groups (
  route TEXT NOT NULL,
  path TEXT NOT NULL,
  kind TEXT NOT NULL,
  count INTEGER NOT NULL,
  first_at REAL NOT NULL,
  last_at REAL NOT NULL,
  sample INTEGER NOT NULL,        -- verdicts.id of the latest
  PRIMARY KEY (route, path, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (
  hour INTEGER NOT NULL,          -- Unix seconds, the hour's start
  route TEXT NOT NULL,
  verdict TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (hour, route, verdict)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (at REAL NOT NULL, event TEXT NOT NULL, details TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('version', {LEDGER_VERSION});
""",
)

VERDICT = Statement(0, "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
DIFFERENCE = Statement(1, "INSERT INTO differences VALUES (?, ?, ?, ?, ?)")
GROUP = Statement(
    2,
    "INSERT INTO groups VALUES (?, ?, ?, 1, ?, ?, ?) ON CONFLICT (route, path, kind) DO UPDATE SET"
    " count = count + 1, last_at = excluded.last_at, sample = excluded.sample",
)
COUNT = Statement(
    3,
    "INSERT INTO counts VALUES (?, ?, ?, ?) ON CONFLICT (hour, route, verdict) DO UPDATE SET"
    " count = count + excluded.count",
)
EVENT = Statement(4, "INSERT INTO events VALUES (?, ?, ?)")
FORGET_DIFFERENCES = Statement(5, "DELETE FROM differences WHERE verdict <= ?")
FORGET = Statement(6, "DELETE FROM verdicts WHERE id <= ?")
"""Samples beyond `samples_max` go, oldest first; groups and counts stay."""
