"""Replies: the client gets the primary's bytes, hop-by-hop fields excepted (RFC 9112 4, 6.3, 7)."""

from tests.conformance.harness import (
    CLIENT,
    CLOSED,
    LEGACY,
    NEW,
    OK,
    OPEN,
    Case,
    Way,
    breaks,
    ends,
    finds_break,
    finds_end,
    gets,
    says,
)
from tests.conformance.rows import GET, PUT, head, replied, request, served, table
from tests.conformance.stand import Stand

HEAD = request(b"HEAD /a HTTP/1.1")
LENGTH = b"Content-Length: 2"
CHUNKED = b"Transfer-Encoding: chunked"
CLOSE = b"Connection: close"
EVERY_BYTE = bytes(range(256))
LONG = head(b"HTTP/1.1 200 OK", b"Content-Length: 20480") + EVERY_BYTE * 80


def ok(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return head(line, *fields, LENGTH) + b"ok"


def no_body(status: bytes, *fields: bytes) -> bytes:
    return head(b"HTTP/1.1 " + status, *fields)


def chunked(body: bytes, *fields: bytes) -> bytes:
    return head(b"HTTP/1.1 200 OK", *fields, CHUNKED) + body


STATUS_LINES = {
    "an empty reason": b"HTTP/1.1 200 ",
    "no reason and no space": b"HTTP/1.1 200",
    "another reason": b"HTTP/1.1 200 Fine, thank you",
    "a reason of spaces": b"HTTP/1.1 200    ",
    "a reason with a tab": b"HTTP/1.1 200 O\tK",
    "a reason that is not ASCII": b"HTTP/1.1 200 Tr\xe8s bien",
    "a reason that looks like a status": b"HTTP/1.1 200 404 Not Found",
    "a status that nobody knows": b"HTTP/1.1 299 Odd",
    "a client error that nobody knows": b"HTTP/1.1 499 Odd",
    "a server error that nobody knows": b"HTTP/1.1 599 Odd",
    "a redirect": b"HTTP/1.1 302 Found",
    "a server error": b"HTTP/1.1 500 Internal Server Error",
    "a refused proxy": b"HTTP/1.1 407 Proxy Authentication Required",
    "a partial answer": b"HTTP/1.1 206 Partial Content",
    "several answers": b"HTTP/1.1 207 Multi-Status",
    "non-authoritative": b"HTTP/1.1 203 Non-Authoritative Information",
    "a teapot": b"HTTP/1.1 418 I'm a teapot",
}

FIELDS = {
    "several cookies": [b"Set-Cookie: a=1; Path=/", b"X: 1", b"Set-Cookie: b=2", b"set-cookie: a=3"],
    "the order of fields": [b"B: 1", b"A: 2", b"b: 3"],
    "any case": [b"CONTENT-type: Text/HTML", b"x-lower: MiXeD"],
    "no spaces, and many": [b"X:1", b"Y: \t 2 \t "],
    "a field without a value": [b"X:"],
    "bytes that are not ASCII": [b"X: caf\xe9 \xff"],
    "a list of lists": [b"Vary: Accept", b"Vary: Origin, Cookie", b"Cache-Control: no-store, max-age=0"],
    "a place": [b"Location: http://legacy/things/1?b#c"],
    "the fields of a server": [b"Server: x/1", b"Date: Fri, 20 Nov 2026 10:00:00 GMT", b"Via: 1.1 edge"],
    "challenges": [b'WWW-Authenticate: Basic realm="a, b"', b"Proxy-Authenticate: Basic"],
    "an alternative": [b'Alt-Svc: h3=":443"'],
    "a coding": [b"Content-Encoding: gzip"],
    "many fields": [b"X-%d: %d" % (number, number) for number in range(500)],
    "a long field": [b"X: " + b"a" * 20000],
}  # fmt: skip

HOP_BY_HOP = {
    "Keep-Alive": [b"Connection: keep-alive", b"Keep-Alive: timeout=5, max=100"],
    "Proxy-Connection": [b"Proxy-Connection: keep-alive"],
    "a nominated field": [b"X-Hop: 1", b"Connection: x-hop"],
    "an offer of h2c": [b"Connection: Upgrade", b"Upgrade: h2c"],
    "TE": [b"TE: trailers"],
}

BODIES = {
    "a body": ok(),
    "an empty body": head(b"HTTP/1.1 200 OK", b"Content-Length: 0"),
    "a body of every byte": head(b"HTTP/1.1 200 OK", b"Content-Length: 256") + EVERY_BYTE,
    "a body that looks like a reply": head(b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(OK)) + OK,
    "a length with leading zeros": head(b"HTTP/1.1 200 OK", b"Content-Length: 002") + b"ok",
    "a length in odd case": head(b"HTTP/1.1 200 OK", b"content-LENGTH:\t2 ") + b"ok",
    "a body beyond what is kept": LONG,
    "chunks": chunked(b"2\r\nok\r\n0\r\n\r\n"),
    "chunks in odd case": head(b"HTTP/1.1 200 OK", b"TRANSFER-encoding: Chunked") + b"0\r\n\r\n",
    "no chunk": chunked(b"0\r\n\r\n"),
    "several chunks, sizes in any case": chunked(b"a\r\n0123456789\r\n0A\r\n0123456789\r\n000\r\n\r\n"),
    "chunk extensions": chunked(b'2;a="b c";d\r\nok\r\n0;e=f\r\n\r\n'),
    "trailers": chunked(b"2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Sum:\r\n\r\n", b"Trailer: X-Sum"),
    "a chunk of line ends": chunked(b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
    "chunks beyond what is kept": chunked(b"400\r\n" + EVERY_BYTE * 4 + b"\r\n" + b"400\r\n"
                                          + EVERY_BYTE * 4 + b"\r\n0\r\n\r\n"),
}  # fmt: skip

WITHOUT_BODIES = {
    "204": (no_body(b"204 No Content"), GET),
    "204 with fields": (no_body(b"204 No Content", b"ETag: a", b"X: 1"), GET),
    "304": (no_body(b"304 Not Modified", b"ETag: a"), GET),
    "304 with the length it would have": (no_body(b"304 Not Modified", b"Content-Length: 5"), GET),
    "205": (no_body(b"205 Reset Content", b"Content-Length: 0"), GET),
    "HEAD with the length it would have": (no_body(b"200 OK", b"Content-Length: 5"), HEAD),
    "HEAD with chunks it would have": (no_body(b"200 OK", CHUNKED), HEAD),
    "HEAD with neither": (no_body(b"200 OK", b"X: 1"), HEAD),
    "HEAD of what is not there": (no_body(b"404 Not Found", b"Content-Length: 9"), HEAD),
    "HEAD of nothing": (no_body(b"204 No Content"), HEAD),
}


def written(name: str, section: str, reply: bytes) -> Case:
    """A reply to a mirrored write."""
    steps = (*served(PUT, reply=reply), gets(NEW, PUT), says(NEW, OK))
    return Case(name=f"{name}, of a write", section=section, steps=steps)


def closed_by(name: str, section: str, reply: bytes, answer: bytes) -> Case:
    """A reply that ends with its connection, and so does what the client gets."""
    steps = (
        says(CLIENT, GET), gets(LEGACY, GET), says(LEGACY, reply), ends(LEGACY), gets(CLIENT, answer),
    )  # fmt: skip
    return Case(name=name, section=section, steps=steps, last=CLOSED)


def last_of_its_connection(name: str, section: str, reply: bytes, answer: bytes) -> Case:
    """A reply that is whole, and the last that its connection to the backend is used for."""
    steps = (*served(GET, reply=reply, answer=answer), finds_end(LEGACY))
    return Case(name=name, section=section, steps=steps)


def cut_short(name: str, reply: bytes) -> list[Case]:
    """A reply that ends before it is whole never looks whole to the client."""
    begun = (says(CLIENT, GET), gets(LEGACY, GET), says(LEGACY, reply), gets(CLIENT, reply))
    return [
        Case(
            name=f"{name}, {word}",
            section="9112 8",
            steps=(*begun, end(LEGACY), finds_break(CLIENT)),
            last=OPEN,
        )
        for word, end in (("closed", ends), ("reset", breaks))
    ]


CASES = [
    *(replied(name, "9112 4", ok(line=line)) for name, line in STATUS_LINES.items()),
    *(replied(name, "9110 5.3", ok(*fields)) for name, fields in FIELDS.items()),
    *(
        replied(f"{name} ends here", "9110 7.6.1", ok(*fields, b"X: 1"), ok(b"X: 1"))
        for name, fields in HOP_BY_HOP.items()
    ),
    *(replied(name, "9112 6.3", reply) for name, reply in BODIES.items()),
    *(written(name, "9112 6.3", reply) for name, reply in BODIES.items()),
    *(replied(name, "9112 6.3", reply, sent=sent) for name, (reply, sent) in WITHOUT_BODIES.items()),
    written("204", "9110 15.3.5", no_body(b"204 No Content", b"ETag: a")),
    written("201 and its place", "9110 15.3.2", ok(b"Location: /things/1", line=b"HTTP/1.1 201 Created")),
    written("303", "9110 15.4.4", ok(b"Location: /things/1", line=b"HTTP/1.1 303 See Other")),
    Case(
        name="what the primary refuses is not sent to the other side",
        section="9110 15.5",
        steps=served(PUT, reply=ok(line=b"HTTP/1.1 409 Conflict")),
    ),
    last_of_its_connection("Connection: close ends at the sidecar", "9112 9.6", ok(CLOSE, b"X: 1"), ok(b"X: 1")),
    last_of_its_connection("Connection: close, in a list", "9112 9.6", ok(b"Connection: x ,Close"), ok()),
    last_of_its_connection("204 with a length that it must not have", "9110 8.6",
                           no_body(b"204 No Content", b"Content-Length: 5", b"X: 1"),
                           no_body(b"204 No Content", b"X: 1")),
    last_of_its_connection("204 with chunks that it must not have", "9112 6.1",
                           no_body(b"204 No Content", CHUNKED, b"X: 1") + b"0\r\n\r\n",
                           no_body(b"204 No Content", b"X: 1")),
    last_of_its_connection("a body behind 204", "9112 6.3",
                           no_body(b"204 No Content") + b"ok", no_body(b"204 No Content")),
    last_of_its_connection("a body behind 304", "9112 6.3",
                           no_body(b"304 Not Modified", LENGTH) + b"ok", no_body(b"304 Not Modified", LENGTH)),
    last_of_its_connection("more than the length says", "9112 6.3", ok() + b"!", ok()),
    last_of_its_connection("more than the last chunk", "9112 6.3",
                           chunked(b"0\r\n\r\n") + b"!", chunked(b"0\r\n\r\n")),
    last_of_its_connection("a second reply that nobody asked for", "9112 9.2", ok() + OK, ok()),
    last_of_its_connection("an empty line behind a reply", "9112 2.2", ok() + b"\r\n", ok()),
    last_of_its_connection("HTTP/1.0", "9112 2.3", ok(line=b"HTTP/1.0 200 OK"), ok()),
    replied("HTTP/1.0 kept alive", "9112 9.3", ok(b"Connection: keep-alive", line=b"HTTP/1.0 200 OK"), ok()),
    Case(
        name="a body behind HEAD",
        section="9110 9.3.2",
        steps=(*served(HEAD, reply=ok(), answer=ok()[:-2]), finds_end(LEGACY)),
    ),
    Case(
        name="a reply that nobody asked for, later",
        section="9112 9.2",
        steps=(*served(GET), says(LEGACY, OK), finds_end(LEGACY)),
    ),
    Case(
        name="a late end of a reply that was whole",
        section="9112 9.2",
        steps=(*served(GET), says(LEGACY, b"\r\n"), finds_end(LEGACY)),
    ),
    closed_by("a body that ends with the connection", "9112 6.3",
              head(b"HTTP/1.1 200 OK", b"X: 1") + b"ok", head(b"HTTP/1.1 200 OK", b"X: 1", CLOSE) + b"ok"),
    closed_by("no body that ends with the connection", "9112 6.3",
              head(b"HTTP/1.1 200 OK", CLOSE), head(b"HTTP/1.1 200 OK", CLOSE)),
    closed_by("a body of HTTP/1.0", "9112 6.3",
              head(b"HTTP/1.0 200 OK") + EVERY_BYTE, head(b"HTTP/1.1 200 OK", CLOSE) + EVERY_BYTE),
    closed_by("keep-alive without a length", "9112 6.3",
              head(b"HTTP/1.1 200 OK", b"Connection: keep-alive") + b"ok",
              head(b"HTTP/1.1 200 OK", CLOSE) + b"ok"),
    *cut_short("less than the length says", ok()[:-1]),
    *cut_short("a chunk that is not whole", chunked(b"5\r\nhel")),
    *cut_short("no last chunk", chunked(b"2\r\nok\r\n")),
    *cut_short("no line behind the last chunk", chunked(b"2\r\nok\r\n0\r\n")),
    Case(
        name="a body that ends with a reset is not whole",
        section="9112 8",
        steps=(
            says(CLIENT, GET),
            gets(LEGACY, GET),
            says(LEGACY, head(b"HTTP/1.1 200 OK") + b"ok"),
            gets(CLIENT, head(b"HTTP/1.1 200 OK", CLOSE) + b"ok"),
            breaks(LEGACY),
            finds_break(CLIENT),
        ),
        last=OPEN,
    ),
]  # fmt: skip


@table(CASES)
def test_a_reply_survives(stand: Stand, case: Case, way: Way) -> None:
    stand.play(case, way)
