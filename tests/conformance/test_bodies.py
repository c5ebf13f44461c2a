"""Request bodies: their bytes and their framing reach both sides as they came (RFC 9112 6 and 7)."""

from tests.conformance.harness import (
    CLIENT,
    LEGACY,
    NEW,
    OK,
    Case,
    Way,
    gets,
    says,
)
from tests.conformance.rows import GET, both, mirrored, relayed, request, table
from tests.conformance.stand import Stand

FIRST = b" /a HTTP/1.1"
HIDDEN = b"PUT /hidden HTTP/1.1\r\nHost: shop\r\n\r\n"
EVERY_BYTE = bytes(range(256))
CHUNKED = b"Transfer-Encoding: chunked"


def counted(body: bytes, *fields: bytes) -> bytes:
    return request(FIRST, *fields, b"Content-Length: %d" % len(body), body=body)


def chunked(body: bytes, *fields: bytes) -> bytes:
    return request(FIRST, *fields, CHUNKED, body=body)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


END = b"0\r\n\r\n"

COUNTED = {
    "a body": counted(b"hello"),
    "an empty body": counted(b""),
    "a body of every byte": counted(EVERY_BYTE),
    "a body of line ends": counted(b"\r\n\r\n\r\n"),
    "a body that looks like a request": counted(HIDDEN),
    "a body that looks like chunks": counted(chunk(b"a") + END),
    "a body beyond what stays in memory": counted(EVERY_BYTE * 8),
    "a length with leading zeros": request(FIRST, b"Content-Length: 005", body=b"hello"),
    "a length in odd case": request(FIRST, b"cONTENT-lENGTH: 5", body=b"hello"),
    "a length between tabs": request(FIRST, b"Content-Length:\t5\t ", body=b"hello"),
    "a length without a space": request(FIRST, b"Content-Length:5", body=b"hello"),
    "a length before Host": b" /a HTTP/1.1\r\nContent-Length: 5\r\nHost: shop\r\n\r\nhello",
    "a coded body": counted(b"\x1f\x8b\x08 not even gzip", b"Content-Encoding: gzip"),
}

CHUNKS = {
    "one chunk": chunked(chunk(b"hello") + END),
    "several chunks": chunked(chunk(b"a") + chunk(b"bc") + chunk(b"d" * 20) + END),
    "no chunk": chunked(END),
    "every byte": chunked(chunk(EVERY_BYTE) + END),
    "line ends and a last chunk inside a chunk": chunked(chunk(b"\r\n" + END) + END),
    "a request inside a chunk": chunked(chunk(HIDDEN) + END),
    "sizes in small letters": chunked(b"a\r\n0123456789\r\n" + END),
    "sizes in capitals": chunked(b"A\r\n0123456789\r\n" + END),
    "sizes with leading zeros": chunked(b"0005\r\nhello\r\n000\r\n\r\n"),
    "chunks beyond what stays in memory": chunked(chunk(EVERY_BYTE) * 6 + END),
    "the encoding in odd case": request(FIRST, b"transfer-ENCODING: ChunkeD", body=chunk(b"a") + END),
    "spaces around the encoding": request(FIRST, b"Transfer-Encoding:  chunked ", body=END),
    "a tab before the encoding": request(FIRST, b"Transfer-Encoding:\tchunked", body=END),
    "no space before the encoding": request(FIRST, b"Transfer-Encoding:chunked", body=END),
}  # fmt: skip

EXTENSIONS = {
    "a name": b"5;a\r\nhello\r\n" + END,
    "a name and a value": b"5;a=b\r\nhello\r\n" + END,
    "a quoted value": b'5;a="b c;\\""\r\nhello\r\n' + END,
    "several": b"5;a=b;c;d=e\r\nhello\r\n" + END,
    "spaces behind the semicolon": b"5; a = b\r\nhello\r\n" + END,
    "at the last chunk": b"5\r\nhello\r\n0;a=b\r\n\r\n",
    "one of 900 bytes": b"5;a=" + b"b" * 900 + b"\r\nhello\r\n" + END,
    "quoted bytes that are not ASCII": b'5;a="\xe9"\r\nhello\r\n' + END,
    "a signature, as S3 has it": b"5;chunk-signature=" + b"0a" * 32 + b"\r\nhello\r\n" + END,
}

