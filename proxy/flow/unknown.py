"""Writes that the primary may have applied: kept until a retry, another try, a read-back or a person settles them.

Law: never blind. Without a person's word nothing is asked once a later write of its lanes was begun, and
none begins while the primary is asked. Of each one only lanes, key and fingerprint are in memory: the
payload stays on disk.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from proxy.fiber import Slot
from proxy.flow.repeats import Claim, Repeats, fingerprint_of
from proxy.flow.unsettled import Asked, Overtaken, Rooms, Unsettled
from proxy.store.batch import StoreError, storable
from proxy.store.intent import Damaged, Intent, Result
from proxy.store.payload import request_of
from proxy.wire.body import in_memory
from rules.behind import conflicting
from rules.fate import Event, Limits, State, backoff
from rules.message import Failure, Outcome, Reply, Request, Role
from rules.probe import (
    BODY_BYTES_MAX,
    NO_REPLY,
    Finding,
    Ways,
    after_probe,
    after_reask,
    probing,
)
from rules.repeat import mark_of
from rules.route import captures

REACHED_MAX = 20
"""So many answers of the primary that settle nothing, then it is left to a person: some 4 minutes, with the
longest backoff of `[delivery]`. Tries that do not reach the primary are not counted."""

AT_ONCE_MAX = 4
"""Unknown writes that are asked about at once: few against the primary's own traffic."""

_UNKNOWN, _APPLIED, _REJECTED = (
    Event.PRIMARY_UNKNOWN, Event.PRIMARY_APPLIED, Event.PRIMARY_REJECTED,
)  # fmt: skip


@dataclass(slots=True)
class _Told:
    """What came of one try: the primary's reply if it is that of the write itself."""

    finding: Finding
    reason: str
    reply: Reply = field(default=NO_REPLY)


