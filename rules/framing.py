"""HTTP/1.x heads: bytes in, a checked `RequestHead` or `ReplyHead` out, or a refusal.

Law: strict. What RFC 9112 leaves ambiguous is refused, never repaired, because two parsers that
repair differently are two different requests. Bodies stay as they were on the wire. llhttp (in
`proxy.wire`) checks every head a second time.

Most heads take a short way (`rules.plain`); the rest go through `_Specials`. A test holds both ways
to the same answers.
"""

import re
from collections.abc import Iterable
from functools import cache

from msgspec import Struct

from rules.message import Fields, Framing
from rules.plain import HOST, NOTED, TOKEN, VALUE
from rules.plain import REPLY as PLAIN_REPLY
from rules.plain import REQUEST as PLAIN_REQUEST
from rules.target import sent_target
from rules.upgrade import EXPECTATION, upgrade_lines

SAFE_METHODS = frozenset(
    ("GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "REPORT", "SEARCH", "QUERY")
)
"""Methods that do not change state (RFC 9110 9.2.1, RFC 4918, RFC 3253, RFC 5323, QUERY draft)."""

CONTENT_LENGTH_DIGITS_MAX = 15
"""A length of more digits than this (a petabyte) is refused: it overflows in somebody's parser."""

_FIELD = rb"(?:%b:%b\r\n)" % (TOKEN, VALUE)
_REQUEST = re.compile(
    rb"(%b) ([\x21\x22\x24-\x7e\x80-\xff]++) HTTP/([0-9]\.[0-9])\r\n(?>%b*)\r\n" % (TOKEN, _FIELD)
)
_REPLY = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n(?>%b*)\r\n" % _FIELD
)
_SPECIAL = re.compile(  # the look-ahead only makes it faster
    rb"\r\n(?=[hcteukpHCTEUKP])(?i:(host|content-length|transfer-encoding|connection|expect|upgrade"
    rb"|keep-alive|te|proxy-connection)):[ \t]*([^\r]*)"
)
_NOTED = re.compile(rb"\r\n" + NOTED + rb":")
_EVENTS = re.compile(rb"\r\n(?i:content-type:[ \t]*text/event-stream)[ \t;\r]")
_FRAGMENT = re.compile(rb"(?=" + TOKEN + rb")[^\r\n]++(?:\r\Z|\r\n|\Z)")
_FIELD_LINE = re.compile(rb"\r\n([^:\r]+):[ \t]*([^\r]*)")
_HOST = re.compile(HOST)

HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"))
"""Fields of one connection, never forwarded (RFC 9110 7.6.1). Transfer-Encoding is hop-by-hop too,
but the body is passed on in the framing it came in, so it stays."""

_CLOSE, _LENGTH, _NONE = Framing.CLOSE, Framing.LENGTH, Framing.NONE
# An enum's member costs 80 ns to look up in Python 3.11, a global 2: so it is in all that runs per request.

FRAMING_FIELDS = frozenset((b"content-length", b"transfer-encoding", b"host"))
"""Fields that frame or route a message: nothing may take them away or bring them late."""
_BODY_FIELDS = frozenset((b"content-length", b"transfer-encoding"))
_PLAIN_OPTIONS = frozenset((b"close", b"keep-alive"))


class Refusal(Struct, frozen=True, gc=False):
    """A request that is not forwarded: the status to answer, and why in one line."""

    status: int
    detail: str


class RequestHead(Struct, frozen=True, gc=False):
    """A checked request head. `head` is what goes to a side: hop-by-hop fields and `Expect` out.

    `asks` are the field lines of `Expect` and `Upgrade` that the primary of a relayed request gets back.
    `tunnel`: the request asks for one, by Upgrade (RFC 9110 7.8) or CONNECT (9.3.6). `noted`: it has one of the fields
    that Twinwrite itself reads: who looks for one need not look into a head without any.
    """

    method: str
    target: str
    head: bytes
    host: str
    framing: Framing
    length: int
    keep_alive: bool
    expects_continue: bool
    minor: int
    noted: bool
    asks: bytes = b""
    tunnel: bool = False

    @property
    def path(self) -> str:
        """The raw path of the target, without the query."""
        return self.target.partition("?")[0]

    @property
    def mutating(self) -> bool:
        """Whether the method may change state."""
        return self.method not in SAFE_METHODS


