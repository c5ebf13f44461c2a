"""Opening a connection: names, addresses, sockets, TLS that is good or bad in every way, deadlines."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.control.sides import Backend
from proxy.control.tls import BackendTls, TlsError, Version
from proxy.wire.dial import Dialer
from proxy.wire.secure import LOOK_S
from rules.message import Cause, Failure
from tests.certificates import Certificates, Pair, alerting
from tests.proxy.wire.raw import Peer, Server, on_uvloop, serving


class Caller(asyncio.Protocol):
    """Who asked for the connection; remembers how it went."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.got = b""
        self.arrived = asyncio.Event()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self.transport is None
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data
        self.arrived.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost.set()


@asynccontextmanager
async def secured(
    context: ssl.SSLContext | None, path: Path | None = None
) -> AsyncIterator[Server]:
    """A backend that speaks TLS, or listens on a socket file."""
    server = Server()
    if path is None:
        listening = await asyncio.start_server(server.connected, "127.0.0.1", 0, ssl=context)
        server.port = listening.sockets[0].getsockname()[1]
    else:
        listening = await asyncio.start_unix_server(server.connected, str(path))
    try:
        yield server
    finally:
        listening.close()
        for peer in server.peers:
            peer.writer.transport.abort()
        await listening.wait_closed()


def dialer(url: str, *, said: list[str] | None = None, **settings: object) -> Dialer:
    of_tls = {name: settings.pop(name) for name in list(settings) if name in BackendTls.__slots__}
    tls = BackendTls(**of_tls)  # type: ignore[arg-type]
    backend = Backend(url=url, tls=tls, **settings)  # type: ignore[arg-type]
    return Dialer(backend, (said if said is not None else []).append)


async def connected(way: Dialer) -> Caller:
    caller = Caller()
    failure = await way.open(caller)
    assert failure is None, failure
    assert not caller.transport.is_closing()
    return caller


async def refused(way: Dialer) -> Failure:
    caller = Caller()
    failure = await way.open(caller)
    assert failure is not None
    assert not failure.sent
    assert caller.transport is None
    return failure


async def talk(caller: Caller, peer: Peer) -> None:
    """A word each way."""
    caller.transport.write(b"ping\n")
    assert await peer.until(b"\n") == b"ping\n"
    await peer.send(b"pong\n")
    await caller.arrived.wait()
    assert caller.got == b"pong\n"
    caller.transport.abort()


# plain, and socket files


@on_uvloop
async def test_a_plain_connection_is_the_protocols_own() -> None:
    async with serving() as server:
        caller = await connected(dialer(f"http://127.0.0.1:{server.port}"))
        peer = caller.transport.get_extra_info("socket")
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await talk(caller, await server.accept())


@on_uvloop
async def test_a_socket_file_is_connected(tmp_path: Path) -> None:
    path = tmp_path / "backend.sock"
    async with secured(None, path) as server:
        await talk(await connected(dialer(f"unix:{path}")), await server.accept())


