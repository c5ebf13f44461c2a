"""The journal: what is durable when, the law at every step, disks that are full, and whose lock it is."""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from proxy.control.owed import Confirm
from proxy.control.tally import Tally
from proxy.store import reader
from proxy.store.batch import StoreError
from proxy.store.intent import Damaged, Identity, Intent, Result
from proxy.store.journal import Journal
from rules.fate import CLOSED, OWED, Event, State
from rules.message import Cause, Failure, Request, Side
from rules.route import Skip
from tests.proxy.samples import (
    Clock,
    a_reply,
    a_request,
    an_intent,
    begun,
    disk_broken,
    disk_full,
    journaled,
    kept,
    opened,
    rows,
    settled,
    until,
    written,
)

ENDS: dict[Event, tuple[int | Cause, State]] = {
    Event.PRIMARY_APPLIED: (201, State.S_PENDING),
    Event.PRIMARY_REJECTED: (422, State.P_REJECTED),
    Event.PRIMARY_UNKNOWN: (Cause.TIMEOUT, State.UNKNOWN),
    Event.PRIMARY_NOT_REACHED: (Cause.REFUSED, State.NOT_SENT),
}


def outcome_of(event: Event) -> object:
    word = ENDS[event][0]
    if isinstance(word, Cause):
        return Failure(cause=word, sent=word is Cause.TIMEOUT, detail="why")
    return a_reply(word)


Made = Callable[..., Awaitable[Intent]]

in_both_places = pytest.mark.parametrize("made", [settled, kept], ids=["in the log", "in a row"])


def on_disk(journal: Journal) -> dict[int, str]:
    return {number: str(each["state"]) for number, each in journaled(journal.directory).items()}


def column(journal: Journal, intent: Intent, name: str) -> object:
    return journaled(journal.directory)[intent.id][name]


def in_rows(journal: Journal) -> list[int]:
    return [row["id"] for row in rows(journal.writer.path, "SELECT id FROM intents ORDER BY id")]


async def delivered(journal: Journal, intent: Intent) -> Intent:
    journal.sending(intent)
    journal.conclude(intent, Event.CONFIRM, Result("", "match", 201))
    return intent


def spooled(journal: Journal, body: bytes = b"long body") -> Request:
    path = journal.spools.next()
    path.write_bytes(body)
    return Request(
        method="PUT", target="/a", head=b"PUT /a HTTP/1.1\r\nHost: a\r\n\r\n",
        spool=str(path), body_bytes=len(body),
    )  # fmt: skip


def spooled_intent(journal: Journal) -> Intent:
    request = spooled(journal)
    return an_intent("a", request=request, spool=f"spool/{Path(request.spool or '').name}")


# durable when it returns


async def test_a_write_is_on_disk_before_the_primary_can_have_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = an_intent("a", "b", request=a_request("POST", "/orders?x=1", b"{}"))
        await begun(journal, intent)
        (row,) = journaled(tmp_path).values()
        assert (row["id"], row["state"], row["lanes"]) == (intent.id, "p_sent", ("a", "b"))
        assert (row["method"], row["target"], row["sequence"]) == ("POST", "/orders?x=1", 0)
        assert len(row["digest"]) == 16
        assert row["bytes"] == intent.bytes == len(row["payload"])


@in_both_places
@pytest.mark.parametrize("event", ENDS)
async def test_an_outcome_is_on_disk_before_the_client_is_answered(
    tmp_path: Path, event: Event, made: Made
) -> None:
    async with opened(tmp_path) as journal:
        intent = await made(journal, an_intent("a"), event, outcome_of(event))
        (row,) = journaled(tmp_path).values()
        word, state = ENDS[event]
        assert row["state"] == intent.state == state
        assert row["primary_status"] == (0 if isinstance(word, Cause) else word)
        assert row["reason"] == (f"{word}: why" if isinstance(word, Cause) else "")
        assert (row["reply"] is not None) == (state in OWED)
        assert (row["payload"] is None) == (state in CLOSED and made is kept)


