"""The shop over HTTP: statuses, validation, ids and times of each side, and the dump."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from proxy.demo.backend import application
from proxy.demo.shop import LEGACY, NEW, NEW_EXACT, Dialect, Shop

ITEMS = [{"sku": "tea", "quantity": 2, "price": 4.25}]


@asynccontextmanager
async def served(dialect: Dialect, file: Path) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]
    shop = Shop(dialect, file)
    async with TestClient(TestServer(application(shop))) as client:
        yield client
    shop.close()


async def create(client: TestClient, path: str, **fields: object) -> dict[str, object]:  # type: ignore[type-arg]
    reply = await client.post(path, json=fields)
    found: dict[str, object] = await reply.json()
    assert reply.status == 201, found
    assert re.fullmatch(rf"/\w+(/[^/]+/notes)?/{found['id']}", reply.headers["Location"])
    return found


async def an_order(client: TestClient) -> dict[str, object]:  # type: ignore[type-arg]
    person = await create(client, "/customers", email="ada@example.org", name="Ada")
    fields = {"number": "A-1", "currency": "EUR", "items": ITEMS, "customer_id": person["id"]}
    return await create(client, "/orders", **fields)


@pytest.mark.parametrize("dialect", [LEGACY, NEW])
async def test_an_order_lives_through_all_of_its_writes(dialect: Dialect, tmp_path: Path) -> None:
    async with served(dialect, tmp_path / "shop.sqlite") as client:
        path = f"/orders/{(await an_order(client))['id']}"
        await create(client, f"{path}/notes", author="Ada", text="hello")
        changed = await client.patch(path, json={"status": "paid"})
        assert (changed.status, (await changed.json())["status"]) == (200, "paid")
        replaced = {"status": "shipped", "currency": "USD", "items": ITEMS * 2}
        assert (await client.put(path, json=replaced)).status == 200
        read = await (await client.get(path)).json()
        assert (read["status"], read["total"], read["notes"][0]["text"]) == (
            "shipped",
            17.0,
            "hello",
        )
        assert (await client.delete(path)).status == 204
        assert (await client.get(path)).status == 404
        assert await (await client.get("/orders")).json() == []


async def test_each_side_has_its_own_ids_and_times(tmp_path: Path) -> None:
    async with served(LEGACY, tmp_path / "legacy.sqlite") as client:
        order = await an_order(client)
        assert isinstance(order["id"], int)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", str(order["created_at"]))
    async with served(NEW, tmp_path / "new.sqlite") as client:
        order = await an_order(client)
        assert re.fullmatch(r"[0-9a-f-]{36}", str(order["id"]))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(order["created_at"]))


@pytest.mark.parametrize(
    ("method", "path", "fields", "status", "field"),
    [
        ("POST", "/customers", {"name": "Ada"}, 422, "email"),
        ("POST", "/customers", {"email": "nowhere", "name": "Ada"}, 422, "email"),
        ("POST", "/customers", {"email": "a@b.org", "name": "Ada", "age": 3}, 422, "age"),
        ("POST", "/customers", {"email": "ada@example.org", "name": "Ada"}, 409, ""),
        ("POST", "/customers", ["ada"], 422, ""),
        ("POST", "/orders", {"number": "B", "currency": "EUR", "items": ITEMS}, 422, "customer_id"),
        ("PATCH", "/orders/1", {"customer_id": "one"}, 422, "customer_id"),
        ("PATCH", "/orders/1", {"customer_id": 99}, 404, ""),
        ("PATCH", "/orders/1", {"status": "lost"}, 422, "status"),
        (
            "PATCH",
            "/orders/1",
            {"items": [{"sku": "tea", "quantity": 0, "price": 1}]},
            422,
            "items",
        ),
        ("PATCH", "/orders/1", {}, 422, ""),
        ("PUT", "/orders/1", {"status": "paid"}, 422, "currency"),
        ("PATCH", "/orders/99", {"status": "paid"}, 404, ""),
        ("POST", "/orders/99/notes", {"author": "Ada", "text": "hello"}, 404, ""),
        ("DELETE", "/orders/99", None, 404, ""),
    ],
)
async def test_what_cannot_be_is_refused_in_json(
    method: str, path: str, fields: object, status: int, field: str, tmp_path: Path
) -> None:
    async with served(LEGACY, tmp_path / "shop.sqlite") as client:
        await an_order(client)
        reply = await client.request(method, path, json=fields)
        found = await reply.json()
        assert (reply.status, found["field"]) == (status, field)
        assert found["error"]


async def test_a_body_that_is_not_json_is_a_422(tmp_path: Path) -> None:
    async with served(LEGACY, tmp_path / "shop.sqlite") as client:
        assert (await client.post("/customers", data=b"\xff{")).status == 422


async def test_the_dumps_of_both_sides_are_equal_after_the_same_writes(tmp_path: Path) -> None:
    dumps = []
    for name, dialect in (("legacy", LEGACY), ("new", NEW_EXACT)):
        async with served(dialect, tmp_path / name) as client:
            path = f"/orders/{(await an_order(client))['id']}"
            await create(client, f"{path}/notes", author="Ada", text="hello")
            await client.patch(path, json={"status": "paid"}, headers={"X-Request-Id": "r7"})
            dumps.append(await (await client.get("/dump")).json())
    assert dumps[0] == dumps[1]
    assert dumps[0]["orders"]["A-1"]["customer"] == "ada@example.org"
    last = {"reference": "r7", "method": "PATCH", "fields": {"status": "paid"}}
    assert dumps[0]["history"]["order A-1"][-1] == last
