"""A restart: what a kill -9 leaves, and what the next process makes of it."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.control.tally import Tally
from proxy.store import schema
from proxy.store.batch import StoreError
from proxy.store.intent import Intent, Result
from proxy.store.journal import Journal
from proxy.store.recovery import owed, recover
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
        assert {each.id for each in await journal.owed()} == owed_ids
        assert tally.backlog_bytes == sum(each.bytes for each in await journal.owed())


async def test_what_is_owed_comes_back_in_the_primarys_order(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as journal:
        intents = [await begun(journal, an_intent("x", "y")) for _ in range(5)]
        for place in (3, 0, 4, 2, 1):
            journal.order(intents[place])
            assert await journal.settle(intents[place], Event.PRIMARY_APPLIED, a_reply()) is None
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy) as journal:
        found = await journal.owed()
        assert [each.id for each in found] == [intents[place].id for place in (3, 0, 4, 2, 1)]
        late = await kept(journal, an_intent("x"))
        await written(journal)
        assert [each.id for each in await journal.owed()][-1] == late.id
        assert late.sequence > max(each.sequence for each in found)


@in_both_places
async def test_an_owed_write_comes_back_whole(tmp_path: Path, made: Made) -> None:
    request = a_request("PATCH", "/orders/1?x=%20", b"\x00\xff", "X-A: b\r\n")
    given = an_intent("a", "b", request=request, primary=Side.NEW, category="critical")
    async with opened(tmp_path / "a") as journal:
        intent = await made(journal, given)
        await written(journal)
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy) as journal:
        (found,) = await journal.owed()
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
        attempts = {each.id: each.attempts for each in await journal.owed()}
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
    path = journal.spool_path()
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
        journal.spool_path().write_bytes(b"an upload that was under way")
        (tmp_path / "a" / "spool" / "²").write_bytes(b"not ours")
        done = await settled(journal, spooled(journal))
        journal.sending(done)
        journal.conclude(done, Event.CONFIRM, Result(""))
        await written(journal)
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy) as journal:
        left = sorted(f"spool/{path.name}" for path in (copy / "spool").iterdir())
        assert left == sorted(str(each.spool) for each in kept)
        assert not journal.spool_path().exists()
        (owed_one,) = await journal.owed()
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
        (found,) = await journal.owed()
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
        found = owed(db)
        assert first.backlog_bytes == 7 * len(found)
        assert [each.sequence for each in found] == sorted(each.sequence for each in found)
        before = list(db.iterdump())
        assert recover(db) == first
        assert list(db.iterdump()) == before
