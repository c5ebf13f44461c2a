"""The composition root: builds the rooms, starts them, serves, and takes them down in order.

Law: the only place that knows every room, hands out clocks and chance, and catches signals.
"""

import asyncio
import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from proxy.control.admin import Actions, Admin
from proxy.control.config import Config
from proxy.control.encryption import EncryptionError, cipher_of
from proxy.control.log import Log
from proxy.control.metrics import Metrics, Reading
from proxy.control.outbound import CredentialError
from proxy.control.overview import overview
from proxy.control.tally import Tally
from proxy.control.tls import TlsError
from proxy.control.token import made
from proxy.control.ways import ways_of
from proxy.fiber import Fibers
from proxy.flow.baseline import Baseline
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
from proxy.flow.steering import Rooms as SteeringRooms
from proxy.flow.steering import Steering
from proxy.flow.turnstile import Turnstile
from proxy.flow.unknown import Unknown
from proxy.flow.unsettled import Rooms as UnknownRooms
from proxy.memory import tune
from proxy.store.batch import StoreError
from proxy.store.gap import Gap
from proxy.store.intent import Intent
from proxy.store.journal import Journal
from proxy.store.ledger import Ledger
from proxy.wire.clients import Clients
from proxy.wire.listen import Listener, ListenError
from proxy.wire.pool import Pool
from rules.breaker import Breaker
from rules.fate import OWED, State
from rules.level import Level
from rules.message import Side
from rules.route import Route, hindrance, journals
from rules.stage import DUTIES

TICK_S = 0.25
"""How often deadlines are looked at: a time-out is late by this much at the most."""

DRAIN_LOOK_S = 0.02
"""How often a drain looks whether the last client is gone."""


class StartError(Exception):
    """The sidecar cannot start; its text is one clear line."""


