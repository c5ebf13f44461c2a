"""`twinwrite replay`: delivers what is owed, by itself or by watching the sidecar that does, and says what is left."""

import asyncio
import json
import re
import time
from pathlib import Path

import aiohttp
from click.testing import Result

from proxy.cli.options import configured
from proxy.cli.replay import DELIVERED, _looked_closer
from tests.proxy.cli.test_dead import ROUTE, buried, put
from tests.proxy.cli.test_status import invoke
from tests.proxy.world import World, world

SLOW = ROUTE + "[delivery]\nbackoff_first_ms = 86400000\nbackoff_max_ms = 86400000\n"
"""What fails once is not tried again within a test."""


async def owed(w: World, *numbers: int) -> None:
    """Writes of these things that the secondary does not take now."""
    async with aiohttp.ClientSession() as session:
        for number in numbers:
            w.new.answers[f"/things/{number}"] = (503, {})
            async with session.put(f"{w.url}/things/{number}", data=b"x"):
                pass


async def replayed(w: World, *arguments: str) -> tuple[Result, dict[str, object]]:
    result = await invoke(w, "replay", "--json", *arguments)
    return result, json.loads(result.stdout)


async def test_without_a_sidecar_it_delivers_by_itself(tmp_path: Path) -> None:
    async with world(tmp_path, SLOW) as w:
        await owed(w, 1, 2, 3)
        await w.app.stop()
        w.new.answers.clear()
        before = len(w.legacy.seen)
        result, told = await replayed(w)
        again, nothing = await replayed(w)

        assert (result.exit_code, again.exit_code) == (0, 0)
        assert told["running"] is False
        assert (told["delivered"], told["owed"], told["ended"]) == (3, 0, "nothing is owed")
        assert (nothing["delivered"], nothing["owed"]) == (0, 0)
        assert len(w.legacy.seen) == before


async def test_a_running_sidecar_is_watched(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await owed(w, 1, 2)
        watching = asyncio.create_task(invoke(w, "replay"))
        w.new.answers.clear()
        result = await watching
        again, told = await replayed(w)

        assert (result.exit_code, again.exit_code) == (0, 0)
        assert "nothing is owed" in result.stdout
        assert told["running"] is True


async def test_what_is_left_is_told_and_ends_with_1(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1)
        result, told = await replayed(w)
        await put(w, 1, b"behind it")
        behind, stuck = await replayed(w)

        assert (result.exit_code, behind.exit_code) == (1, 1)
        assert (told["dead"], told["owed"]) == (1, 0)
        assert (stuck["dead"], stuck["owed"]) == (1, 1)
        assert stuck["ended"] == "what is left cannot move by itself"
        assert "left: 1 owed, 1 dead" in behind.stderr


async def test_new_writes_do_not_keep_it_from_ending(tmp_path: Path) -> None:
    async with world(tmp_path, SLOW) as w:
        begun_at = time.time()
        await owed(w, 1)
        await w.app.journal.writer.call(lambda _: None)
        config = configured(str(w.config))

        assert _looked_closer(config, begun_at) == DELIVERED
        assert _looked_closer(config, time.time()) == ""


async def test_the_time_may_be_limited(tmp_path: Path) -> None:
    async with world(tmp_path, SLOW) as w:
        await owed(w, 1)
        result, told = await replayed(w, "--timeout-seconds", "0.1")

        assert result.exit_code == 1
        assert (told["ended"], told["owed"]) == ("the time is up", 1)


async def test_the_kill_switch_is_obeyed(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE, TWINWRITE_KILL_SWITCH="true") as w:
        await put(w, 1, b"x")
        result, told = await replayed(w)

        assert result.exit_code == 1
        assert told["ended"] == "the kill switch is on: nothing is sent"
        assert w.new.seen == []


async def test_a_dry_run_says_what_is_owed_and_sends_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, SLOW) as w:
        nothing, none = await replayed(w, "--dry-run")
        await owed(w, 1, 1, 2)
        sent = len(w.new.seen)
        result, told = await replayed(w, "--dry-run")
        text = await invoke(w, "replay", "--dry-run")

        assert (nothing.exit_code, none["owed"]) == (0, 0)
        assert (result.exit_code, told["owed"], told["stuck"]) == (1, 3, 0)
        assert told["by_route"] == [{"route": "things", "state": "s_pending", "count": 3}]
        assert re.search(r"3 s_pending +things", text.output)
        assert len(w.new.seen) == sent


async def test_another_process_that_has_the_journal_is_one_clear_line(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        text = w.config.read_text()
        w.config.write_text(re.sub(r"(\[admin\]\nport = )\d+", r"\g<1>1", text))
        result = await invoke(w, "replay")

        assert result.exit_code == 1
        assert "another process" in result.stderr
        assert result.stderr.count("\n") == 1
