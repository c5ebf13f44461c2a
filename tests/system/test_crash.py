"""kill -9 of the sidecar, ten times, under load: what was answered is on both sides, exactly."""

import asyncio
import json
import random
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.system.harness import (
    Sidecar,
    Status,
    assert_balanced,
    caught_up,
    counted,
    get_json,
    run_cli,
    start_shop,
    start_sidecar,
    write_config,
)

pytestmark = pytest.mark.system

KILLS = 10
CLIENTS = 6
SEED = 20
ANSWERS_BETWEEN = (40, 120)

CONFIG = """
stage = "dual_legacy_primary"
[listen]
port = 0
[admin]
port = 0
[backends.legacy]
url = "{legacy}"
[backends.new]
url = "{new}"
[journal]
directory = "{journal}"
[delivery]
backoff_max_ms = 500
[breaker]
open_seconds = 1
ramp_seconds = 1
[compare]
ignore = ["/id", "/customer_id", "/order_id", "/created_at", "/updated_at"]
[[routes]]
name = "create customer"
methods = ["POST"]
path = "/customers"
ordering = "none"
harvest = [{{ kind = "customer", from = "json:/id" }}]
[[routes]]
name = "create order"
methods = ["POST"]
path = "/orders"
ordering = "none"
harvest = [{{ kind = "order", from = "json:/id" }}]
translate = {{ "json:/customer_id" = "customer" }}
[[routes]]
name = "change order"
path = "/orders/{{order_id}}/{{rest...}}"
entity = "order"
entity_key = ["path:order_id"]
translate = {{ "path:order_id" = "order" }}
[[routes]]
name = "replace order"
path = "/orders/{{order_id}}"
entity = "order"
entity_key = ["path:order_id"]
translate = {{ "path:order_id" = "order" }}
"""

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One write that was answered 2xx: what was sent, and what came back."""

    entity: str
    method: str
    reference: str
    fields: Json
    body: Json


@dataclass(slots=True, kw_only=True)
class Book:
    """What all clients remember together."""

    answered: list[Answered] = field(default_factory=list)
    unanswered: dict[str, tuple[str, str]] = field(default_factory=dict)  # method and path
    refused: list[tuple[str, int]] = field(default_factory=list)
    up: asyncio.Event = field(default_factory=asyncio.Event)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: int = 0

    def add(self, entry: Answered) -> None:
        self.answered.append(entry)
        if len(self.answered) >= self.wanted:
            self.more.set()

    async def answers(self, count: int) -> None:
        """Wait until `count` more writes were answered."""
        self.wanted = len(self.answered) + count
        self.more.clear()
        await self.more.wait()


@dataclass(slots=True, kw_only=True)
class Client:
    """Creates customers and orders, changes them, one request at a time; lives through crashes."""

    name: str
    session: aiohttp.ClientSession
    book: Book
    made: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._round()

    async def _round(self) -> None:
        email = f"{self.name}-{self.made}@example.org"
        fields: Json = {"email": email, "name": "Ada", "phone": "+49 (30) 1"}
        person = await self._ask("POST", "/customers", fields, f"customer {email}")
        if person is None:
            return
        entity = f"order {self.name}-{self.made}"
        order = await self._ask("POST", "/orders", self._order(person["id"]), entity)
        if order is None:
            return
        path = f"/orders/{order['id']}"
        for _ in range(3):
            note: Json = {"author": self.name, "text": f"{self.name}-{self.made}"}
            changed: Json = {"status": "paid", "currency": "EUR", "note": str(self.made)}
            await self._ask("POST", f"{path}/notes", note, entity)
            await self._ask("PUT", path, {**changed, "items": self._items()}, entity)

    async def _ask(self, method: str, path: str, fields: Json, entity: str) -> Json | None:
        """The body of a 2xx; None when the write was refused or its answer never came."""
        self.made += 1
        reference = f"{self.name}-{self.made}"
        try:
            async with self.session.request(
                method, path, json=fields, headers={"X-Request-Id": reference}
            ) as reply:
                body = await reply.json()
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.book.unanswered[reference] = (method, path)
            await self.book.up.wait()
            return None
        if reply.status >= 300:
            self.book.refused.append((reference, reply.status))
            return None
        sent = {name: value for name, value in fields.items() if name != "customer_id"}
        self.book.add(
            Answered(entity=entity, method=method, reference=reference, fields=sent, body=body)
        )
        assert isinstance(body, dict)
        return body

    def _order(self, customer_id: object) -> Json:
        number = f"{self.name}-{self.made}"
        fields: Json = {"number": number, "customer_id": customer_id, "currency": "EUR"}
        return {**fields, "items": self._items()}

    def _items(self) -> list[Json]:
        return [{"sku": "tea", "quantity": 1 + self.made % 7, "price": 1.25}]


async def kill_and_restart(sidecar: Sidecar, book: Book, stack: AsyncExitStack) -> Sidecar:
    """SIGKILL, then the same configuration, journal and ports once more."""
    book.up.clear()
    await sidecar.child.kill()
    again = await start_sidecar(
        sidecar.config,
        TWINWRITE_LISTEN_PORT=sidecar.port,
        TWINWRITE_ADMIN_PORT=sidecar.admin_port,
    )
    stack.push_async_callback(again.child.stop)
    book.up.set()
    return again


async def load_and_kill(sidecar: Sidecar, book: Book, stack: AsyncExitStack) -> Sidecar:
    """Drive all clients through KILLS crashes; returns the last sidecar when all have stopped."""
    chance, stop = random.Random(SEED), asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=30)
    session = await stack.enter_async_context(aiohttp.ClientSession(sidecar.url, timeout=timeout))
    session._retry_connection = False  # this client repeats nothing behind the test's back
    book.up.set()
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            client = Client(name=f"c{number}", session=session, book=book)
            group.create_task(client.run(stop))
        for _ in range(KILLS):
            await book.answers(chance.randint(*ANSWERS_BETWEEN))
            sidecar = await kill_and_restart(sidecar, book, stack)
        await book.answers(ANSWERS_BETWEEN[0])
        stop.set()
    return sidecar


def history(dump: Status) -> dict[str, list[Json]]:
    found = dump["history"]
    assert isinstance(found, dict)
    return found


def references(dump: Status) -> Counter[str]:
    return Counter(str(e["reference"]) for entries in history(dump).values() for e in entries)


def assert_applied_as_sent(book: Book, legacy: Status, new: Status) -> None:
    """Each answered write stands in both histories exactly once, with its fields."""
    marks = {"legacy": references(legacy), "new": references(new)}
    for entry in book.answered:
        assert marks["legacy"][entry.reference] == 1, entry
        assert marks["new"][entry.reference] == 1, entry
        for dump in (legacy, new):
            found = [e for e in history(dump)[entry.entity] if e["reference"] == entry.reference]
            assert all(e["fields"] == entry.fields for e in found), (entry, found)


def assert_stored_as_answered(book: Book, legacy: Status, new: Status) -> None:
    """What was answered last about a customer or an order is what both sides hold."""
    latest: dict[tuple[str, str], Answered] = {}
    for entry in book.answered:
        kind, _, key = entry.entity.partition(" ")
        if "text" not in entry.body:
            latest[f"{kind}s", key] = entry
    for (kind, key), entry in latest.items():
        if _changed_after(entry, history(legacy)[entry.entity]):
            continue
        for dump in (legacy, new):
            table = dump[kind]
            assert isinstance(table, dict)
            stored = {n: v for n, v in table[key].items() if n not in ("notes", "customer")}
            assert stored == {name: entry.body[name] for name in stored}, (entry, stored)


def _changed_after(entry: Answered, entries: list[Json]) -> bool:
    """Whether legacy applied a replacement after this write: one that nobody was answered."""
    marks = [str(e["reference"]) for e in entries]
    later = entries[marks.index(entry.reference) + 1 :]
    return any(e["method"] == "PUT" for e in later)


def assert_the_order_is_kept(legacy: Status, new: Status) -> None:
    """Both sides applied an entity's writes in one order."""
    there = references(new)
    for entity, entries in history(legacy).items():
        expected = [e["reference"] for e in entries if there[str(e["reference"])]]
        applied = [e["reference"] for e in history(new).get(entity, [])]
        assert applied == expected, entity


