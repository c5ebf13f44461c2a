"""The ledger: evidence. Counts of verdicts, groups of differences, redacted samples, breaker events.

Law: behind the path; its loss never stops a write. Nothing enters unredacted (`proxy.flow.evidence`).
"""

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from proxy.control.evidence import Ledger as Settings
from proxy.store import ledger_schema as schema
from proxy.store.batch import StoreError, storable
from proxy.store.retention import Limits, forget
from proxy.store.writer import Writer
from rules.compare import Verdict, VerdictKind
from rules.difference import Difference
from rules.noise import PATH_CHARACTERS_MAX
from rules.reservoir import slot

GROUPS_MAX = 5000
"""Groups at once: a backend that makes up names does not fill memory. Further paths of a route are one group of each
class."""

ELSEWHERE = "/**"
"""The path of what is beyond GROUPS_MAX."""

PENDING_MAX = 10_000
"""Operations that may wait for the disk; beyond it evidence is dropped, and counts wait in memory."""

KEPT_MAX = 50
"""Samples of each kind of verdict between two ticks, beside those that a group wants: to redact one costs some 0.1-0.2
ms of the loop's time (bench/ledger.py), and thousands a second of the same tell no more."""

FAILING_S = 2.0
"""A transaction that takes longer hangs; one takes 0.1-0.2 ms (storage.md)."""

FORGET_EVERY_S = 10.0
"""How often it is looked whether there is too much; what is too much then goes in small steps."""

