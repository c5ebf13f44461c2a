"""The turnstile: one at a time per lane, in order of arrival, whoever is cancelled on the way."""

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.fiber import Slot
from proxy.flow.turnstile import Turnstile

NAMES = ("a", "b", "c")
lane_sets = st.sets(st.sampled_from(NAMES), max_size=3).map(lambda names: tuple(sorted(names)))


class Street:
    """Writes that go through a turnstile, and what was seen of them."""

    def __init__(self) -> None:
        self.turnstile = Turnstile()
        self.inside: list[tuple[str, ...]] = []
        self.served: list[int] = []

    async def go(self, number: int, lanes: tuple[str, ...], turns: int) -> None:
        turn: Slot[None] = Slot()
        try:
            if not self.turnstile.enter(turn, lanes):
                await turn
            for other in self.inside:
                assert not set(other) & set(lanes), "two of one lane at once"
            self.inside.append(lanes)
            self.served.append(number)
            for _ in range(turns):
                await asyncio.sleep(0)
        finally:
            if lanes in self.inside:
                self.inside.remove(lanes)
            self.turnstile.leave(turn, lanes)


async def passed(
    writes: Sequence[tuple[tuple[str, ...], int]], cancelled: dict[int, int]
) -> tuple[list[int], int]:
    """Who was served, in order; `cancelled`: after how many turns of the loop which one goes away."""
    street = Street()
    tasks = [asyncio.create_task(street.go(n, *write)) for n, write in enumerate(writes)]
    for turn in range(max(cancelled.values(), default=-1) + 1):
        for number, when in cancelled.items():
            if when == turn:
                tasks[number].cancel()
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [each for each in results if isinstance(each, Exception)]
    assert not failed
    last: Slot[None] = Slot()
    assert street.turnstile.enter(last, NAMES)  # nobody left a lane locked
    street.turnstile.leave(last, NAMES)
    return street.served, sum(isinstance(each, asyncio.CancelledError) for each in results)


@settings(deadline=None)
@given(st.lists(st.tuples(lane_sets, st.integers(0, 3)), max_size=20))
def test_everybody_passes_and_each_lane_in_order(writes: list[tuple[tuple[str, ...], int]]) -> None:
    served, _ = asyncio.run(passed(writes, {}))
    assert sorted(served) == list(range(len(writes)))
    for name in NAMES:
        mine = [number for number in served if name in writes[number][0]]
        assert mine == sorted(mine)


@settings(deadline=None)
@given(
    st.lists(st.tuples(lane_sets, st.integers(0, 3)), min_size=1, max_size=15),
    st.dictionaries(st.integers(0, 14), st.integers(0, 10), max_size=8),
)
def test_whoever_is_cancelled_holds_nobody_up(
    writes: list[tuple[tuple[str, ...], int]], cancelled: dict[int, int]
) -> None:
    wanted = {number: when for number, when in cancelled.items() if number < len(writes)}
    served, gone = asyncio.run(passed(writes, wanted))
    assert gone <= len(wanted)
    assert len(served) == len(set(served)) >= len(writes) - gone
    for name in NAMES:
        mine = [number for number in served if name in writes[number][0]]
        assert mine == sorted(mine)


def test_a_lane_that_is_free_is_entered_without_a_wait() -> None:
    turnstile = Turnstile()
    first, second = Slot[None](), Slot[None]()
    assert turnstile.enter(first, ("a",))
    assert not turnstile.enter(second, ("a",))
    assert turnstile.enter(Slot[None](), ("b",))
    assert turnstile.enter(Slot[None](), ())


def test_who_wants_a_lane_alone_waits_for_all_that_share_it() -> None:
    turnstile = Turnstile()
    one, two, whole, late = (Slot[None]() for _ in range(4))
    assert turnstile.enter(one, ("^order:", "order:1"))
    assert turnstile.enter(two, ("^order:", "order:2"))
    assert not turnstile.enter(whole, ("order:",))
    assert not turnstile.enter(late, ("^order:", "order:3"))
    turnstile.leave(one, ("^order:", "order:1"))
    assert not whole.done
    turnstile.leave(two, ("^order:", "order:2"))
    assert (whole.done, late.done) == (True, False)
    turnstile.leave(whole, ("order:",))
    assert late.done


def test_who_leaves_lets_the_next_one_through_at_once() -> None:
    turnstile = Turnstile()
    turns = [Slot[None]() for _ in range(3)]
    for turn in turns:
        turnstile.enter(turn, ("a",))
    turnstile.leave(turns[0], ("a",))
    assert [turn.done for turn in turns] == [False, True, False]
    turnstile.leave(turns[1], ("a",))
    assert turns[2].done


def test_who_leaves_before_his_turn_holds_nobody_up() -> None:
    turnstile = Turnstile()
    turns = [Slot[None]() for _ in range(3)]
    for turn in turns:
        turnstile.enter(turn, ("a",))
    turnstile.leave(turns[1], ("a",))
    assert not turns[2].done
    turnstile.leave(turns[0], ("a",))
    assert turns[2].done


async def test_who_is_cancelled_with_the_turn_in_hand_gives_it_on() -> None:
    street = Street()
    first = Slot[None]()
    assert street.turnstile.enter(first, ("a",))
    second = asyncio.create_task(street.go(2, ("a",), 0))
    third = asyncio.create_task(street.go(3, ("a",), 0))
    await asyncio.sleep(0)
    street.turnstile.leave(first, ("a",))  # the second's turn, which it has not noticed yet
    second.cancel()
    async with asyncio.timeout(1):
        await third
    assert (second.cancelled(), street.served) == (True, [3])
