"""A minimal HTTP backend of its own process: answers at once, late, or never.

    python -m bench.backend              answers every request with one fixed reply
    python -m bench.backend --delay 5    ... 5 ms late
    python -m bench.backend --hang       accepts, reads, never answers

Law: does as little as a keep-alive server can. Prints one JSON line when it serves, and ends with
SIGTERM, SIGINT, or with the process that started it.
"""

import asyncio
import json
import re
import signal
from typing import cast

import click
import uvloop

from bench import sample

_LENGTH = re.compile(rb"\ncontent-length: *([0-9]+)", re.IGNORECASE)
BACKLOG_LISTEN = 1024


class Backend(asyncio.Protocol):
    """One connection. `delay_s` is how late it answers; None is never."""

    def __init__(self, delay_s: float | None) -> None:
        self._delay_s = delay_s
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol: one reply per whole request."""
        if self._delay_s is None:
            return
        self._received += data
        while (end := message_end(self._received)) is not None:
            self._received = self._received[end:]
            if self._delay_s:
                asyncio.get_running_loop().call_later(self._delay_s, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(sample.REPLY)


def message_end(data: bytes) -> int | None:
    """Where the first message ends (framed by Content-Length, else without a body), if it is whole."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    found = _LENGTH.search(data, 0, head_end)
    end = head_end + 4 + (int(found[1]) if found else 0)
    return end if len(data) >= end else None


async def _serve(delay_s: float | None) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = await loop.create_server(
        lambda: Backend(delay_s), "127.0.0.1", 0, backlog=BACKLOG_LISTEN
    )
    host, port = server.sockets[0].getsockname()[:2]
    print(json.dumps({"event": "ready", "listen": f"{host}:{port}"}), flush=True)
    await stopping.wait()
    server.close()


@click.command()
@click.option("--delay", default=0.0, help="Answer so many milliseconds late.")
@click.option("--hang", is_flag=True, help="Read, and never answer.")
def main(delay: float, hang: bool) -> None:
    """Run one backend on a free port of 127.0.0.1."""
    uvloop.run(_serve(None if hang else delay / 1000))


if __name__ == "__main__":
    main()
