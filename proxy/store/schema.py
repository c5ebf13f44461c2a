"""The tables of the journal, and the statements on them. A version number guards the file.

Law: plain SQLite that others may read while the sidecar runs (docs/ledger.md describes it).
"""

from proxy.store.batch import Schema, Statement

JOURNAL_VERSION = 3
"""2: young intents are in `log`. 3: `overtaken`, and gaps."""

_BEFORE_3 = (
    "id, state, route, category, stage, primary_side, lanes, sequence, method, target, received_at, changed_at,"
    " due_at, attempts, reason, verdict, primary_status, secondary_status, bytes, spool, payload, digest, reply"
)
_INTENTS = """
CREATE TABLE IF NOT EXISTS intents (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  state TEXT NOT NULL,
  route TEXT NOT NULL,
  category TEXT NOT NULL,
  stage TEXT NOT NULL,
  primary_side TEXT NOT NULL,
  lanes TEXT NOT NULL,            -- JSON array
  sequence INTEGER NOT NULL DEFAULT 0, -- the primary's order; 0 before its outcome is known
  method TEXT NOT NULL,
  target TEXT NOT NULL,
  received_at REAL NOT NULL,      -- Unix seconds
  changed_at REAL NOT NULL,
  due_at REAL NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  reason TEXT NOT NULL DEFAULT '',
  verdict TEXT NOT NULL DEFAULT '',
  primary_status INTEGER NOT NULL DEFAULT 0,
  secondary_status INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL,
  spool TEXT,                     -- file that holds the body, relative to the journal's directory
  overtaken INTEGER NOT NULL DEFAULT 0, -- 1: a later write of its lanes went on without it
  fingerprint BLOB,               -- xxh3_128 of what says where it belongs: id, lanes, sequence, target...
  payload BLOB,                   -- msgpack; NULL once nothing is owed
  digest BLOB,                    -- xxh3_128 of payload and of the spool file's bytes
  reply BLOB                      -- xxh3_128 and msgpack of the primary's reply
);"""

JOURNAL = Schema(
    JOURNAL_VERSION,
    f"""
{_INTENTS}
CREATE INDEX IF NOT EXISTS intents_by_state ON intents (state, sequence);
CREATE TABLE IF NOT EXISTS log (   -- young intents: see proxy.store.record
  id INTEGER PRIMARY KEY,         -- of the transaction
  digest BLOB NOT NULL,           -- xxh3_128 of the records
  records BLOB NOT NULL           -- msgpack
);
CREATE TABLE IF NOT EXISTS identities (
  kind TEXT NOT NULL,
  legacy_value TEXT NOT NULL,
  new_value TEXT NOT NULL,
  source TEXT NOT NULL,
  at REAL NOT NULL,
  PRIMARY KEY (kind, legacy_value),
  UNIQUE (kind, new_value)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gaps ( -- accepted writes that were not journaled
  id INTEGER PRIMARY KEY,
  category TEXT NOT NULL,
  reason TEXT NOT NULL,           -- that of the skip
  first_at REAL NOT NULL,
  last_at REAL NOT NULL,
  writes INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS damaged ( -- rows of the log that are not what was written, as they were found
  id INTEGER,
  digest BLOB,
  records BLOB,
  found_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS totals (state TEXT PRIMARY KEY, removed INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('version', {JOURNAL_VERSION});
INSERT OR IGNORE INTO meta VALUES ('journal_id', lower(hex(randomblob(8))));
INSERT OR IGNORE INTO meta VALUES ('redaction_key', randomblob(32));
INSERT OR IGNORE INTO meta VALUES ('next_id', 1);
INSERT OR IGNORE INTO meta VALUES ('next_sequence', 1);
""",
    {
        2: f"ALTER TABLE intents RENAME TO before; DROP INDEX intents_by_state; {_INTENTS}"
        f" INSERT INTO intents ({_BEFORE_3}) SELECT {_BEFORE_3} FROM before; DROP TABLE before;"
        " UPDATE intents SET overtaken = 1 WHERE state IN ('dead', 'unknown') AND lanes != '[]';"
    },
)

