"""The body of a mirrored write while it arrives: in memory up to a limit, then in a spool file.

Law: a body is whole or it is not sent; it has a limit. Spool files lie in the journal's directory:
who keeps one owns it (the journal), who does not calls `discard`.
"""

import os
from pathlib import Path
from typing import BinaryIO

from rules.message import Request


class TooLarge(ValueError):
    """The body is longer than `body_bytes_max`."""


class Memory:
    """How much memory longer bodies may take together, in places of one size: whoever gets none spools."""

    def __init__(self, places: int) -> None:
        self.free = places

    def take(self) -> bool:
        """Whether there was a place: then `give` it back."""
        if not self.free:
            return False
        self.free -= 1
        return True

    def give(self) -> None:
        """The place is free again."""
        self.free += 1


class Spool:
    """Collects one body: `memory()` while it is small, else the file at `path` (mode 0600) holds all of it."""

    __slots__ = ("_closed", "_file", "_limit", "_memory_max", "_pieces", "path", "size")

    def __init__(self, path: Path, memory_max: int, limit: int) -> None:
        self.path = path
        self.size = 0
        self._closed = False
        self._file = -1
        self._limit = limit
        self._memory_max = memory_max
        self._pieces: list[bytes] = []

    @property
    def in_file(self) -> bool:
        """Whether the body has outgrown memory."""
        return self._file >= 0

    def add(self, data: bytes) -> None:
        """One more piece; raises TooLarge, or OSError when the file cannot be written."""
        self.size += len(data)
        if self.size > self._limit:
            raise TooLarge(f"the body is longer than {self._limit} bytes")
        self._pieces.append(data)
        if self.in_file:
            self._flush()
        elif self.size > self._memory_max:
            self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            self._flush()

    def memory(self) -> bytes:
        """The whole body; only while it is not in the file."""
        assert not self.in_file
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def close(self) -> None:
        """Close the file, which stays."""
        if self.in_file and not self._closed:
            self._closed = True
            os.close(self._file)

    def discard(self) -> None:
        """Close and remove the file, if there is one."""
        if self.in_file:
            self.close()
            self.path.unlink(missing_ok=True)

    def _flush(self) -> None:
        data = memoryview(b"".join(self._pieces))
        self._pieces = []
        while data:
            data = data[os.write(self._file, data) :]


def discard(request: Request) -> None:
    """Remove the spool file of a request that nobody needs any more."""
    if request.spool:
        Path(request.spool).unlink(missing_ok=True)


def open_spool(request: Request) -> BinaryIO:
    """The spooled body of a request, open; raises OSError when it is not there, or not all of it."""
    assert request.spool is not None
    file = Path(request.spool).open("rb")  # noqa: SIM115 - the caller closes it
    if (size := os.fstat(file.fileno()).st_size) != request.body_bytes:
        file.close()
        raise OSError(f"the spool file has {size} bytes, not {request.body_bytes}")
    return file


def in_memory(request: Request) -> Request:
    """The request with its body in memory: where a key or an identity stands in the body."""
    if not request.spool:
        return request
    return Request(
        method=request.method, target=request.target, head=request.head,
        body=Path(request.spool).read_bytes(), chunked=request.chunked, body_bytes=request.body_bytes,
    )  # fmt: skip
