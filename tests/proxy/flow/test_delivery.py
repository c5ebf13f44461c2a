"""Delivery: in lane order, with retries, behind the breaker, over restarts, and nothing lost on the way."""

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from proxy.flow.delivery import FAILED_MAX
from proxy.store.intent import Intent
from proxy.store.recovery import young
from rules.fate import Event, State
from rules.message import Request
from tests.proxy.flow.background import FAST, HOP, Background, background
from tests.proxy.flow.background import skipping as configured
from tests.proxy.flow.scripted import Answer, Fault, Gate, Scripted, Seen, backends
from tests.proxy.samples import (
    Clock,
    a_reply,
    a_request,
    an_intent,
    begun,
    crashed,
    journaled,
    opened,
    rows,
    until,
)

Sides = tuple[Scripted, Scripted]

ORDERS = """
[[routes]]
name = "create"
methods = ["POST"]
path = "/orders"
harvest = [{kind = "order", from = "json:/id"}]
[[routes]]
name = "change"
path = "/orders/{id}"
[routes.translate]
"path:id" = "order"
"""


@pytest.fixture
async def sides() -> AsyncIterator[Sides]:
    async with backends() as both:
        yield both


def a_write(target: str, *lanes: str, method: str = "PUT", **more: object) -> Intent:
    return an_intent(*(lanes or ("a",)), request=a_request(method, target, b"{}"), **more)


def row(found: Background, intent: Intent) -> dict[str, Any]:
    return journaled(found.journal.directory)[intent.id]


# order


