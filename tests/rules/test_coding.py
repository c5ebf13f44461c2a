"""Content codings: undone within a limit, or refused by one word."""

import gzip
import zlib

import pytest

from rules.coding import Unreadable, decoded

TEXT = b"the same few words " * 50


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("body", "codings"),
    [
        (TEXT, ""),
        (TEXT, "identity"),
        (gzip.compress(TEXT), "gzip"),
        (gzip.compress(TEXT), " X-GZip "),
        (gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]) + b"\0\0", "gzip"),
        (zlib.compress(TEXT), "deflate"),
        (raw_deflate(TEXT), "deflate"),
        (gzip.compress(zlib.compress(TEXT)), "deflate, gzip"),
    ],
    ids=["none", "identity", "gzip", "x-gzip", "members", "zlib", "raw", "two"],
)
def test_a_coding_is_undone(body: bytes, codings: str) -> None:
    assert decoded(body, codings, 10_000) == TEXT


@pytest.mark.parametrize(
    ("body", "codings", "reason"),
    [
        (TEXT, "br", "coding_br"),
        (TEXT, "zstd", "coding_zstd"),
        (TEXT, "rot13", "coding_unknown"),
        (TEXT, "gzip, gzip, gzip, gzip, gzip", "coding_unknown"),
        (TEXT, "gzip", "undecodable"),
        (gzip.compress(TEXT)[:-9], "gzip", "undecodable"),
        (gzip.compress(b"x" * 10_001), "gzip", "body_too_large"),
    ],
    ids=["br", "zstd", "unknown", "too many", "not gzip", "cut short", "bomb"],
)
def test_what_cannot_be_decoded_says_why(body: bytes, codings: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        decoded(body, codings, 10_000)
