"""Two requests in one, or one in two: the classics of request smuggling (RFC 9112 11.2).

Either nobody sees a byte, or both sides see exactly one request after the other.
"""

from tests.conformance.harness import (
    CLIENT,
    CLOSED,
    LEGACY,
    NEW,
    OK,
    Case,
    Step,
    Way,
    gets,
    says,
    told,
)
from tests.conformance.rows import GET, head, mirrored, refused, relayed, request, served, table
from tests.conformance.stand import Stand

HIDDEN = b"GET /admin HTTP/1.1\r\nHost: shop\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
POST = b"POST /a HTTP/1.1"
END = b"0\r\n\r\n"


def length(count: int) -> bytes:
    return b"Content-Length: %d" % count


def write(sent: bytes) -> tuple[Step, ...]:
    return (*served(sent), gets(NEW, sent), says(NEW, OK))


def then_refused(name: str, good: bytes, bad: bytes, status: int = 400) -> Case:
    """A good request is served; the bad one behind it, and what follows that, is not."""
    return Case(
        name=name,
        section="9112 9.3.2",
        steps=(
            says(CLIENT, good + bad + HIDDEN),
            gets(LEGACY, good),
            says(LEGACY, OK),
            gets(CLIENT, OK),
            told(status, closes=True),
        ),
        last=CLOSED,
    )


def hidden(*fields: bytes, before: bytes = b"", behind: bytes = HIDDEN) -> bytes:
    """A POST, something that may be its body, and a request behind it."""
    return request(POST, *fields, body=before + behind)


WITH_BODY = request(POST, length(len(HIDDEN)), body=HIDDEN)
GET_WITH_BODY = request(b"GET /a HTTP/1.1", length(len(HIDDEN)), body=HIDDEN)
HEAD_WITH_BODY = request(b"HEAD /a HTTP/1.1", length(len(HIDDEN)), body=HIDDEN)
FOLDED = request(POST, b"X: 1", b" Transfer-Encoding: chunked", length(5), body=END)

