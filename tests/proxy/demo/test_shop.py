"""The shop's storage: transactions, stored replies, history, and each dialect's values."""

from pathlib import Path

import pytest

from proxy.demo.backend import add_note, create_customer, create_order, delete_order, dump
from proxy.demo.shop import (
    LEGACY,
    NEW,
    NEW_EXACT,
    Call,
    Dialect,
    Refusal,
    Result,
    Shop,
    fingerprint,
)

ITEMS = [{"sku": f"item-{n}", "quantity": 1, "price": 1.25} for n in range(5)]


def call(method: str, identity: object = "", key: str = "", **fields: object) -> Call:
    return Call(method=method, path="/", id=str(identity), fields=fields, reference="r1", key=key)


def post(identity: object = "", key: str = "", **fields: object) -> Call:
    return call("POST", identity, key, **fields)


def field(result: Result, name: str) -> object:
    assert isinstance(result.body, dict)
    value: object = result.body[name]
    return value


def new_order(shop: Shop, **extra: object) -> Result:
    person = shop.apply(create_customer, post(email="ada@example.org", name="Ada"))
    fields = {"number": "A-1", "currency": "EUR", "items": ITEMS, **extra}
    wish = Call(
        method="POST",
        path="/orders",
        id="",
        fields={**fields, "customer_id": field(person, "id")},
        reference="r2",
        key="",
    )
    return shop.apply(create_order, wish)


@pytest.mark.parametrize("dialect", [LEGACY, NEW])
def test_what_was_committed_is_there_after_opening_the_file_again(
    dialect: Dialect, tmp_path: Path
) -> None:
    first = Shop(dialect, tmp_path / "shop.sqlite")
    new_order(first)
    first.close()
    second = Shop(dialect, tmp_path / "shop.sqlite")
    found = dump(second, call("GET")).body
    second.close()
    assert isinstance(found, dict)
    assert set(found["orders"]) == {"A-1"}
    assert set(found["history"]) == {"customer ada@example.org", "order A-1"}


def test_a_refused_write_leaves_nothing_behind(tmp_path: Path) -> None:
    shop = Shop(LEGACY, tmp_path / "shop.sqlite")
    with pytest.raises(Refusal) as refused:
        shop.apply(add_note, post(identity=7, author="Ada", text="hello"))
    assert refused.value.status == 404
    found = dump(shop, call("GET")).body
    shop.close()
    assert found == {"customers": {}, "orders": {}, "history": {}}


def test_the_new_side_answers_a_repeated_key_with_the_stored_reply(tmp_path: Path) -> None:
    shop = Shop(NEW, tmp_path / "shop.sqlite")
    wish = post(key="k1", email="ada@example.org", name="Ada")
    first, second = shop.apply(create_customer, wish), shop.apply(create_customer, wish)
    found = dump(shop, call("GET")).body
    shop.close()
    assert first == second
    assert isinstance(found, dict)
    assert len(found["history"]["customer ada@example.org"]) == 1


def test_a_repeated_delete_is_answered_as_the_first_one(tmp_path: Path) -> None:
    shop = Shop(NEW, tmp_path / "shop.sqlite")
    wish = call("DELETE", field(new_order(shop), "id"), key="k2")
    answers = [shop.apply(delete_order, wish).status for _ in range(2)]
    shop.close()
    assert answers == [204, 204]


def test_the_new_side_refuses_a_key_that_was_used_for_another_request(tmp_path: Path) -> None:
    shop = Shop(NEW, tmp_path / "shop.sqlite")
    shop.apply(create_customer, post(key="k1", email="ada@example.org", name="Ada"))
    with pytest.raises(Refusal, match="another request") as refused:
        shop.apply(create_customer, post(key="k1", email="bob@example.org", name="Bob"))
    shop.close()
    assert refused.value.status == 422


def test_the_legacy_side_knows_no_idempotency_keys(tmp_path: Path) -> None:
    shop = Shop(LEGACY, tmp_path / "shop.sqlite")
    wish = post(key="k1", email="ada@example.org", name="Ada")
    shop.apply(create_customer, wish)
    with pytest.raises(Refusal) as refused:
        shop.apply(create_customer, wish)
    shop.close()
    assert refused.value.status == 409


def test_legacy_never_gives_the_id_of_a_deleted_order_to_another(tmp_path: Path) -> None:
    shop = Shop(LEGACY, tmp_path / "shop.sqlite")
    order = new_order(shop)
    shop.apply(delete_order, call("DELETE", field(order, "id")))
    again = shop.apply(create_order, post(number="A-2", customer_id=1, currency="EUR", items=ITEMS))
    shop.close()
    assert field(again, "id") != field(order, "id")


def test_the_seeded_bugs_are_in_new_and_only_there(tmp_path: Path) -> None:
    seen = []
    for number, dialect in enumerate((LEGACY, NEW_EXACT, NEW)):
        shop = Shop(dialect, tmp_path / f"{number}.sqlite")
        wish = post(email="bob@example.org", name="Bob", phone="+49 (30) 12")
        phone = field(shop.apply(create_customer, wish), "phone")
        order = new_order(shop, status="cancelled", note="fragile  ")
        seen.append((phone, *(field(order, name) for name in ("total", "status", "note"))))
        shop.close()
    assert seen[0] == seen[1] == ("+49 (30) 12", 6.25, "cancelled", "fragile  ")
    assert seen[2] == ("+493012", 6.0, "canceled", "fragile")


def test_a_fingerprint_ignores_who_asks_and_the_order_of_fields() -> None:
    first = Call(method="POST", path="/", id="", fields={"a": 1, "b": 2}, reference="1", key="k")
    second = Call(method="POST", path="/", id="", fields={"b": 2, "a": 1}, reference="2", key="k")
    other = Call(method="POST", path="/", id="", fields={"a": 1, "b": 3}, reference="1", key="k")
    assert fingerprint(first) == fingerprint(second) != fingerprint(other)
