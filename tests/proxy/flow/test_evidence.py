"""From a verdict to the ledger: counted always, kept when it tells something, redacted, and never in the way."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.control.evidence import Ledger as Settings
from proxy.control.log import Log
from proxy.control.tally import Tally
from proxy.fiber import Fibers
from proxy.flow.evidence import Evidence
from proxy.flow.secondary import Job, Tried
from proxy.store.ledger import KEPT_MAX, PENDING_MAX, Ledger
from rules.compare import Verdict, VerdictKind
from rules.diff import Class, Difference
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