async def test_behind_means_that_the_client_does_not_wait_for_the_outcome(tmp_path: Path) -> None:
    async with opened(tmp_path, confirm=Confirm.BEHIND) as journal:
        intent = await settled(journal, an_intent("a"))
        assert intent.state is State.S_PENDING
        assert len(journal.writer) == 1
        assert on_disk(journal) == {1: "p_sent"}
        await written(journal)
        assert on_disk(journal) == {1: "s_pending"}


async def test_many_writes_share_a_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await asyncio.gather(*(begun(journal, an_intent(f"{n}")) for n in range(100)))
        assert journal.writer.commits == 1
        assert set(on_disk(journal)) == set(range(1, 101))
        assert len(rows(journal.writer.path, "SELECT * FROM log")) == 1


@in_both_places
async def test_the_background_is_written_behind_and_in_order(tmp_path: Path, made: Made) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock) as journal:
        intent = await made(journal, an_intent("a"))
        for attempt in range(1, 4):
            clock.forward(1)
            journal.sending(intent)
            intent.due_at = clock() + attempt
            journal.conclude(intent, Event.RETRY, Result(f"status_50{attempt}", "", 500 + attempt))
        await written(journal)
        (row,) = journaled(tmp_path).values()
        assert (row["state"], row["attempts"], row["reason"]) == ("s_pending", 3, "status_503")
        assert (row["due_at"], row["changed_at"]) == (clock() + 3, clock())
        assert row["secondary_status"] == 503
        assert row["payload"] is not None


