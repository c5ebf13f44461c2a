"""Levels: what becomes of a write when the disk or the backlog is in the way, and the way back by itself."""

import asyncio
from pathlib import Path

import pytest

from proxy.app import App
from rules.level import Level
from tests.proxy.flow.foreground import Sidecar, sidecar
from tests.proxy.flow.scripted import Fault
from tests.proxy.samples import disk_broken, rows, until


async def level(s: Sidecar, wanted: Level) -> None:
    await until(lambda: s.app.capacity.level is wanted)


async def owe(s: Sidecar, count: int) -> None:
    """So many writes that the secondary does not get."""
    s.new.always = Fault.RESET
    for number in range(count):
        assert (await s.ask("PUT", f"/{number}", b"x")).status == 200


async def caught_up(app: App) -> None:
    await until(lambda: not len(app.delivery))


FULL = {"JOURNAL_BACKLOG_ROWS_MAX": "2", "DELIVERY_BACKOFF_MAX_MS": "20"}


async def test_a_full_backlog_refuses_by_default_and_takes_writes_again(tmp_path: Path) -> None:
    async with sidecar(tmp_path, **FULL) as s:
        await owe(s, 2)
        refused = await s.ask("PUT", "/3", b"x")
        assert (refused.status, "retry-after" in refused.headers) == (503, True)
        await level(s, Level.REJECTING)
        assert (await s.ask("GET", "/")).status == 200
        assert await s.app._not_ready() == ""  # a sick secondary does not make it unready
        s.new.always = s.legacy.always
        await level(s, Level.FULL)
        assert (await s.ask("PUT", "/4", b"x")).status == 200
        assert "/3" not in s.legacy.targets()


async def test_a_full_backlog_may_pause_mirroring_which_is_a_gap(tmp_path: Path) -> None:
    async with sidecar(tmp_path, **FULL, JOURNAL_ON_BACKLOG_FULL="pause_mirroring") as s:
        await owe(s, 2)
        for number in range(3):
            assert (await s.ask("PUT", f"/gap/{number}", b"x")).status == 200
        await level(s, Level.MIRROR_PAUSED)
        assert s.skips() == {"backlog": 3}
        (gap,) = s.app.gaps.all
        assert (gap.category, gap.reason, gap.writes) == ("default", "backlog", 3)
        s.new.always = s.legacy.always
        await level(s, Level.FULL)
        await caught_up(s.app)
        assert not any(target.startswith("/gap") for target in s.new.targets())
        file = s.app.journal.writer.path
        await until(lambda: rows(file, "SELECT writes FROM gaps")[0]["writes"] == 3)
    async with sidecar(tmp_path) as s:
        assert [each.writes for each in s.app.gaps.all] == [3]  # never forgotten by itself


async def test_a_full_backlog_may_make_writes_wait_for_room(tmp_path: Path) -> None:
    async with sidecar(tmp_path, **FULL, JOURNAL_ON_BACKLOG_FULL="block") as s:
        await owe(s, 2)
        async with s.client() as client:
            client.ask("PUT", "/3", b"x")
            await level(s, Level.REJECTING)
            assert "/3" not in s.legacy.targets()
            s.new.always = s.legacy.always
            assert (await client.reply()).status == 200


async def test_a_write_that_waits_too_long_for_room_is_refused(tmp_path: Path) -> None:
    block = {"JOURNAL_ON_BACKLOG_FULL": "block", "JOURNAL_BACKLOG_BLOCK_MS": "50"}
    async with sidecar(tmp_path, **FULL, **block) as s:
        await owe(s, 2)
        assert (await s.ask("PUT", "/3", b"x")).status == 503
        assert "/3" not in s.legacy.targets()
        assert s.states()["aborted"] == 1


async def test_the_oldest_owed_write_has_a_limit_too(tmp_path: Path) -> None:
    async with sidecar(tmp_path, JOURNAL_BACKLOG_AGE_MAX_SECONDS="0.3") as s:
        await owe(s, 1)
        await level(s, Level.REJECTING)
        assert (await s.ask("PUT", "/late", b"x")).status == 503


async def test_the_soft_limit_is_told_once_each_way(tmp_path: Path) -> None:
    few = {"JOURNAL_BACKLOG_ROWS_MAX": "10", "JOURNAL_BACKLOG_SOFT_PERCENT": "30"}
    async with sidecar(tmp_path, **few, DELIVERY_BACKOFF_MAX_MS="20") as s:
        await owe(s, 4)
        await until(lambda: "backlog_soft_limit" in s.events())
        s.new.always = s.legacy.always
        await until(lambda: "backlog_below_soft_limit" in s.events())
        assert s.events().count("backlog_soft_limit") == 1


@pytest.mark.parametrize(
    ("setting", "status", "found"),
    [("reject", 503, Level.REJECTING), ("pass_through", 200, Level.PRIMARY_ONLY)],
)
async def test_a_journal_that_takes_nothing_is_a_level_until_it_does(
    tmp_path: Path, setting: str, status: int, found: Level
) -> None:
    async with sidecar(tmp_path, JOURNAL_ON_JOURNAL_ERROR=setting) as s:
        await disk_broken(s.app.journal)
        for number in range(3):
            assert (await s.ask("PUT", f"/{number}", b"x")).status == status
        await level(s, found)
        unready = await s.app._not_ready()
        assert unready == ("the journal cannot be written" if status == 503 else "")
        async with s.client() as client:  # told before the client sends its body for nothing
            client.ask("PUT", "/expect", fields="Content-Length: 3\r\nExpect: 100-continue\r\n")
            if status == 503:
                assert (await client.reply()).status == 503
        await disk_broken(s.app.journal, broken=False)
        await level(s, Level.FULL)
        assert (await s.ask("PUT", "/again", b"x")).status == 200
        assert s.states().get("done", 0) + s.states().get("s_pending", 0) <= 1
        assert bool(s.app.gaps.all) is (setting == "pass_through")
        assert s.events().count("level") == 2


async def test_a_disk_that_does_not_answer_counts_as_one_that_refuses(tmp_path: Path) -> None:
    async with sidecar(tmp_path, JOURNAL_COMMIT_TIMEOUT_MS="100") as s:
        release = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stalled(_: object) -> None:  # on the writer's thread, as a disk that hangs
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

        hangs = asyncio.ensure_future(s.app.journal.writer.call(stalled))
        assert (await s.ask("PUT", "/stalled", b"x")).status == 503
        await level(s, Level.REJECTING)
        release.set()
        await hangs
        await level(s, Level.FULL)
        assert (await s.ask("PUT", "/again", b"x")).status == 200
        assert s.legacy.targets() == ["/again"]
    async with sidecar(tmp_path) as s:  # what became durable after all was closed
        assert "unknown" not in s.states()


async def test_without_a_ledger_writes_go_on(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "ledger.db").mkdir()
    async with sidecar(tmp_path) as s:
        await level(s, Level.NO_EVIDENCE)
        assert (await s.ask("PUT", "/a", b"x")).status == 200
        assert await s.app._not_ready() == ""
