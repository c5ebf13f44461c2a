"""The client does not depend on the secondary: hung, gone, or flooding it with bytes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.system.harness import (
    Sidecar,
    assert_balanced,
    counted,
    start_sidecar,
    status_of,
    write_config,
)

pytestmark = pytest.mark.system

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CONFIG = """
stage = "dual_legacy_primary"
[listen]
port = 0
in_flight_max = 64
drain_timeout_ms = 300
[admin]
port = 0
[backends.legacy]
url = "http://127.0.0.1:{legacy}"
[backends.new]
url = "http://127.0.0.1:{new}"
connections_max = 4
first_byte_timeout_ms = 60000
[journal]
directory = "{directory}/data"
[breaker]
enabled = false
[[routes]]
name = "things"
path = "/things/{{id}}"
entity_key = ["path:id"]
"""


async def good(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    writer.close()


async def hung(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass
    writer.close()


async def resetting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    try:
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
    except ConnectionError:
        writer.close()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
    writer.close()


async def write_all(sidecar: Sidecar, count: int) -> list[int]:
    async with aiohttp.ClientSession() as session:

        async def put(number: int) -> int:
            async with session.put(f"{sidecar.url}/things/{number % 16}", data=b"x" * 100) as reply:
                assert await reply.read() == b"ok"
                return reply.status

        async with asyncio.timeout(20):
            return await asyncio.gather(*(put(number) for number in range(count)))


@pytest.mark.parametrize(
    "sick", [hung, resetting, endless, garbage], ids=lambda each: each.__name__
)
async def test_every_write_is_answered_while_the_secondary_is_sick(
    tmp_path: Path, sick: Handler
) -> None:
    legacy = await asyncio.start_server(good, "127.0.0.1", 0)
    new = await asyncio.start_server(sick, "127.0.0.1", 0)
    ports = [server.sockets[0].getsockname()[1] for server in (legacy, new)]
    text = CONFIG.format(legacy=ports[0], new=ports[1], directory=tmp_path)
    sidecar = await start_sidecar(write_config(tmp_path, text))
    try:
        answered = [await write_all(sidecar, 40) for _ in range(5)]
        status = await status_of(sidecar)
    finally:
        code = await sidecar.child.stop()
        legacy.close()
        new.close()

    assert answered == [[200] * 40] * 5
    assert_balanced(status)
    assert status["accepted"] == 200
    owed = sum(counted(status, "intents").get(state, 0) for state in ("s_pending", "s_sent"))
    assert owed + counted(status, "intents").get("done", 0) == 200
    assert code == 0


async def test_a_stop_keeps_what_is_owed_and_the_next_start_takes_it_up(tmp_path: Path) -> None:
    legacy = await asyncio.start_server(good, "127.0.0.1", 0)
    new = await asyncio.start_server(hung, "127.0.0.1", 0)
    ports = [server.sockets[0].getsockname()[1] for server in (legacy, new)]
    text = CONFIG.format(legacy=ports[0], new=ports[1], directory=tmp_path)
    file = write_config(tmp_path, text + "[delivery]\nbackoff_max_ms = 100\n")
    settings = {"TWINWRITE_LISTEN_DRAIN_TIMEOUT_MS": "200"}
    try:
        sidecar = await start_sidecar(file, **settings)
        await write_all(sidecar, 20)
        code = await sidecar.child.stop()
        new.close()
        healthy = await asyncio.start_server(good, "127.0.0.1", ports[1], reuse_address=True)
        sidecar = await start_sidecar(file, **settings)
        async with asyncio.timeout(20):
            while counted(status := await status_of(sidecar), "backlog").get("rows"):
                await asyncio.sleep(0.05)
        await sidecar.child.stop()
        healthy.close()
    finally:
        legacy.close()
        new.close()

    log = [json.loads(line) for line in (tmp_path / "sidecar.log").read_text().splitlines()]
    assert code == 0
    assert counted(status, "intents") == {"done": 20}
    assert [line["event"] for line in log if line["event"] == "resumed"] == ["resumed"]
