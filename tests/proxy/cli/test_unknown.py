"""`twinwrite unknown`: looked at, and settled by a person."""

import json
from pathlib import Path

import aiohttp
import pytest

from rules.fate import State
from tests.proxy.cli.test_dead import ROUTE
from tests.proxy.cli.test_status import invoke
from tests.proxy.world import World, world

WHO = ("--by", "ada", "--reason", "seen")


async def unknown(w: World, *numbers: int) -> None:
    async with aiohttp.ClientSession() as session:
        for number in numbers:
            w.legacy.answers[f"/things/{number}"] = (500, {})
            async with session.put(f"{w.url}/things/{number}", data=b"x"):
                pass
    await w.delivered()


@pytest.mark.parametrize("running", [True, False])
async def test_they_are_listed_and_shown(tmp_path: Path, running: bool) -> None:
    async def looked() -> tuple[str, str, str]:
        found = await invoke(w, "unknown", "list", "--json", "--lane", "things:2")
        table = await invoke(w, "unknown", "list")
        return found.output, table.output, (await invoke(w, "unknown", "show", "2")).output

    async with world(tmp_path, ROUTE) as w:
        await unknown(w, 1, 2)
        seen = await looked() if running else None
    found, table, shown = seen or await looked()

    assert [row["id"] for row in json.loads(found)] == [2]
    assert "things:1" in table
    assert "(500)" in shown
    assert "PUT /things/2 HTTP/1.1" in shown


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("--applied", State.DONE), ("--rejected", State.P_REJECTED), ("--waive", State.WAIVED)],
)
async def test_a_person_settles_it(tmp_path: Path, outcome: str, state: State) -> None:
    async with world(tmp_path, ROUTE) as w:
        await unknown(w, 1)
        result = await invoke(w, "unknown", "settle", "1", outcome, *WHO)
        await w.delivered()
        again = await invoke(w, "unknown", "settle", "1", outcome, *WHO)

        assert (result.exit_code, again.exit_code) == (0, 0)
        assert "as before" in again.output
        assert w.app.tally.states[state] == 1
        assert len(w.new.seen) == (state is State.DONE)


async def test_one_that_later_writes_overtook_asks_for_out_of_order(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await unknown(w, 1, 1)
        refused = await invoke(w, "unknown", "settle", "1", "--applied", *WHO)
        settled = await invoke(w, "unknown", "settle", "1", "--applied", *WHO, "--out-of-order")

        assert (refused.exit_code, settled.exit_code) == (1, 0)
        assert "went on without it" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [("1", *WHO), ("1", "--applied", "--by", "ada"), ("1", "--applied", "--reason", "x")],
)
async def test_a_wrong_command_line_ends_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with world(tmp_path) as w:
        assert (await invoke(w, "unknown", "settle", *arguments)).exit_code == 2
