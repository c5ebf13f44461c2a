"""The listener: ports, socket files, TLS, and everybody who does not belong there."""

import asyncio
import os
import socket
import ssl
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from proxy.control.ports import Listen
from proxy.control.tls import ListenTls, TlsError, Version
from proxy.wire.clients import Clients
from proxy.wire.downstream import Door
from proxy.wire.listen import Listener, ListenError
from proxy.wire.secure import LOOK_S
from rules.message import Framing
from tests.certificates import Certificates, Pair
from tests.proxy.wire.raw import Guest, Hall, Peer, at_once, on_uvloop, sweeping, until

GET = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"


class Post:
    """A listener, its clients, what it said, and who was let in by the test."""

    def __init__(self, listener: Listener, clients: Clients, said: list[str]) -> None:
        self.listener = listener
        self.clients = clients
        self.said = said
        self.peers: list[Peer] = []

    @property
    def port(self) -> int:
        return int(self.listener.address.rpartition(":")[2])

    async def connect(self, context: ssl.SSLContext | None = None) -> Peer:
        name = None if context is None else "localhost"
        opened = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, server_hostname=name, limit=4096
        )
        self.peers.append(Peer(*opened))
        return self.peers[-1]


@asynccontextmanager
async def manned(door: Door | None = None, **settings: object) -> AsyncIterator[Post]:
    listen = Listen(**{"port": 0, **settings})  # type: ignore[arg-type]
    said: list[str] = []
    clients = Clients(listen, door or Hall(at_once))
    listener = Listener(listen, clients.connect, said.append)
    await listener.open()
    post = Post(listener, clients, said)
    try:
        yield post
    finally:
        listener.close()
        clients.abort()
        for peer in post.peers:
            peer.writer.transport.abort()
        await until(lambda: not clients.open and not listener._handshakes)


def tls(certificates: Certificates, pair: Pair | None = None, **more: object) -> ListenTls:
    pair = pair or certificates.server
    return ListenTls(certificate_file=pair.certificate, key_file=pair.key, **more)  # type: ignore[arg-type]


async def served(peer: Peer) -> None:
    await peer.send(GET)
    assert await peer.answer() == (200, b"ok")


async def hung_up(post: Post) -> None:
    """Wait until one more handshake has come to nothing, without a client of it."""
    before = post.listener.handshakes_failed
    await until(lambda: post.listener.handshakes_failed > before)
    assert not post.clients.open


# ports


@on_uvloop
async def test_a_port_takes_clients() -> None:
    async with manned() as post:
        await served(await post.connect())
        assert post.listener.address == f"127.0.0.1:{post.port}"
        (client,) = post.clients.open
        accepted = client.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_uvloop
async def test_an_ipv6_address_is_shown_in_brackets() -> None:
    async with manned(host="::1") as post:
        assert post.listener.address == f"[::1]:{post.port}"


@on_uvloop
async def test_a_port_in_use_is_told_by_address_and_reason() -> None:
    async with manned() as post:
        with pytest.raises(ListenError) as caught:
            async with manned(port=post.port):
                pass
        reason = f"cannot listen on 127.0.0.1:{post.port}: Address already in use"
        assert str(caught.value) == reason


# socket files


async def serve_once(path: Path) -> None:
    peer = Peer(*await asyncio.open_unix_connection(str(path)))
    await served(peer)
    await peer.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("settings", "expected"), [({}, 0o660), ({"unix_mode": "0600"}, 0o600)])
@on_uvloop
async def test_a_socket_file_takes_clients_and_goes_with_the_listener(
    tmp_path: Path, settings: dict[str, Any], expected: int
) -> None:
    path = tmp_path / "twinwrite.sock"
    async with manned(unix=str(path), **settings) as post:
        assert (post.listener.address, mode(path)) == (f"unix:{path}", expected)
        await serve_once(path)
    assert not path.exists()


@on_uvloop
async def test_the_socket_file_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "twinwrite.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with manned(unix=str(path)):
        await serve_once(path)


@on_uvloop
async def test_the_socket_file_of_a_live_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "twinwrite.sock"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen(1)
        with pytest.raises(ListenError) as caught:
            async with manned(unix=str(path)):
                pass
        reason = f"cannot listen on unix:{path}: another process listens there"
        assert str(caught.value) == reason
        assert path.exists()


@on_uvloop
async def test_the_socket_file_of_a_process_that_starts_at_the_same_time_is_left_alone(
    tmp_path: Path,
) -> None:
    listen = Listen(unix=str(tmp_path / "twinwrite.sock"))
    first, second = (Listener(listen, asyncio.Protocol, print) for _ in range(2))
    refused = pytest.raises(ListenError, match="another process listens there")
    with closing(first._bind()), refused:
        await second.open()


