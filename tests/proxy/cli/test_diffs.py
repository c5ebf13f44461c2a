"""`twinwrite diffs`: groups, one difference side by side, the request as curl, nothing secret."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from proxy.__main__ import main
from tests.proxy.cli.test_status import invoke
from tests.proxy.world import World, world


@pytest.fixture
async def different(tmp_path: Path) -> AsyncIterator[World]:
    """Two writes whose replies differ in one field each time."""
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        w.legacy.answers["/orders"] = (201, {"total": 10, "state": "open"})
        w.new.answers["/orders"] = (201, {"total": 11, "state": "open"})
        for _ in range(2):
            body = {"password": "hunter2", "n": 1}
            async with session.post(
                f"{w.url}/orders", json=body, headers={"Authorization": "Bearer s3cret"}
            ):
                pass
        await w.delivered()
        yield w


async def test_list_groups_by_route_path_and_kind(different: World) -> None:
    groups = json.loads((await invoke(different, "diffs", "list", "--json")).output)
    table = await invoke(different, "diffs", "list")

    assert [(g["route"], g["path"], g["kind"], g["count"]) for g in groups] == [
        ("default", "/body/total", "value", 2)
    ]
    assert "/body/total" in table.output
    assert f"twinwrite diffs show {groups[0]['sample']}" in table.output


async def test_show_puts_both_sides_side_by_side(different: World) -> None:
    shown = await invoke(different, "diffs", "show", "1")
    found = json.loads((await invoke(different, "diffs", "show", "1", "--json")).output)

    assert "primary (legacy)" in shown.output
    assert found["differences"] == [
        {"path": "/body/total", "kind": "value", "primary": "10", "secondary": "11"}
    ]
    assert (found["primary"]["side"], found["secondary"]["side"]) == ("legacy", "new")
    assert found["request"]["method"] == "POST"


async def test_curl_is_a_command_without_secrets(different: World) -> None:
    result = await invoke(different, "diffs", "curl", "1", "--side", "legacy")

    assert result.output.startswith("curl -i ")
    assert " -X POST http://127.0.0.1:" in result.output
    assert "hunter2" not in result.output
    assert "s3cret" not in result.output
    assert "redacted:" in result.output


async def test_nothing_secret_is_in_the_ledger_file(different: World) -> None:
    await different.app.stop()
    written = b"".join(
        path.read_bytes() for path in (different.config.parent / "data").glob("ledger*")
    )

    assert b"total" in written
    assert b"hunter2" not in written
    assert b"s3cret" not in written


async def test_an_unknown_sample_is_one_clear_line(different: World) -> None:
    result = await invoke(different, "diffs", "show", "99")

    assert result.exit_code == 1
    assert "no comparison 99 in the ledger" in result.stderr


async def test_without_a_verb_it_lists(different: World) -> None:
    bare = await invoke(different, "diffs")
    filtered = await invoke(different, "diffs", "--class", "missing", "--json")

    assert "/body/total" in bare.output
    assert json.loads(filtered.output) == []


@pytest.mark.parametrize(
    "verb", ["", "list", "show", "search", "stats", "suggest", "rules", "export", "curl"]
)
def test_help_has_examples(verb: str) -> None:
    result = CliRunner().invoke(main, ["diffs", *verb.split(), "--help"])

    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert f"twinwrite diffs {verb}".strip() in result.output


def test_an_unknown_verb_is_a_wrong_command_line() -> None:
    assert CliRunner().invoke(main, ["diffs", "forget"]).exit_code == 2
    assert CliRunner().invoke(main, ["diffs", "--colour"]).exit_code == 2
