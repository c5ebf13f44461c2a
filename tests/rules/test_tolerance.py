"""Rules: what each kind takes away, that sides may be swapped, and which were never used."""

from decimal import Decimal

import pytest

from rules.tolerance import Rule, decimal, number, unused, written
from tests.rules.made import allow

HEX = allow("regex", "/x", regex="[0-9a-f]{4}")
NEAR = allow("number", "/x", absolute=0.01)
SHARE = allow("number", "/x", relative=0.1)
SECOND = allow("time", "/x", within_s=1)
LENIENT = allow("type", "/x")


@pytest.mark.parametrize(
    ("rule", "one", "other", "accepted"),
    [
        (HEX, "12ab", "ffff", True),
        (HEX, "12ab", "fffg", False),
        (HEX, 1234, "ffff", True),
        (HEX, None, "ffff", False),
        (HEX, 10**200, "ffff", False),
        (NEAR, 1, 1.01, True),
        (NEAR, 1, 1.02, False),
        (NEAR, "1.00", "1.01", True),
        (NEAR, "1", 1.005, True),
        (NEAR, True, 1, False),
        (NEAR, 1, None, False),
        (NEAR, 10**400, 10**400 + 1, False),
        (NEAR, float("inf"), float("inf"), False),
        (NEAR, "1_0", "10", False),
        (NEAR, "nan", "nan", False),
        (NEAR, 10**16, 10**16 + 7, False),
        (NEAR, 1234567890123456789, "1234567890123456788", False),
        (NEAR, 10**18, Decimal(f"{10**18}.01"), True),
        (NEAR, 10**18, Decimal(f"{10**18}.02"), False),
        (NEAR, 0.1, 0.11, True),
        (NEAR, 1e300, 1, False),
        (NEAR, Decimal("1e-400"), 0, True),
        (NEAR, "1e-99999999999999999999", 0, False),
        (allow("number", "/x"), 2**53 + 1, 2**53, False),
        (allow("number", "/x"), "1.50", 1.5, True),
        (SHARE, 100, 109, True),
        (SHARE, 10, 9, True),
        (SHARE, 100, 120, False),
        (SHARE, 0, 1e-9, False),
        (SECOND, "2026-01-01T00:00:00Z", 1_767_225_601, True),
        (SECOND, "2026-01-01T00:00:00Z", "Thu, 01 Jan 2026 00:00:02 GMT", False),
        (SECOND, "2026-01-01T00:00:00Z", "soon", False),
        (LENIENT, "1", 1, True),
        (LENIENT, "1.0", 1, True),
        (LENIENT, "1", 2, False),
        (LENIENT, "0.10", 0.1, True),
        (LENIENT, "1234567890123456789", 1234567890123456788, False),
        (LENIENT, "12345678901234567.89", Decimal("12345678901234567.89"), True),
        (LENIENT, "12345678901234567.89", Decimal("12345678901234567.91"), False),
        (LENIENT, "true", True, True),
        (LENIENT, "True", True, False),
        (LENIENT, 1, True, False),
        (LENIENT, "null", None, True),
        (LENIENT, "", None, False),
        (LENIENT, "1", "1.0", False),
        (allow("ignore", "/x"), 1, 2, False),
    ],
)
def test_a_rule_takes_what_it_says_whichever_side_comes_first(
    rule: Rule, one: object, other: object, accepted: bool
) -> None:
    assert rule.accepts(one, other) is accepted
    assert rule.accepts(other, one) is accepted


def test_what_a_rule_costs_grows_with_the_ways_of_its_expression() -> None:
    assert NEAR.cost("1", "2") == 1
    wide = allow("regex", "/x", regex="a*a*")
    assert wide.cost("a" * 9, None) < wide.cost("a" * 99, None) < wide.cost("a" * 999, "a" * 999)
    assert wide.cost("a" * 99_999, None) < 60_000


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (1, 1.0),
        ("1e2", 100.0),
        (" 1", 1.0),
        ("x", None),
        (None, None),
        ("٣", None),
        ("1" * 99, None),
    ],
)
def test_numbers_are_read_from_texts_too(value: object, read: float | None) -> None:
    assert number(value) == read


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (1, "1"),
        (1.5, "1.5"),
        (Decimal("0.12345678901234567890"), "0.12345678901234567890"),
        (True, "true"),
        (None, "null"),
        (2**300, None),
        ([], None),
    ],
)
def test_scalars_are_written_as_json_has_them(value: object, text: str | None) -> None:
    assert written(value) == text


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (1, Decimal(1)),
        (0.1, Decimal("0.1")),
        ("2e1", Decimal(20)),
        (Decimal("1e-400"), Decimal("1e-400")),
        (True, None),
        ("x", None),
        (10**400, None),
        (float("nan"), None),
        ("1e-99999999999999999999", None),
    ],
)
def test_numbers_are_read_with_all_their_digits(value: object, read: Decimal | None) -> None:
    assert decimal(value) == read


def test_rules_that_never_took_anything_are_named() -> None:
    common = allow("ignore", "/at", everywhere=True)
    idle = allow("ignore", "/never", everywhere=True)
    rules = {
        "a": (common, idle, allow("ignore", "/id")),
        "b": (common, idle, allow("ignore", "/id")),
    }
    uses = {("b", "/at"): 3, ("a", "/id"): 1}
    assert unused(rules, uses) == (("", "/never"), ("b", "/id"))
    assert unused({}, {}) == ()
    assert unused({"a": (allow("unordered", "/tags"),)}, {}) == ()
