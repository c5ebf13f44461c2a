"""How much a socket may keep unsent, and how the head and the body of a message are handed to it."""

import asyncio

WRITE_BUFFER_BYTES = (16384, 65536)
"""Unsent bytes at which a writer goes on, and stops: uvloop's low mark, 16 bytes, runs the socket dry."""

APART_BYTES_MIN = 16384
"""A body from here on is not copied to its head: two buffers take one system call as well (writev), and uvloop's way
of several buffers costs less than the copy."""


def limit(transport: asyncio.Transport) -> None:
    """Set WRITE_BUFFER_BYTES."""
    low, high = WRITE_BUFFER_BYTES
    transport.set_write_buffer_limits(high, low)


def write(transport: asyncio.Transport, head: bytes, body: bytes) -> None:
    """Write a head and what there is of its body: in one system call, as far as the socket takes it."""
    if len(body) < APART_BYTES_MIN:
        transport.write(head + body)
    else:
        transport.writelines((head, body))
