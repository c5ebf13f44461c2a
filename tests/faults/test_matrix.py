"""Every fault of a backend, at either side, for relayed and mirrored requests: one row per cell.

Each row says what the client sees and when, what becomes of the write (semantics.md, section 3), and
that the next request is answered rightly: no answer is ever taken for that of another request.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.backend import MEASURED, Backend, Fault, backends, good_reply
from tests.faults.client import Answer, Client, End
from tests.faults.sidecar import (
    CONFIG,
    FIRST_BYTE_SECONDS,
    SLACK_SECONDS,
    TOTAL_SECONDS,
    Running,
    happened,
    running,
)
from tests.proxy.wire.raw import on_uvloop

AT_ONCE = 0.0
ENOUGH = 1 << 20
"""So much of a body without end is enough."""

LONGER = TOTAL_SECONDS + SLACK_SECONDS / 2
"""How long a client waits before it believes that nobody will end its answer."""

BODY = b"the write that meets a fault"
LONG_BODY = b"long" * (1 << 21)
"""More than the buffers between a client and a backend that reads nothing."""


@dataclass(frozen=True)
class Row:
    """What the client sees: a status (0: none), how it ends, and not before which time-out."""

    status: int
    end: End
    after: float = AT_ONCE


@dataclass(frozen=True)
class Mirrored:
    """A row of a mirrored write: also the intent's end state, and the outcome that is counted."""

    row: Row
    state: str
    outcome: str


RELAYED = {
    Fault.REFUSE: Row(502, End.KEPT),
    Fault.HANG: Row(504, End.KEPT, FIRST_BYTE_SECONDS),
    Fault.RESET_BEFORE_REPLY: Row(502, End.KEPT),
    Fault.RESET_MID_BODY: Row(200, End.BROKEN),
    Fault.RESET_LONG_BODY: Row(200, End.BROKEN),
    Fault.STALL_MID_BODY: Row(
        200, End.BROKEN, TOTAL_SECONDS
    ),  # a stream may last, but not pause so long
    Fault.DRIP_HEAD: Row(504, End.KEPT, FIRST_BYTE_SECONDS),
    Fault.DRIP_BODY: Row(200, End.KEPT, TOTAL_SECONDS),  # a stream may last
    Fault.GARBAGE: Row(502, End.KEPT),
    Fault.INTERIM_FLOOD: Row(502, End.KEPT),  # there is a limit to them
    Fault.INTERIM_DRIP: Row(504, End.KEPT, FIRST_BYTE_SECONDS),
    Fault.FEWER: Row(200, End.BROKEN),
    Fault.MORE: Row(200, End.KEPT),
    Fault.EARLY: Row(413, End.CLOSED),  # the rest of the body was not taken
    Fault.CLOSE_AT_REUSE: Row(502, End.KEPT),
    Fault.ENDLESS: Row(200, End.OPEN),
}

PRIMARY = {
    Fault.REFUSE: Mirrored(Row(502, End.KEPT), "not_sent", "refused"),
    Fault.HANG: Mirrored(Row(504, End.KEPT, FIRST_BYTE_SECONDS), "unknown", "timeout"),
    Fault.RESET_BEFORE_REPLY: Mirrored(Row(502, End.KEPT), "unknown", "reset"),
    Fault.RESET_MID_BODY: Mirrored(Row(502, End.KEPT), "unknown", "reset"),
    Fault.RESET_LONG_BODY: Mirrored(Row(200, End.BROKEN), "done", "2xx"),
    Fault.STALL_MID_BODY: Mirrored(Row(504, End.KEPT, TOTAL_SECONDS), "unknown", "timeout"),
    Fault.DRIP_HEAD: Mirrored(Row(504, End.KEPT, FIRST_BYTE_SECONDS), "unknown", "timeout"),
    Fault.DRIP_BODY: Mirrored(Row(504, End.KEPT, TOTAL_SECONDS), "unknown", "timeout"),
    Fault.GARBAGE: Mirrored(Row(502, End.KEPT), "unknown", "broken_reply"),
    Fault.INTERIM_FLOOD: Mirrored(Row(502, End.KEPT), "unknown", "broken_reply"),
    Fault.INTERIM_DRIP: Mirrored(Row(504, End.KEPT, FIRST_BYTE_SECONDS), "unknown", "timeout"),
    Fault.FEWER: Mirrored(Row(502, End.KEPT), "unknown", "reset"),
    Fault.MORE: Mirrored(Row(200, End.KEPT), "done", "2xx"),
    Fault.EARLY: Mirrored(Row(413, End.KEPT), "p_rejected", "4xx"),
    Fault.CLOSE_AT_REUSE: Mirrored(Row(502, End.KEPT), "unknown", "reset"),
    Fault.ENDLESS: Mirrored(Row(200, End.OPEN), "done", "2xx"),
}