CASES = [
    refused("CL.TE", "9112 6.3", hidden(length(6), CHUNKED, before=END, behind=b"G")),
    refused("CL.TE, a whole request", "9112 6.3", hidden(length(5), CHUNKED, before=END)),
    refused("TE.CL", "9112 6.3", hidden(CHUNKED, length(4), before=b"5c\r\n")),
    refused("TE.CL, the length of nothing", "9112 6.3", hidden(CHUNKED, length(0), before=END)),
    refused("TE.TE, the second is unknown", "9112 6.1",
            hidden(CHUNKED, b"Transfer-Encoding: x", before=END)),
    refused("TE.TE, the first is unknown", "9112 6.1",
            hidden(b"Transfer-Encoding: x", CHUNKED, before=END), 501),
    refused("TE.TE, the second in odd case", "9112 6.1",
            hidden(CHUNKED, b"tRANSFER-eNCODING: identity", before=END)),
    refused("TE, a space before the colon, and CL", "9112 5.1",
            hidden(length(5), b"Transfer-Encoding : chunked", before=END)),
    refused("TE in a folded line, and CL", "9112 5.2", FOLDED + HIDDEN),
    refused("TE behind a bare LF, and CL", "9112 2.2",
            hidden(b"X: 1\nTransfer-Encoding: chunked", length(5), before=END)),
    refused("TE behind a bare CR, and CL", "9112 2.2",
            hidden(b"X: 1\rTransfer-Encoding: chunked", length(5), before=END)),
    refused("TE behind NUL, and CL", "9110 5.5",
            hidden(b"X: 1\0Transfer-Encoding: chunked", length(5), before=END)),
    refused("TE whose name ends in NUL, and CL", "9110 5.1",
            hidden(b"Transfer-Encoding\0: chunked", length(5), before=END)),
    refused("TE whose name is folded, and CL", "9112 5",
            hidden(b"Transfer-Encoding", b" : chunked", length(5), before=END)),
    refused("TE of a vertical tab, and CL", "9110 5.5",
            hidden(b"Transfer-Encoding:\x0bchunked", length(5), before=END)),
    refused("TE of xchunked, and CL", "9112 6.1",
            hidden(b"Transfer-Encoding: xchunked", length(5), before=END), 501),
    refused("TE of HTTP/1.0, and CL", "9112 6.1",
            request(b"POST /a HTTP/1.0", length(5), CHUNKED, body=END + HIDDEN)),
    refused("TE of HTTP/1.0 kept alive", "9112 6.1",
            request(b"POST /a HTTP/1.0", b"Connection: keep-alive", CHUNKED, body=END + HIDDEN)),
    refused("CL.CL", "9112 6.3", hidden(length(0), length(len(HIDDEN)))),
    refused("CL.CL in a list", "9112 6.3", hidden(b"Content-Length: 0, %d" % len(HIDDEN))),
    refused("0.CL, a space before the colon", "9112 5.1",
            hidden(b"Content-Length : %d" % len(HIDDEN))),
    refused("0.CL, the length in a folded line", "9112 5.2",
            hidden(b"Content-Length:", b" %d" % len(HIDDEN))),
    refused("0.CL, a plus before the length", "9112 6.2", hidden(b"Content-Length: +%d" % len(HIDDEN))),
    refused("0.CL, the length behind a bare CR", "9112 2.2",
            hidden(b"X: 1\rContent-Length: %d" % len(HIDDEN))),
    refused("a hop-by-hop length", "9110 7.6.1",
            hidden(b"Connection: Content-Length", length(len(HIDDEN)))),
    refused("a hop-by-hop encoding", "9110 7.6.1",
            hidden(b"Connection: Transfer-Encoding", CHUNKED, before=END)),
    refused("a chunk size that overflows", "9112 7.1",
            request(POST, CHUNKED, body=b"10000000000000000\r\n" + END + HIDDEN)),
    refused("a chunk extension that ends in LF", "9112 7.1.1",
            request(POST, CHUNKED, body=b"2;\nxx\r\n10\r\n" + END + HIDDEN)),
    refused("a chunk extension with a bare CR", "9112 7.1.1",
            request(POST, CHUNKED, body=b"2;\rxx\r\n10\r\n" + END + HIDDEN)),
    refused("a chunk that runs over its end", "9112 7.1",
            request(POST, CHUNKED, body=b"5\r\nhello0\r\n\r\n" + HIDDEN)),
    refused("a request in the place of trailers", "9112 7.1.2",
            request(POST, CHUNKED, body=b"0\r\n" + HIDDEN)),
    refused("two hosts, one request", "9112 3.2", head(POST, b"Host: shop", b"Host: pay") + HIDDEN),
    refused("a host in the target, another in Host", "9112 3.2.2",
            request(b"POST http://pay/a HTTP/1.1") + HIDDEN),
    refused("a version and a field in the target", "9112 3.2",
            request(b"GET /a HTTP/1.1\rX: /b HTTP/1.1") + HIDDEN),
    refused("an expectation that is obscured", "9110 10.1.1",
            hidden(b"Expect: y\t100-continue", length(5), before=b"hello"), 417),
    refused("a body that is too long, a request in it", "9110 15.5.14",
            request(POST, length(99999), body=HIDDEN), 413),
    mirrored("CL.0: a request in a body", "9112 6.2", WITH_BODY),
    relayed("CL.0: a request in the body of a GET", "9110 9.3.1", GET_WITH_BODY),
    Case(
        name="a request in the body of a HEAD",
        section="9110 9.3.2",
        steps=served(HEAD_WITH_BODY, reply=OK[:-2]),
    ),
    Case(
        name="a request behind a length of zero is a request",
        section="9112 9.3.2",
        steps=(
            says(CLIENT, request(POST, length(0)) + GET),
            gets(LEGACY, request(POST, length(0))),
            says(LEGACY, OK),
            gets(CLIENT, OK),
            gets(NEW, request(POST, length(0))),
            says(NEW, OK),
            gets(LEGACY, GET),
            says(LEGACY, OK),
            gets(CLIENT, OK),
        ),
    ),
    Case(
        name="a request behind the last chunk is a request",
        section="9112 9.3.2",
        steps=(
            says(CLIENT, request(POST, CHUNKED, body=END) + GET),
            gets(LEGACY, request(POST, CHUNKED, body=END)),
            says(LEGACY, OK),
            gets(CLIENT, OK),
            gets(NEW, request(POST, CHUNKED, body=END)),
            says(NEW, OK),
            gets(LEGACY, GET),
            says(LEGACY, OK),
            gets(CLIENT, OK),
        ),
    ),
    then_refused("behind a good request, a bad line", GET, b"GET /a\r\n\r\n"),
    then_refused("behind a good request, garbage", GET, b"\x16\x03\x01\0\0\r\n\r\n"),
    then_refused("behind a good request, CL and TE", GET, request(POST, length(5), CHUNKED, body=END)),
    then_refused("behind a good request, a bad chunk", GET, request(POST, CHUNKED, body=b"z\r\n")),
    then_refused("behind a good request, another version", GET, request(b"GET /a HTTP/2.0"), 505),
    then_refused("behind a good body, a byte too many", GET_WITH_BODY, b"x" + GET, 501),
    then_refused("behind a good request, two empty lines", GET, b"\r\n\r\n"),
    Case(
        name="nothing behind Connection: close is a request",
        section="9112 9.6",
        steps=(
            says(CLIENT, request(b"GET /a HTTP/1.1", b"Connection: close") + HIDDEN),
            gets(LEGACY, GET),
            says(LEGACY, OK),
            gets(CLIENT, OK[:-4] + b"Connection: close\r\n\r\nok"),
        ),
        last=CLOSED,
    ),
    Case(
        name="nothing behind HTTP/1.0 is a request",
        section="9112 9.3",
        steps=(
            says(CLIENT, request(b"GET /a HTTP/1.0") + HIDDEN),
            gets(LEGACY, GET),
            says(LEGACY, OK),
            gets(CLIENT, OK[:-4] + b"Connection: close\r\n\r\nok"),
        ),
        last=CLOSED,
    ),
]  # fmt: skip


@table(CASES)
def test_nobody_smuggles_a_request(stand: Stand, case: Case, way: Way) -> None:
    stand.play(case, way)
