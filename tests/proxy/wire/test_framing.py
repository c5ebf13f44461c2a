"""Where bodies end, in bytes that arrive in any pieces; and llhttp's second opinion on heads."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.framing import (
    CHUNK_LINE_BYTES_MAX,
    TRAILER_BYTES_MAX,
    BadFraming,
    ChunkedReader,
    CloseReader,
    LengthReader,
    Reader,
    is_reply_head,
    reader_for,
    second_opinion,
)
from rules.chunks import unchunk
from rules.framing import parse_reply, parse_request
from rules.message import Framing

CHUNKED = b"5\r\nhello\r\n1;a=b\r\n!\r\n000\r\nX-Sum: 1\r\nX-More:\r\n\r\n"


def taken(reader: Reader, *pieces: bytes) -> bytes:
    """What of the pieces the reader takes, one after the other, until it leaves something."""
    found = b""
    for piece in pieces:
        end = reader.take(piece)
        found += piece[:end]
        if end < len(piece):
            break
    return found


def cut(data: bytes, *places: int) -> list[bytes]:
    edges = sorted({0, *(place % (len(data) + 1) for place in places), len(data)})
    return [data[start:end] for start, end in pairwise(edges)]


def test_a_length_is_counted_down() -> None:
    reader = LengthReader(5)
    assert [reader.take(b"ab"), reader.done] == [2, False]
    assert [reader.take(b""), reader.done] == [0, False]
    assert [reader.take(b"cdeNEXT"), reader.done] == [3, True]
    assert reader.take(b"NEXT") == 0


def test_a_length_of_zero_is_done_at_once() -> None:
    assert LengthReader(0).done


def test_a_body_that_ends_with_the_connection_takes_everything() -> None:
    reader = CloseReader()
    assert [reader.take(b"abc"), reader.done] == [3, False]


@given(st.lists(st.integers(0, 1000), max_size=12), st.booleans())
def test_chunks_end_at_the_same_byte_however_they_are_cut(places: list[int], decode: bool) -> None:
    reader = ChunkedReader(decode=decode)
    payload = b""
    left = b""
    for piece in cut(CHUNKED + b"NEXT", *places):
        end = reader.take(piece)
        payload += reader.payload
        left += piece[end:]
    assert reader.done
    assert left == b"NEXT"
    assert payload == (unchunk(CHUNKED) if decode else b"")


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"5\nhello",
        b"5 \r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"5\r\nhello!\r\n",
        b"5\r\nhello\n",
        b"5\r\nhello\r!",
        b"5\rhello",
        b"5\r\nhello\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\n X: folded\r\n\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\n\n",
        b"5;" + b"x" * CHUNK_LINE_BYTES_MAX + b"\r\nhello\r\n",
        b"5;" + b"x" * CHUNK_LINE_BYTES_MAX,
        b"0\r\nX: " + b"x" * CHUNK_LINE_BYTES_MAX + b"\r\n\r\n",
        b"0\r\n" + b"X: 1\r\n" * (TRAILER_BYTES_MAX // 6 + 1) + b"\r\n",
        b"1\r\na\r\n1\r\nb\r\nz\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_chunks_that_need_a_guess_are_refused(body: bytes, size: int) -> None:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    with pytest.raises(BadFraming):
        taken(ChunkedReader(), *pieces)


@pytest.mark.parametrize(
    "body",
    [b"z", b"5 ", b"5;a\x7f", b"5\rh", b"1" * 16, b"5\r\nhello!", b"0\r\n X", b"0\r\n:", b"0\r\nX Y",
     b"0\r\nX: a\rb", b"0\r\nX: a\0"],
)  # fmt: skip
def test_a_line_that_begins_badly_is_refused_before_it_ends(body: bytes) -> None:
    with pytest.raises(BadFraming):
        taken(ChunkedReader(), *[bytes([byte]) for byte in body])


def test_a_long_but_allowed_line_is_taken_in_one_piece_and_in_many() -> None:
    line = b"X: " + b"x" * (CHUNK_LINE_BYTES_MAX - 5) + b"\r\n"
    body = b"1\r\na\r\n0\r\n" + line + b"\r\n"
    for pieces in ([body], [bytes([byte]) for byte in body]):
        reader = ChunkedReader()
        assert taken(reader, *pieces) == body
        assert reader.done


@given(st.lists(st.binary(max_size=30), max_size=6))
def test_no_bytes_make_a_reader_do_anything_but_take_or_refuse(pieces: list[bytes]) -> None:
    reader = ChunkedReader()
    for piece in pieces:
        try:
            assert 0 <= reader.take(piece) <= len(piece)
        except BadFraming:
            return


@pytest.mark.parametrize(
    ("framing", "kind"),
    [
        (Framing.NONE, LengthReader),
        (Framing.LENGTH, LengthReader),
        (Framing.CHUNKED, ChunkedReader),
        (Framing.CLOSE, CloseReader),
    ],
)
def test_each_framing_has_its_reader(framing: Framing, kind: type) -> None:
    reader = reader_for(framing, 3 if framing is Framing.LENGTH else 0)
    assert isinstance(reader, kind)
    assert reader.done is (framing is Framing.NONE)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", None),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", None),
        (b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", None),
        (b"GET /caf\xe9?\xff HTTP/1.1\r\nHost: a\r\n\r\n", None),
        (b"GET /caf\xe9 HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
        (b"GET /caf\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"PROPFIND / HTTP/1.0\r\n\r\n", None),
        (b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX : 1\r\n\r\n", 400),
    ],
)
def test_llhttp_is_asked_about_every_request(head: bytes, status: int | None) -> None:
    refusal = second_opinion(head)
    assert (None if refusal is None else refusal.status) == status


@pytest.mark.parametrize(
    ("head", "accepted"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", True),
        (b"HTTP/1.1 200\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nX: a\nb\r\n\r\n", False),
        (b"SSH-2.0\r\n\r\n", False),
    ],
)
def test_llhttp_is_asked_about_every_reply(head: bytes, accepted: bool) -> None:
    assert is_reply_head(head) is accepted


FIELD = st.sampled_from([
    "Host: shop", "Content-Length: 5", "Content-Length: 0", "Transfer-Encoding: chunked",
    "Connection: close", "Connection: keep-alive, x", "Expect: 100-continue", "X: ", "X: a:b\t", "TE: trailers",
    "Upgrade: h2c", "X:\x80\xff", "~: 1", "Trailer: X",
])  # fmt: skip


@given(
    st.sampled_from(
        ["GET / HTTP/1.1", "POST /a?b HTTP/1.1", "PUT /a HTTP/1.0", "OPTIONS * HTTP/1.1"]
    ),
    st.lists(FIELD, max_size=5, unique=True),
)
def test_llhttp_accepts_every_head_that_we_pass_on(first: str, lines: list[str]) -> None:
    found = parse_request("\r\n".join([first, *lines, "", ""]).encode("latin-1"))
    if hasattr(found, "head"):
        assert second_opinion(found.head) is None


@given(
    st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.1 204", "HTTP/1.0 304 Not", "HTTP/1.1 500 \x80"]),
    st.lists(FIELD, max_size=5, unique=True),
)
def test_llhttp_accepts_every_reply_head_that_we_pass_on(first: str, lines: list[str]) -> None:
    found = parse_reply("\r\n".join([first, *lines, "", ""]).encode("latin-1"), "GET")
    if found is not None:
        assert is_reply_head(found.head)
