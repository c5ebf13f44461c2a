"""Header fields: what is passed on untouched, what ends at the sidecar (RFC 9110 5 and 7.6)."""

import asyncio
import re

from tests.conformance.harness import (
    CLIENT,
    CLOSED,
    LEGACY,
    NEW,
    OK,
    STEP_SECONDS,
    Case,
    Party,
    Play,
    Step,
    Way,
    gets,
    says,
)
from tests.conformance.rows import both, head, mirrored, relayed, request, table
from tests.conformance.stand import Stand
from tests.proxy.wire.raw import until

FIRST = b" /a HTTP/1.1"


def sent(*fields: bytes) -> bytes:
    return request(FIRST, *fields)


SURVIVES = {
    "a field without a value": [b"X-Empty:"],
    "a field whose value is a space": [b"X-Empty: "],
    "no space behind the colon": [b"X:1"],
    "spaces and tabs around a value": [b"X: \t 1 \t "],
    "a tab in a value": [b"X: a\tb"],
    "any case": [b"x-LOWER-upper: MiXeD", b"ACCEPT: */*"],
    "the order of fields": [b"B: 1", b"A: 2", b"C: 3", b"A: 4"],
    "a field twice": [b"X: 1", b"X: 1"],
    "a field twice, another between them": [b"X: 2", b"Y: 0", b"x: 1"],
    "two cookies": [b"Cookie: a=1; b=2", b"Cookie: c=3"],
    "a list with empty members": [b"X: , a,,b ,"],
    "bytes that are not ASCII": [b"X: caf\xe9 \x80\xff"],
    "UTF-8": ["X: \u20ac".encode()],
    "every character of a token": [b"!#$%&'*+-.^_`|~09azAZ: 1"],
    "a name of one character": [b"X: 1"],
    "an underscore in a name that would frame": [b"Content_Length: 5", b"Transfer_Encoding: chunked"],
    "a colon, quotes and a backslash in a value": [b'X: a:b "c\\"d" :'],
    "what looks like a request in a value": [b"X: GET /b HTTP/1.1"],
    "a long value": [b"X: " + b"a" * 3900],
    "many fields": [b"X-%d: %d" % (number, number) for number in range(200)],
    "authorisation": [b"Authorization: Bearer abc", b"Proxy-Authorization: Basic YTpi"],
    "the fields of other proxies": [b"Via: 1.1 edge", b"Forwarded: for=10.0.0.1", b"X-Forwarded-For: 1"],
    "the trace of the client": [b"traceparent: 00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01",
                                b"tracestate: a=b"],
    "another sidecar's mark": [b"Twinwrite-Hop: 0123456789abcdef0"],
    "conditions and ranges": [b'If-Match: "a", W/"b"', b"Range: bytes=0-1"],
    "the announcement of a trailer": [b"Trailer: X-Sum"],
    "a priority and a date": [b"Priority: u=1", b"Date: Fri, 20 Nov 2026 10:00:00 GMT"],
}  # fmt: skip

HOSTS = {
    "a host with a port": b"Host: shop:8080",
    "an empty port": b"Host: shop:",
    "an IPv4 address": b"Host: 127.0.0.1:80",
    "an IPv6 address": b"Host: [::1]:80",
    "an empty host": b"Host:",
    "a host in capitals, its name too": b"HOST: SHOP",
    "an encoded host": b"Host: caf%C3%A9",
    "a host of an underscore": b"Host: shop_1",
    "spaces around the host": b"Host:   shop  ",
}

HOP_BY_HOP = {
    "Keep-Alive": ([b"Keep-Alive: timeout=5"], []),
    "Proxy-Connection": ([b"Proxy-Connection: keep-alive"], []),
    "TE": ([b"TE: trailers", b"Connection: TE"], []),
    "TE that is not nominated": ([b"TE: gzip;q=0.5, trailers"], []),
    "Connection: keep-alive": ([b"Connection: keep-alive"], []),
    "a nominated field": ([b"X-Hop: 1", b"Connection: X-Hop", b"X-End: 2"], [b"X-End: 2"]),
    "a nominated field, twice": ([b"X-Hop: 1", b"Connection: x-hop", b"X-HOP: 2"], []),
    "nominated by a second Connection": (
        [b"Connection: keep-alive", b"X-Hop: 1", b"Connection: X-Hop"],
        [],
    ),
    "a list with empty members and tabs": ([b"Connection: ,\tX-Hop ,,keep-alive", b"X-Hop: 1"], []),
    "a nominated field that is not there": ([b"Connection: X-Other", b"X: 1"], [b"X: 1"]),
    "a nominated cookie": ([b"Connection: cookie", b"Cookie: a=1"], []),
    "the mark that Twinwrite adds": ([b"Connection: Twinwrite-Hop", b"X: 1"], [b"X: 1"]),
    "a name that only begins alike": (
        [b"Connection: X", b"X: 1", b"X-End: 2", b"Connection-End: 3"],
        [b"X-End: 2", b"Connection-End: 3"],
    ),
}

