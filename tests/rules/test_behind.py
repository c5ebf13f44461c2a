"""Which writes cannot move, and behind which."""

import pytest

from rules.behind import Standing, conflicting, held_up
from rules.fate import State


def pending(*lanes: str) -> Standing:
    return Standing(State.S_PENDING, lanes)


def dead(*lanes: str, overtaken: bool = False) -> Standing:
    return Standing(State.DEAD, lanes, overtaken)


def parked(*lanes: str) -> Standing:
    return Standing(State.PARKED, lanes)


@pytest.mark.parametrize(
    ("lane", "names"), [("a", ("a", "^a")), ("^a", ("a",)), ("a^", ("a^", "^a^"))]
)
def test_who_shares_a_lane_is_in_the_way_of_who_holds_it_alone_only(
    lane: str, names: tuple[str, ...]
) -> None:
    assert conflicting(lane) == names


@pytest.mark.parametrize(
    ("writes", "expected"),
    [
        ([pending("a"), pending("a"), pending()], 0),
        ([dead("a"), pending("a"), pending("b")], 1),
        ([pending("a"), dead("a")], 0),
        ([dead("a"), pending("a", "b"), pending("b"), pending("c")], 2),
        ([dead("a", overtaken=True), pending("a")], 0),
        ([dead(), pending()], 0),
        ([parked("a"), pending("a"), pending("b")], 2),
        ([parked(), pending()], 1),
        ([dead("^t", "t/1"), pending("^t", "t/2"), pending("t")], 1),
        ([dead("t"), pending("^t", "t/2"), pending("u")], 1),
        ([], 0),
    ],
)
def test_what_stands_behind_a_dead_letter_or_a_parked_write_cannot_move(
    writes: list[Standing], expected: int
) -> None:
    assert held_up(writes, blocks=True) == expected


def test_nothing_stands_behind_a_dead_letter_that_is_skipped() -> None:
    assert held_up([dead("a"), pending("a")], blocks=False) == 0
