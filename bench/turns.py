"""Sidecars of one process that have their turns: who, in which order, and what a turn cost.

Law: all live on one loop, and have their turns in the same rounds, in an order drawn anew for each. Who does not do
its work is an error.
"""

import asyncio
import gc
import io
import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import click

from bench import sample
from bench.socketless import Backend, Clients, running
from proxy.app import App
from proxy.control.config import parse
from proxy.control.log import Level, Log
from proxy.serve import heard
from rules.compare import VerdictKind
from rules.fate import OWED

LOOK_SECONDS = 0.002
"""How often it is looked whether a turn is over; a commit takes less."""

REST_SECONDS = 0.3
"""Before a long turn and before the short ones of a stage, outside the clock: a tick passes, and its commits end."""

HANG_SECONDS = 300.0
"""A turn that takes so long has lost a request."""

_CONFIG = (
    """
stage = "{stage}"
[listen]
idle_timeout_ms = 86400000
[backends.legacy]
url = "http://127.0.0.1:{legacy}"
idle_timeout_ms = 86400000
lifetime_seconds = 0
[backends.new]
url = "http://127.0.0.1:{new}"
idle_timeout_ms = 86400000
lifetime_seconds = 0
[journal]
directory = "{directory}"
done_hold_seconds = 86400
"""
    + sample.ROUTE
)
"""Connections stay while others have their turn, and nobody removes rows of the log in another's turn: they go when
64 MiB more have been written, as they do in a sidecar that is as busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One row of the table."""

    name: str
    stage: str
    compares: bool = True

    @property
    def mirrors(self) -> bool:
        """Whether the new side gets every request."""
        return self.stage != "legacy_only"