@on_uvloop
async def test_a_socket_file_that_nobody_serves_refuses(tmp_path: Path) -> None:
    path = tmp_path / "backend.sock"
    way = dialer(f"unix:{path}")
    found = await refused(way)
    assert (found.cause, "No such file" in found.detail) == (Cause.REFUSED, True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    found = await refused(way)
    assert (found.cause, "refused" in found.detail) == (Cause.REFUSED, True)


# names


class Names:
    """Answers for the name server of this loop: each call gives the next answer."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.calls = 0

    async def __call__(self, _host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        self.calls += 1
        answer = self.answers[min(self.calls, len(self.answers)) - 1]
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return [info("127.0.0.1", port)]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, list)
        return [info(*each) for each in answer]


def info(host: str, port: int) -> tuple[object, ...]:
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)


def asking(names: Names) -> None:
    """The loop of the test asks these names; asyncio's own loop lets itself be told so."""
    asyncio.get_running_loop().getaddrinfo = names  # type: ignore[assignment,method-assign]


async def test_a_name_is_looked_up_for_each_connection() -> None:
    async with serving() as first, serving() as second:
        names = Names([("127.0.0.1", first.port)], [("127.0.0.1", second.port)])
        asking(names)
        way = dialer("http://shop:80")
        for server in (first, second):
            await talk(await connected(way), await server.accept())


async def test_connections_that_open_at_once_share_one_look_up() -> None:
    async with serving() as server:
        answer = asyncio.Event()
        names = Names(answer)
        asking(names)
        way = dialer(f"http://shop:{server.port}")
        callers = [asyncio.create_task(connected(way)) for _ in range(5)]
        await asyncio.sleep(0)
        callers.pop().cancel()
        answer.set()
        for caller in await asyncio.gather(*callers):
            caller.transport.abort()
        assert (names.calls, len(callers)) == (1, 4)


async def test_every_address_of_a_name_is_tried() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with serving() as server:
            asking(Names([nobody.getsockname(), ("127.0.0.1", server.port)]))
            await talk(await connected(dialer("http://shop")), await server.accept())


async def test_an_address_that_is_silent_does_not_hold_up_the_next() -> None:
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        async with serving() as server:
            asking(Names([deaf.getsockname(), ("127.0.0.1", server.port)]))
            way = dialer("http://shop", connect_timeout_ms=5000)
            await talk(await connected(way), await server.accept())


async def test_a_name_server_that_does_not_answer_is_late_and_holds_one_thread() -> None:
    names = Names(asyncio.Event())
    asking(names)
    way = dialer("http://shop", name_timeout_ms=5)
    for _ in range(3):
        found = await refused(way)
        assert (found.cause, found.detail) == (Cause.NAME, "the name did not resolve in time")
    assert names.calls == 1
    way.close()


async def test_a_name_that_is_not_known_is_asked_again() -> None:
    async with serving() as server:
        unknown = socket.gaierror(-2, "Name or service not known")
        asking(Names(unknown, [("127.0.0.1", server.port)]))
        way = dialer("http://shop")
        assert (await refused(way)).cause is Cause.NAME
        await talk(await connected(way), await server.accept())


@pytest.mark.parametrize("host", ["a..b", "[1:2]", "x" * 64 + ".org"])
@on_uvloop
async def test_a_host_that_is_none_is_a_name_that_is_not_known(host: str) -> None:
    found = await refused(dialer(f"http://{host}:80"))
    assert (found.cause, bool(found.detail)) == (Cause.NAME, True)


# TLS


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@on_uvloop
async def test_tls_is_spoken_to_an_https_backend(host: str, certificates: Certificates) -> None:
    context = certificates.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with secured(context) as server:
        caller = await connected(dialer(f"https://{host}:{server.port}", ca_file=certificates.ca))
        spoken = caller.transport.get_extra_info("ssl_object")
        assert (spoken.version(), spoken.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
        peer = caller.transport.get_extra_info("socket")
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await talk(caller, await server.accept())


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("elsewhere", "the certificate of localhost is not for localhost: Hostname mismatch"),
        ("stranger", "the certificate of localhost is signed by an unknown CA: "),
        ("expired", "the certificate of localhost has expired: "),
    ],
)
@on_uvloop
async def test_a_certificate_that_is_not_good_is_refused_by_its_reason(
    pair: str, says: str, certificates: Certificates
) -> None:
    offered: Pair = getattr(certificates, pair)
    async with secured(certificates.server_context(offered)) as server:
        url = f"https://localhost:{server.port}"
        found = await refused(dialer(url, ca_file=certificates.ca))
        assert (found.cause, found.detail[: len(says)]) == (Cause.TLS, says)
        await talk(await connected(dialer(url, verify=False)), await server.accept())


@on_uvloop
async def test_server_name_stands_for_the_host_of_the_url(certificates: Certificates) -> None:
    async with secured(certificates.server_context(certificates.elsewhere)) as server:
        url = f"https://127.0.0.1:{server.port}"
        way = dialer(url, ca_file=certificates.ca, server_name="shop.example.org")
        await talk(await connected(way), await server.accept())


@on_uvloop
async def test_the_system_does_not_know_our_ca(certificates: Certificates) -> None:
    async with secured(certificates.server_context()) as server:
        found = await refused(dialer(f"https://localhost:{server.port}"))
        assert "is signed by an unknown CA" in found.detail


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@on_uvloop
async def test_a_backend_that_speaks_old_tls_only_is_refused(certificates: Certificates) -> None:
    context = certificates.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with alerting(context) as port:
        found = await refused(dialer(f"https://localhost:{port}", ca_file=certificates.ca))
        assert found.cause is Cause.TLS
        assert "no version of TLS that versions_min allows" in found.detail


