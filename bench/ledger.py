"""The ledger with a million rows: how fast it is written, how long each query of `twinwrite diffs` takes, and how long
a verdict keeps the loop. `python -m bench.ledger [--rows N] [--directory DIR]`; without DIR in a temporary one.

Rows are written by the ledger itself; only the clock is made up: 30 days pass while they are.
"""

import argparse
import asyncio
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

from proxy.control.evidence import Ledger as Settings
from proxy.control.log import Log
from proxy.control.tally import Tally
from proxy.fiber import Fibers
from proxy.flow.evidence import Evidence
from proxy.flow.secondary import Job, Tried
from proxy.store import ledger_reader as reader
from proxy.store.ledger import Ledger, Sample
from proxy.store.ledger_reader import Chosen
from proxy.store.retention import STEP_ROWS, Limits, forget
from rules.compare import Verdict, VerdictKind
from rules.difference import Class, Difference
from rules.message import Reply, Request, Side
from rules.redact import Redaction
from rules.route import Match, Route, compile_path

ROWS = 1_000_000
DAYS = 30
START = 1_780_000_000.0
ROUTES = tuple(f"route {number}" for number in range(12))
FIELDS = tuple(f"field_{number}" for number in range(25))
CATEGORIES = ("critical", "default", "performance")
BATCH = 2000
LIMIT_MS = 50
TIMES = 9


