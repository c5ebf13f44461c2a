"""One life of a sidecar on simulated disk and network: the one place that builds the product's rooms.

Everything is real but `Pool` (network.Network), `Downstream` (clients.Attempt), the connection to
SQLite (disk.Connection) and the clock. A life ends by `crash`: nothing that it does afterwards has an effect.
"""

import asyncio
import io
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from proxy.control.log import Log
from proxy.control.tally import Tally
from proxy.control.ways import ways_of
from proxy.fiber import Fibers
from proxy.flow.capacity import Capacity
from proxy.flow.delivery import Delivery
from proxy.flow.delivery import Rooms as DeliveryRooms
from proxy.flow.door import Door
from proxy.flow.evidence import Evidence
from proxy.flow.exit import Exit
from proxy.flow.gaps import Gaps
from proxy.flow.guard import Guard
from proxy.flow.identities import Identities
from proxy.flow.rooms import Rooms as WriteRooms
from proxy.flow.secondary import Secondary
from proxy.flow.shadow import Shadow
from proxy.flow.turnstile import Turnstile
from proxy.flow.unknown import Unknown
from proxy.flow.unsettled import Rooms as UnknownRooms
from proxy.store import ledger_schema, schema
from proxy.store.batch import Schema, StoreError, prepare
from proxy.store.gap import Gap
from proxy.store.intent import Intent
from proxy.store.ledger import Ledger, _take_up
from proxy.store.writer import Writer
from rules.breaker import State as BreakerState
from rules.fate import CLOSED, OWED, State
from rules.message import Side
from rules.redact import Redaction
from rules.route import Route, hindrance, journals
from rules.stage import DUTIES
from tests.simulation.config import Given, configured
from tests.simulation.disk import Connection, Disk
from tests.simulation.network import Backend, Network
from tests.simulation.seen import Seen, Watched
from tests.simulation.universe import Loop, Universe

TICK_S = 0.25
"""As `proxy.app`."""

HOLD_S = 7.5
"""Closed writes are kept for 3 seconds, twice, and removed a few at a time."""

HOP = b"Twinwrite-Hop: 0123456789abcdef"


@dataclass(slots=True)
class Doom:
    """Where a life ends: at the so many-th of its steps, commits, requests to a side or answers.

    `kind` is "" for a life that is not doomed; `after`: when it has happened.
    """

    kind: str = ""
    count: int = 0
    after: bool = False

    def strikes(self, kind: str, *, after: bool) -> bool:
        """Count one more; whether this is it."""
        if kind != self.kind or after is not self.after:
            return False
        self.count -= 1
        return self.count < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """Bugs to put in: the classes that are used instead of the product's."""

    name: str = ""
    writer: type[Writer] = Writer
    journal: type[Watched] = Watched
    delivery: type[Delivery] = Delivery
    guard: type[Guard] = Guard


@dataclass(slots=True, kw_only=True)
class Outside:
    """What outlives a sidecar."""

    universe: Universe
    disk: Disk
    backends: dict[Side, Backend]
    seen: Seen
    plant: Plant
    settings: Given = ()
    has_ledger: bool = True


