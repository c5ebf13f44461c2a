"""Who the client was: `X-Forwarded-For`, `-Proto`, `-Host`, and `Forwarded` (RFC 7239).

Law: three policies, one for the whole sidecar. Nothing a client says is believed unless the policy
is to believe it; a name that a server may read as such a field (CGI reads `_` as `-`) counts as one.
"""

import re
from enum import StrEnum

from rules.framing import without

_FIELD = re.compile(
    rb"\r\n(?i:(?:x[-_])?forwarded|x[-_]forwarded[-_][^:\r]*|x[-_]real[-_]ip):[^\r]*"
)
_LIST = re.compile(rb"\r\n(?i:(x-forwarded-(?:for|proto|host)|forwarded)):([^\r]*)")
_SIMPLE_HOST = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # an RFC 9110 token needs no quotes


class Forwarding(StrEnum):
    """What becomes of the forwarding fields that a client sends."""

    PRESERVE = "preserve"  # as they came; the client is the app itself
    APPEND = "append"  # believed, and the client is added
    REPLACE = "replace"  # not believed: this client is the first


def forwarded(head: bytes, host: str, client: tuple[str, str], forwarding: Forwarding) -> bytes:
    """The head as the policy wants it. `client` is (address, scheme); an unknown address is ""."""
    match forwarding:
        case Forwarding.PRESERVE:
            return head
        case Forwarding.APPEND:
            return _appended(head, host, *client)
        case Forwarding.REPLACE:
            return _with(_FIELD.sub(b"", head), _fresh(host, *client))


def _fresh(host: str, address: str, scheme: str) -> dict[str, str]:
    known = {"X-Forwarded-For": address or "unknown", "X-Forwarded-Proto": scheme}
    return {**known, "X-Forwarded-Host": host} if host else known


def _appended(head: bytes, host: str, address: str, scheme: str) -> bytes:
    """One field each: servers that read only the first or the last line get the whole list."""
    lines = _fresh(host, address, scheme)
    came = [(name.decode().lower(), value.decode("latin-1")) for name, value in _LIST.findall(head)]
    if came:
        for name in ("X-Forwarded-Proto", "X-Forwarded-Host"):
            if name.lower() in dict(came):
                lines.pop(name, None)
        lines["X-Forwarded-For"] = _joined(came, "x-forwarded-for", lines["X-Forwarded-For"])
        if "forwarded" in dict(came):
            lines["Forwarded"] = _joined(came, "forwarded", _element(host, address, scheme))
        head = without(head, (b"x-forwarded-for", b"forwarded"))
    return _with(head, lines)


def _joined(came: list[tuple[str, str]], name: str, last: str) -> str:
    values = [value.strip(" \t") for found, value in came if found == name]
    return ", ".join([*filter(None, values), last])


def _element(host: str, address: str, scheme: str) -> str:
    """RFC 7239 4 and 6: an IPv6 address stands in brackets and quotes, an unknown one has a word."""
    node = f'"[{address}]"' if ":" in address else address or "unknown"
    quoted = host if _SIMPLE_HOST.fullmatch(host) else f'"{host}"'
    return f"for={node};host={quoted};proto={scheme}" if host else f"for={node};proto={scheme}"


def _with(head: bytes, lines: dict[str, str]) -> bytes:
    added = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head[:-2] + added.encode("latin-1") + b"\r\n"
