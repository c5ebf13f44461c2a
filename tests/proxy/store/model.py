"""A journal beside a model of it: what was promised, and what may have happened since.

Each intent has a history of states, and how far of it is known to be durable. After a crash the
journal must be somewhere between the two: never before what was promised, never anywhere else.
"""

import asyncio
import io
import shutil
import threading
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from proxy.control.log import Log
from proxy.control.owed import Confirm
from proxy.control.tally import Tally
from proxy.fiber import Fibers
from proxy.store import reader
from proxy.store.intent import Intent, Result
from proxy.store.journal import Journal
from rules.fate import CLOSED, OWED, RECOVERY, TRANSITIONS, Event, State
from rules.message import Cause, Failure, Outcome, Reply, Request
from tests.proxy.samples import (
    Clock,
    a_reply,
    a_request,
    an_intent,
    crashed,
    disk_broken,
    disk_full,
    journaled,
    opened,
)

OUTCOMES: dict[Event, tuple[Outcome, State]] = {
    Event.PRIMARY_APPLIED: (a_reply(201, b'{"id": 7}'), State.S_PENDING),
    Event.PRIMARY_REJECTED: (a_reply(409), State.P_REJECTED),
    Event.PRIMARY_UNKNOWN: (Failure(cause=Cause.TIMEOUT, sent=True), State.UNKNOWN),
    Event.PRIMARY_NOT_REACHED: (Failure(cause=Cause.REFUSED, sent=False), State.NOT_SENT),
}
CONCLUSIONS: dict[State, tuple[Event, ...]] = {
    State.S_SENT: (Event.CONFIRM, Event.CONFIRM, Event.RETRY, Event.BURY, Event.PARK),
    State.S_PENDING: (Event.PARK, Event.BURY, Event.SUPERSEDE),
    State.PARKED: (Event.UNPARK, Event.BURY),
    State.DEAD: (Event.REVIVE, Event.WAIVE),
    State.UNKNOWN: (Event.WAIVE,),
}


def recovered(state: State) -> State:
    """What a restart makes of a state."""
    event = RECOVERY.get(state)
    return state if event is None else TRANSITIONS[state, event]


@dataclass(eq=False)
class Known:
    """One intent of the model. `durable`: the place in its history that is promised; -1 is none yet."""

    intent: Intent
    request: Request
    reply: Reply | None = None
    history: list[State] = field(default_factory=lambda: [State.P_SENT])
    durable: int = -1
    busy: bool = True  # between a call and its return
    resumable: bool = True  # a fresh process knows only what is owed
    is_own: bool = True  # of this life

    @property
    def state(self) -> State:
        return self.history[-1]


