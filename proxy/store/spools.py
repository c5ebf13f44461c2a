"""The spool files of a journal: bodies that are too long to be kept in memory, and in rows.

Law: a file is durable, and its name too, before a row asks for it; a disk that hangs holds up nobody else.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from proxy.fiber import Slot
from proxy.store.intent import seal

SEALING_MAX = 4
"""Files that are made durable at once, in threads of their own."""


class Spools:
    """The directory `spool` of a journal's. `timeout_s`: how long the disk may take."""

    def __init__(self, directory: Path, timeout_s: float) -> None:
        self._directory = directory / "spool"
        self._timeout_s = timeout_s
        self._last = 1
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(SEALING_MAX, "seal")

    def clean(self, wanted: frozenset[str] | None) -> None:
        """At start: remove what no row asks for (names as `spool/7`; None: nobody knows), and give no name twice.

        Raises OSError.
        """
        for path in self._directory.iterdir():
            if wanted is not None and f"spool/{path.name}" not in wanted:
                path.unlink()
            self._last = max(self._last, int(path.name) if path.name.isdecimal() else 1)

    def next(self) -> Path:
        """A name for the next file, never used before."""
        self._last += 1
        return self._directory / str(self._last)

    async def sealed(self, packed: bytes, spool: Path) -> bytes:
        """The seal of a packed request and its spool file, which is durable then. Raises OSError, and TimeoutError
        when the disk does not answer in time."""
        told: Slot[bytes | BaseException] = Slot()
        work = self._loop.run_in_executor(self._threads, _sealed, packed, spool)
        work.add_done_callback(partial(_tell, told))
        late = self._loop.call_later(self._timeout_s, told.resolve, TimeoutError())
        found = await told
        late.cancel()
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        """Give up what is still to be made durable."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _tell(told: Slot[bytes | BaseException], done: asyncio.Future[bytes]) -> None:
    if not done.cancelled():  # else it is closed: nobody waits
        told.resolve(done.exception() or done.result())


def remove(path: Path) -> None:
    """Remove a file; what is left is removed by the next start."""
    with suppress(OSError):
        path.unlink()


def _sealed(packed: bytes, spool: Path) -> bytes:
    for path in (spool, spool.parent):
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    return seal(packed, spool)
