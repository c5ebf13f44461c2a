"""Young intents: through every move from the log to a row, or to a count, none is lost or counted twice."""

import asyncio
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from proxy.control.tally import Tally
from proxy.store import reader
from proxy.store.intent import Identity, Intent, Result
from proxy.store.journal import Journal
from proxy.store.young import FOLD_SECONDS, HELD_BYTES_MAX, ROWS_MAX
from rules.fate import OWED, Event, State
from rules.message import Cause, Failure
from tests.proxy.samples import (
    Clock,
    a_request,
    an_intent,
    begun,
    crashed,
    disk_broken,
    journaled,
    kept,
    opened,
    rows,
    settled,
    written,
)
from tests.proxy.store.model import lived, replayed


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_happens_and_whenever_it_is_killed_a_journal_keeps_what_it_promised(
    tmp_path: Path, seed: int
) -> None:
    await lived(tmp_path / "lives", seed)


@pytest.mark.parametrize("seed", range(6))
async def test_after_each_single_commit_a_kill_leaves_every_intent_once_and_never_further_back(
    tmp_path: Path, seed: int
) -> None:
    assert await replayed(tmp_path, seed) > 3


def log_rows(journal: Journal) -> list[int]:
    return [row["id"] for row in rows(journal.writer.path, "SELECT id FROM log ORDER BY id")]


def row_ids(journal: Journal) -> list[int]:
    return [row["id"] for row in rows(journal.writer.path, "SELECT id FROM intents ORDER BY id")]


def totals(journal: Journal) -> dict[str, int]:
    return {
        row["state"]: row["removed"] for row in rows(journal.writer.path, "SELECT * FROM totals")
    }


async def ticked(journal: Journal, clock: Clock, seconds: float = FOLD_SECONDS) -> None:
    clock.forward(seconds)
    journal.sweep()
    await written(journal)


def closed(journal: Journal, intent: Intent) -> None:
    journal.sending(intent)
    journal.conclude(intent, Event.CONFIRM, Result("", "match", 200))


async def test_a_write_that_is_done_soon_never_gets_a_row(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock, done_hold_seconds=0.0) as journal:
        changes = journal.writer.commits
        closed(journal, await settled(journal, an_intent("a")))
        await written(journal)
        assert journal.writer.commits - changes == 3
        for _ in range(3):
            assert (row_ids(journal), reader.states(tmp_path)) == ([], {"done": 1})
            await ticked(journal, clock)
        assert (log_rows(journal), row_ids(journal)) == ([], [])
        assert (totals(journal), reader.states(tmp_path)) == ({"done": 1}, {"done": 1})


async def test_a_write_that_stays_open_gets_a_row_when_it_is_a_second_old_or_two(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock, done_hold_seconds=0.0) as journal:
        intent = await settled(journal, an_intent("a"))
        await ticked(journal, clock, 0.25)
        assert row_ids(journal) == []
        await ticked(journal, clock)
        assert row_ids(journal) == []
        await ticked(journal, clock)
        assert (row_ids(journal), log_rows(journal)) == ([intent.id], [])


@pytest.mark.parametrize("event", [Event.PRIMARY_UNKNOWN, None])
async def test_what_the_primary_may_have_gets_a_row_too(
    tmp_path: Path, event: Event | None
) -> None:
    clock = Clock()
    async with opened(tmp_path / "a", clock=clock, done_hold_seconds=0.0) as journal:
        intent = await begun(journal, an_intent("a"))
        if event is not None:
            failure = Failure(cause=Cause.TIMEOUT, sent=True)
            assert await journal.settle(intent, event, failure) is None
        for _ in range(3):
            await ticked(journal, clock)
        assert (row_ids(journal), log_rows(journal)) == ([intent.id], [])
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy):
        assert reader.states(copy) == {"unknown": 1}


async def test_an_idle_journal_has_an_empty_log_and_writes_nothing(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock, done_hold_seconds=5.0) as journal:
        closed(journal, await settled(journal, an_intent("a")))
        closed(journal, await kept(journal, an_intent("b")))
        await written(journal)
        for _ in range(10):
            await ticked(journal, clock)
        commits = journal.writer.commits
        assert (log_rows(journal), row_ids(journal)) == ([], [])
        for _ in range(10):
            await ticked(journal, clock)
        assert journal.writer.commits == commits


