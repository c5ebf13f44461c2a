"""The reader: what the command line sees of the journal, also while a sidecar runs."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.store import reader
from proxy.store.batch import StoreError
from proxy.store.intent import Result
from proxy.store.journal import Journal
from rules.fate import Event
from tests.proxy.samples import (
    Clock,
    a_reply,
    a_request,
    an_intent,
    begun,
    kept,
    opened,
    settled,
    written,
)


async def some_intents(journal: Journal, *, with_row: bool = False) -> None:
    """1 owed, 2 dead, 3 at the primary, 4 rejected; `with_row`: 1 and 2 have rows of their own."""
    made = kept if with_row else settled
    await made(journal, an_intent("a", "b"))
    dead = await made(journal, an_intent("a", route="notes", request=a_request("POST", "/n")))
    journal.sending(dead)
    journal.conclude(dead, Event.BURY, Result("s_rejected", "mismatch", 422))
    await begun(journal, an_intent())
    await settled(journal, an_intent(), Event.PRIMARY_REJECTED, a_reply(400))
    await written(journal)


in_both_places = pytest.mark.parametrize("with_row", [False, True])


@in_both_places
@pytest.mark.parametrize("running", [True, False])
async def test_intents_come_newest_first_without_their_payloads(
    tmp_path: Path, running: bool, with_row: bool
) -> None:
    async with opened(tmp_path) as journal:
        await some_intents(journal, with_row=with_row)
        found = reader.intents(tmp_path)
    if not running:
        found = reader.intents(tmp_path)
    assert [(each["id"], each["state"]) for each in found] == [
        (4, "p_rejected"), (3, "p_sent"), (2, "dead"), (1, "s_pending"),
    ]  # fmt: skip
    assert (found[3]["lanes"], found[2]["lanes"]) == (["a", "b"], ["a"])
    assert (found[2]["reason"], found[2]["secondary_status"]) == ("s_rejected", 422)
    assert not {"payload", "digest", "reply"} & set(found[0])


@in_both_places
@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"states": ("dead",)}, [2]),
        ({"states": ("dead", "s_pending")}, [2, 1]),
        ({"states": ("done",)}, []),
        ({"route": "notes"}, [2]),
        ({"states": ("dead",), "route": "orders"}, []),
        ({"limit": 2}, [4, 3]),
        ({"route": "orders' OR 1 --"}, []),
    ],
)
async def test_intents_can_be_chosen(
    tmp_path: Path, wanted: dict[str, object], ids: list[int], with_row: bool
) -> None:
    async with opened(tmp_path) as journal:
        await some_intents(journal, with_row=with_row)
        assert [each["id"] for each in reader.intents(tmp_path, **wanted)] == ids  # type: ignore[arg-type]


@in_both_places
async def test_states_count_what_was_removed_too(tmp_path: Path, with_row: bool) -> None:
    async with opened(tmp_path) as journal:
        await some_intents(journal, with_row=with_row)
        before = {"dead": 1, "p_rejected": 1, "p_sent": 1, "s_pending": 1}
        assert reader.states(tmp_path) == before
    async with opened(tmp_path):
        after = {"dead": 1, "p_rejected": 1, "s_pending": 1, "unknown": 1}
        assert reader.states(tmp_path) == after


async def test_what_a_row_and_the_log_tell_of_an_intent_is_alike(tmp_path: Path) -> None:
    async with opened(tmp_path / "log") as journal:
        await some_intents(journal)
    async with opened(tmp_path / "row") as journal:
        await some_intents(journal, with_row=True)
    assert reader.intents(tmp_path / "log") == reader.intents(tmp_path / "row")


async def test_an_intent_is_told_of_once_while_it_moves_from_the_log_to_a_row(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock, done_hold_seconds=0.0) as journal:
        await some_intents(journal)
        counts = reader.states(tmp_path)
        for _ in range(6):
            found = [each["id"] for each in reader.intents(tmp_path)]
            assert found in ([4, 3, 2, 1], [3, 2, 1])
            assert reader.states(tmp_path) == counts
            clock.forward(1)
            journal.sweep()
            await written(journal)
        assert [each["id"] for each in reader.intents(tmp_path)] == [3, 2, 1]


@pytest.mark.parametrize("name", ["a b", "100%41", "what?mode=rwc", "a#b", "é"])
async def test_any_directory_name_will_do(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path / name) as journal:
        await some_intents(journal)
        assert len(reader.intents(tmp_path / name)) == 4


async def test_a_relative_directory_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(Path("data")) as journal:
        await some_intents(journal)
        assert len(reader.intents(Path("data"))) == 4


def test_a_directory_without_a_journal_is_one_clear_line(tmp_path: Path) -> None:
    for look in (reader.intents, reader.states):
        with pytest.raises(StoreError, match="no such file; has a sidecar run with this journal"):
            look(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_a_file_that_is_no_journal_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal.db").write_bytes(content)
    with pytest.raises(StoreError, match=r"journal\.db") as caught:
        reader.intents(tmp_path)
    assert "\n" not in str(caught.value)


async def test_a_reader_does_not_write(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await some_intents(journal)
    before = (tmp_path / "journal.db").read_bytes()
    reader.intents(tmp_path)
    assert (tmp_path / "journal.db").read_bytes() == before
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@in_both_places
async def test_intents_can_be_chosen_by_lane_reason_and_age(tmp_path: Path, with_row: bool) -> None:
    async with opened(tmp_path) as journal:
        await some_intents(journal, with_row=with_row)
        await settled(journal, an_intent("b", received_at=1_800_000_100.0))
        await written(journal)

        def ids(**only: object) -> list[int]:
            found = reader.intents(tmp_path, only=reader.Only(**only))  # type: ignore[arg-type]
            return [each["id"] for each in found]

        assert ids(lane="a") == [2, 1]
        assert ids(lane="b") == [5, 1]
        assert ids(reason="rejected") == [2]
        assert ids(before=1_800_000_050.0) == [4, 3, 2, 1]
        assert ids(lane="b", before=1_800_000_050.0) == [1]


@in_both_places
async def test_a_letter_has_its_request_as_it_was_journaled(tmp_path: Path, with_row: bool) -> None:
    async with opened(tmp_path) as journal:
        await some_intents(journal, with_row=with_row)
        found = reader.letter(tmp_path, 2)

    assert found is not None
    assert (found.request, found.trouble) == (a_request("POST", "/n"), "")
    assert (found.intent["reason"], found.intent["lanes"]) == ("s_rejected", ["a"])
    assert reader.letter(tmp_path, 7) is None


async def test_a_letter_that_is_damaged_or_removed_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await some_intents(journal, with_row=True)
        for sql, trouble in (
            ("UPDATE intents SET digest = x'00'", "digest differs"),
            ("UPDATE intents SET payload = NULL", "is removed"),
        ):
            await journal.writer.call(lambda db, sql=sql: db.execute(sql))  # type: ignore[misc]
            found = reader.letter(tmp_path, 2)
            assert found is not None
            assert found.request is None
            assert trouble in found.trouble


@in_both_places
async def test_what_is_owed_stands_in_the_primarys_order_with_what_it_waits_for(
    tmp_path: Path, with_row: bool
) -> None:
    async with opened(tmp_path) as journal:
        await some_intents(journal, with_row=with_row)
        made = kept if with_row else settled
        for lanes in (("a",), ("^a",), ("c",)):
            await made(journal, an_intent(*lanes))
        await written(journal)
        found = reader.standing(tmp_path)
        letter = reader.letter(tmp_path, 2)

        assert [(each["id"], each["state"]) for each in found] == [
            (1, "s_pending"), (2, "dead"), (5, "s_pending"), (6, "s_pending"), (7, "s_pending"),
        ]  # fmt: skip
        assert letter is not None
        assert reader.waiting_behind(tmp_path, letter.intent) == 2
        assert (reader.stuck(found, blocks=True), reader.stuck(found, blocks=False)) == (2, 0)
