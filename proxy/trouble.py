"""Which troubles with a file may pass: then it is waited for, and nothing is called damaged."""

import errno

PASSING = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT)
)  # fmt: skip
"""Errors of a disk or a process that is in trouble: the file may be whole all the same."""


def may_pass(error: OSError) -> bool:
    """Whether a file that could not be read now may well be read later."""
    return error.errno in PASSING
