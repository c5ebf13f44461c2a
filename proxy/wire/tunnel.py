"""A tunnel: what comes in at one end goes out at the other, until either ends (RFC 9110 9.3.6).

Law: nothing is looked at, nothing is kept: an end that takes no more stops the other one's sending.
"""

import asyncio
import time

from proxy.wire.connection import Connection
from proxy.wire.downstream import Downstream

LAST_BYTES_S = 2.0
"""How long an end may take for the last bytes when the other one is gone: they are tried, not kept
(RFC 9110 9.3.6)."""


class End(asyncio.Protocol):
    """One end. `client` lends its deadline, which any byte in either direction moves on."""

    __slots__ = ("_client", "_idle_s", "_paused", "eof", "other", "transport")

    def __init__(self, client: Downstream, transport: asyncio.Transport, idle_s: float) -> None:
        self.eof = False
        self.other: End
        self.transport = transport
        self._client = client
        self._idle_s = idle_s
        self._paused = False

    def data_received(self, data: bytes) -> None:
        self._client.deadline = time.monotonic() + self._idle_s
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        """This end sends no more. The other may, where the transport has halves (TLS has none)."""
        self.eof = True
        there = self.other.transport
        if self.other.eof or not there.can_write_eof():
            there.close()
            return False
        if not there.is_closing():
            there.write_eof()
        return self.transport.can_write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        there = self.other.transport
        if error is not None:
            there.abort()
        elif not there.is_closing():
            there.close()
            asyncio.get_running_loop().call_later(LAST_BYTES_S, there.abort)
        if self.transport is self._client.transport:
            self._client.connection_lost(error)

    def pause_writing(self) -> None:
        self.other.pause_reading()

    def resume_writing(self) -> None:
        self._client.deadline = time.monotonic() + self._idle_s
        self.other.resume_reading()

    def pause_reading(self) -> None:
        """The other end takes no more for now."""
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """The other end takes more."""
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()


def open_tunnel(
    client: Downstream, connection: Connection, head: bytes, data: bytes, idle_s: float
) -> None:
    """Join a client and a backend that has agreed with `head`, then `data`; silent for `idle_s`, it ends.

    Both transports change their protocol: the pool and the client's side have no more to do with them.
    """
    here = End(client, client.transport, idle_s)
    there = End(client, connection.leave(), idle_s)
    here.other, there.other = there, here
    early, ended, blocked = client.leave()
    client.deadline = time.monotonic() + idle_s
    for end in (here, there):
        end.transport.set_protocol(end)
    if blocked:
        there.pause_reading()
    here.transport.write(head + data)
    if early:
        there.transport.write(early)
    if ended:
        here.eof_received()
