"""Lanes, against a model so simple that it is right: who is first, who is freed, that nobody waits for ever."""

import asyncio
import gc
import tracemalloc
from collections import defaultdict
from itertools import product
from pathlib import Path
from random import Random
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.flow.lanes import Lanes
from proxy.store.intent import Intent
from tests.proxy.flow.background import FAST, background, configured
from tests.proxy.flow.foreground import sidecar
from tests.proxy.flow.scripted import Answer, Fault, Gate, Seen, backends
from tests.proxy.samples import a_request, an_intent, crashed, journaled, until

NAMES = ("a", "b", "c", "d")


def lane_sets(modes: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    """Some of the names, each of them once, with one of these modes before it."""
    chosen = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(modes), max_size=3)
    return chosen.map(lambda found: tuple(sorted(mode + name for name, mode in found.items())))


ANY = lane_sets(("", "^"))
SHARED, ALONE = lane_sets(("^",)), lane_sets(("",))


class Model:
    """Tickets in the order in which they came; one is first when none before it excludes it."""

    def __init__(self) -> None:
        self.inside: dict[int, tuple[str, ...]] = {}

    def first(self) -> set[int]:
        shared: set[str] = set()
        alone: set[str] = set()
        found = set()
        for ticket, lanes in self.inside.items():
            mine = {name for name in lanes if name[0] != "^"}
            others = {name[1:] for name in lanes if name[0] == "^"}
            if not (mine & (alone | shared) or others & alone):
                found.add(ticket)
            alone |= mine
            shared |= others
        return found


class Both:
    """The lanes and their model, moved together and compared after each step."""

    def __init__(self) -> None:
        self.lanes: Lanes[int] = Lanes()
        self.model = Model()
        self.next = 0

    def enter(self, names: tuple[str, ...]) -> None:
        ticket = self.next
        self.next += 1
        self.model.inside[ticket] = names
        assert self.lanes.enter(ticket, names) == (ticket in self.model.first())
        self.agree()

    def leave(self, ticket: int) -> None:
        before = self.model.first()
        names = self.model.inside.pop(ticket)
        freed = self.lanes.leave(ticket, names)
        assert len(freed) == len(set(freed))
        assert set(freed) == self.model.first() - before
        self.agree()

    def agree(self) -> None:
        first = self.model.first()
        for ticket in self.model.inside:
            assert self.lanes.is_first(ticket) == (ticket in first)
        used = {name.lstrip("^") for names in self.model.inside.values() for name in names}
        assert len(self.lanes) == len(used)


@given(st.lists(ANY | ALONE | st.integers(0, 99), max_size=60))
def test_they_do_what_the_model_does(steps: list[tuple[str, ...] | int]) -> None:
    both = Both()
    for step in steps:
        if isinstance(step, tuple):
            both.enter(step)
        elif both.model.inside:
            inside = list(both.model.inside)
            both.leave(inside[step % len(inside)])  # from the front, the middle or the end


@pytest.mark.parametrize("seed", range(6))
def test_they_do_what_the_model_does_for_a_long_time(seed: int) -> None:
    both, chance = Both(), Random(seed)
    for _ in range(1500):
        if chance.random() < 0.5 or not both.model.inside:
            names = chance.sample(NAMES, chance.randrange(4))
            both.enter(tuple(sorted(chance.choice(("", "", "^")) + name for name in names)))
        elif chance.random() < 0.7:
            both.leave(chance.choice(sorted(both.model.first())))
        else:
            both.leave(chance.choice(sorted(both.model.inside)))
    while both.model.inside:
        both.leave(chance.choice(sorted(both.model.first())))
    assert len(both.lanes) == 0
    assert not both.lanes._blocked


@given(st.lists(ANY, max_size=30), st.data())
def test_every_ticket_is_first_in_the_end(
    entered: list[tuple[str, ...]], data: st.DataObject
) -> None:
    both = Both()
    for names in entered:
        both.enter(names)
    while both.model.inside:
        first = sorted(both.model.first())
        assert first, "everybody waits for somebody"
        both.leave(data.draw(st.sampled_from(first)))
    assert len(both.lanes) == 0


