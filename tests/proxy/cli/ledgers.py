"""A ledger as a sidecar leaves it, and the command line on it."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from proxy.__main__ import main
from proxy.control.evidence import Ledger as Settings
from proxy.store.ledger import Ledger, Sample
from rules.compare import Verdict, VerdictKind
from rules.difference import Class, Difference
from tests.proxy.samples import Clock

HOUR = 1_800_000_000.0 - 1_800_000_000.0 % 3600  # 2027-01-15 08:00 UTC
CONFIG = """
[backends.legacy]
url = "http://127.0.0.1:1"
[backends.new]
url = "http://127.0.0.1:2"
[journal]
directory = "{directory}"
[[routes]]
name = "orders"
path = "/orders/{{id}}"
ignore = ["/used", "/never"]
"""
MATCH = Verdict(kind=VerdictKind.MATCH, reason="equal_bytes")


def mismatch(*found: tuple[str, Class, str, str]) -> Verdict:
    """A mismatch of a body; each difference as (path below the body, class, primary, secondary)."""
    differences = tuple(
        Difference(path=("body", *path.split("/")[1:]), kind=kind, primary=one, secondary=other)
        for path, kind, one, other in found
    )
    return Verdict(kind=VerdictKind.MISMATCH, reason="body", differences=differences)


def record(
    ledger: Ledger, verdict: Verdict, route: str = "orders", bodies: tuple[str, str] = ("{}", "{}")
) -> None:
    """What `proxy.flow.evidence` does with a verdict."""
    ledger.count(route, "default", verdict)
    ledger.used(route, verdict.ignored)
    if verdict.kind in (VerdictKind.MATCH, VerdictKind.IGNORED):
        return
    headers = [["content-type", "application/json"]]
    document = {
        "request": {"method": "PUT", "target": "/orders/1", "headers": headers, "body": '{"n": 1}'},
        "primary": {"side": "legacy", "status": 200, "headers": headers, "body": bodies[0]},
        "secondary": {"side": "new", "status": 201, "headers": headers, "body": bodies[1]},
    }
    wanted = ledger.group(route, "default", verdict.differences)
    sample = Sample(
        intent=7, route=route, category="default", method="PUT", target="/orders/1", verdict=verdict,
        differences=verdict.differences, evidence=json.dumps(document),
    )  # fmt: skip
    ledger.keep(sample, wanted)


class Book:
    """A ledger in a directory of its own, with a config that names it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "data"
        self.directory.mkdir()
        self.config = directory / "twinwrite.toml"
        self.config.write_text(CONFIG.format(directory=self.directory))
        self.clock = Clock(HOUR)

    @contextmanager
    def open(self) -> Iterator[Ledger]:
        """Write to it; what was written is on disk afterwards."""
        with asyncio.Runner() as runner:
            ledger = runner.run(Ledger.open(self.directory, Settings(), self.clock))
            try:
                yield ledger
            finally:
                runner.run(ledger.close())

    def invoke(self, *arguments: str, width: int = 80) -> Result:
        """Run `twinwrite diffs`, piped."""
        command = ["diffs", *arguments, "-c", str(self.config)]
        return CliRunner(env={"COLUMNS": str(width)}).invoke(main, command)

    def lines(self, *arguments: str) -> list[str]:
        """What it printed; it went well, and nothing is for terminals."""
        result = self.invoke(*arguments)
        assert result.exit_code == 0, result.output
        assert "\x1b" not in result.output
        return result.output.splitlines()


def a_book(directory: Path) -> Book:
    """8 h: two matches and a mismatch. 9 h: two mismatches in an array and a note that is missing."""
    book = Book(directory)
    with book.open() as ledger:
        record(ledger, MATCH)
        record(ledger, MATCH, "notes")
        one = '{"total": 10, "state": "open"}'
        other = '{"total": 11, "state": "open"}'
        record(ledger, mismatch(("/total", Class.VALUE, "10", "11")), bodies=(one, other))
        ledger.sweep()
        book.clock.forward(3600)
        for index in (0, 7):
            record(ledger, mismatch((f"/items/{index}/id", Class.VALUE, '"a"', '"b"')))
        record(ledger, mismatch(("/note", Class.MISSING, '"x"', "")), "notes")
        used = Verdict(kind=VerdictKind.IGNORED, reason="differences_ignored", ignored=("/used",))
        record(ledger, used)
    return book
