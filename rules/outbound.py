"""What one side gets in place of what the client sent: path, host, header fields, credential.

Law: the last step before the bytes go out. The journal, the ledger, translation and comparison know
only the client's request, so no secret of a side is ever in one of them. The head that comes is a
checked one in origin form (`rules.framing` has already made an absolute-form target a path).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rules.framing import HOP_BY_HOP

VIA = (b"Via: 1.0 twinwrite\r\n", b"Via: 1.1 twinwrite\r\n")
"""What a gateway says of itself, by the minor version that it was asked in (RFC 9110 7.6.3)."""

UNTOUCHABLE = frozenset(
    {
        *(name.decode() for name in HOP_BY_HOP),
        *("host", "content-length", "transfer-encoding", "trailer", "expect"),
        *("twinwrite-hop", "idempotency-key"),
    }
)
"""Fields that no setting may set or remove: they frame and route the message, or keep it single."""

_HOST = re.compile(rb"(\r\n[Hh][Oo][Ss][Tt]:)[^\r]*")


class HostPolicy(StrEnum):
    """The Host that a side gets."""

    PRESERVE = "preserve"  # the client's
    REWRITE = "rewrite"  # that of the side's url


class Auth(StrEnum):
    """The credential that a side gets."""

    FORWARD = "forward"  # the client's
    NONE = "none"  # no one's
    STATIC = "static"  # one of the side's own
    MAP = "map"  # the one that belongs to the client's


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """How a head is changed for one side. `lines` are whole, with CRLF. The names of `removed` are in lower
    case, with - for _: many servers make one of the two, so a field of either spelling is removed.

    `host` is the new Host, or empty. `header` is the credential's field, `credentials` what stands
    there for each of the client's values; None maps nothing.
    """

    base_path: bytes = b""
    host: bytes = b""
    removed: frozenset[bytes] = frozenset()
    lines: bytes = field(default=b"", repr=False)
    header: bytes = b"Authorization"
    credentials: Mapping[bytes, bytes] | None = field(default=None, repr=False)


def dressed(head: bytes, outbound: Outbound) -> bytes:
    """The head that the side gets. A credential that is not known is left out, never passed on.

    The base path is put before a path; `OPTIONS *` concerns the whole server and stays.
    """
    lines = outbound.lines
    if outbound.credentials is not None:
        credential = outbound.credentials.get(_credential(head, outbound))
        if credential is not None:
            lines += b"%b: %b\r\n" % (outbound.header, credential)
    if outbound.removed:
        head = _without(head, outbound.removed)
    if outbound.base_path:
        method, rest = head.split(b" ", 1)
        if rest[:1] == b"/":
            head = b"%b %b%b" % (method, outbound.base_path, rest)
    if outbound.host:
        line = b"Host: " + outbound.host
        head, found = _HOST.subn(lambda came: came[1] + b" " + outbound.host, head)
        lines = lines if found else line + b"\r\n" + lines
    return head[:-2] + lines + b"\r\n" if lines else head


def _without(head: bytes, names: frozenset[bytes]) -> bytes:
    first, *lines = head[:-4].split(b"\r\n")
    kept = [
        line for line in lines if line.split(b":", 1)[0].lower().replace(b"_", b"-") not in names
    ]
    return b"\r\n".join([first, *kept]) + b"\r\n\r\n"


def is_known(head: bytes, outbound: Outbound) -> bool:
    """Whether the client's credential has one of the side; no credential at all needs none."""
    assert outbound.credentials is not None
    found = _credential(head, outbound)
    return found == b"" or found in outbound.credentials


def _credential(head: bytes, outbound: Outbound) -> bytes:
    """The credential of a checked head; what stands twice is joined by a comma, and known to nobody."""
    name = outbound.header.lower() + b":"
    size = len(name)
    lines = head[:-4].split(b"\r\n")[1:]
    return b", ".join([line[size:].strip(b" \t") for line in lines if line[:size].lower() == name])
