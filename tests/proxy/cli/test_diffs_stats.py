"""`twinwrite diffs stats`: a bar for each hour, and the verdicts."""

import json
from pathlib import Path

import pytest

from proxy.cli.diffs_stats import BAR, bar
from tests.proxy.cli.ledgers import HOUR, MATCH, Book, a_book, record

ALL = ("--since", "2027-01-15")


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return a_book(tmp_path)


def test_each_hour_is_a_bar(book: Book) -> None:
    lines = book.lines("stats", *ALL)
    assert lines[:2] == [
        f"2027-01-15 08:00 {'█' * 10:30} 1 of 3  33.33 %",
        f"2027-01-15 09:00 {'█' * 30:30} 3 of 4  75.00 %",
    ]
    assert max(len(each) for each in lines) <= 80
    assert "equal_bytes" in "\n".join(lines[2:])


def test_a_field_has_a_chart_of_its_own(book: Book) -> None:
    lines = book.lines("stats", *ALL, "--path", "/body/items", "--route", "orders")
    assert lines[:2] == [
        f"2027-01-15 08:00 {'':30} 0 of 2   0.00 %",
        f"2027-01-15 09:00 {'█' * 30:30} 2 of 3  66.67 %",
    ]


def test_hours_without_comparisons_are_empty(book: Book) -> None:
    with book.open() as ledger:
        book.clock.forward(3 * 3600)
        record(ledger, MATCH)
    lines = book.lines("stats", *ALL)
    assert lines[2:5] == [
        f"2027-01-15 10:00 {'':30} 0 of 0",
        f"2027-01-15 11:00 {'':30} 0 of 0",
        f"2027-01-15 12:00 {'':30} 0 of 1   0.00 %",
    ]


def test_a_year_without_comparisons_is_left_out(book: Book) -> None:
    with book.open() as ledger:
        book.clock.forward(300 * 86_400)
        record(ledger, MATCH)
        ledger._forget_at = book.clock() + 1e9  # what is old is still there
    hours = [each[:16] for each in book.lines("stats", *ALL)[:3]]
    assert hours == ["2027-01-15 08:00", "2027-01-15 09:00", "2027-11-11 09:00"]


def test_json_has_hours_and_verdicts(book: Book) -> None:
    found = json.loads("\n".join(book.lines("stats", "--json", *ALL)))
    assert [row["hour"] for row in found["hours"]] == [HOUR, HOUR + 3600]
    assert {"route": "orders", "category": "default", "verdict": "match", "reason": "equal_bytes",
            "count": 1} in found["verdicts"]  # fmt: skip


def test_by_default_it_is_the_last_day(book: Book) -> None:
    assert book.lines("stats", "--until", "2026-01-01") == ["no comparisons in this time"]
    shown = book.lines("stats", "--until", "2027-01-15T08:30")
    assert [each[:16] for each in shown[:2] if each.startswith("2027")] == ["2027-01-15 08:00"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, ""), (1, "▏"), (500, "█" * 15), (1000, "█" * BAR), (517, "█" * 15 + "▌")],
)
def test_a_bar_is_in_proportion_and_never_invisible(value: int, text: str) -> None:
    assert bar(value, 1000) == text
    assert bar(0, 0) == ""
