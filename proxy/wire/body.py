"""The body of a mirrored write while it arrives: in memory up to a limit, then in a spool file.

Law: a body is whole or it is not sent; it has a limit. Spool files lie in the journal's directory:
who keeps one owns it (the journal), who does not calls `discard`.
"""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from proxy.cipher import FRAME_BYTES, Frames, SealedFile, new_key
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


class Readable(Protocol):
    """An open spool file, as it is read."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, about `size`; all if it is negative; nothing at the end. Raises OSError."""


class Spool:
    """Collects one body: `memory()` while it is small, else the file at `path` (mode 0600) holds all of it
    once it is closed. `sealed`: the file is encrypted under `key`, which is kept nowhere but with its request.
    """

    __slots__ = (
        "_closed", "_file", "_frames", "_held", "_index", "_limit", "_memory_max", "_pieces",
        "_sealed", "key", "path", "size",
    )  # fmt: skip

    def __init__(self, path: Path, memory_max: int, limit: int, *, sealed: bool = False) -> None:
        self.key = b""
        self.path = path
        self.size = 0
        self._closed = False
        self._file = -1
        self._frames: Frames | None = None
        self._held = 0  # bytes in the pieces, once the file is sealed
        self._index = 0  # of the next frame
        self._limit = limit
        self._memory_max = memory_max
        self._pieces: list[bytes] = []
        self._sealed = sealed

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
            self._held += len(data)
            self._flush()
        elif self.size > self._memory_max:
            self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            self._held = self.size
            if self._sealed:
                self.key = new_key()
                self._frames = Frames(self.key)
            self._flush()

    def memory(self) -> bytes:
        """The whole body; only while it is not in the file."""
        assert not self.in_file
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def pieces(self) -> tuple[bytes, ...]:
        """The same, in the pieces in which it came: to join them is to copy them. None of what is in the file."""
        return () if self.in_file else tuple(self._pieces)

    def close(self) -> None:
        """The body is whole: close the file, which stays. Raises OSError when its end cannot be written."""
        if self.in_file and not self._closed:
            if self._frames is not None:
                self._seal(self._frames, ended=True)
            self._close()

    def discard(self) -> None:
        """Close and remove the file, if there is one."""
        if self.in_file:
            with suppress(OSError):  # what is left is removed by the next start
                self._close()
            with suppress(OSError):
                self.path.unlink()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._file)

    def _flush(self) -> None:
        if self._frames is None:
            data, self._pieces = b"".join(self._pieces), []
            self._write(data)
        elif self._held > FRAME_BYTES:  # of one frame it cannot yet be told whether it is the last
            self._seal(self._frames, ended=False)

    def _seal(self, frames: Frames, *, ended: bool) -> None:
        """Write what is held as frames: all of it if the body has ended, else all but what may be the last one."""
        held, at = memoryview(b"".join(self._pieces)), 0
        while self._held - at > FRAME_BYTES:
            self._write(frames.sealed(self._index, held[at : at + FRAME_BYTES], last=False))
            self._index += 1
            at += FRAME_BYTES
        self._held -= at
        self._pieces = [bytes(held[at:])]
        if ended:
            self._write(frames.sealed(self._index, held[at:], last=True))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]


def discard(request: Request) -> None:
    """Remove the spool file of a request that nobody needs any more."""
    if request.spool:
        with suppress(OSError):  # what is left is removed by the next start
            Path(request.spool).unlink()


def open_spool(request: Request) -> Readable:
    """The spooled body of a request, open; raises OSError when it is not there, or not all of it."""
    assert request.spool is not None
    if request.spool_key:
        return SealedFile(Path(request.spool), request.spool_key, request.body_bytes)
    file = Path(request.spool).open("rb")  # noqa: SIM115 - the caller closes it
    if (size := os.fstat(file.fileno()).st_size) != request.body_bytes:
        file.close()
        raise OSError(f"the spool file has {size} bytes, not {request.body_bytes}")
    return file


def in_memory(request: Request) -> Request:
    """The request with its body in memory: where a key or an identity stands in the body.

    Raises OSError when its file cannot be read.
    """
    if not request.spool:
        return request
    with open_spool(request) as file:
        body = file.read()
    return Request(
        method=request.method, target=request.target, head=request.head,
        body=body, chunked=request.chunked, body_bytes=request.body_bytes,
    )  # fmt: skip