SECONDARY = {  # the outcome that is counted, and the state while it is sick
    Fault.REFUSE: ("refused", "s_pending"),
    Fault.HANG: ("timeout", "s_pending"),
    Fault.RESET_BEFORE_REPLY: ("reset", "s_pending"),
    Fault.RESET_MID_BODY: ("reset", "s_pending"),
    Fault.RESET_LONG_BODY: ("2xx", "done"),  # what is compared had arrived
    Fault.STALL_MID_BODY: ("timeout", "s_pending"),
    Fault.DRIP_HEAD: ("timeout", "s_pending"),
    Fault.DRIP_BODY: ("timeout", "s_pending"),
    Fault.GARBAGE: ("broken_reply", "s_pending"),
    Fault.INTERIM_FLOOD: ("broken_reply", "s_pending"),
    Fault.INTERIM_DRIP: ("timeout", "s_pending"),
    Fault.FEWER: ("reset", "s_pending"),
    Fault.MORE: ("2xx", "done"),
    Fault.EARLY: ("4xx", "dead"),
    Fault.CLOSE_AT_REUSE: ("reset", "done"),  # the second try has a connection of its own
    Fault.ENDLESS: ("2xx", "done"),
}


@dataclass(frozen=True)
class Place:
    """A sidecar between two backends of raw bytes, and one client."""

    sidecar: Running
    legacy: Backend
    new: Backend
    client: Client


@asynccontextmanager
async def place(directory: Path) -> AsyncIterator[Place]:
    async with backends() as (legacy, new):
        text = CONFIG.format(legacy=legacy.port, new=new.port, directory=directory)
        async with running(text, directory) as sidecar:
            client = Client(sidecar.host, sidecar.port)
            try:
                yield Place(sidecar, legacy, new, client)
            finally:
                await client.leave()


async def meet(where: Place, target: str, fault: Fault, patience: float = 5.0) -> Answer:
    """Send a write to backends of which one has a fault."""
    if fault is Fault.CLOSE_AT_REUSE:
        answer = await where.client.ask(target, b"before")
        assert answer.raw == good_reply("POST", b"before")
    body = LONG_BODY if fault is Fault.EARLY else BODY
    enough = ENOUGH if where.legacy.fault is Fault.ENDLESS else None
    return await where.client.ask(target, body, patience=patience, enough=enough)


def sent(fault: Fault) -> list[bytes]:
    """The bodies of `meet`, and of the write that follows."""
    before = [b"before"] if fault is Fault.CLOSE_AT_REUSE else []
    return [*before, LONG_BODY if fault is Fault.EARLY else BODY, b"next"]


def assert_seen(answer: Answer, row: Row) -> None:
    assert (answer.status, answer.end) == (row.status, row.end)
    if answer.status >= 500:
        assert b"application/problem+json" in answer.raw
    if answer.end is not End.OPEN:
        assert row.after <= answer.seconds < row.after + SLACK_SECONDS
    if answer.status == 200 and answer.end is End.KEPT:
        assert answer.body in (MEASURED, 4 * MEASURED)


async def assert_next_is_right(where: Place, target: str) -> None:
    """On the same connection where it stays, else on a new one."""
    for body in (b"next", b"and another") if target.startswith("/relay") else (b"next",):
        answer = await where.client.ask(target, body)
        assert (answer.raw, answer.end) == (good_reply("POST", body), End.KEPT)


@pytest.mark.parametrize("fault", Fault)
@on_uvloop
async def test_a_relayed_request_meets_a_fault_of_the_primary(tmp_path: Path, fault: Fault) -> None:
    row = RELAYED[fault]
    async with place(tmp_path) as where:
        await where.new.heal()
        if fault is not Fault.REFUSE:
            await where.legacy.heal()
        where.legacy.fault = fault
        answer = await meet(where, "/relay/a", fault, LONGER if row.end is End.OPEN else 5.0)

        assert_seen(answer, row)
        if row.end is End.OPEN:
            await where.legacy.ended.wait()  # the client left: so does the sidecar
        await where.legacy.heal()
        used = where.legacy.connections
        await assert_next_is_right(where, "/relay/a")
        if fault is not Fault.DRIP_BODY:  # slow, but right
            assert (
                where.legacy.connections == used + 1
            )  # the one with the fault is never used again
        assert where.client.connections == (1 if row.end is End.KEPT else 2)
        status = await where.sidecar.settled()
    assert happened(status) == {}
    assert where.new.connections == 0