def differences(number: int) -> tuple[Difference, ...]:
    """One to three differences, spread unevenly over the fields; values of their own."""
    kinds = tuple(Class)
    return tuple(
        Difference(
            path=("body", "items", str(number % 5), FIELDS[(number * number + step) % len(FIELDS)]),
            kind=kinds[(number // 7 + step) % (6 if number % 50 == 0 else 2)],
            primary=f'"customer {number * 7919 % 100_003}"',
            secondary=f"{number * 0.01:.2f}",
        )
        for step in range(1 + number % 3)
    )


def a_sample(number: int) -> Sample:
    """A mismatch, now and then a reply that never came; with two replies of some 300 bytes."""
    found = differences(number)
    verdict = Verdict(kind=VerdictKind.MISMATCH, reason="body", differences=found)
    if number % 400 == 0:
        found = ()
        verdict = Verdict(kind=VerdictKind.ERROR, reason="timeout")
    body = json.dumps({"id": number, "note": "abcdefghij klmnopqrst " * 12})
    headers = [["content-type", "application/json"]]
    reply = {"status": 200, "headers": headers, "body": body}
    request = {"method": "PUT", "target": f"/orders/{number}", "headers": [], "body": body}
    document = {
        "request": request,
        "primary": {"side": "legacy", **reply},
        "secondary": {"side": "new", **reply},
    }
    return Sample(
        intent=number, route=ROUTES[number * number % len(ROUTES)], category=CATEGORIES[number % 3],
        method="PUT", target=f"/orders/{number}", verdict=verdict, differences=found,
        evidence=json.dumps(document),
    )  # fmt: skip


async def build(directory: Path, rows: int) -> float:
    """Write so many rows; the seconds that it took."""
    now = START
    ledger = await Ledger.open(directory, Settings(bytes_max=2**40), lambda: now)
    started = time.perf_counter()
    match = Verdict(kind=VerdictKind.MATCH, reason="equal_bytes")
    for number in range(1, rows + 1):
        now = START + DAYS * 86400 * number / rows
        sample = a_sample(number)
        for verdict in (sample.verdict, match, match):
            ledger.count(sample.route, sample.category, verdict)
        wanted = ledger.group(sample.route, sample.category, sample.differences)
        ledger.keep(sample, wanted)
        if number % BATCH == 0:
            ledger.sweep()
            await ledger.writer.call(lambda _: None)
            while len(ledger.writer):
                await asyncio.sleep(0.001)
    await ledger.close()
    return time.perf_counter() - started


def queries(directory: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """What the command line asks, by name."""
    end = START + DAYS * 86400
    day, hour = Chosen(since=end - 86400), Chosen(since=end - 3600)
    last = reader.last_id(directory)
    field = Chosen(path="/body/items/*/field_3")
    yield "list", partial(reader.groups, directory)
    yield "list --route", partial(reader.groups, directory, Chosen(route=ROUTES[1]))
    yield (
        "list --path --class",
        partial(reader.groups, directory, Chosen(path="/body", kind="type")),
    )
    yield "list --since 1d", partial(reader.groups, directory, day)
    yield "list --since 30d", partial(reader.groups, directory, Chosen(since=START))
    yield "show", partial(reader.sample, directory, last // 2)
    yield "verdicts", partial(reader.verdicts, directory, day)
    yield "search, a word of one row", partial(reader.search, directory, f"{last // 2}")
    yield "search, a word of every row", partial(reader.search, directory, "customer")
    yield "search, a word of no row", partial(reader.search, directory, "nowhere")
    yield "search --path", partial(reader.search, directory, "", field)
    yield "search --route", partial(reader.search, directory, "customer", Chosen(route=ROUTES[1]))
    yield "search --verdict error", partial(reader.search, directory, "", Chosen(verdict="error"))
    yield "search --class order", partial(reader.search, directory, "", Chosen(kind="order"))
    yield "search --since 1h", partial(reader.search, directory, "customer", hour)
    yield (
        "search --until, 29 d ago",
        partial(reader.search, directory, "customer", Chosen(until=START + 86400)),
    )
    yield "stats --since 1d", partial(reader.hours, directory, day)
    yield "stats --since 30d", partial(reader.hours, directory)
    yield "stats --since 30d --path", partial(reader.hours, directory, field)
    yield "follow, one look", lambda: list(reader.stream(directory, after=last - 20))
    yield "export, the first 1000", lambda: list(islice(reader.stream(directory), 1000))
    yield "export --since 1h", lambda: list(islice(reader.stream(directory, hour), 1000))
    yield "suggest, candidates", partial(reader.groups, directory, day, 500)
    yield "suggest, compared", partial(reader.compared, directory, day)
    group = reader.groups(directory)[0]
    yield "suggest, values", partial(reader.members, directory, group)
    yield "rules", partial(reader.rules, directory)


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """The median and the longest of TIMES calls, each with a connection of its own."""
    found = []
    for _ in range(TIMES):
        started = time.perf_counter()
        call()
        found.append((time.perf_counter() - started) * 1000)
    return median(found), max(found)


def ask(directory: Path) -> bool:
    """Time and print every query; whether all medians are below LIMIT_MS."""
    slow = []
    print(f"{'query':32} {'median':>9} {'longest':>9}")
    for name, call in queries(directory):
        middle, longest = milliseconds(call)
        print(f"{name:32} {middle:6.1f} ms {longest:6.1f} ms")
        slow += [name] if middle >= LIMIT_MS else []
    print(f"slower than {LIMIT_MS} ms: {', '.join(slow) or 'none'}")
    return not slow


async def steps(directory: Path) -> None:
    """How long one step of retention takes, while a day's rows go."""
    ledger = await Ledger.open(directory, Settings(bytes_max=2**40), lambda: START)
    limits = Limits(before=START + 86400, bytes_max=2**40)
    found = []
    for _ in range(200):
        started = time.perf_counter()
        more = await ledger.writer.call(partial(forget, limits=limits))
        found.append((time.perf_counter() - started) * 1000)
        if not more:
            break
    await ledger.close()
    print(f"retention, {STEP_ROWS} rows: {median(found):.1f} ms, longest {max(found):.1f} ms")


async def on_the_loop(directory: Path) -> None:
    """What `Evidence.record` costs the loop: a match, and a mismatch of two bodies of 300 bytes."""
    ledger = await Ledger.open(directory, Settings(), time.time)
    log = Log()
    evidence = Evidence(ledger, Redaction(key=b"key"), Tally(), Fibers(log), log)
    route = Route(name="orders", match=Match(path=compile_path("/")))
    body = json.dumps({"id": 1, "note": "abcdefghij klmnopqrst " * 12}).encode()
    head = b"PUT /a HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: 300\r\n\r\n"
    request = Request(method="PUT", target="/a", head=head, body=body, body_bytes=len(body))
    reply = Reply(status=200, head=head.replace(b"PUT /a HTTP/1.1", b"HTTP/1.1 200 OK"), body=body)
    job = Job(route=route, primary=Side.LEGACY, request=request, reply=reply, key="k")
    found = differences(2)
    kinds = {
        "a match": Verdict(kind=VerdictKind.MATCH, reason="equal_bytes"),
        "a mismatch": Verdict(kind=VerdictKind.MISMATCH, reason="body", differences=found),
    }
    for name, verdict in kinds.items():
        tried = Tried(request=request, outcome=reply, verdict=verdict)
        count = 200_000 if verdict.kind is VerdictKind.MATCH else 5000
        gc.collect()
        best = float("inf")
        for _ in range(5):
            started = time.perf_counter()
            for _ in range(count):
                evidence.record(1, job, tried, "default")
            best = min(best, time.perf_counter() - started)
        print(f"Evidence.record, {name}: {best / count * 1e6:.2f} us")
        await asyncio.sleep(0)
    await ledger.close()


def main() -> None:
    """Build, ask, forget, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--directory", type=Path, help="keep the file there; built when it is not")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = given.directory or Path(scratch)
        if not (directory / "ledger.db").exists():
            directory.mkdir(parents=True, exist_ok=True)
            seconds = asyncio.run(build(directory, given.rows))
            print(
                f"{given.rows} rows in {seconds:.0f} s: {seconds / given.rows * 1e6:.0f} us a row"
            )
        size = (directory / "ledger.db").stat().st_size
        print(f"ledger.db: {size / 2**20:.0f} MiB")
        ask(directory)
        if given.directory is None:
            asyncio.run(steps(directory))
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(on_the_loop(Path(scratch)))


if __name__ == "__main__":
    main()
