"""The journal: the truth about what is owed. Intents, identities, totals.

Law: one function (`_move`) writes a state, by one table (`rules.fate.TRANSITIONS`); `begin` and
`settle` are durable when they return; an id is never used twice.
"""

import fcntl
import json
import os
import sqlite3
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from proxy.control.settings import Journal as Settings
from proxy.control.tally import Tally
from proxy.store import schema
from proxy.store.intent import (
    Damaged,
    Identity,
    Intent,
    Result,
    pack_reply,
    pack_request,
    unpack_reply,
    unpack_request,
)
from proxy.store.recovery import owed, recover, version
from proxy.store.writer import StoreError, Writer
from rules.fate import CLOSED, OWED, Event, State, move
from rules.message import Failure, Outcome, Reply, Request, Side
from rules.payload import digest
from rules.route import Skip

Clock = Callable[[], float]
"""Unix seconds."""


class Locked(StoreError):
    """Another process has this journal."""


class Journal:
    """The open journal of this process. Use `open`, not the constructor."""

    def __init__(
        self, writer: Writer, lock: TextIO, settings: Settings, tally: Tally, clock: Clock
    ) -> None:
        self.directory = writer.path.parent
        self.writer = writer
        self.id = ""
        self.redaction_key = b""
        self.now = clock
        self._lock = lock
        self._settings = settings
        self._tally = tally
        self._next_id = 1
        self._next_sequence = 1
        self._next_spool = 1
        self._closed = array("q")
        self._closed_counts: dict[State, int] = {}
        self._holding: list[tuple[float, array[int], dict[State, int]]] = []

    @classmethod
    async def open(cls, settings: Settings, tally: Tally, clock: Clock) -> "Journal":
        """Open or create the journal; raises Locked or StoreError, each with one clear line."""
        directory = Path(settings.directory)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            (directory / "spool").mkdir(mode=0o700, exist_ok=True)
            lock = os.fdopen(
                os.open(directory / "journal.lock", os.O_CREAT | os.O_RDWR, 0o600), "r+"
            )
        except OSError as error:
            raise StoreError(f"the journal's directory cannot be written: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise Locked(f"{directory}: another process (pid {owner}) has this journal") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            writer = await Writer.open(directory / "journal.db", schema.JOURNAL, synchronous="FULL")
        except StoreError:
            lock.close()
            raise
        journal = cls(writer, lock, settings, tally, clock)
        try:
            await journal._start()
        except StoreError:
            await journal.close()
            raise
        return journal

    async def _start(self) -> None:
        found_version = await self.writer.call(version)
        if found_version != schema.VERSION:
            known = f"format version {found_version}; this release knows {schema.VERSION}"
            raise StoreError(f"{self.writer.path}: {known}")
        found = await self.writer.call(recover)
        self.id, self.redaction_key = found.journal_id, found.redaction_key
        self._next_id, self._next_sequence = found.next_id, found.next_sequence
        self._tally.backlog_bytes = found.backlog_bytes
        for state, count in found.states.items():
            self._tally.states[state] += count
            self._tally.accepted += count
        for path in (self.directory / "spool").iterdir():
            if f"spool/{path.name}" not in found.spools:
                path.unlink()
            self._next_spool = max(self._next_spool, int(path.name) if path.name.isdigit() else 1)

    # the foreground

    def spool_path(self) -> Path:
        """A name for the next spool file, never used before."""
        self._next_spool += 1
        return self.directory / "spool" / str(self._next_spool)

    def accept(self, intent: Intent) -> None:
        """Count a write that is now `received`."""
        self._tally.accepted += 1
        self._tally.states[intent.state] += 1

    async def begin(self, intent: Intent) -> None:
        """Make an accepted intent durable as `p_sent`; raises StoreError: then `skip` or `abort` it."""
        request = intent.request
        assert request is not None
        intent.id = self._next_id
        self._next_id += 1
        packed = pack_request(request)
        intent.bytes = len(packed) + (request.body_bytes if request.spool else 0)
        following = move(intent.state, Event.BEGIN)
        row = (
            intent.id, following, intent.route, intent.category, intent.stage, intent.primary,
            json.dumps(intent.lanes), intent.method, intent.target, intent.received_at,
            intent.received_at, intent.bytes, intent.spool, packed, digest(packed),
        )  # fmt: skip
        try:
            if request.spool:
                await self._sync(request.spool)
            await self.writer.submit(schema.BEGIN, row)
        except StoreError:
            self._tally.journal_errors += 1
            raise
        self._move(intent, Event.BEGIN)

    def order(self, intent: Intent) -> None:
        """Give an intent its place in the primary's order: at the moment its outcome is known."""
        intent.sequence = self._next_sequence
        self._next_sequence += 1

    async def settle(self, intent: Intent, event: Event, outcome: Outcome) -> None:
        """Record the primary's outcome; durable when it returns (`confirm`), StoreError if it cannot be."""
        self._move(intent, event)
        if event is Event.PRIMARY_APPLIED:
            self._move(intent, Event.OWE)
        status, reply, reason = 0, None, ""
        if isinstance(outcome, Failure):
            reason = f"{outcome.cause}: {outcome.detail}"
        else:
            status = outcome.status
            intent.reply = outcome
            if intent.state in OWED:
                reply = pack_reply(outcome, self._settings.reply_bytes_max)
        intent.reason = reason
        row = (intent.state, intent.sequence, self.now(), reason, status, reply, intent.id)
        if self._settings.confirm == "before_reply":
            try:
                await self.writer.submit(schema.SETTLE, row)
            except StoreError:
                self._tally.journal_errors += 1
                self.writer.put(schema.SETTLE, row)  # as soon as the disk takes it
                raise
        else:
            self.writer.put(schema.SETTLE, row)
        if intent.state in CLOSED:
            self._close_row(intent)

    # the background

    def sending(self, intent: Intent) -> None:
        """The intent is about to go to the secondary. Written behind: a restart sends it again anyway."""
        intent.attempts += 1
        self._move(intent, Event.SEND)
        self.writer.put(schema.SEND, (intent.state, self.now(), intent.attempts, intent.id))

    def conclude(self, intent: Intent, event: Event, result: Result) -> None:
        """What became of a try at the secondary (or of an intent that waits). Written behind, in order."""
        self._move(intent, event)
        intent.reason = result.reason
        row = (
            intent.state, self.now(), intent.due_at, result.reason, result.verdict, result.status,
            intent.id,
        )  # fmt: skip
        self.writer.put(schema.CONCLUDE, row)
        if intent.state in CLOSED:
            self._close_row(intent)

    def learn(self, identity: Identity, source: str) -> None:
        """A new identity: in the same transaction as what else is written in this turn of the loop."""
        row = (identity.kind, identity.legacy, identity.new, source, self.now())
        self.writer.put(schema.IDENTITY, row)

    async def find_identity(self, kind: str, side: Side, value: str) -> Identity | None:
        """The identity whose value on `side` is this."""
        column = "legacy_value" if side is Side.LEGACY else "new_value"
        sql = (
            f"SELECT kind, legacy_value, new_value FROM identities WHERE kind = ? AND {column} = ?"
        )
        row = await self.writer.call(lambda db: db.execute(sql, (kind, value)).fetchone())
        return None if row is None else Identity(*row)

    async def load(self, intent: Intent) -> tuple[Request, Reply]:
        """The exact request and the primary's reply from disk; raises Damaged."""
        sql = "SELECT payload, digest, reply FROM intents WHERE id = ?"
        row = await self.writer.call(lambda db: db.execute(sql, (intent.id,)).fetchone())
        if row is None or row[0] is None or row[1] is None or row[2] is None:
            raise Damaged("the row or its payload is gone")
        spool = None if intent.spool is None else str(self.directory / intent.spool)
        if spool is not None and not Path(spool).exists():
            raise Damaged("the spool file is gone")
        return unpack_request(row[0], row[1], spool), unpack_reply(row[2])

    async def owed(self) -> list[Intent]:
        """Every intent that is owed, in the primary's order: after `open`."""
        return await self.writer.call(owed)

    def abort(self, intent: Intent) -> None:
        """A `received` intent ends here: nothing was sent, nothing is kept."""
        self._move(intent, Event.ABORT)

    def skip(self, intent: Intent, reason: Skip) -> None:
        """A `received` intent is not journaled after all."""
        self._tally.states[intent.state] -= 1
        self._tally.skips[reason] += 1

    def sweep(self) -> None:
        """Once per tick: remove what has been closed for `done_hold_seconds`, try again what the disk refused."""
        self.writer.nudge()
        now = self.now()
        if self._closed_counts:
            self._holding.append((now, self._closed, self._closed_counts))
            self._closed, self._closed_counts = array("q"), {}
        while self._holding and self._holding[0][0] <= now - self._settings.done_hold_seconds:
            _, ids, counts = self._holding.pop(0)
            for intent_id in ids:
                self.writer.put(schema.REMOVE, (intent_id,))
            for state, count in counts.items():
                self.writer.put(schema.REMOVED, (state, count))

    async def close(self) -> None:
        """Commit what is queued and let go of the lock."""
        await self.writer.close()
        self._lock.close()

    def _move(self, intent: Intent, event: Event) -> None:
        states = self._tally.states
        states[intent.state] -= 1
        was_owed = intent.state in OWED
        intent.state = move(intent.state, event)
        states[intent.state] += 1
        is_owed = intent.state in OWED
        if is_owed != was_owed:
            self._tally.backlog_bytes += intent.bytes if is_owed else -intent.bytes

    def _close_row(self, intent: Intent) -> None:
        intent.request = intent.reply = None
        self.writer.put(schema.CLOSE, (intent.id,))
        self._closed.append(intent.id)
        self._closed_counts[intent.state] = self._closed_counts.get(intent.state, 0) + 1
        if intent.spool is not None:
            (self.directory / intent.spool).unlink(missing_ok=True)

    async def _sync(self, path: str) -> None:
        def sync(_: sqlite3.Connection) -> None:
            file = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(file)
            finally:
                os.close(file)

        try:
            await self.writer.call(sync)
        except OSError as error:
            raise StoreError(str(error)) from error
