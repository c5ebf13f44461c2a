"""Interim replies and `Expect: 100-continue` (RFC 9110 10.1.1 and 15.2).

A mirrored write gets its 100 from Twinwrite, once nothing stands against it; the primary never sees
the expectation of such a write, the secondary never sees any. What is not mirrored is between the
client and the primary.
"""

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
    finds_end,
    gets,
    says,
    told,
)
from tests.conformance.rows import GET, PUT, broken, head, refused, relayed, request, served, table
from tests.conformance.stand import Stand

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = head(b"HTTP/1.1 103 Early Hints", b"Link: </a.css>; rel=preload", b"link: </b.js>")
PROCESSING = head(b"HTTP/1.1 102 Processing")
ODD = head(b"HTTP/1.1 199 Odd", b"X: caf\xe9")
EXPECT = b"Expect: 100-continue"
LENGTH = b"Content-Length: 2"
CHUNKED = b"Transfer-Encoding: chunked"
CLOSING = OK[:-4] + b"Connection: close\r\n\r\nok"
REFUSAL = head(b"HTTP/1.1 403 Forbidden", b"Content-Length: 2") + b"no"
REFUSAL_CLOSING = (
    head(b"HTTP/1.1 403 Forbidden", b"Content-Length: 2", b"Connection: close") + b"no"
)

EXPECTING = request(b"PUT /a HTTP/1.1", EXPECT, LENGTH)
UNMIRRORED = request(b"POST /unmirrored/a HTTP/1.1", EXPECT, LENGTH)
ASKED = request(b"POST /unmirrored/a HTTP/1.1", LENGTH, EXPECT)
"""As the primary gets it: what is asked of one server is asked anew, as the last field."""


def relays(name: str, section: str, *interim: bytes) -> list[Case]:
    """Interim replies reach the client one by one, each before the next is there."""
    one_by_one: list[Step] = []
    for reply in interim:
        one_by_one += (says(LEGACY, reply), gets(CLIENT, reply))
    return [
        Case(
            name=f"{name}, relayed",
            section=section,
            steps=(
                says(CLIENT, GET), gets(LEGACY, GET), *one_by_one, says(LEGACY, OK), gets(CLIENT, OK),
            ),
        ),
        Case(
            name=f"{name}, mirrored",
            section=section,
            steps=(
                says(CLIENT, PUT), gets(LEGACY, PUT), says(LEGACY, b"".join(interim) + OK),
                gets(CLIENT, b"".join(interim) + OK), gets(NEW, PUT), says(NEW, OK),
            ),
        ),
    ]  # fmt: skip


def old(name: str, first: bytes, got: bytes, *behind: Step) -> Case:
    """HTTP/1.0 knows no interim replies: it gets the final one."""
    return Case(
        name=name,
        section="9110 15.2",
        steps=(
            says(CLIENT, first),
            gets(LEGACY, got),
            says(LEGACY, HINTS + OK),
            gets(CLIENT, CLOSING),
            *behind,
        ),
        last=CLOSED,
    )


def expected(name: str, *fields: bytes, body: bytes) -> Case:
    """A mirrored write whose body comes when Twinwrite has said so."""
    sent = request(b"PUT /a HTTP/1.1", EXPECT, *fields)
    got = request(b"PUT /a HTTP/1.1", *fields, body=body)
    return Case(
        name=name,
        section="9110 10.1.1",
        steps=(
            says(CLIENT, sent),
            gets(CLIENT, CONTINUE),
            gets(LEGACY, b""),
            *served(body, got),
            gets(NEW, got),
            says(NEW, OK),
        ),
    )


