"""The lock on a journal's directory: one process at a time.

Law: the lock is the kernel's (flock), so it goes with the process, however that ends.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from proxy.store.batch import StoreError


class Locked(StoreError):
    """Another process has this journal."""


def locked(directory: Path) -> TextIO:
    """The lock on a journal's directory, which is made where it is missing; raises Locked or StoreError."""
    try:
        _make(directory)
        _make(directory / "spool")
        opened = os.open(directory / "journal.lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise StoreError(f"the journal's directory cannot be written: {error}") from error
    lock = os.fdopen(opened, "r+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
    except BlockingIOError as error:
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise Locked(f"{directory}: another process (pid {owner}) has this journal") from error
    except OSError as error:
        with suppress(OSError):
            lock.close()
        raise StoreError(f"{directory / 'journal.lock'}: {error.strerror}") from error
    return lock


def _make(directory: Path) -> None:
    """Make a directory that outlives a power cut: POSIX promises a new name only once its parent is synced."""
    if directory.is_dir():
        return
    if directory.parent != directory:
        _make(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    opened = os.open(directory.parent, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