class Life:
    """One run of a sidecar, from start to crash or stop. `policy` may be replaced while it runs."""

    def __init__(self, outside: Outside, number: int, doom: Doom) -> None:
        self.outside = outside
        self.universe = outside.universe
        self.number = number
        self.dead = False
        self.came = 0  # writes that it took
        self.had = 0  # writes that earlier lives accepted
        self.ready = False
        self._ticks = True
        self.broken: Exception | None = None
        self.crashed: Callable[[], None] = lambda: None
        self.stream = io.StringIO()
        self.tally = Tally()
        self._doom = doom
        self._doubtful = self._doubt = False
        self._connections: list[Connection] = []
        self._work: list[Coroutine[Any, Any, None]] = []
        self.loop = Loop(self.universe, self._apart)
        self.universe.enter(self.loop)
        self._log = Log(self.stream, lambda: datetime.fromtimestamp(self.universe.clock(), UTC))
        self.fibers = Fibers(self._log)
        self.config = configured("dual_legacy_primary", False, outside.settings)

    # where it ends

    def commits(self, *, after: bool) -> bool:
        """For the disk."""
        if self._doubt and not after:
            self.crash("a commit that was told to have failed is durable")
            return True
        return self._ends("commit", after=after)

    def doubt(self) -> None:
        """For the disk."""
        self._doubt = self._doubtful = True

    def sends(self, *, after: bool) -> bool:
        """For the network."""
        return self._ends("send", after=after)

    def answers(self, *, after: bool) -> bool:
        """For clients."""
        return self._ends("answer", after=after)

    def stepped(self) -> None:
        """One more step of the universe was done."""
        if self.broken is not None:
            raise self.broken
        if self._doom.kind == "step":
            self._ends("step", after=False)

    def _ends(self, kind: str, *, after: bool) -> bool:
        if not self.dead and self._doom.strikes(kind, after=after):
            self.crash(f"at {kind} ({'after' if after else 'before'})")
        return self.dead

    def crash(self, why: str) -> None:
        """The process is gone."""
        if self.dead:
            return
        self.universe.note("crash", self.number, why)
        self.dead = True
        self._end()
        self.universe.loop = None  # what is still to be run there never runs
        self.universe.later(0.0, self.crashed)

    def _end(self) -> None:
        # A disk that took too long may have taken it all the same.
        late = self.config.journal.commit_timeout_ms < 1000
        self.outside.seen.ended(doubtful=self._doubtful or late)

    def bury(self) -> None:
        """Let go of what a dead process held; from outside of its callbacks only."""
        for connection in self._connections:
            connection.abandon()
        if self.ready:
            self.delivery.pause()
        fibers = list(self.fibers._fibers)
        for fiber in fibers:
            fiber.leave()
        for fiber in fibers:
            with suppress(RuntimeError):
                fiber._coroutine.close()
        for task in cast("Any", asyncio.all_tasks(self.loop)):
            task._log_destroy_pending = False
            with suppress(RuntimeError):
                task.get_coro().close()
        self.universe.enter(None)
        self.loop.close()

    # its beginning

    def start(self, then: Callable[[], None]) -> None:
        """Begin; `then` is called when it is ready."""
        self._writers: list[Writer] = []
        self._main = self.loop.create_task(self._watched(self._start(then)))

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - a run ends by it
            self.broken = error

    async def _start(self, then: Callable[[], None]) -> None:
        try:
            await self._open()
            known = await self.journal.gaps.all()
            self._build(known)
            standing = await self.journal.standing(OWED | {State.DEAD})
            for intent in standing:
                why = "" if intent.state is State.DEAD else self._hindered(intent)
                assert not why, f"intent {intent.id} is owed {why}"
            self.delivery.resume(standing)
            self.unknown.resume(standing)
        except StoreError as error:
            self.crash(f"it cannot start: {error}")
            return
        self.ready = True
        self.unknown.start()
        then()
        self.universe.later(TICK_S * self.universe.chance.random(), self._tick)

    async def _open(self) -> None:
        outside, config = self.outside, self.config
        writer = await self._writer("journal.db", schema.JOURNAL)
        settings = replace(config.journal, directory=str(outside.disk.directory))
        journal = outside.plant.journal(
            writer, io.StringIO(), settings, self.tally, self.universe.clock
        )
        outside.seen.deaf = False
        journal.seen, journal.life = outside.seen, self.number
        await journal._start()
        self.journal = journal
        self.ledger: Ledger | None = None
        if outside.has_ledger:
            writer = await self._writer("ledger.db", ledger_schema.LEDGER)
            found = await writer.call(_take_up)
            self.ledger = Ledger(writer, config.ledger, found, self.universe.clock)

    async def _writer(self, name: str, tables: Schema) -> Writer:
        path = self.outside.disk.directory / name
        connection = Connection(self.outside.disk, self, path)
        self._connections.append(connection)
        writer = self.outside.plant.writer(path, cast("Any", connection))
        self._writers.append(writer)
        await writer.call(partial(prepare, schema=tables, synchronous="OFF"))
        return writer

    def _build(self, known: list[Gap]) -> None:
        outside, config, tally = self.outside, self.config, self.tally
        chance = self.universe.chance
        pools = cast(
            "Any", {side: Network(outside.backends[side], self, self.universe) for side in Side}
        )
        exits = {side: Exit(side, config.backends[side], HOP, {}, self._log) for side in Side}
        self.guard = outside.plant.guard(config.breaker_limits, self.loop.time)
        self.identities = Identities(self.journal.pairs, tally)
        self.secondary = Secondary(pools, self.identities, tally, exits)
        rooms = DeliveryRooms(
            journal=self.journal, secondary=self.secondary, identities=self.identities,
            guard=self.guard, tally=tally, fibers=self.fibers,
            evidence=Evidence(self.ledger, Redaction(key=b"key"), tally, self.fibers, self._log),
        )  # fmt: skip
        self.delivery = outside.plant.delivery(
            rooms, config.delivery, config.fate_limits, self._route, chance.random
        )
        self.turnstile = Turnstile()
        settling = UnknownRooms(
            journal=self.journal, delivery=self.delivery, turnstile=self.turnstile, pools=pools,
            exits=exits, tally=tally, fibers=self.fibers, log=self._log, route_of=self._route,
            hindered=self._hindered, journaled=self._journaled,
        )  # fmt: skip
        quiet_s, ways = config.delivery.probe_quiet_seconds, ways_of(config.routes)
        self.unknown = Unknown(settling, ways, config.fate_limits, quiet_s, chance.random)
        self.gaps = gaps = Gaps(known, self.journal.gaps.keep, self.universe.clock, self._log)
        told = (tally, rooms.evidence, self._log)
        self.capacity = Capacity(config.journal, self.journal, self.delivery, told)
        self.shadow = Shadow(rooms, self.delivery, 1000)
        foreground = WriteRooms(
            listen=config.listen, journal=self.journal, capacity=self.capacity, gaps=gaps,
            journal_settings=config.journal,
            delivery=self.delivery, guard=self.guard, shadow=self.shadow,
            turnstile=self.turnstile, unknown=self.unknown, pools=pools, exits=exits, tally=tally,
            fibers=self.fibers, log=self._log, hop=HOP,
        )  # fmt: skip
        self.door = Door(foreground, lambda: self.config.policy, chance.getrandbits)

    def _journaled(self, intent: Intent) -> bool:
        route = self._route(intent.route)
        return journals(route, self.config.policy) and not self.capacity.hinders

    def _hindered(self, intent: Intent) -> str:
        policy = self.config.policy
        return hindrance(intent.primary, intent.target, self._route(intent.route), policy)

    def _route(self, name: str) -> Route:
        policy = self.config.policy
        return next((each for each in policy.routes if each.name == name), policy.fallback)

    def _apart(
        self,
        future: "asyncio.Future[object]",
        work: Callable[..., object],
        args: tuple[object, ...],
    ) -> None:
        self.universe.later(self.universe.chance.random() * 0.003, self._worked, future, work, args)

    def _worked(
        self,
        future: "asyncio.Future[object]",
        work: Callable[..., object],
        args: tuple[object, ...],
    ) -> None:
        if self.dead or future.done():
            return
        try:
            result = work(*args)
        except Exception as error:  # noqa: BLE001 - as an executor passes it on
            future.set_exception(error)
        else:
            future.set_result(result)

    def _tick(self) -> None:
        if self.dead or not self._ticks:
            return
        ledger = () if self.ledger is None else (self.ledger,)
        for each in (self.journal, self.guard, self.delivery, self.capacity, self.gaps, *ledger):
            each.sweep()
        self.universe.later(TICK_S, self._tick)

    @property
    def primary(self) -> Side:
        """The side that has authority; it changes only when nothing is under way."""
        return DUTIES[self.config.policy.stage].primary

    # what is turned at it

    def steer(self, stage: str, *, kill: bool) -> None:
        """Another stage, and the kill switch."""
        self.universe.note("steer", stage, "kill" if kill else "")
        self.config = configured(stage, kill, self.outside.settings)
        if self.ready:
            self.pause(kill=kill)

    def pause(self, *, kill: bool) -> None:
        """What the kill switch does to delivery."""
        if kill:
            self.delivery.pause()
        else:
            self.delivery.start()

    def stop(self, then: Callable[[], None]) -> None:
        """End as by SIGTERM, once the clients are gone."""
        self._ticks = False
        self._main = self.loop.create_task(self._watched(self._stop(then)))

    async def _stop(self, then: Callable[[], None]) -> None:
        self.delivery.pause()
        self.unknown.pause()
        await self.fibers.drain(2.0)
        await self.fibers.cancel()
        self.secondary.close()
        if self.ledger is not None:
            await self.ledger.close()
        await self.journal.close()
        if self.dead:
            return
        self.universe.note("stopped", self.number)
        self.dead = True
        self._end()
        then()

    # what is left in it

    @property
    def busy(self) -> bool:
        """Whether anything is still to be done that time will not bring by itself."""
        disk = any(connection.waiting for connection in self._connections)
        queued = any(len(writer) for writer in self._writers)
        return bool(
            disk or queued or len(self.fibers) or self.tally.in_flight or len(self.delivery)
        )

    def residue(self) -> dict[str, object]:
        """What should be nothing when nothing is owed."""
        delivery, dispatch = self.delivery, self.delivery._dispatch
        found: dict[str, object] = {}
        for name in ("_in_memory", "_parked", "_failed", "_durable", "_dead"):
            found[f"delivery.{name}"] = _told(getattr(delivery, name))
        found["dispatch"] = len(dispatch), dispatch._in_work, dispatch._pumping
        found["dispatch.active"] = {k: v.active for k, v in dispatch._ready.items() if v.active}
        found["delivery._lanes"] = len(delivery._lanes)
        found["turnstile"] = len(self.turnstile._lanes)
        found["fibers"] = len(self.fibers)
        found["in_flight"] = self.tally.in_flight
        found["backlog_bytes"] = self.tally.backlog_bytes
        found["identities"] = [*self.identities._waiting]
        found["unknown"] = self.unknown._asking, self.unknown.repeats._in_flight
        found["capacity"] = len(self.capacity._waiting)
        found["shadow"] = self.shadow._pending
        found["leases"] = [
            f"{each.leased} leased, {each.passed} passed"
            for each in self.guard.breakers().values()
            if each.state is BreakerState.HALF_OPEN and each.leased > each.passed
        ]
        if found["unknown"] == (0, set()):
            del found["unknown"]
        if found["dispatch"] == (0, 0, set()):
            del found["dispatch"]
        return {name: value for name, value in found.items() if value}

    def failures(self) -> list[str]:
        """What must never happen: a task that failed, a callback that raised."""
        lines = self.stream.getvalue().splitlines()
        return [
            *self.loop.failures,
            *(line for line in lines if "_failed" in line and "traceback" in line),
        ]

    def kept(self) -> list[str]:
        """What should be gone some seconds after all is quiet: closed rows, the log, spool files."""
        connection = cast("Any", self._connections[0])._conn
        rows = connection.execute("SELECT id, state, spool, changed_at FROM intents").fetchall()
        old = self.universe.clock() - HOLD_S
        found = [
            f"intent {number} is {state}"
            for number, state, _, changed_at in rows
            if State(state) in CLOSED and changed_at < old
        ]
        (log,) = connection.execute("SELECT count(*) FROM log").fetchone()
        if log:
            found.append(f"{log} rows of the log")
        named = {f"{spool}" for _, _, spool, _ in rows}
        spools = sorted(each.name for each in (self.outside.disk.directory / "spool").iterdir())
        return found + [f"spool/{name}" for name in spools if f"spool/{name}" not in named]

    def rows(self) -> dict[int, tuple[State, str]]:
        """Every intent that the journal's file knows at the beginning of a life: its state, and the attempt."""
        connection = cast("Any", self._connections[0])._conn
        found = connection.execute("SELECT id, state, payload FROM intents").fetchall()
        rows = {}
        for identity, state, payload in found:
            name = re.search(rb"\r\nAttempt: (\S+)", payload or b"")
            rows[identity] = State(state), "" if name is None else name[1].decode()
        return rows


def _told(held: object) -> object:
    """Intents by their ids, whatever holds them."""
    if not isinstance(held, dict):
        return held
    return [key.id if isinstance(key, Intent) else key for key in held]


def templates(directory: Path) -> dict[str, Any]:
    """What `Disk.reset` needs."""
    return {
        "journal.db": (directory, schema.JOURNAL),
        "ledger.db": (directory, ledger_schema.LEDGER),
    }
