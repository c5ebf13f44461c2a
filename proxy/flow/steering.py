"""What a person decides about single writes: dead letters are sent again, edited or waived, unknown ones settled.

Law: one action at a time, each durable before it is answered; done twice it changes nothing more.
Refusals are values, by intent.
"""

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder

from proxy.control.log import Log
from proxy.flow.delivery import Delivery
from proxy.flow.evidence import Evidence
from proxy.flow.unknown import Unknown
from proxy.flow.unsettled import Asked, Overtaken
from proxy.store.batch import StoreError
from proxy.store.intent import Damaged, Intent
from proxy.store.journal import Journal
from proxy.wire.body import discard, in_memory
from rules.fate import OWED, State
from rules.framing import Refusal, parse_request, with_line, without
from rules.identity import payload_of
from rules.message import Request
from rules.probe import Finding
from rules.repeat import IDEMPOTENCY_KEY, fingerprint, key_of
from rules.route import Route, captures

Document = dict[str, Any]
Action = Callable[[bytes], Awaitable[Document | Refusal]]
"""Takes a JSON document as it came."""

Ids = Annotated[list[int], Meta(min_length=1, max_length=1000)]
Word = Annotated[str, Meta(pattern=r"\S", max_length=500)]

_SENT = frozenset((*OWED, State.DONE))
_FRAMING = (b"content-length", b"transfer-encoding", b"trailer")


class Retry(Struct, forbid_unknown_fields=True):
    """`out_of_order`: also those that later writes of their lanes have overtaken."""

    ids: Ids
    out_of_order: bool = False


class Waive(Struct, forbid_unknown_fields=True):
    """Who gives them up, and why."""

    ids: Ids
    by: Word
    reason: Word


class Edit(Struct, forbid_unknown_fields=True):
    """Another head (Latin-1), another payload (base64, without chunk lines), or both; then it is retried.

    Content-Length follows the payload.
    """

    id: int
    by: Word
    head: str | None = None
    body: str | None = None
    out_of_order: bool = False


class Outcome(StrEnum):
    """What a person says of an unknown write."""

    APPLIED = "applied"
    REJECTED = "rejected"
    WAIVE = "waive"


class Settle(Struct, forbid_unknown_fields=True):
    """What became of unknown writes at the primary, who says so, and how they know."""

    ids: Ids
    outcome: Outcome
    by: Word
    reason: Word
    out_of_order: bool = False


ASKED = Refusal(409, "the primary is being asked about it at this moment: look again, then say")
"""What the primary then says counts, not what a person knew before."""

_FINDINGS = {Outcome.APPLIED: Finding.APPLIED, Outcome.REJECTED: Finding.NOT_APPLIED}
_SETTLED: Mapping[Outcome, frozenset[State]] = {
    Outcome.APPLIED: _SENT | {State.DEAD},
    Outcome.REJECTED: frozenset((State.P_REJECTED,)),
    Outcome.WAIVE: frozenset((State.WAIVED,)),
}