class ReplyHead(Struct, frozen=True, gc=False):
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
    found = _field_pattern(name).search(head)
    return found.group(1).decode("latin-1").rstrip(" \t") if found else None


def fields_pattern(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """What finds the fields of these names in a head: (name, value) of each."""
    letters = re.escape("".join(sorted({name[0] for name in names})).encode("latin-1"))
    known = b"|".join(re.escape(name.encode("latin-1")) for name in names)
    return re.compile(rb"\r\n(?=(?i:[%b]))(?i:(%b)):[ \t]*([^\r]*)" % (letters, known))


def joined(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """The values of fields by name in lower case; those of a repeated one as a list (RFC 9110 5.3)."""
    values: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    for found, value in fields:
        name, text = found.decode("latin-1").lower(), value.decode("latin-1").rstrip(" \t")
        if name in values:
            repeated.setdefault(name, [values[name]]).append(text)
        else:
            values[name] = text
    for name, texts in repeated.items():
        values[name] = ", ".join(texts)
    return values


def same_fields(one: bytes, other: bytes, beginnings: tuple[bytes, ...]) -> bool:
    """Whether two checked heads have the same values, byte by byte, of the fields whose lines begin so
    (CRLF, lower-case name, colon). False, too, where one is repeated and the heads are not equal as a whole."""
    if one == other:
        return True
    left, right = one.lower(), other.lower()
    for beginning in beginnings:
        at, there = left.find(beginning), right.find(beginning)
        if at < 0 and there < 0:
            continue
        start, begin = at + len(beginning), there + len(beginning)
        end, finish = left.find(b"\r", start), right.find(b"\r", begin)
        if at < 0 or there < 0 or one[start:end] != other[begin:finish]:
            return False
        if left.find(beginning, end) >= 0 or right.find(beginning, finish) >= 0:
            return False
    return True


@cache
def _field_pattern(name: str) -> re.Pattern[bytes]:
    """Names come from the settings and from the code: there are few."""
    escaped = re.escape(name.encode("latin-1"))
    return re.compile(rb"\r\n" + escaped + rb":[ \t]*([^\r]*)", re.IGNORECASE)


def is_event_stream(head: bytes) -> bool:
    """Whether a reply's head announces an event stream (WHATWG HTML 9.2), in any case (RFC 9110 8.3.1)."""
    return _EVENTS.search(head) is not None


def with_line(head: bytes, line: bytes) -> bytes:
    """The head with one more field line (without CRLF) at its end."""
    return head[:-2] + line + b"\r\n\r\n"


def without(head: bytes, names: Iterable[bytes]) -> bytes:
    """The head without the fields of these lower-case names."""
    dropped = frozenset(names)
    lines = head[:-4].split(b"\r\n")
    kept = [line for line in lines[1:] if line.split(b":", 1)[0].lower() not in dropped]
    return b"\r\n".join([lines[0], *kept]) + b"\r\n\r\n"


def refuse_fragment(data: bytes, bytes_max: int) -> Refusal | None:
    """What is wrong, however it goes on, with the beginning of a request head (not empty)."""
    if len(data) > bytes_max:
        status = 431 if 0 <= data.find(b"\r\n") < bytes_max else 414
        return Refusal(status, "the request head is too long")
    if _FRAGMENT.match(data) is None:
        return Refusal(400, "the request head is malformed")
    return None


def parse_request(head: bytes) -> RequestHead | Refusal:
    """Check a request head (from the request line to the empty line) and say how its body is framed."""
    found = PLAIN_REQUEST.fullmatch(head)
    if found is None or found[3] is None:
        return _unusual_request(head)
    method, target, host, digits, line, close, noted = found.groups()
    if method == b"CONNECT":
        return _unusual_request(head)
    out = head
    if line is not None:
        start, end = found.span(5)
        out = head[:start] + head[end + 2 :]
    length = int(digits) if digits else 0
    return RequestHead(  # by position, in the order of the fields: by name it takes longer
        method.decode("ascii"), target.decode("latin-1"), out, host.decode("ascii"),
        _LENGTH if length else _NONE, length, close is None, False, 1, noted is not None,
    )  # fmt: skip


def parse_reply(head: bytes, method: str) -> ReplyHead | None:
    """Check a reply head to a request of `method`; None when it is not usable HTTP/1.x.

    A consent to a tunnel, 101 or a 2xx to CONNECT, is framed as one: fields of a body do not count.
    """
    found = PLAIN_REPLY.fullmatch(head)
    if found is None or method == "CONNECT":
        return _unusual_reply(head, method)
    status, digits, line, close = found.groups()
    out = head
    if line is not None:
        start, end = found.span(3)
        out = head[:start] + head[end + 2 :]
    code = int(status)
    if code == 204:
        return _unusual_reply(head, method)
    if method == "HEAD" or code == 304:
        return ReplyHead(code, out, _NONE, 0, close is None)
    if digits is None:
        return ReplyHead(code, out, _CLOSE, 0, False)
    length = int(digits)
    return ReplyHead(code, out, _LENGTH if length else _NONE, length, close is None)


def _is_length(value: bytes) -> bool:
    return value.isdigit() and len(value) <= CONTENT_LENGTH_DIGITS_MAX


class _Specials:
    """The fields of one head that decide framing and forwarding, and the first thing wrong in them."""

    __slots__ = (
        "dropped", "expect", "framing", "has_length", "host", "hosts", "length", "options", "refusal",
        "upgrades",
    )  # fmt: skip

    def __init__(self, head: bytes) -> None:
        self.host = b""
        self.hosts = 0
        self.options: frozenset[bytes] = frozenset()
        self.dropped: set[bytes] = set()
        self.expect: bytes | None = None
        self.framing = Framing.NONE
        self.length = 0
        self.has_length = False
        self.refusal: Refusal | None = None
        self.upgrades: list[bytes] = []
        for name, value in _SPECIAL.findall(head):
            self._take(name.lower(), value.rstrip(b" \t"))

    def _take(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self.host = value
            self.hosts += 1
        elif name in _BODY_FIELDS:
            self._take_framing(name, value)
        else:
            self.dropped.add(name)
            if name == b"connection":
                self._take_options(value)
            elif name == b"expect":
                self.expect = value.lower()
            elif name == b"upgrade":
                self.upgrades.append(value)

    def _take_framing(self, name: bytes, value: bytes) -> None:
        if self.has_length or self.framing is Framing.CHUNKED:
            self._refuse(400, "more than one Content-Length or Transfer-Encoding")
        elif name == b"transfer-encoding":
            self.framing = Framing.CHUNKED
            if value.lower() != b"chunked":
                self._refuse(501, "the only Transfer-Encoding understood is chunked")
        elif _is_length(value):
            self.has_length = True
            self.length = int(value)
            self.framing = Framing.LENGTH if self.length else Framing.NONE
        else:
            self._refuse(400, "Content-Length is not a plain decimal number")

    def _take_options(self, value: bytes) -> None:
        options = frozenset(option.strip(b" \t") for option in value.lower().split(b","))
        self.options |= options
        self.dropped |= options - _PLAIN_OPTIONS - {b""}
        if options & FRAMING_FIELDS:
            self._refuse(400, "Connection names a field that frames or routes the message")

    def _refuse(self, status: int, detail: str) -> None:
        self.refusal = self.refusal or Refusal(status, detail)


def _unusual_request(head: bytes) -> RequestHead | Refusal:
    match = _REQUEST.fullmatch(head)
    if match is None:
        return Refusal(400, "the request head is malformed")
    method, target, version = match.groups()
    if version not in (b"1.0", b"1.1"):
        return Refusal(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    minor = 1 if version == b"1.1" else 0
    specials = _Specials(head)
    origin = sent_target(method, target, specials.host)
    refusal = specials.refusal or _request_refusal(method, origin, minor, specials)
    if refusal is not None:
        return refusal
    assert origin is not None
    connect = method == b"CONNECT"
    keep_alive = minor == 1 and b"close" not in specials.options and not connect
    expects = specials.expect is not None and minor == 1
    bare = minor == 1 and specials.framing is Framing.NONE and not connect
    upgrade = upgrade_lines(specials.upgrades) if bare and b"upgrade" in specials.options else b""
    asks = b"\r\n".join(filter(None, (EXPECTATION if expects else b"", upgrade)))
    return RequestHead(
        method.decode("ascii"), origin.decode("latin-1"), _forwardable(head, origin, minor, specials),
        specials.host.decode("ascii"), specials.framing, specials.length, keep_alive, expects, minor,
        _NOTED.search(head) is not None, asks, connect or bool(upgrade),
    )  # fmt: skip


def _request_refusal(
    method: bytes, origin: bytes | None, minor: int, specials: _Specials
) -> Refusal | None:
    if specials.hosts > 1 or (minor == 1 and not specials.hosts):
        return Refusal(400, "exactly one Host field is required")
    if _HOST.fullmatch(specials.host) is None:
        return Refusal(400, "the Host field is malformed")
    if origin is None:
        return Refusal(400, "the request target must be a path, or name the host of the Host field")
    if method == b"CONNECT" and specials.framing is not Framing.NONE:
        return Refusal(400, "CONNECT has no body")
    if specials.framing is Framing.CHUNKED and minor == 0:
        return Refusal(400, "HTTP/1.0 has no Transfer-Encoding")
    if specials.expect not in (None, b"100-continue"):
        return Refusal(417, "the only expectation understood is 100-continue")
    return None


def _forwardable(head: bytes, origin: bytes, minor: int, specials: _Specials) -> bytes:
    out = without(head, specials.dropped) if specials.dropped else head
    method, target, rest = out.split(b" ", 2)
    if minor == 0 and specials.hosts:  # without a Host it would be no HTTP/1.1 request
        rest = b"HTTP/1.1" + rest[8:]
    elif target == origin:
        return out
    return b" ".join((method, origin, rest))


def _unusual_reply(head: bytes, method: str) -> ReplyHead | None:
    match = _REPLY.fullmatch(head)
    if match is None:
        return None
    minor, status = match[1], int(match[2])
    specials = _Specials(head)
    framing, length = specials.framing, specials.length
    if specials.refusal is not None or (minor == b"0" and framing is Framing.CHUNKED):
        return None
    persistent = b"close" not in specials.options and (
        minor == b"1" or b"keep-alive" in specials.options
    )
    consent = 200 <= status < 300 if method == "CONNECT" else status == 101
    if status == 101 and not (consent and specials.upgrades):
        return None
    if consent or status < 200 or status == 204:
        if framing is not Framing.NONE:  # it may yet send the body that it announces
            persistent = False
            specials.dropped |= _BODY_FIELDS
        framing, length = Framing.TUNNEL if consent else Framing.NONE, 0
    elif method == "HEAD" or status == 304:
        framing, length = Framing.NONE, 0
    elif framing is Framing.NONE and not specials.has_length:
        framing, persistent = Framing.CLOSE, False
    out = without(head, specials.dropped) if specials.dropped else head
    if status == 101:
        out = with_line(out, b"Connection: Upgrade\r\nUpgrade: " + b", ".join(specials.upgrades))
    return ReplyHead(
        status, out if minor == b"1" else b"HTTP/1.1" + out[8:], framing, length, persistent
    )
