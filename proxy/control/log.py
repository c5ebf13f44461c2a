"""One JSON line per event, on standard error.

Law: events are rare (a write makes none); a line is whole; nothing secret is in it: texts lose what has
the shape of a secret, and an unexpected exception loses what its message quotes, for that may be data.
"""

import json
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

from rules.shapes import FINDERS, masked

Value = str | int | float | bool | None

HIDDEN = "***"
"""What stands for a secret in a line."""

CAUSES_MAX = 8
"""Exceptions of a chain that are told."""

_FINDERS = tuple(FINDERS.values())
_QUOTED = re.compile(r"[\"'`].*[\"'`]", re.DOTALL)


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
        """An unexpected exception, with its traceback; no local variable is in that."""
        told = "".join(_told(error))
        self._write(Level.ERROR, event, {"error": _named(error), "traceback": told})

    def _write(self, level: Level, event: str, fields: dict[str, Value]) -> None:
        at = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        shown = {name: _shown(value) for name, value in fields.items()}
        line = json.dumps({"at": at, "level": level, "event": event, **shown})
        with suppress(OSError):  # nobody reads: no reason to fail a write
            self._stream.write(line + "\n")
            self._stream.flush()


def _shown(value: Value) -> Value:
    return masked(value, _FINDERS, lambda _: HIDDEN) if isinstance(value, str) else value


def _named(error: BaseException) -> str:
    """An exception by its class and its message, without what the message quotes."""
    return f"{type(error).__name__}: {_QUOTED.sub(HIDDEN, str(error))}"


def _told(error: BaseException | None) -> Iterator[str]:
    """A traceback as Python prints it, the cause last, its messages as in `_named`."""
    for _ in range(CAUSES_MAX):
        if error is None:
            return
        yield from traceback.format_tb(error.__traceback__)
        yield _named(error) + "\n"
        error = error.__cause__ or error.__context__
