"""TLS on one connection, at either end: the handshake, what went wrong with it, and the transport.

Law: the connection's owner sees a transport like any other. Its write buffer is all that the socket
has not taken: uvloop's own TLS transport counts only what is not encrypted yet. An end without a
goodbye is no end (RFC 8446 6.1): so it is on uvloop; asyncio's own loop does not tell them apart.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import cast

from proxy.wire.writing import limit

SHUTDOWN_S = 3600.0
"""How long a close may flush: an upper bound for leftovers; the owner's own deadline comes first."""

LOOK_S = 5.0
"""How often the files of a context are looked at, at the most."""

_RECORD = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
_VERSION = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE")
_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_*: OpenSSL's x509_vfy.h, stable since 1.0
_UNTRUSTED = (18, 19, 20, 21)
_OTHER_NAME = (62, 64)
_ALERTS = {
    "ALERT_CERTIFICATE_REQUIRED": "it asks for a client certificate (certificate_file)",
    "ALERT_BAD_CERTIFICATE": "it refuses our certificate",
    "ALERT_UNSUPPORTED_CERTIFICATE": "it refuses our certificate",
    "ALERT_CERTIFICATE_REVOKED": "it says that our certificate is revoked",
    "ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired",
    "ALERT_CERTIFICATE_UNKNOWN": "it refuses our certificate",
    "ALERT_UNKNOWN_CA": "it does not know the CA of our certificate",
    "ALERT_ACCESS_DENIED": "it refuses our certificate",
    "ALERT_HANDSHAKE_FAILURE": "it refuses the handshake, or asks for a client certificate",
}  # RFC 8446 6.2, as OpenSSL spells them after "SSLV3_", "TLSV1_" or "TLSV13_"

Say = Callable[[str], None]
"""Takes one line for the operator."""


class Secured:
    """The transport of a TLS connection: what `asyncio.Transport` has and the wire rooms use."""

    __slots__ = (
        "_raw", "_tls", "abort", "get_extra_info", "pause_reading", "resume_reading",
        "set_protocol", "set_write_buffer_limits", "write", "writelines",
    )  # fmt: skip

    def __init__(self, tls: asyncio.Transport, raw: asyncio.Transport) -> None:
        self._raw = raw
        self._tls = tls
        self.abort = tls.abort
        self.get_extra_info = tls.get_extra_info
        self.pause_reading = tls.pause_reading
        self.resume_reading = tls.resume_reading
        self.set_protocol = tls.set_protocol
        self.set_write_buffer_limits = tls.set_write_buffer_limits
        self.write = tls.write
        self.writelines = tls.writelines

    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._tls.is_closing() or self._raw.is_closing()

    def get_write_buffer_size(self) -> int:
        """Bytes that the socket has not taken."""
        return self._tls.get_write_buffer_size() + self._raw.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        """False: the other half ends with this one."""
        return False

    def write_eof(self) -> None:
        """Say that nothing more comes, and drop what does until the peer says so, too."""
        self._tls.close()

    def close(self) -> None:
        """Say so and close, without waiting for the peer (RFC 8446 6.1)."""
        self._tls.close()
        if not self._tls.get_write_buffer_size():
            self._raw.close()  # it flushes what it has


class Contexts:
    """The context of one table: made anew when its files change, kept while they are not good."""

    def __init__(
        self, files: tuple[str, ...], make: Callable[[], ssl.SSLContext], say: Say
    ) -> None:
        """Raises what `make` raises; later failures are said once."""
        self._files = files
        self._make = make
        self._say = say
        self._looked_at = float("-inf")
        self._seen = self._stamps()
        self._trouble = ""
        self._context = make()

    def at(self, now: float) -> ssl.SSLContext:
        """The context for a connection that begins now (monotonic seconds)."""
        if now >= self._looked_at + LOOK_S:
            self._looked_at = now
            stamps = self._stamps()
            if stamps != self._seen:
                self._renew(stamps)
        return self._context

    def _renew(self, stamps: list[tuple[int, int, int] | None]) -> None:
        try:
            self._context = self._make()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the files, the old ones serve
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._say(f"TLS files changed and are not good, the former ones stay: {error}")
            return
        self._seen, self._trouble = stamps, ""
        self._say(f"TLS files changed, new connections use them: {', '.join(self._files)}")

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) for file in self._files]


async def secure(
    raw: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    timeout_s: float,
    server_name: str | None = None,
) -> None:
    """Shake hands on an open connection, then hand it to `protocol`, with its first data.

    With `server_name` as the client, without it as the server. Raises TimeoutError or another
    OSError, the connection aborted. Cancelled, it is aborted as well.
    """
    loop = asyncio.get_running_loop()
    early = _Early()
    try:
        if raw.is_closing():
            raise ConnectionResetError("it was closed at once")
        limit(raw)
        async with asyncio.timeout(timeout_s):
            tls = await loop.start_tls(
                raw, early, context, server_side=server_name is None, server_hostname=server_name,
                ssl_handshake_timeout=2 * timeout_s, ssl_shutdown_timeout=SHUTDOWN_S,
            )  # fmt: skip
        if tls is None or tls.is_closing() or raw.is_closing():
            raise ConnectionResetError("it was closed after the handshake")
    except BaseException:
        raw.abort()
        raise
    # What comes while nobody reads stays in the kernel: uvloop loses what it holds when the peer closes.
    cast("_Limited", tls).set_read_buffer_limits(1, 0)
    protocol.connection_made(cast("asyncio.Transport", Secured(tls, raw)))
    tls.set_protocol(protocol)
    if early.data:
        protocol.data_received(early.data)


def explain(error: Exception, name: str) -> str:
    """What a failed handshake with `name` says to an operator, in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        if code in (_EXPIRED, _NOT_YET):
            what = "has expired" if code == _EXPIRED else "is not valid yet"
        elif code in _OTHER_NAME:
            what = f"is not for {name}"
        elif code in _UNTRUSTED:
            what = "is signed by an unknown CA"
        else:
            what = "is not accepted"
        return f"the certificate of {name} {what}: {error.verify_message}"
    reason = error.reason or "" if isinstance(error, ssl.SSLError) else ""
    if reason in _RECORD:
        return f"{name} does not speak TLS ({reason})"
    if reason in _VERSION:
        return f"{name} speaks no version of TLS that versions_min allows ({reason})"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake with {name} failed: {_alert(reason) or reason or error}"
    return f"{name} ended the TLS handshake: {str(error) or 'connection reset'}"


def refusal(error: BaseException | None) -> str:
    """What a peer says that refuses our certificate after the handshake (TLS 1.3); else empty."""
    return _alert(error.reason or "") if isinstance(error, ssl.SSLError) else ""


def _alert(reason: str) -> str:
    return _ALERTS.get(reason.partition("_")[2], "")


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class _Early(asyncio.Protocol):
    """Keeps what comes right behind the handshake, for the protocol that is not connected yet."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


class _Limited(asyncio.Transport):
    """What typeshed does not know of the TLS transports."""

    def set_read_buffer_limits(self, high: int, low: int) -> None:
        """The bytes of encrypted input that are held."""
