"""Reads the journal from outside the sidecar: for the command line, also while it runs.

Law: read-only, short transactions (a long reader pins the write-ahead log: storage.md).
"""

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.cipher import Cipher
from proxy.store.batch import StoreError
from proxy.store.intent import Damaged, unpack_request
from proxy.store.record import Logged
from proxy.store.recovery import young
from proxy.store.schema import ROW
from rules.behind import Standing, conflicting, held_up
from rules.fate import OWED, State
from rules.message import Request

Document = dict[str, Any]

_STANDING = ("id", "state", "route", "lanes", "sequence", "received_at", "overtaken")
_BYTES = frozenset(("spool", "payload", "digest", "reply", "fingerprint"))
_INTENT = tuple(name for name in ROW if name not in _BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Only:
    """Which intents are listed: those in a lane, with a word in their reason, received before (Unix seconds)."""

    lane: str = ""
    reason: str = ""
    before: float = math.inf

    def takes(self, intent: Document) -> bool:
        """Whether an intent, `lanes` as a list, is one of them."""
        return (
            self.lane in (*intent["lanes"], "")
            and self.reason in intent["reason"]
            and bool(intent["received_at"] < self.before)
        )


EVERY = Only()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One intent in full. `request` is None where it is gone, or not what was journaled: `trouble` says why."""

    intent: Document
    request: Request | None
    trouble: str = ""


def intents(
    directory: Path,
    *,
    states: tuple[str, ...] = (),
    route: str = "",
    limit: int = 50,
    only: Only = EVERY,
) -> list[Document]:
    """The latest intents that are still in the journal, newest first. Raises StoreError."""
    where = ["1"]
    values: list[object] = []
    if states:
        where.append(f"state IN ({','.join('?' * len(states))})")
        values += states
    if route:
        where.append("route = ?")
        values.append(route)
    if only.lane:
        where.append("EXISTS (SELECT 1 FROM json_each(lanes) WHERE value = ?)")
        values.append(only.lane)
    if only.reason:
        where.append("instr(reason, ?)")
        values.append(only.reason)
    if only.before < math.inf:
        where.append("received_at < ?")
        values.append(only.before)
    sql = f"SELECT {', '.join(_INTENT)} FROM intents WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
    with looking(directory / "journal.db") as connection:
        found = [_document(row) for row in connection.execute(sql, (*values, limit))]
        logged, _ = young(connection)
    found += [
        intent
        for intent in (_told(each) for each in logged)
        if (not states or intent["state"] in states)
        and (not route or intent["route"] == route)
        and only.takes(intent)
    ]
    return sorted(found, key=lambda row: -int(row["id"]))[:limit]


def letter(directory: Path, intent_id: int, cipher: Cipher | None = None) -> Letter | None:
    """One intent with its request; None where it is not in the journal. Raises StoreError."""
    with looking(directory / "journal.db") as connection:
        sql = f"SELECT {', '.join(ROW)} FROM intents WHERE id = ?"
        row = connection.execute(sql, (intent_id,)).fetchone()
        if row is not None:
            columns = {**dict(row), "lanes": json.loads(row["lanes"])}
        else:
            logged, _ = young(connection)
            columns = next((e.columns for e in logged if e.columns["id"] == intent_id), {})
    if not columns:
        return None
    intent = {name: columns[name] for name in _INTENT} | {"lanes": list(columns["lanes"])}
    packed, digest = columns["payload"], columns["digest"]
    if packed is None or digest is None:
        return Letter(intent=intent, request=None, trouble="its payload is removed")
    spool = None if columns["spool"] is None else directory / columns["spool"]
    try:
        request = unpack_request(packed, digest, spool, cipher, intent_id)
    except (Damaged, OSError) as error:
        return Letter(intent=intent, request=None, trouble=str(error))
    return Letter(intent=intent, request=request)


def waiting_behind(directory: Path, intent: Document) -> int:
    """How many owed writes are later in one of the lanes of an intent. Raises StoreError."""
    names = {name for lane in intent["lanes"] for name in conflicting(lane)}
    return sum(
        each["sequence"] > intent["sequence"] and not names.isdisjoint(each["lanes"])
        for each in standing(directory)
        if each["state"] in OWED
    )


def standing(directory: Path) -> list[Document]:
    """What is owed, and the dead letters, in the primary's order: id, state, route, lanes, sequence, received_at,
    overtaken.

    Raises StoreError.
    """
    states = tuple(OWED | {State.DEAD})
    sql = (
        f"SELECT {', '.join(_STANDING)} FROM intents WHERE state IN ({','.join('?' * len(states))})"
    )
    with looking(directory / "journal.db") as connection:
        found = [_document(row) for row in connection.execute(sql, states)]
        logged, _ = young(connection)
    found += [
        {**{name: each.columns[name] for name in _STANDING}, "lanes": list(each.columns["lanes"])}
        for each in logged
        if each.state in states
    ]
    return sorted(found, key=lambda row: (row["sequence"], row["id"]))


def stuck(found: list[Document], *, blocks: bool) -> int:
    """How many of what `standing` found are owed and cannot move by themselves; `blocks`: on_dead = "block"."""
    writes = (
        Standing(State(each["state"]), tuple(each["lanes"]), bool(each["overtaken"]))
        for each in found
    )
    return held_up(writes, blocks=blocks)


def _document(row: sqlite3.Row) -> Document:
    return {**dict(row), "lanes": json.loads(row["lanes"])}


def _told(each: Logged) -> Document:
    return {name: each.columns[name] for name in _INTENT} | {"lanes": list(each.columns["lanes"])}


def states(directory: Path) -> dict[str, int]:
    """How many intents there ever were in each state. Raises StoreError."""
    sql = "SELECT state, count(*) FROM intents GROUP BY state UNION ALL SELECT state, removed FROM totals"
    counts: Counter[str] = Counter()
    with looking(directory / "journal.db") as connection:
        for state, count in connection.execute(sql):
            counts[state] += count
        logged, _ = young(connection)
        counts.update(str(each.state) for each in logged)
    return dict(sorted(counts.items()))


@contextmanager
def looking(path: Path) -> Iterator[sqlite3.Connection]:
    """One view of a file, read-only; raises StoreError."""
    if not path.exists():
        raise StoreError(f"{path}: no such file; has a sidecar run with this journal directory?")
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")  # one view of rows and log
            yield connection
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
