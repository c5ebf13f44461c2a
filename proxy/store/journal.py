"""The journal: the truth about what is owed. Intents, identities, totals.

Law: one function (`_move`) writes a state, by one table (`rules.fate.MOVES`); `begin` and
`settle` are durable when they return; an id is never used twice.

A young intent lives in the log, as records; what is still open after a second gets a row of its own
(`proxy.store.young`). Most are done by then and never get one (decision 0008).
"""

import asyncio
from collections.abc import Callable, Collection
from copy import copy
from functools import partial
from pathlib import Path
from typing import TextIO

from proxy.cipher import Cipher
from proxy.control.owed import Journal as Settings
from proxy.control.tally import Tally
from proxy.store import record, schema
from proxy.store.batch import After, Row, Statement, StoreError, storable
from proxy.store.damage import DamagedRow
from proxy.store.gap import Gaps
from proxy.store.intent import (
    Damaged,
    Intent,
    Result,
    fingerprint,
    folded,
    pack_reply,
    pack_request,
    seal,
    unpack_reply,
    unpack_request,
)
from proxy.store.lock import locked
from proxy.store.pairs import Pairs
from proxy.store.recovery import found, recover, standing
from proxy.store.spools import Spools, remove
from proxy.store.writer import Writer
from proxy.store.young import Young
from rules.fate import CLOSED, MOVES, STUCK, Event, State, move
from rules.message import Failure, Outcome, Reply, Request
from rules.route import Skip

Clock = Callable[[], float]
"""Unix seconds."""

_BEGIN, _APPLIED, _OWE, _SEND = Event.BEGIN, Event.PRIMARY_APPLIED, Event.OWE, Event.SEND


