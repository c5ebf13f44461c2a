"""From a verdict to the ledger: counted always, kept when it tells something, redacted, and never in the way."""

import gzip
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs

from proxy.control.evidence import Ledger as Settings
from proxy.control.log import Log
from proxy.control.tally import Tally
from proxy.fiber import Fibers
from proxy.flow.evidence import APART_BYTES_MIN, APART_MAX, Evidence
from proxy.flow.secondary import Job, Tried
from proxy.store.ledger import KEPT_MAX, PENDING_MAX, Ledger
from rules.compare import Verdict, VerdictKind
from rules.difference import Class, Difference
from rules.message import Cause, Failure, Outcome, Side
from rules.redact import Redaction
from rules.route import Match, Route, compile_path
from tests.proxy.samples import Clock, a_reply, a_request, rows, until

REDACTION = Redaction(key=b"key")
SECRET = "hunter2"
ROUTE = Route(name="orders", match=Match(path=compile_path("/")))
KEPT = {VerdictKind.MISMATCH, VerdictKind.NOT_COMPARABLE, VerdictKind.SKIPPED, VerdictKind.ERROR}


@asynccontextmanager
async def keeping(directory: Path) -> AsyncIterator[tuple[Evidence, Ledger, Tally]]:
    tally, log = Tally(), Log(io.StringIO())
    ledger = await Ledger.open(directory, Settings(), Clock())
    fibers = Fibers(log)
    try:
        yield Evidence(ledger, REDACTION, tally, fibers, log), ledger, tally
    finally:
        await fibers.drain(5.0)
        await ledger.close()


def a_job(target: str = "/a", body: bytes = b"{}") -> Job:
    request = a_request("PUT", target, body, "Content-Type: application/json\r\n")
    return Job(route=ROUTE, primary=Side.LEGACY, request=request, reply=a_reply(200, body), key="k")


def a_try(
    kind: VerdictKind | None, outcome: Outcome | None = None, *differences: Difference
) -> Tried:
    verdict = None
    if kind is not None:
        verdict = Verdict(kind=kind, reason="body", differences=differences)
    return Tried(request=a_request(), outcome=outcome or a_reply(), verdict=verdict)


async def flushed(ledger: Ledger) -> None:
    ledger.sweep()
    await until(lambda: not len(ledger.writer))
    await ledger.writer.call(lambda _: None)


@pytest.mark.parametrize("kind", VerdictKind)
async def test_a_verdict_is_counted_and_kept_where_it_tells_something(
    tmp_path: Path, kind: VerdictKind
) -> None:
    async with keeping(tmp_path) as (evidence, ledger, tally):
        evidence.record(7, a_job(), a_try(kind), "critical")
        await flushed(ledger)
        assert tally.verdicts[kind] == 1
        (count,) = rows(ledger.writer.path, "SELECT route, verdict, count FROM counts")
        assert tuple(count) == ("orders", kind, 1)
        kept = rows(ledger.writer.path, "SELECT intent, category, verdict FROM verdicts")
        assert [tuple(row) for row in kept] == ([(7, "critical", kind)] if kind in KEPT else [])


