"""One intent as the running sidecar holds it, and its replay payload as bytes.

Law: the payload is exact. Its first member is a version, so that older journals stay readable.
"""

from dataclasses import dataclass
from typing import Any

import msgpack

from rules.fate import State
from rules.message import Framing, Reply, Request, Side
from rules.payload import digest

PAYLOAD_VERSION = 1


class Damaged(ValueError):
    """A payload is not what was journaled."""


@dataclass(slots=True, eq=False, kw_only=True)
class Intent:
    """One journaled write. `request` and `reply` are None when they are only on disk."""

    route: str
    category: str
    stage: str
    primary: Side
    lanes: tuple[str, ...]
    method: str
    target: str
    received_at: float
    id: int = 0
    state: State = State.RECEIVED
    sequence: int = 0
    attempts: int = 0
    due_at: float = 0.0
    reason: str = ""
    bytes: int = 0
    request: Request | None = None
    reply: Reply | None = None
    spool: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity: a value of one kind on each side."""

    kind: str
    legacy: str
    new: str

    def on(self, side: Side) -> str:
        """The value on a side."""
        return self.legacy if side is Side.LEGACY else self.new


@dataclass(frozen=True, slots=True)
class Result:
    """What is recorded of a try at the secondary: why, how the replies compare, its status."""

    reason: str
    verdict: str = ""
    status: int = 0


def pack_request(request: Request) -> bytes:
    """A request as bytes; the body of a spooled one stays in its file."""
    packed: bytes = msgpack.packb(
        (PAYLOAD_VERSION, request.method, request.target, request.head, request.body,
         request.chunked, request.body_bytes)
    )  # fmt: skip
    return packed


def unpack_request(packed: bytes, expected: bytes, spool: str | None) -> Request:
    """The request that was packed; raises Damaged unless its digest is the expected one."""
    if digest(packed) != expected:
        raise Damaged("the payload's digest differs from the journaled one")
    version, *members = _unpack(packed)
    if version != PAYLOAD_VERSION or len(members) != 6:
        raise Damaged(f"a payload of version {version} is not known")
    method, target, head, body, chunked, body_bytes = members
    return Request(
        method=method, target=target, head=head, body=body, chunked=chunked, spool=spool,
        body_bytes=body_bytes,
    )  # fmt: skip


def pack_reply(reply: Reply, bytes_max: int) -> bytes:
    """The primary's reply as bytes; a body beyond the limit is left out and marked truncated."""
    truncated = reply.truncated or len(reply.body) > bytes_max
    body = b"" if truncated else reply.body
    packed: bytes = msgpack.packb(
        (PAYLOAD_VERSION, reply.status, reply.head, body, reply.framing, truncated, reply.latency_s)
    )
    return packed


def unpack_reply(packed: bytes) -> Reply:
    """The reply that was packed; raises Damaged."""
    version, *members = _unpack(packed)
    if version != PAYLOAD_VERSION or len(members) != 6:
        raise Damaged(f"a reply of version {version} is not known")
    status, head, body, framing, truncated, latency_s = members
    return Reply(
        status=status,
        head=head,
        body=body,
        framing=Framing(framing),
        truncated=truncated,
        latency_s=latency_s,
    )


def _unpack(packed: bytes) -> tuple[Any, ...]:
    try:
        return tuple(msgpack.unpackb(packed, use_list=False))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Damaged(f"not msgpack: {error}") from error
