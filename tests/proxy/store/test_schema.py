"""The tables: every statement fits them, the order is that of a row's life, and making them again changes nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from proxy.store import schema
from proxy.store.batch import Schema, Statement

STATEMENTS = {name: each for name, each in vars(schema).items() if isinstance(each, Statement)}


@pytest.fixture(params=["JOURNAL"])
def tables(request: pytest.FixtureRequest) -> Iterator[tuple[str, Schema, sqlite3.Connection]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        found: Schema = getattr(schema, request.param)
        connection.executescript(found.script)
        yield request.param, found, connection


def test_every_statement_fits_its_tables(tables: tuple[str, Schema, sqlite3.Connection]) -> None:
    _, _, connection = tables
    for each in STATEMENTS.values():
        connection.execute(each.sql, (1,) * each.sql.count("?"))


def test_making_the_tables_again_changes_nothing(
    tables: tuple[str, Schema, sqlite3.Connection],
) -> None:
    _, found, connection = tables
    before = list(connection.iterdump())
    connection.executescript(found.script)
    assert list(connection.iterdump()) == before


def test_a_file_says_its_version(tables: tuple[str, Schema, sqlite3.Connection]) -> None:
    name, found, connection = tables
    row = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    assert row == (found.version,) == ({"JOURNAL": 3}[name],)


def test_two_journals_have_neither_id_nor_key_in_common() -> None:
    found = []
    for _ in range(2):
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(schema.JOURNAL.script)
            found.append(dict(connection.execute("SELECT name, value FROM meta")))
    for name, length in (("journal_id", 16), ("redaction_key", 32)):
        assert len(found[0][name]) == length
        assert found[0][name] != found[1][name]


def test_the_order_within_a_transaction_is_that_of_a_rows_life() -> None:
    life = (
        "FOLD", "SETTLE", "SETTLE_CLOSED", "SEND", "CONCLUDE", "CONCLUDE_CLOSED", "REMOVE", "REMOVED",
        "FORGET_LOG", "NEXT", "NOTHING",
    )  # fmt: skip
    orders = [STATEMENTS[name].order for name in life]
    assert orders == sorted(set(orders))


def test_the_latest_identity_does_not_replace_the_first() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema.JOURNAL.script)
        for legacy, new in (("1", "a"), ("1", "b"), ("2", "a"), ("2", "b")):
            connection.execute(schema.IDENTITY.sql, ("order", legacy, new, "reply", 0.0))
        found = connection.execute("SELECT legacy_value, new_value FROM identities").fetchall()
        assert found == [("1", "a"), ("2", "b")]
