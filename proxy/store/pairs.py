"""The identities in the journal's file: pairs of values, unique both ways per kind."""

import sqlite3
from collections.abc import Callable, Sequence

from proxy.store import schema
from proxy.store.batch import storable
from proxy.store.intent import Identity
from proxy.store.writer import Writer
from rules.message import Side


class Pairs:
    """The table behind one writer. `now` gives Unix seconds."""

    def __init__(self, writer: Writer, now: Callable[[], float]) -> None:
        self._writer = writer
        self._now = now

    def learn(self, identity: Identity, source: str) -> None:
        """A new identity: in the same transaction as what else is written in this turn of the loop."""
        row = (identity.kind, identity.legacy, identity.new, source, self._now())
        self._writer.put(schema.IDENTITY, row)

    async def find(self, kind: str, side: Side, value: str) -> Identity | None:
        """The identity whose value on `side` is this."""
        if storable(value) != value:
            return None  # no Unicode: nothing like it is stored
        column = "legacy_value" if side is Side.LEGACY else "new_value"
        sql = (
            f"SELECT kind, legacy_value, new_value FROM identities WHERE kind = ? AND {column} = ?"
        )
        row = await self._writer.call(lambda db: db.execute(sql, (kind, value)).fetchone())
        return None if row is None else Identity(*row)

    async def contradicted(self, wanted: Sequence[Identity]) -> list[Identity]:
        """Every identity that has one of these values on either side: those that a new one may contradict."""
        sql = (
            "SELECT kind, legacy_value, new_value FROM identities"
            " WHERE kind = ? AND (legacy_value = ? OR new_value = ?)"
        )
        keys = [(each.kind, storable(each.legacy), storable(each.new)) for each in wanted]

        def find(connection: sqlite3.Connection) -> list[Identity]:
            return [Identity(*row) for key in keys for row in connection.execute(sql, key)]

        return await self._writer.call(find)
