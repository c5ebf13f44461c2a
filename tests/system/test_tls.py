"""A real sidecar with TLS and socket files at both ends, met by curl and aiohttp."""

import asyncio
import json
import os
import shutil
import ssl
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.certificates import Certificates, Pair
from tests.system.harness import (
    Sidecar,
    assert_balanced,
    caught_up,
    counted,
    free_port,
    needed,
    run_cli,
    start_sidecar,
    status_of,
    write_config,
)

pytestmark = pytest.mark.system

BODY = os.urandom(1_048_576)


class Store:
    """A backend that keeps what is put, and gives it back."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        application = web.Application(client_max_size=2**24)
        application.router.add_put("/{name}", self._put)
        application.router.add_get("/{name}", self._get)
        self.runner = web.AppRunner(application)

    async def _put(self, request: web.Request) -> web.Response:
        self.kept[request.path] = await request.read()
        return web.json_response({"stored": request.path})

    async def _get(self, request: web.Request) -> web.Response:
        return web.Response(body=self.kept[request.path])


@asynccontextmanager
async def stores(
    directory: Path, context: ssl.SSLContext
) -> AsyncIterator[tuple[Store, Store, int]]:
    """Legacy on a socket file, new over TLS; and new's port."""
    legacy, new = Store(), Store()
    for each in (legacy, new):
        await each.runner.setup()
    await web.UnixSite(legacy.runner, str(directory / "legacy.sock")).start()
    await web.TCPSite(new.runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield legacy, new, new.runner.addresses[0][1]
    finally:
        for each in (legacy, new):
            await each.runner.cleanup()


@asynccontextmanager
async def running(file: Path) -> AsyncIterator[Sidecar]:
    sidecar = await start_sidecar(file)
    try:
        yield sidecar
    finally:
        await sidecar.child.stop()


def config(directory: Path, listen: str, new: str) -> Path:
    text = f"""
stage = "dual_legacy_primary"
[listen]
{listen}
[admin]
port = 0
[backends.legacy]
url = "unix:{directory}/legacy.sock"
[backends.new]
{new}
[journal]
directory = "{directory}/data"
"""
    return write_config(directory, text)


def tls(pair: Pair, **more: str) -> str:
    given = {"certificate_file": pair.certificate, "key_file": pair.key, **more}
    return "\n".join(f'tls.{name} = "{value}"' for name, value in given.items())


async def curl(*arguments: str) -> tuple[int, bytes]:
    process = await asyncio.create_subprocess_exec(
        needed("curl"), "--silent", "--max-time", "10", *arguments, stdout=PIPE
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out


async def put(session: aiohttp.ClientSession, url: str, body: bytes) -> None:
    async with session.put(url, data=body) as reply:
        assert reply.status == 200
        assert await reply.json() == {"stored": "/" + url.rpartition("/")[2]}


async def assert_written(sidecar: Sidecar, expected: Mapping[str, bytes], *sides: Store) -> None:
    status = await caught_up(sidecar)
    assert_balanced(status)
    assert counted(status, "intents") == {"done": len(expected)}
    assert counted(status, "verdicts") == {"match": len(expected)}
    for side in sides:
        assert side.kept == expected


async def test_writes_reach_an_https_side_and_a_socket_file_from_clients_over_mtls(
    tmp_path: Path, certificates: Certificates
) -> None:
    """New asks for our certificate; we ask for the client's. Our own changes while it runs."""
    ours = Pair(str(tmp_path / "ours.pem"), str(tmp_path / "ours.key"))

    def install(pair: Pair) -> None:
        shutil.copy(pair.certificate, ours.certificate)
        shutil.copy(pair.key, ours.key)

    install(certificates.server)
    asking = certificates.server_context(clients=certificates.ca)
    async with stores(tmp_path, asking) as (legacy, new, port):
        file = config(
            tmp_path,
            "port = 0\n" + tls(ours, client_ca_file=certificates.ca),
            f'url = "https://localhost:{port}"\n'
            + tls(certificates.client, ca_file=certificates.ca),
        )
        async with running(file) as sidecar:
            url = f"https://localhost:{sidecar.port}"
            context = certificates.client_context(certificates.client)
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context)
            ) as session:
                await put(session, f"{url}/long", BODY)
                await put(session, f"{url}/short", b"x")
                async with session.get(f"{url}/long") as reply:
                    assert await reply.read() == BODY
            identified = (
                "--cert",
                certificates.client.certificate,
                "--key",
                certificates.client.key,
            )
            trusting = ("--cacert", certificates.ca, *identified)
            code, out = await curl(*trusting, "--data-binary", "y", "-X", "PUT", f"{url}/curl")
            assert (code, json.loads(out)) == (0, {"stored": "/curl"})

            strangers = [
                ("--cacert", certificates.ca, f"{url}/short"),  # no certificate
                ("--insecure", f"http://localhost:{sidecar.port}/short"),  # no TLS
                (*trusting, "--tls-max", "1.1", f"{url}/short"),
            ]
            assert all([(await curl(*arguments))[0] for arguments in strangers])
            await assert_written(
                sidecar, {"/long": BODY, "/short": b"x", "/curl": b"y"}, legacy, new
            )

            install(certificates.renewed)
            await renewed(int(sidecar.port), context, certificates)
            assert (await status_of(sidecar))["accepted"] == 3
        assert (
            "TLS files changed, new connections use them" in (tmp_path / "sidecar.log").read_text()
        )


