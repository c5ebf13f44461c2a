"""Real certificates for real TLS: one CA that both ends trust, one that nobody does, and what they signed."""

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Certificates:
    """All of them; each is what its name says."""

    ca: str
    stranger_ca: str
    server: Pair  # localhost and 127.0.0.1
    renewed: Pair  # the same names, another key
    elsewhere: Pair  # another name
    expired: Pair
    stranger: Pair  # localhost, but by the CA that nobody trusts
    client: Pair
    stranger_client: Pair
    encrypted_key: str  # the server's, behind a password

    def server_context(self, pair: Pair | None = None, *, clients: str = "") -> ssl.SSLContext:
        """A server's context; `clients`: the CA of the client certificates that it asks for."""
        pair = pair or self.server
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        if clients:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self, pair: Pair | None = None) -> ssl.SSLContext:
        """A client's context, with a certificate of its own if one is given."""
        context = ssl.create_default_context(cafile=self.ca)
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context


@contextmanager
def alerting(context: ssl.SSLContext, reply: bytes = b"") -> Iterator[int]:
    """The port of a server that refuses in its thread, and says why: the loops' own servers only hang up.

    Who gets through the handshake is read from once and gets the reply, and the end.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    _serve(context, listener.accept()[0], reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(context: ssl.SSLContext, accepted: socket.socket, reply: bytes) -> None:
    with accepted, suppress(OSError), context.wrap_socket(accepted, server_side=True) as peer:
        if peer.recv(65536):
            peer.sendall(reply)


def make(folder: Path) -> Certificates:
    """Make them all, in a few ms, in a folder."""
    ours, strange = trustme.CA(), trustme.CA(organization_name="nobody")

    def pair(name: str, made: trustme.LeafCert) -> Pair:
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        for index, blob in enumerate(made.cert_chain_pems):
            blob.write_to_path(certificate, append=index > 0)
        made.private_key_pem.write_to_path(key)
        return Pair(str(certificate), str(key))

    for name, ca in (("ca", ours), ("stranger_ca", strange)):
        ca.cert_pem.write_to_path(folder / f"{name}.pem")
    here = ("localhost", "127.0.0.1")
    server = ours.issue_cert(*here)
    key = serialization.load_pem_private_key(server.private_key_pem.bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "encrypted.key").write_bytes(key.private_bytes(*formats, secret))
    return Certificates(
        ca=str(folder / "ca.pem"),
        stranger_ca=str(folder / "stranger_ca.pem"),
        server=pair("server", server),
        renewed=pair("renewed", ours.issue_cert(*here)),
        elsewhere=pair("elsewhere", ours.issue_cert("shop.example.org")),
        expired=pair("expired", ours.issue_cert(*here, not_before=PAST, not_after=PAST)),
        stranger=pair("stranger", strange.issue_cert(*here)),
        client=pair("client", ours.issue_cert("sidecar")),
        stranger_client=pair("stranger_client", strange.issue_cert("sidecar")),
        encrypted_key=str(folder / "encrypted.key"),
    )
