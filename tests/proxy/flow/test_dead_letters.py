"""Dead letters: they hold their lanes or are overtaken, over restarts, until a person has acted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.store.intent import Intent
from rules.fate import State
from tests.proxy.flow.background import FAST, Background, background, configured
from tests.proxy.flow.scripted import Answer, Scripted, backends
from tests.proxy.samples import a_request, an_intent, journaled

Sides = tuple[Scripted, Scripted]
BLOCK = {**FAST, "DELIVERY_ON_DEAD": "block"}
SKIP = {**FAST, "DELIVERY_ON_DEAD": "skip"}


@pytest.fixture
async def sides() -> AsyncIterator[Sides]:
    async with backends() as both:
        both[1].will("/refused", Answer(422))
        yield both


def a_write(target: str, *lanes: str) -> Intent:
    return an_intent(*(lanes or ("a",)), request=a_request("PUT", target, b"{}"))


async def refused_first(b: Background) -> tuple[Intent, Intent]:
    """A dead letter, and a write of its lane behind it."""
    first = await b.write(a_write("/refused"))
    second = await b.write(a_write("/second"))
    await b.reaches(lambda: b.tally.states[State.DEAD] == 1)
    return first, second


async def test_it_holds_its_lane_and_no_other(tmp_path: Path, sides: Sides) -> None:
    async with background(configured(tmp_path, sides, **BLOCK)) as b:
        first, second = await refused_first(b)
        await b.write(a_write("/other", "b"))
        await b.done(1)
        assert sides[1].targets() == ["/refused", "/other"]
        assert second.state is State.S_PENDING
        assert b.delivery.dead(first.id) is first
        assert b.delivery.dead_count == 1
        assert first.request is None  # its payload is on disk


async def test_it_is_sent_again_before_those_behind_it(tmp_path: Path, sides: Sides) -> None:
    async with background(configured(tmp_path, sides, **BLOCK)) as b:
        first, _ = await refused_first(b)
        b.delivery.revive(first)
        await b.done(2)
        assert sides[1].targets() == ["/refused", "/refused", "/second"]
        assert b.delivery.dead_count == 0


async def test_waived_it_lets_its_lane_go_on(tmp_path: Path, sides: Sides) -> None:
    async with background(configured(tmp_path, sides, **BLOCK)) as b:
        first, _ = await refused_first(b)
        b.delivery.waive(first, "Ada: sent by hand")
        await b.done(1)
        await b.flushed()
        row = journaled(tmp_path)[first.id]
        assert (row["state"], row["reason"]) == ("waived", "Ada: sent by hand")
        assert row["payload"] is None


@pytest.mark.parametrize("act", ["retry", "waive"])
async def test_it_holds_its_lane_over_a_restart(tmp_path: Path, sides: Sides, act: str) -> None:
    async with background(configured(tmp_path, sides, **BLOCK)) as b:
        first, _ = await refused_first(b)
        await b.flushed()
    async with background(configured(tmp_path, sides, **BLOCK)) as b:
        await b.write(a_write("/third"))
        held = b.delivery.dead(first.id)
        assert held is not None
        assert sides[1].targets() == ["/refused"]
        if act == "retry":
            b.delivery.revive(held)
        else:
            b.delivery.waive(held, "Ada: not needed")
        await b.reaches(lambda: not len(b.delivery))
        assert sides[1].targets()[1:] == ["/refused"] * (act == "retry") + ["/second", "/third"]


async def test_skipped_it_is_marked_as_overtaken_for_good(tmp_path: Path, sides: Sides) -> None:
    async with background(configured(tmp_path, sides, **SKIP)) as b:
        first, second = await refused_first(b)
        await b.done(1)
        await b.flushed()
        assert second.state is State.DONE
        assert journaled(tmp_path)[first.id]["overtaken"] == 1
    async with background(configured(tmp_path, sides, **BLOCK)) as b:
        assert b.delivery.dead(first.id) is None  # what went on cannot be held any more
        found = await b.journal.find(first.id)
        assert found is not None
        assert found.overtaken
        b.delivery.revive(found)
        await b.reaches(lambda: not len(b.delivery))
        assert sides[1].targets() == ["/refused", "/second", "/refused"]


async def test_without_lanes_there_is_nothing_to_hold(tmp_path: Path, sides: Sides) -> None:
    async with background(configured(tmp_path, sides, **BLOCK)) as b:
        intent = an_intent(request=a_request("PUT", "/refused", b"{}"))
        intent.lanes = ()
        await b.write(intent)
        await b.reaches(lambda: b.tally.states[State.DEAD] == 1)
        assert b.delivery.dead_count == 0
        assert not intent.overtaken


async def test_an_edited_one_is_sent_as_it_is_now(tmp_path: Path, sides: Sides) -> None:
    async with background(configured(tmp_path, sides, **BLOCK)) as b:
        first, _ = await refused_first(b)
        assert await b.journal.replace(first, a_request("PATCH", "/mended", b"[1]")) is None
        b.delivery.revive(first)
        await b.done(2)
        assert [(each.method, each.target, each.body) for each in sides[1].seen][1:] == [
            ("PATCH", "/mended", b"[1]"),
            ("PUT", "/second", b"{}"),
        ]


async def test_what_a_person_sends_again_has_all_its_tries(tmp_path: Path, sides: Sides) -> None:
    sides[1].will("/sick", *[Answer(503)] * 4)
    few = {**BLOCK, "DELIVERY_ATTEMPTS_MAX": "3"}
    async with background(configured(tmp_path, sides, **few)) as b:
        intent = await b.write(a_write("/sick"))
        await b.reaches(lambda: b.tally.states[State.DEAD] == 1)
        b.delivery.revive(intent)
        await b.done(1)
        assert sides[1].targets() == ["/sick"] * 5
