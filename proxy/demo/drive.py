"""The clients of the sample shop: seeded workers that drive a realistic mix and keep the answers.

Law: what a worker asks for follows from its seed and from the ids it was answered, from nothing
else; a write counts as accepted only when its 2xx was read to the end.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp

Fields = dict[str, object]

ANSWER_SECONDS_MAX = 30.0
HOT_ORDERS = 2  # orders that all workers change, so that their writes meet in one lane
HOT_SHARE = 0.15
NAMES = ("Ada Byron", "Grace Murray", "Edsger Wybe", "Barbara Huberman", "Kurt Friedrich")
SKUS = ("tea", "cup", "pot", "spoon", "tray", "sugar", "honey")
STATUSES = ("open", "paid", "shipped", "cancelled")
NOTES = ("leave at the door", "call first ", "gift wrap", "fragile  ", "")
READS = ("GET",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One request that a worker wants answered; `reference` goes with it as X-Request-Id."""

    method: str
    path: str
    body: Fields | None = None
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the clients saw: answers by (method, status), accepted writes by reference with their
    number of 2xx answers, and the references of writes that got no answer at all."""

    answers: Mapping[tuple[str, int], int]
    accepted: Mapping[str, int]
    unanswered: tuple[str, ...]

    @property
    def requests(self) -> int:
        """All requests, answered or not."""
        return sum(self.answers.values()) + len(self.unanswered)


@dataclass(slots=True, kw_only=True)
class Worker:
    """One client: chooses the next wish, learns from its answer. No I/O, so a seed repeats it."""

    name: str
    chance: random.Random
    hot: list[str] = field(default_factory=list)
    customers: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    last_write: Wish | None = None
    made: int = 0

    def next(self) -> Wish:
        """The next wish: one of MIX, or a create while there is nothing to change."""
        if not self.customers:
            return self.new_customer()
        if not self.orders:
            return self.new_order()
        choose = self.chance.choices([do for do, _ in MIX], [share for _, share in MIX])[0]
        return choose(self)

    def learn(self, wish: Wish, status: int, body: object) -> None:
        """Take in an answer: new ids, orders that are gone, the write that may be repeated."""
        if wish.method == "DELETE":
            self.orders = [order for order in self.orders if wish.path != f"/orders/{order}"]
        if status >= 300 or wish.method in READS:
            return
        self.last_write = wish
        if wish.path in ("/customers", "/orders") and isinstance(body, dict):
            known = self.customers if wish.path == "/customers" else self.orders
            known.append(str(body["id"]))

    def new_customer(self) -> Wish:
        """POST /customers, half of them with a formatted phone number."""
        mark = self._mark()
        body: Fields = {"email": f"{mark}@example.org", "name": self.chance.choice(NAMES)}
        if self.chance.random() < 0.5:
            body["phone"] = self._phone()
        return Wish(method="POST", path="/customers", body=body, reference=mark)

    def new_order(self) -> Wish:
        """POST /orders for a customer of this worker."""
        mark = self._mark()
        body: Fields = {"number": mark.upper(), "customer_id": self._customer(), **self._order()}
        return Wish(method="POST", path="/orders", body=body, reference=mark)

    def replace_order(self) -> Wish:
        """PUT /orders/{id}: all of it."""
        body: Fields = {"status": self.chance.choice(STATUSES), **self._order()}
        return self._write("PUT", f"/orders/{self._some_order()}", body)

    def patch_order(self) -> Wish:
        """PATCH /orders/{id}: its status, or its note."""
        if self.chance.random() < 0.7:
            body: Fields = {"status": self.chance.choice(STATUSES)}
        else:
            body = {"note": self.chance.choice(NOTES)}
        return self._write("PATCH", f"/orders/{self._some_order()}", body)

    def patch_customer(self) -> Wish:
        """PATCH /customers/{id}: another phone number."""
        path = f"/customers/{self.chance.choice(self.customers)}"
        return self._write("PATCH", path, {"phone": self._phone()})

    def add_note(self) -> Wish:
        """POST /orders/{id}/notes."""
        body: Fields = {"author": self.name, "text": f"note {self.chance.randrange(10**6)}"}
        return self._write("POST", f"/orders/{self._some_order()}/notes", body)

    def delete_order(self) -> Wish:
        """DELETE /orders/{id}, never one that others change."""
        return self._write("DELETE", f"/orders/{self.chance.choice(self.orders)}", None)

    def read(self) -> Wish:
        """GET a list or a single."""
        order = f"/orders/{self._some_order()}"
        path = self.chance.choice((order, order, f"{order}/notes", "/orders", "/customers"))
        return Wish(method="GET", path=path)

    def invalid(self) -> Wish:
        """A write that the shop refuses with a 4xx."""
        order = f"/orders/{self.chance.choice(self.orders)}"
        wishes = (
            self._write("POST", "/customers", {"name": "nobody", "email": "not an address"}),
            self._write("PATCH", order, {"status": "lost"}),
            self._write("PUT", order, {"status": "paid"}),
            self._write("PATCH", "/orders/999999999", {"status": "paid"}),
        )
        return self.chance.choice(wishes)

    def repeat(self) -> Wish:
        """The last accepted write once more, byte for byte: the client did not trust the answer."""
        return self.last_write or self.read()

    def _write(self, method: str, path: str, body: Fields | None) -> Wish:
        return Wish(method=method, path=path, body=body, reference=self._mark())

    def _mark(self) -> str:
        self.made += 1
        return f"{self.name}-{self.made}"

    def _phone(self) -> str:
        return f"+49 (30) {self.chance.randrange(1000, 9999)}-{self.chance.randrange(10, 99)}"

    def _order(self) -> Fields:
        items = [
            {
                "sku": self.chance.choice(SKUS),
                "quantity": self.chance.randrange(1, 5),
                "price": self.chance.randrange(100, 10_000) / 100,
            }
            for _ in range(self.chance.randrange(1, 6))
        ]
        return {"currency": "EUR", "items": items, "note": self.chance.choice(NOTES)}

    def _customer(self) -> int | str:
        """A customer's id as the shop wrote it: a number stays a number in JSON."""
        known = self.chance.choice(self.customers)
        return int(known) if known.isdecimal() else known

    def _some_order(self) -> str:
        if self.hot and self.chance.random() < HOT_SHARE:
            return self.chance.choice(self.hot)
        return self.chance.choice(self.orders)


