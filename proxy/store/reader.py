"""Reads journal and ledger from outside the sidecar: for the command line, also while it runs.

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
    with _open(directory / "journal.db") as connection:
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
    with _open(directory / "journal.db") as connection:
        for state, count in connection.execute(sql):
            counts[state] += count
        logged, _ = young(connection)
        counts.update(str(each.state) for each in logged)
    return dict(sorted(counts.items()))


def groups(directory: Path, *, route: str = "", limit: int = 50) -> list[Document]:
    """Differences by route, path and kind, most frequent first. Raises StoreError."""
    where, values = ("WHERE route = ?", [route]) if route else ("", [])
    sql = f"SELECT * FROM groups {where} ORDER BY count DESC, route, path LIMIT ?"
    with _open(directory / "ledger.db") as connection:
        return [dict(row) for row in connection.execute(sql, (*values, limit))]


def verdicts(directory: Path) -> list[Document]:
    """Counts by route and verdict. Raises StoreError."""
    sql = "SELECT route, verdict, sum(count) AS count FROM counts GROUP BY route, verdict ORDER BY route, verdict"
    with _open(directory / "ledger.db") as connection:
        return [dict(row) for row in connection.execute(sql)]


def sample(directory: Path, identifier: int) -> Document | None:
    """One comparison in full: verdict, request, both replies, differences; None when it is not kept."""
    with _open(directory / "ledger.db") as connection:
        row = connection.execute("SELECT * FROM verdicts WHERE id = ?", (identifier,)).fetchone()
        if row is None:
            return None
        differences = connection.execute(
            "SELECT path, kind, primary_value AS 'primary', secondary_value AS 'secondary'"
            " FROM differences WHERE verdict = ?",
            (identifier,),
        )
        found = dict(row)
        found |= json.loads(found.pop("evidence"))
        found["differences"] = [dict(each) for each in differences]
        return found


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
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