async def test_a_lane_is_delivered_in_order_and_one_at_a_time(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    async with background(configured(tmp_path, sides, **FAST)) as b:
        for n in range(10):
            await b.write(a_write("/a", "a", method="POST", received_at=1e9 + n))
        await b.done(10)
        assert new.busiest["/a"] == 1
        numbers = [int(seen.headers["idempotency-key"].rpartition("-")[2]) for seen in new.seen]
        assert numbers == list(range(1, 11))


async def test_a_lane_that_hangs_delays_no_other(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    gate = Gate()
    new.will("/slow", gate)
    async with background(configured(tmp_path, sides)) as b:
        await b.write(a_write("/slow", "a"))
        await b.write(a_write("/behind", "a"))
        await b.write(a_write("/other", "b"))
        await b.write(a_write("/none", "c"))
        await b.done(2)
        assert sorted(new.targets()) == ["/none", "/other", "/slow"]
        gate.open()
        await b.done(4)
        assert new.targets()[-1] == "/behind"


async def test_a_write_with_two_lanes_waits_for_both_and_holds_both(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    first, both = Gate(), Gate()
    new.will("/first", first)
    new.will("/both", both)
    async with background(configured(tmp_path, sides)) as b:
        await b.write(a_write("/first", "a"))
        await b.write(a_write("/both", "a", "b"))
        await b.write(a_write("/b", "b"))
        await until(lambda: first.held)
        assert new.targets() == ["/first"]
        first.open()
        await until(lambda: both.held)
        assert new.targets() == ["/first", "/both"]
        both.open()
        await b.done(3)


async def test_a_write_whose_outcome_is_not_durable_yet_keeps_its_place(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    async with background(configured(tmp_path, sides)) as b:
        first = await begun(b.journal, a_write("/first", "a"))
        b.delivery.reserve(first)
        await b.write(a_write("/second", "a"))
        await b.write(a_write("/other", "b"))
        await b.done(1)
        assert new.targets() == ["/other"]
        await b.settle(first)
        await b.done(3)
        assert new.targets() == ["/other", "/first", "/second"]


async def test_a_place_that_is_taken_back_holds_nobody_up(tmp_path: Path, sides: Sides) -> None:
    async with background(configured(tmp_path, sides)) as b:
        gone = an_intent("a")
        b.delivery.reserve(gone)
        await b.write(a_write("/second", "a"))
        b.delivery.withdraw(gone)
        await b.done(1)


async def test_nothing_is_sent_before_the_start(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    async with background(configured(tmp_path, sides, KILL_SWITCH="1")) as b:
        for n in range(3):
            await b.write(a_write(f"/{n}"))
        assert new.seen == []
        b.delivery.start()
        await b.done(3)
        assert new.targets() == ["/0", "/1", "/2"]


async def test_a_retry_holds_its_place(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    new.will("/first", Answer(503), Fault.RESET, Answer(429), Answer(200))
    async with background(configured(tmp_path, sides, **FAST)) as b:
        await b.write(a_write("/first", "a"))
        await b.write(a_write("/second", "a"))
        await b.done(2)
        assert new.targets() == ["/first"] * 4 + ["/second"]


async def test_no_more_than_the_limit_are_under_way(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    gate = Gate()
    new.always = gate
    async with background(configured(tmp_path, sides, DELIVERY_CONCURRENCY_MAX="3")) as b:
        for n in range(8):
            await b.write(a_write("/a", f"{n}"))
        await until(lambda: gate.held == 3)
        gate.open()
        await b.done(8)
        assert new.busiest["/a"] == 3


# retries


@pytest.mark.parametrize(
    ("fault", "reason", "status"),
    [
        (Answer(500), "status_500", 500),
        (Answer(429), "status_429", 429),
        (Answer(408), "status_408", 408),
        (Fault.RESET, "reset", 0),
        (Fault.HANG, "timeout", 0),
    ],
)
async def test_a_failure_is_tried_again_after_a_wait(
    tmp_path: Path, sides: Sides, fault: Answer | Fault, reason: str, status: int
) -> None:
    _, new = sides
    clock, gate = Clock(), Gate()
    new.will("/a", fault, fault, gate)
    config = configured(tmp_path, sides, **FAST)
    async with background(config, clock=clock, chance=lambda: 1.0) as b:
        intent = await b.write(a_write("/a"))
        await b.reaches(lambda: gate.held)
        await b.flushed()
        found = row(b, intent)
        assert (found["state"], found["attempts"]) == ("s_pending", 2) or found["state"] == "s_sent"
        assert (found["reason"], found["secondary_status"]) == (reason, status)
        assert found["due_at"] == pytest.approx(clock() + 0.02)  # the second wait: 2 x 10 ms
        gate.open()
        await b.done(1)
        assert len(new.seen) == 3


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [("7", 7.0), ("999999", 300.0), ("Fri, 20 Nov 2026 08:00:00 GMT", 0.0), ("-1", 0.0)],
)
async def test_retry_after_is_honoured_within_reason(
    tmp_path: Path, sides: Sides, value: str, wait_s: float
) -> None:
    _, new = sides
    clock = Clock()
    new.always = Answer(503, headers=(f"Retry-After: {value}",))
    async with background(configured(tmp_path, sides, **FAST), clock=clock) as b:
        intent = await b.write(a_write("/a"))
        await b.reaches(lambda: row(b, intent)["reason"] == "status_503")
        assert row(b, intent)["due_at"] == clock() + wait_s
        new.always = Answer()


async def test_the_last_try_makes_a_dead_letter_and_the_lane_goes_on(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    new.will("/a", *[Answer(503)] * 3)
    async with background(configured(tmp_path, sides, **FAST, DELIVERY_ATTEMPTS_MAX="3")) as b:
        intent = await b.write(a_write("/a"))
        await b.write(a_write("/b"))
        await b.done(1)
        await b.flushed()
        found = row(b, intent)
        assert (found["state"], found["reason"], found["attempts"]) == ("dead", "attempts_max", 3)
        assert found["payload"] is not None
        assert new.targets() == ["/a"] * 3 + ["/b"]


async def test_a_write_that_fails_for_too_long_is_a_dead_letter(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    clock = Clock()
    new.always = Answer(503)
    config = configured(tmp_path, sides, **FAST, DELIVERY_AGE_MAX_SECONDS="60")
    async with background(config, clock=clock) as b:
        intent = await b.write(a_write("/a"))
        await until(lambda: len(new.seen) > 2)
        assert intent.state is not State.DEAD
        clock.forward(60)  # a wall clock that jumps makes nothing older
        count = len(new.seen)
        await until(lambda: len(new.seen) > count + 1)
        assert intent.state is not State.DEAD
        intent.since -= 60
        await until(lambda: intent.state is State.DEAD)
        assert intent.reason == "age_max"


async def test_a_refused_write_is_a_dead_letter_at_once_and_the_lane_goes_on(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    new.will("/a", Answer(422, b'{"error": "no"}'))
    async with background(configured(tmp_path, sides, **FAST)) as b:
        intent = await b.write(a_write("/a"))
        await b.write(a_write("/b"))
        await b.done(1)
        await b.flushed()
        found = row(b, intent)
        assert (found["state"], found["reason"]) == ("dead", "s_rejected")
        assert (found["secondary_status"], found["verdict"]) == (422, "mismatch")
        assert b.states() == {"dead": 1, "done": 1}
        assert (len(b.delivery), b.tally.backlog_bytes) == (0, 0)


async def test_a_second_delete_that_finds_nothing_is_done(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    new.will("/a", Fault.RESET, Answer(404))
    new.will("/b", Answer(404))
    async with background(configured(tmp_path, sides, **FAST)) as b:
        intent = await b.write(a_write("/a", "a", method="DELETE"))
        await b.write(a_write("/b", "b", method="DELETE"))
        await b.reaches(lambda: b.states() == {"done": 1, "dead": 1})
        await b.flushed()
        assert row(b, intent)["reason"] == "already_deleted"


async def test_a_delete_that_a_killed_process_may_have_sent_is_done(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    gate = Gate()
    new.will("/a", gate, Answer(404))
    async with background(configured(tmp_path / "a", sides)) as b:
        await b.write(a_write("/a", method="DELETE"))
        await until(lambda: gate.held)
        copy = crashed(tmp_path / "a", tmp_path / "b")
    async with background(configured(copy, sides)) as b:
        await b.done(1)
        assert new.targets() == ["/a", "/a"]


async def test_every_try_is_told_apart_by_nothing(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    new.will("/a", Answer(503), Answer(503))
    async with background(configured(tmp_path, sides, **FAST)) as b:
        await b.write(a_write("/a"))
        await b.done(1)
        assert len(new.seen) == 3
        assert new.seen[0] == new.seen[1] == new.seen[2]
        key = new.seen[0].headers["idempotency-key"]
        assert key == f"twinwrite-{b.journal.id}-1"
        assert new.seen[0].headers["twinwrite-hop"] in HOP.decode()


# identities


def created(identifier: str) -> Answer:
    return Answer(201, f'{{"id": "{identifier}"}}'.encode())


async def test_a_write_waits_for_an_identity_and_goes_on_translated(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    new.will("/orders", created("x"))
    async with background(configured(tmp_path, sides, ORDERS)) as b:
        change = await b.write(a_write("/orders/1?a=1", "order:1", route="change"))
        behind = await b.write(a_write("/orders/1?a=2", "order:1", route="change"))
        await until(lambda: change.state is State.PARKED)
        assert (behind.state, new.seen) == (State.S_PENDING, [])
        await b.flushed()
        assert row(b, change)["reason"] == "identity order is not known"
        create = a_write("/orders", "create", method="POST", route="create")
        await b.write(create, a_reply(201, b'{"id": 1}'))
        await b.done(3)
        assert new.targets() == ["/orders", "/orders/x?a=1", "/orders/x?a=2"]


async def test_an_identity_is_stored_in_the_transaction_that_says_done(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    new.will("/orders", created("x"))
    async with background(configured(tmp_path, sides, ORDERS)) as b:
        create = a_write("/orders", method="POST", route="create")
        await b.write(create, a_reply(201, b'{"id": 1}'))
        seen: set[tuple[str, str | None]] = set()

        def is_done() -> bool:
            with closing(sqlite3.connect(b.journal.writer.path)) as db:
                db.execute("BEGIN")  # both as they were at one moment
                logged, _ = young(db)
                known = db.execute("SELECT new_value FROM identities").fetchone()
            seen.update((str(each.state), known and known[0]) for each in logged)
            return create.state is State.DONE and not len(b.journal.writer)

        await until(is_done)
        await b.flushed()
        is_done()
        assert ("done", "x") in seen
        assert ("done", None) not in seen


async def test_who_waits_for_too_long_is_a_dead_letter_and_the_lane_goes_on(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    config = configured(tmp_path, sides, ORDERS, DELIVERY_PARKED_SECONDS_MAX="0.1")
    async with background(config) as b:
        change = await b.write(a_write("/orders/1", "order:1", route="change"))
        await b.write(a_write("/other", "order:1"))
        await until(lambda: change.state is State.PARKED)
        await b.done(1)
        assert (change.state, change.reason) == (State.DEAD, "parked_seconds_max")
        assert new.targets() == ["/other"]
        create = a_write("/orders", "create", method="POST", route="create")
        new.will("/orders", created("x"))
        await b.write(create, a_reply(201, b'{"id": 1}'))
        await b.done(2)
        assert change.state is State.DEAD


async def test_who_waited_before_a_restart_waits_again_or_goes_on(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    new.will("/orders", created("x"))
    async with background(configured(tmp_path, sides, ORDERS)) as b:
        known = await b.write(a_write("/orders/1", "order:1", route="change"))
        await b.write(a_write("/orders/2", "order:2", route="change"))
        await until(lambda: b.tally.states[State.PARKED] == 2)
        b.delivery.pause()
        create = a_write("/orders", "create", method="POST", route="create")
        await b.write(create, a_reply(201, b'{"id": 1}'))
        assert known.state is State.PARKED
    async with background(configured(tmp_path, sides, ORDERS)) as b:
        await b.reaches(lambda: b.states() == {"done": 2, "parked": 1})
        assert new.targets() == ["/orders", "/orders/x"]


# the breaker and the kill switch

BREAKER = {
    **FAST,
    "BREAKER_ENABLED": "true",
    "BREAKER_CALLS_MIN": "3",
    "BREAKER_OPEN_SECONDS": "0.3",
    "BREAKER_HALF_OPEN_CALLS": "2",
    "BREAKER_RAMP_SECONDS": "0.1",
    "DELIVERY_BACKOFF_MAX_MS": "10",
}


async def test_a_sick_secondary_is_left_alone_and_caught_up_with_by_probes(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    new.always = Answer(503)
    async with background(configured(tmp_path, sides, **BREAKER)) as b:
        changes: list[str] = []
        b.rooms.guard.watch(lambda _, breaker: changes.append(breaker.state))
        for n in range(20):
            await b.write(a_write(f"/{n}", f"{n % 5}"))
        await until(lambda: "open" in changes)
        tried = len(new.seen)
        await b.write(a_write("/late", "5"))
        assert b.tally.states[State.DONE] == 0
        await until(lambda: not b.tally.states[State.S_SENT])
        assert len(new.seen) < tried + 5
        new.always = Answer()
        await b.done(21)
        assert changes[-3:] == ["open", "half_open", "closed"] or changes[-2:] == [
            "half_open",
            "closed",
        ]
        for lane in range(5):
            mine = [
                t for t in dict.fromkeys(new.targets()) if t != "/late" and int(t[1:]) % 5 == lane
            ]
            assert mine == [f"/{n}" for n in range(lane, 20, 5)]


async def test_a_breaker_guards_its_own_category_only(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    new.will("/sick", *[Answer(503)] * 100)
    async with background(
        configured(
            tmp_path,
            sides,
            **BREAKER,
        )
    ) as b:
        for n in range(5):
            await b.write(a_write("/sick", f"{n}"))
        await until(lambda: not b.rooms.guard.admit("default"))
        await b.write(a_write("/well", "x", category="critical"))
        await b.done(1)
        assert "/well" in new.targets()


async def test_the_kill_switch_keeps_what_is_owed_for_later(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    async with background(configured(tmp_path, sides, KILL_SWITCH="1")) as b:
        for n in range(3):
            await b.write(a_write(f"/{n}"))
        for _ in range(20):
            b.sweep()
            await asyncio.sleep(0)
        assert new.seen == []
        assert (b.states(), len(b.delivery)) == ({"s_pending": 3}, 3)
    async with background(configured(tmp_path, sides)) as b:
        await b.done(3)
        assert new.targets() == ["/0", "/1", "/2"]


# memory and payloads


async def test_beyond_the_memory_limit_payloads_stay_on_disk(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    gate = Gate()
    new.will("/0", gate)
    bodies = [bytes([n]) * 3000 for n in range(6)]
    async with background(configured(tmp_path, sides, DELIVERY_MEMORY_BYTES_MAX="10000")) as b:
        intents = [
            await b.write(an_intent("a", request=a_request("PUT", f"/{n}", body)))
            for n, body in enumerate(bodies)
        ]
        await until(lambda: gate.held)
        assert [intent.request is not None for intent in intents] == [True] * 3 + [False] * 3
        gate.open()
        await b.done(6)
        assert [seen.body for seen in new.seen] == bodies
        later = await b.write(an_intent("a", request=a_request("PUT", "/later", bodies[0])))
        await b.done(7)
        assert later.request is None  # done: nobody needs it
        for n in range(3):  # what is done makes room
            new.will(f"/again{n}", gate)
            assert (await b.write(a_write(f"/again{n}", f"{n}"))).state in State
        await b.done(10)


@pytest.mark.parametrize("name", ["payload", "reply"])
async def test_a_damaged_payload_is_never_sent(tmp_path: Path, sides: Sides, name: str) -> None:
    _, new = sides
    async with background(configured(tmp_path, sides, KILL_SWITCH="1")) as b:
        await b.write(a_write("/damaged"))
        await b.write(a_write("/sound"))
    async with opened(tmp_path):
        pass  # a restart gives rows to what is owed
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        ((value,),) = db.execute(f"SELECT {name} FROM intents WHERE id = 1").fetchall()
        db.execute(f"UPDATE intents SET {name} = ? WHERE id = 1", (b"\xff" + value[1:],))
        db.commit()
    async with background(configured(tmp_path, sides)) as b:
        await b.done(1)
        await b.flushed()
        (dead,) = rows(b.journal.writer.path, "SELECT * FROM intents WHERE state = 'dead'")
        assert dead["reason"].startswith("damaged_payload: ")
        assert new.targets() == ["/sound"]


def spooled(b: Background, body: bytes, *lanes: str) -> Intent:
    path = b.journal.spools.next()
    path.write_bytes(body)
    head = b"PUT /long HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    request = Request(
        method="PUT", target="/long", head=head, spool=str(path), body_bytes=len(body)
    )
    return an_intent(*lanes, request=request, spool=f"spool/{path.name}")


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_spooled_body_is_delivered_whole_and_its_file_removed(
    tmp_path: Path, sides: Sides, restarted: bool
) -> None:
    _, new = sides
    body = bytes(range(256)) * 4096
    switch = "1" if restarted else "0"
    async with background(configured(tmp_path, sides, KILL_SWITCH=switch)) as b:
        await b.write(spooled(b, body, "a"))
        if not restarted:
            await b.done(1)
    async with background(configured(tmp_path, sides)) as b:
        await b.done(1)
        assert [seen.body == body for seen in new.seen] == [True]
        await until(lambda: not list((tmp_path / "spool").iterdir()))


async def test_a_spool_file_that_is_gone_makes_a_dead_letter(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    gate = Gate(Answer(503))
    new.will("/long", gate)
    async with background(configured(tmp_path, sides, **FAST)) as b:
        intent = await b.write(spooled(b, b"x" * 100, "a"))
        await until(lambda: gate.held)
        (tmp_path / str(intent.spool)).unlink()
        gate.open()
        await b.write(a_write("/behind"))
        await b.done(1)
        assert intent.state is State.DEAD
        assert intent.reason.startswith("damaged_payload: the spool file cannot be read")


async def test_a_spool_file_that_changed_is_not_sent(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    gate = Gate(Answer(503))
    new.will("/long", gate)
    async with background(configured(tmp_path, sides, **FAST)) as b:
        intent = await b.write(spooled(b, b"x" * 100, "a"))
        await until(lambda: gate.held)
        (tmp_path / str(intent.spool)).write_bytes(b"x" * 99 + b"y")
        gate.open()
        await until(lambda: intent.state is State.DEAD)
        assert [seen.body for seen in new.seen] == [b"x" * 100]


@contextmanager
def without_reading(file: Path) -> Iterator[None]:
    """Reading this file is EIO: nothing is at the beginning of a process's memory."""
    content = file.read_bytes()
    file.unlink()
    file.symlink_to("/proc/self/mem")
    try:
        yield
    finally:
        file.unlink()
        file.write_bytes(content)


@contextmanager
def without_opening(_: Path) -> Iterator[None]:
    """Opening any file is EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("trouble", [without_reading, without_opening])
async def test_a_spool_file_that_cannot_be_read_for_a_while_is_waited_for(
    tmp_path: Path, sides: Sides, trouble: Callable[[Path], AbstractContextManager[None]]
) -> None:
    _, new = sides
    gate = Gate(Answer(503))
    new.will("/long", gate)
    async with background(configured(tmp_path, sides, **FAST)) as b:
        intent = await b.write(spooled(b, b"x" * 100, "a"))
        await until(lambda: gate.held)
        await b.write(a_write("/behind"))
        with trouble(tmp_path / str(intent.spool)):
            gate.open()
            await until(lambda: b.tally.journal_errors > 1)
            assert intent.state is State.S_PENDING
        await b.done(2)
        assert [seen.body for seen in new.seen] == [b"x" * 100, b"x" * 100, b"{}"]


async def test_a_bug_of_ours_holds_its_lane_up_for_a_few_tries_only(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    new.will("/a", *[Answer(503)] * FAILED_MAX)

    def no_chance() -> float:
        raise ZeroDivisionError

    config = configured(tmp_path, sides, **{**FAST, "DELIVERY_BACKOFF_MAX_MS": "1"})
    async with background(config, chance=no_chance, fails=True) as b:
        intent = await b.write(a_write("/a"))
        await until(lambda: intent.state is State.DEAD)
        await until(lambda: b.events().count("task_failed") == FAILED_MAX)
        assert (intent.reason, len(new.seen)) == ("internal_error", FAILED_MAX)
        assert len(b.delivery) == 0


async def test_a_journal_that_cannot_be_read_for_a_while_loses_nothing(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    gate = Gate()
    new.will("/first", gate)
    config = configured(tmp_path, sides, **FAST, DELIVERY_MEMORY_BYTES_MAX="100")
    async with background(config) as b:
        await b.write(a_write("/first"))
        await b.write(a_write("/second"))
        await until(lambda: gate.held)
        call = b.journal.writer.call
        await call(lambda db: db.execute("ALTER TABLE intents RENAME TO elsewhere"))
        gate.open()
        await until(lambda: b.tally.journal_errors)
        assert b.delivery.oldest_s() > 0
        await call(lambda db: db.execute("ALTER TABLE elsewhere RENAME TO intents"))
        await b.done(2)
        assert new.targets() == ["/first", "/second"]


# restarts


async def test_a_restart_goes_on_in_order(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    gate = Gate()
    new.will("/2", gate)
    async with background(configured(tmp_path / "a", sides)) as b:
        for n in range(6):
            await b.write(a_write(f"/{n}"))
        await until(lambda: gate.held)
        await b.flushed()
        copy = crashed(tmp_path / "a", tmp_path / "b")
    assert new.targets() == ["/0", "/1", "/2"]
    async with background(configured(copy, sides)) as b:
        assert len(b.delivery) == 4
        await b.write(a_write("/6"))
        await b.done(7)
        assert new.targets() == ["/0", "/1", "/2", *(f"/{n}" for n in range(2, 7))]


async def test_what_was_cancelled_on_its_way_is_sent_again_by_the_next_process(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    gate = Gate()
    new.will("/a", gate)
    async with background(configured(tmp_path, sides)) as b:
        intent = await b.write(a_write("/a"))
        await until(lambda: gate.held)
        await b.rooms.fibers.cancel()
        assert intent.state is State.S_SENT
    async with background(configured(tmp_path, sides)) as b:
        await b.done(1)
        assert new.targets() == ["/a", "/a"]
        assert new.seen[0] == new.seen[1]


# what it tells


async def test_it_tells_how_much_and_how_old_the_backlog_is(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    gate = Gate()
    new.always = gate
    async with background(configured(tmp_path, sides)) as b:
        assert b.delivery.oldest_s() == 0
        for age in (3.0, 2.0, 1.0):
            (await b.write(a_write("/a"))).since -= age
        assert len(b.delivery) == 3
        assert 3.0 < b.delivery.oldest_s() < 13.0
        gate.open()
        await b.done(3)
        assert (len(b.delivery), b.delivery.oldest_s()) == (0, 0)


async def test_a_verdict_is_counted_when_it_is_final_and_only_then(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    new.will("/a", Answer(503), Answer(200, b'{"a": 1}'))
    async with background(configured(tmp_path, sides, **FAST)) as b:
        intent = await b.write(a_write("/a"), a_reply(200, b'{"a": 2}'))
        await b.done(1)
        await b.flushed()
        verdicts = {word.value: count for word, count in b.tally.verdicts.items() if count}
        assert verdicts == {"mismatch": 1}
        assert row(b, intent)["verdict"] == "mismatch"
        (kept,) = rows(b.ledger.writer.path, "SELECT * FROM verdicts")
        assert (kept["intent"], kept["route"], kept["verdict"]) == (1, "default", "mismatch")


# many at once: what ends at once must not do so within what ended before it

MANY = 5000

UNREADABLE = """
[[routes]]
name = "change"
path = "/orders/{id}"
[routes.translate]
"json:/to" = "order"
"""


async def owed(b: Background, intents: list[Intent]) -> list[Intent]:
    """They are settled and released, all in one turn of the loop."""
    begun_ = [await begun(b.journal, intent) for intent in intents]
    for intent in begun_:
        b.delivery.reserve(intent)
        b.journal.order(intent)
    settling = [b.journal.settle(each, Event.PRIMARY_APPLIED, a_reply()) for each in begun_]
    for error in await asyncio.gather(*settling):
        assert error is None
    for intent in begun_:
        b.delivery.release(intent)
    return begun_


@pytest.mark.parametrize("lanes", [1, MANY])
async def test_thousands_that_cannot_be_translated_end_one_after_the_other(
    tmp_path: Path, sides: Sides, lanes: int
) -> None:
    _, new = sides
    async with background(configured(tmp_path, sides, UNREADABLE, **FAST)) as b:
        b.delivery.pause()
        request = a_request("PUT", "/orders/1", b"no JSON")
        await owed(
            b, [an_intent(f"{n % lanes}", request=request, route="change") for n in range(MANY)]
        )
        b.delivery.start()
        await b.reaches(lambda: b.states() == {"dead": MANY}, 20)
        assert (len(b.delivery), new.seen, b.delivery._dispatch._in_work) == (0, [], 0)


async def test_thousands_wait_for_one_identity_and_go_on_together(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    new.will("/orders", created("x"))
    async with background(configured(tmp_path, sides, ORDERS, **FAST)) as b:
        count = 1000
        request = a_request("PUT", "/orders/1", b"{}")
        await owed(b, [an_intent(request=request, route="change") for _ in range(count)])
        await b.reaches(lambda: b.states() == {"parked": count}, 20)
        create = a_write("/orders", method="POST", route="create")
        await b.write(create, a_reply(201, b'{"id": 1}'))
        await b.reaches(lambda: b.states() == {"done": count + 1}, 20)
        assert set(new.targets()) == {"/orders", "/orders/x"}
        assert len(b.delivery._parked) == 0


async def test_thousands_of_damaged_payloads_are_dead_letters(tmp_path: Path, sides: Sides) -> None:
    _, new = sides
    count = 1000
    async with background(configured(tmp_path, sides, KILL_SWITCH="1")) as b:
        await owed(b, [a_write(f"/{n}") for n in range(count)])
    async with opened(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.execute("UPDATE intents SET digest = zeroblob(16)")
        db.commit()
    async with background(configured(tmp_path, sides)) as b:
        await b.reaches(lambda: b.states() == {"dead": count}, 20)
        assert (new.seen, len(b.delivery)) == ([], 0)


async def test_a_write_that_ends_at_once_frees_one_of_a_category_that_was_not_seen_before(
    tmp_path: Path, sides: Sides
) -> None:
    _, new = sides
    gate = Gate()
    new.will("/first", gate)
    settings = {**FAST, "DELIVERY_CONCURRENCY_MAX": "1"}
    async with background(configured(tmp_path, sides, UNREADABLE, **settings)) as b:
        await b.write(a_write("/first", "a", category="one"))
        await until(lambda: gate.held)
        bad = a_request("PUT", "/orders/1", b"no JSON")
        await b.write(an_intent("b", request=bad, route="change", category="two"))
        await b.write(a_write("/last", "b", category="three"))
        gate.open()
        await b.done(2)
        assert new.targets() == ["/first", "/last"]


# all of it at once


@pytest.mark.parametrize("seed", range(4))
async def test_over_faults_and_kills_every_lane_ends_as_the_primary_left_it(
    tmp_path: Path, sides: Sides, seed: int
) -> None:
    _, new = sides
    chance = Random(seed)
    settings = {**FAST, "BREAKER_ENABLED": "true", "BREAKER_CALLS_MIN": "5",
                "BREAKER_OPEN_SECONDS": "0.05", "BREAKER_RAMP_SECONDS": "0.05",
                "BACKENDS_NEW_FIRST_BYTE_TIMEOUT_MS": "20", "DELIVERY_MEMORY_BYTES_MAX": "2000"}  # fmt: skip
    faults: list[Answer | Fault] = [Answer(503), Answer(429), Fault.RESET, Fault.RESET, Fault.HANG]
    applied: list[str] = []

    async def answer(seen: Seen) -> Answer | Fault:
        await asyncio.sleep(chance.random() * 0.003)
        fault = chance.choice(faults) if chance.random() < 0.2 else Answer()
        if (
            isinstance(fault, Fault) or fault.status == 200
        ):  # one that hangs or resets may have acted
            applied.append(seen.target)
        return fault

    new.always = answer
    written: dict[str, tuple[str, ...]] = {}
    for life in range(4):
        directory = tmp_path / str(life)
        async with background(configured(directory, sides, **settings), chance=chance.random) as b:
            for _ in range(20):
                lanes = tuple(sorted(chance.sample("abcde", chance.choice((0, 1, 1, 2)))))
                target = f"/{len(written)}"
                written[target] = lanes
                request = a_request("PUT", target, b"x" * chance.randrange(500))
                await b.write(an_intent(*lanes, request=request, received_at=b.journal.now()))
                await asyncio.sleep(chance.random() * 0.01)
            if life < 3:
                crashed(directory, tmp_path / str(life + 1))
            else:
                await b.reaches(lambda: not len(b.delivery), 20)
                await b.flushed()
                assert set(b.states()) == {"done"}
    assert set(applied) == set(written)
    for lane in "abcde":
        mine = [target for target in applied if lane in written[target]]
        last = sorted(set(mine), key=lambda target: len(mine) - mine[::-1].index(target))
        assert last == [target for target, lanes in written.items() if lane in lanes]
