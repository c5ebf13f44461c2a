"""When what is ready goes: live before backlog, in measure, behind the breaker."""

import asyncio
import io
from collections import Counter
from dataclasses import dataclass, field

import pytest

from proxy.control.log import Log
from proxy.control.owed import Delivery as Settings
from proxy.fiber import Fibers, Slot
from proxy.flow.dispatch import BACKLOG_EVERY, Dispatch
from proxy.flow.guard import Guard
from proxy.store.intent import Intent
from rules.breaker import Limits
from rules.message import Cause, Failure
from tests.proxy.samples import an_intent, until

LIMITS = Limits(calls_min=2, half_open_calls=1, open_seconds=0.02, ramp_seconds=0.0)
BAD = Failure(cause=Cause.TIMEOUT, sent=True)


@dataclass
class Sender:
    """Takes what is dispatched; each goes on until `finish`."""

    dispatch: Dispatch = field(init=False)
    names: list[str] = field(default_factory=list)
    under_way: list[tuple[Intent, Slot[None]]] = field(default_factory=list)

    async def send(self, intent: Intent) -> None:
        self.names.append(intent.target)
        over: Slot[None] = Slot()
        self.under_way.append((intent, over))
        try:
            await over
        finally:
            self.dispatch.ended(intent.category)

    def finish(self) -> None:
        """The oldest one is over."""
        self.under_way.pop(0)[1].resolve(None)


def bed(**settings: float) -> tuple[Sender, Guard]:
    sender, guard = Sender(), Guard(LIMITS, asyncio.get_running_loop().time)
    fibers = Fibers(Log(io.StringIO()))
    sender.dispatch = Dispatch(guard, fibers, Settings(**settings), sender.send)  # type: ignore[arg-type]
    return sender, guard


def write(name: str, category: str = "default") -> Intent:
    return an_intent("a", target=name, category=category, received_at=0.0)


async def test_nothing_goes_before_the_start() -> None:
    sender, _ = bed()
    sender.dispatch.live(write("a"))
    assert sender.names == []
    sender.dispatch.start()
    assert sender.names == ["a"]


async def test_so_many_at_once_and_no_more() -> None:
    sender, _ = bed(concurrency_max=2)
    sender.dispatch.start()
    for name in "abcd":
        sender.dispatch.live(write(name, f"category {name}"))
    assert sender.names == ["a", "b"]
    sender.finish()
    assert sender.names == ["a", "b", "c"]


async def test_live_writes_go_before_the_backlog_which_ends_all_the_same() -> None:
    sender, _ = bed(concurrency_max=1)
    sender.dispatch.start()
    sender.dispatch.live(write("first"))
    for number in range(3):
        sender.dispatch.backlog(write(f"old {number}"))
    for number in range(3 * BACKLOG_EVERY):
        sender.dispatch.live(write(f"live {number}"))
    while sender.under_way:
        sender.finish()
    old = [at for at, name in enumerate(sender.names) if name.startswith("old")]
    assert old == [BACKLOG_EVERY - 1, 2 * BACKLOG_EVERY - 1, 3 * BACKLOG_EVERY - 1]
    assert len(sender.names) == 4 + 3 * BACKLOG_EVERY


async def test_a_live_write_goes_before_the_backlog_of_another_category() -> None:
    sender, _ = bed(concurrency_max=4)
    for number in range(100):
        sender.dispatch.backlog(write(f"old {number}", "bulk"))
    sender.dispatch.start()
    for number in range(20):
        sender.dispatch.live(write(f"live {number}", "critical"))
    while sender.under_way:
        sender.finish()
    live = [at for at, name in enumerate(sender.names) if name.startswith("live")]
    assert live[0] <= 4 + 1
    assert live[-1] <= 4 + 20 + 20 // (BACKLOG_EVERY - 1)
    assert len(sender.names) == 120


async def test_the_backlogs_of_all_categories_go_in_turn() -> None:
    sender, _ = bed(concurrency_max=2)
    for category in ("first", "second", "third"):
        for _ in range(20):
            sender.dispatch.backlog(write(category, category))
    sender.dispatch.start()
    while sender.under_way:
        sender.finish()
    counts = [Counter(sender.names[:count]) for count in range(6, 60, 6)]
    assert all(max(each.values()) - min(each.values()) <= 4 for each in counts)
    assert all(len(each) == 3 for each in counts)


async def test_who_has_live_writes_only_ends_no_other_category_s_backlog() -> None:
    sender, _ = bed(concurrency_max=1)
    sender.dispatch.start()
    sender.dispatch.live(write("live", "critical"))
    for number in range(4):
        sender.dispatch.backlog(write(f"old {number}", "bulk"))
    for _ in range(8 * BACKLOG_EVERY):  # there is always another one
        sender.dispatch.live(write("live", "critical"))
        sender.finish()
    assert len([name for name in sender.names if name.startswith("old")]) >= 3


async def test_the_backlog_keeps_to_its_rate_and_live_writes_do_not_wait() -> None:
    sender, _ = bed(catch_up_per_second_max=50.0)
    sender.dispatch.start()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(12):
        sender.dispatch.backlog(write(f"old {number}"))
    sender.dispatch.live(write("live"))
    assert "live" in sender.names
    assert len(sender.names) < 13
    await until(lambda: len(sender.names) == 13)
    assert loop.time() - began > 8 / 50  # 12, less a burst of 50 ms


async def test_what_waits_for_the_breaker_is_backlog() -> None:
    sender, guard = bed(concurrency_max=1)
    sender.dispatch.start()
    sender.dispatch.live(write("under way"))
    sender.dispatch.live(write("waited"))
    for _ in range(2):
        guard.admit("default")
        guard.record("default", BAD, 0.01)
    assert guard.hold("default") == "breaker_open"
    sender.dispatch.live(write("came while it was open"))
    sender.finish()
    assert sender.names == ["under way"]
    await until(lambda: len(sender.names) == 2)
    assert sender.names == ["under way", "waited"]  # the one probe


@pytest.mark.parametrize("delay_s", [0.0, 0.01])
async def test_a_later_try_comes_by_itself(delay_s: float) -> None:
    sender, _ = bed()
    sender.dispatch.start()
    sender.dispatch.backlog_later(write("a"), delay_s)
    assert sender.names == []
    await until(lambda: sender.names == ["a"])
