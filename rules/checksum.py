"""The digest of a body, at once or piece by piece: what two bodies have in common that nobody looks into.

Law: the bytes are those of the body without chunk framing; equal digests say nothing where the lengths differ.
"""

import hashlib
import zlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct
from xxhash import xxh3_128, xxh3_128_digest


class Checksum(StrEnum):
    """How bodies are digested."""

    XXH3 = "xxh3"
    CRC32 = "crc32"
    SHA256 = "sha256"


class Whole(Struct, frozen=True, gc=False):
    """What there is to compare of a body that is not kept: its bytes without chunk framing, counted and digested."""

    length: int
    digest: bytes


def _crc32(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


DIGESTS: Mapping[Checksum, Callable[[bytes], bytes]] = {
    Checksum.XXH3: xxh3_128_digest,
    Checksum.CRC32: _crc32,
    Checksum.SHA256: _sha256,
}
"""What digests a body: to 16 bytes for xxh3, 4 (big-endian) for crc32, 32 for sha256."""


def whole(body: bytes, checksum: Checksum) -> Whole:
    """A body that is all there."""
    return Whole(len(body), DIGESTS[checksum](body))


class Running(Protocol):
    """A digest that takes its bytes piece by piece."""

    def update(self, data: bytes, /) -> None:
        """The next of them."""

    def digest(self) -> bytes:
        """What DIGESTS have for all of them."""


def running(checksum: Checksum) -> Running:
    """A digest of no bytes yet."""
    begin = _RUNNING[checksum]
    return begin()


class _RunningCrc32:
    """zlib has the function only."""

    def __init__(self) -> None:
        self._sum = 0

    def update(self, data: bytes, /) -> None:
        self._sum = zlib.crc32(data, self._sum)

    def digest(self) -> bytes:
        return self._sum.to_bytes(4, "big")


_RUNNING: Mapping[Checksum, Callable[[], Running]] = {
    Checksum.XXH3: xxh3_128,
    Checksum.CRC32: _RunningCrc32,
    Checksum.SHA256: hashlib.sha256,
}