@on_uvloop
async def test_versions_min_is_kept(certificates: Certificates) -> None:
    context = certificates.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    ca = certificates.ca
    async with secured(context) as server:
        await talk(
            await connected(dialer(f"https://localhost:{server.port}", ca_file=ca)),
            await server.accept(),
        )
    with alerting(context) as port:
        found = await refused(
            dialer(f"https://localhost:{port}", ca_file=ca, versions_min=Version.V1_3)
        )
        assert "versions_min" in found.detail


@on_uvloop
async def test_a_backend_without_tls_is_told_apart(certificates: Certificates) -> None:
    async with serving() as server:

        async def answer() -> None:
            peer = await server.accept()
            await peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        answering = asyncio.ensure_future(answer())
        found = await refused(dialer(f"https://localhost:{server.port}", ca_file=certificates.ca))
        assert found.cause is Cause.TLS
        assert "localhost does not speak TLS" in found.detail
        await answering


@on_uvloop
async def test_a_backend_that_hangs_up_in_the_handshake_is_a_failure() -> None:
    async with serving() as server:
        opening = asyncio.ensure_future(refused(dialer(f"https://localhost:{server.port}")))
        (await server.accept()).reset()
        found = await opening
        assert found.cause is Cause.TLS
        assert "localhost ended the TLS handshake" in found.detail


@on_uvloop
async def test_a_handshake_that_hangs_is_late() -> None:
    async with serving() as server:
        way = dialer(f"https://localhost:{server.port}", tls_timeout_ms=20)
        found = await refused(way)
        assert (found.cause, found.detail) == (Cause.CONNECT_TIMEOUT, "the TLS handshake timed out")
        peer = await server.accept()
        await peer.gone()


@on_uvloop
async def test_who_gives_up_in_the_handshake_leaves_nothing_open() -> None:
    async with serving() as server:
        opening = asyncio.ensure_future(
            Dialer.open(dialer(f"https://localhost:{server.port}"), Caller())
        )
        peer = await server.accept()
        await peer.exactly(1)
        opening.cancel()
        await peer.gone()


# our own certificate


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@on_uvloop
async def test_our_certificate_is_shown_to_a_backend_that_asks(
    version: str, certificates: Certificates
) -> None:
    context = certificates.server_context(clients=certificates.ca)
    context.maximum_version = ssl.TLSVersion[f"TLSv{version.replace('.', '_')}"]
    async with secured(context) as server:
        way = dialer(
            f"https://localhost:{server.port}",
            ca_file=certificates.ca,
            certificate_file=certificates.client.certificate,
            key_file=certificates.client.key,
        )
        await talk(await connected(way), await server.accept())


@on_uvloop
async def test_a_backend_that_gets_no_certificate_refuses(certificates: Certificates) -> None:
    context = certificates.server_context(clients=certificates.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # with TLS 1.3 it is told later: test_pool
    with alerting(context) as port:
        found = await refused(dialer(f"https://localhost:{port}", ca_file=certificates.ca))
        assert found.cause is Cause.TLS
        assert "asks for a client certificate" in found.detail


@on_uvloop
async def test_files_that_are_not_good_are_told_when_the_pool_is_made() -> None:
    with pytest.raises(TlsError, match=r"ca_file = /none: cannot be read: No such file"):
        dialer("https://shop", ca_file="/none")
    dialer("http://shop", ca_file="/none")  # has no effect, and the config says so


@on_uvloop
async def test_new_connections_use_files_that_changed(
    tmp_path: Path, certificates: Certificates
) -> None:
    trusted = tmp_path / "ca.pem"
    said: list[str] = []
    trusted.write_bytes(Path(certificates.stranger_ca).read_bytes())
    async with secured(certificates.server_context()) as server:
        way = dialer(f"https://localhost:{server.port}", ca_file=str(trusted), said=said)
        assert "unknown CA" in (await refused(way)).detail
        trusted.write_bytes(Path(certificates.ca).read_bytes())
        assert way._contexts is not None
        way._contexts._looked_at -= LOOK_S
        await talk(await connected(way), await server.accept())
        assert len(said) == 1