_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_MANY = re.compile(r"[0-9]+|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


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


@dataclass(slots=True)
class _Group:
    """A group of differences, as it is known in memory."""

    id: int
    category: str
    count: int
    first_at: float
    last_at: float
    fresh: int = 0  # since the last tick


_Name = tuple[str, str, str]  # route, path, kind


@dataclass(slots=True)
class _Found:
    """What the file said when it was opened."""

    next_id: int
    next_group: int
    groups: dict[_Name, _Group]


class Ledger:
    """The open ledger. Use `open`, not the constructor.

    `writer.failing` says that the disk refuses it, or has not answered for FAILING_S. `moved`: where
    a damaged file was put when this one was opened, or None.
    """

    def __init__(
        self, writer: Writer, settings: Settings, found: _Found, clock: Callable[[], float]
    ) -> None:
        self.writer = writer
        self.moved: Path | None = None
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._counts: dict[tuple[str, str, str, str], int] = {}  # since the last tick, as the next
        self._rules: dict[tuple[str, str], int] = {}
        self._baseline: dict[_Name, int] = {}
        self._baselines: set[_Name] = (
            set()
        )  # all that there were since the start: as bounded as groups
        self._kept: dict[VerdictKind, int] = {}
        self._next_id = found.next_id
        self._next_group = found.next_group
        self._groups = found.groups
        self._settings = settings
        self._forget_at = clock()
        self._forgetting: asyncio.Task[None] | None = None
        self._closing = False

    @classmethod
    async def open(
        cls, directory: Path, settings: Settings, clock: Callable[[], float]
    ) -> "Ledger":
        """Open or create the ledger; raises StoreError. A file that is damaged is moved aside."""
        path = directory / "ledger.db"
        try:
            return await cls._opened(path, settings, clock)
        except StoreError as error:
            if not _is_damaged(error):
                raise
            moved = _move_aside(path, int(clock()))
        ledger = await cls._opened(path, settings, clock)
        ledger.moved = moved
        return ledger

    @classmethod
    async def _opened(cls, path: Path, settings: Settings, clock: Callable[[], float]) -> "Ledger":
        writer = await Writer.open(path, schema.LEDGER, synchronous="NORMAL")
        try:
            return cls(writer, settings, await writer.call(_take_up), clock)
        except StoreError:
            await writer.close()
            raise

    def count(self, route: str, category: str, verdict: Verdict) -> None:
        """One more verdict of a route, in this hour; on disk with the next tick."""
        key = (route, category, verdict.kind, verdict.reason)
        try:  # once for each match
            self._counts[key] += 1
        except KeyError:
            self._counts[key] = 1

    def used(self, route: str, rules: Iterable[str]) -> None:
        """These rules ate a difference of one comparison."""
        for rule in rules:
            key = (route, storable(rule))
            self._rules[key] = self._rules.get(key, 0) + 1

    def group(
        self, route: str, category: str, differences: Iterable[Difference]
    ) -> list[tuple[int, int]]:
        """Add a comparison to the groups of its differences, to each once: (group, slot) of those that want it."""
        now, wanted = self._clock(), []
        for name in dict.fromkeys(self._place(route, each, now) for each in differences):
            found = self._groups[name]
            found.category, found.last_at = category, now
            found.count += 1
            found.fresh += 1
            place = slot("\0".join(name), found.count, self._settings.group_samples)
            if place is not None:
                wanted.append((found.id, place))
        return wanted

    def _place(self, route: str, difference: Difference, now: float) -> _Name:
        """The name of the group of a difference: there is one from now on."""
        name = _name(route, difference)
        if name not in self._groups and len(self._groups) >= GROUPS_MAX:
            name = (route, ELSEWHERE, difference.kind)
        if name not in self._groups:
            self._groups[name] = _Group(self._next_group, "", 0, now, now)
            self._next_group += 1
        return name

    def knows(self, route: str, differences: Iterable[Difference]) -> bool:
        """Whether no path of these would be taken up as a new one."""
        if len(self._groups) >= GROUPS_MAX:
            return True
        names = (_name(route, each) for each in differences)
        return all(name in self._groups or name in self._baselines for name in names)

    def baseline(self, route: str, differences: Iterable[Difference]) -> None:
        """Two replies of the primary to one read: one more, and one more for each of these."""
        for key in sorted({(route, "", ""), *(_name(route, each) for each in differences)}):
            full = max(len(self._groups), len(self._baselines)) >= GROUPS_MAX
            if not full or key in self._groups or not key[1]:
                self._baselines.add(key)
            if key in self._baselines:
                self._baseline[key] = self._baseline.get(key, 0) + 1

    def takes(self, kind: VerdictKind) -> bool:
        """Whether there is room for one more sample that no group wants, before the next tick."""
        kept = self._kept.get(kind, 0)
        self._kept[kind] = kept + 1
        return kept < KEPT_MAX

    def keep(self, sample: Sample, wanted: Iterable[tuple[int, int]]) -> int:
        """Keep a sample, for the (group, slot) that want it; its number."""
        now, identifier = self._clock(), self._next_id
        self._next_id += 1
        differences = [
            {
                "path": pointer(each.path), "kind": each.kind,
                "primary": each.primary, "secondary": each.secondary,
            }
            for each in sample.differences
        ]  # fmt: skip
        row = (
            identifier, now, sample.intent, sample.route, sample.category, sample.verdict.kind,
            sample.verdict.reason, sample.method, storable(sample.target), storable(sample.evidence),
            storable(json.dumps(differences, ensure_ascii=False)),
        )  # fmt: skip
        self.writer.put(schema.VERDICT, row)
        for number, place in wanted:
            self.writer.put(schema.SAMPLE, (number, place, identifier))
        return identifier

    def event(self, event: str, details: Mapping[str, str]) -> None:
        """Something that an operator will want to find later: a breaker transition, a start, a stop."""
        self.writer.put(schema.EVENT, (self._clock(), event, json.dumps(dict(details))))

    def sweep(self) -> None:
        """Once per tick: write the counts, try again what the disk refused, forget what is too old."""
        now = self._clock()
        self._kept.clear()
        if self._closing or len(self.writer) <= PENDING_MAX:
            self._write_counts(int(now - now % 3600))
        self.writer.expire(FAILING_S)
        self.writer.nudge()
        if now >= self._forget_at and not self._closing and self._forgetting is None:
            self._forget_at = now + FORGET_EVERY_S
            self._forget_groups(now - self._settings.age_max_seconds)
            self._forgetting = self._loop.create_task(self._forget(now))

    def _write_counts(self, hour: int) -> None:
        put = self.writer.put
        counts, self._counts = self._counts, {}
        for key, count in counts.items():
            put(schema.COUNT, (hour, *key, count))
        rules, self._rules = self._rules, {}
        for rule, count in rules.items():
            put(schema.RULE, (hour, *rule, count))
        baseline, self._baseline = self._baseline, {}
        for field, count in baseline.items():
            put(schema.BASELINE, (hour, *field, count))
        for name, each in self._groups.items():
            if each.fresh:
                route, path, kind = name
                row = (each.id, route, each.category, path, kind, each.fresh)
                put(schema.GROUP, (*row, each.first_at, each.last_at))
                put(schema.GROUP_HOUR, (hour, each.id, each.fresh))
                each.fresh = 0

    def _forget_groups(self, before: float) -> None:
        """What was not seen for so long goes; its hours go with age."""
        old = [name for name, each in self._groups.items() if each.last_at < before]
        for name in old:
            found = self._groups.pop(name)
            self.writer.put(schema.FORGET_GROUP, (found.id,))
            self.writer.put(schema.FORGET_SAMPLES, (found.id,))

    async def _forget(self, now: float) -> None:
        """Small steps, between which what waits is written."""
        limits = Limits(
            before=now - self._settings.age_max_seconds, bytes_max=self._settings.bytes_max
        )
        try:
            while await self.writer.call(partial(forget, limits=limits)) and not self._closing:
                pass
        except StoreError:  # the next time
            pass
        finally:
            self._forgetting = None

    async def close(self) -> None:
        """Commit what is queued."""
        self._closing = True
        if self._forgetting is not None:
            await self._forgetting
        self.sweep()
        await self.writer.close()


def _name(route: str, difference: Difference) -> _Name:
    return route, field_path(pointer(difference.path)), str(difference.kind)


def pointer(path: tuple[str, ...]) -> str:
    """A path as a JSON pointer (RFC 6901): a slash within a name is no step."""
    text = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)
    return storable(text)[:PATH_CHARACTERS_MAX]


