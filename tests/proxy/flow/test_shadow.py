"""Shadowed writes: sent once, compared, never owed, never waited for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.flow.shadow import Shadow
from rules.compare import VerdictKind
from rules.framing import RequestHead, parse_request
from rules.message import Reply, Request
from rules.route import plan
from tests.proxy.flow.background import Background, background, configured
from tests.proxy.flow.scripted import Answer, Fault, Gate, Scripted, Step, backends
from tests.proxy.samples import a_reply, a_request, rows, until

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


@asynccontextmanager
async def shadowing(
    directory: Path, pending_max: int = 100, **settings: str
) -> AsyncIterator[tuple[Background, Shadow, Scripted]]:
    async with backends() as sides:
        config = configured(directory, sides, ORDERS, STAGE="shadow", **settings)
        async with background(config) as b:
            yield b, Shadow(b.rooms, b.delivery, pending_max), sides[1]


def shadowed(b: Background, shadow: Shadow, request: Request, reply: Reply | None = None) -> None:
    head = parse_request(request.head)
    assert isinstance(head, RequestHead)
    work = shadow.write(plan(head, b.config.policy), request, reply or a_reply())
    if work is not None:
        b.rooms.fibers.start(work)


def verdicts(b: Background) -> dict[str, int]:
    return {kind.value: count for kind, count in b.tally.verdicts.items() if count}


async def test_a_write_is_sent_and_compared_and_leaves_nothing_owed(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as (b, shadow, new):
        new.will("/a", Answer(200, b'{"a": 2}', ()))
        shadowed(b, shadow, a_request("PUT", "/a", b"body"), a_reply(200, b'{"a": 1}'))
        await until(lambda: verdicts(b) == {"mismatch": 1})
        await b.flushed()
        (kept,) = rows(b.ledger.writer.path, "SELECT intent, route FROM verdicts")
        assert tuple(kept) == (None, "default")
        assert rows(b.journal.writer.path, "SELECT * FROM intents") == []
        assert new.seen[0].body == b"body"
        assert len(b.rooms.fibers) == 0


async def test_two_writes_are_told_apart(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as (b, shadow, new):
        for _ in range(2):
            shadowed(b, shadow, a_request())
        await until(lambda: sum(verdicts(b).values()) == 2)
        keys = {seen.headers["idempotency-key"] for seen in new.seen}
        assert len(keys) == 2
        assert all(b.journal.id in key for key in keys)


async def test_a_failure_is_not_tried_again(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as (b, shadow, new):
        new.will("/a", Fault.RESET)
        shadowed(b, shadow, a_request())
        await until(lambda: new.seen and not len(b.rooms.fibers))
        assert (len(new.seen), verdicts(b)) == (1, {})
        assert b.rooms.guard.admit("default")


async def test_one_too_many_is_skipped_and_counted(tmp_path: Path) -> None:
    async with shadowing(tmp_path, pending_max=2) as (b, shadow, new):
        gate = Gate()
        new.always = gate
        for n in range(4):
            shadowed(b, shadow, a_request("PUT", f"/{n}"))
        await until(lambda: gate.held == 2)
        assert b.tally.verdicts[VerdictKind.SKIPPED] == 2
        gate.open()
        await until(lambda: not len(b.rooms.fibers))
        shadowed(b, shadow, a_request("PUT", "/4"))
        await until(lambda: not len(b.rooms.fibers))
        assert sorted(new.targets()) == ["/0", "/1", "/4"]


async def test_an_open_breaker_skips_it(tmp_path: Path) -> None:
    async with shadowing(tmp_path, BREAKER_CALLS_MIN="2") as (b, shadow, new):
        new.always = Answer(503)
        for _ in range(2):
            shadowed(b, shadow, a_request())
        await until(lambda: not len(b.rooms.fibers))
        shadowed(b, shadow, a_request())
        assert b.tally.verdicts[VerdictKind.SKIPPED] == 1
        await until(lambda: not len(b.rooms.fibers))
        assert len(new.seen) == 2


async def test_an_identity_that_is_not_known_is_a_verdict_not_a_wait(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as (b, shadow, new):
        shadowed(b, shadow, a_request("PUT", "/orders/1"))
        await until(lambda: verdicts(b) == {"not_comparable": 1})
        assert new.seen == []
        assert len(b.delivery) == 0


async def test_what_it_learns_is_of_use_to_the_next(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as (b, shadow, new):
        new.will("/orders", Answer(201, b'{"id": "x"}', ()))
        shadowed(b, shadow, a_request("POST", "/orders"), a_reply(201, b'{"id": 1}'))
        await until(lambda: len(b.rooms.fibers) == 0)
        shadowed(b, shadow, a_request("PUT", "/orders/1"))
        await until(lambda: len(new.seen) == 2)
        assert new.targets() == ["/orders", "/orders/x"]


async def test_its_spool_file_is_removed_however_it_ends(tmp_path: Path) -> None:
    async with shadowing(tmp_path, pending_max=1) as (b, shadow, new):
        files = []
        steps: list[Step] = [Answer(), Fault.RESET, Answer()]
        for n, step in enumerate(steps):
            new.will(f"/{n}", step)
            file = b.journal.spools.next()
            file.write_bytes(b"body")
            files.append(file)
            head = b"PUT /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n" % n
            request = Request(
                method="PUT", target=f"/{n}", head=head, spool=str(file), body_bytes=4
            )
            shadowed(b, shadow, request)
            if n == 0:
                await until(lambda: not len(b.rooms.fibers))
        await until(lambda: not len(b.rooms.fibers))
        assert [seen.body for seen in new.seen] == [b"body"] * 2  # the third was one too many
        assert not any(file.exists() for file in files)
