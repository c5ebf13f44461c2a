"""A minimal HTTP backend of its own process: answers at once, late, or never.

    python -m bench.backend              answers every request with one fixed reply
    python -m bench.backend --empty      ... with an empty one
    python -m bench.backend --delay 5    ... 5 ms late
    python -m bench.backend --hang       accepts, reads, never answers

`GET /count` answers how many requests came. Law: does as little as a keep-alive server can, reads
every body to its end, keeps none. Prints one JSON line when it serves, and ends with SIGTERM, SIGINT,
or with the process that started it.
"""

import asyncio
import json
import re
import selectors
import signal
from dataclasses import dataclass
from typing import cast

import click
import uvloop

from bench import sample

_LENGTH = re.compile(rb"\ncontent-length: *([0-9]+)", re.IGNORECASE)
_COUNT = b"GET /count "
BACKLOG_LISTEN = 1024


@dataclass(slots=True)
class Count:
    """How many requests came to one backend, on all its connections."""

    requests: int = 0


class Backend(asyncio.Protocol):
    """One connection. `delay_s` is how late it answers; None is never."""

    def __init__(self, delay_s: float | None, reply: bytes, count: Count) -> None:
        self._body_left = 0
        self._count = count
        self._delay_s = delay_s
        self._head = b""
        self._reply = reply
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol: one reply per whole request."""
        while data:
            if not self._body_left:
                self._head += data
                length = head_length(self._head)
                if length is None:
                    return
                data, self._head = self._head, b""
                self._body_left = length
                if data.startswith(_COUNT):
                    self._tell()
                    return
                self._count.requests += 1
            taken = min(self._body_left, len(data))
            self._body_left -= taken
            data = data[taken:]
            if not self._body_left:
                self._due()

    def _due(self) -> None:
        if self._delay_s:
            asyncio.get_running_loop().call_later(self._delay_s, self._answer)
        elif self._delay_s is not None:
            self._answer()

    def _tell(self) -> None:
        assert self._transport is not None
        self._body_left = 0
        self._transport.write(sample.reply(f"requests {self._count.requests}"))

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._reply)


def head_length(data: bytes) -> int | None:
    """How long the first message is, head and body (framed by Content-Length, else without a body);
    None while its head is not whole."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    found = _LENGTH.search(data, 0, head_end)
    return head_end + 4 + (int(found[1]) if found else 0)


def message_end(data: bytes) -> int | None:
    """Where the first message ends, if it is whole."""
    end = head_length(data)
    return end if end is not None and len(data) >= end else None


def precise_loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers are finer than a millisecond: epoll's and libuv's are not, select's are.

    With timers of whole milliseconds a delayed reply would come at the next tick, and what a proxy
    adds before the tick would not show.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _serve(delay_s: float | None, reply: bytes) -> None:
    loop, count = asyncio.get_running_loop(), Count()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = await loop.create_server(
        lambda: Backend(delay_s, reply, count), "127.0.0.1", 0, backlog=BACKLOG_LISTEN
    )
    host, port = server.sockets[0].getsockname()[:2]
    print(json.dumps({"event": "ready", "listen": f"{host}:{port}"}), flush=True)
    await stopping.wait()
    server.close()


@click.command()
@click.option("--delay", default=0.0, help="Answer so many milliseconds late.")
@click.option("--hang", is_flag=True, help="Read, and never answer.")
@click.option("--empty", is_flag=True, help="Answer with an empty body.")
def main(delay: float, hang: bool, empty: bool) -> None:
    """Run one backend on a free port of 127.0.0.1."""
    serving = _serve(None if hang else delay / 1000, sample.reply("") if empty else sample.REPLY)
    with asyncio.Runner(loop_factory=precise_loop if delay else uvloop.new_event_loop) as runner:
        runner.run(serving)


if __name__ == "__main__":
    main()
