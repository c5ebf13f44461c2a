"""The request of an intent that has no reply of the primary: of an unknown one, from its row.

Law: what is not exactly what was journaled is Damaged, as everywhere.
"""

import asyncio
import sqlite3

from proxy.store import schema
from proxy.store.batch import StoreError
from proxy.store.intent import Damaged, Intent, unpack_request
from proxy.store.journal import Journal
from rules.message import Request


async def request_of(journal: Journal, intent: Intent) -> Request:
    """The exact request of an intent with a row, from disk; raises Damaged, or StoreError."""
    if len(journal.writer):  # its row may still be on its way
        error = await journal.writer.submit(schema.NOTHING, ())
        if error is not None:
            raise error

    def stored(connection: sqlite3.Connection) -> tuple[bytes | None, bytes | None] | None:
        sql = "SELECT payload, digest FROM intents WHERE id = ?"
        row: tuple[bytes | None, bytes | None] | None = connection.execute(
            sql, (intent.id,)
        ).fetchone()
        return row

    found = await journal.writer.call(stored)
    if found is None or found[0] is None or found[1] is None:
        raise Damaged("the row or its payload is gone")
    spool = None if intent.spool is None else journal.directory / intent.spool
    given = (found[0], found[1], spool, journal.cipher, intent.id)
    try:
        return await asyncio.to_thread(unpack_request, *given)
    except OSError as trouble:  # it may be read later
        raise StoreError(f"{spool}: {trouble.strerror}") from trouble
