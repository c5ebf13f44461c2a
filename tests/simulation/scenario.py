"""One run: what clients want, what goes wrong and when, all from the seed; then quiet, and the laws.

A run takes some of the kinds of trouble and leaves the others out, so that each combination is met
("swarm testing"). After `CALM_AT` nothing goes wrong any more, and everything must come to its end.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from proxy.control.owed import Confirm, OnBacklogFull, OnDead, OnJournalError
from proxy.store.gap import Gap
from rules.fate import State
from rules.message import Side
from tests.simulation.clients import Attempt, Operation
from tests.simulation.config import Given
from tests.simulation.disk import DELAY_S, Disk
from tests.simulation.laws import Violation, check_drained, check_restart, check_run
from tests.simulation.network import FILES, Backend
from tests.simulation.seen import Seen
from tests.simulation.universe import Universe
from tests.simulation.world import HOLD_S, Doom, Life, Outside, Plant, templates

CALM_AT = 6.0
QUIET_S = 200.0
"""After `CALM_AT` it may take so long, in virtual seconds, until nothing is owed that can be delivered: parked
writes of one lane wait for 5 each, one after the other; backoff and breaker for a few."""

STEPS_MAX = 400_000
"""Beyond it a run goes round in circles. The longest seen took a tenth."""

LIVES_MAX = 4

TROUBLES = (
    "crash", "stop", "primary", "secondary", "refusals", "disk", "doubt", "outage", "slow", "kill",
    "stages", "flip", "gone", "repeats", "spool", "tight", "pass_through", "behind", "drop",
    "skip", "reask", "probe", "person", "rate", "stall", "clock",
    "patient", "impatient", "full", "pause", "block",
)  # fmt: skip

FAULTS = (
    "refused", "pool_full", "lost", "lost_reply", "late", "reset", "reset_after", "slow",
    "status_500", "applied_500", "status_503", "status_429", "status_408",
)  # fmt: skip
"""What may become of a request."""

SPELLS = {
    "disk": (0.02, 1.0), "outage": (0.2, 3.0), "kill": (0.2, 2.0), "stages": (0.1, 1.0),
    "flip": (0.1, 1.0), "stop": (0.1, 1.0), "person": (0.5, 2.0), "stall": (0.05, 0.5), "clock": (0.0, 0.0),
}  # fmt: skip
"""Troubles that come up to three times, and last for a while: from, to, in seconds."""

_STAGES = ("legacy_only", "shadow", "dual_legacy_primary", "dual_legacy_primary")


class Run:
    """The run of one seed. `directory` is emptied first; `plant` is a bug to put in; `troubles`: these, not others."""

    def __init__(
        self, seed: int, directory: Path, plant: Plant, troubles: frozenset[str] = frozenset()
    ) -> None:
        self.seed = seed
        universe = self.universe = Universe(seed)
        chance = self.chance = universe.chance
        likely = chance.choice((0.15, 0.35, 0.5))
        chosen = frozenset(name for name in TROUBLES if chance.random() < likely)
        if chance.random() < 0.4:
            chosen |= {"crash"}  # what matters most
        self.troubles = troubles or chosen
        self.disk = Disk(universe, directory / "life")
        self.disk.reset(templates(directory))
        self.backends = {
            side: Backend(side, universe, honours=chance.random() < 0.6) for side in Side
        }
        self.seen = Seen(universe)
        self.seen.blocks = "skip" not in self.troubles
        self.outside = Outside(
            universe=universe, disk=self.disk, backends=self.backends, seen=self.seen, plant=plant,
            settings=self._settings(), has_ledger=chance.random() < 0.3,
        )  # fmt: skip
        self.backends[Side.NEW].told = self.backends[Side.LEGACY].told
        for backend in self.backends.values():
            backend.late_is_safe = "reask" not in self.troubles
        self.gaps: list[Gap] = []  # that the last start found
        self.operations: list[Operation] = []
        self.attempts: list[Attempt] = []
        self.stage, self.kill = "dual_legacy_primary", False
        self._decided: Counter[int] = Counter()  # by intent: how often a person has looked at it
        self.lives = 0
        self.calm = False
        self.held = False  # clients wait: the side that has authority is about to change
        self._stopping = self._closing = False
        self._things: list[str] = []
        self._over = False
        self._last = False  # the life that only reads the files
        self._wishes = 0  # not asked for yet, or to be asked for again
        self._life: Life | None = None

    def _settings(self) -> Given:
        settings: dict[str, Given] = {
            "tight": (("delivery", "memory_bytes_max", 1000), ("delivery", "concurrency_max", 1)),
            "spool": (("listen", "spool_memory_bytes_max", 8),),
            "pass_through": (("journal", "on_journal_error", OnJournalError.PRIMARY_ONLY),),
            "behind": (("journal", "confirm", Confirm.BEHIND),),
            "drop": (("", "kill", "drop"),),
            "skip": (("delivery", "on_dead", OnDead.SKIP),),
            "rate": (("delivery", "catch_up_per_second_max", 20.0),),
            "impatient": (("journal", "commit_timeout_ms", 300),),
            "full": (("journal", "backlog_rows_max", 4),),
            "pause": (("journal", "on_backlog_full", OnBacklogFull.PAUSE_MIRRORING),),
            "block": (
                ("journal", "on_backlog_full", OnBacklogFull.BLOCK),
                ("journal", "backlog_block_ms", 600),
            ),
            "reask": (("put", "reask", "true"),),
            "probe": (("put", "probe", '"/k/{id}"'), ("put", "probe_equals", '["/op"]')),
        }
        return tuple(
            line for name, lines in settings.items() if name in self.troubles for line in lines
        )

    # the course of it

    def go(self) -> None:
        """Run it; raises Violation."""
        try:
            with _no_loop():
                self._plan()
                self._begin()
                self._until_over()
                check_run(self)
        except Violation:
            raise
        except Exception as error:
            raise Violation(self, f"{type(error).__name__}: {error}") from error
        finally:
            if self._life is not None:
                self._life.bury()

    def _until_over(self) -> None:
        universe, steps = self.universe, 0
        while not self._over:
            if not universe.step():
                raise Violation(self, "nothing is left to do, and it is not over")
            steps += 1
            if steps > STEPS_MAX:
                raise Violation(self, f"it is not over after {STEPS_MAX} steps")
            if self._life is not None:
                self._life.stepped()
            if self.seen.broken:
                raise Violation(self, self.seen.broken[0])

    def _begin(self) -> None:
        """The next life of the sidecar."""
        if self._life is not None:
            self._life.bury()
        self.lives += 1
        last = self.lives >= LIVES_MAX or self._last
        doom = Doom() if last or "crash" not in self.troubles else self._doom()
        self.universe.note("life", self.lives, doom)
        life = self._life = Life(self.outside, self.lives, doom)
        life.crashed = self._crashed
        life.steer(self.stage, kill=self.kill)
        life.start(self._ready)

    def _doom(self) -> Doom:
        chance = self.chance
        kind = chance.choice(("step", "step", "commit", "commit", "send", "answer", "answer", ""))
        most = {"step": 2500, "commit": 60, "send": 80, "answer": 15, "": 1}[kind]
        return Doom(
            kind, chance.randrange(most), kind not in ("step", "") and chance.random() < 0.5
        )

    def _crashed(self) -> None:
        for attempt in self.attempts:
            attempt.lose()
        self._stopping, self.held = False, self.held and not self._stopping
        if self._closing:  # as it was about to end: it must come to rest once more
            self._closing = False
            self._wait(self.universe.now + QUIET_S)
        if self.lives > 50:
            raise Violation(self, "it starts again and again")
        self.universe.later(0.15 + self.chance.random(), self._begin)

    def _ready(self) -> None:
        life = self._life
        assert life is not None
        check_restart(self, life)
        self.gaps = list(life.gaps.all)
        self._over = self._last
        if not self.kill:
            life.delivery.start()

    @property
    def life(self) -> Life | None:
        """The sidecar, while it serves."""
        life = self._life
        return life if life is not None and life.ready and not life.dead else None

    # what clients want

    def _plan(self) -> None:
        later, chance = self.universe.later, self.chance
        self._wishes = chance.choice((8, 20, 40))
        for number in range(1, self._wishes + 1):
            later(chance.random() * CALM_AT * 0.8, self._wish, number)
        self._trouble()
        later(CALM_AT, self._calm)

    def _wish(self, number: int) -> None:
        if self.life is None or self.held:  # nobody is there: the client comes again
            self.universe.later(0.05, self._wish, number)
            return
        key = f"c{number}" if "repeats" in self.troubles and self.chance.random() < 0.6 else ""
        operation = self._operation(number, key)
        self.operations.append(operation)
        self._attempt(operation)

    def _operation(self, number: int, key: str) -> Operation:
        chance, query = self.chance, f"?op={number}"
        body = b'{"op": %d}' % number
        kind = chance.choices(
            ("key", "move", "batch", "many", "make", "thing", "file", "folder", "all", "c", "n"),
            (9, 3, 2, 1, 2, 4, 3, 1, 1, 2, 1),
        )[0]
        keys = ["a", "b", "c"]
        chance.shuffle(keys)
        method, target = "POST", "/things"
        if kind == "move":
            target = f"/move/{keys[0]}/{keys[1]}"
        elif kind == "many":
            target = "/many"
            names = ", ".join(f'"{key}"' for key in keys[: chance.randrange(1, 4)])
            body = f'{{"items": [{names}], "op": {number}}}'.encode()
        elif kind == "all":
            target = "/all"
        elif kind == "folder":
            method, target = "DELETE", f"/d/{chance.choice('ab')}"
        elif kind == "file":
            method = chance.choice(("PUT", "PUT", "PATCH"))
            target = f"/{chance.choice(FILES)}"
        elif kind == "batch":
            target = "/batch"
            body = b'{"a": "%s", "b": "%s", "op": %d}' % (
                keys[0].encode(), keys[1].encode(), number,
            )  # fmt: skip
        elif kind in ("key", "c", "n") or (kind == "thing" and not self._things):
            room = "k" if kind == "thing" else kind.replace("key", "k")
            method = chance.choices(("PUT", "PATCH", "DELETE"), (5, 4, 1))[0]
            target = f"/{room}/{keys[0]}"
        elif kind == "thing":
            method = chance.choices(("PUT", "PATCH", "DELETE"), (2, 6, 1))[0]
            target = f"/things/{chance.choice(self._things)}"
        body = b"" if method == "DELETE" else body
        return Operation(number=number, method=method, target=target + query, body=body, key=key)

    def _attempt(self, operation: Operation) -> None:
        life = self.life
        if life is None or self.held:
            self.universe.later(0.05, self._attempt, operation)
            return
        self._wishes -= 1
        piecewise = 0.02 if self.chance.random() < 0.1 else 0.0
        attempt = Attempt(operation, self.universe, piecewise)
        attempt.over = self._attempted
        attempt.stage, attempt.at = self.stage, self.universe.now
        self.attempts.append(attempt)
        attempt.send(life.door, life)
        if "gone" in self.troubles and self.chance.random() < 0.3:
            self.universe.later(self.chance.random() * 0.1, attempt.leave)
            if operation.key and self.chance.random() < 0.5:  # and asks again at once
                self._again(operation, 0.1)

    def _attempted(self, attempt: Attempt) -> None:
        operation = attempt.operation
        if attempt.status == 201 and operation.makes:
            self._things.append(attempt.made)
        failed = attempt.lost or attempt.gone or (attempt.status or 0) >= 500
        if failed and operation.key and len(operation.attempts) < 3 and not self.calm:
            self._again(operation, 1.0)

    def _again(self, operation: Operation, within_s: float) -> None:
        if len(operation.attempts) < 3:
            self._wishes += 1
            self.universe.later(self.chance.random() * within_s, self._attempt, operation)

    # what goes wrong

    def _trouble(self) -> None:
        has, chance = self.troubles.__contains__, self.chance
        self._network_trouble()
        if has("doubt"):
            self.disk.doubtful = 0.02
        for name, (low, high) in SPELLS.items():
            for _ in range(chance.randrange(1, 4) if has(name) else 0):
                begin = chance.random() * CALM_AT
                lasts = low + chance.random() * (high - low)
                self.universe.later(begin, getattr(self, f"_{name}"), lasts)

    def _network_trouble(self) -> None:
        has, chance = self.troubles.__contains__, self.chance
        for side, room in ((Side.LEGACY, "primary"), (Side.NEW, "secondary")):
            if has(room):
                chosen = chance.sample(FAULTS, chance.randrange(1, 6))
                most = chance.choice((0.05, 0.2))
                faults = self.backends[side].faults
                faults.chances = {name: chance.random() * most for name in chosen}
        if has("patient"):  # calls that last for longer than an intent is young
            for backend in self.backends.values():
                backend.timeout_s = 4.0
                backend.faults.chances["slow"] = 0.1
        if has("refusals"):
            self.backends[chance.choice(list(Side))].faults.refusal = 0.1
        if has("slow"):
            self.backends[chance.choice(list(Side))].faults.latency_s = 0.2

    def _disk(self, lasts_s: float) -> None:
        if self.calm:
            return
        self.disk.trouble = self.chance.choice(("all", "writes"))
        self.universe.note("disk", "trouble", self.disk.trouble)
        self.universe.later(lasts_s, self._disk_good)

    def _disk_good(self) -> None:
        self.universe.note("disk", "good")
        self.disk.trouble = ""

    def _stall(self, lasts_s: float) -> None:
        """Each thing that the disk does takes up to half a second."""
        if not self.calm:
            self.universe.note("disk", "stalls")
            self.disk.delay_s = 0.5
            self.universe.later(lasts_s, self._stalled)

    def _stalled(self) -> None:
        self.disk.delay_s = DELAY_S

    def _clock(self, _lasts_s: float) -> None:
        """Somebody sets the clock of the machine."""
        if not self.calm:
            self.universe.skew += self.chance.choice((-7200.0, -30.0, -1.0, 1.0, 30.0, 7200.0))
            self.universe.note("clock", self.universe.skew)

    def _outage(self, lasts_s: float) -> None:
        if not self.calm:
            side = self.chance.choice((Side.NEW, Side.NEW, Side.LEGACY))
            self._down(side, down=True)
            self.universe.later(lasts_s, self._up, side)

    def _up(self, side: Side) -> None:
        self._down(side, down=False)

    def _down(self, side: Side, *, down: bool) -> None:
        self.universe.note(side, "is", "down" if down else "up")
        self.backends[side].down = down

    def _kill(self, lasts_s: float) -> None:
        if not self.calm:
            self._steer(self.stage, kill=True)
            self.universe.later(lasts_s, self._unkill)

    def _unkill(self) -> None:
        self._steer(self.stage, kill=False)

    def _steer(self, stage: str, *, kill: bool) -> None:
        self.stage, self.kill = stage, kill
        if self._life is not None and not self._life.dead:
            self._life.steer(stage, kill=kill)

    def _stages(self, lasts_s: float) -> None:
        if not self.calm and self.stage != "dual_new_primary":
            self._steer(self.chance.choice(_STAGES), kill=self.kill)
            self.universe.later(lasts_s, self._stage_back)

    def _stage_back(self) -> None:
        if self.stage != "dual_new_primary":
            self._steer("dual_legacy_primary", kill=self.kill)

    def _flip(self, lasts_s: float) -> None:
        """The fence of a change of authority: hold the clients until nothing is owed, or give up."""
        if not self.calm and not self.held:
            self.held = True
            self._fence(self.universe.now + lasts_s)

    def _fence(self, deadline: float) -> None:
        life = self.life
        if life is not None and not life.busy and self._is_settled():
            follows = {"dual_legacy_primary": "dual_new_primary"}.get(
                self.stage, "dual_legacy_primary"
            )
            self._things.clear()  # clients forget the ids of the other side
            self._steer(follows, kill=self.kill)
            self.held = False
        elif self.universe.now > deadline:
            self.held = False
        else:
            self.universe.later(0.02, self._fence, deadline)

    def _is_settled(self) -> bool:
        open_ends = (State.UNKNOWN, State.DEAD, State.PARKED)
        dual = self.stage.startswith("dual")
        return dual and not any(state in open_ends for state in self.seen.state.values())

    def _stop(self, _lasts_s: float) -> None:
        if not self.calm and self.life is not None and not self.held:
            self._stopping = self.held = True
            self._stop_when_idle(self.universe.now + 3.0)

    def _stop_when_idle(self, deadline: float) -> None:
        life = self.life
        if life is None:  # it crashed
            return
        if any(attempt.open for attempt in self.attempts) and self.universe.now < deadline:
            self.universe.later(0.02, self._stop_when_idle, deadline)
        else:
            life.ready = False
            life.stop(self._stopped)

    def _stopped(self) -> None:
        for attempt in self.attempts:
            attempt.lose()
        self._stopping = self.held = False
        self.universe.later(0.15, self._begin)

    # the end

    def _calm(self) -> None:
        """From now on everything goes well."""
        self.calm = True
        self.universe.note("calm")
        self.disk.trouble, self.disk.doubtful, self.disk.delay_s = "", 0.0, DELAY_S
        for side in Side:
            faults = self.backends[side].faults
            faults.chances.clear()
            faults.refusal, faults.latency_s = 0.0, 0.02
            self._down(side, down=False)
        stage = "dual_new_primary" if self.stage == "dual_new_primary" else "dual_legacy_primary"
        self._steer(stage, kill=False)
        self._wait(self.universe.now + QUIET_S)

    def _wait(self, deadline: float) -> None:
        life = self.life
        if (
            life is not None
            and not life.busy
            and self._all_asked()
            and not life.delivery.dead_count
        ):
            self.universe.later(HOLD_S + 1.0, self._drained)
        elif self.universe.now > deadline:
            check_drained(self, self._life)
            raise Violation(self, f"it does not come to rest within {QUIET_S} s")
        else:
            if life is not None:
                self._decide(life)
            self.universe.later(0.25, self._wait, deadline)

    def _person(self, lasts_s: float) -> None:
        """Somebody looks at the dead letters."""
        if not self.calm:
            if self.life is not None:
                self._decide(self.life)
            self.universe.later(lasts_s, self._person, lasts_s)

    def _decide(self, life: Life) -> None:
        for identity in list(self.seen.dead()):
            intent = life.delivery.dead(identity)
            if intent is None:
                continue
            self._decided[identity] += 1
            if self._decided[identity] > 2:
                self.universe.note("person", "waives", identity)
                life.delivery.waive(intent, "somebody said so")
            else:
                self.universe.note("person", "retries", identity)
                life.delivery.revive(intent)

    def _all_asked(self) -> bool:
        return not (self._wishes or self.held or any(each.open for each in self.attempts))

    def _drained(self) -> None:
        life = self.life
        if (
            life is None or life.busy or life.delivery.dead_count or not self._all_asked()
        ):  # it crashed meanwhile
            self._wait(self.universe.now + QUIET_S)
            return
        check_drained(self, life)
        life.ready = False
        self._closing = True
        life.stop(self._look_again)

    def _look_again(self) -> None:
        """A last life reads the files."""
        self._last = True
        self.universe.later(0.15, self._begin)


@contextmanager
def _no_loop() -> Iterator[None]:
    """Put back the loop that was running, if any."""
    running = asyncio.events._get_running_loop()
    try:
        yield
    finally:
        with suppress(RuntimeError):
            asyncio.events._set_running_loop(running)