class Unknown:
    """Every unknown intent of the journal."""

    def __init__(
        self,
        rooms: Rooms,
        ways: Mapping[str, Ways],
        limits: Limits,
        quiet_s: float,
        chance: Callable[[], float],
    ) -> None:
        """`ways` by route; `quiet_s`: how long after the last try "not applied" is believed."""
        self.repeats: Repeats[Unsettled] = Repeats()
        self.lanes: dict[str, set[Unsettled]] = {}
        """Those that no later write has overtaken, by lane: empty almost always."""
        self._rooms = rooms
        self._ways = ways
        self._limits = limits
        self._quiet_s = quiet_s
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._all: dict[int, Unsettled] = {}
        self._asking = 0
        self._due: deque[tuple[Unsettled, Ways]] = deque()
        self._paused = True

    def __len__(self) -> int:
        return len(self._all)

    # from the foreground

    def begun(self, lanes: tuple[str, ...]) -> None:
        """A write of these lanes is about to be begun: what is unknown in them is overtaken."""
        for lane in lanes:
            for name in conflicting(lane):
                for each in list(self.lanes.get(name, ())):
                    self._overtake(each)

    def passed(self, entity: str, route: str) -> None:
        """A write goes to the primary past the journal, its lanes unknown here: what is unknown of its entity, or
        in its route's own lane, is overtaken."""
        for name in list(self.lanes):
            if name == route or name.startswith((f"{entity}:", f"^{entity}:")):
                for each in list(self.lanes.get(name, ())):
                    self._overtake(each)

    def _overtake(self, each: Unsettled) -> None:
        self._rooms.journal.overtake(each.intent)
        self._leave_lanes(each)

    def told(self, intent: Intent, event: Event, claim: Claim | None) -> None:
        """The primary's outcome of a write that has a key, or is unknown: before its lanes go on."""
        repeats = self.repeats
        if claim is not None and event in (_APPLIED, _UNKNOWN):
            older = repeats.waiting(claim)
            if older is not None:
                self._supersede(older, f"by intent {intent.id}: the client sent it again")
            if event is _APPLIED:
                repeats.answered(claim)
        if event is _UNKNOWN:
            self._rooms.journal.keep(intent)
            intent.request = None
            self._take(Unsettled(intent, self._loop.time(), claim))

    # the life of the registry

    def resume(self, others: Iterable[Intent]) -> None:
        """What earlier runs left unknown, with their lanes: before the first new write.

        `others`: what else stands in the journal. A later one in a lane overtakes; where the log was damaged,
        nobody knows which ones there were.
        """
        journal = self._rooms.journal
        last: dict[str, int] = {}
        for other in others:
            for lane in other.lanes:
                for name in conflicting(lane):
                    last[name] = max(last.get(name, 0), other.id)
        for intent in journal.take((State.UNKNOWN,)):
            intent.attempts = 0  # at the secondary
            if any(journal.damaged) or any(last.get(lane, 0) > intent.id for lane in intent.lanes):
                journal.overtake(intent)
            self._take(Unsettled(intent, self._loop.time()))

    def start(self) -> None:
        """Begin to ask, and read the keys of what earlier runs left."""
        self._paused = False
        if self._all:
            self._rooms.fibers.start(self._read_keys(list(self._all.values())))
        for each in self._all.values():
            self._ask_later(each)

    def pause(self) -> None:
        """Ask no more: the end has come."""
        self._paused = True

    def find(self, intent_id: int) -> Intent | None:
        """The unknown intent of this id."""
        found = self._all.get(intent_id)
        return None if found is None else found.intent

    def _take(self, each: Unsettled) -> None:
        self._all[each.intent.id] = each
        if not each.intent.overtaken:
            for lane in each.intent.lanes:
                self.lanes.setdefault(lane, set()).add(each)
        if each.claim is not None:
            self.repeats.wait(each.claim, each)
        if not self._paused:
            self._ask_later(each)

    def _forget(self, each: Unsettled) -> None:
        del self._all[each.intent.id]
        self._leave_lanes(each)
        if each.claim is not None:
            self.repeats.settled(each.claim, each)

    def _leave_lanes(self, each: Unsettled) -> None:
        for lane in each.intent.lanes:
            if lane in self.lanes:
                self.lanes[lane].discard(each)
                if not self.lanes[lane]:
                    del self.lanes[lane]

    async def _read_keys(self, found: Iterable[Unsettled]) -> None:
        for each in found:
            try:
                request = await request_of(self._rooms.journal, each.intent)
                key = mark_of(request.head)
                claim = Claim(key, await fingerprint_of(request)) if key else None
            except (Damaged, StoreError, OSError):
                continue  # it cannot be told: a person settles it
            if claim is not None and self._is_open(each):
                self._claimed(each, claim)

    def _claimed(self, each: Unsettled, claim: Claim) -> None:
        """The key of one that an earlier run left: the last word under a key counts, and it may have been said."""
        older = self.repeats.waiting(claim)
        if self.repeats.is_answered(claim) or (older and older.intent.id > each.intent.id):
            self._supersede(each, "by a retry: the client sent it again")
            return
        if older is not None:
            self._supersede(older, f"by intent {each.intent.id}: the client sent it again")
        each.claim = claim
        self.repeats.wait(claim, each)

    def _supersede(self, each: Unsettled, why: str) -> None:
        self._forget(each)
        self._rooms.journal.conclude(each.intent, Event.SUPERSEDE, Result(why))

    def _is_open(self, each: Unsettled) -> bool:
        return self._all.get(each.intent.id) is each and each.intent.state is State.UNKNOWN

    # asking the primary

    def _ask_later(self, each: Unsettled) -> None:
        ways = self._ways.get(each.intent.route)
        if ways is None or not (ways.reask or ways.probe) or each.intent.overtaken:
            return
        if each.reached >= REACHED_MAX:
            self._leave_to_a_person(each, "the primary's answers settle nothing")
            return
        each.tries += 1
        self._loop.call_later(
            backoff(each.tries, self._chance(), self._limits), self._ask_now, each, ways
        )

    def _ask_now(self, each: Unsettled, ways: Ways) -> None:
        if self._paused or each.intent.id not in self._all:
            return
        if each.intent.state is State.P_SENT:  # its outcome is on its way to the disk
            self._loop.call_later(self._limits.backoff_first_s, self._ask_now, each, ways)
            return
        self._due.append((each, ways))
        self._pump()

    def _pump(self) -> None:
        while self._due and self._asking < AT_ONCE_MAX and not self._paused:
            each, ways = self._due.popleft()
            if self._is_open(each):
                self._asking += 1
                self._rooms.fibers.start(self._ask(each, ways))

    async def _ask(self, each: Unsettled, ways: Ways) -> None:
        """One round: its lanes are held, so no later write of them can begin meanwhile."""
        lanes, turn = each.intent.lanes, Slot[None]()
        try:
            if not self._rooms.turnstile.enter(turn, lanes):
                await turn
            if self._may_be_asked(each):
                each.asked = True
                await self._find_out(each, ways)
        except Damaged as error:
            self._leave_to_a_person(each, str(error))
        except (StoreError, OSError):
            self._rooms.tally.journal_errors += 1
            self._ask_later(each)
        finally:
            each.asked = False
            self._asking -= 1
            self._rooms.turnstile.leave(turn, lanes)
            self._loop.call_soon(self._pump)  # not from within: many may end at once

    def _may_be_asked(self, each: Unsettled) -> bool:
        if self._paused or not self._is_open(each) or each.intent.overtaken:
            return False
        why = self._rooms.hindered(each.intent)
        if why:
            self._leave_to_a_person(each, why)
        elif not self._rooms.journaled(each.intent):
            self._ask_later(each)  # a later write could pass by its lanes unseen
        else:
            return True
        return False

    async def _find_out(self, each: Unsettled, ways: Ways) -> None:
        request = await request_of(self._rooms.journal, each.intent)
        if not self._may_be_asked(each):
            return
        if not self._rooms.exits[each.intent.primary].knows(request.head):
            self._leave_to_a_person(each, "the primary has no credential for its client")
            return
        found = _Told(Finding.UNSURE, "")
        if ways.reask:
            found = await self._reask(each, request)
        if ways.probe and found.finding is Finding.UNSURE:
            found = await self._probe(each, request, ways)
        if not self._is_open(each):
            return  # a person, or a retry on a route without lanes
        if found.finding is Finding.UNSURE:
            self._ask_later(each)
        else:
            await self._settle(each, request, found)

    async def _reask(self, each: Unsettled, request: Request) -> _Told:
        outcome = await self._primary(each, request)
        if not isinstance(outcome, Failure) or outcome.sent:
            each.sent_at = self._loop.time()
        redirects = self._rooms.route_of(each.intent.route).applied_redirects
        finding = after_reask(request, outcome, applied_redirects=redirects)
        if isinstance(outcome, Failure):
            return _Told(finding, "")
        # The reply to a DELETE that finds nothing is not the one that the first try would have got.
        own = outcome if outcome.status < 400 or finding is Finding.NOT_APPLIED else NO_REPLY
        return _Told(finding, f"asked again: {outcome.status}", own)

    async def _probe(self, each: Unsettled, request: Request, ways: Ways) -> _Told:
        spans = captures(self._rooms.route_of(each.intent.route), request.target)
        if spans is None or request.body_bytes > BODY_BYTES_MAX:
            each.reached = REACHED_MAX
            return _Told(Finding.UNSURE, "")
        outcome = await self._primary(each, probing(request, ways.probe, spans))
        if request.spool is not None:
            request = await asyncio.to_thread(in_memory, request)
        finding = after_probe(request, outcome, ways.equals)
        quiet = self._loop.time() - each.sent_at >= self._quiet_s
        if finding is Finding.NOT_APPLIED and not quiet:
            each.reached -= 1  # asked too early: that is no answer
            finding = Finding.UNSURE
        return _Told(finding, "" if isinstance(outcome, Failure) else f"probe: {outcome.status}")

    async def _primary(self, each: Unsettled, request: Request) -> Outcome:
        side = each.intent.primary
        head = self._rooms.exits[side].head(request.head)
        outcome = await self._rooms.pools[side].ask(request, head, BODY_BYTES_MAX)
        self._rooms.tally.outcome(Role.PRIMARY, outcome)
        if not isinstance(outcome, Failure) or outcome.sent:
            each.reached += 1
        return outcome

    def _leave_to_a_person(self, each: Unsettled, why: str) -> None:
        self._rooms.log.warning("unknown_left", intent=each.intent.id, reason=why)

    # settling

    async def settle(self, intent_id: int, finding: Finding, reason: str) -> StoreError | None:
        """A person's word: applied or not; the intent is in here. Raises Damaged or StoreError when what is to be
        sent cannot be read, Overtaken when a later write of its lanes has begun since they said so, Asked
        when the primary is asked at this moment: then nothing has changed. An error that comes back is that of
        `Journal.settle`.
        """
        each = self._all[intent_id]
        request, was_overtaken = None, each.intent.overtaken
        if each.asked:
            raise Asked
        if finding is Finding.APPLIED:
            request = await request_of(self._rooms.journal, each.intent)
            if each.intent.overtaken and not was_overtaken:
                raise Overtaken
            if each.asked:
                raise Asked
        if not self._is_open(each):
            return None
        return await self._settle(each, request, _Told(finding, reason))

    def waive(self, intent_id: int, reason: str) -> None:
        """A person gives it up; the intent is in here. Raises Asked."""
        each = self._all[intent_id]
        if each.asked:
            raise Asked
        self._forget(each)
        self._rooms.journal.conclude(each.intent, Event.WAIVE, Result(reason))

    async def _settle(
        self, each: Unsettled, request: Request | None, told: _Told
    ) -> StoreError | None:
        rooms, intent = self._rooms, each.intent
        self._forget(each)
        intent.reason = storable(told.reason)
        if told.finding is Finding.APPLIED:
            if each.claim is not None:
                self.repeats.answered(each.claim)
            intent.request = request
            rooms.journal.order(intent)
            rooms.delivery.reserve(intent)
            event = _APPLIED
        else:
            event = _REJECTED
        try:
            error = await rooms.journal.settle(intent, event, told.reply)
        finally:
            if intent.state is State.S_PENDING:
                rooms.delivery.release(intent)
            elif event is _APPLIED:
                rooms.delivery.withdraw(intent)
        if error is not None:
            rooms.log.error("settle_failed", intent=intent.id, error=str(error), trace_id="")
        rooms.log.info(
            "unknown_settled", intent=intent.id, finding=told.finding, reason=told.reason
        )
        return error