@pytest.mark.parametrize("fault", Fault)
@on_uvloop
async def test_a_mirrored_write_meets_a_fault_of_the_primary(tmp_path: Path, fault: Fault) -> None:
    expected = PRIMARY[fault]
    async with place(tmp_path) as where:
        await where.new.heal()
        if fault is not Fault.REFUSE:
            await where.legacy.heal()
        where.legacy.fault = fault
        answer = await meet(where, "/dual/a", fault)

        assert_seen(answer, expected.row)
        await where.sidecar.settled()
        counts = await where.sidecar.outcomes("primary")
        assert counts == ({"2xx": 1} if fault is Fault.CLOSE_AT_REUSE else {}) | {
            expected.outcome: 1
        }
        if expected.row.end is End.OPEN:
            await where.legacy.ended.wait()
        await where.legacy.heal()
        used = where.legacy.connections
        await assert_next_is_right(where, "/dual/a")
        assert where.legacy.connections == used + 1  # the one with the fault is never used again
        await where.sidecar.settled()
        assert where.client.connections == (1 if expected.row.end is End.KEPT else 2)
    before = ["done"] if fault is Fault.CLOSE_AT_REUSE else []
    assert where.sidecar.states() == [*before, expected.state, "done"]
    *first, met, following = sent(fault)
    owed = [met] if expected.state == "done" else []
    assert [seen.body for seen in where.new.seen] == [*first, *owed, following]


@pytest.mark.parametrize("fault", Fault)
@on_uvloop
async def test_a_relayed_request_never_meets_a_fault_of_the_secondary(
    tmp_path: Path, fault: Fault
) -> None:
    async with place(tmp_path) as where:
        await where.legacy.heal()
        if fault is not Fault.REFUSE:
            await where.new.heal()
        where.new.fault = fault
        for _ in range(2):
            await assert_next_is_right(where, "/relay/a")

        assert happened(await where.sidecar.settled()) == {}
        assert where.client.connections == 1
        assert await where.sidecar.outcomes("secondary") == {}
    assert where.new.connections == 0
    assert len(where.legacy.seen) == 4


@pytest.mark.parametrize("fault", Fault)
@on_uvloop
async def test_a_mirrored_write_does_not_show_its_client_a_fault_of_the_secondary(
    tmp_path: Path, fault: Fault
) -> None:
    outcome, state = SECONDARY[fault]
    async with place(tmp_path) as where:
        await where.legacy.heal()
        if fault is not Fault.REFUSE:
            await where.new.heal()
        where.new.fault = fault
        answer = await meet(where, "/dual/a", fault)
        await assert_next_is_right(where, "/dual/a")

        assert answer.raw == good_reply("POST", sent(fault)[-2])
        assert answer.seconds < SLACK_SECONDS
        assert where.client.connections == 1
        await counted(where.sidecar, outcome)
        if state == "s_pending":
            assert (await where.sidecar.status())["backlog"]["rows"] == 2
        await where.new.heal()
        await where.sidecar.settled()
    if state == "dead":
        assert where.sidecar.states()[0] == "dead"
    else:
        assert set(where.sidecar.states()) == {"done"}
        assert where.new.bodies() == sent(fault)  # in the primary's order
    assert_keys_are_stable(where.new)


async def counted(sidecar: Running, outcome: str) -> None:
    """Wait until such an outcome of the secondary is counted."""
    while not (await sidecar.outcomes("secondary")).get(outcome):
        await asyncio.sleep(0.01)


def assert_keys_are_stable(new: Backend) -> None:
    """A write that is sent again carries the key that it was first sent with."""
    keys: dict[bytes, set[bytes]] = {}
    for seen in new.seen:
        keys.setdefault(seen.body, set()).add(seen.key)
    assert all(len(found) == 1 for found in keys.values())
    assert len({key for found in keys.values() for key in found}) == len(keys)


def test_every_cell_has_its_row() -> None:
    for table in (RELAYED, PRIMARY, SECONDARY):
        assert set(table) == set(Fault)
    assert {mirrored.state for mirrored in PRIMARY.values()} == {
        "not_sent", "unknown", "p_rejected", "done",
    }  # fmt: skip
