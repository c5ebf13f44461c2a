"""Exchanges over TLS and socket files: as over TCP, to the byte; and how contexts follow their files."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.control.sides import Backend
from proxy.control.tls import BackendTls
from proxy.wire.connection import FILE_PIECE_BYTES, Connection
from proxy.wire.pool import Pool
from proxy.wire.secure import LOOK_S, Contexts, explain, refusal
from rules.message import Cause, Failure, Framing, Outcome, Reply, Request
from tests.certificates import Certificates, alerting
from tests.proxy.wire.raw import (
    OK,
    Ear,
    Peer,
    Server,
    Taker,
    a_request,
    on_uvloop,
    sweeping,
    until,
)

MEBIBYTE = 1_048_576


@asynccontextmanager
async def paired(
    certificates: Certificates, path: Path | None = None, **settings: object
) -> AsyncIterator[tuple[Pool, Server]]:
    """A pool and its backend: over TLS, or over a socket file."""
    server = Server()
    if path is None:
        context = certificates.server_context()
        listening = await asyncio.start_server(server.connected, "127.0.0.1", 0, ssl=context)
        url = f"https://localhost:{listening.sockets[0].getsockname()[1]}"
    else:
        listening = await asyncio.start_unix_server(server.connected, str(path))
        url = f"unix:{path}"
    tls = BackendTls(ca_file=certificates.ca)
    pool = Pool(Backend(url=url, tls=tls, **settings))  # type: ignore[arg-type]
    try:
        yield pool, server
    finally:
        pool.close()
        listening.close()
        for peer in server.peers:
            peer.writer.transport.abort()
        await listening.wait_closed()


def sending(pool: Pool, request: Request, limit: int = 2 * MEBIBYTE) -> asyncio.Task[Outcome]:
    async def outcome() -> Outcome:
        return await pool.ask(request, request.head, limit)

    return asyncio.ensure_future(outcome())


async def answer(peer: Peer, size: int, reply: bytes) -> None:
    await peer.until()
    assert len(await peer.exactly(size)) == size
    await peer.send(reply)


def a_reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


# exchanges


@pytest.mark.parametrize("over", ["tls", "unix"])
@on_uvloop
async def test_long_bodies_go_both_ways_and_the_connection_is_used_again(
    over: str, certificates: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "backend.sock" if over == "unix" else None
    body = os.urandom(MEBIBYTE)
    async with paired(certificates, path) as (pool, server):
        for turn in range(3):
            task = sending(pool, a_request("POST", body))
            peer = server.peers[0] if turn else await server.accept()
            await answer(peer, len(body), a_reply(body))
            reply = await task
            assert isinstance(reply, Reply)
            assert (reply.status, reply.body == body, reply.truncated) == (200, True, False)
        assert len(server.peers) == 1


@on_uvloop
async def test_a_spooled_body_is_sent_from_its_file(
    certificates: Certificates, tmp_path: Path
) -> None:
    size = 3 * FILE_PIECE_BYTES + 7
    spool = tmp_path / "body"
    spool.write_bytes(b"x" * size)
    async with paired(certificates) as (pool, server):
        task = sending(pool, a_request("PUT", spool=spool, size=size))
        await answer(await server.accept(), size, OK)
        assert isinstance(await task, Reply)
        assert pool.idle() is not None


@on_uvloop
async def test_the_write_buffer_is_all_that_the_backend_has_not_taken(
    certificates: Certificates,
) -> None:
    """What tells a slow backend from a dead one; uvloop counts only what is not encrypted yet."""
    size = 30_000_000
    async with paired(certificates) as (pool, server):
        connection = await pool.connect()
        assert isinstance(connection, Connection)
        peer = await server.accept()
        connection.transport.write(b"x" * size)
        unsent = connection.transport.get_write_buffer_size()
        assert unsent > size / 2
        await peer.exactly(size // 2)
        assert 0 < connection.transport.get_write_buffer_size() < unsent
        await peer.exactly(size // 2)
        assert connection.transport.get_write_buffer_size() == 0


@on_uvloop
async def test_a_backend_that_takes_nothing_of_an_upload_is_late(
    certificates: Certificates, tmp_path: Path
) -> None:
    spool = tmp_path / "body"
    spool.write_bytes(b"x" * 20_000_000)
    async with paired(certificates, first_byte_timeout_ms=20) as (pool, server):
        task = sending(pool, a_request("PUT", spool=spool, size=20_000_000))
        (await server.accept()).writer.transport.pause_reading()  # type: ignore[attr-defined]
        outcome = await sweeping(pool.sweep, task)
        assert isinstance(outcome, Failure)
        assert (outcome.cause, outcome.sent) == (Cause.TIMEOUT, True)


@pytest.mark.parametrize("over", ["tls", "unix"])
@on_uvloop
async def test_a_held_reply_waits_and_is_whole_though_the_backend_closes(
    over: str, certificates: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "backend.sock" if over == "unix" else None
    size = 30_000_000
    async with paired(certificates, path) as (pool, server):
        request = a_request()
        exchange = pool.ask(request, request.head, 1000, Ear())
        peer = await server.accept()

        async def flood() -> None:
            await peer.until()
            await peer.send(a_reply(b"x" * size))
            peer.writer.close()

        flooding = asyncio.ensure_future(flood())
        reply = await exchange
        assert isinstance(reply, Reply)
        assert reply.truncated
        assert exchange.connection is not None
        await asyncio.wait({flooding}, timeout=0.05)
        if over == "unix":
            assert not flooding.done()  # the rest waits where it is
        else:  # uvloop's own TLS server takes any amount from the test
            assert exchange.connection.transport._tls.get_read_buffer_size() < 300_000  # type: ignore[attr-defined]
        taker = Taker()
        exchange.pass_on(taker)
        await taker.ended.wait()
        assert (len(reply.body) + len(taker.body), taker.failure) == (size, None)
        await flooding


@on_uvloop
async def test_the_end_of_a_held_reply_is_not_lost_when_the_backend_closes(
    certificates: Certificates,
) -> None:
    """uvloop forgets what it holds of a paused connection when the end comes: so it holds nothing."""
    size = 200_000  # more than one read, less than what uvloop would hold
    with alerting(certificates.server_context(), a_reply(b"x" * size)) as port:
        tls = BackendTls(ca_file=certificates.ca)
        pool = Pool(Backend(url=f"https://localhost:{port}", tls=tls))
        request = a_request()
        exchange = pool.ask(request, request.head, 10, Ear())
        await until(lambda: exchange.connection is not None)
        await asyncio.sleep(0)
        time.sleep(0.1)  # the request is out; when the loop looks again, all of the reply is there
        reply = await exchange
        assert isinstance(reply, Reply)
        assert reply.truncated
        await asyncio.sleep(0.02)  # time to read what is not to be read
        taker = Taker()
        exchange.pass_on(taker)
        await taker.ended.wait()
        assert (len(reply.body) + len(taker.body), taker.failure) == (size, None)
        pool.close()


# ends


@pytest.mark.parametrize("goodbye", [True, False])
@on_uvloop
async def test_a_reply_until_the_end_is_whole_only_if_the_backend_says_so(
    goodbye: bool, certificates: Certificates
) -> None:
    """RFC 8446 6.1: without close_notify, anybody may have cut it."""
    async with paired(certificates) as (pool, server):
        task = sending(pool, a_request())
        peer = await server.accept()
        await answer(peer, 0, b"HTTP/1.1 200 OK\r\n\r\nall of it")
        if goodbye:
            peer.writer.close()
        else:
            bare = socket.socket(fileno=os.dup(peer.writer.get_extra_info("socket").fileno()))
            with bare:
                bare.shutdown(socket.SHUT_WR)
        outcome = await task
        if goodbye:
            assert isinstance(outcome, Reply)
            assert (outcome.framing, outcome.body) == (Framing.CLOSE, b"all of it")
        else:
            assert isinstance(outcome, Failure)
            assert (outcome.cause, outcome.sent) == (Cause.RESET, True)


@pytest.mark.parametrize("over", ["tls", "unix"])
@on_uvloop
async def test_a_connection_that_the_backend_closes_as_it_is_used_is_not_replaced(
    over: str, certificates: Certificates, tmp_path: Path
) -> None:
    """The close is on its way, and we cannot know yet: nothing is sent twice."""
    path = tmp_path / "backend.sock" if over == "unix" else None
    async with paired(certificates, path) as (pool, server):
        task = sending(pool, a_request())
        peer = await server.accept()
        await answer(peer, 0, OK)
        assert isinstance(await task, Reply)
        peer.writer.close()
        outcome = await pool.ask(a_request("POST", b"hello"), b"POST", 1000)
        assert isinstance(outcome, Failure)
        assert (outcome.cause, outcome.sent) == (Cause.RESET, True)
        assert (len(server.peers), server.accepted.qsize()) == (1, 0)


@pytest.mark.parametrize("over", ["tls", "unix"])
@on_uvloop
async def test_a_connection_that_the_backend_has_closed_is_replaced_before_a_byte_is_written(
    over: str, certificates: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "backend.sock" if over == "unix" else None
    async with paired(certificates, path) as (pool, server):
        task = sending(pool, a_request())
        peer = await server.accept()
        await answer(peer, 0, OK)
        await task
        peer.writer.close()
        await until(lambda: not pool._open)
        task = sending(pool, a_request())
        await answer(await server.accept(), 0, OK)
        assert isinstance(await task, Reply)
        assert len(server.peers) == 2


@on_uvloop
async def test_a_backend_that_refuses_our_certificate_after_the_handshake_got_nothing(
    certificates: Certificates,
) -> None:
    """TLS 1.3: for us the handshake is over when it says so."""
    context = certificates.server_context(clients=certificates.ca)
    with alerting(context) as port:
        for mine, says in (
            ({}, "TLS: it asks for a client certificate (certificate_file)"),
            (
                {
                    "certificate_file": certificates.stranger_client.certificate,
                    "key_file": certificates.stranger_client.key,
                },
                "TLS: it does not know the CA of our certificate",
            ),
        ):
            tls = BackendTls(ca_file=certificates.ca, **mine)  # type: ignore[arg-type]
            pool = Pool(Backend(url=f"https://localhost:{port}", tls=tls))
            outcome = await pool.ask(
                a_request("POST", b"hello"), a_request("POST", b"hello").head, 10
            )
            assert isinstance(outcome, Failure)
            assert (outcome.cause, outcome.sent, outcome.detail) == (Cause.TLS, False, says)
            pool.close()


@on_uvloop
async def test_an_idle_connection_over_tls_is_closed_with_a_goodbye(
    certificates: Certificates,
) -> None:
    async with paired(certificates, idle_timeout_ms=10) as (pool, server):
        task = sending(pool, a_request())
        peer = await server.accept()
        await answer(peer, 0, OK)
        await task
        assert await sweeping(pool.sweep, peer.rest()) == b""
        await until(lambda: not pool._open)


# contexts and their files


class Files:
    """A file, who makes contexts of it, and what was said."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "cert.pem"
        self.file.write_text("1")
        self.made = 0
        self.bad = ""
        self.said: list[str] = []
        self.contexts = Contexts((str(self.file),), self.make, self.said.append)

    def make(self) -> ssl.SSLContext:
        if self.bad:
            raise ValueError(self.bad)
        self.made += 1
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def test_a_context_is_kept_while_its_files_stay(tmp_path: Path) -> None:
    files = Files(tmp_path)
    first = files.contexts.at(100.0)
    assert files.contexts.at(100.0 + 10 * LOOK_S) is first
    assert (files.made, files.said) == (1, [])


