"""Chunk lines, trailers and payloads, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.chunks import is_trailer, parse_chunk_line, skip_chunks, unchunk
from rules.framing import HOP_BY_HOP


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"0\r\n", 0),
        (b"00\r\n", 0),
        (b"a\r\n", 10),
        (b"1A\r\n", 26),
        (b"5;name=value\r\n", 5),
        (b'5;name="a b"\r\n', 5),
        (b'5;a;b=c;d="e;\\"f\xe9"\r\n', 5),
        (b"5; a = b\r\n", 5),
        (b"5;" + b"a" * 1000 + b"\r\n", 5),
        (b"fffffffffffffff\r\n", 16**15 - 1),
        (b"ffffffffffffffff\r\n", None),
        (b"\r\n", None),
        (b"5\n", None),
        (b"5", None),
        (b"5 \r\n", None),
        (b"5 ;a\r\n", None),
        (b" 5\r\n", None),
        (b"+5\r\n", None),
        (b"-1\r\n", None),
        (b"0x5\r\n", None),
        (b"5_0\r\n", None),
        (b"g\r\n", None),
        (b"5;a\rb\r\n", None),
        (b"5;a\nb\r\n", None),
        (b"5;\0\r\n", None),
        (b"5;\r\n", None),
        (b"5;a;\r\n", None),
        (b"5;a=\r\n", None),
        (b"5;=b\r\n", None),
        (b"5;a b\r\n", None),
        (b"5;(a)\r\n", None),
        (b"5;\xe9\r\n", None),
        (b'5;a="b\r\n', None),
        (b'5;a="b"c\r\n', None),
        (b"5;" + b"a" * 1001 + b"\r\n", None),
        (b"5\r\n5\r\n", None),
    ],
)
def test_a_chunk_line_announces_a_size_or_is_refused(line: bytes, size: int | None) -> None:
    assert parse_chunk_line(line) == size


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        (b"X-Sum: 1\r\n", True),
        (b"Server-Timing: db;dur=1\r\n", True),
        (b"X-Empty:\r\n", True),
        (b"Content-Length: 5\r\n", False),
        (b"transfer-encoding: chunked\r\n", False),
        (b"Host: shop\r\n", False),
        *((name + b": x\r\n", False) for name in sorted(HOP_BY_HOP)),
        (b"X : 1\r\n", False),
        (b" X: 1\r\n", False),
        (b"X\r\n", False),
        (b"X: 1\n", False),
        (b"X: a\rb\r\n", False),
        (b"X: a\0\r\n", False),
    ],
)
def test_a_trailer_that_frames_or_routes_is_not_passed_on(line: bytes, allowed: bool) -> None:
    assert is_trailer(line) is allowed


def chunks(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


def test_chunks_are_taken_apart() -> None:
    assert unchunk(chunks()) == b""
    assert unchunk(chunks(b"a", b"\r\n0\r\n\r\n", b"c" * 300)) == b"a\r\n0\r\n\r\n" + b"c" * 300
    assert unchunk(b"2;x=y\r\nab\r\n0;z\r\nX-Sum: 1\r\n\r\n") == b"ab"


@pytest.mark.parametrize(
    ("body", "at", "end"),
    [
        (chunks(b"ab", b"c"), 0, 13),
        (b"!!" + chunks(b"ab"), 2, 9),
        (b"2\r\nab\r\n2\r\nab", 0, 7),
        (b"2\r\nabX\r\n", 0, 0),
        (b"2 \r\nab\r\n", 0, 0),
        (b"2\r\nab\r\nnonsense", 0, 7),
        (b"0\r\n\r\n", 0, 0),
        (b"", 0, 0),
    ],
)
def test_whole_clean_chunks_are_skipped_and_no_more(body: bytes, at: int, end: int) -> None:
    assert skip_chunks(body, at) == end


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5))
def test_unchunking_undoes_chunking(pieces: list[bytes]) -> None:
    assert unchunk(chunks(*pieces)) == b"".join(pieces)
