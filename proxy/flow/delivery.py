"""What is owed goes to the secondary: in lane order, with retries, behind the breaker.

Law: an intent is in here from the moment its place in the primary's order is fixed (`reserve`) until
it is done, dead or taken back. It is sent only when it is durable (`release`) and first in its lanes.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from proxy.control.owed import Delivery as Settings
from proxy.control.owed import OnDead
from proxy.control.tally import Tally
from proxy.fiber import Fibers
from proxy.flow.dispatch import Dispatch
from proxy.flow.evidence import Evidence
from proxy.flow.guard import Guard
from proxy.flow.identities import Identities
from proxy.flow.lanes import Lanes
from proxy.flow.secondary import Job, Missing, Prepared, Secondary, Tried, Untranslatable
from proxy.store.batch import StoreError
from proxy.store.intent import Damaged, Intent, Result
from proxy.store.journal import Journal
from proxy.trouble import may_pass
from rules.fate import (
    CONFIRMED,
    Event,
    Limits,
    State,
    Step,
    Try,
    after_secondary,
    is_confirmed,
)
from rules.framing import field
from rules.identity import Key, Pair
from rules.message import Reply, Request, Side
from rules.route import Route

FAILED_MAX = 5
"""After so many exceptions of our own a write is a dead letter: a sixth try would fail as well."""

RETRY_AFTER_S_MAX = 300.0
"""A Retry-After beyond this is cut: a typing error at the secondary must not stop catch-up for a day."""


FRESH_S = 5.0
"""A write that was received longer ago when its turn comes is backlog."""

_RETRY, _CONFIRM, _BURY = Event.RETRY, Event.CONFIRM, Event.BURY


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What delivery works with."""

    journal: Journal
    secondary: Secondary
    identities: Identities
    guard: Guard
    evidence: Evidence
    tally: Tally
    fibers: Fibers


