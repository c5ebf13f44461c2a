"""The door: who is let in, as what, and who is refused before anything is sent anywhere."""

import asyncio
from pathlib import Path

import pytest

from tests.proxy.flow.foreground import sidecar
from tests.proxy.flow.scripted import Gate
from tests.proxy.samples import until

ORDER = """
[[routes]]
name = "orders"
path = "/orders/{id}"
entity_key = ["path:id"]
"""


async def test_a_read_is_relayed_to_the_primary_and_is_no_write(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        assert (await s.ask("GET", "/a")).status == 200
        assert (s.legacy.targets(), s.new.seen) == (["/a"], [])
        assert (s.app.tally.relayed, s.app.tally.accepted) == (1, 0)
        assert s.legacy.seen[0].headers["twinwrite-hop"] == s.app.instance


@pytest.mark.parametrize(
    ("toml", "settings", "reason"),
    [
        ("", {"STAGE": "legacy_only"}, "stage"),
        ("", {"STAGE": "new_only"}, "stage"),
        ("[categories.default]\nmirror = false", {}, "category"),
        ('[[routes]]\nname = "a"\nmirror = "never"', {}, "route"),
        ("", {"KILL_SWITCH": "1", "KILL": "drop"}, "kill_switch"),
    ],
)
async def test_a_write_that_is_not_mirrored_says_why(
    tmp_path: Path, toml: str, settings: dict[str, str], reason: str
) -> None:
    async with sidecar(tmp_path, toml, **settings) as s:
        assert (await s.ask("PUT", "/a", b"body")).status == 200
        assert (s.states(), s.skips()) == ({}, {reason: 1})
        assert len(s.legacy.seen) + len(s.new.seen) == 1
        assert s.app.tally.relayed == 0


async def test_the_kill_switch_answers_from_the_primary_and_journals(tmp_path: Path) -> None:
    async with sidecar(tmp_path, KILL_SWITCH="1") as s:
        assert (await s.ask("PUT", "/a", b"body")).status == 200
        await s.idle()
        assert (s.states(), s.new.seen) == ({"s_pending": 1}, [])


async def test_a_read_may_be_mirrored_where_the_route_says_so(tmp_path: Path) -> None:
    async with sidecar(tmp_path, '[[routes]]\nname = "a"\nmirror = "always"') as s:
        assert (await s.ask("GET", "/a")).status == 200
        await s.done()
        assert s.new.targets() == ["/a"]


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("name", ["Twinwrite-Hop", "twinwrite-hop", "TWINWRITE-HOP"])
async def test_a_request_that_has_been_here_is_refused(
    tmp_path: Path, method: str, name: str
) -> None:
    async with sidecar(tmp_path) as s:
        got = await s.ask(method, "/a", fields=f"{name}: {s.app.instance}\r\n")
        assert got.status == 508
        assert s.legacy.seen == s.new.seen == []
        other = await s.ask(method, "/a", fields=f"{name}: another-sidecar\r\n")
        assert other.status == 200


async def test_a_body_that_is_too_long_by_its_length_is_refused(tmp_path: Path) -> None:
    async with sidecar(tmp_path, LISTEN_BODY_BYTES_MAX="3") as s:
        got = await s.ask("PUT", "/a", b"body")
        assert (got.status, s.app.tally.accepted) == (413, 0)
        assert (await s.ask("PUT", "/a", b"bod")).status == 200
        await s.done()
        assert [seen.body for seen in s.legacy.seen] == [b"bod"]


async def test_a_body_that_grows_too_long_is_refused_and_aborted(tmp_path: Path) -> None:
    limits = {"LISTEN_BODY_BYTES_MAX": "1000", "LISTEN_SPOOL_MEMORY_BYTES_MAX": "100"}
    async with sidecar(tmp_path, **limits) as s, s.client() as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            client.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        assert (await client.reply()).status == 413
        assert (s.states(), s.app.tally.in_flight) == ({"aborted": 1}, 0)
        assert (s.legacy.seen, s.spools()) == ([], [])


async def test_a_body_that_is_not_mirrored_may_be_of_any_length(tmp_path: Path) -> None:
    settings = {"STAGE": "legacy_only", "LISTEN_BODY_BYTES_MAX": "3"}
    async with sidecar(tmp_path, **settings) as s:
        assert (await s.ask("PUT", "/a", b"x" * 1_000_000)).status == 200
        assert len(s.legacy.seen[0].body) == 1_000_000


async def test_one_write_too_many_in_flight_is_refused(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ORDER, LISTEN_IN_FLIGHT_MAX="2") as s:
        gate = Gate()
        s.legacy.always = gate
        asking = [asyncio.create_task(s.ask("PUT", f"/orders/{n}", b"x")) for n in range(2)]
        await until(lambda: gate.held == 2)
        got = await s.ask("PUT", "/orders/3", b"x")
        assert (got.status, got.headers["retry-after"]) == (503, "1")
        assert "in flight" in got.detail
        gate.open()
        assert [(await each).status for each in asking] == [200, 200]
        assert (await s.ask("PUT", "/orders/3", b"x")).status == 200
        await s.done(3)
        assert s.app.tally.accepted == 3


@pytest.mark.parametrize(
    "limit", [{"JOURNAL_BACKLOG_ROWS_MAX": "2"}, {"JOURNAL_BACKLOG_BYTES_MAX": "100"}]
)
async def test_at_the_limit_of_the_backlog_a_write_is_refused_and_a_read_is_not(
    tmp_path: Path, limit: dict[str, str]
) -> None:
    async with sidecar(tmp_path, **limit, KILL_SWITCH="1") as s:
        statuses = [(await s.ask("PUT", "/a", b"x" * 20)).status for _ in range(4)]
        assert statuses[0] == 200
        assert statuses[-1] == 503
        assert statuses == sorted(statuses)
        assert (await s.ask("GET", "/a")).status == 200
        await s.idle()
        assert s.states() == {"s_pending": statuses.count(200)}
        assert len(s.legacy.seen) == statuses.count(200) + 1


async def test_a_caught_up_backlog_lets_writes_in_again(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ORDER, JOURNAL_BACKLOG_ROWS_MAX="1") as s:
        gate = Gate()
        s.new.always = gate
        assert (await s.ask("PUT", "/orders/1", b"x")).status == 200
        await until(lambda: gate.held)
        assert (await s.ask("PUT", "/orders/2", b"x")).status == 503
        gate.open()
        await s.done()
        assert (await s.ask("PUT", "/orders/2", b"x")).status == 200
        await s.done(2)


async def test_a_category_has_its_own_stage(tmp_path: Path) -> None:
    toml = """
[categories.critical]
stage = "dual_new_primary"
[[routes]]
name = "critical"
path = "/critical"
category = "critical"
"""
    async with sidecar(tmp_path, toml, STAGE="legacy_only") as s:
        assert (await s.ask("PUT", "/critical", b"x")).status == 200
        await s.done()
        assert (await s.ask("PUT", "/other", b"x")).status == 200
        assert s.new.targets() == ["/critical"]
        assert s.legacy.targets() == ["/critical", "/other"]
