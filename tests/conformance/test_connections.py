"""Connections: which of them last, in which order answers come, and HTTP/1.0 (RFC 9112 9)."""

from tests.conformance.harness import (
    CLIENT,
    CLOSED,
    LEGACY,
    NEW,
    OK,
    OPEN,
    Case,
    Step,
    Way,
    breaks,
    ends,
    finds_end,
    gets,
    says,
)
from tests.conformance.rows import GET, PUT, head, mirrored, relayed, request, served, table
from tests.conformance.stand import Stand

CLOSING = OK[:-4] + b"Connection: close\r\n\r\nok"
CHUNKED = b"Transfer-Encoding: chunked"


def numbered(number: int) -> bytes:
    return request(b"GET /%d HTTP/1.1" % number)


def answer(number: int) -> bytes:
    return head(b"HTTP/1.1 200 OK", b"Content-Length: 1") + b"%d" % number


def in_turn(*numbers: int) -> tuple[Step, ...]:
    return tuple(
        step
        for number in numbers
        for step in (
            gets(LEGACY, numbered(number)),
            says(LEGACY, answer(number)),
            gets(CLIENT, answer(number)),
        )
    )


def closing(
    name: str, section: str, sent: bytes, got: bytes, *, reply: bytes, client: bytes
) -> Case:
    steps = served(sent, got, reply=reply, answer=client)
    return Case(name=name, section=section, steps=steps, last=CLOSED)


OLD = request(b"GET /a HTTP/1.0")
CHUNKS = (
    head(b"HTTP/1.1 200 OK", CHUNKED, b"X: 1") + b"2;a=b\r\nok\r\n3\r\nay!\r\n0\r\nX-Sum: 1\r\n\r\n"
)

