"""Scalars of a document: when two are equal, what can be an identity, and how they are shown.

Law: equal means the same to a reader of JSON: 1 is 1.0, true is not 1, a number is not a text.
"""

import json
from decimal import Decimal
from itertools import islice

import msgspec

SHOWN_MAX = 200
"""Characters of a value that are shown."""

CONTAINERS = (dict, list)
"""The types that are no scalars."""

_NUMBERS = (float, Decimal)  # what counts as int does, and has a fraction
_packed = msgspec.msgpack.Encoder().encode  # it tells true from 1 and 1.0, and is faster than JSON


def _odd(value: object) -> str:
    """What JSON has no type for: a number that a float cannot hold, bytes and points in time of MessagePack."""
    return str(value) if isinstance(value, Decimal) else repr(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=_odd)
_quoted = json.encoder.encode_basestring  # what the encoder says of a text


def identical(one: object, other: object) -> bool:
    """Whether two values are equal beyond doubt, at the speed of C; False is no answer.

    Equal trees of Python may still have true for 1: their spelling tells these apart.
    """
    try:
        return one == other and _packed(one) == _packed(other)
    except (RecursionError, TypeError, ValueError, OverflowError):
        # too deep, of no type that it knows, a lone surrogate, an integer of more than 64 bits
        return False


def sort(value: object) -> type:
    """The type of a value; numbers have one."""
    return int if type(value) in _NUMBERS else type(value)


def equal(one: object, other: object) -> bool:
    """Whether two scalars of one sort are equal: numbers as decimals, and a NaN is a NaN."""
    if type(one) is type(other):
        return one == other or (one != one and other != other)
    return exact(one) == exact(other)


def exact(number: object) -> Decimal:
    """A number with all its digits; a float has those that it is spelled with, as few as tell it apart."""
    assert isinstance(number, int | float | Decimal)
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)


def identity(value: object) -> str:
    """The text under which a scalar is known in the identity map; "" for what cannot be one."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 256:
        return str(value)
    return ""


def shown(value: object) -> str:
    """A value as JSON of at most SHOWN_MAX characters, which can be written as UTF-8."""
    try:
        if isinstance(value, str):
            text = _quoted(value[: SHOWN_MAX + 1])
        elif isinstance(value, CONTAINERS):
            text = "".join(islice(_ENCODER.iterencode(value), SHOWN_MAX + 1))
        elif isinstance(value, Decimal):
            text = str(value)
        else:
            text = _ENCODER.encode(value)
    except ValueError:  # an integer with more digits than Python will print
        return "<a number too long to show>"
    if not text.isascii():
        text = printable(text)
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"


def printable(text: str) -> str:
    """Escape lone surrogates, which no file or database takes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
