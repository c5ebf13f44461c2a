"""The gaps in the journal's file: intervals in which accepted writes were not journaled."""

import sqlite3
from dataclasses import dataclass

from proxy.store import schema
from proxy.store.batch import Told
from proxy.store.writer import Writer


@dataclass(slots=True)
class Gap:
    """An interval (Unix seconds) in which so many accepted writes of a category were not journaled, and why."""

    id: int
    category: str
    reason: str
    first_at: float
    last_at: float
    writes: int = 0


class Gaps:
    """The table behind one writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def all(self) -> list[Gap]:
        """Every gap of this journal, oldest first. Raises StoreError."""
        return await self._writer.call(_read)

    def keep(self, gap: Gap) -> Told:
        """Write a gap as it is now; it is tried again while the disk refuses it."""
        row = (gap.id, gap.category, gap.reason, gap.first_at, gap.last_at, gap.writes)
        self._writer.put(schema.GAP, row)
        return self._writer.submit(schema.NOTHING, ())


def _read(connection: sqlite3.Connection) -> list[Gap]:
    sql = "SELECT id, category, reason, first_at, last_at, writes FROM gaps ORDER BY id"
    return [Gap(*row) for row in connection.execute(sql)]
