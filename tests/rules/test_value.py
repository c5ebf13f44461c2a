"""Scalars: equality as a reader of JSON has it, what may be an identity, and how values are shown."""

from decimal import Decimal

import pytest

from rules.value import SHOWN_MAX, equal, identical, identity, printable, shown, sort


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        ({"a": [1, True]}, {"a": [1, True]}, True),
        ({"a": 1}, {"a": True}, False),
        ([0], [False], False),
        ([float("nan")], [float("nan")], False),
        (["\ud800"], ["\ud800"], False),
        ([2**64 - 1], [2**64 - 1], True),
        ([2**80], [2**80], False),
        ([b"x"], [b"x"], True),
        ([object], [object], False),
        (nested(50_000), nested(50_000), False),
    ],
    ids=[
        "equal",
        "true or 1",
        "false or 0",
        "nan",
        "surrogate",
        "64 bits",
        "long",
        "bytes",
        "odd",
        "deep",
    ],
)
def test_what_is_identical_is_equal_beyond_doubt(one: object, other: object, answer: bool) -> None:
    assert identical(one, other) is answer


def test_numbers_are_of_one_sort_and_booleans_are_not_numbers() -> None:
    assert sort(1) is sort(1.5)
    assert sort(True) is not sort(1)
    assert equal(1, 1.0)
    assert equal(float("nan"), float("nan"))
    assert not equal(float("nan"), 1)


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        (1, 1.0, True),
        (-0.0, 0, True),
        (10**23, 1e23, True),
        (2**53 + 1, 2.0**53, False),
        (2**100, 2.0**100, False),
        (2**53 + 1, Decimal("9007199254740993.0"), True),
        (0.1, Decimal("0.1000000000000000055511151231257827021181583404541015625"), False),
        (Decimal("0.12345678901234567890"), Decimal("0.1234567890123456789"), True),
    ],
)
def test_numbers_are_equal_as_decimals(one: object, other: object, answer: bool) -> None:
    assert equal(one, other) is answer
    assert equal(other, one) is answer
    assert sort(one) is sort(other)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (1, "1"), (True, ""), (None, ""), (1.5, ""), (2**300, ""), (Decimal("1.5"), "")],
)
def test_only_texts_and_integers_can_be_identities(value: object, text: str) -> None:
    assert identity(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("a\n", '"a\\n"'), (None, "null"), ([1, {"b": "é"}], '[1, {"b": "é"}]'), (b"x", "\"b'x'\"")],
)
def test_values_are_shown_as_json(value: object, text: str) -> None:
    assert shown(value) == text


def test_what_is_long_is_cut() -> None:
    assert len(shown("x" * 999)) == len(shown(list(range(999)))) == SHOWN_MAX
    assert shown(10**5000) == "<a number too long to show>"


def test_lone_surrogates_are_escaped() -> None:
    assert printable("a\ud800é") == "a\\ud800é"