VIA = rb"Via: 1\.1 twinwrite\r\n"
TRACE = rb"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n"
MARK = rb"Twinwrite-Hop: [0-9a-f]{16}\r\n"
MINTED = rb"Idempotency-Key: twinwrite-[0-9a-f]+-[0-9]+\r\n"


def gets_in_full(who: Party, lines: bytes, added: bytes) -> Step:
    """A head, what Twinwrite adds to it included."""

    async def step(play: Play) -> None:
        backend = play.backends[who]
        async with asyncio.timeout(STEP_SECONDS):
            await until(lambda: backend.received.endswith(b"\r\n\r\n"))
        assert re.fullmatch(re.escape(lines) + added + b"\r\n", backend.received)
        backend.received = b""

    return step


def marked(name: str, section: str, own: bytes, at_legacy: bytes, at_new: bytes) -> Case:
    """What either side gets with a write that has this field of the client's own."""
    sent = request(b"PUT /a HTTP/1.1", own)
    return Case(
        name=name,
        section=section,
        steps=(
            says(CLIENT, sent),
            gets_in_full(LEGACY, sent[:-2], at_legacy),
            says(LEGACY, OK),
            gets(CLIENT, OK),
            gets_in_full(NEW, sent[:-2], at_new),
            says(NEW, OK),
        ),
    )


OWN_KEY = b"Idempotency-Key: its own"
OWN_TRACE = b"traceparent: 00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"

CASES = [
    *(row for name, fields in SURVIVES.items() for row in both(name, "9110 5", sent(*fields))),
    *(row for name, host in HOSTS.items() for row in both(name, "9110 7.2", head(FIRST, host))),
    *(
        row
        for name, (fields, left) in HOP_BY_HOP.items()
        for row in both(f"{name} ends here", "9110 7.6.1", sent(*fields), sent(*left))
    ),
    marked("what Twinwrite adds for both, and for the secondary", "9110 7.6.3", b"X: 1",
           VIA + TRACE + MARK, VIA + TRACE + MARK + MINTED),
    marked("the client's own key", "9110 7.6.3", OWN_KEY, VIA + TRACE + MARK, VIA + TRACE + MARK),
    marked("the client's own trace", "9110 7.6.3", OWN_TRACE, VIA + MARK, VIA + MARK + MINTED),
    marked("another Via", "9110 7.6.3", b"Via: 1.0 edge, 1.1 core", VIA + TRACE + MARK,
           VIA + TRACE + MARK + MINTED),
    *both("Host as the last field", "9112 3.2", head(FIRST, b"A: 1", b"Host: shop")),
    mirrored(
        "an offer of h2c with a write ends here",
        "9110 7.8",
        request(b"PUT /a HTTP/1.1", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c",
                b"HTTP2-Settings: AAMAAABk", b"X: 1"),
        request(b"PUT /a HTTP/1.1", b"X: 1"),
    ),
    relayed(
        "Connection: close ends here, and the connection with it",
        "9112 9.6",
        request(b"GET /a HTTP/1.1", b"Connection: close", b"X: 1"),
        request(b"GET /a HTTP/1.1", b"X: 1"),
        answer=OK[:-4] + b"Connection: close\r\n\r\nok",
        last=CLOSED,
    ),
    mirrored(
        "Connection: Close among others, with a write",
        "9112 9.6",
        request(b"PUT /a HTTP/1.1", b"Connection: keep-alive, Close"),
        request(b"PUT /a HTTP/1.1"),
        answer=OK[:-4] + b"Connection: close\r\n\r\nok",
        last=CLOSED,
    ),
]  # fmt: skip


@table(CASES)
def test_a_field_is_passed_on_or_ends_here(stand: Stand, case: Case, way: Way) -> None:
    stand.play(case, way)
