"""HTTP/1.x heads: bytes in, a checked `RequestHead` or `ReplyHead` out, or a refusal.

Law: strict. What RFC 9112 leaves ambiguous is refused, never repaired, because two parsers that
repair differently are two different requests. Bodies stay as they were on the wire; only
`unchunk` looks inside. llhttp (in `proxy.wire`) checks every head a second time.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rules.message import Fields, Framing

SAFE_METHODS = frozenset(
    ("GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "REPORT", "SEARCH", "QUERY")
)
"""Methods that do not change state (RFC 9110 9.2.1, RFC 4918, RFC 3253, RFC 5323, QUERY draft)."""

CONTENT_LENGTH_DIGITS_MAX = 15
"""A length of more digits than this (a petabyte) is refused: it overflows in somebody's parser."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELD = rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)"
_REQUEST = re.compile(
    rb"(" + _TOKEN + rb") ([\x21\x22\x24-\x7e\x80-\xff]++) HTTP/([0-9])\.([0-9])\r\n"
    rb"" + _FIELD + rb"*+\r\n"
)
_REPLY = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n" + _FIELD + rb"*+\r\n"
)
_SPECIAL = re.compile(
    rb"\r\n(host|content-length|transfer-encoding|connection|expect|upgrade|keep-alive|te"
    rb"|proxy-connection):[ \t]*([^\r]*)",
    re.IGNORECASE,
)
_FIELD_LINE = re.compile(rb"\r\n([^:\r]+):[ \t]*([^\r]*)")
_TRAILER_LINE = re.compile(_FIELD)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::[0-9]*)?")

HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"))
"""Fields of one connection, never forwarded (RFC 9110 7.6.1). Transfer-Encoding is hop-by-hop too,
but the body is passed on in the framing it came in, so it stays."""

_FRAMING_FIELDS = frozenset((b"content-length", b"transfer-encoding", b"host"))
_TRAILERS_FORBIDDEN = _FRAMING_FIELDS | HOP_BY_HOP


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is not forwarded: the status to answer, and why in one line."""

    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A checked request head. `head` is what goes to a side: hop-by-hop fields and `Expect` out."""

    method: str
    target: str
    head: bytes
    host: str
    framing: Framing
    length: int
    keep_alive: bool
    expects_continue: bool
    minor: int

    @property
    def path(self) -> str:
        """The raw path of the target, without the query."""
        return self.target.partition("?")[0]

    @property
    def mutating(self) -> bool:
        """Whether the method may change state."""
        return self.method not in SAFE_METHODS


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """A checked reply head. `head` is what goes to the client: hop-by-hop fields out, HTTP/1.1."""

    status: int
    head: bytes
    framing: Framing
    length: int
    keep_alive: bool


def fields(head: bytes) -> Fields:
    """Every header field of a checked head, in order: (lower-case name, trimmed value)."""
    return tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1").rstrip(" \t"))
        for name, value in _FIELD_LINE.findall(head)
    )


def field(head: bytes, name: str) -> str | None:
    """The first value of one header field of a checked head, or None."""
    found = re.search(
        rb"\r\n" + re.escape(name.encode("latin-1")) + rb":[ \t]*([^\r]*)", head, re.IGNORECASE
    )
    return found.group(1).decode("latin-1").rstrip(" \t") if found else None


def with_line(head: bytes, line: bytes) -> bytes:
    """The head with one more field line (without CRLF) at its end."""
    return head[:-2] + line + b"\r\n\r\n"


def without(head: bytes, names: Iterable[bytes]) -> bytes:
    """The head without the fields of these lower-case names."""
    dropped = frozenset(names)
    lines = head[:-4].split(b"\r\n")
    kept = [line for line in lines[1:] if line.split(b":", 1)[0].lower() not in dropped]
    return b"\r\n".join([lines[0], *kept]) + b"\r\n\r\n"