async def renewed(port: int, context: ssl.SSLContext, certificates: Certificates) -> None:
    """Wait until a new connection is shown the new certificate: within 5 s, says the config."""
    wanted = ssl.PEM_cert_to_DER_cert(Path(certificates.renewed.certificate).read_text())
    async with asyncio.timeout(15):
        shown = b""
        while shown != wanted:
            _, writer = await asyncio.open_connection("localhost", port, ssl=context)
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.transport.abort()
            await asyncio.sleep(0.1)


async def test_a_side_whose_certificate_is_not_good_is_owed_its_writes(
    tmp_path: Path, certificates: Certificates
) -> None:
    async with stores(tmp_path, certificates.server_context(certificates.expired)) as (
        legacy,
        new,
        port,
    ):
        side = f'url = "https://localhost:{port}"\ntls.ca_file = "{certificates.ca}"'
        async with running(config(tmp_path, "port = 0", side)) as sidecar:
            async with aiohttp.ClientSession() as session:
                await put(session, f"{sidecar.url}/a", b"x")
            async with asyncio.timeout(10):
                while await reasons(sidecar) != [("s_pending", "tls")]:
                    await asyncio.sleep(0.05)
            assert (legacy.kept, new.kept) == ({"/a": b"x"}, {})


async def reasons(sidecar: Sidecar) -> list[tuple[str, str]]:
    code, out, _ = await run_cli("intents", "-c", str(sidecar.config), "--json")
    assert code == 0
    return [(row["state"], row["reason"]) for row in json.loads(out)]


async def test_a_socket_file_serves_and_goes_with_the_process(
    tmp_path: Path, certificates: Certificates
) -> None:
    path = tmp_path / "twinwrite.sock"
    async with stores(tmp_path, certificates.server_context()) as (legacy, new, port):
        side = f'url = "https://localhost:{port}"\ntls.ca_file = "{certificates.ca}"'
        file = config(tmp_path, f'unix = "{path}"\nunix_mode = "0600"', side)
        async with running(file) as sidecar:
            assert sidecar.child.fields()["listen"] == f"unix:{path}"
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
                await put(session, "http://shop/long", BODY)
            code, out = await curl("--unix-socket", str(path), "http://shop/long")
            assert (code, out == BODY) == (0, True)
            await assert_written(sidecar, {"/long": BODY}, legacy, new)

            code, _, errors = await run_cli(
                "run", "-c", str(file), TWINWRITE_JOURNAL_DIRECTORY=str(tmp_path / "other")
            )
            reason = f"cannot listen on unix:{path}: another process listens there"
            assert (code, errors) == (1, f"twinwrite: error: {reason}\n")

            await sidecar.child.kill()
        assert path.exists()  # nobody was there to remove it
        async with running(file):
            assert (await curl("--unix-socket", str(path), "http://shop/long"))[1] == BODY
        assert not path.exists()


async def test_check_tells_every_file_that_is_not_good(
    tmp_path: Path, certificates: Certificates
) -> None:
    listen = "port = 0\n" + tls(Pair(certificates.server.certificate, certificates.client.key))
    side = f'url = "https://localhost:{free_port()}"\ntls.ca_file = "/no/ca.pem"'
    file = config(tmp_path, listen, side)

    code, _, errors = await run_cli("check", str(file))

    assert code == 2
    assert errors.splitlines() == [
        f'{file}: listen.tls.key_file = "{certificates.client.key}": must be the key of'
        " certificate_file, and is that of another one",
        f'{file}: backends.new.tls.ca_file = "/no/ca.pem": cannot be read: No such file or directory',
    ]