@on_uvloop
async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "twinwrite.sock"
    path.write_text("precious")
    with pytest.raises(ListenError, match="there is a file of that name, and it is no socket"):
        async with manned(unix=str(path)):
            pass
    assert path.read_text() == "precious"


@on_uvloop
async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"unix:.*/none/a: No such file or directory"):
        async with manned(unix=str(tmp_path / "none" / "a")):
            pass


@on_uvloop
async def test_a_socket_file_that_is_no_longer_ours_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "twinwrite.sock"
    async with manned(unix=str(path)):
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


# TLS


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@on_uvloop
async def test_tls_is_spoken_to_clients(version: str, certificates: Certificates) -> None:
    async with manned(tls=tls(certificates)) as post:
        context = certificates.client_context()
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        context.set_alpn_protocols(["h2", "http/1.1"])
        peer = await post.connect(context)
        for _ in range(2):
            await served(peer)
        spoken = peer.writer.get_extra_info("ssl_object")
        assert (spoken.version().replace(".", "_"), spoken.selected_alpn_protocol()) == (
            version,
            "http/1.1",
        )
        (client,) = post.clients.open
        accepted = client.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_uvloop
async def test_a_client_that_speaks_before_the_handshake_begins_is_heard(
    certificates: Certificates,
) -> None:
    """Its first words are there when the connection is accepted."""
    async with manned(tls=tls(certificates)) as post:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = certificates.client_context().wrap_bio(
            incoming, outgoing, server_hostname="localhost"
        )
        with closing(socket.create_connection(("127.0.0.1", post.port))) as client:
            with pytest.raises(ssl.SSLWantReadError):
                session.do_handshake()
            client.sendall(outgoing.read())
            client.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=client)
            while True:
                incoming.write(await reader.read(65536))
                try:
                    session.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                break
            session.write(GET)
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
            assert session.read(15) == b"HTTP/1.1 200 OK"
            writer.transport.abort()


@on_uvloop
async def test_a_client_certificate_is_asked_for(certificates: Certificates) -> None:
    asked = tls(certificates, client_ca_file=certificates.ca)
    async with manned(tls=asked) as post:
        await served(await post.connect(certificates.client_context(certificates.client)))
        await until(lambda: len(post.clients.open) == 1)
        post.clients.abort()
        await until(lambda: not post.clients.open)
        for pair in (None, certificates.stranger_client):
            peer = await post.connect(certificates.client_context(pair))
            await hung_up(post)
            await peer.gone()


@pytest.mark.parametrize("words", [GET, b"\x16\x03\x01\x00\x05junk!", b"\x00", b"x" * 100_000])
@on_uvloop
async def test_who_does_not_speak_tls_is_let_go(words: bytes, certificates: Certificates) -> None:
    async with manned(tls=tls(certificates), tls_timeout_ms=200) as post:
        peer = await post.connect()
        peer.writer.write(words)
        await hung_up(post)
        await peer.gone()
        await served(await post.connect(certificates.client_context()))


@on_uvloop
async def test_who_comes_and_goes_is_let_go(certificates: Certificates) -> None:
    async with manned(tls=tls(certificates)) as post:
        for leave in (Peer.finish, Peer.reset):
            peer = await post.connect()
            leave(peer)
            await hung_up(post)


@on_uvloop
async def test_who_does_not_finish_the_handshake_is_let_go_in_time(
    certificates: Certificates,
) -> None:
    async with manned(tls=tls(certificates), tls_timeout_ms=20) as post:
        peer = await post.connect()
        await hung_up(post)
        await peer.gone()


@on_uvloop
async def test_more_handshakes_than_clients_may_be_are_not_begun(
    certificates: Certificates,
) -> None:
    async with manned(tls=tls(certificates), connections_max=2) as post:
        silent = [await post.connect() for _ in range(2)]
        await until(lambda: len(post.listener._handshakes) == 2)
        await (await post.connect()).gone()
        assert len(post.listener._handshakes) == len(silent)


@on_uvloop
async def test_a_listener_that_closes_ends_the_handshakes_under_way(
    certificates: Certificates,
) -> None:
    async with manned(tls=tls(certificates)) as post:
        waiting = await post.connect()
        await until(lambda: post.listener._handshakes)
        post.listener.close()
        await waiting.gone()


@on_uvloop
async def test_versions_min_is_kept(certificates: Certificates) -> None:
    async with manned(tls=tls(certificates, versions_min=Version.V1_3)) as post:
        context = certificates.client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await post.connect(context)