CONTESTANTS = (
    Contestant(name="relay", stage="legacy_only", compares=False),
    Contestant(name="shadow", stage="shadow"),
    Contestant(name="shadow_plain", stage="shadow", compares=False),
    Contestant(name="dual", stage="dual_legacy_primary"),
    Contestant(name="dual_plain", stage="dual_legacy_primary", compares=False),
    Contestant(name="dual_again", stage="dual_legacy_primary"),
)
"""Everybody, in the order of the report; those of one stage stand together. `dual_again` is `dual`: what the two differ
by is what the method cannot tell apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The command line."""

    rounds: int
    requests: int
    turn: int
    connections: int
    warm: int
    directory: Path
    seed: int
    json_file: Path | None

    @property
    def passes(self) -> int:
        """How often the short turns of a stage go there and back in a round."""
        return max(self.requests // (2 * self.turn), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of a contestant: a long one, for what it costs, or a short one, to be set against another's.

    `number`: of the pass through its stage, within the round, from 1; of a long turn 0. Microseconds of CPU per
    request, user and system: of all threads, and of the loop's alone.
    """

    round: int
    number: int
    contestant: str
    requests: int
    cpu_us: float
    loop_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """A contestant that is up, with both its ends."""

    contestant: Contestant
    app: App
    clients: Clients
    legacy: Backend
    new: Backend

    async def work(self, requests: int) -> None:
        """Send so many requests, until nothing is owed, under way or to be written. Raises ClickException."""
        app = self.app
        try:
            async with asyncio.timeout(HANG_SECONDS):
                await self.clients.send(requests)
                while len(app.delivery) or len(app.fibers) or len(app.journal.writer):
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise click.ClickException(f"{self.contestant.name} does not end") from None
        await asyncio.sleep(LOOK_SECONDS)  # what is written last

    def wrong(self, requests: int) -> Iterator[str]:
        """What it did not do as it should: after so many requests, all in all."""
        tally, verdicts = self.app.tally, requests * self.contestant.compares
        if self.clients.answered != requests or self.clients.others:
            yield f"{self.clients.answered} were answered with 200; others: {self.clients.others[:3]}"
        for name, side, wanted in (
            ("legacy", self.legacy, requests),
            ("new", self.new, requests * self.contestant.mirrors),
        ):
            if side.requests != wanted:
                yield f"the {name} side got {side.requests}, not {wanted}"
        found = {kind: count for kind, count in tally.verdicts.items() if count}
        if found != ({VerdictKind.MATCH: verdicts} if verdicts else {}):
            yield f"verdicts: {found}, wanted {verdicts} times match"
        if not tally.holds() or any(tally.states[state] for state in OWED):
            yield f"the counts are {tally.states}"


@asynccontextmanager
async def up(contestant: Contestant, plan: Plan, directory: Path, log: Log) -> AsyncIterator[Up]:
    """A sidecar, started, with its clients connected."""
    legacy, new, loop = Backend(), Backend(), running()
    text = _CONFIG.format(
        stage=contestant.stage, legacy=loop.added(legacy), new=loop.added(new),
        directory=directory / contestant.name, compare=str(contestant.compares).lower(),
    )  # fmt: skip
    app = App(parse(text, contestant.name, {}), log)
    await app.start(listening=False)
    try:
        clients = Clients(app.clients.connect, plan.connections)
        yield Up(contestant=contestant, app=app, clients=clients, legacy=legacy, new=new)
    finally:
        await app.stop()


def order(chance: random.Random, passes: int) -> Iterator[list[tuple[int, str]]]:
    """The short turns of one round, stage by stage: number of the pass, and name. In a pass the contestants of a stage
    go there and back, so that what grows or decays falls on each alike. Without who is alone in its stage."""
    stages = [
        [each.name for each in group] for _, group in groupby(CONTESTANTS, attrgetter("stage"))
    ]
    together = [names for names in stages if len(names) > 1]
    for names in chance.sample(together, len(together)):
        found = []
        for number in range(1, passes + 1):
            there = chance.sample(names, len(names))
            found += [(number, name) for name in (*there, *reversed(there))]
        yield found


async def measure(directory: Path, plan: Plan) -> list[Turn]:
    """Every turn of every round. Raises ClickException if somebody did not do its work."""
    told, wrong = io.StringIO(), list[str]()
    log = Log(told)
    heard(running(), log)
    async with AsyncExitStack() as stack:
        ups = {
            each.name: await stack.enter_async_context(up(each, plan, directory, log))
            for each in CONTESTANTS
        }
        turns = await rounds(ups, plan)
        for name, each in ups.items():
            sent = plan.warm + sum(one.requests for one in turns if one.contestant == name)
            wrong += [f"{name}: {what}" for what in each.wrong(sent)]
    wrong += [
        line for line in told.getvalue().splitlines() if json.loads(line)["level"] != Level.INFO
    ]
    if wrong:
        raise click.ClickException("\n".join(wrong))
    return turns


async def rounds(ups: Mapping[str, Up], plan: Plan) -> list[Turn]:
    """Warm everybody, then every round."""
    chance = random.Random(plan.seed)
    turns: list[Turn] = []
    for each in ups.values():
        await each.work(plan.warm)
    for at in range(1, plan.rounds + 1):
        for name in chance.sample(list(ups), len(ups)):
            await rest()
            turns.append(await turn(ups[name], plan.requests, at, 0))
        for stage in order(chance, plan.passes):
            await rest()
            turns += [await turn(ups[name], plan.turn, at, number) for number, name in stage]
        click.echo(f"round {at}/{plan.rounds} done", err=True)
    return turns


async def rest() -> None:
    """Let what others began come to its end."""
    await asyncio.sleep(REST_SECONDS)
    gc.collect()


async def turn(one: Up, requests: int, at: int, number: int) -> Turn:
    """One turn, in round `at`."""
    cpu, loop = time.process_time(), time.thread_time()
    await one.work(requests)
    cpu, loop = time.process_time() - cpu, time.thread_time() - loop
    return Turn(
        round=at,
        number=number,
        contestant=one.contestant.name,
        requests=requests,
        cpu_us=cpu / requests * 1e6,
        loop_us=loop / requests * 1e6,
    )
