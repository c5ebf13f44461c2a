"""Idempotency keys in the foreground: a key is for one request at a time, and for one request only.

Law: bounded: keys in flight, those of unknown intents, and the last ANSWERED_MAX that the primary
applied in this run. Keys that nobody remembers pass: the backends have the last word.
"""

import asyncio
from collections.abc import Iterator
from typing import Generic, TypeVar

from msgspec import Struct

from proxy.wire.body import open_spool
from rules.chunks import skip_chunks, unchunk
from rules.framing import Refusal
from rules.identity import payload_of
from rules.message import Request
from rules.repeat import fingerprint, mark_of

Waiting = TypeVar("Waiting")

ANSWERED_MAX = 10_000
"""Keys of answered writes that are remembered: some 2 MiB."""

PIECE_BYTES = 1024 * 1024
"""How much of a spooled body is read at a time."""

IN_FLIGHT = Refusal(409, "a request with this Idempotency-Key is in flight; nothing was sent")
OTHER = Refusal(422, "this Idempotency-Key was used for another request; nothing was sent")
UNREADABLE = Refusal(503, "the spooled body cannot be read; nothing was sent")
"""Statuses of draft-ietf-httpapi-idempotency-key-header-07, section 2.7."""


class Claim(Struct, frozen=True, gc=False):
    """A request that has its key to itself until `release`. `key` is the key's mark, 16 bytes."""

    key: bytes
    fingerprint: bytes


class Repeats(Generic[Waiting]):
    """Every key that is remembered. `Waiting` is what an unknown outcome is kept as."""

    def __init__(self) -> None:
        self._in_flight: set[bytes] = set()
        self._answered: dict[bytes, bytes] = {}  # oldest first
        self._unknown: dict[bytes, tuple[bytes, Waiting]] = {}

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._in_flight) + len(self._answered) + len(self._unknown)

    async def take(self, request: Request) -> Claim | Refusal | None:
        """Claim the key of a request, until `release`; None: its key is empty."""
        key = mark_of(request.head)
        if not key:
            return None
        if key in self._in_flight:
            return IN_FLIGHT
        self._in_flight.add(key)
        claimed: Claim | Refusal = UNREADABLE
        try:
            found = await fingerprint_of(request)
            known = self._unknown[key][0] if key in self._unknown else self._answered.get(key)
            claimed = Claim(key, found) if known in (None, found) else OTHER
        except OSError:
            pass  # its spool file: told by the refusal
        finally:
            if isinstance(claimed, Refusal):
                self._in_flight.discard(key)
        return claimed

    def release(self, claim: Claim | None) -> None:
        """The request has its answer."""
        if claim is not None:
            self._in_flight.discard(claim.key)

    def answered(self, claim: Claim) -> None:
        """The primary applied the request."""
        self._answered.pop(claim.key, None)
        self._answered[claim.key] = claim.fingerprint
        if len(self._answered) > ANSWERED_MAX:
            del self._answered[next(iter(self._answered))]

    def is_answered(self, claim: Claim) -> bool:
        """Whether the primary applied this very request in this run, as far as that is remembered."""
        return self._answered.get(claim.key) == claim.fingerprint

    def wait(self, claim: Claim, waiting: Waiting) -> None:
        """The outcome of the request is unknown."""
        self._answered.pop(claim.key, None)
        self._unknown[claim.key] = (claim.fingerprint, waiting)

    def waiting(self, claim: Claim) -> Waiting | None:
        """What waits for a retry under this key."""
        found = self._unknown.get(claim.key)
        return None if found is None else found[1]

    def settled(self, claim: Claim, waiting: Waiting) -> None:
        """This does not wait under its key any more."""
        if self.waiting(claim) is waiting:
            del self._unknown[claim.key]


async def fingerprint_of(request: Request) -> bytes:
    """The fingerprint of a request; a spooled body is read in a thread. Raises OSError when it cannot be."""
    if request.spool is None:
        return fingerprint(request.method, request.target, (payload_of(request),))
    return await asyncio.to_thread(fingerprint, request.method, request.target, _spooled(request))


def _spooled(request: Request) -> Iterator[bytes]:
    """The payload of a spooled request; of a chunked one as much is in memory as its longest chunk needs."""
    left = b""
    with open_spool(request) as file:
        while piece := file.read(PIECE_BYTES):
            if not request.chunked:
                yield piece
                continue
            left += piece
            end = skip_chunks(left, 0)
            yield unchunk(left[:end] + b"0\r\n\r\n")
            left = left[end:]
