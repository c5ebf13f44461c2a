"""Streams of messages for the fuzz tests: valid ones, lines that are nearly valid, and harm done to both.

Upgrade and CONNECT are left out: what follows them is not HTTP, so that no two parsers can be compared.
"""

from hypothesis import strategies as st

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND")
TARGETS = (
    b"/",
    b"/a?b=c",
    b"/%2e%2e/x",
    b"//a",
    b"http://a/b",
    b"/\xc3\xa4",
    b"/a;b=c?d&e=%00",
    b"*",
)

PLAIN_LINES = (
    b"X-A: 1", b"x-a:2", b"X-A:", b"Cookie: a=b; c=d", b"Accept: */*  ", b"X-Tab:\ta\tb", b"X-\xc3: no",
    b"X-High: \xff\xfe", b"Content-Type: a/b", b"!#$%&'*+-.^_`|~: odd", b"Date: now", b"Server: s",
)  # fmt: skip
"""Lines that say nothing about framing; one of them is malformed."""

SPECIAL_LINES = (
    b"Connection: close", b"connection: keep-alive", b"Connection: X-A", b"Connection: close, X-A",
    b"Connection: Content-Length", b"Keep-Alive: timeout=5", b"TE: trailers", b"Trailer: X-T",
    b"Proxy-Connection: close", b"Expect: 100-continue", b"Expect: 200-ok", b"Host: a", b"Host: b",
)  # fmt: skip

FRAMING_LINES = (
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 05", b"Content-Length: +5",
    b"Content-Length: 5, 5", b"Content-Length:5 ", b"Content-Length : 5", b"Content-Length: 5 5",
    b"Content-Length: -1", b"Content-Length: 0x5", b"Content-Length:", b"Content-Length: 5_0",
    b"Content-Length: 99999999999999999999", b"Content-Length: \xb2", b"content-length:\t5",
    b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: chunked ",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding:",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding:\x0bchunked",
    b"Transfer_Encoding: chunked", b" Transfer-Encoding: chunked", b"Transfer-Encoding: identity",
    b"X: a\rContent-Length: 5", b"X: a\nContent-Length: 5", b"X: \x00", b"Transfer-Encoding: chunked\x00",
)  # fmt: skip
"""What front and back may disagree about; most of it has done harm somewhere."""

BODIES = (
    b"", b"hello", b"x" * 300, b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"GET /inner HTTP/1.1\r\nHost: a\r\n\r\n",
    b"5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", b"005\r\nhello\r\n00\r\n\r\n", b"5\nhello\n0\n\n",
    b"5 \r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n", b"ffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
    b"5;\r\nhello\r\n0\r\n\r\n", b'5; a="b;\r\nhello\r\n0;=\r\n\r\n', b"5 ;a\r\nhello\r\n0\r\n\r\n",
    b"5;\x00\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\n", b"5\r\nhello\r\n0\r\n X: folded\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello \r\n0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n", b"5\r\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX\r\n\r\n", b"5\r\nhello\r\n0\r\nX : 1\r\n\r\n",
)  # fmt: skip

INSERTED = (
    b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b":", b",", b";", b"0", b"\xff", b"\x0b", b"HTTP/1.1", b"\r\n\r\n",
    b"\r\n ", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
)  # fmt: skip

REPLY_STARTS = (
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 404 \xe4", b"HTTP/1.1 503 Busy", b"HTTP/1.1 999 ?", b"HTTP/2 200 OK",
    b"HTTP/1.1 100 Continue", b"HTTP/1.1 103 Hints", b"HTTP/1.1  200 OK", b"ICY 200 OK", b"HTTP/1.1 2000 OK",
)  # fmt: skip

CHUNKED = b"Transfer-Encoding: chunked"


def _chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _framed(body: bytes, chunked: int) -> tuple[list[bytes], bytes]:
    """The line that frames a body truly, and the framed body."""
    if chunked:
        cut = len(body) // 2
        return [CHUNKED], _chunked([piece for piece in (body[:cut], body[cut:]) if piece])
    return ([b"Content-Length: %d" % len(body)] if body else []), body


