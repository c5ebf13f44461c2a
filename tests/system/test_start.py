"""Bad input to a real process: each ends with clear lines and an exit code, and loses nothing."""

import asyncio
import os
import socket
from pathlib import Path

import aiohttp
import pytest

from tests.system.harness import free_port, run_cli, start_sidecar, write_config

pytestmark = pytest.mark.system

CONFIG = """
stage = "dual_legacy_primary"
[listen]
port = 0
[admin]
port = 0
[backends.legacy]
url = "http://127.0.0.1:{legacy}"
[backends.new]
url = "http://127.0.0.1:{new}"
[journal]
directory = "{directory}/data"
"""


def config(directory: Path, extra: str = "") -> Path:
    text = CONFIG.format(legacy=free_port(), new=free_port(), directory=directory)
    return write_config(directory, text + extra)


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ("[delivery]\nconcurency_max = 3\n", "delivery.concurency_max"),
        ('[delivery]\nconcurrency_max = "3"\n', "delivery.concurrency_max"),
        ('[[routes]]\nname = "x"\npath = "no-slash"\n', "routes[0].path"),
    ],
    ids=["unknown key", "wrong type", "bad pattern"],
)
async def test_a_bad_config_is_told_by_key_and_ends_with_2(
    tmp_path: Path, extra: str, named: str
) -> None:
    code, _, errors = await run_cli("run", "-c", str(config(tmp_path, extra)))

    assert code == 2
    assert named in errors
    assert all(line.startswith("twinwrite: error: ") for line in errors.splitlines())


async def test_a_port_in_use_ends_with_1_and_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, errors = await run_cli(
            "run", "-c", str(config(tmp_path)), TWINWRITE_LISTEN_PORT=port
        )

    assert (code, len(errors.splitlines())) == (1, 1)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in errors


async def test_an_unwritable_directory_ends_with_1_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a directory should be")
    code, _, errors = await run_cli("run", "-c", str(config(tmp_path)))

    assert (code, len(errors.splitlines())) == (1, 1)
    assert "the journal's directory cannot be written" in errors


async def test_a_second_process_on_the_same_journal_is_refused_and_the_first_goes_on(
    tmp_path: Path,
) -> None:
    file = config(tmp_path)
    sidecar = await start_sidecar(file)
    try:
        code, _, errors = await run_cli("run", "-c", str(file))
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{sidecar.admin}/healthz") as reply,
        ):
            assert reply.status == 200
    finally:
        await sidecar.child.stop()

    assert (code, len(errors.splitlines())) == (1, 1)
    assert f"another process (pid {sidecar.child.pid}) has this journal" in errors


async def waiting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A backend that takes connections: one that closed them at once would not be reachable."""
    await reader.read()
    writer.close()


async def test_it_starts_without_backends_and_is_ready_when_the_primary_is(tmp_path: Path) -> None:
    legacy = free_port()
    file = config(tmp_path)
    sidecar = await start_sidecar(file, TWINWRITE_BACKENDS_LEGACY_URL=f"http://127.0.0.1:{legacy}")
    server = None
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{sidecar.admin}/readyz") as reply:
                assert reply.status == 503
                assert "the primary (legacy" in (await reply.json())["reason"]
            async with session.put(f"{sidecar.url}/x", data=b"x") as reply:
                assert reply.status == 502
                assert reply.content_type == "application/problem+json"
            server = await asyncio.start_server(waiting, "127.0.0.1", legacy)
            async with session.get(f"{sidecar.admin}/readyz") as reply:
                assert reply.status == 200
            async with session.get(f"{sidecar.admin}/status") as reply:
                assert (await reply.json())["intents"]["not_sent"] == 1
    finally:
        await sidecar.child.stop()
        if server is not None:
            server.close()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
    ids=["no host", "CL and TE", "signed CL", "HTTP/2.0", "bad chunk"],
)
async def test_a_malformed_request_is_refused_and_never_forwarded(
    tmp_path: Path, raw: bytes, status: int
) -> None:
    seen = []

    async def backend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(65536))
        writer.close()

    server = await asyncio.start_server(backend, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sidecar = await start_sidecar(config(tmp_path), TWINWRITE_BACKENDS_LEGACY_URL=url)
    try:
        host, port = sidecar.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(raw)
        answer = await reader.read()
        writer.close()
    finally:
        code = await sidecar.child.stop()
        server.close()

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert seen == []
    assert code == 0
    assert os.path.exists(tmp_path / "data" / "journal.db")