def test_a_changed_file_is_taken_at_the_next_look(tmp_path: Path) -> None:
    files = Files(tmp_path)
    first = files.contexts.at(100.0)
    files.file.write_text("22")
    assert files.contexts.at(100.0 + LOOK_S / 2) is first
    second = files.contexts.at(100.0 + LOOK_S)
    assert second is not first
    assert files.contexts.at(100.0 + 2 * LOOK_S) is second
    assert len(files.said) == 1


def test_a_link_that_points_elsewhere_is_a_change(tmp_path: Path) -> None:
    """So a Kubernetes secret is renewed: its folder is a link."""
    files = Files(tmp_path)
    first = files.contexts.at(100.0)
    other = tmp_path / "other"
    other.write_text("1")
    files.file.unlink()
    files.file.symlink_to(other)
    assert files.contexts.at(100.0 + LOOK_S) is not first


def test_files_that_are_not_good_leave_the_former_context_and_are_told_once(tmp_path: Path) -> None:
    files = Files(tmp_path)
    first = files.contexts.at(100.0)
    files.file.write_text("22")
    files.bad = "key does not fit"
    for turn in range(1, 4):
        assert files.contexts.at(100.0 + turn * LOOK_S) is first
    assert len(files.said) == 1
    assert "key does not fit" in files.said[0]
    files.bad = ""
    assert files.contexts.at(100.0 + 4 * LOOK_S) is not first


def test_files_that_are_not_good_at_the_start_are_an_error(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.bad = "no"
    with pytest.raises(ValueError, match="no"):
        Contexts((str(files.file),), files.make, files.said.append)


# what went wrong


def ssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("WRONG_VERSION_NUMBER", "shop does not speak TLS"),
        ("UNSUPPORTED_PROTOCOL", "no version of TLS that versions_min allows"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "it asks for a client certificate"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "it says that our certificate has expired"),
        ("SOMETHING_ELSE", "the TLS handshake with shop failed: SOMETHING_ELSE"),
    ],
)
def test_a_failed_handshake_is_explained(reason: str, says: str) -> None:
    assert says in explain(ssl_error(reason), "shop")


def test_only_a_refused_certificate_is_a_refusal() -> None:
    assert refusal(ssl_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"))
    assert not refusal(ssl_error("TLSV1_ALERT_INTERNAL_ERROR"))
    assert not refusal(ConnectionResetError())
    assert not refusal(None)
