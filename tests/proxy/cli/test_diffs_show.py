"""`twinwrite diffs show` and `curl`: a real difference side by side at 80 columns, in colour on a terminal."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.__main__ import main
from rules.difference import Class
from tests.proxy.cli.ledgers import Book, a_book, mismatch, record


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return a_book(tmp_path)


def test_both_replies_stand_side_by_side(book: Book) -> None:
    lines = [each.strip("─") for each in book.lines("show", "1", "--full")]
    assert lines == [
        "PUT /orders/1",
        "route orders, category default, mismatch: body",
        "2027-01-15 08:00:00 UTC, intent 7",
        " differences ",
        f"{'primary (legacy)':38} | secondary (new)",
        "/body/total  value",
        f"{'10':38} | 11",
        " replies ",
        f"{'200':38} | 201",
        f"{'content-type: application/json':38}   content-type: application/json",
        " " * 41,
        f"{'{':38}   {{",
        f"{'  ' + chr(34) + 'state' + chr(34) + ': ' + chr(34) + 'open' + chr(34) + ',':38}"
        '     "state": "open",',
        f'{"  " + chr(34) + "total" + chr(34) + ": 10":38} |   "total": 11',
        f"{'}':38}   }}",
    ]


def test_equal_lines_are_left_out(tmp_path: Path) -> None:
    book = Book(tmp_path)
    numbers = list(range(40))
    with book.open() as ledger:
        bodies = json.dumps(numbers), json.dumps([*numbers[:-1], 99])
        record(ledger, mismatch(("/39", Class.VALUE, "39", "99")), bodies=bodies)
    lines = book.lines("show", "1")
    assert len(lines) < 25
    assert any("equal lines" in each for each in lines)
    assert len(book.lines("show", "1", "--full")) > 45


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_is_never_wider_than_the_terminal(tmp_path: Path, width: int) -> None:
    book = Book(tmp_path)
    long = json.dumps({"text": "word " * 60, "wide": "漢" * 70})
    with book.open() as ledger:
        verdict = mismatch((f"/{'name' * 5}", Class.MISSING, "x" * 200, ""))
        record(ledger, verdict, bodies=(long, "\x1b[2Jplain text\nof two lines"))
    result = book.invoke("show", "1", width=width)
    assert result.exit_code == 0
    assert max(len(each) for each in result.output.splitlines()) <= width
    assert r"\x1b[2Jplain" in result.output


def test_a_reply_that_never_came_is_told(tmp_path: Path) -> None:
    book = Book(tmp_path)
    with book.open() as ledger:
        record(ledger, mismatch(("/a", Class.VALUE, "1", "2")))
    from_file = json.loads("\n".join(book.lines("show", "1", "--json")))
    assert (from_file["primary"]["side"], from_file["secondary"]["status"]) == ("legacy", 201)


def test_on_a_terminal_it_is_in_colour(book: Book) -> None:
    environment = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "80"}
    command = ["diffs", "show", "1", "-c", str(book.config)]
    result = CliRunner(env=environment).invoke(main, command, color=True)
    assert "\x1b[32m10" in result.output
    assert "\x1b[31m11" in result.output


def test_curl_is_the_request_against_a_side(book: Book) -> None:
    (command,) = book.lines("curl", "1", "--side", "legacy")
    assert command.startswith("curl -i -g --path-as-is -X PUT http://127.0.0.1:1/orders/1 ")
    document = json.loads("\n".join(book.lines("curl", "1", "--json")))
    assert "http://127.0.0.1:2/orders/1" in document["command"]


@pytest.mark.parametrize("verb", ["show", "curl"])
def test_an_unknown_comparison_is_one_clear_line(book: Book, verb: str) -> None:
    result = book.invoke(verb, "99")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no comparison 99 in the ledger: `twinwrite diffs list` names samples" in result.stderr


def test_what_is_no_number_is_a_wrong_command_line(book: Book) -> None:
    assert book.invoke("show", "first").exit_code == 2
