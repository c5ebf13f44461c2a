"""Where in a message a value stands: a path capture, a JSON pointer, a header, a form field or a query name.

One notation for entity keys, harvests and translations: `path:NAME`, `json:/pointer`, `header:Name`,
`form:name`, `query:name`. `read` finds the value; `write` puts another in its place and leaves every other byte alone.
An entity key may stand in several places, which `read_all` finds: `json:/items/*/id`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from rules.coding import Unreadable
from rules.framing import field, fields
from rules.pointer import MISSING, parse, resolve

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Place(StrEnum):
    """The part of a message that a source points into."""

    PATH = "path"
    JSON = "json"
    HEADER = "header"
    FORM = "form"
    QUERY = "query"


_PATH = Place.PATH


@dataclass(frozen=True, slots=True)
class Source:
    """A place and the name within it; `tokens` are those of the JSON pointer."""

    place: Place
    name: str
    tokens: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.place}:{self.name}"

    @property
    def is_unbounded(self) -> bool:
        """Whether a body may name any number of values here; those of a head are few."""
        return self.place is Place.FORM or "*" in self.tokens


class Parts(Struct, frozen=True, kw_only=True, gc=False):
    """A message as sources see it: payload without chunk lines; `captures` are (start, end) in `target`."""

    target: str = ""
    head: bytes = b""
    payload: bytes = b""
    captures: Mapping[str, tuple[int, int]]


def parse_source(text: str) -> Source:
    """The source that the notation names; ValueError says what is allowed."""
    place, colon, name = text.partition(":")
    if not colon or place not in list(Place) or not name:
        raise ValueError(
            f"must be one of path:NAME, json:/pointer, header:Name, form:name, query:name, not {text!r}"
        )
    tokens = parse(name) if place == Place.JSON else ()
    return Source(Place(place), name, tokens)


def read(source: Source, parts: Parts) -> str | None:
    """The value at a source as text, or None when it is not there.

    Raises Unreadable where it may be there but cannot be told: JSON that is none, or a value that is
    neither a string nor an integer.
    """
    if source.place is _PATH:  # before `match`, which looks members up one by one
        return _read_path(source.name, parts)
    match source.place:
        case Place.PATH:
            return _read_path(source.name, parts)
        case Place.HEADER:
            return _read_header(source.name, parts.head)
        case Place.JSON:
            return _read_json(parts.payload, source.tokens)
        case Place.FORM:
            return _read_pair(parts.payload.decode("latin-1"), source.name)
        case Place.QUERY:
            return _read_pair(parts.target.partition("?")[2], source.name)


def read_all(source: Source, parts: Parts) -> Iterator[str | None]:
    """Every value at a source, None for one that is not there: `*` in a JSON pointer is each element or member.

    A header, form field or query name that is repeated has several, since servers differ in which they take. Commas
    do not separate: they may be part of an id. Raises Unreadable as `read` does.
    """
    match source.place:
        case Place.HEADER:
            yield from _read_headers(source.name, parts.head)
        case Place.FORM:
            yield from _read_pairs(parts.payload.decode("latin-1"), source.name)
        case Place.QUERY:
            yield from _read_pairs(parts.target.partition("?")[2], source.name)
        case Place.JSON if "*" in source.tokens:
            yield from _read_each(parts.payload, source.tokens)
        case _:
            yield read(source, parts)


def write(source: Source, parts: Parts, value: str) -> Parts:
    """The same message with another value at a source; every other byte stays. Unchanged if the source is absent."""
    match source.place:
        case Place.PATH:
            return _write_path(source, parts, value)
        case Place.HEADER:
            return _write_header(source, parts, value)
        case Place.JSON:
            payload = _write_json(parts.payload, source.tokens, value)
            return _with(parts, payload=payload)
        case Place.FORM:
            text = _write_pair(parts.payload.decode("latin-1"), source.name, value)
            return _with(parts, payload=text.encode("latin-1"))
        case Place.QUERY:
            path, mark, query = parts.target.partition("?")
            return _with(parts, target=path + mark + _write_pair(query, source.name, value))


def _with(parts: Parts, *, target: str | None = None, payload: bytes | None = None) -> Parts:
    return Parts(
        target=parts.target if target is None else target,
        head=parts.head,
        payload=parts.payload if payload is None else payload,
        captures=parts.captures,
    )


def decoded_path(text: str) -> str:
    """A part of a path, percent-decoded as UTF-8; bytes that are not UTF-8 stay apart from each other (as \\xff)."""
    return text if text.isalnum() and text.isascii() else _decoded(text)


def _decoded(text: str, *, plus: bool = False) -> str:
    raw = text.encode("latin-1")
    return unquote_to_bytes(raw.replace(b"+", b" ") if plus else raw).decode(
        "utf-8", "backslashreplace"
    )


def _encoded(value: str) -> str:
    return quote(value, safe="", errors="backslashreplace")


def _read_path(name: str, parts: Parts) -> str | None:
    span = parts.captures.get(name)
    return None if span is None else decoded_path(parts.target[span[0] : span[1]])


def _read_header(name: str, head: bytes) -> str | None:
    value = field(head, name)
    return None if value is None else _header_value(name, value)


def _read_headers(name: str, head: bytes) -> Iterator[str | None]:
    if head.lower().count(b"\r\n%b:" % name.lower().encode("latin-1")) < 2:
        yield _read_header(name, head)
        return
    for each, value in fields(head):
        if each == name.lower():
            yield _header_value(name, value)


def _header_value(name: str, value: str) -> str | None:
    if name.lower() == "location":
        start, end = _location_id(value)
        return _decoded(value[start:end]) or None
    raw = value.encode("latin-1")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _location_id(value: str) -> tuple[int, int]:
    """Where the last segment of the path stands in the value of a Location field."""
    end = len(re.split(r"[?#]", value, maxsplit=1)[0].rstrip("/"))
    return value.rfind("/", 0, end) + 1, end


def _write_header(source: Source, parts: Parts, value: str) -> Parts:
    name = re.escape(source.name.encode("latin-1"))
    found = re.search(rb"\r\n" + name + rb":[ \t]*([^\r]*)", parts.head, re.IGNORECASE)
    if found is None:
        return parts
    start, end = found.span(1)
    written = _CONTROL.sub(lambda control: quote(control[0]), value)  # no second field line
    if source.name.lower() == "location":
        of, to = _location_id(found[1].rstrip(b" \t").decode("latin-1"))
        start, end, written = start + of, start + to, _encoded(value)
    head = parts.head[:start] + written.encode("utf-8", "backslashreplace") + parts.head[end:]
    return Parts(target=parts.target, head=head, payload=parts.payload, captures=parts.captures)


def _write_path(source: Source, parts: Parts, value: str) -> Parts:
    span = parts.captures.get(source.name)
    if span is None:
        return parts
    written = _encoded(value)
    shift = len(written) - (span[1] - span[0])
    moved = {
        name: (start + shift, end + shift) if start > span[0] else (start, end)
        for name, (start, end) in parts.captures.items()
    }
    moved[source.name] = (span[0], span[0] + len(written))
    target = parts.target[: span[0]] + written + parts.target[span[1] :]
    return Parts(target=target, head=parts.head, payload=parts.payload, captures=moved)


def _find_pair(text: str, name: str) -> tuple[int, int] | None:
    """Where the value of the first pair of this name stands, however the name is encoded."""
    return next(_find_pairs(text, name), None)


def _find_pairs(text: str, name: str) -> Iterator[tuple[int, int]]:
    at = 0
    for pair in text.split("&"):
        key, equals, _ = pair.partition("=")
        if equals and _decoded(key, plus=True) == name:
            yield at + len(key) + 1, at + len(pair)
        at += len(pair) + 1


def _read_pairs(text: str, name: str) -> Iterator[str | None]:
    found = None
    for found in _find_pairs(text, name):
        yield _decoded(text[found[0] : found[1]], plus=True)
    if found is None:
        yield None


def _read_pair(text: str, name: str) -> str | None:
    found = _find_pair(text, name)
    return None if found is None else _decoded(text[found[0] : found[1]], plus=True)


def _write_pair(text: str, name: str, value: str) -> str:
    found = _find_pair(text, name)
    return text if found is None else text[: found[0]] + _encoded(value) + text[found[1] :]


def _read_json(payload: bytes, tokens: tuple[str, ...]) -> str | None:
    located = _locate(payload, tokens)
    return None if located is None else _scalar(located[0][located[1] : located[2]])


def _read_each(payload: bytes, tokens: tuple[str, ...]) -> Iterator[str | None]:
    located = _locate(payload, ())
    if located is None:
        yield None
        return
    places = [_parsed(located)]
    for name in tokens:
        if name == "*":
            places = [child for place in places for child in _children(place)]
        else:
            places = [resolve(place, (name,)) for place in places]
    for place in places:
        yield None if place is MISSING else _text(place)


def _parsed(located: tuple[str, int, int]) -> object:
    text, start, end = located
    return json.loads(text[start:end])


def _children(place: object) -> Iterable[object]:
    if isinstance(place, dict):
        return place.values()
    return place if isinstance(place, list) else (MISSING,)


def _scalar(text: str) -> str | None:
    return _text(json.loads(text))


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")  # half a surrogate pair
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise Unreadable("no_scalar")
    return None if value is None else str(value)


def _write_json(payload: bytes, tokens: tuple[str, ...], value: str) -> bytes:
    located = _locate(payload, tokens)
    if located is None:
        return payload
    text, start, end = located
    if _scalar(text[start:end]) is None:
        return payload
    number = text[start] != '"' and re.fullmatch(r"-?(?:0|[1-9][0-9]*)", value) is not None
    written = value if number else json.dumps(value)
    return (text[:start] + written + text[end:]).encode("utf-8")


def _locate(payload: bytes, tokens: tuple[str, ...]) -> tuple[str, int, int] | None:
    """The decoded text, and where in it the value at a pointer starts and ends; None if it is absent."""
    if not payload.strip():
        return None
    try:
        text = payload.decode("utf-8")
        start = _after_space(text, 1 if text.startswith("\ufeff") else 0)
        for token in tokens:
            found = _child(text, start, token)
            if found is None:
                _end(text, start)  # absent, or is it no JSON at all?
                return None
            start = found
        return text, start, _end(text, start)
    except (ValueError, RecursionError, IndexError):
        raise Unreadable("no_json") from None


def _child(text: str, start: int, token: str) -> int | None:
    if text[start] == "{":
        return _member(text, start, token)
    if text[start] == "[" and token.isdecimal():
        return _element(text, start, int(token))
    return None


def _member(text: str, start: int, name: str) -> int | None:
    found = None  # of a repeated name the last one counts, as in most parsers
    at = _after_space(text, start + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _after_space(text, _after_space(text, at) + 1)
        found = at if key == name else found
        at = _after_comma(text, _end(text, at))
    return found


def _element(text: str, start: int, index: int) -> int | None:
    at = _after_space(text, start + 1)
    while text[at] != "]":
        if index == 0:
            return at
        index -= 1
        at = _after_comma(text, _end(text, at))
    return None


def _end(text: str, start: int) -> int:
    return _DECODER.raw_decode(text, start)[1]


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _after_comma(text: str, at: int) -> int:
    at = _after_space(text, at)
    return _after_space(text, at + 1) if text[at] == "," else at
