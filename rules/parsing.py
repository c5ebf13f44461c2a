"""From bytes to a tree of Python: JSON and MessagePack, strictly.

Law: what can be read in more ways than one is `Unreadable`, and its text says why in one word; what is
simply not of the format is None. Time and memory are linear in the bytes.
"""

import json
from decimal import Decimal, InvalidOperation
from typing import Never

import msgspec
from msgpack import Unpacker
from msgpack.exceptions import ExtraData, FormatError, OutOfData, StackError

from rules.coding import Unreadable
from rules.pointer import MISSING, Missing

_BLANKS = b" \t\r\n"  # RFC 8259 2
_BETWEEN = b":,[{" + _BLANKS  # before a blank that stands between values
_BUFFER_BYTES_MAX = 2**31 - 1
_FLOAT_CHARACTERS_MAX = 16  # a point and 15 digits, which a float keeps (DBL_DIG, C11 5.2.4.2.2)
_fast = msgspec.json.Decoder().decode
_spelled = msgspec.json.Encoder().encode
_without_blanks = msgspec.json.format


def parse_json(body: bytes) -> object | Missing:
    """The document of a JSON text (RFC 8259), or MISSING for what is none. Raises Unreadable.

    What is spelled in the shortest way, blanks aside, is read at the speed of C: spelled again it
    gives the same bytes, so no name was there twice, and no number was lost.
    """
    text = body.strip(_BLANKS)
    blank = text.find(b" ")
    try:
        if blank >= 0 and text[blank - 1] in _BETWEEN:
            text = _without_blanks(text, indent=-1)
        document: object = _fast(text)
        if _spelled(document) == text:
            return document
    except (ValueError, RecursionError):  # the long way says what is wrong
        pass
    return _strict(body)


def _strict(body: bytes) -> object | Missing:
    try:
        document: object = _DECODER.decode(body.decode().removeprefix("\ufeff"))
    except json.JSONDecodeError:
        return MISSING
    except Unreadable:
        raise
    except UnicodeDecodeError:
        raise Unreadable("not_utf8") from None
    except ValueError:  # more digits than Python will turn into an integer
        raise Unreadable("json_number_too_long") from None
    except RecursionError:
        raise Unreadable("json_too_deep") from None
    return document


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Unreadable("json_duplicate_key")
    return members


def _float(text: str) -> float | Decimal:
    """A float where the text spells one, in as few digits as tell it apart or in 17; else all its digits."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Unreadable("json_number_too_large")
    if len(text) <= _FLOAT_CHARACTERS_MAX and "e" not in text and "E" not in text:
        return value
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent of 19 digits
        raise Unreadable("json_number_too_long") from None
    return value if exact in (Decimal(repr(value)), Decimal(f"{value:.16e}")) else exact


def _constant(_: str) -> Never:
    raise Unreadable("json_not_a_number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)


def parse_msgpack(body: bytes) -> object | Missing:
    """The document of one MessagePack object, or MISSING for what is none. Raises Unreadable.

    Names that are integers are written as texts, as JSON has them; others that are no texts are
    refused. Read by msgpack, not by msgspec: it shows a name that is there twice.
    """
    if len(body) > _BUFFER_BYTES_MAX:
        raise Unreadable("body_too_large")
    unpacker = Unpacker(
        object_pairs_hook=_map, strict_map_key=False, raw=False, max_buffer_size=len(body) or 1
    )
    try:
        unpacker.feed(body)
        document: object = unpacker.unpack()
        if unpacker.tell() != len(body):
            return MISSING
    except (StackError, RecursionError):
        raise Unreadable("msgpack_too_deep") from None
    except Unreadable:
        raise
    except UnicodeDecodeError:
        raise Unreadable("not_utf8") from None
    except (OutOfData, ExtraData, FormatError, ValueError):
        return MISSING
    return document


def _map(pairs: list[tuple[object, object]]) -> dict[str, object]:
    members = {_name(name): value for name, value in pairs}
    if len(members) != len(pairs):
        raise Unreadable("msgpack_duplicate_key")
    return members


def _name(name: object) -> str:
    if isinstance(name, str):
        return name
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    raise Unreadable("msgpack_name")
