"""The ledger's tables: every statement fits them, and making them again changes nothing."""

import sqlite3
from contextlib import closing

from proxy.store import ledger_schema as schema
from proxy.store.batch import Statement

STATEMENTS = {name: each for name, each in vars(schema).items() if isinstance(each, Statement)}


def test_every_statement_fits_the_tables() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema.LEDGER.script)
        for each in STATEMENTS.values():
            connection.execute(each.sql, (1,) * each.sql.count("?"))
