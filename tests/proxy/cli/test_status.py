"""`twinwrite status`: of the running sidecar, and of its journal when it does not run."""

import asyncio
import json
from pathlib import Path

import aiohttp
from click.testing import CliRunner, Result

from proxy.__main__ import main
from tests.proxy.world import World, world


async def invoke(w: World, *arguments: str) -> Result:
    command = [arguments[0], *arguments[1:], "-c", str(w.config)]
    return await asyncio.to_thread(CliRunner().invoke, main, command)


async def test_it_shows_what_the_running_sidecar_says(tmp_path: Path) -> None:
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        async with session.put(f"{w.url}/things/1", data=b"x"):
            pass
        await w.delivered()
        shown = await invoke(w, "status")
        told = json.loads((await invoke(w, "status", "--json")).output)
        healthy = await invoke(w, "status", "--healthy")

    assert "dual_legacy_primary" in shown.output
    assert "accepted writes: 1" in shown.output
    assert (told["running"], told["intents"]["done"]) == (True, 1)
    assert (healthy.exit_code, healthy.output) == (0, "")


async def test_it_reads_the_journal_when_nothing_runs(tmp_path: Path) -> None:
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        async with session.put(f"{w.url}/things/1", data=b"x"):
            pass
        await w.delivered()
    shown = await invoke(w, "status")
    told = json.loads((await invoke(w, "status", "--json")).output)
    healthy = await invoke(w, "status", "--healthy")

    assert "not running" in shown.output
    assert (told["running"], told["intents"]) == (False, {"done": 1})
    assert healthy.exit_code == 1


async def test_without_sidecar_and_journal_it_says_so(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        pass
    (tmp_path / "data" / "journal.db").unlink()
    result = await invoke(w, "status")

    assert result.exit_code == 1
    assert "no sidecar answers on the admin port" in result.stderr


async def test_it_names_the_command_for_what_needs_a_person(tmp_path: Path) -> None:
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        w.legacy.answers["/things/1"] = (500, {})
        async with session.put(f"{w.url}/things/1", data=b"x"):
            pass
        await w.delivered()
        shown = await invoke(w, "status")

    assert "1 unknown: see `twinwrite unknown list`" in shown.output
