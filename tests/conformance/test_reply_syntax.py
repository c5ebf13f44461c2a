"""Replies that no client may see (RFC 9112 6.3, 9110 15.6.3): 502, and the connection is of no more use."""

from tests.conformance.harness import (
    CLIENT,
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
    told,
)
from tests.conformance.rows import GET, PUT, broken, head, request, served, table
from tests.conformance.stand import Stand

LINE = b"HTTP/1.1 200 OK"
LENGTH = b"Content-Length: 2"
CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"


def ok(*fields: bytes, line: bytes = LINE) -> bytes:
    return head(line, *fields, LENGTH) + b"ok"


STATUS_LINES = {
    "no status": b"HTTP/1.1", "no status but a space": b"HTTP/1.1 ", "a reason only": b"HTTP/1.1 OK",
    "a status of two digits": b"HTTP/1.1 20 OK", "a status of four digits": b"HTTP/1.1 2000 OK",
    "a negative status": b"HTTP/1.1 -20 OK", "a status of letters": b"HTTP/1.1 2OO OK",
    "status 600": b"HTTP/1.1 600 Odd", "status 099": b"HTTP/1.1 099 Odd", "status 000": b"HTTP/1.1 000 Odd",
    "two spaces": b"HTTP/1.1  200 OK", "a tab": b"HTTP/1.1\t200 OK", "a space before it": b" HTTP/1.1 200 OK",
    "NUL in the reason": b"HTTP/1.1 200 O\0K", "a bare CR in the reason": b"HTTP/1.1 200 O\rK",
    "a bare CR behind it": b"HTTP/1.1 200 OK\r", "an escape in the reason": b"HTTP/1.1 200 \x1b[2J",
    "HTTP/0.9": b"HTTP/0.9 200 OK", "HTTP/1.2": b"HTTP/1.2 200 OK", "HTTP/2": b"HTTP/2 200 OK",
    "HTTP/2.0": b"HTTP/2.0 200 OK", "HTTP/1.10": b"HTTP/1.10 200 OK", "http": b"http/1.1 200 OK",
    "another protocol": b"ICY 200 OK", "SSH": b"SSH-2.0-OpenSSH_9.2", "SMTP": b"220 mail ESMTP",
    "a request": b"GET /a HTTP/1.1", "the hello of TLS": b"\x15\x03\x01\x00\x02\x02\x16",
    "an empty line before it": b"\r\nHTTP/1.1 200 OK", "garbage": b"\xff\xfe\xfd",
}  # fmt: skip

FIELDS = {
    "two lengths that differ": [b"Content-Length: 5"], "two lengths that agree": [b"Content-Length: 2"],
    "a length and chunks": [CHUNKED], "a folded line": [b"X: a", b" b"], "a line folded by a tab": [b"X: a", b"\tb"],
    "a space before the colon": [b"X : 1"], "a space before the name": [b" X: 1"], "no colon": [b"X"],
    "no name": [b": 1"], "NUL in a value": [b"X: a\0b"], "DEL in a value": [b"X: a\x7fb"],
    "an escape in a value": [b"X: a\x1bb"], "a bare CR in a value": [b"X: a\rb"],
    "a bare CR that hides a cookie": [b"X: a\rSet-Cookie: b=c"], "a bare LF in a value": [b"X: a\nY: b"],
    "a name that is no token": [b"X(Y): 1"], "a name that is not ASCII": [b"X\xe9: 1"],
    "Connection names Content-Length": [b"Connection: Content-Length"],
    "Connection names Transfer-Encoding": [b"Connection: transfer-encoding"],
    "a head that is too long": [b"X: " + b"a" * 70000],
}  # fmt: skip

LENGTHS = {
    "a plus": b"+2", "a minus": b"-2", "hexadecimal": b"0x2", "a list": b"2, 2", "a list that differs": b"2, 3",
    "nothing": b"", "a space inside": b"2 2", "a fraction": b"2.0", "16 digits": b"1" + b"0" * 15,
    "2**64 and 2": b"18446744073709551618", "an underscore": b"0_2", "a letter": b"2a",
}  # fmt: skip

ENCODINGS = {
    "gzip": b"gzip", "gzip, chunked": b"gzip, chunked", "chunked, gzip": b"chunked, gzip",
    "identity": b"identity", "xchunked": b"xchunked", "chunked, chunked": b"chunked, chunked",
    "nothing": b"", "a parameter": b"chunked;a=b", "quoted": b'"chunked"', "NUL": b"chunked\0",
}  # fmt: skip