CASES = [
    *relays("103", "9110 15.2", HINTS),
    *relays("102", "9110 15.2", PROCESSING),
    *relays("an interim status that nobody knows", "9110 15.2", ODD),
    *relays("several", "9110 15.2", PROCESSING, HINTS, HINTS),
    Case(
        name="hop-by-hop fields of an interim reply end here",
        section="9110 7.6.1",
        steps=served(
            GET,
            reply=head(b"HTTP/1.1 103 Early Hints", b"Connection: x", b"X: 1", b"Link: </a>") + OK,
            answer=head(b"HTTP/1.1 103 Early Hints", b"Link: </a>") + OK,
        ),
    ),
    Case(
        name="an interim reply and no body",
        section="9110 15.2",
        steps=served(
            request(b"HEAD /a HTTP/1.1"),
            reply=HINTS + head(b"HTTP/1.1 200 OK", b"Content-Length: 5"),
        ),
    ),
    old("no interim reply for HTTP/1.0", request(b"GET /a HTTP/1.0"), GET),
    old("no interim reply for a write of HTTP/1.0", request(b"PUT /a HTTP/1.0"),
        request(b"PUT /a HTTP/1.1"), gets(NEW, request(b"PUT /a HTTP/1.1")), says(NEW, OK)),
    Case(
        name="interim replies of the secondary are nobody's",
        section="9110 15.2",
        steps=(*served(PUT), gets(NEW, PUT), says(NEW, CONTINUE + HINTS + OK)),
    ),
    *broken("an interim reply that is malformed", "9112 4", b"HTTP/1.1 103\r\nX : 1\r\n\r\n" + OK),
    *broken("101 that nobody asked for", "9110 15.2.2",
            head(b"HTTP/1.1 101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: x")),
    Case(
        name="a malformed reply behind an interim one",
        section="9110 15.6.3",
        steps=(
            says(CLIENT, GET), gets(LEGACY, GET), says(LEGACY, HINTS), gets(CLIENT, HINTS),
            says(LEGACY, b"garbage\r\n\r\n"), told(502), finds_end(LEGACY),
        ),
    ),
    expected("a write that is expected", LENGTH, body=b"hi"),
    expected("a write in chunks that is expected", CHUNKED, body=b"2\r\nhi\r\n0\r\nX: 1\r\n\r\n"),
    expected("an expected write, other fields around", b"A: 1", LENGTH, b"B: 2", body=b"hi"),
    Case(
        name="an expectation in odd case",
        section="9110 10.1.1",
        steps=(
            says(CLIENT, request(b"PUT /a HTTP/1.1", b"EXPECT: 100-Continue", LENGTH)),
            gets(CLIENT, CONTINUE),
            *served(b"hi", PUT),
            gets(NEW, PUT),
            says(NEW, OK),
        ),
    ),
    Case(
        name="a body that comes with its expectation needs no 100",
        section="9110 10.1.1",
        steps=(*served(EXPECTING + b"hi", PUT), gets(NEW, PUT), says(NEW, OK)),
        ways=(Way.WHOLE,),
    ),
    Case(
        name="an expectation without a body needs no 100",
        section="9110 10.1.1",
        steps=(
            *served(request(b"PUT /a HTTP/1.1", EXPECT), request(b"PUT /a HTTP/1.1")),
            gets(NEW, request(b"PUT /a HTTP/1.1")),
            says(NEW, OK),
        ),
    ),
    Case(
        name="a write that is refused by the primary, later",
        section="9110 10.1.1",
        steps=(says(CLIENT, EXPECTING), gets(CLIENT, CONTINUE), *served(b"hi", PUT, reply=REFUSAL)),
    ),
    refused("a body that is too long is refused without 100", "9110 10.1.1",
            request(b"PUT /a HTTP/1.1", EXPECT, b"Content-Length: 99999"), 413),
    refused("a malformed write is refused without 100", "9110 10.1.1",
            request(b"PUT /a HTTP/1.1", EXPECT, LENGTH, LENGTH)),
    refused("another expectation, a body behind it", "9110 10.1.1",
            request(b"PUT /a HTTP/1.1", b"Expect: 200-maybe", LENGTH, body=b"hi"), 417),
    refused("two expectations", "9110 10.1.1",
            request(b"PUT /a HTTP/1.1", EXPECT, b"Expect: 200-maybe", LENGTH), 417),
    Case(
        name="a client that goes instead of sending its body",
        section="9110 10.1.1",
        steps=(says(CLIENT, EXPECTING), gets(CLIENT, CONTINUE), says(CLIENT, b"h")),
        last=OPEN,
    ),
    Case(
        name="unmirrored: the backend says when to go on",
        section="9110 10.1.1",
        steps=(
            says(CLIENT, UNMIRRORED),
            gets(LEGACY, ASKED),
            gets(CLIENT, b""),
            says(LEGACY, CONTINUE),
            gets(CLIENT, CONTINUE),
            says(CLIENT, b"hi"),
            gets(LEGACY, b"hi"),
            says(LEGACY, OK),
            gets(CLIENT, OK),
        ),
    ),
    Case(
        name="unmirrored, in chunks: the backend says when to go on",
        section="9110 10.1.1",
        steps=(
            says(CLIENT, request(b"GET /a HTTP/1.1", EXPECT, CHUNKED)),
            gets(LEGACY, request(b"GET /a HTTP/1.1", CHUNKED, EXPECT)),
            says(LEGACY, CONTINUE),
            gets(CLIENT, CONTINUE),
            says(CLIENT, b"2\r\nhi\r\n0\r\n\r\n"),
            gets(LEGACY, b"2\r\nhi\r\n0\r\n\r\n"),
            says(LEGACY, OK),
            gets(CLIENT, OK),
        ),
    ),
    Case(
        name="unmirrored: the backend refuses, nobody sends a body",
        section="9110 10.1.1",
        steps=(
            says(CLIENT, UNMIRRORED),
            gets(LEGACY, ASKED),
            says(LEGACY, REFUSAL),
            gets(CLIENT, REFUSAL_CLOSING),
            finds_end(LEGACY),
        ),
        last=CLOSED,
    ),
    Case(
        name="unmirrored: a client that does not wait",
        section="9110 10.1.1",
        steps=(
            says(CLIENT, UNMIRRORED),
            gets(LEGACY, ASKED),
            says(CLIENT, b"hi"),
            gets(LEGACY, b"hi"),
            says(LEGACY, CONTINUE),
            gets(CLIENT, CONTINUE),
            says(LEGACY, OK),
            gets(CLIENT, OK),
        ),
    ),
    Case(
        name="unmirrored: hints before the backend says to go on",
        section="9110 15.2",
        steps=(
            says(CLIENT, UNMIRRORED),
            gets(LEGACY, ASKED),
            says(LEGACY, HINTS),
            gets(CLIENT, HINTS),
            says(LEGACY, CONTINUE),
            gets(CLIENT, CONTINUE),
            says(CLIENT, b"hi"),
            gets(LEGACY, b"hi"),
            says(LEGACY, OK),
            gets(CLIENT, OK),
        ),
    ),
    relayed("an expectation of HTTP/1.0 is dropped", "9110 10.1.1",
            request(b"POST /unmirrored/a HTTP/1.0", EXPECT, LENGTH, body=b"hi"),
            request(b"POST /unmirrored/a HTTP/1.1", LENGTH, body=b"hi"), answer=CLOSING, last=CLOSED),
]  # fmt: skip


@table(CASES)
def test_interim_replies_come_from_the_one_who_may_say_so(
    stand: Stand, case: Case, way: Way
) -> None:
    stand.play(case, way)
