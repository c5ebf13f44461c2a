"""`twinwrite dead`: looked at while the sidecar runs and when it does not; acted upon while it runs."""

import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import Result

from rules.fate import State
from tests.proxy.cli.test_status import invoke
from tests.proxy.samples import until
from tests.proxy.world import World, world

ROUTE = """
[[routes]]
name = "things"
path = "/things/{id}"
entity_key = ["path:id"]
"""


async def buried(w: World, *numbers: int, body: bytes = b'{"a": 1}') -> None:
    """Dead letters of these things, in this order."""
    async with aiohttp.ClientSession() as session:
        for number in numbers:
            before = w.app.tally.states[State.DEAD]
            w.new.answers[f"/things/{number}"] = (422, {})
            url = f"{w.url}/things/{number}"
            headers = {"Authorization": "Bearer me", "Content-Type": "application/json"}
            async with session.put(url, data=body, headers=headers):
                pass
            await until(lambda b=before: w.app.tally.states[State.DEAD] > b)  # type: ignore[misc]
    await w.delivered()


async def put(w: World, number: int, body: bytes) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{w.url}/things/{number}", data=body),
    ):
        pass


def healthy(w: World) -> None:
    w.new.answers.clear()


def documents(result: Result) -> Any:  # noqa: ANN401 - JSON
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


@pytest.mark.parametrize("running", [True, False])
async def test_letters_are_listed_and_shown_with_what_waits_behind_them(
    tmp_path: Path, running: bool
) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1, 2)
        await put(w, 1, b"later")
        await put(w, 1, b"still later")
        seen = await looked(w) if running else None
    found, shown, text = seen or await looked(w)

    assert [row["target"] for row in found] == ["/things/2", "/things/1"]
    assert (shown["holds_lane"], shown["waiting_behind"]) == (True, 2)
    assert shown["request"]["body"] == '{"a": 1}'
    assert ["authorization", "Bearer me"] in shown["request"]["headers"]
    assert "s_rejected (422)" in text
    assert '{"a": 1}' in text
    assert "things:1" in text


async def looked(w: World) -> tuple[Any, Any, str]:
    found = documents(await invoke(w, "dead", "list", "--json"))
    shown = documents(await invoke(w, "dead", "show", "1", "--json"))
    return found, shown, (await invoke(w, "dead", "show", "1")).output


async def test_a_list_can_be_narrowed(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1, 2)
        for arguments, targets in (
            (["--lane", "things:1"], ["/things/1"]),
            (["--route", "things", "--limit", "1"], ["/things/2"]),
            (["--reason", "rejected"], ["/things/2", "/things/1"]),
            (["--reason", "age"], []),
            (["--older-than", "3600"], []),
        ):
            found = documents(await invoke(w, "dead", "list", "--json", *arguments))
            assert [row["target"] for row in found] == targets
        assert "s_rejected" in (await invoke(w, "dead", "list")).output


async def test_retried_by_id_and_by_route(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1, 2, 3)
        healthy(w)
        told = documents(await invoke(w, "dead", "retry", "1", "--json"))
        every = await invoke(w, "dead", "retry", "--all", "--route", "things")
        await w.delivered()
        nothing = await invoke(w, "dead", "retry", "--all")

        assert [each["id"] for each in told["changed"]] == [1]
        assert every.output.count("\n") == 2
        assert w.app.tally.states[State.DONE] == 3
        assert (nothing.exit_code, nothing.output) == (0, "")


async def test_what_is_refused_is_told_and_ends_with_1(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1)
        result = await invoke(w, "dead", "retry", "1", "77")

        assert result.exit_code == 1
        assert "77: the journal has no such intent that is dead" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("retry",),
        ("retry", "1", "--all"),
        ("retry", "1", "--route", "things"),
        ("waive", "1", "--by", "ada"),
        ("waive", "--by", "ada", "--reason", "x"),
        ("export",),
        ("export", "--ndjson", "a", "--http", "b"),
    ],
)
async def test_a_wrong_command_line_ends_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with world(tmp_path) as w:
        assert (await invoke(w, "dead", *arguments)).exit_code == 2


async def test_a_letter_is_waived_by_name_and_reason(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1)
        result = await invoke(w, "dead", "waive", "1", "--by", "ada", "--reason", "old")
        again = await invoke(w, "dead", "waive", "1", "--by", "ada", "--reason", "old")

        assert (result.output, again.output) == ("1: waived\n", "1: waived, as before\n")
        assert (result.exit_code, again.exit_code) == (0, 0)


