"""`twinwrite diffs list`, `search` and `rules`: groups, words, what comes new, and rules of no use."""

import json
import threading
from pathlib import Path

import pytest

from proxy.cli.diffs_list import line
from rules.difference import Class
from tests.proxy.cli.ledgers import HOUR, Book, a_book, mismatch, record


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return a_book(tmp_path)


def paths(book: Book, *arguments: str) -> list[str]:
    return [row["path"] for row in json.loads("\n".join(book.lines("list", "--json", *arguments)))]


def test_groups_are_a_table_that_fits_80_columns(book: Book) -> None:
    lines = book.lines("list")
    assert max(len(each) for each in lines) <= 80
    text = "\n".join(lines)
    for word in ("/body/items/*/id", "/body/note", "missing", "2027-01-15 09:00"):
        assert word in text
    assert lines[-1] == "one of them side by side: twinwrite diffs show 3"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ["/body/items/*/id", "/body/note", "/body/total"]),
        (("--limit", "1"), ["/body/items/*/id"]),
        (("--route", "notes"), ["/body/note"]),
        (("--category", "critical"), []),
        (("--class", "missing"), ["/body/note"]),
        (("--path", "/body/items"), ["/body/items/*/id"]),
        (("--since", "2027-01-15T09:00"), ["/body/items/*/id", "/body/note"]),
        (("--until", "2027-01-15T09:00"), ["/body/total"]),
    ],
)
def test_groups_can_be_chosen(book: Book, arguments: tuple[str, ...], expected: list[str]) -> None:
    assert paths(book, *arguments) == expected


def test_an_empty_ledger_is_an_empty_table(tmp_path: Path) -> None:
    book = Book(tmp_path)
    with book.open():
        pass
    assert json.loads("\n".join(book.lines("list", "--json"))) == []
    assert "side by side" not in "\n".join(book.lines("list"))


@pytest.mark.parametrize("verb", ["list", "search", "rules", "stats", "suggest", "export"])
def test_without_a_ledger_it_is_one_clear_line(tmp_path: Path, verb: str) -> None:
    result = Book(tmp_path).invoke(verb)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no such file; has a sidecar run with this journal directory?" in result.stderr


def test_follow_prints_what_comes_new_and_is_chosen(book: Book) -> None:
    found: list[str] = []
    with book.open() as ledger:

        def follow() -> None:
            found.extend(book.lines("list", "--follow", "--json", "--route", "new", "--limit", "2"))

        thread = threading.Thread(target=follow)
        thread.start()
        # It begins with what comes after it has started: so there is always something more to come.
        while thread.is_alive():
            record(ledger, mismatch(("/a", Class.VALUE, "1", "2")), "old")
            record(ledger, mismatch(("/a", Class.EXTRA, "", "2")), "new")
            ledger.sweep()
            ledger.writer._loop.run_until_complete(ledger.writer.call(lambda _: None))
            thread.join(0.05)
    rows = [json.loads(each) for each in found]
    assert [row["route"] for row in rows] == ["new", "new"]
    assert rows[0]["id"] < rows[1]["id"]


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (("items",), [3, 2]),
        (("orders", "total"), [1]),
        (("nothing",), []),
        (("--path", "/body/note"), [4]),
        (("--class", "missing"), [4]),
        (("--verdict", "error"), []),
        (("--route", "orders", "--limit", "1"), [3]),
        (("--since", "2027-01-15T09:00", "--until", "2027-01-15T10:00"), [4, 3, 2]),
        (("--bodies", '"state": "open"'), [1]),
    ],
)
def test_search_finds_words_and_fields(
    book: Book, arguments: tuple[str, ...], numbers: list[int]
) -> None:
    rows = json.loads("\n".join(book.lines("search", "--json", *arguments)))
    assert [row["id"] for row in rows] == numbers


def test_search_prints_a_line_for_each(book: Book) -> None:
    assert book.lines("search", "total") == [
        "2027-01-15 08:00:00 #1 orders PUT /orders/1 mismatch: body  /body/total value 10 / 11"
    ]


def test_a_line_says_how_much_more_there_is_and_obeys_nothing() -> None:
    difference = {"path": "/body/\x1b[2J", "kind": "value", "primary": "x" * 100, "secondary": "\r"}
    row = {
        "at": HOUR, "id": 3, "route": "a", "method": "PUT", "target": "/\x07", "verdict": "mismatch",
        "reason": "body", "differences": [difference] * 3,
    }  # fmt: skip
    text = line(row).plain
    assert "\x1b" not in text
    assert text.endswith(f"{'x' * 59}… / \\r  and 2 more")


def test_rules_tell_their_use_and_those_of_no_use(book: Book) -> None:
    rows = json.loads("\n".join(book.lines("rules", "--json")))
    assert rows == [
        {"route": "orders", "rule": "/used", "count": 1, "last_hour": HOUR + 3600},
        {"route": "orders", "rule": "/never", "count": 0, "last_hour": None},
    ]
    text = "\n".join(book.lines("rules"))
    assert "2027-01-15 09h" in text
    assert "never" in text