class Journal:
    """The open journal of this process. Use `open`, not the constructor."""

    def __init__(
        self, writer: Writer, lock: TextIO, settings: Settings, tally: Tally, clock: Clock
    ) -> None:
        self.directory = writer.path.parent
        self.writer = writer
        self.id = ""
        self.redaction_key = b""
        self.cipher: Cipher | None = None
        self.damaged = (0, 0)
        """Rows of the log that this start lost; intents whose rows are not what was written: dead letters now."""
        self._found: list[Intent] = []
        self.now = clock
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._tally = tally
        self._next_id = 1
        self._next_sequence = 1
        self._dropped = 0
        self._young = Young(writer, self.keep, clock())
        self.spools = Spools(self.directory, settings.commit_timeout_ms / 1000)
        self.pairs = Pairs(writer, clock)
        self.gaps = Gaps(writer)

    @classmethod
    async def open(
        cls, settings: Settings, tally: Tally, clock: Clock, cipher: Cipher | None = None
    ) -> "Journal":
        """Open or create the journal; raises Locked or StoreError, each with one clear line.

        `cipher`: what is written from now on is encrypted.
        """
        directory = Path(settings.directory)
        lock = locked(directory)
        try:
            writer = await Writer.open(directory / "journal.db", schema.JOURNAL, synchronous="FULL")
        except BaseException:
            lock.close()
            raise
        journal = cls(writer, lock, settings, tally, clock)
        journal.cipher = cipher
        try:
            await journal._start()
        except OSError as error:
            await journal.close()
            raise StoreError(f"the journal's directory cannot be written: {error}") from error
        except BaseException:
            await journal.close()
            raise
        return journal

    async def _start(self) -> None:
        found = await self.writer.call(partial(recover, cipher=self.cipher))
        self.id, self.redaction_key = found.journal_id, found.redaction_key
        self._next_id, self._next_sequence = found.next_id, found.next_sequence
        self._tally.backlog_bytes, self._tally.stuck_bytes = found.backlog_bytes, found.stuck_bytes
        self._tally.journal_errors += found.damaged + found.damaged_rows
        self.damaged = (found.damaged, found.damaged_rows)
        self._found = found.found
        for state, count in found.states.items():
            self._tally.states[state] += count
            self._tally.accepted += count
        self.spools.clean(None if any(self.damaged) else found.spools)

    # the foreground

    def accept(self, intent: Intent) -> None:
        """Count a write that is now `received`."""
        self._tally.accepted += 1
        self._tally.states[intent.state] += 1
        intent.since = self._loop.time()

    async def begin(self, intent: Intent) -> StoreError | None:
        """Make an accepted intent durable as `p_sent`; an error: then `skip` or `abort` it."""
        request = intent.request
        assert request is not None
        intent.id = self._next_id
        self._next_id += 1
        packed = pack_request(request, self.cipher, intent.id)
        intent.bytes = len(packed) + (request.body_bytes if request.spool else 0)
        try:
            intent.seal = (
                seal(packed, None) if request.spool is None
                else await self.spools.sealed(packed, Path(request.spool))
            )  # fmt: skip
        except TimeoutError:
            self._tally.journal_errors += 1
            return StoreError(f"{request.spool}: the disk does not answer")
        except OSError as trouble:
            self._tally.journal_errors += 1
            return StoreError(f"{request.spool}: {trouble.strerror}")
        following = move(intent.state, _BEGIN)
        packed = record.begun(intent, following, packed)
        try:
            error = await self.writer.log(packed, partial(self._young.begun, intent))
        except asyncio.CancelledError:  # nothing was sent; the record may be on its way to the disk
            self._move(intent, _BEGIN)
            self._move(intent, Event.PRIMARY_NOT_REACHED)
            self.writer.put_log(record.settled(intent, None))
            raise
        if error is not None:
            self._tally.journal_errors += 1
            intent.state = State.NOT_SENT  # it may be durable all the same, or on its way there
            self.writer.put_log(record.settled(intent, None))
            intent.state = State.RECEIVED
            return error
        self._move(intent, _BEGIN)
        return None

    def order(self, intent: Intent) -> None:
        """Give an intent its place in the primary's order: at the moment its outcome is known."""
        intent.sequence = self._next_sequence
        self._next_sequence += 1

    async def settle(self, intent: Intent, event: Event, outcome: Outcome) -> StoreError | None:
        """Record the primary's outcome; durable when it returns (`confirm`), or the error why it is not yet."""
        status, reply = 0, None
        if isinstance(outcome, Failure):
            intent.reason = storable(f"{outcome.cause}: {outcome.detail}")
        else:
            status = outcome.status
            if event is _APPLIED:
                intent.reply = outcome
                reply = pack_reply(outcome, self._settings.reply_bytes_max, self.cipher, intent.id)
                intent.bytes += len(reply)
                if intent.state in STUCK:  # an unknown one, settled: as `_move` takes it away
                    self._tally.stuck_bytes += len(reply)
        intent.primary_status, intent.changed_at = status, self.now()
        self._move(intent, event)
        if event is _APPLIED:
            self._move(intent, _OWE)
        if intent.has_row:
            return await self._settle_row(intent, reply)
        packed = record.settled(intent, reply)
        after = self._closing(intent) if intent.state in CLOSED else None
        if self._settings.confirm == "behind":
            self.writer.put_log(packed, after)
            return None
        error = await self.writer.log(packed)
        if error is not None:
            self._tally.journal_errors += 1
            self.writer.put_log(packed, after)  # as soon as the disk takes it
        elif after is not None:
            after()
        return error

    async def _settle_row(self, intent: Intent, reply: bytes | None) -> StoreError | None:
        facts = (
            intent.state, intent.sequence, intent.changed_at, intent.reason, intent.primary_status,
            intent.bytes, fingerprint(intent),
        )  # fmt: skip
        operation: tuple[Statement, Row, After]
        if intent.state in CLOSED:
            operation = (schema.SETTLE_CLOSED, (*facts, intent.id), self._closing(intent))
        else:
            operation = (schema.SETTLE, (*facts, reply, intent.id), None)
        if self._settings.confirm == "behind":
            self.writer.put(*operation)
            return None
        error = await self.writer.submit(*operation)
        if error is not None:
            self._tally.journal_errors += 1
            self.writer.put(*operation)  # as soon as the disk takes it
        return error

    # the background

    def sending(self, intent: Intent) -> None:
        """The intent is about to go to the secondary. Not written: a restart sends it again anyway."""
        intent.attempts += 1
        self._move(intent, _SEND)

    def note_sent(self, intent: Intent) -> None:
        """Write `s_sent`, for those who read the file: the try has lasted for more than a tick."""
        intent.changed_at = self.now()
        if intent.has_row:
            row = (intent.state, intent.changed_at, intent.attempts, intent.id)
            self.writer.put(schema.SEND, row)

    def conclude(self, intent: Intent, event: Event, result: Result) -> None:
        """What became of a try at the secondary (or of an intent that waits). Written behind, in order."""
        self._move(intent, event)
        intent.reason, intent.changed_at = storable(result.reason), self.now()
        intent.verdict, intent.secondary_status = result.verdict, result.status
        after = self._closing(intent) if intent.state in CLOSED else None
        if not intent.has_row:
            self.writer.put_log(record.concluded(intent), after)
            return
        row = (
            intent.state, intent.changed_at, intent.due_at, intent.attempts, intent.reason, intent.verdict,
            intent.secondary_status, intent.id,
        )  # fmt: skip
        statement = schema.CONCLUDE_CLOSED if intent.state in CLOSED else schema.CONCLUDE
        self.writer.put(statement, row, after)

    def keep(self, intent: Intent) -> None:
        """Give an open intent a row of its own: from then on its request and reply need not be in memory."""
        if intent.has_row:
            return
        assert intent.request is not None
        reply = intent.reply
        packed = pack_request(intent.request, self.cipher, intent.id)
        if self.cipher is not None:
            intent.seal = seal(packed, None)
        packed_reply = None
        if reply is not None:
            packed_reply = pack_reply(reply, self._settings.reply_bytes_max, self.cipher, intent.id)
        intent.has_row = True
        self.writer.put(schema.FOLD, folded(intent, packed, packed_reply))

    async def load(self, intent: Intent) -> tuple[Request, Reply]:
        """The exact request and the primary's reply from disk; raises Damaged, or StoreError."""
        stored = await self._stored(intent.id)
        if stored is None:
            error = await self.writer.submit(schema.NOTHING, ())  # it may still be on its way
            if error is not None:
                raise error
            stored = await self._stored(intent.id)
        if stored is None:
            raise Damaged("the row or its payload is gone")
        payload, expected, reply = stored
        if intent.spool is None:
            request = unpack_request(payload, expected, None, self.cipher, intent.id)
        else:
            spool = self.directory / intent.spool
            request = await asyncio.to_thread(
                unpack_request, payload, expected, spool, self.cipher, intent.id
            )
        return request, unpack_reply(reply, self.cipher, intent.id)

    def take(self, states: Collection[State]) -> list[Intent]:
        """What `open` found in these states, in the primary's order, without its payload: handed out once."""
        taken = [each for each in self._found if each.state in states]
        self._found = [each for each in self._found if each.state not in states]
        return self._aged(taken)

    async def standing(self, states: Collection[State]) -> list[Intent]:
        """Every intent with a row in one of these states, as the file has them now."""
        return self._aged(await self.writer.call(partial(standing, states=states)))

    @property
    def fails(self) -> bool:
        """Whether the disk refuses what is journaled, or does not answer."""
        return self.writer.failing

    async def find(self, intent_id: int) -> Intent | None:
        """One intent by its row, without its payload; None where there is no such row. Raises StoreError: also
        where the row is not the last word, because the disk refuses that."""
        error = await self.writer.submit(schema.NOTHING, ())  # its row may still be on its way
        if error is not None:
            raise error
        try:
            intent = await self.writer.call(partial(found, intent_id=intent_id))
        except DamagedRow as damaged:
            raise StoreError(f"intent {intent_id}: {damaged}") from damaged
        return None if intent is None else self._aged([intent])[0]

    def _aged(self, intents: list[Intent]) -> list[Intent]:
        """With the moments when they were received by the monotonic clock: never in the future."""
        now, at = self.now(), self._loop.time()
        for intent in intents:
            intent.since = at - max(now - intent.received_at, 0.0)
        return intents

    async def replace(self, intent: Intent, request: Request) -> StoreError | None:
        """Another request for a dead letter, in memory in full: durable when it returns, or the error why nothing
        has changed."""
        assert intent.state is State.DEAD
        packed = pack_request(request, self.cipher, intent.id)
        changed = copy(intent)
        changed.seal, changed.spool = seal(packed, None), None
        changed.method, changed.target = request.method, request.target
        row = (
            packed, changed.seal, changed.method, changed.target, fingerprint(changed), intent.id,
        )  # fmt: skip

        def durable() -> None:
            intent.seal, intent.spool, intent.may_be_keyed = changed.seal, None, True
            intent.method, intent.target = changed.method, changed.target

        return await self.writer.submit(schema.REPLACE, row, durable)

    def overtake(self, intent: Intent) -> None:
        """A later write of its lanes goes on without this one."""
        if not intent.overtaken and intent.lanes:
            self.keep(intent)
            intent.overtaken = True
            self.writer.put(schema.OVERTAKE, (intent.id,))

    def abort(self, intent: Intent) -> None:
        """A `received` intent ends here: nothing was sent, nothing is kept."""
        self._move(intent, Event.ABORT)

    def skip(self, intent: Intent, reason: Skip) -> None:
        """A `received` intent is not journaled after all."""
        self._tally.states[intent.state] -= 1
        self._tally.skips[reason] += 1
        intent.state = State.NOT_SENT  # by us: whoever still holds it sees that nothing is open

    def sweep(self) -> None:
        """Once per tick: remove what has been closed for `done_hold_seconds`, try again what the disk refused."""
        self.writer.expire(self._settings.commit_timeout_ms / 1000)
        if self.writer.failing and not len(self.writer):
            self.writer.put(schema.PROBE, ())
        self.writer.nudge()
        self._tally.journal_errors += self.writer.dropped - self._dropped
        self._dropped = self.writer.dropped
        hold = self._settings.done_hold_seconds
        self._young.sweep(self.now(), hold, (self._next_id, self._next_sequence))

    async def close(self) -> None:
        """Commit what is queued and let go of the lock."""
        self.spools.close()
        await self.writer.close()
        self._lock.close()

    def _move(self, intent: Intent, event: Event) -> None:
        tally, before = self._tally, intent.state
        found = MOVES.get((before, event))
        assert found is not None, f"no move from {before} by {event}"
        following, owed, stuck = found
        intent.state = following
        tally.states[before] -= 1
        tally.states[following] += 1
        if owed:
            tally.backlog_bytes += owed * intent.bytes
        if stuck:
            tally.stuck_bytes += stuck * intent.bytes

    def _closing(self, intent: Intent) -> Callable[[], None] | None:
        """Nothing is owed any more; what is left to do when that is durable."""
        intent.request = intent.reply = None
        if intent.has_row:
            self._young.closed(intent)
        if intent.spool is None:
            return None
        # Not before: after a crash the row would ask for the file.
        return partial(remove, self.directory / intent.spool)

    async def _stored(self, intent_id: int) -> tuple[bytes, bytes, bytes] | None:
        """Payload, digest and reply; None while (or when) they are not all there."""
        sql = (
            "SELECT payload, digest, reply FROM intents WHERE id = ?"
            " AND payload IS NOT NULL AND digest IS NOT NULL AND reply IS NOT NULL"
        )
        return await self.writer.call(lambda db: db.execute(sql, (intent_id,)).fetchone())
