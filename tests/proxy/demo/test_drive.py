"""The clients: what they ask for follows from the seed, and what they were answered is kept."""

import random
from itertools import pairwise
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.demo.backend import application
from proxy.demo.drive import Driver, Wish, Worker
from proxy.demo.report import compare_state
from proxy.demo.shop import LEGACY, NEW, Dialect, Shop


def wishes(seed: int, count: int) -> list[Wish]:
    worker = Worker(name="w", chance=random.Random(seed))
    asked = []
    for number in range(count):
        asked.append(wish := worker.next())
        worker.learn(wish, 201 if wish.method == "POST" else 200, {"id": number})
    return asked


def test_the_same_seed_asks_for_the_same() -> None:
    assert wishes(3, 200) == wishes(3, 200) != wishes(4, 200)


def test_the_mix_holds_every_kind_of_request_and_identical_repetitions() -> None:
    asked = wishes(1, 500)
    assert {wish.method for wish in asked} == {"GET", "POST", "PUT", "PATCH", "DELETE"}
    assert any(before == after for before, after in pairwise(asked))
    assert any(wish.path == "/orders/999999999" for wish in asked)


def test_a_worker_changes_only_what_was_created_and_not_deleted() -> None:
    worker = Worker(name="w", chance=random.Random(1))
    worker.learn(Wish(method="POST", path="/orders"), 500, None)
    assert worker.orders == []
    worker.learn(Wish(method="POST", path="/orders"), 201, {"id": 5})
    assert worker.orders == ["5"]
    worker.learn(Wish(method="DELETE", path="/orders/5"), 599, None)
    assert worker.orders == []


def test_an_id_goes_back_in_the_type_in_which_it_came() -> None:
    worker = Worker(name="w", chance=random.Random(1), customers=["7"])
    assert (worker.new_order().body or {})["customer_id"] == 7
    worker.customers = ["7e-uuid"]
    assert (worker.new_order().body or {})["customer_id"] == "7e-uuid"


async def driven(dialect: Dialect, file: Path) -> None:
    shop = Shop(dialect, file)
    ticks: list[None] = []
    async with TestServer(application(shop)) as server:
        url = f"http://{server.host}:{server.port}"
        async with Driver(url, seed=5, workers=4) as driver:
            await driver.drive(150, lambda: ticks.append(None))
            await driver.drive(50)
            record = driver.record()
            async with driver._session.get("/dump") as reply:
                dump = await reply.json()
    shop.close()
    assert record.requests == 200
    assert len(ticks) == 150
    assert record.unanswered == ()
    assert {status // 100 for _, status in record.answers} == {2, 4}
    state = compare_state(record.accepted, dump, dump)
    assert (state.lost, state.doubled, state.differing) == ((), (), {})
    assert sum(record.accepted.values()) == sum(map(len, dump["history"].values()))


async def test_all_that_legacy_answered_is_in_its_history(tmp_path: Path) -> None:
    await driven(LEGACY, tmp_path / "shop.sqlite")


async def test_all_that_new_answered_is_in_its_history(tmp_path: Path) -> None:
    await driven(NEW, tmp_path / "shop.sqlite")


async def test_a_request_without_an_answer_is_kept_as_unanswered() -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", hang_up)
    async with (
        TestServer(app) as server,
        Driver(f"http://{server.host}:{server.port}", seed=1) as driver,
    ):
        await driver.drive(5)
        record = driver.record()
    assert record.accepted == {}
    assert len(record.unanswered) == record.requests == 5
