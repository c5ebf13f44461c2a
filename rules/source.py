"""Where in a message a value stands: a path capture, a JSON pointer, a header, a form field or a query name.

One notation for entity keys, harvests and translations: `path:NAME`, `json:/pointer`, `header:Name`,
`form:name`, `query:name`. `read` finds the value; `write` puts another in its place and leaves every other byte alone.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, unquote, unquote_plus

from msgspec import Struct

from rules.framing import field
from rules.pointer import parse

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


class Place(StrEnum):
    """The part of a message that a source points into."""

    PATH = "path"
    JSON = "json"
    HEADER = "header"
    FORM = "form"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class Source:
    """A place and the name within it; `tokens` are those of the JSON pointer."""

    place: Place
    name: str
    tokens: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.place}:{self.name}"


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
    """The value at a source as text, or None when it is not there (or is not a string or an integer)."""
    match source.place:
        case Place.PATH:
            span = parts.captures.get(source.name)
            return None if span is None else unquote(parts.target[span[0] : span[1]])
        case Place.HEADER:
            return _read_header(source.name, parts.head)
        case Place.JSON:
            return _read_json(parts.payload, source.tokens)
        case Place.FORM:
            return _read_pair(parts.payload.decode("latin-1"), source.name)
        case Place.QUERY:
            return _read_pair(parts.target.partition("?")[2], source.name)


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


def _read_header(name: str, head: bytes) -> str | None:
    value = field(head, name)
    if value is not None and name.lower() == "location":
        return unquote(value.partition("?")[0].rstrip("/").rpartition("/")[2]) or None
    return value


def _write_header(source: Source, parts: Parts, value: str) -> Parts:
    pattern = rb"(\r\n" + re.escape(source.name.encode("latin-1")) + rb":[ \t]*)[^\r]*"
    written = value.encode("latin-1")
    head = re.sub(pattern, lambda found: found.group(1) + written, parts.head, flags=re.IGNORECASE)
    return Parts(target=parts.target, head=head, payload=parts.payload, captures=parts.captures)


def _write_path(source: Source, parts: Parts, value: str) -> Parts:
    span = parts.captures.get(source.name)
    if span is None:
        return parts
    written = quote(value, safe="")
    shift = len(written) - (span[1] - span[0])
    moved = {
        name: (start + shift, end + shift) if start > span[0] else (start, end)
        for name, (start, end) in parts.captures.items()
    }
    moved[source.name] = (span[0], span[0] + len(written))
    target = parts.target[: span[0]] + written + parts.target[span[1] :]
    return Parts(target=target, head=parts.head, payload=parts.payload, captures=moved)


def _find_pair(text: str, name: str) -> re.Match[str] | None:
    for spelling in (name, quote(name, safe="")):
        found = re.search(r"(?:^|(?<=&))" + re.escape(spelling) + r"=([^&]*)", text)
        if found:
            return found
    return None


def _read_pair(text: str, name: str) -> str | None:
    found = _find_pair(text, name)
    return None if found is None else unquote_plus(found.group(1))


def _write_pair(text: str, name: str, value: str) -> str:
    found = _find_pair(text, name)
    return (
        text
        if found is None
        else text[: found.start(1)] + quote(value, safe="") + text[found.end(1) :]
    )


def _read_json(payload: bytes, tokens: tuple[str, ...]) -> str | None:
    located = _locate(payload, tokens)
    if located is None:
        return None
    text, start, end = located
    value = json.loads(text[start:end])
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _write_json(payload: bytes, tokens: tuple[str, ...], value: str) -> bytes:
    located = _locate(payload, tokens)
    if located is None:
        return payload
    text, start, end = located
    number = text[start] != '"' and re.fullmatch(r"-?(?:0|[1-9][0-9]*)", value) is not None
    written = value if number else json.dumps(value)
    return (text[:start] + written + text[end:]).encode("utf-8")


def _locate(payload: bytes, tokens: tuple[str, ...]) -> tuple[str, int, int] | None:
    """The decoded text, and where in it the value at a pointer starts and ends."""
    try:
        text = payload.decode("utf-8")
        start = _after_space(text, 0)
        for token in tokens:
            found = _child(text, start, token)
            if found is None:
                return None
            start = found
        return text, start, _end(text, start)
    except (ValueError, RecursionError, IndexError):
        return None


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
