"""One intent as the running sidecar holds it, and its replay payload as bytes.

Law: the payload is exact. Its first member is a version, so that older journals stay readable; an
encrypted one tells that it is (`proxy.cipher`). What is encrypted belongs to its intent, by id.
"""

from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
from msgspec import Struct
from msgspec.json import encode

from proxy.cipher import SEALED, BadSeal, Cipher, SealedFile
from proxy.trouble import may_pass
from rules.checksum import Whole
from rules.fate import State
from rules.message import Framing, Reply, Request, Side
from rules.payload import digest

PAYLOAD_VERSION = 1

_pack = msgpack.Packer().pack

DIGEST_BYTES = 16

PIECE_BYTES = 1024 * 1024
"""How much of a spool file is read at a time."""


class Damaged(ValueError):
    """A payload is not what was journaled."""


class Intent(Struct, eq=False, kw_only=True, gc=False):
    """One journaled write. `request` and `reply` are None when they are only on disk.

    `overtaken`: a later write of its lanes went on without it. `has_row`: it has a row of its own (or
    will have when what is queued is durable), and changes go there. `since`: when it was received, by the
    monotonic clock: ages do not depend on the wall's, which may jump. `passing`: what a primary's reply
    that is too long to be kept will have been; only in memory. `may_be_keyed`: False is sure that the request has no
    Idempotency-Key of the client's.
    """

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
    seal: bytes = b""
    bytes: int = 0
    request: Request | None = None
    reply: Reply | None = None
    spool: str | None = None
    primary_status: int = 0
    secondary_status: int = 0
    verdict: str = ""
    changed_at: float = 0.0
    has_row: bool = False
    overtaken: bool = False
    may_be_keyed: bool = True
    since: float = 0.0
    passing: Awaitable[Whole | None] | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity: a value of one kind on each side."""

    kind: str
    legacy: str
    new: str

    def on(self, side: Side) -> str:
        """The value on a side."""
        return self.legacy if side is Side.LEGACY else self.new


class Result(Struct, frozen=True, gc=False):
    """What is recorded of a try at the secondary: why, how the replies compare, its status."""

    reason: str
    verdict: str = ""
    status: int = 0


def fingerprint(intent: Intent) -> bytes:
    """The digest of what says which write it is and where it belongs: a damaged column must not send it elsewhere."""
    return digest(
        _pack(
            (intent.id, intent.route, intent.category, intent.stage, intent.primary, intent.lanes,
             intent.sequence, intent.method, intent.target, intent.received_at, intent.spool)
        )
    )  # fmt: skip


def folded(intent: Intent, payload: bytes, reply: bytes | None) -> tuple[object, ...]:
    """The row of an intent: every column, in the order of `proxy.store.schema.ROW`."""
    return (
        intent.id, intent.state, intent.route, intent.category, intent.stage, intent.primary,
        encode(intent.lanes).decode(), intent.sequence, intent.method, intent.target,
        intent.received_at, intent.changed_at or intent.received_at, intent.due_at, intent.attempts,
        intent.reason, intent.verdict, intent.primary_status, intent.secondary_status,
        intent.bytes, intent.spool, payload, intent.seal, reply, intent.overtaken,
        fingerprint(intent),
    )  # fmt: skip


def pack_request(request: Request, cipher: Cipher | None = None, intent_id: int = 0) -> bytes:
    """A request as bytes. The body of a spooled one stays in its file: the file's key, if it has one, is there instead.

    With a cipher they are encrypted, to other bytes at each call: `seal` them anew.
    """
    assert not request.pieces, "only what is never owed is left in pieces"
    packed: bytes = _pack(
        (PAYLOAD_VERSION, request.method, request.target, request.head, request.spool_key or request.body,
         request.chunked, request.body_bytes)
    )  # fmt: skip
    if cipher is None:
        return packed
    assert request.spool is None or request.spool_key, "its spool file is not encrypted"
    return cipher.encrypt(packed, b"request %d" % intent_id)


def seal(packed: bytes, spool: Path | None) -> bytes:
    """The digest of a packed request and of its spooled body; raises OSError when that cannot be read.

    The file of an encrypted request is left out: its frames tell by themselves whether they are whole.
    """
    if spool is None or packed.startswith(SEALED):
        return digest(packed)
    return digest(packed, _pieces(spool))


def unpack_request(
    packed: bytes,
    expected: bytes,
    spool: Path | None,
    cipher: Cipher | None = None,
    intent_id: int = 0,
) -> Request:
    """The request that was packed; raises Damaged unless it, and its spool file, are what was sealed.

    Raises OSError when the file cannot be read now, and may be later.
    """
    try:
        found = seal(packed, spool)
    except OSError as error:
        if may_pass(error):
            raise
        raise Damaged(f"the spool file cannot be read: {error.strerror}") from error
    if found != expected:
        raise Damaged("the payload's digest differs from the journaled one")
    if packed.startswith(SEALED):
        packed = _decrypted(packed, cipher, b"request %d" % intent_id)
    method, target, head, body, chunked, body_bytes = _unpack(packed, 6)
    if spool is None:
        return Request(
            method=method, target=target, head=head, body=body, chunked=chunked, body_bytes=body_bytes
        )  # fmt: skip
    if body:
        _verify(spool, body, body_bytes)
    return Request(
        method=method, target=target, head=head, chunked=chunked, spool=str(spool),
        body_bytes=body_bytes, spool_key=body,
    )  # fmt: skip


def pack_reply(
    reply: Reply, bytes_max: int, cipher: Cipher | None = None, intent_id: int = 0
) -> bytes:
    """The primary's reply as bytes, its digest first; a body beyond the limit is left out and marked truncated."""
    truncated = reply.truncated or len(reply.body) > bytes_max
    body = b"" if truncated else reply.body
    packed: bytes = _pack(
        (PAYLOAD_VERSION, reply.status, reply.head, body, reply.framing, truncated, reply.latency_s)
    )
    if cipher is not None:
        packed = cipher.encrypt(packed, b"reply %d" % intent_id)
    return digest(packed) + packed