def field_path(text: str) -> str:
    """The path of the group of a pointer: a step that is a number or a UUID is one of many, and becomes `*`."""
    return "/".join("*" if _MANY.fullmatch(step) else step for step in text.split("/"))


def _take_up(connection: sqlite3.Connection) -> _Found:
    """Make the full-text index if need be, and read what goes on from here."""
    schema.make_searchable(connection, fts5=schema.has_fts5(connection))
    (last,) = connection.execute(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'verdicts'), 0)"
    ).fetchone()
    (group,) = connection.execute(
        "SELECT max(coalesce((SELECT max(id) FROM groups), 0),"
        " coalesce((SELECT max(group_id) FROM samples), 0),"
        " coalesce((SELECT max(group_id) FROM group_hours), 0))"
    ).fetchone()
    connection.execute("DELETE FROM samples WHERE group_id NOT IN (SELECT id FROM groups)")
    sql = "SELECT route, path, kind, id, category, count, first_at, last_at FROM groups"
    groups = {tuple(row[:3]): _Group(*row[3:]) for row in connection.execute(sql)}
    return _Found(int(last) + 1, int(group) + 1, groups)


def _is_damaged(error: StoreError) -> bool:
    """Whether SQLite said that this is no database, or a damaged one."""
    cause: BaseException | None = error
    while cause is not None:
        code = getattr(cause, "sqlite_errorcode", 0)
        if code & 0xFF in _DAMAGED:
            return True
        cause = cause.__cause__
    return False


def _move_aside(path: Path, now: int) -> Path:
    """Rename a damaged file and what belongs to it; raises StoreError."""
    to = path.with_name(f"{path.name}.damaged-{now}")
    try:
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{to}{suffix}")
    except OSError as error:
        raise StoreError(f"{path}: {error}") from error
    return to
