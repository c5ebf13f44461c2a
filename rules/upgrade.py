"""What a request asks of the next server alone, and whether that may be asked for the client.

Law: a tunnel that would carry HTTP is never asked for: its requests would pass by the journal.
"""

HTTP_INSIDE = frozenset((b"h2c", b"h2", b"http", b"tls"))
"""Names of protocols that carry HTTP requests. `h2c` is deprecated (RFC 9113 3.1), `TLS/1.0` is RFC 2817's."""

EXPECTATION = b"Expect: 100-continue"


def upgrade_lines(values: list[bytes]) -> bytes:
    """The field lines that ask for what these values of Upgrade name; empty if that may not be asked for."""
    protocols = b", ".join(values)
    names = [name.strip(b" \t").partition(b"/")[0].lower() for name in protocols.split(b",")]
    if not HTTP_INSIDE.isdisjoint(names) or not any(names):
        return b""
    return b"Connection: Upgrade\r\nUpgrade: " + protocols