@given(st.lists(ANY, max_size=30), st.randoms(use_true_random=False))
def test_who_excludes_each_other_is_served_in_the_order_of_arrival(
    entered: list[tuple[str, ...]], random: Random
) -> None:
    both = Both()
    for names in entered:
        both.enter(names)
    served: list[int] = []
    while both.model.inside:
        ticket = random.choice(sorted(both.model.first()))
        both.leave(ticket)
        served.append(ticket)
    for name in NAMES:
        for ticket in (each for each in served if name in entered[each]):
            here = [other for other in served if {name, "^" + name} & set(entered[other])]
            at = here.index(ticket)
            assert all(other < ticket for other in here[:at])
            assert all(other > ticket for other in here[at + 1 :])


@given(st.lists(SHARED, max_size=20))
def test_who_only_shares_waits_for_nobody(entered: list[tuple[str, ...]]) -> None:
    lanes: Lanes[int] = Lanes()
    assert all(lanes.enter(ticket, names) for ticket, names in enumerate(entered))


def test_without_a_lane_nobody_waits() -> None:
    lanes: Lanes[int] = Lanes()
    assert all(lanes.enter(ticket, ()) for ticket in range(3))
    assert lanes.leave(1, ()) == []
    assert len(lanes) == 0


def test_a_ticket_with_two_lanes_waits_for_both() -> None:
    lanes: Lanes[str] = Lanes()
    assert lanes.enter("a", ("a",))
    assert lanes.enter("b", ("b",))
    assert not lanes.enter("both", ("a", "b"))
    assert lanes.leave("a", ("a",)) == []
    assert lanes.leave("b", ("b",)) == ["both"]


def test_who_shares_does_not_overtake_who_waits_to_be_alone() -> None:
    lanes: Lanes[str] = Lanes()
    assert lanes.enter("child", ("^a", "a/1"))
    assert lanes.enter("sibling", ("^a", "a/2"))
    assert not lanes.enter("parent", ("a",))
    assert not lanes.enter("late", ("^a", "a/3"))
    assert not lanes.enter("later", ("^a", "a/4"))
    assert lanes.leave("sibling", ("^a", "a/2")) == []
    assert lanes.leave("child", ("^a", "a/1")) == ["parent"]
    assert lanes.leave("parent", ("a",)) == ["late", "later"]


def test_when_who_waits_to_be_alone_goes_away_those_behind_share_at_once() -> None:
    lanes: Lanes[str] = Lanes()
    assert lanes.enter("child", ("^a",))
    assert not lanes.enter("parent", ("a",))
    assert not lanes.enter("late", ("^a",))
    assert lanes.leave("parent", ("a",)) == ["late"]


def test_who_left_may_come_back_to_the_end() -> None:
    lanes: Lanes[str] = Lanes()
    for ticket in ("one", "two", "three"):
        lanes.enter(ticket, ("a",))
    assert lanes.leave("two", ("a",)) == []
    assert not lanes.enter("two", ("a",))
    assert lanes.leave("one", ("a",)) == ["three"]
    assert lanes.leave("three", ("a",)) == ["two"]


def test_a_lane_that_was_left_empty_is_forgotten() -> None:
    lanes: Lanes[int] = Lanes()
    for ticket in range(1000):
        names = (f"order:{ticket}", f"^user:{ticket}")
        lanes.enter(ticket, names)
        lanes.leave(ticket, names)
    assert len(lanes) == 0


def test_a_lane_with_one_ticket_takes_no_more_than_its_place_in_a_table() -> None:
    lanes: Lanes[int] = Lanes()
    names = [(f"order:{ticket}",) for ticket in range(10_000)]
    gc.collect()
    tracemalloc.start()
    for ticket, mine in enumerate(names):
        lanes.enter(ticket, mine)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(names) < 150


@pytest.mark.parametrize("mode", ["", "^"], ids=["alone", "shared"])
def test_a_hundred_thousand_leave_one_lane_from_anywhere_without_a_search(mode: str) -> None:
    count = 100_000
    lanes: Lanes[int] = Lanes()
    lanes.enter(-1, ("a",))
    for ticket in range(count):
        lanes.enter(ticket, (mode + "a",))
    order = list(range(count))
    Random(1).shuffle(order)
    before = perf_counter()
    for ticket in order:
        assert lanes.leave(ticket, (mode + "a",)) == []
    # a search in 100,000 takes about 1 ms: 100 s in all; without one it is 0.2 s
    assert perf_counter() - before < 10
    assert lanes.leave(-1, ("a",)) == []
    assert len(lanes) == 0