class Model:
    """Random steps on a journal; every life of it, and what is left after each."""

    def __init__(self, directory: Path, seed: int, *, sickens: bool = True) -> None:
        self.sickens = sickens  # whether the disk has troubles
        self.chance = Random(seed)
        self.clock = Clock()
        self.tally = Tally()
        self.known: dict[int, Known] = {}
        self.gone: Counter[State] = Counter()  # closed in a former life
        self.ids: set[int] = set()  # of former lives
        self.sequence = self.used = 0  # given, and durably so
        self.settings: dict[str, object] = {
            "done_hold_seconds": self.chance.choice((0.0, 0.0, 2.0, 60.0)),
            "confirm": self.chance.choice((Confirm.BEFORE_REPLY, Confirm.BEHIND)),
        }
        self.sick = self.trouble = False  # the disk now; the disk for what is under way
        self.log = io.StringIO()
        self.fibers = Fibers(Log(self.log))
        self._directory = directory
        self._life = 0
        self._opened = AsyncExitStack()
        self.journal: Journal

    # lives

    async def start(self) -> None:
        self.journal = await self._opened.enter_async_context(
            opened(self._directory / str(self._life), self.tally, self.clock, **self.settings)
        )

    async def stop(self) -> None:
        await self.fibers.cancel()
        await self._opened.aclose()
        assert self.log.getvalue() == "", self.log.getvalue().replace("\\n", "\n")

    async def crash(self) -> None:
        """The process is gone, now; a new one opens what it left."""
        copy = self._directory / str(self._life + 1)
        held, free = threading.Event(), threading.Event()

        def hold(_: object) -> bool:
            held.set()
            return free.wait(10)

        holding = asyncio.ensure_future(self.journal.writer.call(hold))
        while not held.is_set():
            await asyncio.sleep(0)
        crashed(self.journal.directory, copy)  # nothing moves: neither the loop nor the writer
        promised = {number: known.durable for number, known in self.known.items()}
        possible = {number: list(known.history) for number, known in self.known.items()}
        free.set()
        await holding
        await self.stop()
        told = reader.states(copy)
        self._life += 1
        self.tally, self.sick, self.trouble = Tally(), False, False
        await self.start()
        await self._compare(promised, possible)
        assert sum(told.values()) == self.tally.accepted

    async def _compare(self, promised: dict[int, int], possible: dict[int, list[State]]) -> None:
        found = {
            n: State(str(each["state"])) for n, each in journaled(self.journal.directory).items()
        }
        assert found.keys() <= self.known.keys()
        assert not set(found.values()) & (CLOSED | set(RECOVERY))
        expected = Counter(self.gone)
        for number, known in list(self.known.items()):
            allowed = possible[number][max(promised.get(number, -1), 0) :]
            if number in found:
                assert found[number] in {recovered(state) for state in allowed}, number
                state = found[number]
            elif allowed[-1] in CLOSED:
                state = allowed[-1]
            else:
                assert promised.get(number, -1) < 0, f"{number} is lost"
                del self.known[number]
                continue
            expected[state] += 1
            self.ids.add(number)
            if state is not State.UNKNOWN:
                self.used = max(self.used, known.intent.sequence)
            if state in CLOSED:
                self.gone[state] += 1
                del self.known[number]
            else:
                known.history, known.durable, known.busy = [state], 0, False
                known.resumable = known.is_own = False
        assert {s: n for s, n in self.tally.states.items() if n} == dict(expected)
        assert self.tally.holds()
        assert self.tally.journal_errors == 0
        self.sequence = self.used  # what nobody was promised may be used again
        await self._take_up()

    async def _take_up(self) -> None:
        """What is owed comes back: in order, and exactly."""
        owed = await self.journal.standing(OWED)
        assert {each.id for each in owed} == {n for n, k in self.known.items() if k.state in OWED}
        order = [each.sequence for each in owed]
        assert order == sorted(set(order))
        assert self.tally.backlog_bytes == sum(each.bytes for each in owed)
        for each in owed:
            known = self.known[each.id]
            request, reply = await self.journal.load(each)
            assert reply == known.reply
            assert (request.head, request.body) == (known.request.head, known.request.body)
            if known.request.spool is not None:
                path = Path(request.spool or "")
                assert path.parent.parent == self.journal.directory
                assert path.read_bytes() == b"x" * request.body_bytes
            assert each.sequence == known.intent.sequence
            known.intent, known.resumable = each, True
        spools = {path.name for path in (self.journal.directory / "spool").iterdir()}
        wanted = {str(k.intent.spool)[6:] for k in self.known.values() if k.intent.spool}
        assert spools == wanted

    # steps

    async def step(self) -> None:
        steps = {
            self.begin: 20, self.settle: 25, self.send: 15, self.conclude: 25, self.keep: 8,
            self.release: 8, self.tick: 15, self.jump: 1, self.disk: 6, self.look: 4, self.settled: 4,
        }  # fmt: skip
        (step,) = self.chance.choices(list(steps), list(steps.values()))
        found = step()
        if asyncio.iscoroutine(found):
            await found
        for _ in range(self.chance.choice((0, 0, 1, 3))):
            await asyncio.sleep(0)

    def pick(self, *states: State) -> Known | None:
        found = [k for k in self.known.values() if k.state in states and not k.busy and k.resumable]
        return self.chance.choice(found) if found else None

    def begin(self) -> None:
        self.fibers.start(self._begin())

    def _request(self) -> tuple[Request, str | None]:
        body = b"x" * self.chance.choice((0, 10, 300, 9000))
        request = a_request("PUT", f"/{len(self.known)}?a=%20", body, "X-A: 1\r\n")
        if self.chance.random() < 0.9:
            return request, None
        path = self.journal.spools.next()
        path.write_bytes(body)
        spooled = Request(
            method="PUT", target=request.target, head=request.head, spool=str(path),
            body_bytes=len(body),
        )  # fmt: skip
        return spooled, f"spool/{path.name}"

    async def _begin(self) -> None:
        request, spool = self._request()
        lanes = tuple(self.chance.sample("abc", self.chance.choice((0, 1, 2))))
        intent = an_intent(*lanes, request=request, spool=spool, received_at=self.clock())
        known = Known(intent, request)
        self.journal.accept(intent)
        begun = self.journal.begin(intent)
        number = self.journal._next_id
        assert number not in self.known
        assert number not in self.ids
        self.known[number] = known
        error = await begun
        assert intent.id == number
        if error is not None:
            assert self.trouble
            self.journal.abort(intent)
            del self.known[number]
            return
        known.durable, known.busy = max(known.durable, 0), False

    def settle(self) -> None:
        known = self.pick(State.P_SENT)
        if known is not None:
            known.busy = True
            self.fibers.start(self._settle(known))

    async def _settle(self, known: Known) -> None:
        event = self.chance.choices(list(OUTCOMES), (6, 2, 1, 1))[0]
        outcome, state = OUTCOMES[event]
        if event is Event.PRIMARY_APPLIED:
            self.journal.order(known.intent)
            assert known.intent.sequence > self.sequence
            self.sequence = known.intent.sequence
            known.reply = outcome if isinstance(outcome, Reply) else None
        known.history.append(state)
        error = await self.journal.settle(known.intent, event, outcome)
        assert error is None or self.trouble
        if error is None and self.settings["confirm"] is Confirm.BEFORE_REPLY:
            known.durable = max(known.durable, 1)
        known.busy = False

    def send(self) -> None:
        known = self.pick(State.S_PENDING)
        if known is not None:
            self.journal.sending(known.intent)
            known.history.append(State.S_SENT)
            if self.chance.random() < 0.3:
                self.journal.note_sent(known.intent)

    def conclude(self) -> None:
        known = self.pick(State.S_SENT, State.S_SENT, *CONCLUSIONS)
        if known is None or (known.state is not State.S_SENT and self.chance.random() < 0.7):
            return
        event = self.chance.choice(CONCLUSIONS[known.state])
        known.intent.due_at = self.clock() + self.chance.random()
        known.history.append(TRANSITIONS[known.state, event])
        self.journal.conclude(known.intent, event, Result(f"by {event}", "match", 200))

    def keep(self) -> None:
        known = self.pick(*OWED, State.P_SENT, State.UNKNOWN, State.DEAD)
        if known is not None:
            self.journal.keep(known.intent)

    def release(self) -> None:
        """As delivery does where memory is short."""
        known = self.pick(State.S_PENDING)
        if known is not None:
            self.journal.keep(known.intent)
            known.intent.request = known.intent.reply = None

    def tick(self) -> None:
        self.clock.forward(self.chance.choice((0.25, 0.25, 0.5, 1.0, 1.0, 3.0)))
        self.journal.sweep()

    def jump(self) -> None:
        """Somebody sets the clock."""
        self.clock.forward(self.chance.choice((-3600.0, -1.5, 3600.0)))

    async def disk(self) -> None:
        if not self.sickens:
            return
        self.sick = bad = self.chance.random() < 0.5
        self.trouble = True  # also for what is under way
        if self.chance.random() < 0.5:
            await disk_full(self.journal, full=bad)
        else:
            await disk_broken(self.journal, broken=bad)
        if not bad:
            await disk_full(self.journal, full=False)
            await disk_broken(self.journal, broken=False)
            await self.settled()

    async def settled(self) -> None:
        """What was asked for is on disk, if the disk takes it."""
        if self.sick:
            return
        places = {known: len(known.history) - 1 for known in self.known.values() if not known.busy}
        for _ in range(1000):
            if not len(self.journal.writer):
                break
            self.journal.writer.nudge()
            await self.journal.writer.call(lambda _: None)
        await self.journal.writer.call(lambda _: None)
        for known, place in places.items():
            known.durable = max(known.durable, place)
        self.trouble = self.trouble and any(known.busy for known in self.known.values())

    async def look(self) -> None:
        """What another process sees in the live file."""
        await self.settled()
        if self.sick or any(known.busy for known in self.known.values()):
            journaled(self.journal.directory)  # no intent is in two places
            return
        found = journaled(self.journal.directory)
        for number, known in self.known.items():
            if known.state in CLOSED and number not in found:
                continue  # held for long enough
            assert found[number]["state"] == known.state or known.state is State.S_SENT
            if known.is_own:
                _compare_columns(known.intent, found[number])
        expected = Counter(self.gone) + Counter(known.state for known in self.known.values())
        states = Counter(reader.states(self.journal.directory))
        pending = states[State.S_PENDING] + states.pop(State.S_SENT, 0)
        states[State.S_PENDING] = pending
        expected[State.S_PENDING] += expected.pop(State.S_SENT, 0)
        assert +states == +Counter({str(state): count for state, count in expected.items()})
        assert {each["id"] for each in reader.intents(self.journal.directory, limit=10**6)} == set(
            found
        )


