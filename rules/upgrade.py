"""What a request asks of the servers on its way alone, and whether that may be asked for the client.

Law: a tunnel that would carry HTTP is never asked for: its requests would pass by the journal. What is
not written as RFC 9110 says is not asked for either: a server may read it as it likes.
"""

import re

HTTP_INSIDE = frozenset((b"h2c", b"h2", b"http", b"tls"))
"""Names of protocols that carry HTTP requests. `h2c` is deprecated (RFC 9113 3.1), `TLS/1.0` is RFC 2817's."""

EXPECTATION = b"Expect: 100-continue"

_UPGRADE = b"\r\nUpgrade: "
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PROTOCOL = re.compile(rb"(%b)(?:/%b)?" % (_TOKEN, _TOKEN))  # RFC 9110 7.8
_FORWARDS = re.compile(rb"(\r\nMax-Forwards:[ \t]*)0*([0-9]+)[ \t]*(?=\r\n)", re.IGNORECASE)


def upgrade_lines(values: list[bytes]) -> bytes:
    """The field lines that ask for what these values of Upgrade name; empty if that may not be asked for."""
    protocols = b", ".join(values)
    names = _names(protocols)
    if not names or not HTTP_INSIDE.isdisjoint(names):
        return b""
    return b"Connection: Upgrade" + _UPGRADE + protocols


def is_asked_for(asks: bytes, head: bytes) -> bool:
    """Whether a 101, as `parse_reply` gives its head, names only what `asks` (with `upgrade_lines` at its
    end) asked for, and something (RFC 9110 7.8). Versions may differ."""
    names = _names(head[:-4].rpartition(_UPGRADE)[2])
    return bool(names) and names <= _names(asks.rpartition(_UPGRADE)[2])


def forwarded_once_more(head: bytes) -> bytes | None:
    """The head of an OPTIONS as the next server gets it; None if it must go no further (RFC 9110 7.6.2)."""
    found = _FORWARDS.search(head)
    if found is None:
        return head
    left = int(found[2][:9])  # more digits are cut: nobody is that far away
    return (
        head[: found.start()] + found[1] + b"%d" % (left - 1) + head[found.end() :]
        if left
        else None
    )


def _names(protocols: bytes) -> frozenset[bytes]:
    """The names of a list, in lower case, without versions; none at all if it is malformed."""
    listed = [each.strip(b" \t") for each in protocols.split(b",")]
    found = [_PROTOCOL.fullmatch(each) for each in listed if each]
    return frozenset() if None in found else frozenset(match[1].lower() for match in found if match)