async def test_a_try_without_a_verdict_leaves_no_trace(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (evidence, ledger, tally):
        evidence.record(7, a_job(), a_try(None), "default")
        await flushed(ledger)
        assert not any(tally.verdicts.values())
        assert rows(ledger.writer.path, "SELECT * FROM counts") == []


async def test_no_secret_reaches_the_file(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (evidence, ledger, _):
        body = json.dumps({"password": SECRET}).encode()
        difference = Difference(
            path=("body", "token"), kind=Class.VALUE, primary=f'"{SECRET}"', secondary="1"
        )
        job = a_job(f"/a?token={SECRET}", body)
        evidence.record(7, job, a_try(VerdictKind.MISMATCH, None, difference), "default")
        await flushed(ledger)
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"redacted:" in files
        assert SECRET.encode() not in files


async def test_both_sides_are_named_in_what_is_kept(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (evidence, ledger, _):
        failure = Failure(cause=Cause.TIMEOUT, sent=True, detail="late")
        evidence.record(None, a_job(), a_try(VerdictKind.ERROR, failure), "default")
        await flushed(ledger)
        (row,) = rows(ledger.writer.path, "SELECT intent, evidence FROM verdicts")
        found = json.loads(row["evidence"])
        assert row["intent"] is None
        assert (found["primary"]["side"], found["secondary"]["side"]) == ("legacy", "new")
        assert found["secondary"]["failure"] == "timeout: late"


async def test_without_a_ledger_verdicts_are_counted_and_the_loss_too() -> None:
    tally = Tally()
    log = Log(io.StringIO())
    evidence = Evidence(None, REDACTION, tally, Fibers(log), log)
    evidence.record(7, a_job(), a_try(VerdictKind.MISMATCH), "default")
    evidence.event("breaker", state="open")
    assert (tally.verdicts[VerdictKind.MISMATCH], tally.ledger_dropped) == (1, 1)


async def test_a_ledger_that_does_not_keep_up_loses_samples_and_counts_them(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (evidence, ledger, tally):
        difference = Difference(path=("body", "a"), kind=Class.VALUE, primary="1", secondary="2")
        await ledger.writer.call(lambda db: db.execute("PRAGMA query_only = 1"))
        for _ in range(PENDING_MAX + 1):
            evidence.event("breaker", state="open")
        for _ in range(3):
            evidence.record(7, a_job(), a_try(VerdictKind.MISMATCH, None, difference), "default")
        assert tally.verdicts[VerdictKind.MISMATCH] == 3
        assert tally.ledger_dropped == 3
        assert len(ledger.writer) == PENDING_MAX + 1
        await ledger.writer.call(lambda db: db.execute("PRAGMA query_only = 0"))
        await flushed(ledger)
        await flushed(ledger)  # counts come once there is room again
        (group,) = rows(ledger.writer.path, "SELECT path, count FROM groups")
        assert tuple(group) == ("/body/a", 3)
        assert rows(ledger.writer.path, "SELECT * FROM verdicts") == []


async def test_a_flood_is_counted_and_kept_as_far_as_groups_want_it(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (evidence, ledger, tally):
        first, rare = (
            Difference(path=("body", name), kind=Class.VALUE, primary="1", secondary="2")
            for name in ("often", "rare")
        )
        for _ in range(500):
            evidence.record(7, a_job(), a_try(VerdictKind.MISMATCH, None, first), "default")
        evidence.record(8, a_job(), a_try(VerdictKind.MISMATCH, None, rare), "default")
        await flushed(ledger)
        groups = rows(ledger.writer.path, "SELECT path, count FROM groups ORDER BY path")
        assert [tuple(row) for row in groups] == [("/body/often", 500), ("/body/rare", 1)]
        kept = rows(ledger.writer.path, "SELECT intent FROM verdicts ORDER BY id")
        assert KEPT_MAX < len(kept) < 200
        assert kept[-1]["intent"] == 8
        assert tally.ledger_dropped == 0


async def test_a_rule_that_took_a_difference_away_is_counted(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (evidence, ledger, _):
        verdict = Verdict(
            kind=VerdictKind.IGNORED, reason="differences_ignored", ignored=("/at", "/etag")
        )
        tried = Tried(request=a_request(), outcome=a_reply(), verdict=verdict)
        evidence.record(7, a_job(), tried, "default")
        evidence.record(7, a_job(), tried, "default")
        await flushed(ledger)
        found = rows(ledger.writer.path, "SELECT route, rule, count FROM rules ORDER BY rule")
        assert [tuple(row) for row in found] == [("orders", "/at", 2), ("orders", "/etag", 2)]


async def test_an_event_is_kept(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (evidence, ledger, _):
        evidence.event("breaker", category="default", state="open")
        await flushed(ledger)
        (row,) = rows(ledger.writer.path, "SELECT event, details FROM events")
        assert (row["event"], json.loads(row["details"])["state"]) == ("breaker", "open")


ECHOED = "zq8w7e6r5t4y3u"


def echoing(size: int = 0) -> tuple[Job, Difference]:
    """A reply that repeats the request's token as a name; both so long."""
    body = json.dumps({"sessions": {ECHOED: 1}, "filler": "word " * (size // 5)}).encode()
    head = f"Authorization: Bearer {ECHOED}\r\nContent-Type: application/json\r\n"
    job = structs.replace(
        a_job(), request=a_request("PUT", "/a", b"{}", head), reply=a_reply(200, body)
    )
    return job, Difference(
        path=("body", "sessions", ECHOED), kind=Class.MISSING, primary="1", secondary=""
    )


@pytest.mark.parametrize("size", [0, 2 * APART_BYTES_MIN])
async def test_a_path_that_repeats_a_secret_reaches_no_table(tmp_path: Path, size: int) -> None:
    async with keeping(tmp_path) as (evidence, ledger, tally):
        job, difference = echoing(size)
        tried = a_try(VerdictKind.MISMATCH, None, difference)
        for _ in range(3):
            evidence.record(7, job, tried, "default")
        evidence.baseline(job, tried)
        await until(lambda: not len(evidence._fibers))
        await flushed(ledger)
        groups = rows(ledger.writer.path, "SELECT path, count FROM groups")
        assert [row["count"] for row in groups] == [3]
        assert groups[0]["path"].startswith("/body/sessions/redacted:")
        assert len(rows(ledger.writer.path, "SELECT * FROM baseline")) == 2
        assert tally.ledger_dropped == 0
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert ECHOED.encode() not in files


async def test_long_messages_are_kept_without_holding_up_the_loop(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (evidence, ledger, tally):
        body = json.dumps([{"mail": f"u{n}@example.com", "n": n} for n in range(2000)]).encode()
        evidence.record(7, a_job(body=body), a_try(VerdictKind.MISMATCH), "default")
        assert (len(ledger.writer), len(evidence._fibers)) == (0, 1)
        packed = gzip.compress(b"{}")
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
        job = structs.replace(a_job(), reply=structs.replace(a_reply(200, packed), head=head))
        evidence.record(8, job, a_try(VerdictKind.MISMATCH), "default")
        await until(lambda: not len(evidence._fibers))
        await flushed(ledger)
        kept = rows(ledger.writer.path, "SELECT intent FROM verdicts ORDER BY id")
        assert ([row["intent"] for row in kept], tally.ledger_dropped) == ([7, 8], 0)


async def test_too_many_long_ones_at_once_are_dropped_and_counted(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (evidence, ledger, tally):
        job = a_job(body=b"x" * APART_BYTES_MIN)
        for number in range(APART_MAX + 5):
            evidence.record(number, job, a_try(VerdictKind.MISMATCH), "default")
        await until(lambda: not len(evidence._fibers))
        await flushed(ledger)
        assert tally.ledger_dropped == 5
        assert len(rows(ledger.writer.path, "SELECT * FROM verdicts")) == APART_MAX
        (count,) = rows(ledger.writer.path, "SELECT count FROM counts")
        assert count["count"] == APART_MAX + 5


@pytest.mark.parametrize("size", [2, APART_BYTES_MIN])
async def test_a_defect_in_evidence_is_counted_logged_once_and_nobody_elses(
    tmp_path: Path, size: int
) -> None:
    def defect(_: str) -> Iterator[tuple[int, int]]:
        raise ZeroDivisionError(SECRET)

    stream, tally = io.StringIO(), Tally()
    fibers, log = Fibers(Log(stream)), Log(stream)
    ledger = await Ledger.open(tmp_path, Settings(), Clock())
    evidence = Evidence(ledger, Redaction(key=b"key", custom=(defect,)), tally, fibers, log)
    difference = Difference(path=("body", "a"), kind=Class.VALUE, primary="1", secondary="2")
    for _ in range(3):
        evidence.record(7, a_job(body=b"x" * size), a_try(VerdictKind.ERROR, None), "default")
        evidence.record(7, a_job(), a_try(VerdictKind.MISMATCH, None, difference), "default")
    await until(lambda: not len(fibers))
    await ledger.close()
    assert tally.ledger_dropped == 6
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "evidence_failed"
    assert sum(tally.verdicts.values()) == 6
