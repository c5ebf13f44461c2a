"""Fibers: what they may wait for, that none is lost or fails unseen, and how they end."""

import asyncio
import gc
import io
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from proxy.control.log import Log
from proxy.fiber import Fibers, Slot
from tests.proxy.samples import until
from tests.proxy.wire.raw import on_uvloop


def fibers_and_log() -> tuple[Fibers, io.StringIO]:
    stream = io.StringIO()
    return Fibers(Log(stream)), stream


def done(value: int) -> Slot[int]:
    slot: Slot[int] = Slot()
    slot.resolve(value)
    return slot


# a slot


def test_the_first_value_of_a_slot_counts() -> None:
    slot: Slot[int] = Slot()
    told: list[int] = []
    slot.told = lambda: told.append(slot.result())
    slot.resolve(1)
    slot.resolve(2)
    assert (slot.done, slot.result(), told) == (True, 1, [1])


def test_who_left_a_slot_is_not_told() -> None:
    slot: Slot[int] = Slot()
    told: list[int] = []
    slot.told = lambda: told.append(1)
    slot.told = None
    slot.resolve(1)
    assert told == []


def test_a_slot_without_a_value_has_no_result() -> None:
    with pytest.raises(AssertionError):
        Slot[int]().result()


async def test_a_task_waits_for_a_slot() -> None:
    slot: Slot[int] = Slot()

    async def wait() -> int:
        return await slot

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert not task.done()
    slot.resolve(7)
    assert not task.done()  # at its next turn
    assert await task == 7
    assert await slot == 7


@on_uvloop
async def test_a_task_that_waits_for_a_slot_can_be_cancelled() -> None:
    slot: Slot[int] = Slot()

    async def wait() -> int:
        return await slot

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    slot.resolve(7)  # too late for it
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slot.result() == 7


@on_uvloop
async def test_a_task_that_was_told_and_is_cancelled_in_the_same_turn_is_cancelled() -> None:
    slot: Slot[int] = Slot()

    async def wait() -> int:
        return await slot

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    slot.resolve(7)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_time_out_ends_the_wait_for_a_slot_and_not_the_slot() -> None:
    slot: Slot[int] = Slot()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await slot
    slot.resolve(7)
    assert await slot == 7


# what a fiber waits for


async def soon(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def nested(value: int) -> int:
    return await soon(await done(value))


async def in_thread(value: int) -> int:
    return await asyncio.to_thread(lambda: value)


async def in_pool(value: int) -> int:
    with ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, lambda: value)


async def in_task(value: int) -> int:
    return await asyncio.create_task(soon(value))


async def several(value: int) -> int:
    return sum(await asyncio.gather(soon(value), soon(0)))


async def slept(value: int) -> int:
    await asyncio.sleep(0.001)
    return value


async def of_a_done_future(value: int) -> int:
    future = asyncio.get_running_loop().create_future()
    future.set_result(value)
    found: int = await future
    return found


async def of_a_done_slot(value: int) -> int:
    return await done(value)


async def shielded(value: int) -> int:
    return await asyncio.shield(soon(value))


WAITS = [soon, nested, in_thread, in_pool, in_task, several, slept, of_a_done_future, of_a_done_slot,
         shielded]  # fmt: skip


@pytest.mark.parametrize("wait", WAITS)
def test_a_fiber_waits_for_whatever_a_task_does(wait: Callable[[int], Awaitable[int]]) -> None:
    async def test() -> None:
        fibers, log = fibers_and_log()
        found: list[int] = []

        async def work() -> None:
            found.append(await wait(7))
            found.append(await wait(8))

        fibers.start(work())
        await until(lambda: len(found) == 2)
        assert (found, len(fibers), log.getvalue()) == ([7, 8], 0, "")

    asyncio.run(test())
    on_uvloop(test)()


