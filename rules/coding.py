"""Undoes content codings (RFC 9110 8.4), bounded: for those who must look into a body.

Law: never on the path of the bytes; what cannot be decoded within the limit is `Unreadable`. Time and
memory are bounded by the limit, at each of at most four codings.
"""

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_CODINGS_MAX = 4  # codings piled on one body
_MEMBERS_MAX = 1024  # gzip members or zstd frames in one body: bgzip makes one of each 64 KiB
_PIECE_BYTES = (
    65536  # what is given to a decoder at once, so that little is left over from a member
)
_ZLIB, _GZIP, _RAW = 15, 31, -15  # zlib's wbits for each container
_ZSTD = {
    int(zstd.DecompressionParameter.window_log_max): 23
}  # 8 MiB: RFC 9659 3 allows HTTP no more
_KNOWN = frozenset({"compress", "x-compress", "dcb", "dcz"})


class Unreadable(ValueError):
    """A body that cannot be looked into; its text says why in one word, fit for a metric label."""


class _Broken(ValueError):
    """It is not in this coding, or cut short, or followed by something else."""


_Coding = Callable[[bytes, int], Iterator[bytes]]


def decoded(body: bytes, codings: str, bytes_max: int) -> bytes:
    """The body without its content codings, the last applied first; raises Unreadable.

    `codings` is the value of Content-Encoding, `bytes_max` the most that may come out.
    """
    wanted = [
        name for name in map(str.strip, codings.lower().split(",")) if name not in ("", "identity")
    ]
    if len(wanted) > _CODINGS_MAX:
        raise Unreadable("coding_unknown")
    for name in reversed(wanted):
        if name not in _CODINGS:
            raise Unreadable(f"coding_{name}" if name in _KNOWN else "coding_unknown")
        if body:
            body = _undone(body, _CODINGS[name], bytes_max)
    return body


def _undone(body: bytes, ways: tuple[_Coding, ...], bytes_max: int) -> bytes:
    """Decode a body in the first of these ways that works. Raises Unreadable."""
    for way in ways:
        try:
            return b"".join(way(body, bytes_max))
        except (_Broken, zlib.error, brotli.error, zstd.ZstdError):
            continue
    raise Unreadable("undecodable")


def _members(
    begin: Callable[[], Any], padding: bytes | None, body: bytes, room: int
) -> Iterator[bytes]:
    """Decode one member after the other, each by a decoder as those of the standard library.

    `padding`: bytes that may stand between members; None where there is but one.
    """
    decoder, members = begin(), 1
    for at in range(0, len(body), _PIECE_BYTES):
        piece = body[at : at + _PIECE_BYTES]
        while piece:
            if decoder.eof:
                if padding is None or members == _MEMBERS_MAX:
                    raise _Broken
                piece = piece.lstrip(padding) if padding else piece
                if not piece:
                    break
                decoder, members = begin(), members + 1
            part = decoder.decompress(piece, room + 1)
            room -= len(part)
            if room < 0:
                raise Unreadable("body_too_large")
            yield part
            piece = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise _Broken


def _brotli(body: bytes, room: int) -> Iterator[bytes]:
    """Decode a brotli stream (RFC 7932): there is but one."""
    decoder = brotli.Decompressor()
    part = decoder.process(body, output_buffer_limit=room + 1)
    while len(part) <= room:
        yield part
        room -= len(part)
        if decoder.is_finished():
            return
        if decoder.can_accept_more_data():
            raise _Broken  # it is cut short
        part = decoder.process(b"", output_buffer_limit=room + 1)
    raise Unreadable("body_too_large")


_GUNZIP = partial(_members, partial(zlib.decompressobj, _GZIP), b"\0")
_CODINGS: Mapping[str, tuple[_Coding, ...]] = {
    "gzip": (_GUNZIP,),
    "x-gzip": (_GUNZIP,),
    "deflate": (  # RFC 9110 says zlib; some servers send it raw
        partial(_members, partial(zlib.decompressobj, _ZLIB), None),
        partial(_members, partial(zlib.decompressobj, _RAW), None),
    ),
    "br": (_brotli,),
    "zstd": (partial(_members, partial(zstd.ZstdDecompressor, options=_ZSTD), b""),),
}