def parse_request(head: bytes) -> RequestHead | Refusal:
    """Check a request head (from the request line to the empty line) and say how its body is framed."""
    match = _REQUEST.fullmatch(head)
    if match is None:
        return Refusal(400, "the request head is malformed")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in (b"0", b"1"):
        return Refusal(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    specials = _Specials(head)
    problem = specials.problem or _request_problem(method, target, minor == b"1", specials)
    if problem is not None:
        return problem
    return RequestHead(
        method=method.decode("ascii"),
        target=target.decode("latin-1"),
        head=_forwardable(head, specials, minor),
        host=specials.hosts[0] if specials.hosts else "",
        framing=specials.framing,
        length=specials.length,
        keep_alive=minor == b"1" and b"close" not in specials.options,
        expects_continue=specials.expect is not None and minor == b"1",
        minor=1 if minor == b"1" else 0,
    )


def parse_reply(head: bytes, method: str) -> ReplyHead | None:
    """Check a reply head to a request of `method`; None when it is not usable HTTP/1.x."""
    match = _REPLY.fullmatch(head)
    if match is None:
        return None
    specials = _Specials(head)
    minor, status = match.group(1), int(match.group(2))
    if specials.problem is not None or (minor == b"0" and specials.framing is Framing.CHUNKED):
        return None
    persistent = b"close" not in specials.options and (
        minor == b"1" or b"keep-alive" in specials.options
    )
    framing, length = specials.framing, specials.length
    if method == "HEAD" or status < 200 or status in (204, 304):
        framing, length = Framing.NONE, 0
    elif framing is Framing.NONE and not specials.has_length:
        framing = Framing.CLOSE
    out = without(head, specials.dropped) if specials.dropped else head
    return ReplyHead(
        status=status,
        head=out if minor == b"1" else b"HTTP/1.1" + out[8:],
        framing=framing,
        length=length,
        keep_alive=persistent and framing is not Framing.CLOSE,
    )


def parse_chunk_line(line: bytes) -> int | None:
    """The size that a chunk line (with its CRLF) announces, or None when it is malformed."""
    match = _CHUNK_LINE.fullmatch(line)
    return int(match.group(1), 16) if match else None


def is_trailer(line: bytes) -> bool:
    """Whether a line (with its CRLF) is a trailer field that may be passed on (RFC 9110 6.5.1)."""
    name = line.split(b":", 1)[0].lower()
    return _TRAILER_LINE.fullmatch(line) is not None and name not in _TRAILERS_FORBIDDEN


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


class _Specials:
    """The fields of one head that decide framing and forwarding, and the first thing wrong in them."""

    __slots__ = (
        "dropped",
        "expect",
        "framing",
        "has_length",
        "hosts",
        "length",
        "options",
        "problem",
    )

    def __init__(self, head: bytes) -> None:
        self.hosts: list[str] = []
        self.options: frozenset[bytes] = frozenset()
        self.dropped: set[bytes] = set()
        self.expect: bytes | None = None
        self.framing = Framing.NONE
        self.length = 0
        self.has_length = False
        self.problem: Refusal | None = None
        for raw, value in _SPECIAL.findall(head):
            self._take(raw.lower(), value.rstrip(b" \t"))

    def _take(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self.hosts.append(value.decode("latin-1"))
        elif name == b"content-length":
            self._take_length(value)
        elif name == b"transfer-encoding":
            self._take_encoding(value)
        elif name == b"expect":
            self.expect = value.lower()
            self.dropped.add(name)
        else:
            self.dropped.add(name)
            if name == b"connection":
                self._take_options(value)

    def _take_length(self, value: bytes) -> None:
        if self.has_length or self.framing is Framing.CHUNKED:
            self.problem = Refusal(400, "more than one Content-Length or Transfer-Encoding")
        elif not value.isdigit() or len(value) > CONTENT_LENGTH_DIGITS_MAX:
            self.problem = Refusal(400, "Content-Length is not a plain decimal number")
        else:
            self.has_length = True
            self.length = int(value)
            self.framing = Framing.LENGTH if self.length else Framing.NONE

    def _take_encoding(self, value: bytes) -> None:
        if self.has_length or self.framing is Framing.CHUNKED:
            self.problem = Refusal(400, "more than one Content-Length or Transfer-Encoding")
        elif value.lower() != b"chunked":
            self.problem = Refusal(501, "the only Transfer-Encoding understood is chunked")
        else:
            self.framing = Framing.CHUNKED

    def _take_options(self, value: bytes) -> None:
        options = frozenset(option.strip(b" \t") for option in value.lower().split(b","))
        self.options |= options
        named = options - {b"close", b"keep-alive", b""}
        if named & _FRAMING_FIELDS:
            self.problem = Refusal(
                400, "Connection names a field that frames or routes the message"
            )
        self.dropped |= named


def _request_problem(
    method: bytes, target: bytes, is_1_1: bool, specials: _Specials
) -> Refusal | None:
    if method == b"CONNECT":
        return Refusal(501, "CONNECT is not served")
    if not target.startswith(b"/") and not (target == b"*" and method == b"OPTIONS"):
        return Refusal(400, "the request target must be a path")
    if len(specials.hosts) > 1 or (is_1_1 and not specials.hosts):
        return Refusal(400, "exactly one Host field is required")
    if specials.hosts and _HOST.fullmatch(specials.hosts[0]) is None:
        return Refusal(400, "the Host field is malformed")
    if specials.framing is Framing.CHUNKED and not is_1_1:
        return Refusal(400, "HTTP/1.0 has no Transfer-Encoding")
    if specials.expect not in (None, b"100-continue"):
        return Refusal(417, "the only expectation understood is 100-continue")
    return None


def _forwardable(head: bytes, specials: _Specials, minor: bytes) -> bytes:
    out = without(head, specials.dropped) if specials.dropped else head
    if minor == b"1":
        return out
    line, rest = out.split(b"\r\n", 1)
    return line[:-1] + b"1\r\n" + rest