_retry, _waive, _edit, _settle = Decoder(Retry), Decoder(Waive), Decoder(Edit), Decoder(Settle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What steering works with. `hindered` as for `proxy.flow.unknown`."""

    journal: Journal
    delivery: Delivery
    unknown: Unknown
    evidence: Evidence
    log: Log
    route_of: Callable[[str], Route]
    hindered: Callable[[Intent], str]


class Steering:
    """The actions of the admin port, by path."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._one_at_a_time = asyncio.Lock()
        self.actions: Mapping[str, Action] = {
            "/dead/retry": self._retry,
            "/dead/edit": self._edit,
            "/dead/waive": self._waive,
            "/unknown/settle": self._settle,
        }

    async def _retry(self, given: bytes) -> Document | Refusal:
        try:
            asked = _retry.decode(given)
        except DecodeError as error:
            return Refusal(400, str(error))

        async def retry(intent_id: int) -> bool | Refusal:
            intent = await self._dead(intent_id, _SENT)
            if not isinstance(intent, Intent):
                return intent or False
            held = self._held(intent, out_of_order=asked.out_of_order)
            if held is not None:
                return held
            self._tell("retry", intent, "", "")
            self._rooms.delivery.revive(intent)
            return True

        return await self._each(asked.ids, retry)

    async def _waive(self, given: bytes) -> Document | Refusal:
        try:
            asked = _waive.decode(given)
        except DecodeError as error:
            return Refusal(400, str(error))

        async def waive(intent_id: int) -> bool | Refusal:
            intent = await self._dead(intent_id, frozenset((State.WAIVED,)))
            if not isinstance(intent, Intent):
                return intent or False
            self._tell("waive", intent, asked.by, asked.reason)
            self._rooms.delivery.waive(intent, f"waived by {asked.by}: {asked.reason}")
            return True

        return await self._each(asked.ids, waive)

    async def _edit(self, given: bytes) -> Document | Refusal:
        try:
            asked = _edit.decode(given)
            body = None if asked.body is None else b64decode(asked.body, validate=True)
        except (DecodeError, binascii.Error) as error:
            return Refusal(400, str(error))

        async def edit(intent_id: int) -> bool | Refusal:
            intent = await self._dead(intent_id, frozenset())
            if not isinstance(intent, Intent):
                return intent or False
            held = self._held(intent, out_of_order=asked.out_of_order)
            refusal = held or await self._replace(intent, asked.head, body)
            if refusal is not None:
                return refusal
            self._tell("edit", intent, asked.by, "")
            self._rooms.delivery.revive(intent)
            return True

        return await self._each([asked.id], edit)

    async def _replace(
        self, intent: Intent, head: str | None, body: bytes | None
    ) -> Refusal | None:
        """Give a dead letter another request, durably."""
        rooms = self._rooms
        try:
            before, _ = await rooms.journal.load(intent)
            old = await asyncio.to_thread(in_memory, before)
            request = edited(old, head, body)
        except (Damaged, OSError) as error:
            return Refusal(409, f"its payload cannot be read: {error}")
        if isinstance(request, Refusal):
            return request
        if captures(rooms.route_of(intent.route), request.target) is None:
            return Refusal(422, f"route {intent.route} does not match {request.target}")
        if key_of(request.head) in ("", key_of(old.head)):
            request = self._rekeyed(intent, request)
        trouble = await rooms.journal.replace(intent, request)
        if trouble is not None:
            raise trouble
        discard(before)
        return None

    def _rekeyed(self, intent: Intent, request: Request) -> Request:
        """The request under a key of its own: a side that has seen the former one would refuse another payload
        under its key (draft-ietf-httpapi-idempotency-key-header-07, 2.2)."""
        mark = fingerprint(request.method, request.target, (request.body,)).hex()[:8]
        key = f"{IDEMPOTENCY_KEY}: twinwrite-{self._rooms.journal.id}-{intent.id}-{mark}"
        head = with_line(without(request.head, (IDEMPOTENCY_KEY.lower().encode(),)), key.encode())
        return Request(
            method=request.method, target=request.target, head=head, body=request.body,
            body_bytes=request.body_bytes,
        )  # fmt: skip

    async def _settle(self, given: bytes) -> Document | Refusal:
        try:
            asked = _settle.decode(given)
        except DecodeError as error:
            return Refusal(400, str(error))
        return await self._each(asked.ids, lambda intent_id: self._settle_one(intent_id, asked))

    async def _settle_one(self, intent_id: int, asked: Settle) -> bool | Refusal:
        rooms = self._rooms
        intent = rooms.unknown.find(intent_id)
        if intent is None or intent.state is not State.UNKNOWN:
            found = intent or await rooms.journal.find(intent_id)
            return _not(found, State.UNKNOWN, _SETTLED[asked.outcome]) or False
        why = f"{asked.outcome} says {asked.by}: {asked.reason}"
        if asked.outcome is Outcome.WAIVE:
            try:
                rooms.unknown.waive(intent_id, f"waived by {asked.by}: {asked.reason}")
            except Asked:
                return ASKED
            self._tell("settle", intent, asked.by, f"waive: {asked.reason}")
            return True
        if asked.outcome is Outcome.APPLIED:
            refusal = self._held(intent, out_of_order=asked.out_of_order)
            if refusal is not None:
                return refusal
        try:
            error = await rooms.unknown.settle(intent_id, _FINDINGS[asked.outcome], why)
        except Asked:
            return ASKED
        except Overtaken:
            return Refusal(409, "a later write of its lanes began meanwhile: ask for out_of_order")
        except Damaged as damaged:
            return Refusal(409, f"its payload cannot be sent: {damaged}")
        self._tell("settle", intent, asked.by, f"{asked.outcome}: {asked.reason}")
        if error is not None:
            raise error
        return True

    # what they share

    async def _each(
        self, ids: list[int], act: Callable[[int], Awaitable[bool | Refusal]]
    ) -> Document:
        """Act on each; what has changed, what was so already, and what was refused."""
        found: Document = {"changed": [], "unchanged": [], "refused": []}
        async with self._one_at_a_time:
            for intent_id in dict.fromkeys(ids):
                try:
                    told = await act(intent_id)
                    intent = await self._rooms.journal.find(intent_id)  # durable by now
                except StoreError as error:
                    told, intent = Refusal(503, f"the journal: {error}"), None
                if isinstance(told, Refusal):
                    refused = {"id": intent_id, "status": told.status, "detail": told.detail}
                    found["refused"].append(refused)
                else:
                    state = "removed" if intent is None else str(intent.state)
                    found["changed" if told else "unchanged"].append(
                        {"id": intent_id, "state": state}
                    )
        return found

    async def _dead(self, intent_id: int, done: frozenset[State]) -> Intent | Refusal | None:
        """A dead letter; None if it is in one of the states of a letter with which this was done already."""
        intent = self._rooms.delivery.dead(intent_id) or await self._rooms.journal.find(intent_id)
        if intent is not None and intent.state is State.DEAD:
            return intent
        return _not(intent, State.DEAD, done)

    def _held(self, intent: Intent, *, out_of_order: bool) -> Refusal | None:
        """Why it must not be sent, as it is."""
        if intent.overtaken and intent.lanes and not out_of_order:
            lanes = ", ".join(intent.lanes)
            return Refusal(409, f"later writes of {lanes} went on without it: ask for out_of_order")
        why = self._rooms.hindered(intent)
        return Refusal(409, f"a write {why}") if why else None

    def _tell(self, action: str, intent: Intent, by: str, reason: str) -> None:
        told = {"action": action, "by": by, "reason": reason, "route": intent.route}
        self._rooms.evidence.event("steered", intent=str(intent.id), **told)
        self._rooms.log.info("steered", intent=intent.id, **told)


def edited(request: Request, head: str | None, body: bytes | None) -> Request | Refusal:
    """A request (in memory) with another head, another payload, or both, framed anew by Content-Length."""
    try:
        raw = request.head if head is None else head.encode("latin-1")
    except UnicodeEncodeError:
        return Refusal(400, "a head is Latin-1")
    payload = payload_of(request) if body is None else body
    bare = without(raw, _FRAMING) if raw.endswith(b"\r\n\r\n") else raw
    framed = len(without(request.head, _FRAMING)) != len(request.head)
    if payload or framed:
        bare = with_line(bare, b"Content-Length: %d" % len(payload))
    checked = parse_request(bare)
    if isinstance(checked, Refusal):
        return Refusal(400, f"the head: {checked.detail}")
    return Request(
        method=checked.method, target=checked.target, head=checked.head, body=payload,
        body_bytes=len(payload),
    )  # fmt: skip


def _not(intent: Intent | None, wanted: State, done: frozenset[State]) -> Refusal | None:
    """Why an intent is not in the wanted state; None if somebody has moved it on already."""
    if intent is None:
        return Refusal(404, f"the journal has no such intent that is {wanted}")
    if intent.state in done:
        return None
    return Refusal(409, f"it is {intent.state}, not {wanted}")
