"""Digests of the canonical form: what leaves no trace in them, at each sight."""

from decimal import Decimal

import pytest

from rules.canonical import NODE_COST, Budget, Digests, Exhausted, Sight
from rules.same import NONE, Spelling
from rules.tolerance import Rule, Rulebook
from tests.rules.made import allow, same

NOBODY = Spelling(NONE, None)

RULES = (
    allow("ignore", "/at"),
    allow("presence", "/etag"),
    allow("number", "/price", absolute=1),
    allow("unordered", "/tags"),
    allow("rename", "/user_name", to="userName"),
)


def digest(
    value: object,
    sight: Sight = Sight.FULL,
    rules: tuple[Rule, ...] = (),
    *,
    presence: bool = False,
    names: Spelling = NOBODY,
) -> str:
    digests = Digests(Rulebook(rules), names, sight, Budget(1000), presence=presence)
    return digests.token((), value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}),
        ([1, [2]], [1.0, [2.0]]),
        (-0.0, 0),
    ],
)
def test_key_order_and_the_spelling_of_numbers_leave_no_trace(one: object, other: object) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [2, 1]),
        ([1], ["1"]),
        ([1], [True]),
        ([None], ["null"]),
        ([["a", "sb"]], [["as", "b"]]),
        ({}, []),
        ({"a": None}, {}),
        ([[], [1]], [[1], []]),
    ],
)
def test_what_differs_has_another_digest(one: object, other: object) -> None:
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    ("one", "other", "least"),
    [
        ({"tags": [1, 2]}, {"tags": [2, 1]}, Sight.FULL),
        ({"user_name": 1}, {"userName": 1}, Sight.FULL),
        ({"at": 1}, {}, Sight.DECLARED),
        ({"etag": 1}, {"etag": [2]}, Sight.DECLARED),
        ({"price": 1}, {"price": 99}, Sight.VAGUE),
        ({"price": 1}, {}, None),
        ({"etag": 1}, {}, None),
        ({"other": 1}, {"other": 2}, None),
    ],
)
def test_each_sight_leaves_out_more(one: object, other: object, least: Sight | None) -> None:
    blind = False
    for sight in Sight:
        blind = blind or sight is least
        assert (digest(one, sight, RULES) == digest(other, sight, RULES)) is blind


def test_both_names_in_one_object_are_two_members() -> None:
    assert digest({"user_name": 1, "userName": 2}, rules=RULES) != digest(
        {"user_name": 2, "userName": 1}, rules=RULES
    )


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"self": "/a/17"}, {"self": "/a/u9"}, True),
        (17, "u9", True),
        ({"id": 1}, {"id": "2"}, True),
        ({"self": "/users/1"}, {"self": "/users/2"}, True),
        ({"count": 1}, {"count": 2}, False),
        ({"self": "/pages/1"}, {"self": "/pages/2"}, False),
    ],
)
def test_both_values_of_an_identity_have_one_digest(
    one: object, other: object, equal: bool
) -> None:
    known = same(("17", "u9"), ("1", "2"))
    ours, theirs = (Spelling(known, side) for side in (0, 1))
    assert (digest(one, names=ours) == digest(other, names=theirs)) is equal
    neither = Spelling(known, None)
    assert digest(one, names=neither) == digest(other, names=neither)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Decimal("9007199254740993.0"), 9007199254740993),
        (Decimal("0.12345678901234567890"), Decimal("0.1234567890123456789")),
    ],
)
def test_numbers_beyond_a_float_are_digested_by_their_digits(one: object, other: object) -> None:
    assert digest(one) == digest(other) != digest(0.1)


def test_of_presence_only_names_and_lengths_count() -> None:
    assert digest({"a": [1]}, presence=True) == digest({"a": ["x"]}, presence=True)
    assert digest({"a": [1]}, presence=True) != digest({"b": [1]}, presence=True)


def test_depth_is_no_trouble_and_nodes_are_counted() -> None:
    value: object = 1
    for _ in range(20_000):
        value = [value]
    budget = Budget(20_000 * 2 * NODE_COST * 3)
    Digests(Rulebook(RULES), NOBODY, Sight.VAGUE, budget, presence=False).token((), value)
    assert budget.nodes < NODE_COST * 3 * 20_000
    with pytest.raises(Exhausted):
        Digests(Rulebook(()), NOBODY, Sight.FULL, Budget(10_000), presence=False).token((), value)