def _compare_columns(intent: Intent, found: dict[str, object]) -> None:
    names = ["route", "lanes", "method", "target", "received_at", "sequence", "bytes"]
    if intent.state is State.S_SENT:  # a try is not written
        assert found["state"] in (State.S_PENDING, State.S_SENT)
    else:
        names += ["attempts", "reason", "verdict", "primary_status", "secondary_status", "due_at"]
    assert {name: found[name] for name in names} == {n: getattr(intent, n) for n in names}


async def lived(directory: Path, seed: int, *, lives: int = 4, steps: int = 120) -> None:
    """Several lives of one journal, each ended by a kill."""
    model = Model(directory, seed)
    await model.start()
    try:
        for _ in range(lives):
            for _ in range(model.chance.randrange(steps)):
                await model.step()
            await model.crash()
    finally:
        await model.fibers.cancel()
        await model._opened.aclose()
    shutil.rmtree(directory)


def commits(wal: bytes) -> list[int]:
    """How long a write-ahead log was after each commit (sqlite.org/fileformat2.html, section 4.1)."""
    size = 24 + int.from_bytes(wal[8:12])
    ends = range(32 + size, len(wal) + 1, size)
    return [end for end in ends if int.from_bytes(wal[end - size + 4 : end - size + 8])]


async def replayed(directory: Path, seed: int, *, steps: int = 120) -> int:
    """One life of a journal; then what a kill after each of its commits would have left.

    An intent is seen from the commit on that holds its beginning, never goes back, and only what is
    closed is ever gone; gone or not, it is counted once. How many commits there were. The disk is well: after
    trouble there is a checkpoint, and the write-ahead log alone does not tell any more what was.
    """
    model = Model(directory, seed, sickens=False)
    await model.start()
    for _ in range(steps):
        await model.step()
        if model.chance.random() < 0.6:  # not all of them in a few commits
            model.journal.writer.nudge()
            await asyncio.sleep(0)
            await model.journal.writer.call(lambda _: None)
    await model.settled()
    final = crashed(model.journal.directory, directory / "final")
    histories = {n: list(known.history) for n, known in model.known.items()}
    await model.stop()
    wal = (final / "journal.db-wal").read_bytes()
    places: dict[int, int] = {}
    ends = commits(wal)
    for number, end in enumerate(ends):
        copy = directory / f"commit{number}"
        shutil.copytree(final, copy, ignore=shutil.ignore_patterns("*-shm"))
        (copy / "journal.db-wal").write_bytes(wal[:end])
        tally = Tally()
        async with opened(copy, tally, model.clock):
            found = {n: each["state"] for n, each in journaled(copy).items()}
            for one in found.keys() | places.keys():
                history = [recovered(state) for state in histories[one]]
                if one not in found:
                    assert history[-1] in CLOSED, f"{one} is lost"
                    places[one] = len(history) - 1
                else:
                    places[one] = history.index(State(found[one]), places.get(one, 0))
            assert tally.accepted == len(places), number
            assert tally.holds()
            assert tally.journal_errors == 0
        shutil.rmtree(copy)
    return len(ends)
