"""Ids that each side assigns by itself: harvested from a pair of replies, translated in later requests.

Law: nothing is guessed. `wanted` says which identities a request needs for the other side; the
caller looks them up; `translate` puts them in. What is not found parks the intent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rules.chunks import unchunk
from rules.coding import Unreadable, decoded
from rules.framing import field, with_line, without
from rules.message import Reply, Request
from rules.same import Place, Same
from rules.source import Parts, Source, read, write
from rules.source import Place as Where

REPLY_BYTES_MAX = 1_048_576
"""A compressed reply is decoded up to here to look for an identity: replies of creates are small."""

Key = tuple[str, str]
"""(kind, value on the side that the request was written for)."""


@dataclass(frozen=True, slots=True)
class Harvest:
    """Where the replies of a create carry a new identity of one kind."""

    kind: str
    source: Source


@dataclass(frozen=True, slots=True)
class Translation:
    """Where a request carries an identity of one kind."""

    kind: str
    source: Source


@dataclass(frozen=True, slots=True)
class Pair:
    """One identity: its value on the primary and on the secondary at the time of the harvest."""

    kind: str
    primary: str
    secondary: str


def wanted(translations: tuple[Translation, ...], parts: Parts) -> tuple[Key, ...]:
    """The identities that a request needs before it can go to the other side.

    Raises Unreadable where it cannot be told.
    """
    keys = []
    for translation in translations:
        value = read(translation.source, parts)
        if value is not None:
            keys.append((translation.kind, value))
    return tuple(dict.fromkeys(keys))


def translate(
    translations: tuple[Translation, ...], parts: Parts, found: Mapping[Key, str]
) -> Parts:
    """The message with every wanted identity replaced; every wanted key must be in `found`."""
    for translation in translations:
        value = read(translation.source, parts)
        if value is not None:
            parts = write(translation.source, parts, found[translation.kind, value])
    return parts


def harvest(harvests: tuple[Harvest, ...], primary: Reply, secondary: Reply) -> tuple[Pair, ...]:
    """The identities that a pair of replies reveals; one that either side lacks is left out."""
    pairs = []
    for wish in harvests:
        ours, theirs = _value(wish.source, primary), _value(wish.source, secondary)
        if ours is not None and theirs is not None:
            pairs.append(Pair(wish.kind, ours, theirs))
    return tuple(pairs)


def same(
    wishes: tuple[Harvest | Translation, ...], pairs: tuple[Pair, ...], found: Mapping[Key, str]
) -> Same:
    """What stands for one thing in two replies, by what they revealed and what was put into the request.

    `wishes`: all of the route. The field of a request that carries an identity carries it in the reply, too.
    """
    known = {(pair.kind, pair.primary, pair.secondary) for pair in pairs}
    known.update((kind, one, other) for (kind, one), other in found.items())
    places = ((wish.kind, _place(wish.source)) for wish in wishes if wish.source.place in _REPLIED)
    return Same(known, places)


_REPLIED = (Where.JSON, Where.FORM, Where.HEADER)


def _place(source: Source) -> Place:
    return (
        (source.name.lower(),) if source.place is Where.HEADER else source.tokens or (source.name,)
    )


def _value(source: Source, reply: Reply) -> str | None:
    try:
        payload = payload_of(reply)
        coding = field(reply.head, "content-encoding") if payload else None
        if coding is not None:
            payload = decoded(payload, coding, REPLY_BYTES_MAX)
        return read(source, Parts(head=reply.head, payload=payload, captures={}))
    except Unreadable:
        return None


def parts_of(request: Request, captures: Mapping[str, tuple[int, int]]) -> Parts:
    """A request as sources see it; `captures` are those of its route."""
    return Parts(
        target=request.target, head=request.head, payload=payload_of(request), captures=captures
    )


def payload_of(message: Request | Reply) -> bytes:
    """The body without chunk lines; empty when it was truncated or lies in a spool file."""
    body = message.body
    if isinstance(message, Reply):
        if message.truncated:
            return b""
    elif message.pieces:
        body = b"".join(message.pieces)
    return unchunk(body) if message.chunked and body else body


def rebuilt(request: Request, parts: Parts) -> Request:
    """The request with changed parts, framed anew by Content-Length where its payload changed."""
    head, body, pieces, chunked = parts.head, request.body, request.pieces, request.chunked
    if parts.payload != payload_of(request):
        body, pieces, chunked = parts.payload, (), False
        head = without(head, (b"content-length", b"transfer-encoding", b"trailer"))
        head = with_line(head, b"Content-Length: %d" % len(body))
    if parts.target != request.target:
        method, _, rest = head.split(b" ", 2)
        head = b" ".join((method, parts.target.encode("latin-1"), rest))
    return Request(
        method=request.method, target=parts.target, head=head, body=body, pieces=pieces, chunked=chunked,
        spool=request.spool, spool_key=request.spool_key,
        body_bytes=request.body_bytes if request.spool or pieces else len(body),
    )  # fmt: skip