CASES = [
    Case(
        name="one request after the other",
        section="9112 9.3",
        steps=tuple(step for _ in range(3) for step in served(GET)),
    ),
    Case(
        name="a write, a read, a write",
        section="9112 9.3",
        steps=(
            *served(PUT), gets(NEW, PUT), says(NEW, OK),
            *served(GET),
            *served(PUT), gets(NEW, PUT), says(NEW, OK),
        ),
    ),
    Case(
        name="requests at once are answered in their order",
        section="9112 9.3.2",
        steps=(says(CLIENT, numbered(1) + numbered(2) + numbered(3)), *in_turn(1, 2, 3)),
    ),
    Case(
        name="requests at once, empty lines between them",
        section="9112 2.2",
        steps=(says(CLIENT, b"\r\n".join((numbered(1), numbered(2), numbered(3)))), *in_turn(1, 2, 3)),
    ),
    Case(
        name="requests at once, cut anywhere",
        section="9112 9.3.2",
        steps=(
            says(CLIENT, numbered(1) + numbered(2)[:9], numbered(2)[9:] + numbered(3)[:-1]),
            *in_turn(1, 2),
            says(CLIENT, numbered(3)[-1:]),
            *in_turn(3),
        ),
    ),
    Case(
        name="a read behind a write waits for its answer",
        section="9112 9.3.2",
        steps=(
            says(CLIENT, PUT + numbered(1)),
            gets(LEGACY, PUT),
            gets(NEW, b""),
            says(LEGACY, OK),
            gets(CLIENT, OK),
            *in_turn(1),
            gets(NEW, PUT),
            says(NEW, OK),
        ),
    ),
    Case(
        name="a client that has said all gets its answer",
        section="9112 9.6",
        steps=(
            says(CLIENT, GET), ends(CLIENT), gets(LEGACY, GET), says(LEGACY, OK), gets(CLIENT, CLOSING),
        ),
        last=CLOSED,
    ),
    Case(
        name="a client that has said all gets every answer",
        section="9112 9.6",
        steps=(
            says(CLIENT, numbered(1) + GET), ends(CLIENT), *in_turn(1),
            gets(LEGACY, GET), says(LEGACY, OK), gets(CLIENT, CLOSING),
        ),
        last=CLOSED,
    ),
    Case(
        name="a client that is gone does not stop a write",
        section="9112 9.5",
        steps=(
            says(CLIENT, PUT), gets(LEGACY, PUT), breaks(CLIENT), says(LEGACY, OK),
            gets(NEW, PUT), says(NEW, OK),
        ),
        last=OPEN,
    ),
    Case(
        name="a client that is gone ends a read",
        section="9112 9.5",
        steps=(says(CLIENT, GET), gets(LEGACY, GET), breaks(CLIENT), finds_end(LEGACY)),
        last=OPEN,
    ),
    Case(
        name="a client that says nothing may go",
        section="9112 9.5",
        steps=(ends(CLIENT),),
        last=CLOSED,
    ),
    Case(
        name="a client that stops in a head gets no answer",
        section="9112 8",
        steps=(says(CLIENT, GET[:-2]), ends(CLIENT)),
        last=CLOSED,
    ),
    Case(
        name="a backend that closes between requests",
        section="9112 9.3",
        steps=(*served(GET), ends(LEGACY), *served(GET), breaks(LEGACY), *served(GET)),
    ),
    relayed("Connection: keep-alive", "9112 9.3", request(b"GET /a HTTP/1.1", b"Connection: keep-alive"), GET),
    relayed("Connection: close, in a list and odd case", "9112 9.3",
            request(b"GET /a HTTP/1.1", b"Connection: x ,CLOSE"), GET, answer=CLOSING, last=CLOSED),
    relayed("Connection twice, the second is close", "9112 9.3",
            request(b"GET /a HTTP/1.1", b"Connection: keep-alive", b"Connection: close"), GET,
            answer=CLOSING, last=CLOSED),
    mirrored("Connection: close of a write", "9112 9.3",
             request(b"PUT /a HTTP/1.1", b"Connection: close", b"Content-Length: 2", body=b"hi"), PUT,
             answer=CLOSING, last=CLOSED),
    relayed("HTTP/1.0 is passed on as HTTP/1.1", "9112 2.3", OLD, GET, answer=CLOSING, last=CLOSED),
    mirrored("a write of HTTP/1.0", "9112 2.3",
             request(b"PUT /a HTTP/1.0", b"Content-Length: 2", body=b"hi"), PUT,
             answer=CLOSING, last=CLOSED),
    relayed("HTTP/1.0 without a host stays HTTP/1.0", "9112 3.2", head(b"GET /a HTTP/1.0"),
            answer=CLOSING, last=CLOSED),
    mirrored("a write of HTTP/1.0 without a host", "9112 3.2", head(b"PUT /a HTTP/1.0", b"X: 1"),
             answer=CLOSING, last=CLOSED),
    relayed("HTTP/1.0 is closed even if it asks for more", "9112 9.3",
            request(b"GET /a HTTP/1.0", b"Connection: keep-alive"), GET, answer=CLOSING, last=CLOSED),
    relayed("HTTP/1.0 of an absolute target", "9112 3.2.2",
            request(b"GET http://shop/a HTTP/1.0"), GET, answer=CLOSING, last=CLOSED),
    relayed("an expectation of HTTP/1.0 is ignored", "9110 10.1.1",
            request(b"GET /a HTTP/1.0", b"Expect: 100-continue"), GET, answer=CLOSING, last=CLOSED),
    closing("chunks for HTTP/1.0 are taken apart", "9112 6.1", OLD, GET, reply=CHUNKS,
            client=head(b"HTTP/1.1 200 OK", b"X: 1", b"Connection: close") + b"okay!"),
    closing("chunks without data for HTTP/1.0", "9112 6.1", OLD, GET,
            reply=head(b"HTTP/1.1 200 OK", CHUNKED) + b"0\r\n\r\n",
            client=head(b"HTTP/1.1 200 OK", b"Connection: close")),
    closing("no content for HTTP/1.0", "9110 15.3.5", OLD, GET, reply=head(b"HTTP/1.1 204 No Content"),
            client=head(b"HTTP/1.1 204 No Content", b"Connection: close")),
    closing("HEAD of HTTP/1.0", "9110 9.3.2", request(b"HEAD /a HTTP/1.0"), request(b"HEAD /a HTTP/1.1"),
            reply=head(b"HTTP/1.1 200 OK", b"Content-Length: 5"),
            client=head(b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Connection: close")),
    closing("HEAD of HTTP/1.0, the reply would be chunked", "9110 9.3.2", request(b"HEAD /a HTTP/1.0"),
            request(b"HEAD /a HTTP/1.1"), reply=head(b"HTTP/1.1 200 OK", CHUNKED),
            client=head(b"HTTP/1.1 200 OK", b"Connection: close")),
]  # fmt: skip


@table(CASES)
def test_connections_last_as_long_as_they_should(stand: Stand, case: Case, way: Way) -> None:
    stand.play(case, way)
