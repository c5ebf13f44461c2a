"""Content codings: undone within a limit, or refused by one word."""

import gzip
import os
import sys
import zlib
from collections.abc import Callable

import brotli
import pytest

from rules.coding import Unreadable, decoded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"the same few words " * 50
NOISE = os.urandom(200_000)  # longer than what a decoder is given at once
SKIPPED = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"  # RFC 8878 3.1.2: a skippable frame


WIDE = {
    zstd.CompressionParameter.window_log: 25,
    zstd.CompressionParameter.content_size_flag: 0,
}


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
        (brotli.compress(TEXT), "br"),
        (zstd.compress(TEXT), "zstd"),
        (SKIPPED + zstd.compress(TEXT[:100]) + SKIPPED + zstd.compress(TEXT[100:]), "zstd"),
        (zstd.compress(brotli.compress(gzip.compress(TEXT))), "gzip, br, zstd"),
    ],
    ids=[
        *("none", "identity", "gzip", "x-gzip", "members", "zlib", "raw", "two", "br", "zstd"),
        *("frames", "three"),
    ],
)
def test_a_coding_is_undone(body: bytes, codings: str) -> None:
    assert decoded(body, codings, 10_000) == TEXT


@pytest.mark.parametrize(
    ("body", "codings", "reason"),
    [
        (TEXT, "br", "undecodable"),
        (TEXT, "zstd", "undecodable"),
        (TEXT, "compress", "coding_compress"),
        (TEXT, "rot13", "coding_unknown"),
        (TEXT, "gzip, gzip, gzip, gzip, gzip", "coding_unknown"),
        (TEXT, "gzip", "undecodable"),
        (gzip.compress(TEXT)[:-9], "gzip", "undecodable"),
        (brotli.compress(TEXT)[:-2], "br", "undecodable"),
        (brotli.compress(TEXT) + b"x", "br", "undecodable"),
        (zstd.compress(TEXT)[:-3], "zstd", "undecodable"),
        (zstd.compress(TEXT) + b"x", "zstd", "undecodable"),
        (gzip.compress(b"x" * 10_001), "gzip", "body_too_large"),
        (brotli.compress(b"x" * 10_001), "br", "body_too_large"),
        (zstd.compress(b"x" * 10_001), "zstd", "body_too_large"),
        (brotli.compress(brotli.compress(b"x" * 1_000_000)), "br, br", "body_too_large"),
        (gzip.compress(b"") * 2_000, "gzip", "undecodable"),
        (SKIPPED * 2_000, "zstd", "undecodable"),
        (zstd.compress(b"x" * 2**25, options=WIDE), "zstd", "undecodable"),
    ],
    ids=[
        *("not br", "not zstd", "compress", "unknown", "too many", "not gzip", "cut short"),
        *("br cut short", "br followed", "zstd cut short", "zstd followed", "bomb", "br bomb"),
        *("zstd bomb", "bomb in a bomb", "members", "frames", "window"),
    ],
)
def test_what_cannot_be_decoded_says_why(body: bytes, codings: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        decoded(body, codings, 10_000)


@pytest.mark.parametrize(
    ("pack", "coding"),
    [(gzip.compress, "gzip"), (brotli.compress, "br"), (zstd.compress, "zstd")],
    ids=["gzip", "br", "zstd"],
)
def test_what_fills_the_limit_is_decoded_and_one_byte_more_is_not(
    pack: Callable[[bytes], bytes], coding: str
) -> None:
    assert decoded(pack(NOISE), coding, len(NOISE)) == NOISE
    with pytest.raises(Unreadable, match=r"^body_too_large$"):
        decoded(pack(NOISE), coding, len(NOISE) - 1)
