"""Finds where a message's body ends, in bytes that arrive in any pieces (RFC 9112 6 and 7).

A reader takes what belongs to the body and leaves the rest. It never changes a byte; `BadFraming`
means that the end cannot be found without guessing.
"""

import re
from collections.abc import Callable

import httptools

from rules.chunks import is_trailer, parse_chunk_line, skip_chunks
from rules.framing import Refusal
from rules.message import Framing

CHUNK_LINE_BYTES_MAX = 1024
"""A chunk line or trailer line longer than this is refused (nginx and llhttp cap extensions too)."""

TRAILER_BYTES_MAX = 8192
"""All trailer lines together; the same order as a header line limit."""


_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{1,15}+(?>(?:;[\t\x20-\x7e\x80-\xff]*+)?)\r?")
_TRAILER_BEGUN = re.compile(
    rb"(?>(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++(?>(?::[\t\x20-\x7e\x80-\xff]*+)?))?)\r?"
)


class BadFraming(ValueError):
    """The body's framing is malformed."""


class LengthReader:
    """A body of a known number of bytes."""

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def take(self, data: bytes) -> int:
        """How much of `data` belongs to the body."""
        step = min(self.left, len(data))
        self.left -= step
        self.done = self.left == 0
        return step


class CloseReader:
    """A body that ends when the connection does."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def take(self, data: bytes) -> int:
        """All of it."""
        return len(data)


class ChunkedReader:
    """A chunked body, lines and trailers included. With `decode`, `payload` holds the bytes last taken."""

    __slots__ = ("_decode", "_left", "_line", "_next", "_trailer_bytes", "done", "payload")

    def __init__(self, *, decode: bool = False) -> None:
        self.done = False
        self.payload = b""
        self._decode = decode
        self._left = 0
        self._line = b""
        self._next: Callable[[bytes], None] | None = None  # None: a size line comes
        self._trailer_bytes = 0

    def take(self, data: bytes) -> int:
        """How much of `data` belongs to the body; raises BadFraming."""
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - at)
                if self._decode:
                    pieces.append(data[at : at + step])
                self._left -= step
                at += step
            elif self._next is None and not self._line and not self._decode:
                at = self._take_line(data, skip_chunks(data, at))
            else:
                at = self._take_line(data, at)
        if self._decode:
            self.payload = b"".join(pieces)
        return at

    def _take_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at, at + CHUNK_LINE_BYTES_MAX) + 1
        line = self._line + data[at : end or at + CHUNK_LINE_BYTES_MAX]
        if len(line) + (not end) > CHUNK_LINE_BYTES_MAX:
            raise BadFraming("a chunk line or trailer line is too long")
        if not end:
            if line and not self._is_begun(line):
                raise BadFraming("a chunk line or trailer line is malformed")
            self._line = line
            return len(data)
        self._line = b""
        if self._next is None:
            self._size_line(line)
        else:
            self._next(line)
        return end

    def _is_begun(self, line: bytes) -> bool:
        """Whether the beginning of a line is that of a good one: what follows it is not waited for."""
        if self._next is None:
            return _SIZE_BEGUN.fullmatch(line) is not None
        return (
            line == b"\r"
            if self._next == self._end_line
            else _TRAILER_BEGUN.fullmatch(line) is not None
        )

    def _size_line(self, line: bytes) -> None:
        size = parse_chunk_line(line)
        if size is None:
            raise BadFraming("a chunk size is malformed")
        self._left = size
        self._next = self._end_line if size else self._trailer_line

    def _end_line(self, line: bytes) -> None:
        if line != b"\r\n":
            raise BadFraming("a chunk is longer than its size says")
        self._next = None

    def _trailer_line(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if line == b"\r\n":
            self.done = True
        elif not is_trailer(line) or self._trailer_bytes > TRAILER_BYTES_MAX:
            raise BadFraming("a trailer is malformed or not allowed")


Reader = LengthReader | CloseReader | ChunkedReader


def reader_for(framing: Framing, length: int) -> Reader:
    """The reader of a body that is framed so."""
    match framing:
        case Framing.CHUNKED:
            return ChunkedReader()
        case Framing.CLOSE:
            return CloseReader()
        case Framing.LENGTH | Framing.NONE | Framing.TUNNEL:
            return LengthReader(length)


class _Sink:
    """llhttp wants an object; no callback makes it a pure referee (performance.md section 4)."""


_SINK = _Sink()
_ASCII = bytes(range(128)) + b"x" * 128
"""Puts a letter for every byte above ASCII."""


def second_opinion(head: bytes) -> Refusal | None:
    """What llhttp has against a request head that `rules.framing` accepted."""
    try:
        httptools.HttpRequestParser(_SINK).feed_data(head)
    except httptools.HttpParserUpgrade:
        return None
    except httptools.HttpParserInvalidMethodError:
        return Refusal(501, "the method is not known")
    except httptools.HttpParserInvalidURLError as error:  # llhttp takes only ASCII here
        line, end, rest = head.partition(b"\r\n")
        ascii_line = line.translate(_ASCII)
        if ascii_line != line:
            return second_opinion(ascii_line + end + rest)
        return Refusal(400, f"the request head is malformed: {error}")
    except httptools.HttpParserError as error:
        return Refusal(400, f"the request head is malformed: {error}")
    return None


def is_reply_head(head: bytes) -> bool:
    """Whether llhttp, too, accepts a reply head."""
    try:
        httptools.HttpResponseParser(_SINK).feed_data(head)
    except httptools.HttpParserUpgrade:
        return True
    except httptools.HttpParserError:
        return False
    return True
