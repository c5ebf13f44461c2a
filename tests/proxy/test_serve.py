"""A sidecar as a process: what fails unheard is told as a line of the log."""

import asyncio
import io
import json

import pytest

from proxy.control.log import Log
from proxy.serve import heard


async def unheard(error: Exception | None) -> dict[str, str]:
    """What the log tells of a callback that fails, or of a trouble without an exception."""
    stream, loop = io.StringIO(), asyncio.get_running_loop()
    heard(loop, Log(stream))
    if error is None:
        loop.call_exception_handler({"message": "a transport was never closed"})
    else:
        loop.call_exception_handler({"message": "a callback failed", "exception": error})
    told: dict[str, str] = json.loads(stream.getvalue())
    return told


@pytest.mark.parametrize("error", [KeyError("alice@example.com"), ValueError("secret: 4711")])
async def test_an_exception_is_one_line_without_what_it_quotes(error: Exception) -> None:
    told = await unheard(error)
    assert (told["event"], told["level"]) == ("unhandled", "error")
    assert type(error).__name__ in told["error"]
    assert "alice" not in str(told)


async def test_a_trouble_without_an_exception_is_told_too() -> None:
    told = await unheard(None)
    assert told["detail"] == "a transport was never closed"
