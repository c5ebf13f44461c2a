"""A restart: what a kill -9 leaves, and what the next process makes of it."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from proxy.control.tally import Tally
from proxy.store import reader, schema
from proxy.store.batch import StoreError
from proxy.store.intent import Damaged, Intent, Result
from proxy.store.journal import Journal
from proxy.store.recovery import DAMAGED_IDS, recover, standing
from rules.fate import CLOSED, OWED, RECOVERY, TRANSITIONS, Event, State
from rules.message import Request, Side
from tests.proxy.samples import (
    Clock,
    a_reply,
    a_request,
    an_intent,
    begun,
    crashed,
    kept,
    opened,
    rows,
    settled,
    written,
)

Made = Callable[..., Awaitable[Intent]]

in_both_places = pytest.mark.parametrize("made", [settled, kept], ids=["in the log", "in a row"])


async def in_every_state(journal: Journal, made: Made) -> dict[State, Intent]:
    """An intent in each state that it can have on disk."""
    found = {State.P_SENT: await begun(journal, an_intent("p_sent"))}
    if made is kept:
        journal.keep(found[State.P_SENT])
    moves: dict[State, tuple[Event, ...]] = {
        State.S_PENDING: (),
        State.S_SENT: (Event.SEND,),
        State.DONE: (Event.SEND, Event.CONFIRM),
        State.PARKED: (Event.PARK,),
        State.DEAD: (Event.BURY,),
        State.WAIVED: (Event.BURY, Event.WAIVE),
        State.SUPERSEDED: (Event.SUPERSEDE,),
    }
    for state, events in moves.items():
        intent = found[state] = await made(journal, an_intent(state))
        for event in events:
            if event is Event.SEND:
                journal.sending(intent)
                journal.note_sent(intent)
            else:
                journal.conclude(intent, event, Result(state))
        assert intent.state is state
    rejected = Event.PRIMARY_REJECTED
    found[State.P_REJECTED] = await made(journal, an_intent("r"), rejected, a_reply(400))
    unknown = await made(journal, an_intent("u"), Event.PRIMARY_UNKNOWN, a_reply(500))
    found[State.UNKNOWN] = unknown
    await written(journal)
    return found


@in_both_places
async def test_every_state_survives_a_kill_as_itself_or_as_the_table_says(
    tmp_path: Path, made: Made
) -> None:
    tally = Tally()
    async with opened(tmp_path / "a") as journal:
        before = await in_every_state(journal, made)
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy, tally) as journal:
        found = rows(journal.writer.path, "SELECT id, state FROM intents")
        after = {row["id"]: row["state"] for row in found}
        for state, intent in before.items():
            event = RECOVERY.get(state)
            expected = state if event is None else TRANSITIONS[state, event]
            assert after.get(intent.id) == (None if state in CLOSED else expected), state
        assert tally.accepted == len(before)
        assert tally.holds()
        owed_ids = {before[state].id for state in (*OWED, *RECOVERY) if state in before}
        owed_ids -= {before[State.P_SENT].id}
        assert {each.id for each in await journal.standing(OWED)} == owed_ids
        assert tally.backlog_bytes == sum(each.bytes for each in await journal.standing(OWED))


async def test_what_is_owed_comes_back_in_the_primarys_order(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as journal:
        intents = [await begun(journal, an_intent("x", "y")) for _ in range(5)]
        for place in (3, 0, 4, 2, 1):
            journal.order(intents[place])
            assert await journal.settle(intents[place], Event.PRIMARY_APPLIED, a_reply()) is None
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy) as journal:
        found = await journal.standing(OWED)
        assert [each.id for each in found] == [intents[place].id for place in (3, 0, 4, 2, 1)]
        late = await kept(journal, an_intent("x"))
        await written(journal)
        assert [each.id for each in await journal.standing(OWED)][-1] == late.id
        assert late.sequence > max(each.sequence for each in found)


@in_both_places
async def test_what_a_start_found_is_as_its_rows_say_and_is_handed_out_once(
    tmp_path: Path, made: Made
) -> None:
    async with opened(tmp_path / "a") as journal:
        await in_every_state(journal, made)
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy) as journal:
        for states in (OWED | {State.DEAD}, {State.UNKNOWN}):
            taken, seen = journal.take(states), await journal.standing(states)
            assert [structs.asdict(each) | {"since": 0} for each in taken] == [
                structs.asdict(each) | {"since": 0} for each in seen
            ]
            assert taken
            assert journal.take(states) == []


@in_both_places
async def test_an_owed_write_comes_back_whole(tmp_path: Path, made: Made) -> None:
    request = a_request("PATCH", "/orders/1?x=%20", b"\x00\xff", "X-A: b\r\n")
    given = an_intent("a", "b", request=request, primary=Side.NEW, category="critical")
    async with opened(tmp_path / "a") as journal:
        intent = await made(journal, given)
        await written(journal)
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy) as journal:
        (found,) = await journal.standing(OWED)
        assert await journal.load(found) == (request, a_reply())
        names = ("id", "route", "category", "stage", "primary", "lanes", "method", "target")
        for name in (*names, "received_at", "sequence", "bytes", "state", "reason", "spool"):
            assert getattr(found, name) == getattr(intent, name), name
        assert (found.request, found.reply) == (None, None)


async def test_a_try_that_was_not_recorded_counts_as_made(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as journal:
        unsent = await settled(journal, an_intent("a"))
        sent = await settled(journal, an_intent("b"))
        for _ in range(3):
            journal.sending(sent)
            journal.conclude(sent, Event.RETRY, Result("reset"))
        journal.sending(sent)
        await written(journal)
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy) as journal:
        attempts = {each.id: each.attempts for each in await journal.standing(OWED)}
        assert attempts == {unsent.id: 1, sent.id: 3}


async def test_totals_are_kept_over_restarts(tmp_path: Path) -> None:
    clock = Clock()
    for run in range(1, 4):
        tally = Tally()
        async with opened(tmp_path, tally, clock, done_hold_seconds=float(run % 2)) as journal:
            assert tally.states[State.DONE] == run - 1
            intent = await settled(journal, an_intent("a"))
            journal.sending(intent)
            journal.conclude(intent, Event.CONFIRM, Result(""))
            journal.sweep()
            await written(journal)
            assert (tally.states[State.DONE], tally.accepted) == (run, run)
            assert tally.holds()


async def test_ids_go_on_after_everything_was_removed(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await settled(journal, an_intent("a"), Event.PRIMARY_REJECTED, a_reply(400))
    async with opened(tmp_path) as journal:
        assert rows(journal.writer.path, "SELECT id FROM intents") == []
        assert (await begun(journal, an_intent("a"))).id == 2


def spooled(journal: Journal) -> Intent:
    path = journal.spools.next()
    path.write_bytes(b"body")
    request = Request(
        method="PUT", target="/a", head=b"PUT /a HTTP/1.1\r\nHost: a\r\n\r\n",
        spool=str(path), body_bytes=4,
    )  # fmt: skip
    return an_intent("a", request=request, spool=f"spool/{path.name}")


async def test_bodies_of_known_writes_are_kept_and_others_removed(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as journal:
        kept = [await settled(journal, spooled(journal))]
        kept.append(await begun(journal, spooled(journal)))
        journal.spools.next().write_bytes(b"an upload that was under way")
        (tmp_path / "a" / "spool" / "²").write_bytes(b"not ours")
        done = await settled(journal, spooled(journal))
        journal.sending(done)
        journal.conclude(done, Event.CONFIRM, Result(""))
        await written(journal)
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy) as journal:
        left = sorted(f"spool/{path.name}" for path in (copy / "spool").iterdir())
        assert left == sorted(str(each.spool) for each in kept)
        assert not journal.spools.next().exists()
        (owed_one,) = await journal.standing(OWED)
        request, _ = await journal.load(owed_one)
        assert Path(request.spool or "").read_bytes() == b"body"


async def test_a_kill_before_done_is_durable_leaves_the_body_to_be_sent_again(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "a") as journal:
        intent = await settled(journal, spooled(journal))
        journal.sending(intent)
        journal.conclude(intent, Event.CONFIRM, Result(""))
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy) as journal:
        (found,) = await journal.standing(OWED)
        request, _ = await journal.load(found)
        assert Path(request.spool or "").read_bytes() == b"body"


async def test_a_spool_directory_with_a_directory_in_it_is_refused_clearly(tmp_path: Path) -> None:
    (tmp_path / "spool" / "7").mkdir(parents=True)
    for _ in range(2):  # and it lets go of the lock
        with pytest.raises(StoreError, match="spool/7"):
            async with opened(tmp_path):
                pass


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([each for each in State if each is not State.RECEIVED]),
            st.integers(0, 9),
        ),
        max_size=20,
    )
)
def test_recovery_counts_every_write_once_and_a_second_restart_changes_nothing(
    written: list[tuple[State, int]],
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(schema.JOURNAL.script)
        for number, (state, sequence) in enumerate(written, 1):
            db.execute(
                "INSERT INTO intents (id, state, route, category, stage, primary_side, lanes, sequence,"
                " method, target, received_at, changed_at, bytes)"
                " VALUES (?, ?, 'r', 'c', 's', 'legacy', '[]', ?, 'PUT', '/', 0, 0, 7)",
                (number, state, sequence),
            )
        db.commit()
        first = recover(db)
        assert sum(first.states.values()) == len(written)
        assert first.states[State.P_SENT] == first.states[State.S_SENT] == 0
        assert first.next_id == len(written) + 1
        found = standing(db, OWED)
        assert first.backlog_bytes == 7 * len(found)
        assert [each.sequence for each in found] == sorted(each.sequence for each in found)
        before = list(db.iterdump())
        assert recover(db) == first
        assert list(db.iterdump()) == before


async def damaged(directory: Path, place: int) -> int:
    """A journal with five transactions in its log, the one at `place` damaged; how many rows it has."""
    async with opened(directory / "a") as journal:
        first = await settled(journal, an_intent("a"))
        second = await begun(journal, an_intent("b"))
        journal.sending(first)
        journal.conclude(first, Event.CONFIRM, Result(""))
        await written(journal)
        assert await journal.settle(second, Event.PRIMARY_REJECTED, a_reply(400)) is None
        copy = crashed(directory / "a", directory / "b")
    with closing(sqlite3.connect(copy / "journal.db")) as db:
        found = db.execute("SELECT id, records FROM log ORDER BY id").fetchall()
        number, records = found[place]
        changed = records[:9] + bytes((records[9] ^ 64,)) + records[10:]
        db.execute("UPDATE log SET records = ? WHERE id = ?", (changed, number))
        db.commit()
    return len(found)


@pytest.mark.parametrize(
    ("place", "states"),
    [
        (0, {"p_rejected": 1}),  # where the first one began: nobody can tell what became of it
        (1, {"done": 1, "p_rejected": 1}),  # where its outcome stood: it is done all the same
        (2, {"done": 1}),  # where the second one began
        (3, {"s_pending": 1, "p_rejected": 1}),  # where it was done: it is sent again
        (4, {"done": 1, "unknown": 1}),
    ],
)
async def test_what_a_damaged_row_of_the_log_told_is_not_believed_and_it_is_counted(
    tmp_path: Path, place: int, states: dict[str, int]
) -> None:
    assert await damaged(tmp_path, place) == 5
    tally = Tally()
    assert reader.states(tmp_path / "b") in (
        {"p_sent" if state == "unknown" else state: count for state, count in states.items()},
        states,
    )
    async with opened(tmp_path / "b", tally) as journal:
        found = {state.value: count for state, count in tally.states.items() if count}
        assert found == states
        assert tally.journal_errors == 1
        assert tally.holds()
        fresh = await begun(journal, an_intent("c"))
        assert fresh.id > DAMAGED_IDS  # an id that stood there is not used again
    tally = Tally()
    async with opened(tmp_path / "b", tally):  # it is told once
        assert tally.journal_errors == 0


async def test_an_owed_write_whose_outcome_is_damaged_is_owed_and_cannot_be_sent(
    tmp_path: Path,
) -> None:
    """The row where its reply stood is damaged, a later one is not: a person decides."""
    async with opened(tmp_path / "a") as journal:
        intent = await settled(journal, an_intent("a"))
        journal.sending(intent)
        journal.conclude(intent, Event.RETRY, Result("status_503"))
        await written(journal)
        copy = crashed(tmp_path / "a", tmp_path / "b")
    with closing(sqlite3.connect(copy / "journal.db")) as db:
        db.execute("UPDATE log SET digest = zeroblob(16) WHERE id = 2")
        db.commit()
    async with opened(copy) as journal:
        (found,) = await journal.standing(OWED)
        assert found.id == intent.id
        with pytest.raises(Damaged, match="gone"):
            await journal.load(found)


async def test_sequence_numbers_go_on_after_everything_was_removed(tmp_path: Path) -> None:
    for run in range(3):
        async with opened(tmp_path) as journal:
            for count, made in enumerate((settled, kept), 1):
                intent = await made(journal, an_intent("a"))
                assert intent.sequence == 2 * run + count
                journal.sending(intent)
                journal.conclude(intent, Event.CONFIRM, Result(""))