@st.composite
def true_requests(draw: st.DrawFn) -> bytes:
    """One valid request."""
    method, target = draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS[:7]))
    lines = draw(st.lists(st.sampled_from(PLAIN_LINES[:6]), max_size=3))
    framing, body = _framed(draw(st.sampled_from(BODIES)), draw(st.integers(0, 1)))
    first = b"%b %b HTTP/1.1" % (method, target)
    return b"\r\n".join([first, b"Host: a", *lines, *framing]) + b"\r\n\r\n" + body


@st.composite
def odd_requests(draw: st.DrawFn) -> bytes:
    """One request of any lines, most of them good on their own, with any body."""
    version = draw(st.sampled_from((b"1.1", b"1.1", b"1.1", b"1.0", b"1.2", b"2.0")))
    pool = PLAIN_LINES + SPECIAL_LINES + FRAMING_LINES
    lines = draw(st.lists(st.sampled_from(pool), max_size=4))
    first = b"%b %b HTTP/%b" % (
        draw(st.sampled_from(METHODS)),
        draw(st.sampled_from(TARGETS)),
        version,
    )
    return b"\r\n".join([first, b"Host: a", *lines]) + b"\r\n\r\n" + draw(st.sampled_from(BODIES))


@st.composite
def true_replies(draw: st.DrawFn) -> bytes:
    """One valid reply."""
    lines = draw(st.lists(st.sampled_from(PLAIN_LINES[:6]), max_size=3))
    framing, body = _framed(draw(st.sampled_from(BODIES)), draw(st.integers(0, 1)))
    return (
        b"\r\n".join([b"HTTP/1.1 200 OK", *lines, *(framing or [b"Content-Length: 0"])])
        + b"\r\n\r\n"
        + body
    )


@st.composite
def odd_replies(draw: st.DrawFn) -> bytes:
    """Any reply lines under any status line."""
    pool = PLAIN_LINES + SPECIAL_LINES[:9] + FRAMING_LINES
    lines = draw(st.lists(st.sampled_from(pool), max_size=4))
    first = draw(st.sampled_from(REPLY_STARTS))
    return b"\r\n".join([first, *lines]) + b"\r\n\r\n" + draw(st.sampled_from(BODIES))


def _harm(stream: bytes, at: int, way: int, what: bytes) -> bytes:
    """Insert, cut, overwrite, or double, reorder or drop a line."""
    at %= len(stream) + 1
    if way == 0:
        return stream[:at] + what + stream[at:]
    if way == 1:
        return stream[:at]
    if way == 2:
        return stream[:at] + what + stream[at + len(what) :]
    lines = stream.split(b"\r\n")
    line = at % len(lines)
    if way == 3:
        lines.insert(line, lines[line])
    elif way == 4:
        lines.insert(0, lines.pop(line))
    else:
        del lines[line]
    return b"\r\n".join(lines)


_HARMS = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 5), st.sampled_from(INSERTED)), max_size=2
)


def _harmed(messages: list[bytes], harms: list[tuple[int, int, bytes]]) -> bytes:
    stream = b"".join(messages)
    for at, way, what in harms:
        stream = _harm(stream, at, way, what)
    return stream


def request_streams() -> st.SearchStrategy[bytes]:
    """A few requests on one connection, some of them harmed."""
    messages = st.lists(true_requests() | true_requests() | odd_requests(), min_size=1, max_size=3)
    return st.builds(_harmed, messages, _HARMS)


CHUNK_STREAMS = tuple(body + b"GET / HTTP/1.1" for body in BODIES[3:])
"""Chunked bodies, well-formed and not, and what follows them."""


def chunk_streams() -> st.SearchStrategy[bytes]:
    """Chunked bodies, some of them harmed."""
    true = st.lists(st.sampled_from(BODIES[1:4]), max_size=3).map(_chunked)
    return st.builds(_harmed, st.lists(true | st.sampled_from(CHUNK_STREAMS), max_size=2), _HARMS)


def reply_streams() -> st.SearchStrategy[bytes]:
    """What a backend may send to one request, some of it harmed."""
    messages = st.lists(true_replies() | odd_replies(), min_size=1, max_size=2)
    return st.builds(_harmed, messages, _HARMS)