def unpack_reply(stored: bytes, cipher: Cipher | None = None, intent_id: int = 0) -> Reply:
    """The reply that was packed; raises Damaged: a wrong reply would teach wrong identities."""
    packed = stored[DIGEST_BYTES:]
    if digest(packed) != stored[:DIGEST_BYTES]:
        raise Damaged("the reply's digest differs from the journaled one")
    if packed.startswith(SEALED):
        packed = _decrypted(packed, cipher, b"reply %d" % intent_id)
    status, head, body, framing, truncated, latency_s = _unpack(packed, 6)
    return Reply(
        status=status,
        head=head,
        body=body,
        framing=Framing(framing),
        truncated=truncated,
        latency_s=latency_s,
    )


def _decrypted(packed: bytes, cipher: Cipher | None, place: bytes) -> bytes:
    if cipher is None:
        raise Damaged("the payload is encrypted, and no key is given")
    try:
        return cipher.decrypt(packed, place)
    except BadSeal as error:
        raise Damaged(f"the payload cannot be decrypted: {error.strerror}") from error


def _verify(spool: Path, key: bytes, size: int) -> None:
    try:
        with SealedFile(spool, key, size) as file:
            while file.read(PIECE_BYTES):
                pass
    except OSError as error:
        if may_pass(error):
            raise
        why = error.strerror or str(error)
        raise Damaged(f"the spool file cannot be read: {why}") from error


def _unpack(packed: bytes, count: int) -> tuple[Any, ...]:
    """The members behind the version. The digest was right, so another version wrote what is not known here."""
    try:
        version, *members = msgpack.unpackb(packed, use_list=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Damaged(f"not msgpack: {error}") from error
    if version != PAYLOAD_VERSION or len(members) != count:
        raise Damaged(f"a payload of version {version} is not known")
    return tuple(members)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