class App:
    """One sidecar. `start`, `serve` until a signal, `stop`."""

    def __init__(self, config: Config, log: Log) -> None:
        self.config = config
        self.log = log
        self.tally = Tally()
        self.instance = secrets.token_hex(8)
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._stopping = asyncio.Event()
        self._ticker: asyncio.TimerHandle | None = None
        self._tick_failure = ""  # the last one, as text
        self._is_built = False
        self._is_stopped = False
        self._journal: Journal | None = None
        self._ledger: Ledger | None = None
        self._listener: Listener | None = None
        self._routes = {
            route.name: route for route in (*config.policy.routes, config.policy.fallback)
        }

    async def start(self, *, listening: bool = True) -> None:
        """Open the stores, take up what is owed, listen or only deliver. Raises StartError, with nothing left open."""
        config, admin = self.config, ""
        try:
            cipher = cipher_of(config.journal, os.environ)
            self._journal = await Journal.open(config.journal, self.tally, time.time, cipher)
            await self._open_ledger()
            known = await self._journal.gaps.all()
            self._build(self._journal, known)
            self._take_up(self._journal)
            if listening:
                self._listener = Listener(config.listen, self.clients.connect, self._say)
                await self._listener.open()
                admin = await self._admin()
        except (StoreError, TlsError, ListenError, EncryptionError, OSError) as error:
            await self._close()
            raise StartError(str(error)) from error
        except BaseException:  # a bug of ours must end the process, not leave its threads behind
            await self._close()
            raise
        if not config.policy.kill_switch:
            self.delivery.start()
        if listening:
            self.unknown.start()
            self._say_ready(admin)
        self._tick()
        tune()

    def _build(self, journal: Journal, known: list[Gap]) -> None:
        config, tally, log = self.config, self.tally, self.log
        redaction = config.redact.redaction(journal.redaction_key)
        hop = f"Twinwrite-Hop: {self.instance}".encode()
        self.fibers = Fibers(log)
        self.pools = {side: Pool(config.backends[side], self._say) for side in Side}
        self.exits = self._exits(hop)
        self.guard = Guard(config.breaker_limits, self._loop.time)
        self.guard.watch(self._breaker_changed)
        self.evidence = Evidence(self._ledger, redaction, tally, self.fibers, log)
        gaps = Gaps(known, journal.gaps.keep, time.time, log, self.evidence)
        identities = Identities(journal.pairs, tally)
        pending_max = config.compare.pending_max
        self.secondary = Secondary(self.pools, identities, tally, self.exits, pending_max)
        rooms = DeliveryRooms(
            journal=journal, identities=identities, guard=self.guard, evidence=self.evidence,
            secondary=self.secondary, tally=tally, fibers=self.fibers,
        )  # fmt: skip
        self.delivery = Delivery(
            rooms, config.delivery, config.fate_limits, self._route, random.random
        )
        self.journal = journal
        turnstile = Turnstile()
        settling = UnknownRooms(
            journal=journal, delivery=self.delivery, turnstile=turnstile, pools=self.pools,
            exits=self.exits, tally=tally, fibers=self.fibers, log=log, route_of=self._route,
            hindered=self._hindered, journaled=self._journaled,
        )  # fmt: skip
        quiet_s, ways = config.delivery.probe_quiet_seconds, ways_of(config.routes)
        self.unknown = Unknown(settling, ways, config.fate_limits, quiet_s, random.random)
        self.gaps = gaps
        self.capacity = Capacity(
            config.journal, journal, self.delivery, (tally, self.evidence, log)
        )
        foreground = WriteRooms(
            listen=config.listen, journal=journal, capacity=self.capacity, gaps=gaps, journal_settings=config.journal,
            delivery=self.delivery, guard=self.guard, shadow=Shadow(rooms, self.delivery, pending_max),
            turnstile=turnstile, unknown=self.unknown, pools=self.pools, exits=self.exits, tally=tally,
            fibers=self.fibers, log=log, hop=hop,
        )  # fmt: skip
        door = Door(foreground, lambda: config.policy, random.getrandbits, self._baseline())
        self.clients = Clients(config.listen, door)
        self.metrics = Metrics(tally, self.reading)
        self.admin = Admin(
            config.admin, self.metrics, self.status, self._not_ready, self._actions(journal)
        )
        self._is_built = True

    def _baseline(self) -> Baseline | None:
        percent = self.config.compare.baseline_percent
        if not percent or self._ledger is None:
            return None
        return Baseline(self.pools, self.evidence, self.fibers, percent, random.random)

    def _actions(self, journal: Journal) -> Actions:
        rooms = SteeringRooms(
            journal=journal, delivery=self.delivery, unknown=self.unknown, evidence=self.evidence,
            log=self.log, route_of=self._route, hindered=self._hindered,
        )  # fmt: skip
        return Actions(token=made(journal.directory), by_path=Steering(rooms).actions)

    def _exits(self, hop: bytes) -> dict[Side, Exit]:
        found = {}
        for side, backend in self.config.backends.items():
            try:
                found[side] = Exit(side, backend, hop, os.environ, self.log)
            except CredentialError as error:
                raise StartError(f"backends.{side}.{error}") from error
        return found

    async def _open_ledger(self) -> None:
        try:
            directory = Path(self.config.journal.directory)
            self._ledger = await Ledger.open(directory, self.config.ledger, time.time)
        except StoreError as error:  # evidence is lost, writes are not
            self.log.error("ledger_failed", error=str(error))
        else:
            if self._ledger.moved is not None:
                self.log.error("ledger_damaged", moved_to=str(self._ledger.moved))

    def _take_up(self, journal: Journal) -> None:
        """Queue what an earlier run owes, before the first new write; StartError if it must not be sent."""
        standing = journal.take(OWED | {State.DEAD})
        owed = [intent for intent in standing if intent.state is not State.DEAD]
        why = Counter(map(self._hindered, owed))
        del why[""]
        if why:
            told = "; ".join(f"{count} {reason}" for reason, count in why.items())
            raise StartError(
                f"the journal owes writes ({told}): run with the former config until they are delivered"
            )
        if owed:
            self.log.info("resumed", owed=len(owed))
        if any(journal.damaged):
            log_rows, intents = journal.damaged
            self.log.error("journal_damaged", log_rows=log_rows, dead_letters=intents)
        self.delivery.resume(standing)
        self.unknown.resume(standing)

    def _hindered(self, intent: Intent) -> str:
        route, policy = self._routes.get(intent.route), self.config.policy
        return hindrance(intent.primary, intent.target, route, policy)

    def _journaled(self, intent: Intent) -> bool:
        """Whether every write of an intent's route goes through the journal now."""
        return journals(self._route(intent.route), self.config.policy) and not self.capacity.hinders

    def _say_ready(self, admin: str) -> None:
        for warning in self.config.warnings:
            self.log.warning("config", detail=warning)
        self.log.info(
            "ready", listen=self.address, admin=admin, instance=self.instance,
            stage=self.config.policy.stage, version=version("twinwrite"),
        )  # fmt: skip

    @property
    def address(self) -> str:
        """Where clients connect: host:port, with the port that was picked, or unix:/path."""
        assert self._listener is not None
        return self._listener.address

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopping.set)
        await self._stopping.wait()

    async def stop(self) -> None:
        """Drain with a deadline; what is owed stays in the journal. A second call does nothing."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._stopping.set()
        self.log.info("draining", in_flight=self.tally.in_flight, owed=len(self.delivery))
        if self._listener is not None:
            self._listener.close()
        self.delivery.pause()
        self.unknown.pause()
        self.clients.drain()
        left = await self._drained(self.config.listen.drain_timeout_ms / 1000)
        await self._close()
        self.log.info("stopped", unfinished=left, owed=len(self.delivery))

    async def _drained(self, timeout_s: float) -> int:
        deadline = self._loop.time() + timeout_s
        while (self.clients.open or len(self.fibers)) and self._loop.time() < deadline:
            await self.fibers.drain(TICK_S)
            await asyncio.sleep(DRAIN_LOOK_S)
        return len(self.fibers)

    async def _close(self) -> None:
        """Take down what is up: connections first, stores last, so that every outcome is written."""
        if self._ticker is not None:
            self._ticker.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._is_built:
            self.delivery.pause()
            self.unknown.pause()
            self.clients.abort()
            await self.fibers.cancel()
            self.secondary.close()
            await self.admin.stop()
            for pool in self.pools.values():
                pool.close()
        if self._ledger is not None:
            await self._ledger.close()
        if self._journal is not None:
            await self._journal.close()

    # what others see

    def reading(self) -> Reading:
        """The numbers that are not in the tally."""
        return Reading(
            requests=self.clients.requests,
            refused=self.clients.refused,
            connections=len(self.clients.open),
            backlog_rows=len(self.delivery),
            oldest_seconds=self.delivery.oldest_s(),
            fullness=self.capacity.fullness,
            level=self.capacity.level,
            reasons=self.capacity.reasons,
            dead_holding=self.delivery.dead_count,
            gaps=[asdict(each) for each in self.gaps.all],
            breakers={
                name: (each.state, each.reason) for name, each in self.guard.breakers().items()
            },
            commits=self.journal.writer.commits,
            commit_seconds=self.journal.writer.commit_seconds,
        )

    def status(self) -> Mapping[str, Any]:
        """What `/status` shows."""
        return {
            "version": version("twinwrite"),
            "instance": self.instance,
            "uptime_seconds": round(self._loop.time() - self._started, 3),
            **overview(self.reading(), self.tally, self.config.policy),
        }

    async def _not_ready(self) -> str:
        if self._stopping.is_set():
            return "draining"
        if self.journal.fails and self.capacity.level is Level.REJECTING:
            return "; ".join(self.capacity.reasons)
        primary = DUTIES[self.config.policy.stage].primary
        if not await self.pools[primary].is_reachable():
            return (
                f"the primary ({primary}, {self.config.backends[primary].url}) takes no connection"
            )
        return ""

    # inside

    def _tick(self) -> None:
        """Every sweep, and the next tick, whatever one of them does: all deadlines depend on it."""
        self._ticker = self._loop.call_later(TICK_S, self._tick)
        ledger = () if self._ledger is None else (self._ledger,)
        for each in (
            self.clients, *self.pools.values(), *self.exits.values(),
            self.journal, self.guard, self.delivery, self.capacity, self.gaps, *ledger,
        ):  # fmt: skip
            try:
                each.sweep()
            except Exception as error:  # noqa: BLE001 - a bug; told once, not at every tick
                if repr(error) != self._tick_failure:
                    self._tick_failure = repr(error)
                    self.log.failure("sweep_failed", error)

    async def _admin(self) -> str:
        where = self.config.admin
        try:
            return await self.admin.start()
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise StartError(f"cannot listen on {where.host}:{where.port}: {why}") from error

    def _say(self, detail: str) -> None:
        self.log.warning("tls", detail=detail)

    def _route(self, name: str) -> Route:
        return self._routes.get(name, self.config.policy.fallback)

    def _breaker_changed(self, category: str, breaker: Breaker) -> None:
        self.log.warning("breaker", category=category, state=breaker.state, reason=breaker.reason)
        self.evidence.event(
            "breaker", category=category, state=breaker.state, reason=breaker.reason
        )
