"""`twinwrite diffs suggest`: what always differs comes with a rule; the rule is a person's to take."""

import json
import tomllib
from pathlib import Path

import pytest

from proxy.control.config import parse
from rules.difference import Class
from rules.tolerance import RuleKind
from tests.proxy.cli.ledgers import MATCH, Book, mismatch, record

WHEN = ("--since", "2027-01-15", "--until", "2027-01-16")


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """60 comparisons of two routes: a time and a currency always differ, a name now and then."""
    found = Book(tmp_path)
    with found.open() as ledger:
        for number in range(60):
            at, later = (f'"2027-01-15T08:{number:02}:0{second}Z"' for second in (1, 2))
            differing = [
                ("/items/0/at", Class.VALUE, at, later),
                ("/currency", Class.VALUE, '"EUR"', '"USD"'),
            ]
            if number % 10 == 0:
                differing.append(("/name", Class.VALUE, '"a"', '"b"'))
            record(ledger, mismatch(*differing))
            record(ledger, mismatch(("/at", Class.VALUE, at, later)), "elsewhere")
    return found


def test_a_snippet_is_ready_for_the_config(book: Book) -> None:
    text = "\n".join(book.lines("suggest", *WHEN, "--route", "orders"))
    assert tomllib.loads(text) == {
        "routes": {"rules": [{"kind": "time", "paths": ["/items/*/at"], "within_seconds": 2}]}
    }
    assert '# route "orders", "/body/items/*/at": differed in 60 of 60 comparisons (100 %)' in text
    assert "# a time, at the most 1 s apart" in text
    assert "# the same two values every time: a difference to explain, no noise" in text
    assert "/body/name" not in text
    config = parse(book.config.read_text() + text, "twinwrite.toml", {})
    (rule,) = config.routes[0].rules
    assert rule.kind is RuleKind.TIME


def test_a_route_that_the_config_does_not_name_gets_a_rule_for_every_route(book: Book) -> None:
    text = "\n".join(book.lines("suggest", *WHEN, "--route", "elsewhere"))
    expected = [{"kind": "time", "paths": ["/at"], "within_seconds": 2}]
    assert tomllib.loads(text) == {"compare": {"rules": expected}}


def test_nothing_is_changed(book: Book) -> None:
    before = book.config.read_bytes(), (book.directory / "ledger.db").read_bytes()
    book.lines("suggest", *WHEN)
    assert (book.config.read_bytes(), (book.directory / "ledger.db").read_bytes()) == before


def test_json_tells_numbers_and_toml(book: Book) -> None:
    rows = json.loads("\n".join(book.lines("suggest", "--json", *WHEN)))
    first = next(row for row in rows if row["path"] == "/body/items/*/at")
    assert (first["look"], first["rule"], first["percent"], first["compared"]) == (
        "time", "time", 100.0, 60,
    )  # fmt: skip
    assert first["toml"].splitlines()[2] == "[[routes.rules]]"
    assert [row["rule"] for row in rows if row["path"] == "/body/currency"] == [None]


@pytest.mark.parametrize("bounds", [("--at-least", "61"), ("--path", "/body/name")])
def test_too_few_or_too_rare_is_nothing(book: Book, bounds: tuple[str, str]) -> None:
    (line,) = book.lines("suggest", *WHEN, *bounds)
    assert line.startswith("# no field differs in 95 % of ")


def test_a_field_that_often_matches_is_none(book: Book) -> None:
    with book.open() as ledger:
        for _ in range(10):
            record(ledger, MATCH)
    assert "items" not in "\n".join(book.lines("suggest", *WHEN))
    assert "items" in "\n".join(book.lines("suggest", *WHEN, "--percent", "80"))


def test_what_the_primary_does_not_agree_with_itself_in_is_said(book: Book) -> None:
    with book.open() as ledger:
        for _ in range(5):
            ledger.baseline("orders", mismatch(("/items/3/at", Class.VALUE, "1", "2")).differences)
    text = "\n".join(book.lines("suggest", *WHEN, "--path", "/body/items"))
    assert "two replies of the primary differ there in 5 of 5 reads" in text