CHUNKS = {
    "an empty size": b"\r\nok\r\n", "0x": b"0x2\r\nok\r\n", "a plus": b"+2\r\nok\r\n", "a minus": b"-2\r\nok\r\n",
    "no digit": b"z\r\nok\r\n", "a space behind the size": b"2 \r\nok\r\n", "LF behind the size": b"2\nok\r\n",
    "a bare CR behind the size": b"2\rok\r\n", "a bare CR in an extension": b"2;a\rb\r\nok\r\n",
    "a bare LF in an extension": b"2;a\nb\r\nok\r\n", "an overflow": b"1" + b"0" * 16 + b"\r\nok\r\n",
    "too little data": b"3\r\nok\r\n" + END, "too much data": b"1\r\nok\r\n" + END,
    "no line end behind the data": b"2\r\nok" + END, "LF behind the data": b"2\r\nok\n" + END,
    "LF behind the last size": b"0\n\r\n", "an extension that is too long": b"2;" + b"a" * 1100 + b"\r\nok\r\n",
    "a length among the trailers": b"0\r\nContent-Length: 2\r\n\r\n",
    "an encoding among the trailers": b"0\r\nTransfer-Encoding: gzip\r\n\r\n",
    "a folded trailer": b"0\r\nX: a\r\n b\r\n\r\n", "a trailer that ends in LF": b"0\r\nX: a\n\r\n",
    "another reply in the place of trailers": b"0\r\n" + OK,
}  # fmt: skip


def unanswered(name: str, section: str, reply: bytes) -> list[Case]:
    """A connection that ends before the head of a reply is whole."""
    return [
        Case(
            name=f"{name}, {word}",
            section=section,
            steps=(
                says(CLIENT, sent),
                gets(LEGACY, sent),
                says(LEGACY, reply),
                end(LEGACY),
                told(502),
            ),
        )
        for word, sent, end in (
            ("closed, relayed", GET, ends),
            ("closed, mirrored", PUT, ends),
            ("reset, relayed", GET, breaks),
            ("reset, mirrored", PUT, breaks),
        )
    ]


def then_broken(name: str, first: bytes, bad: bytes) -> Case:
    """A reply that goes wrong when its beginning is with the client already."""
    return Case(
        name=name,
        section="9112 8",
        steps=(
            *served(GET, reply=first),
            says(LEGACY, bad),
            finds_break(CLIENT),
            finds_end(LEGACY),
        ),
        last=OPEN,
        ways=(Way.WHOLE,),
    )


def again(name: str, reply: bytes) -> Case:
    """A reply of the secondary that is broken: the client does not know, the write is sent again."""
    return Case(
        name=f"the secondary: {name}",
        section="9112 6.3",
        steps=(
            *served(PUT),
            gets(NEW, PUT),
            says(NEW, reply),
            gets(NEW, PUT),
            says(NEW, OK),
        ),
    )


BEGUN = head(LINE, CHUNKED) + b"2\r\nok\r\n"

CASES = [
    *(row for name, line in STATUS_LINES.items() for row in broken(name, "9112 4", ok(line=line))),
    *(row for name, fields in FIELDS.items() for row in broken(name, "9112 5", ok(*fields))),
    *(
        row
        for name, value in LENGTHS.items()
        for row in broken(f"Content-Length: {name}", "9112 6.3",
                          head(LINE, b"Content-Length: " + value) + b"ok")
    ),
    *(
        row
        for name, value in ENCODINGS.items()
        for row in broken(f"Transfer-Encoding: {name}", "9112 6.1",
                          head(LINE, b"Transfer-Encoding: " + value) + END)
    ),
    *broken("chunked twice", "9112 6.1", head(LINE, CHUNKED, CHUNKED) + END),
    *broken("chunks, then a length", "9112 6.3", head(LINE, CHUNKED, LENGTH) + END),
    *broken("chunks of HTTP/1.0", "9112 6.1", head(b"HTTP/1.0 200 OK", CHUNKED) + END),
    *broken("lines that end in LF", "9112 2.2", head(LINE, LENGTH).replace(b"\r\n", b"\n") + OK),
    *broken("a head that ends in LF", "9112 2.2", head(LINE, LENGTH)[:-2] + b"\nok\r\n\r\n"),
    *broken("a head that does not end", "9110 5.4", head(LINE, *[b"X: 1"] * 12000)[:-2]),
    *(
        row
        for name, body in CHUNKS.items()
        for row in broken(f"a chunk: {name}", "9112 7.1", head(LINE, CHUNKED) + body, (Way.WHOLE,))
    ),
    *unanswered("no reply", "9112 8", b""),
    *unanswered("part of a status line", "9112 8", b"HTTP/1.1 2"),
    *unanswered("part of a head", "9112 8", head(LINE, LENGTH)[:-2]),
    Case(
        name="a broken reply to HEAD",
        section="9110 9.3.2",
        steps=(
            says(CLIENT, request(b"HEAD /a HTTP/1.1")),
            gets(LEGACY, request(b"HEAD /a HTTP/1.1")),
            says(LEGACY, b"garbage\r\n\r\n"),
            told(502, head_only=True),
        ),
    ),
    then_broken("a bad size behind a good chunk", BEGUN, b"z\r\n"),
    then_broken("data behind the data of a chunk", BEGUN + b"2\r\nok", b"!"),
    then_broken("a bad trailer", BEGUN + b"0\r\n", b"Content-Length: 5\r\n\r\n"),
    again("garbage", b"garbage\r\n\r\n"),
    again("two lengths", ok(LENGTH)),
    again("a bad chunk", head(LINE, CHUNKED) + b"z\r\n"),
    again("another version", ok(line=b"HTTP/2.0 200 OK")),
]  # fmt: skip


@table(CASES)
def test_a_broken_reply_is_not_passed_on(stand: Stand, case: Case, way: Way) -> None:
    stand.play(case, way)