async def test_a_letter_is_edited_by_options(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1)
        healthy(w)
        (tmp_path / "body").write_bytes(b"\xff\0")
        result = await invoke(
            w, "dead", "edit", "1", "--target", "/things/9", "--set-header", "X-Fixed: 1",
            "--body-file", str(tmp_path / "body"), "--by", "ada",
        )  # fmt: skip
        await w.delivered()

        assert result.exit_code == 0
        assert w.new.seen[-1] == ("PUT", "/things/9", b"\xff\0")


async def test_a_letter_is_edited_in_an_editor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/"a": 1/"a": 2/\' "$1"\n')
    editor.chmod(0o700)
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1)
        healthy(w)
        monkeypatch.setenv("VISUAL", "true")
        untouched = await invoke(w, "dead", "edit", "1")
        monkeypatch.setenv("VISUAL", str(editor))
        result = await invoke(w, "dead", "edit", "1")
        await w.delivered()

        assert (untouched.exit_code, result.exit_code) == (1, 0)
        assert "not saved" in untouched.stderr
        assert w.new.seen[-1] == ("PUT", "/things/1", b'{"a": 2}')


async def test_a_header_that_is_none_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1)
        result = await invoke(w, "dead", "edit", "1", "--set-header", "X-Fixed")
        bad = await invoke(w, "dead", "edit", "1", "--target", "no target")

        assert (result.exit_code, bad.exit_code) == (2, 1)
        assert w.app.tally.states[State.DEAD] == 1


async def test_letters_are_exported_for_the_owner_only(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1)
        await buried(w, 2, body=b"\xff")
    lines, folder = tmp_path / "dead.ndjson", tmp_path / "dead"
    result = await invoke(w, "dead", "export", "--ndjson", str(lines))
    raw = await invoke(w, "dead", "export", "--http", str(folder))
    again = await invoke(w, "dead", "export", "--http", str(folder), "--route", "none")
    shown = await invoke(w, "dead", "export", "--ndjson", "-")

    assert "not redacted" in result.stderr
    assert (raw.exit_code, again.exit_code) == (0, 0)
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [each["intent"]["id"] for each in found] == [1, 2]
    assert base64.b64decode(found[1]["request"]["body_base64"]) == b"\xff"
    assert shown.stdout == lines.read_text()
    head, _, body = (folder / "1.http").read_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /things/1 HTTP/1.1\r\n")
    assert b"Authorization: Bearer me" in head
    assert body == b'{"a": 1}'
    for path in (lines, *folder.iterdir()):
        assert path.stat().st_mode & 0o777 == 0o600


async def test_an_encrypted_letter_is_read_and_edited_with_the_key_of_the_config(
    tmp_path: Path,
) -> None:
    pytest.importorskip("cryptography")
    (tmp_path / "key").write_text("00" * 32)
    key = f'encryption_key_file = "{tmp_path}/key"\n'
    async with world(tmp_path, key + ROUTE) as w:
        await buried(w, 1)
        shown = documents(await invoke(w, "dead", "show", "1", "--json"))
        healthy(w)
        edited = await invoke(w, "dead", "edit", "1", "--set-header", "X: 1")
        await w.delivered()
        w.config.write_text(w.config.read_text().replace(key, ""))
        await buried(w, 2)
        without = documents(await invoke(w, "dead", "show", "2", "--json"))

        assert shown["request"]["body"] == '{"a": 1}'
        assert edited.exit_code == 0
        assert w.app.tally.states[State.DONE] == 1
        assert without["request"] is None
        assert "encrypted" in without["trouble"]


async def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1)
        result = await invoke(w, "dead", "export", "--ndjson", str(tmp_path / "none" / "file"))

        assert result.exit_code == 1
        assert "No such file or directory" in result.stderr


async def test_without_a_sidecar_there_is_one_clear_line(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await buried(w, 1)
    for arguments in (
        ("retry", "1"),
        ("edit", "1", "--target", "/things/2"),
        ("waive", "1", "--by", "ada", "--reason", "x"),
    ):
        result = await invoke(w, "dead", *arguments)
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert "no sidecar answers on the admin port" in result.stderr


async def test_what_is_not_there_or_not_dead_is_one_clear_line(tmp_path: Path) -> None:
    async with world(tmp_path, ROUTE) as w:
        await put(w, 1, b"x")
        gone = await invoke(w, "dead", "show", "77")
        await w.delivered()
        done = await invoke(w, "dead", "show", "1")

        assert "no intent 77 in the journal" in gone.stderr
        assert "intent 1 is done, not dead" in done.stderr
