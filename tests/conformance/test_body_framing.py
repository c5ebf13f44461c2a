"""Bodies whose end is in doubt: no side receives a byte of such a request (RFC 9112 6.3 and 7.1)."""

from tests.conformance.harness import (
    CLIENT,
    CLOSED,
    LEGACY,
    Case,
    Way,
    ends,
    finds_end,
    gets,
    says,
    told,
)
from tests.conformance.rows import refused, request, table
from tests.conformance.stand import Stand

FIRST = b"PUT /a HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"


def length(*values: bytes) -> bytes:
    return request(FIRST, *(b"Content-Length: " + value for value in values), body=b"hello")


def encoding(*values: bytes) -> bytes:
    return request(FIRST, *(b"Transfer-Encoding: " + value for value in values), body=END)


def chunks(body: bytes) -> bytes:
    return request(FIRST, CHUNKED, body=body)


LENGTHS = {
    "two that differ": (b"5", b"6"), "two that agree": (b"5", b"5"), "two, the first is zero": (b"0", b"5"),
    "a list": (b"5, 6",), "a list that agrees": (b"5, 5",), "a list with an empty member": (b"5,",),
    "a plus": (b"+5",), "a minus": (b"-5",), "hexadecimal": (b"0x5",), "a letter": (b"5a",),
    "an underscore": (b"1_0",), "a space inside": (b"1 0",), "a fraction": (b"5.0",), "an exponent": (b"5e0",),
    "nothing": (b"",), "16 digits": (b"1000000000000000",), "2**64 and 5": (b"18446744073709551621",),
    "2**32 and more, with leading zeros": (b"0000000004294967301",), "quoted": (b'"5"',),
    "a superscript": (b"\xb2",), "a digit of UTF-8": ("\u0665".encode(),), "a comment": (b"5 (five)",),
    "a parameter": (b"5;a=b",), "octal": (b"0o5",),
}  # fmt: skip

ENCODINGS = {
    "gzip": ((b"gzip",), 501), "gzip, chunked": ((b"gzip, chunked",), 501),
    "chunked, gzip": ((b"chunked, gzip",), 501), "chunked, chunked": ((b"chunked, chunked",), 501),
    "chunked twice": ((b"chunked", b"chunked"), 400), "chunked, then gzip": ((b"chunked", b"gzip"), 400),
    "gzip, then chunked": ((b"gzip", b"chunked"), 501), "identity": ((b"identity",), 501),
    "identity, chunked": ((b"identity, chunked",), 501), "xchunked": ((b"xchunked",), 501),
    "chunkedx": ((b"chunkedx",), 501), "chunke": ((b"chunke",), 501), "nothing": ((b"",), 501),
    "a comma": ((b",",), 501), "a comma before chunked": ((b", chunked",), 501),
    "a comma behind chunked": ((b"chunked,",), 501), "quoted": ((b'"chunked"',), 501),
    "single quotes": ((b"'chunked'",), 501), "a parameter": ((b"chunked;a=b",), 501),
    "a semicolon": ((b"chunked;",), 501), "a word behind it": ((b"chunked x",), 501),
    "a vertical tab before it": ((b"\x0bchunked",), 400), "a form feed behind it": ((b"chunked\x0c",), 400),
    "NUL behind it": ((b"chunked\0",), 400), "a tab behind it": ((b"chunked\t",), 400),
    "a bare CR behind it": ((b"chunked\r",), 400),
    "a high byte behind it": ((b"chunked\xa0",), 501), "a letter that folds to k": ((b"chun\xe2\x84\xaaed",), 501),
}  # fmt: skip

CHUNKS = {
    "an empty size": b"\r\nhello\r\n", "only an extension": b";a\r\nhello\r\n", "0x": b"0x5\r\nhello\r\n",
    "a plus": b"+5\r\nhello\r\n", "a minus": b"-5\r\nhello\r\n", "minus zero": b"-0\r\n\r\n",
    "a letter that is no digit": b"5g\r\nhello\r\n", "an underscore": b"1_0\r\n0123456789abcdef\r\n",
    "a comma": b"5,\r\nhello\r\n", "a fraction": b"5.0\r\nhello\r\n", "quoted": b'"5"\r\nhello\r\n',
    "a space before the size": b" 5\r\nhello\r\n", "a space behind the size": b"5 \r\nhello\r\n",
    "a tab behind the size": b"5\t\r\nhello\r\n", "a space before an extension": b"5 ;a\r\nhello\r\n",
    "16 digits": b"1" + b"0" * 15 + b"\r\nhello\r\n", "2**64 and 5": b"1" + b"0" * 15 + b"5\r\nhello\r\n",
    "a zero of 20 digits": b"0" * 20 + b"\r\n\r\n", "NUL behind the size": b"5\0\r\nhello\r\n",
    "LF behind the size": b"5\nhello\r\n", "CR behind the size": b"5\rhello\r\n",
    "CR CR LF behind the size": b"5\r\r\nhello\r\n", "LF CR behind the size": b"5\n\rhello\r\n",
    "a bare CR in an extension": b"5;a\rb\r\nhello\r\n", "a bare LF in an extension": b"5;a\nb\r\nhello\r\n",
    "LF behind an extension": b"5;a\nhello\r\n", "NUL in an extension": b"5;a\0\r\nhello\r\n",
    "DEL in an extension": b"5;a\x7f\r\nhello\r\n", "an extension that is too long": b"5;" + b"a" * 1100 + b"\r\n",
    "an extension that does not end": b"5;" + b"a" * 1100,
    "an empty extension": b"5;\r\nhello\r\n", "an empty extension behind another": b"5;a;\r\nhello\r\n",
    "an extension without a name": b"5;=b\r\nhello\r\n", "an extension of two words": b"5;a b\r\nhello\r\n",
    "an extension without its value": b"5;a=\r\nhello\r\n", "an open quote": b'5;a="b\r\nhello\r\n',
    "a word behind a quote": b'5;a="b"c\r\nhello\r\n', "an extension that is no token": b"5;(a)\r\nhello\r\n",
    "an extension that is not ASCII": b"5;a=\xe9\r\nhello\r\n",
    "too little data": b"6\r\nhello\r\n" + END, "too much data": b"4\r\nhello\r\n" + END,
    "no line end behind the data": b"5\r\nhello" + END, "LF behind the data": b"5\r\nhello\n" + END,
    "CR behind the data": b"5\r\nhello\r" + END, "LF CR behind the data": b"5\r\nhello\n\r" + END,
    "a space behind the data": b"5\r\nhello \r\n" + END, "a line between chunks": b"1\r\na\r\n\r\n" + END,
    "a bad chunk behind a good one": b"5\r\nhello\r\nz\r\n" + END, "LF behind the last size": b"0\n\r\n",
    "LF at the end": b"0\r\n\n", "a bare CR at the end": b"0\r\n\rx",
}  # fmt: skip

