"""What a diff is asked and what it says: values that do not change, and the rules made ready."""

from dataclasses import replace

import pytest

from rules.difference import NODES_MAX, Class, Difference, DiffResult, DiffRules
from tests.rules.made import allow

DIFFERENCE = Difference(path=("a", "0"), kind=Class.VALUE, primary="1", secondary="2")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (DIFFERENCE, "kind"),
        (DiffResult(differences=(DIFFERENCE,)), "differences"),
        (DiffRules(), "presence"),
    ],
)
def test_what_was_found_and_what_is_asked_stay_as_they_are(value: object, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, name, None)


def test_equal_differences_are_one() -> None:
    again = Difference(path=("a", "0"), kind=Class.VALUE, primary="1", secondary="2")
    other = Difference(path=("a", "0"), kind=Class.TYPE, primary="1", secondary="2")
    assert {DIFFERENCE, again} == {DIFFERENCE}
    assert other != DIFFERENCE


def test_nothing_is_ignored_or_left_out_unless_it_is_said() -> None:
    result = DiffResult(differences=())
    assert (result.ignored, result.truncated, result.exhausted) == ((), False, False)


def test_rules_are_made_ready_again_when_they_are_replaced() -> None:
    rules = DiffRules()
    assert (rules.book.any, rules.nodes_max) == (False, NODES_MAX)
    ruled = replace(rules, rules=(allow("ignore", "/a", name="mine"),))
    eaten = ruled.book.eats(("a",))
    assert eaten is not None
    assert eaten.name == "mine"
    assert ruled == replace(ruled, nodes_max=NODES_MAX)
