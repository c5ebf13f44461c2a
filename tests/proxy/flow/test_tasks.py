"""Background tasks: none is lost, none fails unseen, and all of them end."""

import asyncio
import gc
import io
import json

from proxy.control.log import Log
from proxy.flow.tasks import Tasks
from tests.proxy.samples import until


def tasks_and_log() -> tuple[Tasks, io.StringIO]:
    stream = io.StringIO()
    return Tasks(Log(stream)), stream


async def test_a_task_is_held_until_it_ends() -> None:
    tasks, log = tasks_and_log()
    gate = asyncio.Event()
    done: list[int] = []

    async def work() -> None:
        await gate.wait()
        done.append(1)

    tasks.spawn(work())
    gc.collect()
    assert len(tasks) == 1
    gate.set()
    await until(lambda: done)
    await until(lambda: not len(tasks))
    assert log.getvalue() == ""


async def test_a_task_that_fails_is_logged_and_the_others_go_on() -> None:
    tasks, log = tasks_and_log()
    gate = asyncio.Event()

    async def fail() -> None:
        raise KeyError("a bug")

    async def wait() -> None:
        await gate.wait()

    tasks.spawn(wait())
    tasks.spawn(fail())
    await until(log.getvalue)
    event = json.loads(log.getvalue())
    assert (event["event"], event["error"]) == ("task_failed", "KeyError('a bug')")
    assert len(tasks) == 1
    gate.set()
    assert await tasks.drain(1) == 0


async def test_a_drain_waits_for_a_while_and_tells_how_many_are_left() -> None:
    tasks, log = tasks_and_log()
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    for _ in range(3):
        tasks.spawn(wait())
    assert await tasks.drain(0.01) == 3
    await tasks.cancel()
    assert len(tasks) == 0
    assert log.getvalue() == ""


async def test_a_drain_of_nothing_takes_no_time() -> None:
    tasks, _ = tasks_and_log()
    assert await tasks.drain(1000) == 0
    await tasks.cancel()


async def test_what_fails_while_it_is_cancelled_is_logged() -> None:
    tasks, log = tasks_and_log()
    begun = asyncio.Event()

    async def stubborn() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("on the way out")

    tasks.spawn(stubborn())
    await begun.wait()
    await tasks.cancel()
    await until(log.getvalue)
    assert "on the way out" in log.getvalue()
