"""Identities: texts count wherever they stand, numbers only where the place names their kind."""

import pytest

from rules.same import NONE, Same, Spelling

TEXTS = Same([("user", "17", "u-9")])
NUMBERS = Same([("order", "17", "18"), ("category", "3", "4"), ("user", "-1", "-2")])


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        (17, "u-9", True),
        ("17", "u-9", True),
        ("u-9", "17", False),
        ("/a/17?b=17", "/a/u-9?b=u-9", True),
        ("item 17, the last", "item u-9, the last", True),
        ("/a/17", "/b/u-9", False),
        ("/a/17", "/a/u-9/b", False),
        ("171", "u-91", False),
        ([], "u-9", False),
        (True, "u-9", False),
    ],
)
def test_what_only_an_identity_can_be_is_one_anywhere(
    one: object, other: object, answer: bool
) -> None:
    assert TEXTS.alike(one, other, ("note",)) is answer
    assert not NONE.alike(one, other, ("note",))


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (("id",), True),
        (("0", "id"), True),
        (("_id",), True),
        (("ids", "1"), True),
        (("order_id",), True),
        (("orderId",), True),
        (("items", "0", "Order-ID"), True),
        (("order_ids", "0"), True),
        (("order", "id"), True),
        (("orders", "5", "id"), True),
        (("orders_id",), True),
        (("quantity",), False),
        (("paid",), False),
        (("order",), False),
        (("orders", "0"), False),
        (("customer_id",), False),
        (("customer", "id"), False),
        (("items", "0", "id"), False),
        (("0",), False),
        ((), False),
    ],
)
def test_a_number_is_an_identity_where_a_name_says_so(path: tuple[str, ...], answer: bool) -> None:
    for one, other in ((17, 18), ("17", "18"), ("17", 18)):
        assert NUMBERS.alike(one, other, path) is answer
    assert not NUMBERS.alike(18, 17, path)


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        ("/v1/orders/17", "/v1/orders/18", True),
        ("https://shop/Order/17/lines?page=2", "https://shop/Order/18/lines?page=2", True),
        ("/lines?order_id=17", "/lines?order_id=18", True),
        ("/categories/3", "/categories/4", True),
        ("/users/-1", "/users/-2", True),
        ("/orders?page=17", "/orders?page=18", False),
        ("/orders?id=17", "/orders?id=18", False),
        ("/customers/17", "/customers/18", False),
        ("11/17/2026", "11/18/2026", False),
        ("10:17:00", "10:18:00", False),
        ("17 items", "18 items", False),
        ("orders 17", "orders 18", False),
        ("/orders/5/17", "/orders/5/18", False),
        ("/orders/17", "/categories/18", False),
        ("17/3", "18/4", False),
    ],
)
def test_a_number_in_a_text_is_an_identity_behind_its_name(
    one: str, other: str, answer: bool
) -> None:
    assert NUMBERS.alike(one, other, ("link",)) is answer


def test_a_place_of_the_route_is_of_its_kind_alone() -> None:
    same = Same([("order", "1", "2"), ("user", "3", "4")], [("order", ("no",)), ("user", ("id",))])
    assert same.alike(1, 2, ("no",))
    assert not same.alike(3, 4, ("no",))
    assert same.alike(3, 4, ("id",))
    assert not same.alike(1, 2, ("id",))


@pytest.mark.parametrize("pair", [("", "x"), ("x", ""), ("x", "x")])
def test_what_is_empty_or_equal_is_no_pair(pair: tuple[str, str]) -> None:
    same = Same([("user", *pair)])
    assert not same
    assert not same.alike(*pair, ("id",))


@pytest.mark.parametrize(
    ("value", "path", "texts"),
    [
        (17, ("id",), ("17", None)),
        (18, ("id",), (None, "17")),
        (17, ("count",), (None, None)),
        ("/orders/18?page=18", ("link",), (None, "/orders/17?page=18")),
        ("plain words", ("id",), (None, None)),
        (None, ("id",), (None, None)),
    ],
)
def test_both_sides_are_spelled_as_the_primary(
    value: object, path: tuple[str, ...], texts: tuple[str | None, str | None]
) -> None:
    assert tuple(Spelling(NUMBERS, side).of(value, path) for side in (0, 1)) == texts


def test_blank_spelling_hides_the_values_of_both_sides_everywhere() -> None:
    blank = Spelling(NUMBERS, None)
    assert blank.of(17, ("count",)) == blank.of("18", ()) == ""
    assert blank.of("a/17", ()) == blank.of("a/18", ()) == "a/"
    assert not Spelling(NONE, None)
