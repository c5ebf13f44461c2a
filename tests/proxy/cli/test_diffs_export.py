"""`twinwrite diffs export`: CSV and NDJSON, to a file and to standard output."""

import csv
import io
import json
from pathlib import Path

import pytest

from rules.compare import Verdict, VerdictKind
from rules.difference import Class
from tests.proxy.cli.ledgers import Book, a_book, mismatch, record


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return a_book(tmp_path)


def test_ndjson_is_a_comparison_a_line_with_request_and_replies(book: Book) -> None:
    rows = [json.loads(each) for each in book.lines("export")]
    assert [row["id"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["at"] == "2027-01-15T08:00:00.000+00:00"
    assert rows[0]["request"]["body"] == '{"n": 1}'
    assert rows[0]["secondary"]["status"] == 201


def test_csv_is_a_difference_a_line(tmp_path: Path) -> None:
    book = Book(tmp_path)
    with book.open() as ledger:
        many = [(f"/{name}", Class.VALUE, '"a,b"', "line\nbreak") for name in ("x", "y")]
        record(ledger, mismatch(*many))
        record(ledger, Verdict(kind=VerdictKind.SKIPPED, reason="busy"))
    rows = list(csv.DictReader(io.StringIO(book.invoke("export", "--format", "csv").stdout)))
    assert [(row["id"], row["path"], row["primary"]) for row in rows] == [
        ("1", "/body/x", '"a,b"'), ("1", "/body/y", '"a,b"'), ("2", "", ""),
    ]  # fmt: skip
    assert rows[0]["secondary"] == "line\nbreak"
    assert rows[2]["reason"] == "busy"
    assert rows[0]["intent"] == "7"


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_it_can_be_written_to_a_file(book: Book, tmp_path: Path, form: str) -> None:
    file = tmp_path / "out"
    told = book.lines("export", "--format", form, "-o", str(file), "--route", "orders")
    assert told == [f"3 comparisons written to {file}"]
    assert len(file.read_text().splitlines()) == (4 if form == "csv" else 3)
    counted = json.loads("\n".join(book.lines("export", "--json", "-o", str(file))))
    assert counted == {"comparisons": 4, "file": str(file)}


def test_a_file_that_cannot_be_written_is_one_clear_line(book: Book, tmp_path: Path) -> None:
    result = book.invoke("export", "-o", str(tmp_path / "none" / "out"))
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_is_chosen_is_exported(book: Book) -> None:
    arguments = ("--since", "2027-01-15T09:00", "--class", "value")
    assert [json.loads(each)["id"] for each in book.lines("export", *arguments)] == [2, 3]
