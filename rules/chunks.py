"""Chunked bodies (RFC 9112 7.1): their lines, checked; their payload, taken out.

Law: a body stays as it was on the wire; only `unchunk` looks inside, and only into what is checked.
"""

import re

from rules.framing import FRAMING_FIELDS, HOP_BY_HOP
from rules.plain import TOKEN, VALUE

_TRAILER_LINE = re.compile(rb"%b:%b\r\n" % (TOKEN, VALUE))
_QUOTED = rb'"(?>(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)"'
_EXTENSION = rb";[ \t]*+%b(?>(?:[ \t]*+=[ \t]*+(?:%b|%b))?)" % (TOKEN, TOKEN, _QUOTED)
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15}+)(?>(?:(?=[^\r]{0,1001}\r)(?:%b)+)?)\r\n" % _EXTENSION
)
_FORBIDDEN = FRAMING_FIELDS | HOP_BY_HOP


def parse_chunk_line(line: bytes) -> int | None:
    """The size that a chunk line (with its CRLF) announces, or None when it is malformed."""
    match = _CHUNK_LINE.fullmatch(line)
    return int(match.group(1), 16) if match else None


def skip_chunks(body: bytes, at: int) -> int:
    """Where, from a chunk line on, the last chunk ends that lies whole and well-formed in `body`."""
    while (match := _CHUNK_LINE.match(body, at)) is not None:
        end = match.end() + int(match.group(1), 16)
        if end == match.end() or body[end : end + 2] != b"\r\n":
            break
        at = end + 2
    return at


def is_trailer(line: bytes) -> bool:
    """Whether a line (with its CRLF) is a trailer field that may be passed on (RFC 9110 6.5.1)."""
    name = line.split(b":", 1)[0].lower()
    return _TRAILER_LINE.fullmatch(line) is not None and name not in _FORBIDDEN


def unchunk(body: bytes) -> bytes:
    """The payload of a complete, already checked chunked body."""
    pieces: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\n", at) + 1
        size = parse_chunk_line(body[at:end])
        assert size is not None, "only checked bodies come here"
        if size == 0:
            return b"".join(pieces)
        pieces.append(body[end : end + size])
        at = end + size + 2
