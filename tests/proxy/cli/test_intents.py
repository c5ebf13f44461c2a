"""`twinwrite intents`: what the journal holds, filtered, as a table and as JSON."""

import json
from pathlib import Path

import aiohttp

from tests.proxy.cli.test_dead import ROUTE, buried
from tests.proxy.cli.test_status import invoke
from tests.proxy.world import world


async def test_it_lists_newest_first_and_filters_by_state_and_route(tmp_path: Path) -> None:
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        w.legacy.answers["/b"] = (500, {})
        for path in ("/a", "/b", "/c"):
            async with session.put(w.url + path, data=b"x"):
                pass
        await w.delivered()
        everything = json.loads((await invoke(w, "intents", "--json")).output)
        unknown = json.loads((await invoke(w, "intents", "--json", "--state", "unknown")).output)
        other = json.loads((await invoke(w, "intents", "--json", "--route", "none")).output)
        table = await invoke(w, "intents")

    assert [row["target"] for row in everything] == ["/c", "/b", "/a"]
    assert [(row["target"], row["primary_status"]) for row in unknown] == [("/b", 500)]
    assert other == []
    assert "unknown" in table.output


async def test_it_filters_by_lane_and_age_and_shows_lanes_and_reason(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1, 2)
        of_lane = json.loads((await invoke(w, "intents", "--json", "--lane", "things:1")).output)
        old = json.loads((await invoke(w, "intents", "--json", "--older-than", "3600")).output)
        new = json.loads((await invoke(w, "intents", "--json", "--older-than", "-3600")).output)
        table = await invoke(w, "intents")

    assert [row["target"] for row in of_lane] == ["/things/1"]
    assert (old, len(new)) == ([], 2)
    assert "things:2" in table.output
    assert "s_rejected" in table.output


async def test_a_missing_journal_is_one_clear_line(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        pass
    (tmp_path / "data" / "journal.db").unlink()
    result = await invoke(w, "intents")

    assert result.exit_code == 1
    assert "journal.db: no such file" in result.stderr
