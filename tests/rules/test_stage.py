"""Stages: the table of duties and every pair of stages."""

from itertools import product

import pytest

from rules.message import Side
from rules.stage import DUTIES, MOVES, Duty, Mirror, Stage, may_move

PAIRS = tuple(product(Stage, Stage))
ORDER = tuple(Stage)
LEGAL = {
    ("legacy_only", "shadow"),
    ("shadow", "dual_legacy_primary"),
    ("dual_legacy_primary", "dual_new_primary"),
    ("dual_new_primary", "new_only"),
    ("shadow", "legacy_only"),
    ("dual_legacy_primary", "shadow"),
    ("dual_new_primary", "dual_legacy_primary"),
}


@pytest.mark.parametrize(
    ("stage", "primary", "mirror"),
    [
        (Stage.LEGACY_ONLY, Side.LEGACY, Mirror.NONE),
        (Stage.SHADOW, Side.LEGACY, Mirror.SHADOW),
        (Stage.DUAL_LEGACY_PRIMARY, Side.LEGACY, Mirror.JOURNAL),
        (Stage.DUAL_NEW_PRIMARY, Side.NEW, Mirror.JOURNAL),
        (Stage.NEW_ONLY, Side.NEW, Mirror.NONE),
    ],
    ids=list(Stage),
)
def test_a_stage_says_who_answers_and_what_is_owed(
    stage: Stage, primary: Side, mirror: Mirror
) -> None:
    assert DUTIES[stage] == Duty(primary=primary, mirror=mirror)


def test_every_stage_has_a_duty() -> None:
    assert set(DUTIES) == set(Stage)


@pytest.mark.parametrize(("current", "wanted"), PAIRS, ids=[f"{a} to {b}" for a, b in PAIRS])
def test_a_move_is_legal_only_where_the_table_says_so(current: Stage, wanted: Stage) -> None:
    assert may_move(current, wanted) is ((str(current), str(wanted)) in LEGAL)
    assert may_move(current, wanted) is ((current, wanted) in MOVES)


def test_every_stage_but_the_last_has_a_way_back_to_the_first() -> None:
    for place, stage in enumerate(ORDER[1:-1], start=1):
        assert may_move(stage, ORDER[place - 1])
    assert not [wanted for wanted in Stage if may_move(Stage.NEW_ONLY, wanted)]


def test_authority_flips_in_exactly_one_move_each_way() -> None:
    flips = {pair for pair in MOVES if DUTIES[pair[0]].primary is not DUTIES[pair[1]].primary}
    dual = (Stage.DUAL_LEGACY_PRIMARY, Stage.DUAL_NEW_PRIMARY)
    assert flips == {dual, dual[::-1]}