# in delivery

ROOT = "^file:"
PARENT, CHILD, SIBLING = (
    (ROOT, "file:a"),
    (ROOT, "^file:a", "file:a/1"),
    (ROOT, "^file:a", "file:a/2"),
)


def a_write(target: str, lanes: tuple[str, ...]) -> Intent:
    return an_intent(*lanes, request=a_request("PUT", target, b"{}"))


async def test_a_write_to_a_parent_waits_for_those_below_and_holds_back_those_after_it(
    tmp_path: Path,
) -> None:
    async with backends() as sides, background(configured(tmp_path, sides, **FAST)) as b:
        _, new = sides
        gates = {target: Gate() for target in ("/a/1", "/a/2", "/a")}
        for target, gate in gates.items():
            new.will(target, gate)
        await b.write(a_write("/a/1", CHILD))
        await b.write(a_write("/a/2", SIBLING))
        await b.write(a_write("/a", PARENT))
        await b.write(a_write("/a/1?again", CHILD))
        await b.write(a_write("/b", (ROOT, "file:b")))
        await until(lambda: gates["/a/1"].held and gates["/a/2"].held)  # siblings at once
        await b.done(1)
        assert sorted(new.targets()) == ["/a/1", "/a/2", "/b"]
        gates["/a/1"].open()
        await b.done(2)
        assert "/a" not in new.targets()
        gates["/a/2"].open()
        await until(lambda: gates["/a"].held)
        assert "/a/1?again" not in new.targets()
        gates["/a"].open()
        await b.done(5)
        assert new.targets()[-2:] == ["/a", "/a/1?again"]


async def test_a_write_that_fails_delays_those_above_it_and_no_neighbour(tmp_path: Path) -> None:
    async with backends() as sides, background(configured(tmp_path, sides, **FAST)) as b:
        _, new = sides
        poisoned = True

        async def answer(_: Seen) -> Answer | Fault:
            return Answer(503) if poisoned else Answer()

        new.will("/a/1", *[answer] * 1000)
        await b.write(a_write("/a/1", CHILD))
        await b.write(a_write("/a/2", SIBLING))
        await b.write(a_write("/b", (ROOT, "file:b")))
        await b.write(a_write("/other", ("user:1",)))
        await b.done(3)
        await b.write(a_write("/a", PARENT))
        await until(lambda: new.targets().count("/a/1") > 3)
        assert sorted(set(new.targets())) == ["/a/1", "/a/2", "/b", "/other"]
        poisoned = False
        await b.done(5)
        assert new.targets()[-1] == "/a"


