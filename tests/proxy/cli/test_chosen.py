"""Filters of `twinwrite diffs`: points in time, and text that a terminal does not obey."""

import time

import click
import pytest
from click.testing import CliRunner

from proxy.cli.chosen import filters, moment, plain, reading
from proxy.store.batch import StoreError
from proxy.store.ledger_reader import Chosen


@pytest.fixture
def chosen() -> list[Chosen]:
    return []


def ask(chosen: list[Chosen], *arguments: str) -> tuple[int, str]:
    @click.command()
    @filters("route", "kind", "since", "until")
    def command(chosen_: Chosen | None = None, **given: Chosen) -> None:
        chosen.append(chosen_ or given["chosen"])

    result = CliRunner().invoke(command, arguments)
    return result.exit_code, result.stderr


def test_filters_become_one_value(chosen: list[Chosen]) -> None:
    assert ask(chosen, "--route", "orders", "--class", "value")[0] == 0
    assert chosen == [Chosen(route="orders", kind="value")]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400), ("7d", 604_800), ("4w", 2_419_200)],
)
def test_so_long_ago_is_a_point_in_time(chosen: list[Chosen], text: str, seconds: int) -> None:
    assert ask(chosen, "--since", text)[0] == 0
    assert chosen[0].since == pytest.approx(time.time() - seconds, abs=60)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2027-01-15T08:00", 1_800_000_000.0),
        ("2027-01-15 08:00:00", 1_800_000_000.0),
        ("2027-01-15T09:00+01:00", 1_800_000_000.0),
        ("2027-01-15", 1_799_971_200.0),
    ],
)
def test_iso_times_are_utc_where_they_do_not_say_otherwise(
    chosen: list[Chosen], text: str, at: float
) -> None:
    assert ask(chosen, "--until", text)[0] == 0
    assert chosen[0].until == at


@pytest.mark.parametrize("text", ["yesterday", "2x", "", "9999999999w", "2027-13-01"])
def test_what_is_no_time_is_a_wrong_command_line(chosen: list[Chosen], text: str) -> None:
    code, told = ask(chosen, "--since", text)
    assert code == 2
    assert "is no time: 2h, 30m, 7d, or 2026-01-31T12:00" in told


def test_an_unknown_class_is_a_wrong_command_line(chosen: list[Chosen]) -> None:
    assert ask(chosen, "--class", "colour")[0] == 2


def test_times_are_printed_in_utc() -> None:
    assert moment(1_800_000_000.0) == "2027-01-15 08:00:00"


def test_control_characters_become_escapes() -> None:
    assert plain("plain é 漢 🙂") == "plain é 漢 🙂"
    assert plain("a\x1b[31m\r\n\x07\x9b\u202e") == r"a\x1b[31m\r\n\x07\x9b\u202e"


def test_a_ledger_that_cannot_be_read_ends_with_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended, reading():
        raise StoreError("the disk is gone")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "twinwrite: error: the disk is gone\n"