async def test_a_fiber_runs_at_once_until_it_waits_and_goes_on_in_the_call_that_tells_it() -> None:
    fibers, _ = fibers_and_log()
    first, second = Slot[int](), Slot[int]()
    seen: list[int] = []

    async def work() -> None:
        seen.append(0)
        seen.append(await first)
        seen.append(await done(2))
        seen.append(await second)

    fibers.start(work())
    assert seen == [0]
    first.resolve(1)
    assert seen == [0, 1, 2]
    second.resolve(3)
    assert (seen, len(fibers)) == ([0, 1, 2, 3], 0)


async def test_what_a_future_fails_with_is_raised_in_the_fiber() -> None:
    fibers, _ = fibers_and_log()
    seen: list[str] = []

    async def fail() -> None:
        raise ValueError("why")

    async def work() -> None:
        try:
            await asyncio.create_task(fail())
        except ValueError as error:
            seen.append(str(error))

    fibers.start(work())
    await until(lambda: seen)
    assert (seen, len(fibers)) == (["why"], 0)


async def test_a_slot_may_be_resolved_by_who_was_told_of_another_one() -> None:
    fibers, log = fibers_and_log()
    count = 100
    slots = [Slot[int]() for _ in range(count)]
    ended: list[int] = []

    async def work(number: int) -> None:
        found = await slots[number]
        if number + 1 < count:
            slots[number + 1].resolve(found + 1)
        ended.append(found)

    for number in range(count):
        fibers.start(work(number))
    slots[0].resolve(0)
    assert ended == list(reversed(range(count)))  # each within the one before
    assert (len(fibers), log.getvalue()) == (0, "")


async def test_a_fiber_may_start_another_one_and_wait_for_what_it_says() -> None:
    fibers, _ = fibers_and_log()
    told: Slot[int] = Slot()
    seen: list[int] = []

    async def inner() -> None:
        await asyncio.sleep(0)
        told.resolve(7)

    async def outer() -> None:
        fibers.start(inner())
        seen.append(await told)

    fibers.start(outer())
    assert len(fibers) == 2
    assert await fibers.drain(1) == 0
    assert seen == [7]


# ends


async def test_a_fiber_is_held_until_it_ends() -> None:
    fibers, log = fibers_and_log()
    gate = asyncio.Event()
    ended: list[int] = []

    async def work() -> None:
        await gate.wait()
        ended.append(1)

    fibers.start(work())
    gc.collect()
    assert len(fibers) == 1
    gate.set()
    await until(lambda: ended)
    await until(lambda: not len(fibers))
    assert log.getvalue() == ""


@pytest.mark.parametrize("turns", [0, 1])
async def test_a_fiber_that_fails_is_logged_and_the_others_go_on(turns: int) -> None:
    fibers, log = fibers_and_log()
    gate: Slot[None] = Slot()

    async def fail() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise KeyError("a bug")

    async def wait() -> None:
        await gate

    fibers.start(wait())
    fibers.start(fail())
    await until(log.getvalue)
    event = json.loads(log.getvalue())
    assert (event["event"], event["error"]) == ("task_failed", "KeyError: ***")
    assert "in fail" in event["traceback"]
    assert len(fibers) == 1
    gate.resolve(None)
    assert await fibers.drain(1) == 0


async def test_who_tells_a_fiber_that_fails_is_not_harmed() -> None:
    fibers, log = fibers_and_log()
    slot: Slot[int] = Slot()

    async def fail() -> None:
        raise KeyError(await slot)

    fibers.start(fail())
    slot.resolve(1)
    assert "KeyError: 1" in log.getvalue()


async def test_a_drain_waits_for_a_while_and_tells_how_many_are_left() -> None:
    fibers, log = fibers_and_log()
    gate: Slot[None] = Slot()

    async def wait() -> None:
        await gate

    async def sleep() -> None:
        await asyncio.sleep(0.001)

    fibers.start(wait())
    for _ in range(3):
        fibers.start(sleep())
    assert await fibers.drain(0.05) == 1
    await fibers.cancel()
    assert len(fibers) == 0
    assert log.getvalue() == ""


async def test_a_drain_of_nothing_takes_no_time() -> None:
    fibers, _ = fibers_and_log()
    assert await fibers.drain(1000) == 0
    await fibers.cancel()


