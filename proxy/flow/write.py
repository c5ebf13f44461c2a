"""The foreground of one mirrored write: body, plan, journal, primary, journal, reply.

Law: one function (`_journaled`) that fits on a screen. Once the body is whole, both sides finish
whatever the client does. Nothing here waits for the secondary.
"""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from proxy.fiber import Slot
from proxy.flow.capacity import BACKLOG_FULL
from proxy.flow.passing import Passing, passing_of
from proxy.flow.relay import Streamed, streamed
from proxy.flow.repeats import UNREADABLE, Claim
from proxy.flow.rooms import Rooms
from proxy.store.batch import StoreError
from proxy.store.intent import Intent
from proxy.wire.body import Spool, TooLarge, discard, in_memory
from proxy.wire.downstream import Downstream
from proxy.wire.pool import Exchange
from rules.fate import Event, State, after_primary
from rules.framing import Refusal, RequestHead
from rules.identity import parts_of
from rules.lane import is_sampled, lanes, path_lanes
from rules.message import Cause, Failure, Framing, Outcome, Reply, Request, Role
from rules.problem import status_of
from rules.repeat import KEY_LINE
from rules.route import Ordering, Plan, Policy, Skip
from rules.stage import Mirror
from rules.trace import trace_id

_CHUNKED, _SERIALIZE = Framing.CHUNKED, Ordering.SERIALIZE
_SHADOW, _SHADOWED = Mirror.SHADOW, Skip.SHADOW
_APPLIED, _PENDING, _PRIMARY = Event.PRIMARY_APPLIED, State.S_PENDING, Role.PRIMARY
_UNKNOWN = Event.PRIMARY_UNKNOWN

GAPS = frozenset((Skip.JOURNAL_ERROR, Skip.BACKLOG, Skip.KILL_SWITCH))
"""Where a write would be owed, to skip it for one of these reasons is a gap."""

SHADOWED_BYTES_MAX = 4 * 1024 * 1024
"""A shadowed write is not journaled, so its body need not be in a file: up to this long it stays in memory. Uploads
of 1 MiB cost 0.97 of what Envoy's mirror takes so (bench/README.md), and 1.4 through a file (two short rounds)."""

Rest = Coroutine[Any, None, None] | None
"""What is left to do of a write when its client has the answer."""

Work = Coroutine[Any, None, Rest]


