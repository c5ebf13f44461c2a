"""One sidecar as a process: its loop, and where what nobody waits for is told."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import uvloop

from proxy.app import App
from proxy.control.config import Config
from proxy.control.log import Log


def heard(loop: asyncio.AbstractEventLoop, log: Log) -> None:
    """From now on what nobody waits for and fails is a line of the log, without what it may quote."""

    def told(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            log.failure("unhandled", error)
        else:
            log.error("unhandled", detail=str(context.get("message", "")))

    loop.set_exception_handler(told)


async def _run(config: Config, log: Log) -> None:
    heard(asyncio.get_running_loop(), log)
    app = App(config, log)
    await app.start()
    try:
        await app.serve()
    finally:
        await app.stop()


def run(config: Config, log: Log) -> None:
    """Run a sidecar until it is told to stop. Raises StartError."""
    with suppress(KeyboardInterrupt):
        uvloop.run(_run(config, log))
