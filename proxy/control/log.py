"""One JSON line per event, on standard error.

Law: events are rare (a write makes none); a line is whole; nothing secret is in it.
"""

import json
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

Value = str | int | float | bool | None


class Level(StrEnum):
    """How grave an event is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _now() -> datetime:
    return datetime.now(UTC)


class Log:
    """Writes events to a stream."""

    def __init__(self, stream: TextIO | None = None, now: Callable[[], datetime] = _now) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._now = now

    def info(self, event: str, **fields: Value) -> None:
        """Something that an operator may want to know."""
        self._write(Level.INFO, event, fields)

    def warning(self, event: str, **fields: Value) -> None:
        """Something that an operator should look at."""
        self._write(Level.WARNING, event, fields)

    def error(self, event: str, **fields: Value) -> None:
        """Something that an operator must look at."""
        self._write(Level.ERROR, event, fields)

    def failure(self, event: str, error: BaseException) -> None:
        """An unexpected exception, with its traceback."""
        text = "".join(traceback.format_exception(error))
        self._write(Level.ERROR, event, {"error": repr(error), "traceback": text})

    def _write(self, level: Level, event: str, fields: dict[str, Value]) -> None:
        at = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"at": at, "level": level, "event": event, **fields})
        with suppress(OSError):  # nobody reads: no reason to fail a write
            self._stream.write(line + "\n")
            self._stream.flush()
