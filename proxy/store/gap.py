"""One gap, as the journal keeps it."""

import sqlite3
from dataclasses import dataclass


@dataclass(slots=True)
class Gap:
    """An interval (Unix seconds) in which so many accepted writes of a category were not journaled, and why."""

    id: int
    category: str
    reason: str
    first_at: float
    last_at: float
    writes: int = 0

    def row(self) -> tuple[object, ...]:
        """Its columns."""
        return self.id, self.category, self.reason, self.first_at, self.last_at, self.writes


def gaps(connection: sqlite3.Connection) -> list[Gap]:
    """Every gap of a journal, oldest first."""
    sql = "SELECT id, category, reason, first_at, last_at, writes FROM gaps ORDER BY id"
    return [Gap(*row) for row in connection.execute(sql)]
