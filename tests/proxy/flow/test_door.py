"""The door: who is let in, as what, and who is refused before anything is sent anywhere."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.proxy.flow.foreground import Got, sidecar
from tests.proxy.flow.scripted import Answer, Fault, Gate, Seen
from tests.proxy.samples import disk_broken, until

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACED = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n"

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


@pytest.mark.parametrize("toml", ["", '[[routes]]\nname = "a"\nmirror = "always"'])
async def test_trace_is_answered_here_and_shows_no_side(tmp_path: Path, toml: str) -> None:
    settings = {
        "BACKENDS_LEGACY_AUTH": "static", "BACKENDS_LEGACY_AUTH_FILE": str(tmp_path / "token"),
    }  # fmt: skip
    (tmp_path / "token").write_text("Bearer hunter2")
    async with sidecar(tmp_path, toml, **settings) as s:
        got = await s.ask("TRACE", "/a", fields=TRACED)
        assert (got.status, told(got), "TRACE" in got.headers["allow"]) == (405, TRACE, False)
        assert s.legacy.seen == s.new.seen == []
        assert s.app.tally.accepted == 0


async def test_options_goes_no_further_than_it_may(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        got = await s.ask("OPTIONS", "/a", fields="Max-Forwards: 0\r\n")
        assert (got.status, "allow" in got.headers, got.body) == (204, True, b"")
        assert s.legacy.seen == []
        assert (await s.ask("OPTIONS", "/a", fields="Max-Forwards: 3\r\n")).status == 200
        assert s.legacy.seen[0].headers["max-forwards"] == "2"


def begun(seen: Seen) -> str:
    """The id of a trace that the sidecar began."""
    found = re.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-00", seen.headers["traceparent"])
    assert found is not None
    return found[1]


def told(got: Got) -> object:
    """The trace that a problem document names."""
    return json.loads(got.body).get("trace_id")


async def test_a_trace_is_passed_to_both_sides_as_it_came(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        await s.ask("PUT", "/a", b"x", TRACED + "tracestate: a=1\r\n")
        await s.done()
        for side in (s.legacy, s.new):
            assert side.seen[0].headers["traceparent"] == TRACED[13:-2]
            assert side.seen[0].headers["tracestate"] == "a=1"


async def test_a_trace_is_begun_once_for_both_sides_and_anew_for_each_request(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path) as s, s.client() as client:
        for number in range(3):
            client.ask("PUT", f"/{number}", b"x", "tracestate: a=1\r\n")
            await client.reply()
        await s.done(3)
        client.ask("GET", "/read")
        await client.reply()
        traces = [begun(each) for each in s.legacy.seen]
        assert len(set(traces)) == 4
        assert sorted(map(begun, s.new.seen)) == sorted(traces[:3])
        assert all("tracestate" not in each.headers for each in (*s.legacy.seen, *s.new.seen))


async def test_a_trace_may_be_left_to_others(tmp_path: Path) -> None:
    async with sidecar(tmp_path, LISTEN_TRACE="pass") as s:
        await s.ask("PUT", "/a", b"x", "tracestate: a=1\r\n")
        await s.done()
        assert "traceparent" not in s.legacy.seen[0].headers
        assert s.new.seen[0].headers["tracestate"] == "a=1"


@pytest.mark.parametrize(("minor", "via"), [(0, "1.0 twinwrite"), (1, "1.1 twinwrite")])
async def test_via_tells_how_the_sidecar_was_asked(tmp_path: Path, minor: int, via: str) -> None:
    async with sidecar(tmp_path) as s, s.client() as client:
        client.send(b"GET /a HTTP/1.%d\r\nHost: a\r\n\r\n" % minor)
        await client.reply()
        assert s.legacy.seen[0].headers["via"] == via


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("preserve", {"x-forwarded-for": "1.2.3.4", "x-real-ip": "1.2.3.4"}),
        (
            "append",
            {
                "x-forwarded-for": "1.2.3.4, 127.0.0.1", "x-forwarded-proto": "http",
                "x-forwarded-host": "shop", "x-real-ip": "1.2.3.4",
            },
        ),
        (
            "replace",
            {
                "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http",
                "x-forwarded-host": "shop",
            },
        ),
    ],
)  # fmt: skip
async def test_both_sides_are_told_of_the_client_by_the_policy(
    tmp_path: Path, policy: str, expected: dict[str, str]
) -> None:
    fields = "X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n"
    async with sidecar(tmp_path, LISTEN_FORWARDED=policy) as s, s.client() as client:
        for _ in range(2):
            client.ask("PUT", "/a", b"x", fields)
            await client.reply()
        await s.done(2)
        for each in (*s.legacy.seen, *s.new.seen):
            names = [name for name in each.headers if name.startswith("x-")]
            assert {name: each.headers[name] for name in names} == expected


async def test_a_problem_names_the_clients_trace_or_the_one_that_was_begun(tmp_path: Path) -> None:
    async with sidecar(tmp_path, BACKENDS_LEGACY_FIRST_BYTE_TIMEOUT_MS="100") as s:
        for method in ("GET", "PUT"):
            s.legacy.always = Fault.RESET
            assert told(await s.ask(method, "/a", b"x", TRACED)) == TRACE
            got = await s.ask(method, "/a", b"x")
            assert (got.status, told(got)) == (502, begun(s.legacy.seen[-1]))
            s.legacy.always = Fault.HANG
            got = await s.ask(method, "/a", b"x")
            assert (got.status, told(got)) == (504, begun(s.legacy.seen[-1]))
            assert json.loads(got.body)["reason"] == "timeout"


async def test_what_the_door_refuses_has_a_trace_too(tmp_path: Path) -> None:
    async with sidecar(tmp_path, LISTEN_BODY_BYTES_MAX="3") as s:
        got = await s.ask("PUT", "/a", b"body", TRACED)
        assert (got.status, told(got)) == (413, TRACE)
        got = await s.ask("PUT", "/a", b"body")
        assert re.fullmatch("[0-9a-f]{32}", str(told(got)))


async def test_what_was_no_request_has_no_trace_not_even_that_of_the_one_before(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path) as s, s.client() as client:
        client.ask("GET", "/a", fields=TRACED)
        assert (await client.reply()).status == 200
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\nbroken\r\n\r\n")
        got = await client.reply()
        assert (got.status, told(got)) == (400, None)


async def test_a_write_that_cannot_be_journaled_is_logged_with_its_trace(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        await disk_broken(s.app.journal)
        got = await s.ask("PUT", "/a", b"x", TRACED)
        await disk_broken(s.app.journal, broken=False)
        assert (got.status, told(got)) == (503, TRACE)
        lines = [json.loads(line) for line in s.log.getvalue().splitlines()]
        failed = [line for line in lines if line["event"] == "journal_failed"]
        assert [line["trace_id"] for line in failed] == [TRACE]


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_sidecar_that_is_its_own_backend_answers_508_and_sends_nothing_on(
    tmp_path: Path, method: str
) -> None:
    async with sidecar(tmp_path) as s:
        inner = []

        async def back_to_the_sidecar(seen: Seen) -> Answer:
            fields = [f"{name}: {value}\r\n" for name, value in seen.headers.items()]
            kept = "".join(f for f in fields if not f.startswith(("host", "content-length")))
            got = await s.ask(seen.method, seen.target, seen.body, kept)
            inner.append(got)
            return Answer(status=got.status, body=got.body)

        s.legacy.always = back_to_the_sidecar
        assert (await s.ask(method, "/a", b"x", TRACED)).status == 508
        assert (len(s.legacy.seen), len(inner), told(inner[0])) == (1, 1, TRACE)
        await s.idle()
        assert s.new.seen == []
