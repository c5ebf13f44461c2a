"""The nouns that every room shares: sides, roles, requests, replies and outcomes.

A message keeps the bytes that were on the wire; what is parsed from them is parsed once, by
`rules.framing`. `Outcome` is a value: a failure to talk to a side is expected, and its `sent` bit
(may the side have acted?) decides the fate of a write.
"""

from enum import StrEnum

from msgspec import Struct

Fields = tuple[tuple[str, str], ...]
"""Header fields in order, duplicates kept: names in lower case, values latin-1 decoded, trimmed."""


class Side(StrEnum):
    """Which backend: fixed for the life of the migration."""

    LEGACY = "legacy"
    NEW = "new"

    @property
    def other(self) -> "Side":
        """The opposite side."""
        return OTHER[self]


OTHER = {Side.LEGACY: Side.NEW, Side.NEW: Side.LEGACY}
"""The opposite side, by side: what `Side.other` looks up."""


class Role(StrEnum):
    """What a side is at a stage: follows from the stage, never from the side."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


class Framing(StrEnum):
    """How the end of a body is found (RFC 9112 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"  # replies only: until the connection ends
    TUNNEL = "tunnel"  # replies only: no body; from here on bytes pass both ways


_CHUNKED = Framing.CHUNKED


class Cause(StrEnum):
    """Why a side gave no usable reply."""

    REFUSED = "refused"  # connect refused or host unreachable
    NAME = "name"  # the host name did not resolve
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"  # the handshake failed, or the side refused our certificate
    POOL_FULL = "pool_full"  # no connection became free in time
    TIMEOUT = "timeout"  # connected, but no (complete) reply in time
    RESET = "reset"  # the connection ended before a complete reply
    BROKEN_REPLY = "broken_reply"  # what came back is not HTTP/1.x


class Request(Struct, frozen=True, kw_only=True, gc=False):
    """One request, ready to send to a side.

    `head` is the block from the request line to the empty line, hop-by-hop fields taken out, every
    other byte as the client sent it. `body` is the framed body as it was on the wire (with chunk
    lines when `chunked`), or empty when `spool` names the file that holds it: encrypted, if there is a
    `spool_key`. It is empty, too, where it lies in the `pieces` in which it came: `rules.identity.payload_of`
    joins them.
    """

    method: str
    target: str
    head: bytes
    body: bytes = b""
    pieces: tuple[bytes, ...] = ()
    chunked: bool = False
    spool: str | None = None
    body_bytes: int = 0
    spool_key: bytes = b""


class Reply(Struct, frozen=True, gc=False):
    """A reply: `head` as it came (hop-by-hop fields taken out), `body` framed as it was on the wire.

    `truncated` says that the body was longer than the capture limit, and that `body` is its start.
    """

    status: int
    head: bytes
    body: bytes = b""
    framing: Framing = Framing.LENGTH
    truncated: bool = False
    latency_s: float = 0.0

    @property
    def chunked(self) -> bool:
        """Whether `body` has chunk lines in it."""
        return self.framing is _CHUNKED


class Failure(Struct, frozen=True, kw_only=True, gc=False):
    """No usable reply. `sent`: at least one byte of the request was written, the side may have acted."""

    cause: Cause
    sent: bool
    detail: str = ""
    latency_s: float = 0.0


Outcome = Reply | Failure
