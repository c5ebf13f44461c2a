"""The ledger: evidence. Counts of verdicts, groups of differences, redacted samples, breaker events.

Law: behind the path; its loss never stops a write. Nothing enters unredacted (`proxy.flow.evidence`).
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.store import ledger_schema as schema
from proxy.store.batch import StoreError, storable
from proxy.store.writer import Writer
from rules.compare import Verdict
from rules.diff import Difference

FORGET_EVERY = 1000
"""Old samples are removed once in so many new ones (20-75 ms for 1,000 to 5,000 rows: storage.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A comparison that did not match: what is kept of it. `evidence` is redacted JSON."""

    intent: int | None
    route: str
    category: str
    method: str
    target: str
    verdict: Verdict
    differences: tuple[Difference, ...]
    evidence: str


class Ledger:
    """The open ledger. Use `open`, not the constructor."""

    def __init__(
        self, writer: Writer, samples_max: int, next_id: int, clock: Callable[[], float]
    ) -> None:
        self.writer = writer
        self._clock = clock
        self._counts: dict[tuple[str, str], int] = {}  # since the last tick
        self._next_id = next_id
        self._samples_max = samples_max

    @classmethod
    async def open(cls, directory: Path, samples_max: int, clock: Callable[[], float]) -> "Ledger":
        """Open or create the ledger; raises StoreError."""
        writer = await Writer.open(directory / "ledger.db", schema.LEDGER, synchronous="NORMAL")
        try:
            return cls(writer, samples_max, await writer.call(_next_id), clock)
        except StoreError:
            await writer.close()
            raise

    def count(self, route: str, verdict: str) -> None:
        """One more verdict of a route, in this hour; on disk with the next tick."""
        self._counts[route, verdict] = self._counts.get((route, verdict), 0) + 1

    def sweep(self) -> None:
        """Once per tick: write the counts, try again what the disk refused."""
        now = self._clock()
        counts, self._counts = self._counts, {}
        for (route, verdict), count in counts.items():
            self.writer.put(schema.COUNT, (int(now - now % 3600), route, verdict, count))
        self.writer.nudge()

    def keep(self, sample: Sample) -> None:
        """Keep a sample, and add its differences to their groups."""
        now, identifier = self._clock(), self._next_id
        self._next_id += 1
        row = (
            identifier, now, sample.intent, sample.route, sample.category, sample.verdict.kind,
            sample.verdict.reason, sample.method, sample.target, sample.evidence,
        )  # fmt: skip
        self.writer.put(schema.VERDICT, row)
        for each in sample.differences:
            path = storable(_pointer(each.path))
            values = storable(each.primary), storable(each.secondary)
            self.writer.put(schema.DIFFERENCE, (identifier, path, each.kind, *values))
            self.writer.put(schema.GROUP, (sample.route, path, each.kind, now, now, identifier))
        if identifier % FORGET_EVERY == 0:
            self.writer.put(schema.FORGET_DIFFERENCES, (identifier - self._samples_max,))
            self.writer.put(schema.FORGET, (identifier - self._samples_max,))

    def event(self, event: str, details: Mapping[str, str]) -> None:
        """Something that an operator will want to find later: a breaker transition, a start, a stop."""
        self.writer.put(schema.EVENT, (self._clock(), event, json.dumps(dict(details))))

    async def close(self) -> None:
        """Commit what is queued."""
        self.sweep()
        await self.writer.close()


def _pointer(path: tuple[str, ...]) -> str:
    """A path as a JSON pointer (RFC 6901): a slash within a name is no step."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)


def _next_id(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'verdicts'), 0)"
    ).fetchone()
    return int(last) + 1
