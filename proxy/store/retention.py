"""What of the ledger goes: by age all of it, by size the oldest samples.

Law: in small steps, each a transaction of its own, so that nothing waits long for one.
"""

import sqlite3
from dataclasses import dataclass

from proxy.store.batch import transaction

STEP_ROWS = 100
"""Samples of one step: 10-20 ms with their part of the full-text index (bench/ledger.py)."""

_HOURLY = ("counts", "group_hours", "rules", "baseline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Nothing of before `before` (Unix seconds) stays, and not more than `bytes_max` bytes of rows."""

    before: float
    bytes_max: int


def forget(connection: sqlite3.Connection, limits: Limits) -> bool:
    """Carry out one step; whether there may be more to do."""
    with transaction(connection):
        return _by_age(connection, limits.before) or _by_size(connection, limits.bytes_max)


def used_bytes(connection: sqlite3.Connection) -> int:
    """The bytes of the file's pages that hold something; what was freed is used again."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _by_age(connection: sqlite3.Connection, before: float) -> bool:
    gone = _remove(
        connection,
        connection.execute(
            "SELECT id FROM verdicts WHERE at < ? ORDER BY at LIMIT ?", (before, STEP_ROWS)
        ).fetchall(),
    )
    hour = before - before % 3600
    for table in _HOURLY:  # an hour at a time
        sql = f"DELETE FROM {table} WHERE hour = (SELECT min(hour) FROM {table}) AND hour < ?"
        gone += connection.execute(sql, (hour,)).rowcount
    sql = "DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE at < ? ORDER BY at LIMIT ?)"
    return gone + connection.execute(sql, (before, STEP_ROWS)).rowcount > 0


def _by_size(connection: sqlite3.Connection, bytes_max: int) -> bool:
    """Samples that no group wants go first."""
    if used_bytes(connection) <= bytes_max:
        return False
    found = connection.execute(
        "SELECT id FROM verdicts AS v WHERE NOT EXISTS (SELECT 1 FROM samples WHERE verdict = v.id)"
        " ORDER BY id LIMIT ?",
        (STEP_ROWS,),
    ).fetchall()
    if not found:
        sql = "SELECT id FROM verdicts ORDER BY id LIMIT ?"
        found = connection.execute(sql, (STEP_ROWS,)).fetchall()
    return _remove(connection, found) > 0


def _remove(connection: sqlite3.Connection, identifiers: list[tuple[int]]) -> int:
    """Samples go with what points to them, and with their entries in the full-text index."""
    connection.executemany("DELETE FROM samples WHERE verdict = ?", identifiers)
    connection.executemany("DELETE FROM verdicts WHERE id = ?", identifiers)
    return len(identifiers)