MIX: tuple[tuple[Callable[[Worker], Wish], int], ...] = (
    (Worker.new_customer, 9),
    (Worker.new_order, 20),
    (Worker.replace_order, 9),
    (Worker.patch_order, 22),
    (Worker.patch_customer, 5),
    (Worker.add_note, 14),
    (Worker.delete_order, 4),
    (Worker.read, 10),
    (Worker.invalid, 4),
    (Worker.repeat, 3),
)
"""What a worker does, with its share in percent."""


class Driver:
    """Workers that send their wishes to one URL, each one request at a time; use as a context."""

    def __init__(self, url: str, *, seed: int, workers: int = 8) -> None:
        self.url = url
        self._hot: list[str] = []
        self._first = Worker(name=f"s{seed}w0", chance=random.Random(f"{seed}/0"))
        self._workers = [
            Worker(name=f"s{seed}w{n}", chance=random.Random(f"{seed}/{n}"), hot=self._hot)
            for n in range(1, workers + 1)
        ]
        self._answers: Counter[tuple[str, int]] = Counter()
        self._accepted: Counter[str] = Counter()
        self._unanswered: list[str] = []

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        self._session = aiohttp.ClientSession(self.url, timeout=timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def drive(self, count: int, answered: Callable[[], None] = lambda: None) -> None:
        """Send `count` requests, the workers side by side; `answered` is called after each."""
        prelude = min(count, HOT_ORDERS + 1) if not self._hot else 0
        for _ in range(prelude):
            await self._one(self._first, answered, self._prelude())
        self._hot[:] = self._first.orders
        share, rest = divmod(count - prelude, len(self._workers))
        async with asyncio.TaskGroup() as group:
            for n, worker in enumerate(self._workers):
                group.create_task(self._many(worker, share + (n < rest), answered))

    def record(self) -> Record:
        """What was answered so far."""
        return Record(
            answers=dict(self._answers),
            accepted=dict(self._accepted),
            unanswered=tuple(self._unanswered),
        )

    def _prelude(self) -> Wish:
        first = self._first
        return first.new_order() if first.customers else first.new_customer()

    async def _many(self, worker: Worker, count: int, answered: Callable[[], None]) -> None:
        for _ in range(count):
            await self._one(worker, answered, worker.next())

    async def _one(self, worker: Worker, answered: Callable[[], None], wish: Wish) -> None:
        status, body = await self._ask(wish)
        if status == 0:
            self._unanswered.append(wish.reference)
        else:
            self._answers[wish.method, status] += 1
        if status in range(200, 300) and wish.method not in READS:
            self._accepted[wish.reference] += 1
        worker.learn(wish, status or 599, body)
        answered()

    async def _ask(self, wish: Wish) -> tuple[int, object]:
        """The status and body of the answer; status 0 when there was none."""
        headers = {"X-Request-Id": wish.reference} if wish.reference else {}
        try:
            async with self._session.request(
                wish.method, wish.path, json=wish.body, headers=headers
            ) as reply:
                raw = await reply.read()
                kind = reply.content_type
                return reply.status, json.loads(raw) if kind == "application/json" else None
        except (aiohttp.ClientError, TimeoutError):
            return 0, None