TRAILERS = {
    "one": b"X-Sum: 1\r\n",
    "several": b"X-Sum: 1\r\nX-Other: a b\r\nX-Sum: 2\r\n",
    "an empty one": b"X-Sum:\r\n",
    "bytes that are not ASCII": b"X-Sum: caf\xe9\r\n",
    "many": b"".join(b"X-%d: %d\r\n" % (number, number) for number in range(100)),
}

UNMIRRORED = request(b"POST /unmirrored/a HTTP/1.1", CHUNKED)

CASES = [
    *(row for name, rest in COUNTED.items() for row in both(name, "9112 6.2", rest)),
    *(row for name, rest in CHUNKS.items() for row in both(name, "9112 7.1", rest)),
    *(
        row
        for name, body in EXTENSIONS.items()
        for row in both(f"chunk extensions: {name}", "9112 7.1.1", chunked(body))
    ),
    *(
        row
        for name, lines in TRAILERS.items()
        for row in both(
            f"trailers: {name}",
            "9112 7.1.2",
            chunked(chunk(b"hello") + b"0\r\n" + lines + b"\r\n", b"Trailer: X-Sum"),
        )
    ),
    mirrored("no length and no encoding", "9112 6.3", request(b"POST /a HTTP/1.1")),
    mirrored("the longest body", "9110 15.5.14", b"PUT" + counted(b"a" * 16384)),
    mirrored("a body of DELETE", "9110 9.3.5", b"DELETE" + counted(b"hello")),
    relayed("a body of OPTIONS", "9110 9.3.7", b"OPTIONS" + counted(b"hello")),
    relayed("a body of PROPFIND", "9112 6", b"PROPFIND" + chunked(chunk(b"<a/>") + END)),
    Case(
        name="an unmirrored body is passed on as it comes",
        section="9112 7.1",
        steps=(
            says(CLIENT, UNMIRRORED),
            gets(LEGACY, UNMIRRORED),
            says(CLIENT, chunk(b"hello")),
            gets(LEGACY, chunk(b"hello")),
            says(CLIENT, b"0\r\nX-Sum: 1\r\n"),
            gets(LEGACY, b"0\r\nX-Sum: 1\r\n"),
            says(CLIENT, b"\r\n"),
            gets(LEGACY, b"\r\n"),
            says(LEGACY, OK),
            gets(CLIENT, OK),
        ),
    ),
    Case(
        name="a mirrored body is whole before a byte of it is sent",
        section="9112 7.1",
        steps=(
            says(CLIENT, b"PUT" + chunked(chunk(b"hello"))),
            gets(LEGACY, b""),
            says(CLIENT, END),
            gets(LEGACY, b"PUT" + chunked(chunk(b"hello") + END)),
            says(LEGACY, OK),
            gets(CLIENT, OK),
            gets(NEW, b"PUT" + chunked(chunk(b"hello") + END)),
            says(NEW, OK),
        ),
    ),
    Case(
        name="a body in pieces, and the next request in the last of them",
        section="9112 9.3.2",
        steps=(
            says(CLIENT, b"PUT /a HTTP/1.1\r\nHo", b"st: shop\r\nContent-Le", b"ngth: 5\r\n\r", b"\nhe"),
            says(CLIENT, b"llo" + GET),
            gets(LEGACY, request(b"PUT /a HTTP/1.1", b"Content-Length: 5", body=b"hello")),
            says(LEGACY, OK),
            gets(CLIENT, OK),
            gets(NEW, request(b"PUT /a HTTP/1.1", b"Content-Length: 5", body=b"hello")),
            says(NEW, OK),
            gets(LEGACY, GET),
            says(LEGACY, OK),
            gets(CLIENT, OK),
        ),
    ),
]  # fmt: skip


@table(CASES)
def test_a_body_survives(stand: Stand, case: Case, way: Way) -> None:
    stand.play(case, way)
