"""Reads the ledger from outside the sidecar: for the command line, also while it runs.

Law: read-only, short transactions (a long reader pins the write-ahead log: storage.md), and never
more in memory than what is asked for.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.store.batch import StoreError
from proxy.store.ledger import field_path
from proxy.store.ledger_schema import LEDGER_VERSION, has_fts5
from proxy.store.reader import Document, looking

PAGE_IDS, WINDOW_IDS_MAX = 2000, 128_000
"""Numbers of verdicts that one transaction looks at while all of them are gone through; where the index is asked
each looks at four times as many as the one before, up to so many."""

_ROW = "v.id, v.at, v.intent, v.route, v.category, v.verdict, v.reason, v.method, v.target, v.differences"
_TEXT = "v.route || ' ' || v.reason || ' ' || v.target || ' ' || v.differences"
_BODIES = tuple(
    f" || ' ' || coalesce(json_extract(v.evidence, '$.{part}.body'), '')"
    for part in ("request", "primary", "secondary")
)
_COMPARED = "('match', 'ignored', 'mismatch')"
_BEYOND = 2**62
_WORD = re.compile(r"[^\W_]")  # what the index has tokens of
_LIKE = re.compile(r"[%_\\]")
_STARRED = re.compile(r"/[^/]*\*[^/]*")
_GLOB = re.compile(r"[\[?]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which evidence is meant; what is empty or None is any.

    `kind` is the class of a difference. `path` is a path or one above it, `*` in it is anything.
    `since` and `until` are Unix seconds; what is counted by the hour is chosen by whole hours.
    """

    route: str = ""
    category: str = ""
    verdict: str = ""
    kind: str = ""
    path: str = ""
    since: float | None = None
    until: float | None = None


ANY = Chosen()

Documents = Iterator[Document]


class _Where:
    """The conditions of a query, and their values."""

    def __init__(self) -> None:
        self.parts: list[str] = ["1"]
        self.values: list[object] = []

    def add(self, condition: str, *values: object) -> None:
        self.parts.append(condition)
        self.values += values

    def equal(self, table: str, chosen: Chosen, *names: str) -> None:
        for name in names:
            if getattr(chosen, name):
                self.add(f"{table}{name} = ?", getattr(chosen, name))

    def path(self, column: str, path: str) -> None:
        if path:
            pattern = _GLOB.sub(lambda found: f"[{found[0]}]", path.rstrip("/"))
            self.add(f"({column} GLOB ? OR {column} GLOB ?)", pattern, f"{pattern}/*")

    def words(self, words: list[str], text: str) -> None:
        """A text has all of these."""
        for word in words:
            pattern = _LIKE.sub(lambda found: "\\" + found[0], word)
            self.add(f"({text}) LIKE ? ESCAPE '\\'", f"%{pattern}%")

    def hours(self, column: str, chosen: Chosen) -> None:
        if chosen.since is not None:
            self.add(f"{column} >= ?", int(chosen.since - chosen.since % 3600))
        if chosen.until is not None:
            self.add(f"{column} < ?", chosen.until)

    def __str__(self) -> str:
        return " AND ".join(self.parts)


def groups(directory: Path, chosen: Chosen = ANY, limit: int = 50) -> list[Document]:
    """Differences by route, path and class, most frequent first. Raises StoreError.

    `count` is the number of comparisons in the hours that are chosen; `sample` is the latest of
    the group's samples, or None.
    """
    where = _grouped(chosen)
    if chosen.since is None and chosen.until is None:
        count, source = "g.count", "groups AS g"
    else:
        hours = _Where()
        hours.hours("hour", chosen)
        count = "h.count"
        source = (
            f"(SELECT group_id, sum(count) AS count FROM group_hours WHERE {hours} GROUP BY group_id)"
            " AS h JOIN groups AS g ON g.id = h.group_id"
        )
        where.values[:0] = hours.values
    sql = (
        f"SELECT g.id, g.route, g.category, g.path, g.kind, {count} AS count, g.first_at, g.last_at,"
        f" (SELECT max(verdict) FROM samples WHERE group_id = g.id) AS sample FROM {source}"
        f" WHERE {where} ORDER BY {count} DESC, g.route, g.path, g.kind LIMIT ?"
    )
    with _ledger(directory) as connection:
        return [dict(row) for row in connection.execute(sql, (*where.values, limit))]


