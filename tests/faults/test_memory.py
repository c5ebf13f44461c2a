"""A body passes through the sidecar; it does not stay there: 100 MiB do not grow its memory."""

import asyncio
import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.process import BLOCK, MIB, Memory, between_counters, digest_of
from tests.system.harness import Sidecar, caught_up, counted, wait_until

pytestmark = pytest.mark.system

SIZE = 100 * MIB
GROWTH_BYTES_MAX = 8 * MIB
"""Buffers of sockets, at both ends, and `spool_memory_bytes_max`; not a tenth of the body."""

PACE = MIB
"""Bytes per second of who is slow."""

SLOW_SECONDS = 2.0


async def connect(sidecar: Sidecar) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", urlsplit(sidecar.url).port, limit=262144)


async def ask(sidecar: Sidecar, method: str, target: str, size: int) -> tuple[int, str]:
    """Send `size` bytes; the status, and the digest of the reply's body."""
    reader, writer = await connect(sidecar)
    writer.write(
        f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()
    )
    for _ in range(size // len(BLOCK)):
        writer.write(BLOCK)
        await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    left = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
    found = hashlib.sha256()
    while left:
        piece = await reader.read(min(left, 262144))
        assert piece, "the reply broke off"
        found.update(piece)
        left -= len(piece)
    writer.close()
    return int(head[9:12]), found.hexdigest()


async def measured(sidecar: Sidecar) -> Memory:
    """Memory from here on; every way was gone once, with a body that is streamed and spooled."""
    for target in ("/relay/a", "/relay/down/1048576", "/dual/a", "/dual/down/1048576"):
        assert (await ask(sidecar, "POST", target, MIB))[0] == 200
    await caught_up(sidecar)
    return Memory(sidecar.child.pid)


@pytest.mark.parametrize("mode", ["relay", "dual"])
async def test_a_large_upload_arrives_and_does_not_grow_memory(tmp_path: Path, mode: str) -> None:
    async with between_counters(tmp_path) as (sidecar, legacy, new):
        memory = await measured(sidecar)
        status, _ = await ask(sidecar, "POST", f"/{mode}/upload", SIZE)
        books = await caught_up(sidecar)
        grown = memory.grown()

    assert status == 200
    assert legacy.digests[-1] == digest_of(SIZE)
    assert counted(books, "intents") == {"done": 2 if mode == "relay" else 3}
    assert new.digests[-1] == digest_of(MIB if mode == "relay" else SIZE)
    assert grown < GROWTH_BYTES_MAX


@pytest.mark.parametrize("mode", ["relay", "dual"])
async def test_a_large_download_arrives_and_does_not_grow_memory(tmp_path: Path, mode: str) -> None:
    async with between_counters(tmp_path) as (sidecar, _, _):
        memory = await measured(sidecar)
        status, digest = await ask(sidecar, "POST", f"/{mode}/down/{SIZE}", 0)
        matches = 2 if mode == "relay" else 3  # of 100 MiB, too, by the digest of what has passed
        await wait_until(sidecar, lambda books: counted(books, "verdicts") == {"match": matches})
        grown = memory.grown()

    assert (status, digest) == (200, digest_of(SIZE))
    assert grown < GROWTH_BYTES_MAX


@pytest.mark.parametrize("mode", ["relay", "dual"])
async def test_a_client_that_reads_slowly_does_not_grow_memory(tmp_path: Path, mode: str) -> None:
    async with between_counters(tmp_path) as (sidecar, legacy, _):
        memory = await measured(sidecar)
        before = legacy.left
        reader, writer = await connect(sidecar)
        writer.write(
            f"POST /{mode}/down/{SIZE} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()
        )
        taken = 0
        for _ in range(int(SLOW_SECONDS * PACE / 4096)):
            taken += len(await reader.readexactly(4096))
            if taken % 65536 == 0:
                await asyncio.sleep(65536 / PACE)
        grown = memory.grown()
        writer.transport.abort()

    assert taken >= MIB
    assert legacy.left - before < SIZE / 2  # it was held back
    assert grown < GROWTH_BYTES_MAX


@pytest.mark.parametrize("mode", ["relay", "dual"])
async def test_a_backend_that_takes_slowly_does_not_grow_memory(tmp_path: Path, mode: str) -> None:
    async with between_counters(tmp_path) as (sidecar, legacy, _):
        memory = await measured(sidecar)
        legacy.pace = PACE
        before = legacy.arrived
        asking = asyncio.create_task(ask(sidecar, "POST", f"/{mode}/upload", SIZE))
        await asyncio.sleep(SLOW_SECONDS)
        grown = memory.grown()
        arrived = legacy.arrived - before
        legacy.pace = 0
        status, _ = await asking

    assert 0 < arrived < SIZE / 2
    assert status == 200
    assert legacy.digests[-1] == digest_of(SIZE)
    assert grown < GROWTH_BYTES_MAX


async def test_a_secondary_that_takes_slowly_costs_the_client_and_the_memory_nothing(
    tmp_path: Path,
) -> None:
    async with between_counters(tmp_path) as (sidecar, legacy, new):
        memory = await measured(sidecar)
        new.pace = PACE
        status, _ = await ask(sidecar, "POST", "/dual/upload", SIZE)
        assert status == 200
        assert new.arrived < SIZE / 2  # the client did not wait for it
        await asyncio.sleep(SLOW_SECONDS)
        grown = memory.grown()
        new.pace = 0
        books = await caught_up(sidecar)

    assert legacy.digests[-1] == new.digests[-1] == digest_of(SIZE)
    assert counted(books, "intents") == {"done": 3}
    assert grown < GROWTH_BYTES_MAX
