"""The primary against itself: a sample of reads is asked twice more, writes never, and clients do not notice."""

from pathlib import Path

import aiohttp
import pytest

from tests.proxy.samples import rows, until
from tests.proxy.world import World, world

ALWAYS = "[compare]\nbaseline_percent = 100\n"


class Numbered(dict[str, tuple[int, object]]):
    """Another number with every reply."""

    number = 0

    def get(self, *_: object) -> tuple[int, object]:  # type: ignore[override]
        self.number += 1
        return 200, {"n": self.number}


def counted(w: World) -> list[tuple[object, ...]]:
    path = w.config.parent / "data" / "ledger.db"
    sql = "SELECT route, path, kind, count FROM baseline ORDER BY path"
    return [tuple(row) for row in rows(path, sql)]


async def test_a_read_is_asked_twice_more_and_what_differs_is_counted(tmp_path: Path) -> None:
    async with world(tmp_path, ALWAYS) as w, aiohttp.ClientSession() as session:
        w.legacy.answers = Numbered()
        async with session.get(
            f"{w.url}/things/1?a=1", headers={"Authorization": "Bearer x"}
        ) as reply:
            assert (await reply.json())["n"] in (1, 2, 3)
        await until(lambda: len(w.legacy.seen) == 3 and not len(w.app.fibers))
        await w.delivered()
        assert {(method, target) for method, target, _ in w.legacy.seen} == {
            ("GET", "/things/1?a=1")
        }
        assert w.new.seen == []
        assert counted(w) == [("default", "", "", 1), ("default", "/body/n", "value", 1)]


async def test_a_primary_that_agrees_with_itself_is_counted_too(tmp_path: Path) -> None:
    async with world(tmp_path, ALWAYS) as w, aiohttp.ClientSession() as session:
        async with session.get(f"{w.url}/things/1"):
            pass
        await until(lambda: len(w.legacy.seen) == 3 and not len(w.app.fibers))
        await w.delivered()
        assert counted(w) == [("default", "", "", 1)]


async def test_an_error_is_no_baseline_and_is_asked_once_more_at_the_most(tmp_path: Path) -> None:
    async with world(tmp_path, ALWAYS) as w, aiohttp.ClientSession() as session:
        w.legacy.answers["/things/1"] = (500, {"n": 1})
        async with session.get(f"{w.url}/things/1") as reply:
            assert reply.status == 500
        await until(lambda: len(w.legacy.seen) == 2 and not len(w.app.fibers))
        await w.delivered()
        assert counted(w) == []


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE", "OPTIONS"])
async def test_a_write_is_never_asked_again(tmp_path: Path, method: str) -> None:
    for stage in ("dual_legacy_primary", "legacy_only"):
        (tmp_path / stage).mkdir()
        async with (
            world(tmp_path / stage, ALWAYS, TWINWRITE_STAGE=stage) as w,
            aiohttp.ClientSession() as session,
        ):
            async with session.request(method, f"{w.url}/things/1", data=b"x"):
                pass
            await until(lambda: not len(w.app.fibers))
            await w.delivered()
            assert len(w.legacy.seen) == 1
            assert counted(w) == []


async def test_a_read_with_a_body_is_left_alone(tmp_path: Path) -> None:
    async with world(tmp_path, ALWAYS) as w, aiohttp.ClientSession() as session:
        async with session.get(f"{w.url}/things/1", data=b"x"):
            pass
        await until(lambda: not len(w.app.fibers))
        assert len(w.legacy.seen) == 1


async def test_by_default_nothing_is_asked_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        async with session.get(f"{w.url}/things/1"):
            pass
        await until(lambda: not len(w.app.fibers))
        assert len(w.legacy.seen) == 1


async def test_a_get_that_counts_as_a_write_is_never_asked_again(tmp_path: Path) -> None:
    route = '[[routes]]\nname = "strange"\nmirror = "always"\n'
    stage = "legacy_only"
    async with (
        world(tmp_path, ALWAYS + route, TWINWRITE_STAGE=stage) as w,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"{w.url}/things/1"):
            pass
        await until(lambda: not len(w.app.fibers))
        assert len(w.legacy.seen) == 1
