"""How this process uses memory: fewer collections, and a heap that does not shrink and grow with every long read."""

import ctypes
import gc
from contextlib import suppress

COLLECT_AT = (10_000, 20, 50)
"""Net allocations, and collections of the younger generations, before one of Python's three is collected. Python's
own 700, 10, 10 cost 6 us of a dual write's 70; a collection of 10,000 objects takes below 1 ms."""

MALLOC = ((-1, 256 * 2**20), (-2, 2**20), (-3, 64 * 2**20))
"""glibc's M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD in bytes (mallopt(3)): downloads of 1 MiB cost 38 % less
CPU (performance.md section 3)."""


def tune() -> None:
    """Set both, for the rest of the process: when all that stays is there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AT)
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in MALLOC:
            mallopt(option, value)
