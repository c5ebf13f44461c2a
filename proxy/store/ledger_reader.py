"""Reads the ledger from outside the sidecar: for the command line, also while it runs.

Law: read-only, short transactions (a long reader pins the write-ahead log: storage.md).
"""

import json
from pathlib import Path

from proxy.store.reader import Document, looking


def groups(directory: Path, *, route: str = "", limit: int = 50) -> list[Document]:
    """Differences by route, path and kind, most frequent first. Raises StoreError."""
    where, values = ("WHERE route = ?", [route]) if route else ("", [])
    sql = f"SELECT * FROM groups {where} ORDER BY count DESC, route, path LIMIT ?"
    with looking(directory / "ledger.db") as connection:
        return [dict(row) for row in connection.execute(sql, (*values, limit))]


def verdicts(directory: Path) -> list[Document]:
    """Counts by route and verdict. Raises StoreError."""
    sql = "SELECT route, verdict, sum(count) AS count FROM counts GROUP BY route, verdict ORDER BY route, verdict"
    with looking(directory / "ledger.db") as connection:
        return [dict(row) for row in connection.execute(sql)]


def sample(directory: Path, identifier: int) -> Document | None:
    """One comparison in full: verdict, request, both replies, differences; None when it is not kept."""
    with looking(directory / "ledger.db") as connection:
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