_CLEARED = ", payload = NULL, digest = NULL, reply = NULL, spool = NULL"


def _update(order: int, *columns: str, cleared: bool = False) -> Statement:
    """Sets these columns of the intents whose ids are the rows' last values."""
    also = _CLEARED if cleared else ""
    one = ", ".join(f"{column} = ?" for column in columns)
    many = ", ".join(f"{column} = v.column{n}" for n, column in enumerate(columns, 1))
    found = f"FROM (VALUES {{rows}}) AS v WHERE intents.id = v.column{len(columns) + 1}"
    return Statement(
        order,
        f"UPDATE intents SET {one}{also} WHERE id = ?",
        f"UPDATE intents SET {many}{also} {found}",
        keyed=True,
    )


ROW = (
    "id", "state", "route", "category", "stage", "primary_side", "lanes", "sequence", "method", "target",
    "received_at", "changed_at", "due_at", "attempts", "reason", "verdict", "primary_status",
    "secondary_status", "bytes", "spool", "payload", "digest", "reply", "overtaken", "fingerprint",
)  # fmt: skip
"""Every column of an intent."""

_SETTLED = (
    "state", "sequence", "changed_at", "reason", "primary_status", "bytes", "fingerprint", "reply",
)  # fmt: skip
_CONCLUDED = ("state", "changed_at", "due_at", "attempts", "reason", "verdict", "secondary_status")

FOLD = Statement(
    0,
    f"INSERT INTO intents ({', '.join(ROW)}) VALUES ({', '.join('?' * len(ROW))})",
    f"INSERT INTO intents ({', '.join(ROW)}) VALUES {{rows}}",
    essential=True,
)
"""A young intent gets a row of its own."""

SETTLE = _update(1, *_SETTLED)
SETTLE_CLOSED = _update(2, *(name for name in _SETTLED if name != "reply"), cleared=True)
SEND = _update(3, "state", "changed_at", "attempts")
CONCLUDE = _update(4, *_CONCLUDED)
CONCLUDE_CLOSED = _update(5, *_CONCLUDED, cleared=True)
OVERTAKE = Statement(5, "UPDATE intents SET overtaken = 1 WHERE id = ?", essential=True)
REPLACE = Statement(
    5,
    "UPDATE intents SET payload = ?, digest = ?, method = ?, target = ?, fingerprint = ?, spool = NULL"
    " WHERE id = ?",
)
"""A person gave a dead letter another request."""

GAP = Statement(
    5,
    "INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " last_at = excluded.last_at, writes = excluded.writes",
    essential=True,
)
IDENTITY = Statement(6, "INSERT OR IGNORE INTO identities VALUES (?, ?, ?, ?, ?)")
REMOVE = Statement(
    7,
    "DELETE FROM intents WHERE id = ?",
    "DELETE FROM intents WHERE id IN (VALUES {rows})",
    essential=True,
    forgets=True,
)
REMOVED = Statement(
    8,
    "INSERT INTO totals VALUES (?, ?) ON CONFLICT (state) DO UPDATE SET removed = removed + excluded.removed",
    essential=True,
    forgets=True,
)
FORGET_LOG = Statement(9, "DELETE FROM log WHERE id <= ?", essential=True, forgets=True)
NEXT = Statement(
    10,
    "UPDATE meta SET value = CASE name WHEN 'next_id' THEN ? ELSE ? END"
    " WHERE name IN ('next_id', 'next_sequence')",
    essential=True,
)
"""Ids and sequence numbers of intents that left no row are not used again."""

PROBE = Statement(10, "INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(65536))")
"""Takes room in the file: does the disk take anything again?"""

NOTHING = Statement(11, "UPDATE meta SET value = value WHERE 0")
"""Durable when all that was queued before it is."""
