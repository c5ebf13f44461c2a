"""Reads the journal from outside the sidecar: for the command line, also while it runs.

Law: read-only, short transactions (a long reader pins the write-ahead log: storage.md).
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from proxy.store.batch import StoreError
from proxy.store.recovery import young
from proxy.store.schema import ROW

Document = dict[str, Any]

_INTENT = tuple(name for name in ROW if name not in ("spool", "payload", "digest", "reply"))


def intents(
    directory: Path, *, states: tuple[str, ...] = (), route: str = "", limit: int = 50
) -> list[Document]:
    """The latest intents that are still in the journal, newest first. Raises StoreError."""
    where = ["1"]
    values: list[object] = []
    if states:
        where.append(f"state IN ({','.join('?' * len(states))})")
        values += states
    if route:
        where.append("route = ?")
        values.append(route)
    sql = f"SELECT {', '.join(_INTENT)} FROM intents WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
    with looking(directory / "journal.db") as connection:
        found = [dict(row) for row in connection.execute(sql, (*values, limit))]
        logged, _ = young(connection)
    for row in found:
        row["lanes"] = json.loads(row["lanes"])
    found += [
        {
            name: list(value) if name == "lanes" else value
            for name in _INTENT
            for value in (each.columns[name],)
        }
        for each in logged
        if (not states or each.state in states) and (not route or each.columns["route"] == route)
    ]
    return sorted(found, key=lambda row: -int(row["id"]))[:limit]


def states(directory: Path) -> dict[str, int]:
    """How many intents there ever were in each state. Raises StoreError."""
    sql = "SELECT state, count(*) FROM intents GROUP BY state UNION ALL SELECT state, removed FROM totals"
    counts: Counter[str] = Counter()
    with looking(directory / "journal.db") as connection:
        for state, count in connection.execute(sql):
            counts[state] += count
        logged, _ = young(connection)
        counts.update(str(each.state) for each in logged)
    return dict(sorted(counts.items()))


@contextmanager
def looking(path: Path) -> Iterator[sqlite3.Connection]:
    """One view of a file, read-only; raises StoreError."""
    if not path.exists():
        raise StoreError(f"{path}: no such file; has a sidecar run with this journal directory?")
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")  # one view of rows and log
            yield connection
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
