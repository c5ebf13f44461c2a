"""What may stand in the keys that change a request for one side.

Law: each check raises ValueError that says what is allowed, and never repeats what was given.
"""

import re

from rules.outbound import UNTOUCHABLE

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