async def test_a_row_that_is_closed_stays_while_the_log_knows_where_it_began(
    tmp_path: Path,
) -> None:
    """Else a crash would read from the log alone that it is still owed."""
    clock = Clock()
    async with opened(tmp_path / "0", clock=clock, done_hold_seconds=0.0) as journal:
        await ticked(journal, clock)
        closed(journal, await kept(journal, an_intent("a")))
        for number in range(1, 6):
            await ticked(journal, clock)
            assert reader.states(tmp_path / "0") == {"done": 1}
            copy = crashed(tmp_path / "0", tmp_path / str(number))
            tally = Tally()
            async with opened(copy, tally) as other:
                assert await other.standing(OWED) == []
                assert (tally.accepted, tally.states[State.DONE]) == (1, 1)
        assert (log_rows(journal), row_ids(journal)) == ([], [])


@pytest.mark.parametrize("jump", [-86_400.0, -1.0, 86_400.0])
async def test_a_clock_that_jumps_loses_nothing_and_the_log_ends_all_the_same(
    tmp_path: Path, jump: float
) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock, done_hold_seconds=2.0) as journal:
        closed(journal, await settled(journal, an_intent("a")))
        owed = await settled(journal, an_intent("b"))
        await ticked(journal, clock)
        await ticked(journal, clock, jump)
        closed(journal, await settled(journal, an_intent("c")))
        await written(journal)
        for _ in range(6):
            assert reader.states(tmp_path) == {"done": 2, "s_pending": 1}
            await ticked(journal, clock)
        clock.forward(max(-jump, 0.0))  # what is held is held until the clock comes there
        for _ in range(3):
            await ticked(journal, clock)
        assert reader.states(tmp_path) == {"done": 2, "s_pending": 1}
        assert (row_ids(journal), log_rows(journal)) == ([owed.id], [])


async def test_the_log_of_what_is_closed_is_not_held_beyond_its_limit(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock, done_hold_seconds=3600.0) as journal:
        longest = 0
        request = a_request(body=b"x" * 4_000_000)
        for _ in range(30):  # 120 MB
            closed(journal, await settled(journal, an_intent("a", request=request)))
            await ticked(journal, clock)
            (row,) = rows(journal.writer.path, "SELECT sum(length(records)) AS held FROM log")
            longest = max(longest, row["held"])
        assert HELD_BYTES_MAX < longest < HELD_BYTES_MAX + 5 * 4_100_000
        assert reader.states(tmp_path) == {"done": 30}


async def test_a_disk_that_refuses_for_long_keeps_everything_where_it_is(tmp_path: Path) -> None:
    clock, tally = Clock(), Tally()
    async with opened(tmp_path, tally, clock, done_hold_seconds=1.0) as journal:
        closed(journal, await settled(journal, an_intent("a")))
        owed = await settled(journal, an_intent("b"))
        await written(journal)
        before = (log_rows(journal), reader.states(tmp_path))
        await disk_broken(journal)
        for _ in range(8):
            clock.forward(1)
            journal.sweep()
            await journal.writer.call(lambda _: None)
            assert (log_rows(journal), reader.states(tmp_path)) == before
        await disk_broken(journal, broken=False)
        for _ in range(4):
            await ticked(journal, clock)
        assert (row_ids(journal), log_rows(journal)) == ([owed.id], [])
        assert reader.states(tmp_path) == {"done": 1, "s_pending": 1}