async def test_a_try_that_lasts_is_noted(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await kept(journal, an_intent("a"))
        journal.sending(intent)
        journal.note_sent(intent)
        await written(journal)
        assert on_disk(journal) == {1: "s_sent"}
        assert column(journal, intent, "attempts") == 1


async def test_a_try_that_ends_before_its_intent_has_a_row_is_not_noted(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await settled(journal, an_intent("a"))
        journal.sending(intent)
        journal.note_sent(intent)
        assert len(journal.writer) == 0


@in_both_places
async def test_a_done_write_stays_for_a_while_and_a_row_loses_its_payload(
    tmp_path: Path, made: Made
) -> None:
    async with opened(tmp_path) as journal:
        intent = await delivered(journal, await made(journal, an_intent("a")))
        await written(journal)
        (row,) = journaled(tmp_path).values()
        assert (row["state"], row["verdict"], row["secondary_status"]) == ("done", "match", 201)
        if made is kept:
            assert (row["payload"], row["digest"], row["reply"]) == (None, None, None)
        assert (intent.request, intent.reply) == (None, None)


async def test_the_primarys_order_is_that_of_its_outcomes(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        first, second = await begun(journal, an_intent("a")), await begun(journal, an_intent("a"))
        for intent in (second, first):
            journal.order(intent)
            assert await journal.settle(intent, Event.PRIMARY_APPLIED, a_reply()) is None
            journal.keep(intent)
        await written(journal)
        assert (second.sequence, first.sequence) == (1, 2)
        assert [each.id for each in await journal.standing(OWED)] == [second.id, first.id]


# the law


async def test_the_law_holds_after_every_step(tmp_path: Path) -> None:
    tally = Tally()
    async with opened(tmp_path, tally) as journal:

        def holds(**states: int) -> bool:
            found = {state.value: count for state, count in tally.states.items() if count}
            assert found == states
            return tally.holds()

        intent, aborted, skipped = an_intent("a"), an_intent("b"), an_intent("c")
        journal.accept(intent)
        assert holds(received=1)
        assert await journal.begin(intent) is None
        assert holds(p_sent=1)
        journal.accept(aborted)
        journal.abort(aborted)
        assert holds(p_sent=1, aborted=1)
        journal.accept(skipped)
        journal.skip(skipped, Skip.JOURNAL_ERROR)
        assert holds(p_sent=1, aborted=1)
        assert (tally.accepted, tally.skips[Skip.JOURNAL_ERROR]) == (3, 1)
        journal.order(intent)
        assert await journal.settle(intent, Event.PRIMARY_APPLIED, a_reply()) is None
        assert holds(s_pending=1, aborted=1)
        assert tally.backlog_bytes == intent.bytes
        journal.sending(intent)
        assert holds(s_sent=1, aborted=1)
        journal.conclude(intent, Event.RETRY, Result("reset"))
        journal.conclude(intent, Event.PARK, Result("waits"))
        assert holds(parked=1, aborted=1)
        assert tally.backlog_bytes == intent.bytes
        journal.conclude(intent, Event.BURY, Result("parked_seconds_max"))
        assert holds(dead=1, aborted=1)
        assert tally.backlog_bytes == 0


@pytest.mark.parametrize("event", ENDS)
async def test_only_what_is_owed_is_backlog(tmp_path: Path, event: Event) -> None:
    tally = Tally()
    async with opened(tmp_path, tally) as journal:
        intent = await settled(journal, an_intent("a"), event, outcome_of(event))  # type: ignore[arg-type]
        assert tally.backlog_bytes == (intent.bytes if ENDS[event][1] in OWED else 0)
        assert tally.holds()


async def test_an_illegal_move_is_a_bug(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await settled(journal, an_intent("a"))
        with pytest.raises(AssertionError, match="no move from s_pending by confirm"):
            journal.conclude(intent, Event.CONFIRM, Result(""))


# what is finished goes


def counted(journal: Journal) -> dict[str, int]:
    return reader.states(journal.directory)


async def ticked(journal: Journal, clock: Clock, seconds: int = 1) -> None:
    """So many seconds pass, with a tick in each."""
    for _ in range(seconds):
        clock.forward(1)
        journal.sweep()
        await written(journal)


@in_both_places
async def test_a_finished_write_is_removed_after_its_hold_and_stays_counted(
    tmp_path: Path, made: Made
) -> None:
    tally, clock = Tally(), Clock()
    async with opened(tmp_path, tally, clock, done_hold_seconds=60.0) as journal:
        await delivered(journal, await made(journal, an_intent("a")))
        rejected = Event.PRIMARY_REJECTED
        await made(journal, an_intent("b"), rejected, a_reply(400))
        dead = await made(journal, an_intent("c"))
        journal.sending(dead)
        journal.conclude(dead, Event.BURY, Result("s_rejected"))
        await written(journal)
        everything = {"dead": 1, "done": 1, "p_rejected": 1}
        for second in range(66):
            assert counted(journal) == everything
            assert second > 60 or len(on_disk(journal)) == 3
            await ticked(journal, clock)
        assert (on_disk(journal), counted(journal)) == ({3: "dead"}, everything)
        assert rows(journal.writer.path, "SELECT * FROM log") == []
        assert tally.accepted == 3
        assert tally.holds()


@pytest.mark.parametrize("seconds", range(5))
async def test_an_id_is_never_used_twice(tmp_path: Path, seconds: int) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock, done_hold_seconds=0.0) as journal:
        for _ in range(3):
            await delivered(journal, await settled(journal, an_intent("a")))
        await ticked(journal, clock, seconds)
        assert seconds < 2 or on_disk(journal) == {}
        assert (await begun(journal, an_intent("a"))).id == 4
    async with opened(tmp_path, clock=clock) as journal:
        assert (await begun(journal, an_intent("a"))).id == 5
        (left,) = journaled(tmp_path).keys() - {5}
        assert left == 4


# bodies in files


async def test_a_spooled_body_stays_until_its_write_is_durably_done(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await kept(journal, spooled_intent(journal))
        file = Path((intent.request or a_request()).spool or "")
        assert intent.bytes > len(b"long body")
        request, reply = await journal.load(intent)
        assert (request.spool, reply.status) == (str(file), 200)
        await delivered(journal, intent)
        assert file.exists()  # a crash now would send it again
        await until(lambda: not file.exists())
        assert on_disk(journal) == {1: "done"}


async def test_a_rejected_write_leaves_no_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = spooled_intent(journal)
        await settled(journal, intent, Event.PRIMARY_REJECTED, a_reply(400))
        await until(lambda: not list((tmp_path / "spool").iterdir()))


async def test_an_unknown_write_keeps_its_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = spooled_intent(journal)
        unknown = Failure(cause=Cause.RESET, sent=True)
        await settled(journal, intent, Event.PRIMARY_UNKNOWN, unknown)
        await written(journal)
        assert len(list((tmp_path / "spool").iterdir())) == 1


async def test_a_body_that_cannot_be_read_is_not_journaled(tmp_path: Path) -> None:
    tally = Tally()
    async with opened(tmp_path, tally) as journal:
        intent = spooled_intent(journal)
        Path((intent.request or a_request()).spool or "").unlink()
        journal.accept(intent)
        error = await journal.begin(intent)
        assert "No such file" in str(error)
        assert on_disk(journal) == {}
        assert (intent.state, tally.journal_errors) == (State.RECEIVED, 1)


async def test_bodies_whose_disk_hangs_are_refused_and_hold_up_nobody_else(tmp_path: Path) -> None:
    tally, count = Tally(), 40  # more than asyncio has threads for all purposes
    async with opened(tmp_path, tally, commit_timeout_ms=100) as journal:
        intents = [spooled_intent(journal) for _ in range(count)]
        pipes = [tmp_path / str(intent.spool) for intent in intents]
        for intent, pipe in zip(intents, pipes, strict=True):
            pipe.unlink()
            os.mkfifo(pipe)  # to open it for reading takes until somebody writes
            journal.accept(intent)
        begin = [asyncio.ensure_future(journal.begin(intent)) for intent in intents]
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(2):
                assert await asyncio.to_thread(lambda: "done") == "done"
                errors = await asyncio.gather(*begin)
        finally:
            ends = [os.open(pipe, os.O_RDWR) for pipe in pipes]
            for pipe, end in zip(pipes, ends, strict=True):
                pipe.unlink()
                os.close(end)
        assert all("does not answer" in str(error) for error in errors)
        assert {intent.state for intent in intents} == {State.RECEIVED}
        assert tally.journal_errors == count


async def test_two_bodies_never_share_a_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        assert len({journal.spools.next() for _ in range(100)}) == 100


# loading


async def test_what_is_loaded_is_what_was_journaled(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        given = a_request("PATCH", "/a?b=%FF", b"\x00\xff", "X-A: 1\r\n")
        intent = await settled(journal, an_intent("a", request=given))
        journal.keep(intent)  # and it is not on disk yet
        assert await journal.load(intent) == (given, a_reply())


def flip(file: Path, name: str) -> None:
    with closing(sqlite3.connect(file)) as db:
        ((value,),) = db.execute(f"SELECT {name} FROM intents").fetchall()
        changed = value[:-1] + bytes((value[-1] ^ 1,))
        db.execute(f"UPDATE intents SET {name} = ?", (changed,))
        db.commit()


@pytest.mark.parametrize("name", ["payload", "digest", "reply"])
async def test_a_damaged_row_is_not_loaded(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path) as journal:
        intent = await kept(journal, an_intent("a"))
        flip(journal.writer.path, name)
        with pytest.raises(Damaged, match="digest"):
            await journal.load(intent)


async def test_a_damaged_spool_file_is_not_loaded(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await kept(journal, spooled_intent(journal))
        Path((intent.request or a_request()).spool or "").write_bytes(b"long bodz")
        with pytest.raises(Damaged, match="digest"):
            await journal.load(intent)


async def test_a_row_that_is_gone_is_not_loaded(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await kept(journal, an_intent("a"))
        await journal.writer.call(lambda db: db.execute("DELETE FROM intents"))
        with pytest.raises(Damaged, match="gone"):
            await journal.load(intent)


async def test_loading_waits_for_an_outcome_that_is_still_being_written(tmp_path: Path) -> None:
    async with opened(tmp_path, confirm=Confirm.BEHIND) as journal:
        intent = await kept(journal, an_intent("a"))
        assert len(journal.writer) >= 1
        _, reply = await journal.load(intent)
        assert reply == a_reply()


# a disk that is full


async def test_a_full_disk_refuses_a_write_before_anything_was_sent(tmp_path: Path) -> None:
    tally = Tally()
    async with opened(tmp_path, tally) as journal:
        kept = await settled(journal, an_intent("a"))
        await disk_full(journal)
        refused = an_intent("b", request=a_request(body=b"x" * 100_000))
        journal.accept(refused)
        assert "full" in str(await journal.begin(refused))
        assert (refused.state, tally.journal_errors) == (State.RECEIVED, 1)
        journal.abort(refused)
        assert tally.holds()
        assert on_disk(journal) == {kept.id: "s_pending"}
        await disk_full(journal, full=False)
        again = await begun(journal, an_intent("b", request=a_request(body=b"x" * 100_000)))
        assert on_disk(journal) == {kept.id: "s_pending", again.id: "p_sent"}


@pytest.mark.parametrize("with_row", [False, True])
@pytest.mark.parametrize("event", [Event.PRIMARY_APPLIED, Event.PRIMARY_REJECTED])
async def test_an_outcome_that_the_disk_refused_is_written_when_there_is_room(
    tmp_path: Path, event: Event, with_row: bool
) -> None:
    tally = Tally()
    async with opened(tmp_path, tally) as journal:
        intent = await begun(journal, an_intent("a"))
        if with_row:
            journal.keep(intent)
            await written(journal)
        await disk_broken(journal)
        error = await journal.settle(intent, event, outcome_of(event))  # type: ignore[arg-type]
        assert (error is not None, tally.journal_errors) == (True, 1)
        assert intent.state is ENDS[event][1]
        assert tally.holds()
        assert on_disk(journal) == {1: "p_sent"}
        await disk_broken(journal, broken=False)
        journal.sweep()
        await written(journal)
        assert on_disk(journal) == {1: ENDS[event][1]}
        assert (column(journal, intent, "payload") is None) == (
            with_row and event is Event.PRIMARY_REJECTED
        )


async def test_what_the_background_did_is_written_when_there_is_room(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await settled(journal, an_intent("a"))
        await disk_broken(journal)
        journal.pairs.learn(Identity("order", "1", "a"), "reply")
        await delivered(journal, intent)
        assert await journal.begin(an_intent("b")) is not None
        assert on_disk(journal) == {1: "s_pending"}
        await disk_broken(journal, broken=False)
        journal.sweep()
        await written(journal)
        assert on_disk(journal) == {1: "done"}
        assert await journal.pairs.find("order", Side.NEW, "a")


async def test_what_a_dead_letter_tells_is_in_its_row(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock) as journal:
        dead = await settled(journal, an_intent("a"), outcome=a_reply(201))
        journal.sending(dead)
        clock.forward(5)
        journal.conclude(dead, Event.BURY, Result("s_rejected", "mismatch", 422))
        unknown = await settled(journal, an_intent("b"), Event.PRIMARY_UNKNOWN, a_reply(503))
        await written(journal)
        told = journaled(tmp_path)
        await ticked(journal, clock, 3)
        assert in_rows(journal) == [dead.id, unknown.id]
        assert journaled(tmp_path) == told


async def test_a_write_with_a_row_leaves_the_log_to_others(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await kept(journal, an_intent("a"))
        told = journal.writer.log_bytes
        await delivered(journal, intent)
        await written(journal)
        assert journal.writer.log_bytes == told
        assert on_disk(journal) == {1: "done"}


async def test_what_can_never_be_written_is_counted(tmp_path: Path) -> None:
    tally = Tally()
    async with opened(tmp_path, tally) as journal:
        journal.pairs.learn(Identity("order", "\ud800", "a"), "reply")
        await written(journal)
        journal.sweep()
        assert tally.journal_errors == 1


async def test_a_reason_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await settled(journal, an_intent("a"))
        journal.conclude(intent, Event.PARK, Result("identity order \ud800 is not known"))
        await written(journal)
        assert column(journal, intent, "reason") == "identity order ? is not known"


# opening


async def test_a_journal_of_another_release_is_refused_untouched_and_unlocked(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as journal:
        await begun(journal, an_intent("a"))
    file = tmp_path / "journal.db"
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE meta SET value = 99 WHERE name = 'version'")
        db.commit()
    before = file.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreError, match="format version 99; this release knows 3"):
            async with opened(tmp_path):
                pass
    assert file.read_bytes() == before


async def test_everything_is_for_its_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "journal"
    async with opened(directory) as journal:
        await begun(journal, an_intent("a"))
        assert directory.stat().st_mode & 0o777 == 0o700
        for path in directory.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path


async def test_a_journal_has_an_id_and_a_key_that_stay(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as journal:
        first = (journal.id, journal.redaction_key)
    async with opened(tmp_path / "a") as journal:
        assert (journal.id, journal.redaction_key) == first
    async with opened(tmp_path / "b") as journal:
        assert journal.id != first[0]
        assert journal.redaction_key != first[1]


# found by its row


async def test_a_row_is_not_the_last_word_while_the_disk_refuses_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await kept(journal, an_intent("a"))
        journal.conclude(intent, Event.BURY, Result("s_rejected"))
        await written(journal)
        await disk_broken(journal)
        journal.conclude(intent, Event.WAIVE, Result("waived"))
        with pytest.raises(StoreError, match="readonly"):
            await journal.find(intent.id)
        await disk_broken(journal, broken=False)
        found = await journal.find(intent.id)
        assert found is not None
        assert found.state is State.WAIVED


async def test_a_closed_write_is_found_whose_spool_file_is_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        done = await delivered(journal, await kept(journal, spooled_intent(journal)))
        rejected = await kept(journal, spooled_intent(journal), Event.PRIMARY_REJECTED)
        for intent in (done, rejected):
            found = await journal.find(intent.id)
            assert found is not None
            assert (found.state, found.spool) == (intent.state, None)
        assert (done.state, rejected.state) == (State.DONE, State.P_REJECTED)


async def test_a_row_that_was_damaged_meanwhile_is_an_error_of_the_store(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await kept(journal, an_intent("a"))
        sql = "UPDATE intents SET target = '/elsewhere'"
        await journal.writer.call(lambda db: db.execute(sql))
        with pytest.raises(StoreError, match=f"intent {intent.id}: its columns differ"):
            await journal.find(intent.id)


async def test_an_edit_that_the_disk_refuses_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await kept(journal, spooled_intent(journal))
        journal.conclude(intent, Event.BURY, Result("s_rejected"))
        await written(journal)
        before = (intent.seal, intent.spool, intent.method, intent.target)
        was = await journal.load(intent)
        await disk_broken(journal)
        assert await journal.replace(intent, a_request("PATCH", "/b", b"y")) is not None
        await disk_broken(journal, broken=False)
        assert (intent.seal, intent.spool, intent.method, intent.target) == before
        assert await journal.load(intent) == was
        assert await journal.replace(intent, a_request("PATCH", "/b", b"y")) is None
        assert (intent.spool, intent.method, intent.target) == (None, "PATCH", "/b")
        assert (await journal.load(intent))[0].body == b"y"