async def test_after_a_restart_lanes_hold_what_they_held_under_old_names_too(
    tmp_path: Path,
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    async with backends() as sides:
        _, new = sides
        written = {
            "/a/1": CHILD,
            "/a": PARENT,
            "/a/2": SIBLING,
            "/old": ("orders:7",),
            "/old/2": ("orders:7",),
            "/own": ("orders",),
        }
        async with background(configured(before, sides, KILL_SWITCH="1", **FAST)) as b:
            for target, lanes in written.items():
                await b.write(a_write(target, lanes))
            crashed(before, after)
        async with background(configured(after, sides, **FAST)) as b:
            await b.done(len(written))
            got = new.targets()
            assert [each for each in got if each.startswith("/a")] == ["/a/1", "/a", "/a/2"]
            assert [each for each in got if each.startswith("/old")] == ["/old", "/old/2"]
            found = {row["target"]: row["lanes"] for row in journaled(after).values()}
            assert found == written


# around the primary

FILES = """
[[routes]]
name = "files"
path = "/files/{rest...}"
entity_key = ["path:rest"]
entity_scope = "below"
"""

BULK = """
[[routes]]
name = "bulk"
path = "/_bulk"
entity = "order"
entity_scope = "all"
[[routes]]
name = "order"
path = "/orders/{id}"
entity_key = ["path:id"]
"""


@pytest.mark.parametrize(
    ("toml", "one", "other", "above"),
    [
        (FILES, "/files/a/1", "/files/a/2", "/files/a"),
        (FILES, "/files/a/1", "/files/b", "/files/"),
        (BULK, "/orders/1", "/orders/2", "/_bulk"),
    ],
    ids=["folder", "root", "all"],
)
async def test_neighbours_run_at_once_and_what_concerns_both_runs_alone(
    tmp_path: Path, toml: str, one: str, other: str, above: str
) -> None:
    async with sidecar(tmp_path, toml) as s:
        gates = {target: Gate() for target in (one, other, above)}
        for target, gate in gates.items():
            s.legacy.will(target, gate)
        asking = [asyncio.create_task(s.ask("PUT", target, b"x")) for target in (one, other)]
        await until(lambda: gates[one].held and gates[other].held)
        asking.append(asyncio.create_task(s.ask("DELETE", above)))
        await until(lambda: s.app.tally.in_flight == 3)
        asking.append(asyncio.create_task(s.ask("PUT", one, b"again")))
        await until(lambda: s.app.tally.in_flight == 4)
        for target in (one, other):
            assert above not in s.legacy.targets()
            gates[target].open()
        await until(lambda: gates[above].held)
        assert s.legacy.targets().count(one) == 1
        gates[above].open()
        assert {(await each).status for each in asking} == {200}
        await s.done(4)
        assert s.new.targets()[-2:] == [above, one]


async def test_a_batch_holds_each_of_its_entities(tmp_path: Path) -> None:
    toml = BULK.replace('entity_scope = "all"', 'entity_key = ["json:/*/id"]')
    async with sidecar(tmp_path, toml) as s:
        gate = Gate()
        s.legacy.will("/_bulk", gate)
        first = asyncio.create_task(s.ask("POST", "/_bulk", b'[{"id": 1}, {"id": "2"}]'))
        await until(lambda: gate.held)
        assert (await s.ask("PUT", "/orders/3", b"x")).status == 200
        second = asyncio.create_task(s.ask("PUT", "/orders/2", b"x"))
        await until(lambda: s.app.tally.in_flight == 2)
        gate.open()
        assert [(await each).status for each in (first, second)] == [200, 200]
        await s.done(3)
        assert [each for each in s.new.targets() if each != "/orders/3"] == ["/_bulk", "/orders/2"]
        lanes = {row["target"]: row["lanes"] for row in journaled(s.app.journal.directory).values()}
        assert lanes["/_bulk"] == ("^order:", "order:1", "order:2")


class Tree:
    """A backend that keeps files: PUT stores one, DELETE takes away a path and all below it."""

    def __init__(self, seed: str) -> None:
        self.seen: defaultdict[str, list[bytes]] = defaultdict(list)  # by path: what concerned it
        self._chance = Random(seed)

    async def answer(self, seen: Seen) -> Answer | Fault:
        await asyncio.sleep(self._chance.random() * 0.004)
        for path in PATHS:
            if path == seen.target or (
                seen.method == "DELETE" and path.startswith(f"{seen.target}/")
            ):
                self.seen[path].append(seen.body)
        await asyncio.sleep(self._chance.random() * 0.004)
        return Answer()


PATHS = ["/files/" + "/".join(steps) for n in (1, 2, 3) for steps in product("ab", repeat=n)]


@pytest.mark.parametrize("seed", range(3))
async def test_what_concerns_a_file_reaches_both_sides_in_one_order(
    tmp_path: Path, seed: int
) -> None:
    chance = Random(seed)
    async with sidecar(tmp_path, FILES) as s:
        legacy, new = Tree(f"legacy {seed}"), Tree(f"new {seed}")
        s.legacy.always, s.new.always = legacy.answer, new.answer

        async def client(number: int) -> None:
            for turn in range(10):
                method, path = chance.choice(("PUT", "PUT", "DELETE")), chance.choice(PATHS)
                assert (await s.ask(method, path, b"%d %d" % (number, turn))).status == 200

        await asyncio.gather(*(client(number) for number in range(16)))
        await s.done(160)
        assert legacy.seen == new.seen