@on_uvloop
async def test_new_handshakes_use_files_that_changed(
    tmp_path: Path, certificates: Certificates
) -> None:
    ours = Pair(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))

    def install(pair: Pair) -> None:
        for old, new in ((ours.certificate, pair.certificate), (ours.key, pair.key)):
            (tmp_path / "new").write_bytes(Path(new).read_bytes())
            os.replace(tmp_path / "new", old)

    def shown(peer: Peer) -> bytes:
        found: bytes = peer.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found

    install(certificates.server)
    async with manned(tls=tls(certificates, ours)) as post:
        first = await post.connect(certificates.client_context())
        install(certificates.renewed)
        assert post.listener._contexts is not None
        post.listener._contexts._looked_at -= LOOK_S
        second = await post.connect(certificates.client_context())
        for peer in (first, second):
            await served(peer)
        assert shown(first) == ssl.PEM_cert_to_DER_cert(leaf(certificates.server))
        assert shown(second) == ssl.PEM_cert_to_DER_cert(leaf(certificates.renewed))


def leaf(pair: Pair) -> str:
    return Path(pair.certificate).read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n"


@on_uvloop
async def test_files_that_are_not_good_end_the_start(certificates: Certificates) -> None:
    with pytest.raises(TlsError, match=r"key_file = .*: must be the key of certificate_file"):
        async with manned(
            tls=tls(certificates, Pair(certificates.server.certificate, certificates.client.key))
        ):
            pass


# a client's connection over TLS


@on_uvloop
async def test_the_last_reply_arrives_whole_however_slow_its_reader_is(
    certificates: Certificates,
) -> None:
    size = 20_000_000

    def greet(guest: Guest) -> None:
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
        guest.client.reply(head, b"x" * size, Framing.LENGTH, ended=True)

    async with manned(Hall(greet), tls=tls(certificates), idle_timeout_ms=100) as post:

        def slowly() -> int:
            """Not on uvloop, whose TLS client loses what it holds when the server closes."""
            with closing(blocking(post.port, certificates)) as client:
                client.sendall(GET.replace(b"Host", b"Connection: close\r\nHost"))
                got = bytearray()
                while data := client.recv(100_000):
                    got += data
                    time.sleep(0.0005)
                return len(got.partition(b"\r\n\r\n")[2])

        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(None, slowly)
        assert await sweeping(post.clients.sweep, reading) == size


@on_uvloop
async def test_a_client_that_reads_nothing_of_its_last_reply_is_let_go(
    certificates: Certificates,
) -> None:
    def greet(guest: Guest) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n"
        guest.client.reply(head, b"x" * 50_000_000, Framing.LENGTH, ended=True)

    async with manned(Hall(greet), tls=tls(certificates), idle_timeout_ms=20) as post:
        peer = await post.connect(certificates.client_context())
        await peer.send(GET.replace(b"Host", b"Connection: close\r\nHost"))
        await sweeping(post.clients.sweep, until(lambda: not post.clients.open))


@on_uvloop
async def test_a_client_that_is_refused_while_it_sends_gets_its_reply(
    certificates: Certificates,
) -> None:
    async with manned(tls=tls(certificates), head_bytes_max=1000) as post:

        def insisting() -> bytes:
            with closing(blocking(post.port, certificates)) as client:
                client.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 30_000_000)
                return client.recv(15)

        loop = asyncio.get_running_loop()
        sending = loop.run_in_executor(None, insisting)
        assert await sweeping(post.clients.sweep, sending) == b"HTTP/1.1 431 Re"


def blocking(port: int, certificates: Certificates) -> ssl.SSLSocket:
    """A client of OpenSSL alone: it reads and answers only when it is told to."""
    opened = socket.create_connection(("127.0.0.1", port))
    return certificates.client_context().wrap_socket(opened, server_hostname="localhost")


@on_uvloop
async def test_idle_clients_are_closed_at_once_when_it_drains(certificates: Certificates) -> None:
    async with manned(tls=tls(certificates)) as post:
        loop = asyncio.get_running_loop()
        client = await loop.run_in_executor(None, blocking, post.port, certificates)
        with closing(client):
            await until(lambda: post.clients.open)
            post.clients.drain()
            await until(lambda: not post.clients.open)  # it does not wait for the client's goodbye
            assert client.recv(1) == b""


@on_uvloop
async def test_a_client_that_ends_tls_after_its_request_is_gone(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    hall = Hall()
    async with manned(hall, tls=tls(certificates)) as post:
        peer = await post.connect(certificates.client_context())
        await peer.send(GET)
        guest = await hall.guest()
        peer.writer.close()
        await guest.left.wait()
        guest.say()
        assert not post.clients.open
    assert not caplog.records


@on_uvloop
async def test_a_reply_that_is_cut_over_tls_does_not_look_whole(certificates: Certificates) -> None:
    hall = Hall()
    async with manned(hall, tls=tls(certificates)) as post:
        peer = await post.connect(certificates.client_context())
        await peer.send(GET)
        guest = await hall.guest()
        guest.client.reply(b"HTTP/1.1 200 OK\r\n\r\n", b"begun", Framing.CLOSE, ended=False)
        assert await peer.until(b"begun")
        guest.client.cut()
        assert await peer.gone()
