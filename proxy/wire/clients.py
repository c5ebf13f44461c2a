"""Every client's connection of one listener.

Law: each has a deadline, and there is a limit to their number; who is one too many is told so.
"""

import asyncio
import time

from proxy.control.ports import Listen
from proxy.wire.downstream import Door, Downstream

LINGER_S = 2.0
"""How long a connection stays half open for a client that may still be sending when its reply is complete:
closing at once would destroy the reply (RFC 9112 9.6). Also how often a slow reader is looked at."""


class Clients:
    """Every client's connection of one listener: limits, deadlines, drain, counts."""

    def __init__(self, listen: Listen, door: Door) -> None:
        self.listen = listen
        self.door = door
        self.open: set[Downstream] = set()
        self.surplus: set[Downstream] = (
            set()
        )  # one too many; they are told, and not counted as open
        self.requests = 0
        self.refused = 0
        self.draining = False
        self.loop = asyncio.get_running_loop()
        self.now = time.monotonic
        self.idle_timeout_s = listen.idle_timeout_ms / 1000
        self.head_timeout_s = listen.head_timeout_ms / 1000
        self.body_timeout_s = listen.body_timeout_ms / 1000
        rate = listen.body_bytes_per_second_min
        self.body_byte_s = 1 / rate if rate else self.body_timeout_s
        self.linger_s = min(LINGER_S, self.idle_timeout_s)

    def connect(self) -> Downstream:
        """A protocol for a connection that was just accepted."""
        return Downstream(self)

    def sweep(self) -> None:
        """Once per tick: answer or close what is past its deadline."""
        now = self.now()
        for client in [client for client in self.open if client.deadline < now]:
            client.expire()
        for client in [client for client in self.surplus if client.deadline < now]:
            client.expire()

    def drain(self) -> None:
        """Close what is idle now, and the rest after its reply."""
        self.draining = True
        for client in list(self.open):
            client.close_when_idle()

    def abort(self) -> None:
        """Close every connection now."""
        for client in [*self.open, *self.surplus]:
            client.transport.abort()