async def test_a_drain_ends_with_the_last_fiber() -> None:
    fibers, _ = fibers_and_log()
    gate: Slot[None] = Slot()

    async def wait() -> None:
        await gate

    fibers.start(wait())
    draining = asyncio.create_task(fibers.drain(1000))
    await asyncio.sleep(0)
    gate.resolve(None)
    assert await draining == 0


# cancelled


@pytest.mark.parametrize("wait", [each for each in WAITS if each is not of_a_done_slot])
def test_a_fiber_is_cancelled_wherever_it_waits(wait: Callable[[int], Awaitable[int]]) -> None:
    async def test() -> None:
        fibers, log = fibers_and_log()
        seen: list[str] = []

        async def work() -> None:
            try:
                await wait(7)
                await Slot[None]()
            finally:
                seen.append("finally")

        for turns in range(4):
            fibers.start(work())
            for _ in range(turns):
                await asyncio.sleep(0)
            await fibers.cancel()
            assert (len(fibers), len(seen)) == (0, turns + 1)
        for _ in range(5):  # nobody comes back to what has ended
            await asyncio.sleep(0)
        assert log.getvalue() == ""

    asyncio.run(test())
    on_uvloop(test)()


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("end", WAITS)
def test_a_cancelled_fiber_finishes_what_it_has_to(
    wait: Callable[[int], Awaitable[int]], end: Callable[[int], Awaitable[int]]
) -> None:
    """Nothing that it waited for before wakes it up while it waits for something else."""

    async def test() -> None:
        fibers, log = fibers_and_log()
        seen: list[int] = []

        async def work() -> None:
            try:
                await wait(1)
                await Slot[None]()
            finally:
                later: Slot[int] = Slot()
                asyncio.get_running_loop().call_later(0.002, later.resolve, 2)
                seen.append(await later)
                seen.append(await end(3))

        for turns in range(4):
            seen.clear()
            fibers.start(work())
            for _ in range(turns):
                await asyncio.sleep(0)
            await fibers.cancel()
            assert (len(fibers), seen, log.getvalue()) == (0, [2, 3], "")

    asyncio.run(test())


async def test_a_slot_that_is_resolved_after_its_fiber_was_cancelled_wakes_nobody() -> None:
    fibers, log = fibers_and_log()
    slot: Slot[int] = Slot()

    async def work() -> None:
        await slot

    fibers.start(work())
    await fibers.cancel()
    slot.resolve(1)
    assert (len(fibers), log.getvalue()) == (0, "")


async def test_a_fiber_does_not_begin_what_the_end_of_another_one_lets_it_begin() -> None:
    fibers, log = fibers_and_log()
    turn: Slot[None] = Slot()
    ended: list[str] = []

    async def first() -> None:
        try:
            await Slot[None]()
        finally:
            turn.resolve(None)  # as who leaves a turnstile does

    async def second() -> None:
        try:
            await turn
            ended.append("begun")
        except asyncio.CancelledError:
            ended.append("cancelled")

    for _ in range(5):
        fibers.start(first())
        fibers.start(second())
        await fibers.cancel()
        turn = Slot()
    assert (len(fibers), ended, log.getvalue()) == (0, ["cancelled"] * 5, "")


async def test_what_fails_while_it_is_cancelled_is_logged() -> None:
    fibers, log = fibers_and_log()

    async def stubborn() -> None:
        try:
            await Slot[None]()
        finally:
            raise KeyError("on the way out")

    fibers.start(stubborn())
    await fibers.cancel()
    assert "on the way out" in log.getvalue()
    assert len(fibers) == 0


async def test_what_is_cancelled_by_another_ends_quietly() -> None:
    fibers, log = fibers_and_log()
    task = asyncio.create_task(asyncio.sleep(1000))

    async def work() -> None:
        await task

    fibers.start(work())
    await asyncio.sleep(0)
    task.cancel()
    assert await fibers.drain(1) == 0
    assert log.getvalue() == ""