async def unknown_writes(sidecar: Sidecar) -> Counter[tuple[str, str]]:
    """Method and target of the rows that the journal holds as unknown."""
    asked = ("intents", "--state", "unknown", "--limit", "10000", "--json")
    code, out, errors = await run_cli(*asked, "-c", str(sidecar.config))
    assert code == 0, errors
    return Counter((row["method"], row["target"]) for row in json.loads(out))


async def test_ten_crashes_under_load_lose_no_answered_write(tmp_path: Path) -> None:
    book = Book()
    async with AsyncExitStack() as stack:
        legacy = await start_shop("legacy", tmp_path)
        stack.push_async_callback(legacy.stop)
        new = await start_shop("new", tmp_path, "--exact")
        stack.push_async_callback(new.stop)
        urls = {"legacy": legacy.fields()["url"], "new": new.fields()["url"]}
        text = CONFIG.format(**urls, journal=tmp_path / "journal")
        sidecar = await start_sidecar(write_config(tmp_path, text))
        stack.push_async_callback(sidecar.child.stop)
        sidecar = await load_and_kill(sidecar, book, stack)
        status = await caught_up(sidecar)
        unknown = await unknown_writes(sidecar)
        dumps = [await get_json(f"{urls[side]}/dump") for side in ("legacy", "new")]
    assert book.refused == []
    assert book.unanswered, "no crash met a write"
    assert len(book.answered) > KILLS * ANSWERS_BETWEEN[0]
    assert_balanced(status)
    assert_applied_as_sent(book, *dumps)
    assert_stored_as_answered(book, *dumps)
    assert_the_order_is_kept(*dumps)
    only_legacy = set(references(dumps[0])) - set(references(dumps[1]))
    assert not set(references(dumps[1])) - set(references(dumps[0]))
    assert only_legacy <= set(book.unanswered)
    assert unknown <= Counter(book.unanswered.values())
    left = {k: n for k, n in counted(status, "intents").items() if k not in ("done", "p_rejected")}
    assert set(left) <= {"unknown", "not_sent", "aborted"}, left
    assert left.get("unknown", 0) == unknown.total()