class Delivery:
    """The background of every journaled write."""

    def __init__(
        self,
        rooms: Rooms,
        settings: Settings,
        limits: Limits,
        route_of: Callable[[str], Route],
        chance: Callable[[], float],
    ) -> None:
        self._rooms = rooms
        self._settings = settings
        self._blocks = settings.on_dead is OnDead.BLOCK
        self._limits = limits
        self._route_of = route_of
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._lanes: Lanes[Intent] = Lanes()
        self._durable: dict[Intent, None] = {}  # in the primary's order
        self._dead: dict[int, Intent] = {}  # dead letters that hold their lanes
        self._parked: dict[Intent, tuple[float, Key]] = {}  # since when, for which identity
        self._failed: dict[Intent, int] = {}  # tries that ended in an exception of ours
        self._in_memory = 0
        self._sent: list[Intent] = []  # since the last tick
        self._dispatch = Dispatch(rooms.guard, rooms.fibers, settings, self._run)

    def __len__(self) -> int:
        return len(self._durable)

    # from the foreground

    def reserve(self, intent: Intent) -> None:
        """Fix the intent's place in its lanes: at the moment the primary's outcome is known."""
        self._lanes.enter(intent, intent.lanes)

    def release(self, intent: Intent) -> None:
        """The intent is settled as owed: it may be sent when its turn comes."""
        if intent.spool or self._in_memory + intent.bytes > self._settings.memory_bytes_max:
            self._rooms.journal.keep(intent)
            intent.request = intent.reply = None  # the journal has both, and verifies them
        else:
            self._in_memory += intent.bytes
        self._durable[intent] = None
        if self._lanes.is_first(intent):
            self._dispatch.live(intent)

    def resume(self, intents: list[Intent]) -> None:
        """What an earlier run owed, and its dead letters, in the primary's order; sent once `start` is called."""
        for intent in intents:
            if intent.state is State.DEAD:
                self._take_up_dead(intent)
                continue
            self._lanes.enter(intent, intent.lanes)
            self._durable[intent] = None
            if intent.state is State.PARKED:
                self._rooms.journal.conclude(intent, Event.UNPARK, Result("restart"))
        for intent in intents:
            if intent in self._durable and self._lanes.is_first(intent):
                self._dispatch.backlog(intent)

    def _take_up_dead(self, intent: Intent) -> None:
        if intent.overtaken or not intent.lanes:
            return
        if self._blocks:
            self._lanes.enter(intent, intent.lanes)
            self._dead[intent.id] = intent
        else:
            self._rooms.journal.overtake(intent)

    def start(self) -> None:
        """Begin to send."""
        self._dispatch.start()

    @property
    def paused(self) -> bool:
        """Whether nothing is sent now."""
        return self._dispatch.paused

    def pause(self) -> None:
        """Send nothing more: the kill switch is on, or the end has come."""
        self._dispatch.paused = True

    def withdraw(self, intent: Intent) -> None:
        """Take back a place that was reserved: the write is not owed after all."""
        self._leave(intent)

    # dead letters

    def dead(self, intent_id: int) -> Intent | None:
        """The dead letter of this id that holds its lanes."""
        return self._dead.get(intent_id)

    @property
    def dead_count(self) -> int:
        """How many dead letters hold their lanes."""
        return len(self._dead)

    def revive(self, intent: Intent) -> None:
        """Send a dead letter again: from its old place if it holds its lanes, else from their end."""
        held = self._dead.pop(intent.id, None)
        intent = held or intent
        # Not 0: a DELETE that finds nothing has been there before.
        intent.attempts = min(intent.attempts, 1)
        self._rooms.journal.conclude(intent, Event.REVIVE, Result("revived"))
        if held is None:
            self._lanes.enter(intent, intent.lanes)
        self._durable[intent] = None
        if self._lanes.is_first(intent):
            self._dispatch.backlog(intent)

    def waive(self, intent: Intent, reason: str) -> None:
        """Give a dead letter up: its lanes go on."""
        held = self._dead.pop(intent.id, None)
        intent = held or intent
        self._rooms.journal.conclude(intent, Event.WAIVE, Result(reason))
        if held is not None:
            self._leave(intent)

    def sweep(self) -> None:
        """Once per tick: note the tries that last, bury what has been parked for too long, and see whether
        what is runnable may run: a lease may have come back without a word.
        """
        sent, self._sent = self._sent, []
        for intent in sent:
            if intent.state is State.S_SENT:
                self._rooms.journal.note_sent(intent)
        oldest = self._loop.time() - self._settings.parked_seconds_max
        for intent, (since, key) in list(self._parked.items()):
            if since >= oldest:
                break  # parked in this order
            del self._parked[intent]
            self._rooms.identities.forget(intent, intent.primary, key)
            self._conclude(intent, Step(event=Event.BURY, reason="parked_seconds_max"))
        self._dispatch.pump()

    def oldest_s(self) -> float:
        """The age of the oldest owed write, in seconds; 0 when nothing is owed."""
        return next((self._loop.time() - intent.since for intent in self._durable), 0.0)

    # the background of one write

    async def _run(self, intent: Intent) -> None:
        try:
            await self._deliver(intent)
        except StoreError as error:  # the disk cannot be read now: counted, and tried again
            self._rooms.tally.journal_errors += 1
            if intent in self._durable:
                self._again(intent, error)
        except Exception as error:  # the intent is owed all the same
            if intent in self._durable:
                self._again(intent, error)
            raise
        finally:
            self._dispatch.ended(intent.category)

    def _again(self, intent: Intent, error: Exception) -> None:
        """A try ended in an exception of ours: a disk that cannot be read is waited for, a bug is not."""
        self._rooms.guard.release(intent.category)
        if intent.state not in (State.S_PENDING, State.S_SENT):
            self._leave(intent)  # it was concluded before
            return
        if isinstance(error, StoreError):
            failed = 0
            if self._loop.time() - intent.since >= self._limits.age_max_s:
                self._conclude(intent, Step(event=Event.BURY, reason=f"unreadable: {error}"))
                return
        else:
            failed = self._failed.get(intent, 0) + 1
        self._failed[intent] = failed
        if failed >= FAILED_MAX:
            self._conclude(intent, Step(event=Event.BURY, reason="internal_error"))
            return
        if intent.state is State.S_SENT:
            self._rooms.journal.conclude(intent, Event.RETRY, Result("internal_error"))
        self._dispatch.backlog_later(intent, self._limits.backoff_max_s)

    async def _deliver(self, intent: Intent) -> None:
        rooms = self._rooms
        try:
            request, reply = intent.request, intent.reply
            if request is None or reply is None:
                request, reply = await rooms.journal.load(intent)
            job = self._job(intent, request, reply)
            prepared = rooms.secondary.ready(job) or await rooms.secondary.prepare(job)
        except (Damaged, OSError) as error:
            if isinstance(error, OSError) and may_pass(error):
                raise StoreError(str(error)) from error  # waited for
            self._hinder(intent, Untranslatable(f"damaged_payload: {error}"))
            return
        if not isinstance(prepared, Prepared):
            self._hinder(intent, prepared)
            return
        rooms.journal.sending(intent)
        self._sent.append(intent)
        tried = await rooms.secondary.send(job, prepared)
        rooms.guard.record(intent.category, tried.outcome, job.reply.latency_s)
        step = CONFIRMED
        if not is_confirmed(tried.outcome, applied_redirects=job.route.applied_redirects):
            step = after_secondary(tried.outcome, self._try(intent, job, tried), self._limits)
        self._conclude(intent, step, tried)
        if step.event is _RETRY:
            return
        if tried.open:
            rooms.fibers.start(self._complete(intent, job, prepared, tried))
        else:
            rooms.evidence.record(intent.id, job, tried, intent.category)

    async def _complete(self, intent: Intent, job: Job, prepared: Prepared, tried: Tried) -> None:
        """The verdict on a long reply, when it has passed: the write is done, and its lanes go on without it."""
        tried = await self._rooms.secondary.complete(job, prepared, tried)
        self._rooms.evidence.record(intent.id, job, tried, intent.category)

    def _job(self, intent: Intent, request: Request, reply: Reply) -> Job:
        return Job(
            route=self._route_of(intent.route),
            primary=intent.primary,
            request=request,
            reply=reply,
            key=f"twinwrite-{self._rooms.journal.id}-{intent.id}",
            may_be_keyed=intent.may_be_keyed,
            passing=intent.passing,
        )

    def _try(self, intent: Intent, job: Job, tried: Tried) -> Try:
        after = ""
        if isinstance(tried.outcome, Reply) and tried.outcome.status >= 400:
            after = field(tried.outcome.head, "retry-after") or ""
        return Try(
            method=job.request.method,
            attempts=intent.attempts,
            age_s=self._loop.time() - intent.since,
            chance=self._chance(),
            applied_redirects=job.route.applied_redirects,
            retry_after_s=min(float(after), RETRY_AFTER_S_MAX) if after.isdecimal() else 0.0,
        )

    def _conclude(self, intent: Intent, step: Step, tried: Tried | None = None) -> None:
        rooms = self._rooms
        status, verdict = 0, ""
        if tried is not None:
            status = tried.outcome.status if isinstance(tried.outcome, Reply) else 0
            verdict = tried.verdict.kind if tried.verdict is not None else ""
        again = step.event is _RETRY
        intent.due_at = rooms.journal.now() + step.delay_s if again else 0.0
        if intent.request is not None and not again:
            self._in_memory -= intent.bytes
        if step.event is _BURY:
            rooms.journal.keep(intent)
        rooms.journal.conclude(intent, step.event, Result(step.reason, verdict, status))
        if step.event is _BURY:
            self._bury(intent)
            return
        if again:
            self._dispatch.backlog_later(intent, step.delay_s)
            return
        if step.event is _CONFIRM and tried is not None and tried.pairs:
            self.learn(tried.pairs, intent.primary)
        self._leave(intent)

    def _bury(self, intent: Intent) -> None:
        intent.request = intent.reply = None  # the journal has both
        if self._blocks and intent.lanes:
            self._durable.pop(intent)
            self._failed.pop(intent, None)
            self._dead[intent.id] = intent
        else:
            self._rooms.journal.overtake(intent)
            self._leave(intent)

    def learn(self, pairs: tuple[Pair, ...], primary: Side) -> None:
        """New identities; who waited for them goes on."""
        for pair in pairs:
            for waiting in self._rooms.identities.learn(pair, primary):
                del self._parked[waiting]
                self._rooms.journal.conclude(waiting, Event.UNPARK, Result("identity learned"))
                self._dispatch.backlog(waiting)

    def _hinder(self, intent: Intent, why: Missing | Untranslatable) -> None:
        self._rooms.guard.release(intent.category)
        if isinstance(why, Missing):
            self._park(intent, why)
        else:
            self._conclude(intent, Step(event=Event.BURY, reason=why.reason))

    def _park(self, intent: Intent, missing: Missing) -> None:
        if not self._rooms.identities.wait(intent, intent.primary, missing.key):
            self._dispatch.live(intent)  # learned while we looked
            return
        self._parked[intent] = (self._loop.time(), missing.key)
        self._rooms.journal.conclude(
            intent, Event.PARK, Result(f"identity {missing.key[0]} is not known")
        )

    def _leave(self, intent: Intent) -> None:
        self._durable.pop(intent, None)
        if self._failed:
            self._failed.pop(intent, None)
        for freed in self._lanes.leave(intent, intent.lanes):
            if freed in self._durable:
                if self._loop.time() - freed.since < FRESH_S:
                    self._dispatch.live(freed)
                else:
                    self._dispatch.backlog(freed)
