"""Undoes content codings (RFC 9110 8.4), bounded: for those who must look into a body.

Law: never on the path of the bytes; what cannot be decoded within the limit is `Unreadable`.
"""

import zlib
from collections.abc import Iterator, Mapping

_CODINGS_MAX = 4  # codings piled on one body
_ZLIB, _GZIP, _RAW = 15, 31, -15  # zlib's wbits for each container
_WBITS: Mapping[str, tuple[int, ...]] = {
    "gzip": (_GZIP,),
    "x-gzip": (_GZIP,),
    "deflate": (_ZLIB, _RAW),  # RFC 9110 says zlib; some servers send it raw
}
_KNOWN = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})


class Unreadable(ValueError):
    """A body that cannot be looked into; its text says why in one word, fit for a metric label."""


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
        if name not in _WBITS:
            raise Unreadable(f"coding_{name}" if name in _KNOWN else "coding_unknown")
        if body:
            body = _inflated(body, _WBITS[name], bytes_max)
    return body


def _inflated(body: bytes, wbits: tuple[int, ...], bytes_max: int) -> bytes:
    """Inflate a body in the first of these ways that works. Raises Unreadable."""
    for way in wbits:
        try:
            return b"".join(_members(body, way, bytes_max))
        except zlib.error:
            continue
    raise Unreadable("undecodable")


def _members(body: bytes, wbits: int, bytes_max: int) -> Iterator[bytes]:
    """Inflate each member (gzip may have several, padded by zeros). Raises zlib.error, too."""
    room = bytes_max
    while body:
        inflater = zlib.decompressobj(wbits)
        part = inflater.decompress(body, room + 1)
        room -= len(part)
        if room < 0:
            raise Unreadable("body_too_large")
        body = inflater.unused_data.lstrip(b"\0")
        if not inflater.eof or (body and wbits != _GZIP):
            raise zlib.error("cut short, or followed by something else")
        yield part
