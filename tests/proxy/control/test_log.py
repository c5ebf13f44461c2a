"""The log: one whole JSON line per event, and a reader that went away fails nobody."""

import io
import json
import os
import re
import sys
from datetime import UTC, datetime

import pytest

from proxy.control.log import CAUSES_MAX, Log


def logged(write: str, event: str, **fields: str | float | bool | None) -> dict[str, object]:
    stream = io.StringIO()
    getattr(Log(stream, lambda: datetime(2026, 11, 20, 8, 0, 0, 5000, UTC)), write)(event, **fields)
    (line,) = stream.getvalue().splitlines()
    found: dict[str, object] = json.loads(line)
    return found


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_an_event_is_one_line_with_its_fields(level: str) -> None:
    assert logged(level, "ready", listen="127.0.0.1:1", owed=3, ratio=0.5, all=True, why=None) == {
        "at": "2026-11-20T08:00:00.005Z", "level": level, "event": "ready",
        "listen": "127.0.0.1:1", "owed": 3, "ratio": 0.5, "all": True, "why": None,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["two\nlines", "é", '"', "\ud800", "\x00"])
def test_a_line_is_whole_whatever_is_in_it(text: str) -> None:
    assert logged("info", "config", detail=text)["detail"] == text


def test_a_failure_is_logged_with_its_traceback() -> None:
    stream = io.StringIO()
    try:
        raise KeyError("why")
    except KeyError as error:
        Log(stream).failure("task_failed", error)
    found = json.loads(stream.getvalue())
    assert (found["level"], found["event"]) == ("error", "task_failed")
    assert found["error"] == "KeyError: ***"
    assert "test_a_failure_is_logged_with_its_traceback" in found["traceback"]


def test_the_time_is_that_of_the_clock_in_utc() -> None:
    stream = io.StringIO()
    before = datetime.now(UTC)
    Log(stream).info("now")
    at = json.loads(stream.getvalue())["at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
    assert abs((datetime.fromisoformat(at) - before).total_seconds()) < 5


def test_it_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Log().info("ready")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "ready"
    assert sys.stderr is not sys.__stderr__


def test_a_line_is_there_at_once() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        Log(stream).info("first")
        assert json.loads(os.read(reading, 1000))["event"] == "first"
    os.close(reading)


class Gone(io.StringIO):
    """A stream whose reader went away."""

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_reader_that_went_away_fails_nobody() -> None:
    log = Log(Gone())
    log.info("first")
    log.error("second")


def failed(error: BaseException) -> dict[str, str]:
    stream = io.StringIO()
    Log(stream).failure("task_failed", error)
    found: dict[str, str] = json.loads(stream.getvalue())
    return found


@pytest.mark.parametrize(
    "error",
    [
        KeyError("hunter2"),
        ValueError("invalid literal for int() with base 10: 'hunter2'"),
        ValueError('it\'s "hunter2"\nhunter2"'),
        UnicodeEncodeError("ascii", "hunter2\xe9", 7, 8, "ordinal not in range(128)"),
        ValueError("of sk_live_4eC39HqLyjWDhunter2"),
    ],
)
def test_a_failure_does_not_tell_the_data_it_failed_on(error: BaseException) -> None:
    kept = "a local variable: hunter" + "2"
    try:
        raise RuntimeError(f"while at {error!r}") from error
    except RuntimeError as outer:
        found = failed(outer)
    assert "***" in found["error"]
    assert kept not in found["traceback"]
    told = [line for line in found["traceback"].splitlines() if not line.startswith(" ")]
    assert told[-1].startswith(f"{type(error).__name__}: ")
    assert not [line for line in told if "hunter2" in line]


def test_a_chain_of_failures_ends() -> None:
    error = first = ValueError("0")
    for number in range(1, 50):
        error.__cause__ = ValueError(str(number))
        error = error.__cause__
    assert failed(first)["traceback"].count("ValueError") == CAUSES_MAX


def test_secrets_in_the_texts_of_an_event_are_hidden_by_their_shape() -> None:
    assert logged("error", "spool_failed", error="at ada@example.com", n=4111111111111111) == {
        "at": "2026-11-20T08:00:00.005Z", "level": "error", "event": "spool_failed",
        "error": "at ***", "n": 4111111111111111,
    }  # fmt: skip
