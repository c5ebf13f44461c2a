"""Request targets: what a side receives is what the client sent, byte for byte (RFC 9112 3.2)."""

from tests.conformance.harness import (
    CLIENT,
    Case,
    Way,
    gets,
    says,
    told,
)
from tests.conformance.rows import both, head, mirrored, relayed, request, table
from tests.conformance.stand import Stand


def target(raw: bytes) -> bytes:
    return request(b" " + raw + b" HTTP/1.1")


ORIGIN_FORMS = {
    "the root": b"/",
    "a path": b"/things/17",
    "an encoded slash": b"/a%2Fb",
    "an encoded slash in small letters": b"/a%2fb",
    "encoded letters": b"/%61%62",
    "an encoded NUL": b"/a%00b",
    "an encoded line end": b"/a%0d%0aX:%201",
    "a percent sign that encodes nothing": b"/a%zz%",
    "two slashes at the start": b"//a",
    "two slashes in the middle, one at the end": b"/a//b/",
    "a segment of two dots": b"/a/../b",
    "more dots than segments": b"/../../b",
    "a segment of one dot": b"/a/./b",
    "a semicolon": b"/a;v=1/b;w",
    "a colon and an at": b"/a:80/b@c",
    "what looks like an absolute target": b"/http://pay/",
    "an asterisk": b"/*",
    "a plus and an encoded space": b"/a+b%20c",
    "a backslash": b"/a\\b",
    "characters that a URI has not": b'/a"b|c^d`e{f}g<h>',
    "bytes that are not ASCII": b"/caf\xe9/\xff",
    "UTF-8": b"/\xe2\x82\xac",
    "a target as long as the head allows": b"/" + b"a" * 3900,
}

QUERIES = {
    "an empty query": b"/a?",
    "a query": b"/a?b=c&d=e",
    "empty values": b"/a?b=&c&&d=",
    "a question mark in the query": b"/a?b?c?",
    "slashes and dots in the query": b"/a?b=/../c//",
    "the same name twice": b"/a?b=2&b=1",
    "an encoded ampersand": b"/a?b=c%26d=e",
    "bytes in the query that are not ASCII": b"/a?b=\xe9",
    "a query at the root": b"/?b",
}

CASES = [
    *(row for name, raw in ORIGIN_FORMS.items() for row in both(name, "9112 3.2.1", target(raw))),
    *(row for name, raw in QUERIES.items() for row in both(name, "9112 3.2.1", target(raw))),
    *both("an absolute target", "9112 3.2.2", target(b"http://shop/a?b"), target(b"/a?b")),
    *both("an absolute target without a path", "9112 3.2.2", target(b"http://shop"), target(b"/")),
    *both(
        "an absolute target with only a query",
        "9110 4.2.3",
        target(b"http://shop?b=/c"),
        target(b"/?b=/c"),
    ),
    *both("an absolute target in capitals", "9110 4.2.3", target(b"HTTP://SHOP/A"), target(b"/A")),
    *both(
        "an absolute target, an absolute path in it",
        "9112 3.2.2",
        target(b"http://shop/http://shop/"),
        target(b"/http://shop/"),
    ),
    relayed("an asterisk", "9112 3.2.4", request(b"OPTIONS * HTTP/1.1")),
    relayed("OPTIONS of a path", "9110 9.3.7", request(b"OPTIONS /a HTTP/1.1")),
    relayed(
        "OPTIONS of an absolute target without a path",
        "9112 3.2.4",
        request(b"OPTIONS http://shop HTTP/1.1"),
        request(b"OPTIONS * HTTP/1.1"),
    ),
    relayed(
        "OPTIONS of an absolute target that is the root",
        "9112 3.2.2",
        request(b"OPTIONS http://shop/ HTTP/1.1"),
        request(b"OPTIONS / HTTP/1.1"),
    ),
    *(
        relayed(f"the safe method {method.decode()}", "9110 9.2.1", request(method + b" /a HTTP/1.1"))
        for method in (b"PROPFIND", b"REPORT", b"SEARCH")
    ),
    Case(
        name="TRACE",
        section="9110 9.3.8",
        steps=(says(CLIENT, request(b"TRACE /a HTTP/1.1", b"Max-Forwards: 5")), told(405)),
    ),
    relayed("OPTIONS that may go further", "9110 7.6.2",
            request(b"OPTIONS /a HTTP/1.1", b"max-forwards: 010", b"X: 1"),
            request(b"OPTIONS /a HTTP/1.1", b"max-forwards: 9", b"X: 1")),
    Case(
        name="OPTIONS that must go no further",
        section="9110 7.6.2",
        steps=(
            says(CLIENT, request(b"OPTIONS * HTTP/1.1", b"Max-Forwards: 0")),
            gets(CLIENT, head(b"HTTP/1.1 204 No Content",
                              b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
        ),
    ),
    *both("Max-Forwards of another method", "9110 7.6.2", request(b" /a HTTP/1.1", b"Max-Forwards: 0")),
    *(
        mirrored(f"the method {method.decode()}", "9110 9.2.1", request(method + b" /a HTTP/1.1"))
        for method in (b"POST", b"DELETE", b"PATCH", b"MKCOL", b"LOCK", b"PURGE", b"M-SEARCH")
    ),
]  # fmt: skip


@table(CASES)
def test_a_target_survives(stand: Stand, case: Case, way: Way) -> None:
    stand.play(case, way)
