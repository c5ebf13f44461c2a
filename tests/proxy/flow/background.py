"""The background of journaled writes without a foreground: real journal, real pools, two scripted backends."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.control.config import Config, parse
from proxy.control.log import Log
from proxy.control.tally import Tally
from proxy.fiber import Fibers
from proxy.flow.delivery import Delivery, Rooms
from proxy.flow.evidence import Evidence
from proxy.flow.exit import Exit
from proxy.flow.guard import Guard
from proxy.flow.identities import Identities
from proxy.flow.secondary import Secondary
from proxy.store.intent import Intent
from proxy.store.journal import Journal
from proxy.store.ledger import Ledger
from proxy.wire.pool import Pool
from rules.fate import OWED, Event, State
from rules.message import Reply, Side
from rules.redact import Redaction
from rules.route import Route
from tests.proxy.flow.scripted import Scripted
from tests.proxy.samples import Clock, a_reply, begun, until

HOP = b"Twinwrite-Hop: 0123456789abcdef"

FAST = {
    "BREAKER_ENABLED": "false",
    "DELIVERY_BACKOFF_FIRST_MS": "10",
    "DELIVERY_BACKOFF_MAX_MS": "50",
    "BACKENDS_NEW_FIRST_BYTE_TIMEOUT_MS": "200",
}


def configured(
    directory: Path, backends: tuple[Scripted, Scripted], toml: str = "", **settings: str
) -> Config:
    """A configuration at `dual_legacy_primary`; `settings` are environment variables without prefix."""
    legacy, new = backends
    given = {
        "STAGE": "dual_legacy_primary", "JOURNAL_DIRECTORY": str(directory), "LISTEN_PORT": "0",
        "ADMIN_PORT": "0", "BACKENDS_LEGACY_URL": legacy.url, "BACKENDS_NEW_URL": new.url,
        **settings,
    }  # fmt: skip
    return parse(toml, "test.toml", {f"TWINWRITE_{name}": value for name, value in given.items()})


def skipping(
    directory: Path, backends: tuple[Scripted, Scripted], toml: str = "", **settings: str
) -> Config:
    """The same, where a dead letter frees its lanes."""
    return configured(directory, backends, toml, **{"DELIVERY_ON_DEAD": "skip", **settings})


@dataclass
class Background:
    """The rooms, and the foreground's part of a write."""

    config: Config
    rooms: Rooms
    pools: dict[Side, Pool]
    delivery: Delivery
    ledger: Ledger
    log: io.StringIO

    @property
    def journal(self) -> Journal:
        return self.rooms.journal

    @property
    def tally(self) -> Tally:
        return self.rooms.tally

    def states(self) -> dict[str, int]:
        return {state.value: count for state, count in self.tally.states.items() if count}

    async def write(self, intent: Intent, reply: Reply | None = None) -> Intent:
        """The primary applied it: settle it and hand it over, as the foreground does."""
        await begun(self.journal, intent)
        self.delivery.reserve(intent)
        return await self.settle(intent, reply)

    async def settle(self, intent: Intent, reply: Reply | None = None) -> Intent:
        """The rest of a write that has its place."""
        self.journal.order(intent)
        await self.journal.settle(intent, Event.PRIMARY_APPLIED, reply or a_reply())
        self.delivery.release(intent)
        return intent

    def sweep(self) -> None:
        """One tick of the app."""
        for pool in self.pools.values():
            pool.sweep()
        self.journal.sweep()
        self.delivery.sweep()

    async def reaches(self, holds: Callable[[], object], seconds: float = 5.0) -> None:
        """Tick until a condition holds."""

        def ticked() -> object:
            self.sweep()
            return holds()

        await until(ticked, seconds)

    async def done(self, count: int) -> None:
        await self.reaches(lambda: self.tally.states[State.DONE] == count)

    async def flushed(self) -> None:
        self.ledger.sweep()
        await until(lambda: not len(self.journal.writer) and not len(self.ledger.writer))
        await self.journal.writer.call(lambda _: None)
        await self.ledger.writer.call(lambda _: None)

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]


@asynccontextmanager
async def background(
    config: Config,
    *,
    clock: Callable[[], float] | None = None,
    chance: Callable[[], float] = lambda: 0.0,
    fails: bool = False,
) -> AsyncIterator[Background]:
    """The background on a journal; what it owes from before is taken up. `fails`: a task may fail."""
    tally, stream = Tally(), io.StringIO()
    loop = asyncio.get_running_loop()
    journal = await Journal.open(config.journal, tally, clock or Clock())
    ledger = await Ledger.open(journal.directory, config.ledger, clock or Clock())
    pools = {side: Pool(config.backends[side]) for side in Side}
    exits = {side: Exit(side, config.backends[side], HOP, {}, Log(stream)) for side in Side}
    identities, fibers = Identities(journal.pairs, tally), Fibers(Log(stream))
    rooms = Rooms(
        journal=journal, identities=identities, guard=Guard(config.breaker_limits, loop.time),
        evidence=Evidence(ledger, Redaction(key=b"key"), tally, fibers, Log(stream)), tally=tally,
        fibers=fibers,
        secondary=Secondary(pools, identities, tally, exits),
    )  # fmt: skip
    routes = {route.name: route for route in config.policy.routes}

    def route_of(name: str) -> Route:
        return routes.get(name, config.policy.fallback)

    delivery = Delivery(rooms, config.delivery, config.fate_limits, route_of, chance)
    found = Background(config, rooms, pools, delivery, ledger, stream)
    delivery.resume(await journal.standing(OWED | {State.DEAD}))
    if not config.policy.kill_switch:
        delivery.start()
    try:
        yield found
    finally:
        delivery.pause()
        await fibers.cancel()
        rooms.secondary.close()
        for pool in pools.values():
            pool.close()
        await ledger.close()
        await journal.close()
    assert fails or "task_failed" not in found.events(), stream.getvalue()
    assert tally.holds()
