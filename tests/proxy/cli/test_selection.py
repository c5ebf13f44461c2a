"""What the lists of intents have in common."""

import json
from pathlib import Path

import pytest

from proxy.cli.selection import only_of, print_selected, selected
from rules.fate import Event, State
from tests.proxy.samples import an_intent, opened, settled, written


def test_older_than_counts_back_from_now() -> None:
    assert only_of(older_than=0.0).before < only_of().before


async def test_the_latest_of_the_states_that_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(tmp_path) as journal:
        owed = await settled(journal, an_intent("a"))
        unknown = await settled(journal, an_intent("b"), Event.PRIMARY_UNKNOWN)
        await written(journal)
        assert [each["id"] for each in selected(tmp_path, (), "")] == [unknown.id, owed.id]
        found = selected(tmp_path, (State.UNKNOWN,), "")
        assert [each["id"] for each in found] == [unknown.id]
    print_selected(found, as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["state"] == "unknown"


def test_a_journal_that_is_not_there_ends_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        selected(tmp_path, (), "")
    assert "no such file" in capsys.readouterr().err