def _grouped(chosen: Chosen) -> _Where:
    where = _Where()
    where.equal("g.", chosen, "route", "category", "kind")
    where.path("g.path", chosen.path)
    return where


def verdicts(directory: Path, chosen: Chosen = ANY) -> list[Document]:
    """Counts by route, category, verdict and reason. Raises StoreError."""
    where = _counted(chosen)
    where.equal("", chosen, "verdict")
    sql = (
        "SELECT route, category, verdict, reason, sum(count) AS count FROM counts"
        f" WHERE {where} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    )
    with _ledger(directory) as connection:
        return [dict(row) for row in connection.execute(sql, where.values)]


def _counted(chosen: Chosen) -> _Where:
    where = _Where()
    where.equal("", chosen, "route", "category")
    where.hours("hour", chosen)
    return where


def sample(directory: Path, identifier: int) -> Document | None:
    """One comparison in full: verdict, request, both replies, differences; None when it is not kept."""
    with _ledger(directory) as connection:
        row = connection.execute("SELECT * FROM verdicts WHERE id = ?", (identifier,)).fetchone()
    return None if row is None else _document(row)


def last_id(directory: Path) -> int:
    """The number of the latest verdict that was kept, also if it is gone; 0 when none was. Raises StoreError."""
    with _ledger(directory) as connection:
        sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'verdicts'"
        return int(connection.execute(sql).fetchone()[0])


def stream(
    directory: Path, chosen: Chosen = ANY, after: int = 0, *, whole: bool = False
) -> Iterator[Document]:
    """All verdicts that are kept, beyond number `after`, in order, page by page; `whole`: as `sample` gives them.

    Raises StoreError.
    """
    where = _kept(chosen)
    columns = "v.*" if whole else _ROW
    sql = f"SELECT {columns} FROM verdicts AS v WHERE {where} AND v.id > ? AND v.id <= ? ORDER BY v.id"
    oldest = "SELECT coalesce(min(id), ?) FROM verdicts WHERE id > ?"
    last = last_id(directory)
    if chosen.since is not None:
        with _ledger(directory) as connection:
            after = max(after, _first_id(connection, chosen.since) - 1)
    while after < last:
        with _ledger(directory) as connection:
            (first,) = connection.execute(oldest, (last, after)).fetchone()
            to = min(first + PAGE_IDS, last)
            page = connection.execute(sql, (*where.values, after, to)).fetchall()
        yield from map(_document, page)
        after = to


def _kept(chosen: Chosen) -> _Where:
    where = _Where()
    where.equal("v.", chosen, "route", "category", "verdict")
    if chosen.since is not None:
        where.add("v.at >= ?", chosen.since)
    if chosen.until is not None:
        where.add("v.at < ?", chosen.until)
    if chosen.kind or chosen.path:
        inner = _Where()
        if chosen.kind:
            inner.add("json_extract(d.value, '$.kind') = ?", chosen.kind)
        inner.path("json_extract(d.value, '$.path')", chosen.path)
        where.add(f"EXISTS (SELECT 1 FROM json_each(v.differences) AS d WHERE {inner})")
        where.values += inner.values
    return where


def _first_id(connection: sqlite3.Connection, since: float) -> int:
    """The number of the first verdict that is not older; of none, one that is beyond all."""
    sql = "SELECT id FROM verdicts WHERE at >= ? ORDER BY at LIMIT 1"
    return int((connection.execute(sql, (since,)).fetchone() or [_BEYOND])[0])


def search(
    directory: Path, text: str, chosen: Chosen = ANY, limit: int = 50, *, bodies: bool = False
) -> tuple[list[Document], int]:
    """Verdicts that have every word of a text in target, route, reason or differences, latest first.

    Words are whole ones. Without full-text index, and for `bodies` (then request and replies count, too), rows
    are read through; the second value says how many. Raises StoreError.
    """
    words = text.split()
    with _ledger(directory) as connection:
        first = connection.execute("SELECT value FROM meta WHERE name = 'search_from'").fetchone()
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM verdicts").fetchone()
        through = last if bodies or first is None or not has_fts5(connection) else first[0] - 1
        low = through
        if chosen.since is not None:
            low = max(through, _first_id(connection, chosen.since) - 1)
        if chosen.until is not None:
            last = min(last, _first_id(connection, chosen.until) - 1)
    found: list[sqlite3.Row] = []
    read, size = 0, PAGE_IDS
    while last > low and len(found) < limit:
        window = (last, max(last - size, low), limit - len(found))
        with _ledger(directory) as connection:
            found += _indexed(connection, words, chosen, window)
        last, size = window[1], min(size * 4, WINDOW_IDS_MAX)
    for rows, count in _read_through(directory, words, chosen, (through, bodies)):
        if len(found) >= limit:
            break
        found += rows
        read += count
    return [_document(row) for row in found[:limit]], read


def _indexed(
    connection: sqlite3.Connection, words: list[str], chosen: Chosen, window: tuple[int, int, int]
) -> list[sqlite3.Row]:
    """`window`: up to this number, beyond that one, so many rows at the most."""
    where, query = _kept(chosen), _query(words, chosen)
    where.words([word for word in words if not _WORD.search(word)], _TEXT)
    if not query:
        sql = f"SELECT {_ROW} FROM verdicts AS v WHERE {where} AND v.id <= ? AND v.id > ? ORDER BY v.id DESC LIMIT ?"
        return connection.execute(sql, (*where.values, *window)).fetchall()
    sql = (
        f"SELECT {_ROW} FROM search CROSS JOIN verdicts AS v ON v.id = search.rowid"
        f" WHERE search MATCH ? AND {where} AND search.rowid <= ? AND search.rowid > ?"
        " ORDER BY search.rowid DESC LIMIT ?"
    )
    return connection.execute(sql, (query, *where.values, *window)).fetchall()


def _query(words: list[str], chosen: Chosen) -> str:
    """An FTS5 expression (fts5.html, section 3) that all that is meant matches; the conditions are exact."""
    parts = [_phrase(word) for word in words if _WORD.search(word)]
    exact = ("route", "category", "verdict")
    parts += [f"{name} : {_phrase(value)}" for name in exact if (value := getattr(chosen, name))]
    runs = _STARRED.split(chosen.path)  # whole steps that follow each other
    parts += [f"differences : {_phrase(run)}" for run in runs if _WORD.search(run)]
    if chosen.kind:
        parts.append(f"differences : {_phrase(f'kind {chosen.kind}')}")
    return " AND ".join(parts)


def _phrase(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _read_through(
    directory: Path, words: list[str], chosen: Chosen, which: tuple[int, bool]
) -> Iterator[tuple[list[sqlite3.Row], int]]:
    """From a number downwards, page by page: the rows that have all words, and how many were looked at."""
    last, bodies = which
    where = _kept(chosen)
    where.words(words, _TEXT + "".join(_BODIES) if bodies else _TEXT)
    sql = f"SELECT {_ROW} FROM verdicts AS v WHERE {where} AND v.id <= ? AND v.id > ? ORDER BY v.id DESC"
    page = "SELECT count(*) FROM verdicts WHERE id <= ? AND id > ?"
    newest = "SELECT coalesce(max(id), 0) FROM verdicts WHERE id <= ?"
    while last > 0:
        with _ledger(directory) as connection:
            (last,) = connection.execute(newest, (last,)).fetchone()
            window = (last, last - PAGE_IDS)
            rows = connection.execute(sql, (*where.values, *window)).fetchall()
            (count,) = connection.execute(page, window).fetchone()
        last -= PAGE_IDS
        if count:
            yield rows, count


def hours(directory: Path, chosen: Chosen = ANY) -> list[Document]:
    """By the hour: verdicts of each kind, `compared` in all, and `found`: comparisons with a chosen difference.

    Where neither path nor class is chosen `found` is `mismatch`. Raises StoreError.
    """
    where = _counted(chosen)
    kinds = ("match", "ignored", "mismatch", "not_comparable", "skipped", "error")
    sums = ", ".join(
        f"coalesce(sum(count) FILTER (WHERE verdict = '{k}'), 0) AS {k}" for k in kinds
    )
    sql = (
        f"SELECT hour, {sums}, coalesce(sum(count) FILTER (WHERE verdict IN {_COMPARED}), 0) AS compared"
        f" FROM counts WHERE {where} GROUP BY hour ORDER BY hour"
    )
    with _ledger(directory) as connection:
        found = [dict(row) for row in connection.execute(sql, where.values)]
        of_groups = _found(connection, chosen) if chosen.path or chosen.kind else None
    for row in found:
        row["found"] = row["mismatch"] if of_groups is None else of_groups.get(row["hour"], 0)
    return found


def _found(connection: sqlite3.Connection, chosen: Chosen) -> dict[int, int]:
    where, hours = _grouped(chosen), _Where()
    hours.hours("hour", chosen)
    sql = (
        f"SELECT hour, sum(count) FROM group_hours WHERE {hours}"
        f" AND group_id IN (SELECT g.id FROM groups AS g WHERE {where}) GROUP BY hour"
    )
    values = (*hours.values, *where.values)
    return {int(hour): int(count) for hour, count in connection.execute(sql, values)}


def compared(directory: Path, chosen: Chosen = ANY) -> dict[str, int]:
    """Comparisons by route: matches, mismatches, and differences that a rule ate. Raises StoreError."""
    where = _counted(chosen)
    sql = f"SELECT route, sum(count) FROM counts WHERE verdict IN {_COMPARED} AND {where} GROUP BY route"
    with _ledger(directory) as connection:
        return {str(route): int(count) for route, count in connection.execute(sql, where.values)}


def members(directory: Path, group: Document) -> list[Document]:
    """The differences of a group in its samples: path, kind, primary, secondary. Raises StoreError."""
    sql = (
        "SELECT v.differences FROM samples AS s JOIN verdicts AS v ON v.id = s.verdict"
        " WHERE s.group_id = ? ORDER BY v.id"
    )
    with _ledger(directory) as connection:
        texts = [text for (text,) in connection.execute(sql, (group["id"],))]
    name = (group["path"], group["kind"])
    found = (each for text in texts for each in json.loads(text))
    return [each for each in found if (field_path(each["path"]), each["kind"]) == name]


def baseline(directory: Path, chosen: Chosen = ANY) -> dict[tuple[str, str, str], int]:
    """The primary against itself: by (route, path, kind) in how many comparisons; of "", "" all. Raises StoreError."""
    where = _Where()
    where.equal("", chosen, "route")
    where.hours("hour", chosen)
    sql = f"SELECT route, path, kind, sum(count) FROM baseline WHERE {where} GROUP BY 1, 2, 3"
    with _ledger(directory) as connection:
        return {
            (str(route), str(path), str(kind)): int(count)
            for route, path, kind, count in connection.execute(sql, where.values)
        }


def rules(directory: Path, chosen: Chosen = ANY) -> list[Document]:
    """In how many comparisons each rule ate a difference, and when last, by route. Raises StoreError."""
    where = _Where()
    where.equal("", chosen, "route")
    where.hours("hour", chosen)
    sql = (
        "SELECT route, rule, sum(count) AS count, max(hour) AS last_hour FROM rules"
        f" WHERE {where} GROUP BY route, rule ORDER BY route, count DESC, rule"
    )
    with _ledger(directory) as connection:
        return [dict(row) for row in connection.execute(sql, where.values)]


def _document(row: sqlite3.Row) -> Document:
    found = dict(row)
    found["differences"] = json.loads(found["differences"])
    if "evidence" in found:
        found.update(json.loads(found.pop("evidence")))
    return found


@contextmanager
def _ledger(directory: Path) -> Iterator[sqlite3.Connection]:
    """One view of the ledger; raises StoreError also for a file of another version."""
    path = directory / "ledger.db"
    with looking(path) as connection:
        row = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
        found = row and row[0]
        if found != LEDGER_VERSION:
            raise StoreError(
                f"{path}: format version {found}; this release reads {LEDGER_VERSION}:"
                " its sidecar migrates the file when it starts"
            )
        yield connection
