"""One try at the secondary: what is translated, what is sent, and how the two replies are judged."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from proxy.flow.secondary import (
    APART_BYTES_MIN,
    COSTLY_BYTES_MIN,
    REPLY_BYTES_MAX,
    Job,
    Missing,
    Prepared,
    Secondary,
    Tried,
    Untranslatable,
)
from rules.compare import Comparison, VerdictKind
from rules.identity import Pair
from rules.message import Cause, Failure, Reply, Request, Role, Side
from tests.proxy.flow.background import HOP, Background, background, configured
from tests.proxy.flow.scripted import Answer, Fault, Scripted, backends
from tests.proxy.samples import a_reply, a_request

ROUTES = """
[[routes]]
name = "create"
methods = ["POST"]
path = "/orders"
harvest = [{kind = "order", from = "json:/id"}]
[[routes]]
name = "pay"
path = "/orders/{id}/pay"
[routes.translate]
"path:id" = "order"
"json:/for" = "order"
"query:for" = "order"
"header:X-Order" = "order"
[[routes]]
name = "blind"
path = "/blind"
compare = false
[[routes]]
name = "sorted"
path = "/sorted"
unordered = [""]
[[routes]]
name = "ruled"
path = "/ruled"
category = "debug"
rules = [{ name = "clock", kind = "time", paths = ["/at"], within_seconds = 1 }]
"""


@asynccontextmanager
async def trying(
    directory: Path, *known: tuple[str, str]
) -> AsyncIterator[tuple[Background, Scripted, Scripted]]:
    """The rooms, with these orders known: (legacy, new)."""
    async with backends() as sides, background(configured(directory, sides, ROUTES)) as b:
        for pair in known:
            b.rooms.identities.learn(Pair("order", *pair), Side.LEGACY)
        yield b, *sides


def a_job(
    b: Background, request: Request, reply: Reply | None = None, primary: Side = Side.LEGACY
) -> Job:
    path = request.target.partition("?")[0]
    routes = (*b.config.policy.routes, b.config.policy.fallback)
    route = next(each for each in routes if each.match.path.fullmatch(path))
    return Job(
        route=route, primary=primary, request=request, reply=reply or a_reply(), key="minted-1"
    )


async def prepared(b: Background, request: Request) -> Request:
    found = await b.rooms.secondary.prepare(a_job(b, request))
    assert isinstance(found, Prepared), found
    return found.request


async def tried(b: Background, job: Job) -> Tried:
    found = await b.rooms.secondary.prepare(job)
    assert isinstance(found, Prepared), found
    return await b.rooms.secondary.send(job, found)


# prepare


async def test_without_translations_the_request_goes_as_it_came(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, _):
        request = a_request("POST", "/orders", b'{"a": 1}', "X-A: B\r\n")
        assert await prepared(b, request) is request


async def test_every_identity_is_translated_and_nothing_else_changes(tmp_path: Path) -> None:
    async with trying(tmp_path, ("1", "x/y"), ("2", "z")) as (b, _, _):
        request = a_request(
            "POST",
            "/orders/1/pay?for=2&a=%31",
            b'{"for":  2, "a": "1"}',
            "X-Order: 1\r\nX-A: 1\r\n",
        )
        found = await prepared(b, request)
        assert found.target == "/orders/x%2Fy/pay?for=z&a=%31"
        assert found.body == b'{"for":  "z", "a": "1"}'
        assert found.head == (
            b"POST /orders/x%2Fy/pay?for=z&a=%31 HTTP/1.1\r\nHost: shop\r\nX-Order: x/y\r\nX-A: 1\r\n"
            b"Content-Length: 23\r\n\r\n"
        )


async def test_a_missing_identity_is_named(tmp_path: Path) -> None:
    async with trying(tmp_path, ("1", "x")) as (b, _, new):
        job = a_job(b, a_request("POST", "/orders/1/pay?for=2"))
        assert await b.rooms.secondary.prepare(job) == Missing(("order", "2"))
        assert new.seen == []


async def test_a_chunked_body_is_framed_anew_when_it_is_translated(tmp_path: Path) -> None:
    async with trying(tmp_path, ("1", "x")) as (b, _, _):
        head = b"POST /orders/1/pay HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b'8\r\n{"for":1\r\n1\r\n}\r\n0\r\n\r\n'
        request = Request(
            method="POST", target="/orders/1/pay", head=head, body=body, chunked=True, body_bytes=27
        )
        found = await prepared(b, request)
        assert (found.body, found.chunked) == (b'{"for":"x"}', False)
        assert found.head.endswith(b"Host: a\r\nContent-Length: 11\r\n\r\n")


async def test_a_spooled_body_is_read_where_an_identity_stands_in_it(tmp_path: Path) -> None:
    async with trying(tmp_path, ("1", "x")) as (b, _, _):
        file = tmp_path / "body"
        file.write_bytes(b'{"for": 1}')
        head = b"POST /orders/1/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
        request = Request(
            method="POST", target="/orders/1/pay", head=head, spool=str(file), body_bytes=10
        )
        found = await prepared(b, request)
        assert (found.body, found.spool) == (b'{"for": "x"}', None)
        assert b"Content-Length: 12\r\n" in found.head


@pytest.mark.parametrize("body", [b"not json", b'{"for": 1.5}', b'{"for": {}}', b'{"for": true}'])
async def test_where_an_identity_may_hide_nothing_is_sent(tmp_path: Path, body: bytes) -> None:
    async with trying(tmp_path, ("1", "x")) as (b, _, _):
        job = a_job(b, a_request("POST", "/orders/1/pay", body))
        assert isinstance(await b.rooms.secondary.prepare(job), Untranslatable)


async def test_a_spooled_body_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    async with trying(tmp_path, ("1", "x")) as (b, _, _):
        head = b"POST /orders/1/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
        request = Request(
            method="POST", target="/orders/1/pay", head=head, spool=str(tmp_path / "gone"),
            body_bytes=10,
        )  # fmt: skip
        with pytest.raises(OSError, match="gone"):
            await b.rooms.secondary.prepare(a_job(b, request))


async def test_a_large_body_is_translated_all_the_same(tmp_path: Path) -> None:
    async with trying(tmp_path, ("1", "x")) as (b, _, _):
        long = b'{"long": "%s", "for": "1"}' % (b"y" * 2 * APART_BYTES_MIN)
        found = await prepared(b, a_request("POST", "/orders/1/pay", long))
        assert found.body == long.replace(b'"1"', b'"x"')


# send


@pytest.mark.parametrize("primary", Side)
async def test_it_goes_to_the_other_side_marked_and_with_a_key(
    tmp_path: Path, primary: Side
) -> None:
    async with trying(tmp_path) as (b, legacy, new):
        request = a_request("PUT", "/a", b"body", "X-A: b\r\n")
        found = await tried(b, a_job(b, request, primary=primary))
        assert isinstance(found.outcome, Reply)
        to, other = (new, legacy) if primary is Side.LEGACY else (legacy, new)
        (seen,) = to.seen
        assert other.seen == []
        assert (seen.method, seen.target, seen.body) == ("PUT", "/a", b"body")
        assert seen.headers == {
            "host": "shop", "x-a": "b", "content-length": "4", "idempotency-key": "minted-1",
            "twinwrite-hop": HOP.decode().partition(": ")[2],
        }  # fmt: skip


async def test_the_clients_own_key_is_passed_on(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, new):
        request = a_request("PUT", "/a", fields="idempotency-KEY: mine\r\n")
        await tried(b, a_job(b, request))
        assert new.seen[0].headers["idempotency-key"] == "mine"


async def test_what_comes_of_it_is_counted(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, new):
        new.will("/a", Answer(201), Answer(503), Fault.RESET)
        for _ in range(3):
            await tried(b, a_job(b, a_request()))
        counts = {f"{role}:{each}": n for (role, each), n in b.tally.outcomes.items()}
        assert counts == {"secondary:2xx": 1, "secondary:5xx": 1, "secondary:reset": 1}
        assert sum(b.tally.latencies[Role.SECONDARY].counts) == 3


async def test_a_failure_has_no_verdict(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, new):
        await new.stop()
        found = await tried(b, a_job(b, a_request("POST", "/orders")))
        assert isinstance(found.outcome, Failure)
        assert (found.outcome.cause, found.outcome.sent) == (Cause.REFUSED, False)
        assert (found.verdict, found.pairs) == (None, ())


# judge


async def test_equal_replies_match(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, new):
        new.always = Answer(headers=())
        found = await tried(b, a_job(b, a_request()))
        assert found.verdict is not None
        assert found.verdict.kind is VerdictKind.MATCH


async def test_ids_that_are_one_identity_do_not_differ(tmp_path: Path) -> None:
    async with trying(tmp_path, ("1", "x")) as (b, _, new):
        new.will("/orders", Answer(201, b'{"id": "n7"}', ()))
        job = a_job(b, a_request("POST", "/orders"), a_reply(201, b'{"id": 7}'))
        found = await tried(b, job)
        assert found.pairs == (Pair("order", "7", "n7"),)
        assert found.verdict is not None
        assert found.verdict.differences == ()

        new.will("/orders/x/pay", Answer(200, b'{"order": "x"}', ()))
        job = a_job(b, a_request("POST", "/orders/1/pay"), a_reply(200, b'{"order": "1"}'))
        found = await tried(b, job)
        assert found.verdict is not None
        assert found.verdict.differences == ()


async def test_a_small_number_is_an_identity_only_where_one_stands(tmp_path: Path) -> None:
    async with trying(tmp_path, ("7", "8")) as (b, _, new):
        new.will("/orders", Answer(201, b'{"id": 8, "items": 8}', ()))
        job = a_job(b, a_request("POST", "/orders"), a_reply(201, b'{"id": 7, "items": 7}'))
        found = await tried(b, job)
        assert found.verdict is not None
        assert [each.path for each in found.verdict.differences] == [("body", "items")]

        new.will("/orders/8/pay", Answer(200, b'{"for": 8, "self": "/orders/8", "paid": 8}', ()))
        theirs = a_reply(200, b'{"for": 7, "self": "/orders/7", "paid": 7}')
        found = await tried(b, a_job(b, a_request("POST", "/orders/7/pay"), theirs))
        assert found.verdict is not None
        assert [each.path for each in found.verdict.differences] == [("body", "paid")]


async def test_a_known_identity_is_recalled_before_a_new_one_is_learned(tmp_path: Path) -> None:
    async with trying(tmp_path / "a", ("7", "n7")) as (b, _, _):
        await b.flushed()
    async with trying(tmp_path / "a") as (b, _, new):
        new.will("/orders", Answer(201, b'{"id": "other"}', ()))
        job = a_job(b, a_request("POST", "/orders"), a_reply(201, b'{"id": 7}'))
        b.delivery.learn((await tried(b, job)).pairs, Side.LEGACY)
        assert b.tally.identity_conflicts == 1


async def test_a_route_that_is_not_compared_has_no_verdict(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, new):
        new.always = Answer(200, b"x" * (20 * REPLY_BYTES_MAX))
        found = await tried(b, a_job(b, a_request("PUT", "/blind")))
        assert found.verdict is None
        assert isinstance(found.outcome, Reply)
        assert found.outcome.truncated


def numbered(count: int, last: int) -> bytes:
    return b"[%s]" % b",".join([*(b"%d" % n for n in range(count)), b"%d" % last])


async def test_large_replies_are_compared_field_by_field_too(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, new):
        new.always = Answer(200, numbered(APART_BYTES_MIN // 4, 2), ())
        ours = a_reply(200, numbered(APART_BYTES_MIN // 4, 1))
        found = await tried(b, a_job(b, a_request(), ours))
        assert found.verdict is not None
        (difference,) = found.verdict.differences
        assert (difference.primary, difference.secondary) == ("1", "2")


async def test_beyond_the_limit_large_replies_are_not_compared(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, new):
        secondary = Secondary(
            b.pools, b.rooms.identities, b.tally, b.rooms.secondary._exits, pending_max=0
        )
        new.always = Answer(200, numbered(APART_BYTES_MIN, 2), ())
        job = a_job(b, a_request(), a_reply(200, numbered(APART_BYTES_MIN, 1)))
        found = await secondary.send(job, Prepared(job.request, {}))
        secondary.close()
        assert found.verdict is not None
        assert (found.verdict.kind, found.verdict.reason) == (VerdictKind.SKIPPED, "pending_max")


@pytest.mark.parametrize(("path", "kind"), [("/a", "mismatch"), ("/sorted", "skipped")])
async def test_where_rules_may_cost_more_smaller_replies_wait_for_the_thread(
    tmp_path: Path, path: str, kind: str
) -> None:
    async with trying(tmp_path) as (b, _, new):
        secondary = Secondary(
            b.pools, b.rooms.identities, b.tally, b.rooms.secondary._exits, pending_max=0
        )
        new.always = Answer(200, numbered(COSTLY_BYTES_MIN, 2), ())
        job = a_job(b, a_request("PUT", path), a_reply(200, numbered(COSTLY_BYTES_MIN, 1)))
        found = await secondary.send(job, Prepared(job.request, {}))
        secondary.close()
        assert found.verdict is not None
        assert found.verdict.kind == kind


async def test_a_reply_that_is_too_long_has_its_verdict_when_it_has_passed(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, new):
        start, rest = b"x" * b.config.compare.body_bytes_max, b"y" * 1_000_000
        new.always = Answer(200, start, (), (rest,))
        for body, kind in (
            (start + rest, VerdictKind.MATCH),
            (start + rest[1:], VerdictKind.MISMATCH),
        ):
            job, prepared = a_job(b, a_request(), a_reply(200, body)), Prepared(a_request(), {})
            found = await b.rooms.secondary.send(job, prepared)
            assert (found.open, found.verdict) == (True, None)
            found = await b.rooms.secondary.complete(job, prepared, found)
            assert found.verdict is not None
            assert (found.open, found.verdict.kind) == (False, kind)
            assert b.tally.agreements["default"][kind] == 1
        assert repr(b.pools[Side.NEW]).endswith("busy=0 idle=1 waiting=0>")


async def test_a_long_reply_of_another_status_is_judged_at_once(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, new):
        new.always = Answer(201, b"x" * b.config.compare.body_bytes_max, (), (b"y",) * 9)
        found = await tried(b, a_job(b, a_request()))
        assert found.verdict is not None
        assert (found.verdict.reason, found.open) == ("status", False)


async def test_a_cut_reply_that_nobody_measures_is_not_comparable(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, new):
        new.always = Answer(200, b"x" * 1_000_000, ())
        ours = structs.replace(a_reply(200, b"x"), truncated=True)
        found = await tried(b, a_job(b, a_request(), ours))
        assert found.verdict is not None
        assert (found.verdict.kind, found.open) == (VerdictKind.NOT_COMPARABLE, False)


async def test_what_is_compared_is_counted_with_its_time_and_the_rules_it_used(
    tmp_path: Path,
) -> None:
    async with trying(tmp_path) as (b, _, new):
        new.will("/ruled", *(Answer(200, b'{"at": 2}', ()),) * 2, Answer(200, b'{"at": 1}', ()))
        for size in (1, APART_BYTES_MIN):
            ours = a_reply(200, b'{"at": 1}' + b" " * size)
            found = await tried(b, a_job(b, a_request("PUT", "/ruled"), ours))
            assert found.verdict is not None
            assert (found.verdict.kind, found.verdict.ignored) == (VerdictKind.IGNORED, ("clock",))
        await tried(b, a_job(b, a_request("PUT", "/ruled"), a_reply(200, b'{"at": 1}')))
        assert b.tally.rules == {("ruled", "clock"): 2}
        assert b.tally.compared == 2  # what is equal as it came costs nothing
        assert b.tally.compare_seconds > 0
        assert b.tally.agreements["debug"][VerdictKind.MATCH] == 1


async def test_a_comparison_that_fails_costs_its_verdict_and_nothing_else(tmp_path: Path) -> None:
    async with trying(tmp_path) as (b, _, new):
        told: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(repr(context["exception"])))
        new.always = Answer(200, b"[2]", ())
        for body in (b"[1]", b"[1]" + b" " * APART_BYTES_MIN):
            job = a_job(b, a_request(), a_reply(200, body))
            broken = replace(job.route, comparison=Broken())
            found = await tried(b, structs.replace(job, route=broken))
            assert found.verdict is not None
            assert (found.verdict.kind, found.verdict.reason) == (VerdictKind.ERROR, "defect")
            assert isinstance(found.outcome, Reply)
        loop.set_exception_handler(None)
        assert len(told) == 2
        assert b.tally.agreements["default"][VerdictKind.ERROR] == 2


class Broken(Comparison):
    """A comparison with a defect: it breaks where the long way begins."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> object:
        if name == "fields":
            raise RuntimeError("a defect")
        return super().__getattribute__(name)
