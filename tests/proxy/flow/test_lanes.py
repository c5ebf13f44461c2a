"""Lanes, against a model so simple that it is right: who is first, who is freed, that nobody waits for ever."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from proxy.flow.lanes import Lanes

NAMES = ("a", "b", "c", "d")
lane_sets = st.sets(st.sampled_from(NAMES), max_size=3).map(lambda names: tuple(sorted(names)))


class Model:
    """Tickets in the order in which they came; one is first when none before it shares a lane."""

    def __init__(self) -> None:
        self.inside: dict[int, tuple[str, ...]] = {}

    def first(self) -> set[int]:
        taken: set[str] = set()
        found = set()
        for ticket, lanes in self.inside.items():
            if taken.isdisjoint(lanes):
                found.add(ticket)
            taken.update(lanes)
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
        for ticket in self.model.inside:
            assert self.lanes.is_first(ticket) == (ticket in self.model.first())
        used = {name for names in self.model.inside.values() for name in names}
        assert len(self.lanes) == len(used)


@given(st.lists(lane_sets | st.integers(0, 99), max_size=60))
def test_they_do_what_the_model_does(steps: list[tuple[str, ...] | int]) -> None:
    both = Both()
    for step in steps:
        if isinstance(step, tuple):
            both.enter(step)
        elif both.model.inside:
            inside = list(both.model.inside)
            both.leave(inside[step % len(inside)])  # from the front, the middle or the end


@given(st.lists(lane_sets, max_size=30), st.data())
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


@given(st.lists(lane_sets, max_size=30), st.randoms(use_true_random=False))
def test_each_lane_is_served_in_the_order_of_arrival(
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
        mine = [ticket for ticket in served if name in entered[ticket]]
        assert mine == sorted(mine)


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


def test_a_lane_that_was_left_empty_is_forgotten() -> None:
    lanes: Lanes[int] = Lanes()
    for ticket in range(1000):
        lanes.enter(ticket, (f"order:{ticket}",))
        lanes.leave(ticket, (f"order:{ticket}",))
    assert len(lanes) == 0
