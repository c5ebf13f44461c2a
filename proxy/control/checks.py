"""What may stand in a key: ranges of numbers, and checks of texts.

Law: each check raises ValueError that says what is allowed, and never repeats what was given.
"""

import re
from collections.abc import Callable

from proxy.control.address import check_socket_path
from rules.outbound import UNTOUCHABLE

TIME = (1, 86_400_000)  # up to a day, in ms
AGE = (0, 31_536_000)  # up to a year, in seconds
SIZE = (0, 2**40)  # up to a tebibyte
COUNT = (1, 1_000_000)
ROWS = (1, 1_000_000_000)
PORT = (0, 65535)

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e\xa0-\xff](?:[\t\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?")
_BASE_PATH = re.compile(r"(?:/[\x21\x22\x24-\x2e\x30-\x3e\x40-\x7e]+)*")
_VARIABLE = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*)?")
_PATH = re.compile(r"[^\x00-\x1f\x7f]*")


def settable(name: str) -> None:
    """The name of a header that may be set and removed."""
    _match(_NAME, name, "the name of a header")
    if name.lower().replace("_", "-") in UNTOUCHABLE:  # both spellings are removed
        raise ValueError("must be a header that does not frame, route or identify the message")


def set_header(name: str, value: str) -> None:
    """A header and its new value."""
    settable(name)
    field_value(value)


def field_value(text: str) -> None:
    """A whole field value (RFC 9110 5.5), in Latin-1."""
    _match(_VALUE, text, "the value of a header, not empty, on one line")


def base_path(text: str) -> None:
    """What stands before a path on the wire, or nothing."""
    _match(_BASE_PATH, text, "a path as /v2: no / at its end, percent-encoded, without a query")


def variable(text: str) -> None:
    """The name of an environment variable, or nothing."""
    _match(_VARIABLE, text, "the name of an environment variable")


def path(text: str) -> None:
    """The path of a file, or nothing."""
    _match(_PATH, text, "the path of a file")


def _match(pattern: re.Pattern[str], text: str, allowed: str) -> None:
    if pattern.fullmatch(text) is None:
        raise ValueError(f"must be {allowed}")


def _matching(pattern: str, allowed: str) -> Callable[[str], None]:
    compiled = re.compile(pattern)
    return lambda given: _match(compiled, given, allowed)


text = _matching(r"[^\x00-\x1f\x7f]+", "a text that is not empty")
host = _matching(r"[A-Za-z0-9._:%-]+", "a host name or an address")
mode = _matching("0[0-7]{3}", "an octal mode, as 0660")
word = _matching(r"[A-Za-z0-9_-]{1,64}", "a name of at most 64 letters, digits, _ and -")
title = _matching(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_./ -]{0,62}[A-Za-z0-9_])?",
    "a name of at most 64 letters, digits, spaces and _ . / -",
)
method = _matching(r"[A-Z][A-Z0-9_-]*", "a method in capitals, as POST")
header = _matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "the name of a header")
wire_path = _matching(
    r"/[\x21\x22\x24-\x3e\x40-\x7e]*",
    "a path as it is on the wire: it begins with /, is percent-encoded, and has no query",
)


def optional(check: Callable[[str], object]) -> Callable[[str], None]:
    """What a check lets through, or nothing."""
    return lambda given: None if given == "" else (check(given), None)[1]


socket_path = optional(check_socket_path)
