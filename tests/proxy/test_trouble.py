"""Troubles that pass, and those that mean that the file is not what it was."""

import errno

import pytest

from proxy.trouble import may_pass


@pytest.mark.parametrize(
    ("number", "passes"),
    [
        (errno.EMFILE, True),
        (errno.EIO, True),
        (errno.ENOENT, False),
        (errno.EBADMSG, False),
        (errno.EACCES, False),
    ],
)
def test_what_may_pass_is_waited_for(number: int, passes: bool) -> None:
    assert may_pass(OSError(number, "why")) is passes


def test_an_error_without_a_number_does_not_pass() -> None:
    assert not may_pass(OSError("the spool file has 3 bytes, not 4"))
