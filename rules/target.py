"""Request targets: the four forms (RFC 9112 3.2), as a side gets them.

Law: a target never names another host than the Host field does.
"""

import re

_ABSOLUTE = re.compile(rb"(?i:http)://([^/?]*)((?:[/?].*)?)", re.DOTALL)
_AUTHORITY = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%]+):[0-9]{1,5}")


def sent_target(method: bytes, target: bytes, host: bytes) -> bytes | None:
    """The target as a side gets it; None where its form is not the method's, or it is not of this `host`."""
    if method == b"CONNECT":
        return target if _AUTHORITY.fullmatch(target) and target.lower() == host.lower() else None
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return target
    match = _ABSOLUTE.fullmatch(target)  # RFC 9112 3.2.2: every server must take it
    if match is None or match[1].lower() != host.lower() or not match[1]:
        return None
    if not match[2]:
        return b"*" if method == b"OPTIONS" else b"/"
    return match[2] if match[2].startswith(b"/") else b"/" + match[2]