TRAILERS = {
    "Content-Length": b"Content-Length: 5\r\n", "Transfer-Encoding": b"transfer-encoding: chunked\r\n",
    "Host": b"Host: pay\r\n", "Connection": b"Connection: close\r\n", "TE": b"TE: gzip\r\n",
    "Upgrade": b"Upgrade: h2c\r\n", "Keep-Alive": b"Keep-Alive: timeout=5\r\n",
    "a folded line": b"X: a\r\n b\r\n", "a space before the name": b" X: a\r\n", "no colon": b"X\r\n",
    "a space before the colon": b"X : a\r\n", "no name": b": a\r\n", "LF at its end": b"X: a\n",
    "a bare CR": b"X: a\rb\r\n", "NUL": b"X: a\0b\r\n", "a name that is no token": b"X(Y): a\r\n",
    "one that is too long": b"X: " + b"a" * 1100 + b"\r\n", "too many": b"X: 1\r\n" * 1400,
    "another request": b"GET /hidden HTTP/1.1\r\nX: 1\r\n",
}  # fmt: skip

CASES = [
    *(refused(f"Content-Length: {name}", "9112 6.3", length(*values)) for name, values in LENGTHS.items()),
    *(
        refused(f"Transfer-Encoding: {name}", "9112 6.1", encoding(*values), status)
        for name, (values, status) in ENCODINGS.items()
    ),
    refused("Transfer-Encoding in HTTP/1.0", "9112 6.1", request(b"PUT /a HTTP/1.0", CHUNKED, body=END)),
    refused("a length, then chunked", "9112 6.3", request(FIRST, b"Content-Length: 5", CHUNKED, body=END)),
    refused("chunked, then a length", "9112 6.3", request(FIRST, CHUNKED, b"Content-Length: 5", body=END)),
    refused("a length of zero, and chunked", "9112 6.3",
            request(FIRST, b"Content-Length: 0", CHUNKED, body=END)),
    refused("a length, and gzip", "9112 6.3",
            request(FIRST, b"Content-Length: 5", b"Transfer-Encoding: gzip", body=b"hello")),
    *(refused(f"a chunk: {name}", "9112 7.1", chunks(body)) for name, body in CHUNKS.items()),
    *(
        refused(f"a trailer: {name}", "9112 7.1.2", chunks(b"5\r\nhello\r\n0\r\n" + lines + b"\r\n"))
        for name, lines in TRAILERS.items()
    ),
    refused("a body that is announced as too long", "9110 15.5.14",
            request(FIRST, b"Content-Length: 16385", body=b"hello"), 413),
    refused("chunks that become too long", "9110 15.5.14", chunks(b"7d0\r\n" + b"a" * 2000 + b"\r\n") * 1
            + (b"7d0\r\n" + b"a" * 2000 + b"\r\n") * 8, 413),
    Case(
        name="a body that ends too soon",
        section="9112 8",
        steps=(says(CLIENT, request(FIRST, b"Content-Length: 5", body=b"hell")), ends(CLIENT)),
        last=CLOSED,
    ),
    Case(
        name="chunks that end too soon",
        section="9112 8",
        steps=(says(CLIENT, chunks(b"5\r\nhello\r\n")), ends(CLIENT)),
        last=CLOSED,
    ),
    Case(
        name="chunks without the line behind the last",
        section="9112 8",
        steps=(says(CLIENT, chunks(b"5\r\nhello\r\n0\r\n")), ends(CLIENT)),
        last=CLOSED,
    ),
    Case(
        name="a bad chunk of a body that is passed on as it comes",
        section="9112 7.1",
        steps=(
            says(CLIENT, request(b"GET /a HTTP/1.1", CHUNKED)),
            gets(LEGACY, request(b"GET /a HTTP/1.1", CHUNKED)),
            says(CLIENT, b"5\r\nhello\r\n"),
            gets(LEGACY, b"5\r\nhello\r\n"),
            says(CLIENT, b"z"),
            told(400, closes=True),
            finds_end(LEGACY),
        ),
        last=CLOSED,
        ways=(Way.WHOLE,),
    ),
]  # fmt: skip


@table(CASES)
def test_a_body_without_a_certain_end_is_refused(stand: Stand, case: Case, way: Way) -> None:
    stand.play(case, way)
