"""Clients that send one byte per second are closed by the time-outs; others are served meanwhile."""

import asyncio
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.faults.process import between_counters
from tests.system.harness import Sidecar, assert_balanced, caught_up

pytestmark = pytest.mark.system

ATTACKERS = 200
HEAD_SECONDS = 2.5
BODY_SECONDS = 0.7
"""Less than the attackers' pause: the limit is on a pause, not on the body."""

LATE_SECONDS = 5.0
"""A tick, and what a busy machine takes to notice 200 ends."""

LISTEN = f"head_timeout_ms = {HEAD_SECONDS * 1000:.0f}\nbody_timeout_ms = {BODY_SECONDS * 1000:.0f}"

HEAD = b"POST /relay/a HTTP/1.1\r\nHost: shop\r\nX-Slow: " + b"x" * 1000
BODIES = [
    f"POST /{mode}/a HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n".encode()
    for mode in ("relay", "dual")
]


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for at in range(len(data)):
        if writer.transport.is_closing():
            return
        writer.write(data[at : at + 1])
        await asyncio.sleep(1)


async def attack(sidecar: Sidecar, at_once: bytes, slowly: bytes) -> tuple[int, float]:
    """The status that an attacker is answered, and when its connection was over."""
    started = monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(sidecar.url).port)
    writer.write(at_once)
    dripping = asyncio.create_task(drip(writer, slowly))
    try:
        answer = await reader.read()
        return int(answer[9:12] or 0), monotonic() - started
    finally:
        dripping.cancel()
        writer.transport.abort()


async def work(sidecar: Sidecar, stop: asyncio.Event) -> list[float]:
    """A client that means well: how long each of its requests took."""
    took = []
    async with aiohttp.ClientSession() as session:
        while not stop.is_set():
            started = monotonic()
            for mode in ("relay", "dual"):
                async with session.post(f"{sidecar.url}/{mode}/b", data=b"x") as reply:
                    assert reply.status == 200
            took.append(monotonic() - started)
            await asyncio.sleep(0.02)
    return took


@pytest.mark.parametrize("kind", ["head", "body"])
async def test_slow_attackers_are_closed_and_others_are_served(tmp_path: Path, kind: str) -> None:
    async with between_counters(tmp_path, LISTEN) as (sidecar, legacy, _):
        stop = asyncio.Event()
        working = asyncio.create_task(work(sidecar, stop))
        attacks = [
            attack(sidecar, b"", HEAD)
            if kind == "head"
            else attack(sidecar, BODIES[n % 2], b"x" * 99)
            for n in range(ATTACKERS)
        ]
        async with asyncio.timeout(HEAD_SECONDS + LATE_SECONDS + 5):
            ends = await asyncio.gather(*attacks)
        stop.set()
        took = await working
        assert_balanced(await caught_up(sidecar))

    limit = HEAD_SECONDS if kind == "head" else BODY_SECONDS
    assert {status for status, _ in ends} == {408}
    assert all(limit <= seconds < limit + LATE_SECONDS for _, seconds in ends)
    assert len(took) >= 5
    assert max(took) < LATE_SECONDS
    assert len(legacy.digests) == 2 * len(took)  # none of the attackers' requests counts as whole
