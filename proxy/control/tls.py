"""TLS in the config: its keys at both ends, what may be wrong with their files, and the contexts.

Law: the files are read here and nowhere else. Every flaw of a table is found at once; a table
without flaws makes a context.
"""

import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from proxy.control.keys import key

ALPN = ["http/1.1"]
"""The one protocol that is spoken, at both ends (RFC 7301 6)."""


class Version(StrEnum):
    """The lowest version of TLS; older ones are forbidden (RFC 8996)."""

    V1_2 = "1.2"
    V1_3 = "1.3"


_VERSIONS = {Version.V1_2: ssl.TLSVersion.TLSv1_2, Version.V1_3: ssl.TLSVersion.TLSv1_3}
_NAME = re.compile(r"(?:[A-Za-z0-9_:][A-Za-z0-9._:-]*)?")  # a leading dot is no name to OpenSSL


def _file(path: str) -> None:
    if "\0" in path or "\n" in path:
        raise ValueError("must be the path of a file")


def _name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise ValueError("must be a host name or an address")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenTls:
    """`[listen.tls]`: TLS for clients; on where there is a certificate."""

    certificate_file: str = key(
        "", 'The certificate with its chain, PEM; "" is no TLS.', check=_file
    )
    key_file: str = key("", 'Its key, PEM; "" is: in certificate_file.', check=_file)
    client_ca_file: str = key(
        "", 'Who may sign client certificates; "" asks for none.', check=_file
    )
    versions_min: Version = key(Version.V1_2, "The lowest version of TLS.")

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read."""
        return _given(self.certificate_file, self.key_file, self.client_ca_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTls:
    """`[backends.legacy.tls]` and `[backends.new.tls]`: how an https backend is met."""

    ca_file: str = key("", 'Who may sign its certificate, PEM; "" is the system.', check=_file)
    certificate_file: str = key("", 'Our certificate, PEM; "" is none.', check=_file)
    key_file: str = key("", 'Our key, PEM; "" is: in certificate_file.', check=_file)
    server_name: str = key("", 'The name in its certificate; "" is the host of url.', check=_name)
    verify: bool = key(True, "Whether its certificate is verified.")
    versions_min: Version = key(Version.V1_2, "The lowest version of TLS.")

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read."""
        return _given(self.ca_file, self.certificate_file, self.key_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """What is wrong with the value of one key, as `proxy.control.reading.Problem` has it."""

    key: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.key} = {self.value}: {self.allowed}"


class TlsError(Exception):
    """No context can be made; its text is one line that names every flaw."""


def flaws(table: ListenTls | BackendTls) -> tuple[Flaw, ...]:
    """Everything that is wrong with the files of a table."""
    return tuple(_flaws(table))


def server_context(table: ListenTls) -> ssl.SSLContext:
    """The context for clients; TlsError if a file is not good."""
    _refuse(table)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if table.client_ca_file:
        context.load_verify_locations(table.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    _present(context, table)
    return context


def client_context(table: BackendTls) -> ssl.SSLContext:
    """The context for a backend; TlsError if a file is not good."""
    _refuse(table)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not table.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif table.ca_file:
        context.load_verify_locations(table.ca_file)
    else:
        context.load_default_certs()
    _present(context, table)
    return context


def _present(context: ssl.SSLContext, table: ListenTls | BackendTls) -> None:
    if table.certificate_file:
        context.load_cert_chain(table.certificate_file, table.key_file or None, _no_password)
    context.minimum_version = _VERSIONS[table.versions_min]
    context.set_alpn_protocols(ALPN)


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # else OpenSSL asks at the terminal


def _given(*files: str) -> tuple[str, ...]:
    return tuple(file for file in files if file)


def _refuse(table: ListenTls | BackendTls) -> None:
    found = flaws(table)
    if found:
        raise TlsError("; ".join(str(flaw) for flaw in found))


def _flaws(table: ListenTls | BackendTls) -> Iterator[Flaw]:
    trusted = "client_ca_file" if isinstance(table, ListenTls) else "ca_file"
    bad = []
    for name in (trusted, "certificate_file", "key_file"):
        trouble = _unreadable(getattr(table, name))
        if trouble:
            bad.append(name)
            yield Flaw(key=name, value=getattr(table, name), allowed=f"cannot be read: {trouble}")
    trust = getattr(table, trusted)
    if trust and trusted not in bad and not _has_certificates(trust):
        yield Flaw(key=trusted, value=trust, allowed="must hold certificates in PEM form")
    if not table.certificate_file:
        needing = ("key_file", trusted) if isinstance(table, ListenTls) else ("key_file",)
        for name in needing:
            if getattr(table, name):
                allowed = "needs certificate_file, which is not set"
                yield Flaw(key=name, value=getattr(table, name), allowed=allowed)
    elif not {"certificate_file", "key_file"} & set(bad):
        yield from _unfit(table.certificate_file, table.key_file)


def _unreadable(path: str) -> str:
    if not path:
        return ""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.path.getsize(path) else "it is empty"


def _has_certificates(path: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        return False
    return context.cert_store_stats()["x509"] > 0


def _unfit(certificate: str, own_key: str) -> Iterator[Flaw]:
    """Why a certificate and its key cannot be presented."""
    name, file = ("key_file", own_key) if own_key else ("certificate_file", certificate)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate, own_key or None, _no_password
        )
    except ValueError as error:  # not SSLError: from _no_password
        yield Flaw(key=name, value=file, allowed=f"must be a key without a password: {error}")
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            allowed = "must be the key of certificate_file, and is that of another one"
        elif _has_certificates(certificate):
            allowed = "must hold a key in PEM form"
        else:
            name, file = "certificate_file", certificate
            allowed = "must hold a certificate in PEM form"
        yield Flaw(key=name, value=file, allowed=allowed)