async def test_a_database_that_another_process_has_locked_refuses_and_recovers(
    tmp_path: Path,
) -> None:
    clock, tally = Clock(), Tally()
    async with opened(tmp_path, tally, clock, done_hold_seconds=0.0) as journal:
        await journal.writer.call(lambda db: db.execute("PRAGMA busy_timeout = 1"))
        intent = await settled(journal, an_intent("a"))
        with closing(sqlite3.connect(journal.writer.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            closed(journal, intent)
            refused = an_intent("b")
            journal.accept(refused)
            assert "locked" in str(await journal.begin(refused))
            journal.abort(refused)
            other.execute("ROLLBACK")
        for _ in range(4):
            await ticked(journal, clock)
        assert reader.states(tmp_path) == {"done": 1}
        assert log_rows(journal) == []
        assert tally.holds()


async def test_what_is_not_essential_may_be_lost_and_the_log_goes_all_the_same(
    tmp_path: Path,
) -> None:
    clock, tally = Clock(), Tally()
    async with opened(tmp_path, tally, clock, done_hold_seconds=0.0) as journal:
        closed(journal, await settled(journal, an_intent("a")))
        journal.pairs.learn(Identity("order", "\ud800", "a"), "reply")  # can never be written
        for _ in range(5):
            await ticked(journal, clock)
        assert (journal.writer.dropped, journal.writer.broken) == (1, False)
        assert log_rows(journal) == []
        assert reader.states(tmp_path) == {"done": 1}
    tally = Tally()
    async with opened(tmp_path, tally):
        assert (tally.accepted, tally.states[State.DONE]) == (1, 1)


async def test_nothing_is_forgotten_once_an_essential_row_was_lost(tmp_path: Path) -> None:
    """What the disk never took may still be read from the log at the next start."""
    clock, tally = Clock(), Tally()
    async with opened(tmp_path, tally, clock, done_hold_seconds=0.0) as journal:
        closed(journal, await settled(journal, an_intent("a")))
        (await settled(journal, an_intent("b"))).sequence = 2**63  # its row can never be written
        for _ in range(5):
            await ticked(journal, clock)
        assert journal.writer.broken
        assert len(log_rows(journal)) > 0
        assert reader.states(tmp_path) == {"done": 1, "s_pending": 1}
    tally = Tally()
    async with opened(tmp_path, tally):
        assert (tally.accepted, tally.states[State.DONE]) == (2, 1)


async def test_a_write_that_is_cancelled_before_its_beginning_is_durable_was_not_sent(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as journal:
        intent = an_intent("a")
        journal.accept(intent)
        begin = asyncio.create_task(journal.begin(intent))
        await asyncio.sleep(0)
        begin.cancel()
        with pytest.raises(asyncio.CancelledError):
            await begin
        assert intent.state is State.NOT_SENT
    tally = Tally()
    async with opened(tmp_path, tally):
        assert (tally.accepted, tally.states[State.NOT_SENT]) == (1, 1)


async def test_a_row_that_cannot_be_made_leaves_its_intent_in_the_log(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "a", clock=clock, done_hold_seconds=0.0) as journal:
        intent = await settled(journal, an_intent("a"))
        intent.sequence = 2**63  # more than SQLite takes
        for _ in range(5):
            await ticked(journal, clock)
        assert journal.writer.dropped == 1
        assert reader.states(tmp_path / "a") == {"s_pending": 1}
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with opened(copy) as journal:
        assert [each.id for each in await journal.standing(OWED)] == [intent.id]


async def test_all_of_many_begun_at_once_are_in_one_place_through_every_second(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock, done_hold_seconds=2.0) as journal:
        count, chance = 200, Random(7)
        open_: list[Intent] = []
        for second in range(8):
            made = await asyncio.gather(*(settled(journal, an_intent("a")) for _ in range(count)))
            open_ += made
            for intent in chance.sample(open_, count * 3 // 4):
                open_.remove(intent)
                closed(journal, intent)
            await ticked(journal, clock)
            states = reader.states(tmp_path)
            assert sum(states.values()) == count * (second + 1)
            assert states["s_pending"] == len(open_)
            found = journaled(tmp_path)
            assert {n for n, each in found.items() if each["state"] == "s_pending"} == {
                intent.id for intent in open_
            }


async def test_rows_are_made_and_removed_a_few_beside_each_transaction(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock, done_hold_seconds=0.0) as journal:
        intents = [await settled(journal, an_intent("a")) for _ in range(3 * ROWS_MAX)]
        made: list[int] = []

        def count() -> int:
            with closing(sqlite3.connect(f"file:{journal.writer.path}?mode=ro", uri=True)) as db:
                return int(db.execute("SELECT count(*) FROM intents").fetchone()[0])

        for _ in range(2):
            clock.forward(FOLD_SECONDS)
            journal.sweep()
        while count() < len(intents):
            await settled(journal, an_intent("b"))  # two transactions, with their rows beside them
            made.append(count())
        assert all(later - before <= 2 * ROWS_MAX for before, later in pairwise(made))
        assert len(made) > 1


async def test_a_crash_at_any_commit_while_rows_are_removed_brings_nothing_back(
    tmp_path: Path,
) -> None:
    clock, count = Clock(), 2 * ROWS_MAX + 8
    left: list[Path] = []

    def crash(sql: str) -> None:
        """On the writer's thread: a kill before this transaction leaves what the files hold now."""
        if sql.startswith(("BEGIN", "INSERT INTO log")):
            left.append(crashed(tmp_path / "a", tmp_path / f"{len(left)}"))

    async with opened(tmp_path / "a", clock=clock, done_hold_seconds=0.0) as journal:
        for _ in range(count):
            closed(journal, await kept(journal, an_intent("a")))
        await written(journal)
        await journal.writer.call(lambda db: db.set_trace_callback(crash))
        for _ in range(8):
            await ticked(journal, clock)
        await journal.writer.call(lambda db: db.set_trace_callback(None))
        assert (log_rows(journal), row_ids(journal)) == ([], [])
    held = set()
    for copy in left:
        held.add(rows(copy / "journal.db", "SELECT count(*) FROM intents")[0][0])
        tally = Tally()
        async with opened(copy, tally) as other:
            assert await other.standing(OWED) == []
            assert (tally.accepted, tally.states[State.DONE]) == (count, count)
    assert any(0 < each < count for each in held)  # some came in the midst of it
