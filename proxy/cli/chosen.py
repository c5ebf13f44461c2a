"""What the verbs of `twinwrite diffs` share: filters, points in time, and text of backends made fit for a terminal."""

import functools
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from proxy.cli.options import fail
from proxy.store.batch import StoreError
from proxy.store.ledger_reader import Chosen
from rules.compare import VerdictKind
from rules.difference import Class

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def point_in_time(_: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A point in time as Unix seconds: so long ago ("90s", "30m", "2h", "7d", "4w"), or ISO 8601.

    UTC where no zone is given.
    """
    if value is None:
        return None
    ago = _AGO.fullmatch(value)
    try:
        if ago is not None:
            span = timedelta(**{_UNITS[ago[2]]: float(ago[1])})
            return (datetime.now(UTC) - span).timestamp()
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        message = f"{value!r} is no time: 2h, 30m, 7d, or 2026-01-31T12:00"
        raise click.BadParameter(message, param=param) from None


_OPTIONS: dict[str, Callable[[Callable[..., None]], Callable[..., None]]] = {
    "route": click.option("--route", default="", help="Only this route."),
    "category": click.option("--category", default="", help="Only this category."),
    "kind": click.option(
        "--class",
        "kind",
        default="",
        type=click.Choice(["", *(each.value for each in Class)]),
        help="Only differences of this class.",
    ),
    "path": click.option(
        "--path", default="", help="Only this path or below it; * is anything: /body/items/*/id."
    ),
    "verdict": click.option(
        "--verdict",
        default="",
        type=click.Choice(["", *(each.value for each in VerdictKind)]),
        help="Only this verdict.",
    ),
    "since": click.option(
        "--since",
        metavar="TIME",
        callback=point_in_time,
        help="From then on: 2h, 7d, 2026-01-31T12:00.",
    ),
    "until": click.option("--until", metavar="TIME", callback=point_in_time, help="Before then."),
}


def filters(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options that choose evidence: the command gets them as one `chosen`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: object) -> None:
            values: dict[str, Any] = {name: given.pop(name) for name in names}
            command(chosen=Chosen(**values), **given)

        found: Callable[..., None] = run
        for name in reversed(names):
            found = _OPTIONS[name](found)
        return found

    return decorate


@contextmanager
def reading() -> Iterator[None]:
    """What the ledger cannot give ends the command with one clear line."""
    try:
        yield
    except StoreError as error:
        fail(str(error))


def moment(at: float) -> str:
    """Unix seconds for people, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def plain(text: str) -> str:
    """A text of a backend without what a terminal would obey: control characters become escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each if unicodedata.category(each)[0] != "C" else each.encode("unicode_escape").decode()
        for each in text
    )