class Write:
    """The Sink of one mirrored write."""

    __slots__ = (
        "_claim",
        "_client",
        "_gone",
        "_has_place",
        "_head",
        "_plan",
        "_policy",
        "_rooms",
        "_sent_head",
        "_spool",
        "_streamed",
        "_whole",
        "gap",
    )

    def __init__(
        self, client: Downstream, head: RequestHead, plan: Plan, policy: Policy, rooms: Rooms
    ) -> None:
        self._claim: Claim | None = None
        self._client = client
        self._gone = False
        self._has_place = False
        self._head = head
        self._sent_head = client.sent_head
        self._plan = plan
        self._policy = policy
        self._rooms = rooms
        self._spool: Spool | None = None
        self._streamed: Streamed | None = None  # the rest of a long reply
        self._whole = False
        self.gap: Skip | None = None
        """Why it goes to the primary only, where it is the first one of a gap."""
        rooms.tally.in_flight += 1

    # Sink

    def data(self, data: bytes, ended: bool) -> None:
        """Part of Sink."""
        if ended and self._spool is None and len(data) <= self._rooms.at_once:
            self._go(data)
            return
        try:
            if self._spool is None:
                self._spool = self._new_spool()
            self._spool.add(data)
            if ended:
                self._spool.close()
        except TooLarge as error:
            self._abort(Refusal(413, str(error)))
        except OSError as error:
            self._rooms.log.error("spool_failed", error=str(error))
            self._abort(Refusal(503, "the body cannot be spooled"))
        else:
            if ended:
                self._go_spooled(self._spool)
            elif self._head.expects_continue and not data:  # nothing stands against it by now
                self._client.go_on()

    def _new_spool(self) -> Spool:
        listen, memory_max = self._rooms.listen, self._rooms.listen.spool_memory_bytes_max
        if self._plan.mirror is _SHADOW and self._rooms.memory.take():
            self._has_place = True
            memory_max = max(memory_max, SHADOWED_BYTES_MAX)
        journal = self._rooms.journal
        sealed = journal.cipher is not None
        return Spool(journal.spools.next(), memory_max, listen.body_bytes_max, sealed=sealed)

    def _leave_place(self) -> None:
        if self._has_place:
            self._has_place = False
            self._rooms.memory.give()

    def gone(self) -> None:
        """Part of Sink: before the body is whole the write is aborted; after, it goes on."""
        self._gone = True
        if not self._whole:
            self._abort(None)
        elif self._streamed is not None:
            self._streamed.client_gone()

    def writable(self, ready: bool) -> None:
        """Part of Sink."""
        if self._streamed is not None:
            self._streamed.client_writable(ready)

    def _abort(self, refusal: Refusal | None) -> None:
        if self._whole:
            return
        self._whole = True
        self._leave_place()
        if self._spool is not None:
            self._spool.discard()
        self._rooms.tally.in_flight -= 1
        self._give_up(self._request(b""), refusal)

    def _give_up(self, request: Request, refusal: Refusal | None) -> None:
        """An accepted write of which nothing was sent, nor journaled."""
        intent = self._intent(request, ())
        self._rooms.journal.accept(intent)
        self._rooms.journal.abort(intent)
        discard(request)
        if refusal is not None:
            self._client.refuse(refusal)

    # the write

    def _go_spooled(self, spool: Spool) -> None:
        if spool.in_file or (self._has_place and not self._plan.route.reads_body):
            self._go(b"", spool)
        else:
            self._go(spool.memory())

    def _go(self, body: bytes, spool: Spool | None = None) -> None:
        self._whole = True
        request, plan = self._request(body, spool), self._plan
        names = path_lanes(plan)
        if self.gap is not None:
            work = self._first_of(self.gap, request)
        elif self._head.noted and KEY_LINE in request.head.lower():
            work = self._keyed(request)
        elif names is None:
            work = self._sorted(request)
        elif plan.mirror is _SHADOW:
            work = self._unjournaled(request, _SHADOWED)
        else:
            work = self._journaled(request, self._intent(request, names))
        self._rooms.fibers.start(self._run(work))

    def _request(self, body: bytes, spool: Spool | None = None) -> Request:
        head = self._head
        if spool is None:
            return Request(
                method=head.method, target=head.target, head=self._sent_head, body=body,
                chunked=head.framing is _CHUNKED, body_bytes=len(body),
            )  # fmt: skip
        return Request(
            method=head.method, target=head.target, head=self._sent_head,
            chunked=head.framing is _CHUNKED, spool=str(spool.path) if spool.in_file else None,
            pieces=spool.pieces(), body_bytes=spool.size, spool_key=spool.key,
        )  # fmt: skip

    async def _run(self, work: Work) -> None:
        rest: Rest = None
        try:
            rest = await work
        except Exception:
            self._client.refuse(
                Refusal(502, "the sidecar failed; the primary may have applied the write")
            )
            raise
        finally:
            self._rooms.tally.in_flight -= 1  # its client has the answer
            if rest is None:
                self._leave_place()
        if rest is not None:
            try:
                await rest
            finally:
                self._leave_place()

    async def _keyed(self, request: Request) -> Rest:
        """A write with an Idempotency-Key: refused while the key is in use, or where it was another request's."""
        repeats = self._rooms.unknown.repeats
        claim = await repeats.take(request)
        if isinstance(claim, Refusal):
            self._give_up(request, claim)
            return None
        self._claim = claim
        try:
            return await self._sorted(request)
        finally:
            repeats.release(claim)

    async def _sorted(self, request: Request) -> Rest:
        """Find out whether the entity is mirrored, and its lanes, where the whole request tells it."""
        try:
            if request.spool and self._plan.route.reads_body:
                sampled, names = await asyncio.to_thread(self._keys, request)
            else:
                sampled, names = self._keys(request)
        except OSError as error:
            self._rooms.log.error("spool_failed", error=str(error))
            self._give_up(request, UNREADABLE)
            return None
        if not sampled:
            return await self._unjournaled(request, Skip.SAMPLE)
        if self._plan.mirror is _SHADOW:
            return await self._unjournaled(request, _SHADOWED)
        return await self._journaled(request, self._intent(request, names))

    def _keys(self, request: Request) -> tuple[bool, tuple[str, ...]]:
        """Whether the entity is within the percent, and the lanes of the write."""
        plan = self._plan
        seen = in_memory(request) if plan.route.reads_body else request
        parts = parts_of(seen, plan.captures)
        return is_sampled(plan, self._policy, parts), lanes(plan, parts)

    async def _journaled(self, request: Request, intent: Intent) -> Rest:
        rooms, plan = self._rooms, self._plan
        rooms.journal.accept(intent)
        turns = intent.lanes if plan.route.ordering is _SERIALIZE else ()
        turn: Slot[None] = Slot()
        if rooms.capacity.hinders and not await rooms.capacity.has_room():
            self._give_back(request, intent)
            return None
        try:
            if not rooms.turnstile.enter(turn, turns):
                await turn
            if rooms.unknown.lanes:
                rooms.unknown.begun(intent.lanes)
            error = await rooms.journal.begin(intent)
            if error is not None:
                await self._without_journal(request, intent, error)
                return None
            exchange = self._ask_primary(request)
            outcome = self._told(await exchange)
            event = after_primary(outcome, applied_redirects=plan.route.applied_redirects)
            if event is _APPLIED:
                rooms.journal.order(intent)
                rooms.delivery.reserve(intent)
                intent.reason = (
                    "kill_switch" if self._policy.kill_switch else rooms.guard.hold(intent.category)
                )
            if event is _UNKNOWN or self._claim is not None:
                self._tell_unknown(intent, event)
        finally:
            rooms.turnstile.leave(turn, turns)
        try:
            # The primary has spoken: whatever the disk says, the client is answered and the lane goes on.
            error = await rooms.journal.settle(intent, event, outcome)
            if error is not None:
                trace = trace_id(request.head)
                rooms.log.error("settle_failed", intent=intent.id, error=str(error), trace_id=trace)
            intent.passing = self._answer(exchange, outcome, compared=event is _APPLIED)
        finally:
            if intent.state is _PENDING:
                rooms.delivery.release(intent)
            elif event is _APPLIED:
                rooms.delivery.withdraw(intent)
        return None

    def _tell_unknown(self, intent: Intent, event: Event) -> None:
        unordered = self._plan.route.ordering is not _SERIALIZE
        if event is _UNKNOWN and unordered:  # others of its lanes may have begun meanwhile
            self._rooms.journal.overtake(intent)
        self._rooms.unknown.told(intent, event, self._claim)

    async def _without_journal(self, request: Request, intent: Intent, error: StoreError) -> None:
        self._rooms.log.error("journal_failed", error=str(error), trace_id=trace_id(request.head))
        if self._rooms.journal_settings.on_journal_error == "pass_through":
            self._rooms.journal.skip(intent, Skip.JOURNAL_ERROR)
            await self._within_gap(Skip.JOURNAL_ERROR)
            await self._primary_only(request)
            return
        self._rooms.journal.abort(intent)
        self._client.refuse(Refusal(503, "the write could not be journaled; nothing was sent"))
        discard(request)

    async def _first_of(self, gap: Skip, request: Request) -> Rest:
        self._rooms.tally.skip(gap)
        await self._within_gap(gap)
        await self._primary_only(request)
        return None

    async def _within_gap(self, gap: Skip) -> None:
        """The gap that it belongs to is on disk when this returns, if the disk takes anything."""
        category = self._plan.category.name
        await self._rooms.gaps.begin(category, gap)
        self._rooms.gaps.note(category, gap)

    def _give_back(self, request: Request, intent: Intent) -> None:
        """There was no room for it in the backlog, for as long as it waited."""
        self._rooms.journal.abort(intent)
        self._client.refuse(BACKLOG_FULL)
        discard(request)

    async def _unjournaled(self, request: Request, reason: Skip) -> Rest:
        rooms, route = self._rooms, self._plan.route
        rooms.tally.skip(reason)
        if rooms.unknown.lanes:
            rooms.unknown.passed(route.entity or route.name, route.name)
        if reason is not _SHADOWED:
            await self._primary_only(request)
            return None
        exchange = self._ask_primary(request)
        outcome = self._told(await exchange)
        passing = self._answer(exchange, outcome, compared=True)
        applied = after_primary(outcome, applied_redirects=self._plan.route.applied_redirects)
        if applied is _APPLIED and isinstance(outcome, Reply):
            keyed = self._head.noted
            return rooms.shadow.write(self._plan, request, outcome, passing, may_be_keyed=keyed)
        discard(request)
        return None

    async def _primary_only(self, request: Request) -> None:
        exchange = self._ask_primary(request)
        self._answer(exchange, self._told(await exchange))
        discard(request)

    def _ask_primary(self, request: Request) -> Exchange:
        rooms = self._rooms
        head = rooms.exits[self._plan.primary].head(request.head)
        limit = rooms.journal_settings.reply_bytes_max
        try:
            return rooms.pools[self._plan.primary].ask(request, head, limit, self._client)
        except Exception as error:  # noqa: BLE001 - a bug of ours: the primary may have acted
            rooms.log.failure("primary_failed", error)
            exchange = Exchange(limit, None)
            exchange.failed(Failure(cause=Cause.RESET, sent=True, detail="the sidecar failed"))
            return exchange

    def _told(self, outcome: Outcome) -> Outcome:
        self._rooms.tally.outcome(_PRIMARY, outcome)
        return outcome

    def _answer(
        self, exchange: Exchange, outcome: Outcome, *, compared: bool = False
    ) -> Passing | None:
        """Answer the client; what measures the rest of the reply, where that is passed on and to be compared."""
        if isinstance(outcome, Failure):
            applied = "may have applied the write" if outcome.sent else "did not get the write"
            detail = f"the primary {applied}: {outcome.detail}"
            self._client.refuse(Refusal(status_of(outcome), detail), reason=outcome.cause)
            return None
        self._client.reply(outcome.head, outcome.body, outcome.framing, ended=not outcome.truncated)
        if not outcome.truncated:
            return None
        connection = exchange.connection
        assert connection is not None
        if self._gone:
            connection.abandon()
            return None
        passing = passing_of(outcome, self._plan.route.comparison) if compared else None
        self._streamed = streamed(self._client, connection, passing)
        exchange.pass_on(self._streamed)
        return passing

    def _intent(self, request: Request, names: tuple[str, ...]) -> Intent:
        plan = self._plan
        return Intent(
            route=plan.route.name, category=plan.category.name, stage=plan.stage, primary=plan.primary,
            lanes=names, method=request.method, target=request.target,
            received_at=self._rooms.journal.now(), request=request, may_be_keyed=self._head.noted,
            spool=None if request.spool is None else f"spool/{Path(request.spool).name}",
        )  # fmt: skip
