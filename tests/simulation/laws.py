"""The laws: what must be true after a start, when all is quiet, and of the whole run.

`check_run` compares the sides as follows. The primary's log, with only those attempts in it that are
`done`, is what the secondary must have done: in that order for each key, each at least once, and
exactly once where it knows repetitions. What is `unknown` must not be there at all; keys of dead
letters, and of writes that no journal saw, are left out: they are named.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from rules.fate import CLOSED, OWED, State
from rules.message import Side
from tests.simulation.network import Applied, Model
from tests.simulation.universe import START

if TYPE_CHECKING:
    from tests.simulation.scenario import Run
    from tests.simulation.world import Life

TRACE_LINES = 120

QUICK_S = 2.0
"""A gap is on the disk so soon after its first write at the latest: it may have waited for room, or for the disk."""


class Violation(AssertionError):
    """A law is broken: the seed, which, and what happened before. `about`: an attempt or a key."""

    def __init__(self, run: Run, law: str, *about: str) -> None:
        self.law = law
        self.seed = run.seed
        self.trace = render(run)
        ends = (f" {each} " for each in about)
        marks = tuple(ends)
        told = [line for line in self.trace if any(mark in f"{line} " for mark in marks)]
        shown = told or self.trace
        if len(shown) > TRACE_LINES:
            shown = [f"({len(shown) - TRACE_LINES} lines before)", *shown[-TRACE_LINES:]]
        text = [f"seed {run.seed}: {law}"]
        text.append(f"again: SEED={run.seed} pytest tests/simulation -k one_seed")
        text.append(f"all of its trace: python -m tests.simulation.campaign {run.seed}")
        text += [f"troubles: {', '.join(sorted(run.troubles))}; honours: {_honours(run)}", *shown]
        super().__init__("\n".join(text))


def render(run: Run) -> list[str]:
    """The trace as lines."""
    return [
        f"{at:9.4f} " + " ".join(str(word) for word in words if word != "")
        for at, words in run.universe.trace
    ]


def _honours(run: Run) -> str:
    return ", ".join(side for side in Side if run.backends[side].honours) or "neither"


def check_restart(run: Run, life: Life) -> None:
    """After a start: every write that was durable is there, in one state; what is gone was closed."""
    seen, rows, tally = run.seen, life.rows(), life.tally
    if not tally.holds():
        raise Violation(run, f"after the start, accepted {tally.accepted} is not the sum of states")
    for identity in seen.durable:
        state, _ = rows.get(identity, (None, ""))
        last = seen.state.get(identity, State.P_SENT)
        name = seen.attempt.get(identity, "")
        if state is None and last not in CLOSED:
            raise Violation(run, f"intent {identity} ({name}) was {last}, and is gone", name)
        if state is None:
            continue
        answered = _answered(run, name)
        if state is State.UNKNOWN and last is not State.UNKNOWN and answered is not None:
            excused = identity in seen.unsettled or "behind" in run.troubles
            if answered < 500 and not excused:
                raise Violation(run, f"{name} was answered {answered}, and is unknown", name)
    for identity, (state, name) in rows.items():
        if name:
            seen.attempt.setdefault(identity, name)  # it died before anybody was told
        seen.state[identity] = state
        seen.was.setdefault(identity, set()).add(state)
    life.had = tally.accepted
    low, high = len(seen.durable), len(seen.durable) + seen.uncertain
    if not low <= tally.accepted <= high:
        law = f"after the start {tally.accepted} are accepted, and {low} to {high} were durable"
        raise Violation(run, law)


def _answered(run: Run, name: str) -> int | None:
    return next((each.status for each in run.attempts if each.name == name), None)


def check_drained(run: Run, life: Life | None) -> None:
    """When all is quiet: nothing is left in memory, nothing waits for ever."""
    if life is None or not life.ready:
        raise Violation(run, "the sidecar did not come up")
    for what in life.failures():
        raise Violation(run, f"something failed that must not: {what}")
    if not life.tally.holds():
        tally = life.tally
        raise Violation(run, f"accepted {tally.accepted} is not the sum of {tally.states}")
    if life.tally.accepted != life.had + life.came:
        law = f"{life.tally.accepted} are accepted: {life.had} there were, {life.came} came"
        raise Violation(run, law)
    if "clock" not in run.troubles and (kept := life.kept()):
        raise Violation(run, f"still kept: {kept}")
    if residue := life.residue():
        raise Violation(run, f"left over: {residue}")
    held = (*OWED, State.RECEIVED, State.P_SENT)
    for state in held:
        if life.tally.states[state]:
            stuck = [n for n, each in run.seen.state.items() if each is state]
            names = [run.seen.attempt.get(n, "") for n in stuck]
            raise Violation(
                run, f"{life.tally.states[state]} are {state} for ever: {names}", *names
            )
    if open_now := [each.name for each in run.attempts if each.open]:
        raise Violation(run, f"never answered: {open_now}", *open_now)


def check_run(run: Run) -> None:
    """Of the whole run: the two sides, and what clients were told."""
    by_attempt: dict[str, list[int]] = defaultdict(list)
    for identity, name in run.seen.attempt.items():
        by_attempt[name].append(identity)
    _check_answers(run, by_attempt)
    if not run.troubles & {"clock", "disk", "doubt", "stall"}:  # what no disk took, a crash loses
        _check_gaps(run, by_attempt)
    facts = _Facts(run)
    facts.check_counts()
    facts.check_order()
    facts.check_contents()


def _check_answers(run: Run, by_attempt: dict[str, list[int]]) -> None:
    """What a client was told is so."""
    log = [entry for backend in run.backends.values() for entry in backend.log if entry.primary]
    applied = {entry.attempt for entry in log}
    if {"doubt", "reask"} <= run.troubles:
        applied.clear()  # refused, durable all the same, unknown after a crash, and asked about again
    for attempt in run.attempts:
        status, name = attempt.status, attempt.name
        if status is None:
            continue
        if "nothing was sent" in attempt.refused and name in applied:
            raise Violation(run, f"{name} was told that nothing was sent", name)
        for identity in by_attempt[name]:
            state = run.seen.state.get(identity)
            if status < 300 and state in (State.NOT_SENT, State.ABORTED, State.P_REJECTED):
                raise Violation(run, f"{name} was answered {status}, and is {state}", name)


def _check_gaps(run: Run, by_attempt: dict[str, list[int]]) -> None:
    """What the primary got in a dual stage and no journal saw lies in a gap."""
    log = [entry for backend in run.backends.values() for entry in backend.log if entry.primary]
    applied = {entry.attempt for entry in log}
    for attempt in run.attempts:
        if by_attempt[attempt.name] or not attempt.stage.startswith("dual"):
            continue
        if attempt.name in applied and not any(
            gap.first_at - START <= attempt.at + QUICK_S for gap in run.gaps
        ):
            law = f"{attempt.name} was not journaled, and is in no gap"
            raise Violation(run, law, attempt.name)


class _Facts:
    """Both logs, by attempt, and which keys are not compared."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.state: dict[str, State] = {}
        self.ever: dict[str, set[State]] = defaultdict(set)
        for identity, name in run.seen.attempt.items():
            if identity in run.seen.state:
                self.state[name] = run.seen.state[identity]
                self.ever[name] |= run.seen.was.get(identity, set())
        # Sent before the primary's outcome was on the disk: a crash may leave them unknown.
        self.excused = {run.seen.attempt[n] for n in run.seen.unsettled if n in run.seen.attempt}
        if "behind" in run.troubles:
            self.excused.update(self.state)
        self.out_of_order: set[str] = set()  # what lanes went on without
        if "skip" in run.troubles:
            self.out_of_order = {n for n, ever in self.ever.items() if State.DEAD in ever}
        logs = [entry for backend in run.backends.values() for entry in backend.log]
        logs.sort(key=lambda entry: entry.at)
        self.primary = [entry for entry in logs if entry.primary]
        self.secondary = [entry for entry in logs if not entry.primary]
        self.asked = Counter(_op(each.name) for each in run.attempts)
        self.times = Counter(entry.attempt for entry in self.secondary)

    def check_counts(self) -> None:
        """Each done write is at the secondary; no write that is not owed is there."""
        run = self.run
        both = [{_op(e.attempt) for e in backend.log} for backend in run.backends.values()]
        reached = set.intersection(*both)
        for name, state in self.state.items():
            if state is State.DONE and _op(name) not in reached:
                raise Violation(run, f"{name} is done, and the secondary never got it", name)
            if (
                self.times[name]
                and name not in self.excused
                and state in (State.UNKNOWN, State.P_REJECTED, State.NOT_SENT)
            ):
                raise Violation(run, f"{name} is {state}, and the secondary got it", name)
        for attempt, count in Counter(entry.attempt for entry in self.primary).items():
            if count > 1 and "reask" not in run.troubles:
                raise Violation(run, f"{attempt} was sent to the primary {count} times", attempt)
        done_once: Counter[tuple[Side, str]] = Counter()
        for side, backend in run.backends.items():
            if backend.honours:
                done_once.update(
                    (side, e.attempt) for e in backend.log if not e.primary and e.target
                )
        for (side, attempt), count in done_once.items():
            if count > 1 and not self._is_delete(attempt):
                law = f"{attempt} was applied {count} times at {side}, which knows repetitions"
                raise Violation(run, law, attempt)

    def _is_delete(self, attempt: str) -> bool:
        """One that finds nothing is not remembered by its key."""
        return any(e.attempt == attempt and e.method == "DELETE" for e in self.secondary)

    def check_order(self) -> None:
        """For each key, within a life and over all of them, the secondary has the primary's order."""
        journaled = {
            name for name, state in self.state.items()
            if state is State.DONE and name not in self.out_of_order
            and self.asked[_op(name)] == 1
        }  # fmt: skip
        place: dict[tuple[str, str], int] = {}
        told = self.run.backends[Side.NEW].told  # of both: the list is one
        for index, entry in enumerate(self.primary):
            for key in entry.keys:
                # "completion": the order in which the primary answered
                at = told.index(entry.attempt) if key[0] == "c" and entry.attempt in told else index
                place.setdefault((key, entry.attempt), at)
        made = Counter(
            key for entry in self.primary if entry.method == "CREATE" for key in entry.keys
        )
        twice = {key for key, count in made.items() if count > 1}  # two entities, two lanes
        rows: dict[str, list[Applied]] = defaultdict(list)
        for entry in self.secondary:
            for key in entry.keys:
                if key in twice:
                    continue
                if key[0] != "n" and entry.attempt in journaled and (key, entry.attempt) in place:
                    rows[key].append(entry)
        for key, entries in rows.items():
            for label, chosen in _runs(entries):
                order = [place[key, entry.attempt] for entry in chosen]
                if order != sorted(order):
                    names = [entry.attempt for entry in chosen]
                    law = f"{key}: the secondary got {names} ({label}), not the primary's order"
                    raise Violation(self.run, law, *names)

    def check_contents(self) -> None:
        """What the secondary holds is what the done writes make, in the primary's order."""
        if "flip" in self.run.troubles:
            return  # each side is both: order and counts are checked, contents are not
        expected, compared = Model(), self._compared()
        for entry in self.primary:
            if self.state.get(entry.attempt) is State.DONE:
                expected.apply(entry.method, entry.keys, _op(entry.attempt))
        found = self.run.backends[Side.NEW].model.contents
        for key in compared:
            if expected.contents.get(key) != found.get(key):
                law = (
                    f"{key}: the secondary holds {found.get(key)}, not {expected.contents.get(key)}"
                )
                raise Violation(self.run, law, key)

    def _compared(self) -> set[str]:
        """The keys of which everything is known."""
        named: set[str] = set()
        groups: list[set[str]] = []
        for entry in (*self.primary, *self.secondary):
            keys = set(entry.keys)
            groups.append(keys)
            state = self.state.get(entry.attempt)
            if state is State.UNKNOWN and not self.times[entry.attempt]:
                continue  # it must not be at the secondary: that was checked
            doubled = self.times[entry.attempt] > 1
            several = self.asked[_op(entry.attempt)] > 1
            if state is not State.DONE or doubled or several or entry.attempt in self.out_of_order:
                named |= keys
        spread = True
        while spread:
            more = {key for keys in groups if keys & named for key in keys} - named
            named |= more
            spread = bool(more)
        return {key for keys in groups for key in keys if not key.startswith(("n/", "c/"))} - named


def _op(attempt: str) -> str:
    return attempt.partition(".")[0]


def _runs(entries: list[Applied]) -> list[tuple[str, list[Applied]]]:
    """What must be in order: each life's, the first of each attempt, the last of each attempt."""
    lives = sorted({entry.life for entry in entries})
    found = [(f"life {life}", [e for e in entries if e.life == life]) for life in lives]
    first = {entry.attempt: entry for entry in reversed(entries)}
    last = {entry.attempt: entry for entry in entries}
    for label, chosen in (("first", first), ("last", last)):
        found.append((label, [entry for entry in entries if chosen[entry.attempt] is entry]))
    return found
