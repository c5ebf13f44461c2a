"""Intents read from their rows, and the rows that are not what was written.

Law: a damaged row becomes a dead letter, never a wrong write and never a start that fails: what cannot be
read is put right with a word that says so, and a person looks at it.
"""

import json
import math
import sqlite3
from time import time

from proxy.store.intent import Intent, fingerprint
from rules.fate import CLOSED, State
from rules.message import Side

COLUMNS = (
    "id", "state", "route", "category", "stage", "primary_side", "lanes", "sequence", "method",
    "target", "received_at", "due_at", "attempts", "reason", "bytes", "spool", "primary_status",
    "secondary_status", "verdict", "changed_at", "overtaken", "fingerprint",
)  # fmt: skip
"""What is read of a row: all that stands before its payload."""

_TEXTS = ("route", "category", "stage", "method", "target", "reason", "verdict")
_WHOLE = ("id", "sequence", "attempts", "bytes", "primary_status", "secondary_status")
_TIMES = ("received_at", "changed_at", "due_at")


class DamagedRow(ValueError):
    """A row that is not what was written."""


def unpacked(row: tuple[object, ...]) -> Intent:
    """The intent of a row; raises DamagedRow."""
    values = dict(zip(COLUMNS, row, strict=True))
    _check_types(values)
    expected = values.pop("fingerprint")
    try:
        values["primary"] = Side(str(values.pop("primary_side")))
        values["state"] = State(str(values["state"]))
        values["lanes"] = _lanes(values["lanes"])
    except ValueError as error:
        raise DamagedRow(str(error)) from error
    # A try is written behind: the last one may have been made and not be recorded. Counting it is
    # what makes a DELETE that finds nothing the second time `done`, not dead.
    values["attempts"] = max(int(str(values["attempts"])), 1)
    values["overtaken"] = bool(values["overtaken"])
    intent = Intent(**values, has_row=True)  # type: ignore[arg-type]
    if expected is not None and fingerprint(intent) != expected:  # None: of a former version
        raise DamagedRow("its columns differ from the journaled ones")
    return intent


def bury_damaged(connection: sqlite3.Connection) -> int:
    """Make dead letters of the rows that are not what was written; how many."""
    closed = ",".join(f"'{state}'" for state in CLOSED)
    rows = connection.execute(
        f"SELECT rowid, {', '.join(COLUMNS)} FROM intents NOT INDEXED WHERE state NOT IN ({closed})"
    ).fetchall()
    damaged = 0
    for rowid, *row in rows:
        try:
            unpacked(tuple(row))
        except DamagedRow as error:
            damaged += 1
            _bury(connection, rowid, tuple(row), str(error))
    return damaged


def _bury(connection: sqlite3.Connection, rowid: int, row: tuple[object, ...], why: str) -> None:
    """Dead, out of every lane, with what can be read of it."""
    values = dict(zip(COLUMNS, row, strict=True))
    try:
        lanes = _lanes(values["lanes"])
    except ValueError:
        lanes = ()
    side = values["primary_side"]
    texts = {name: str(values[name] or "") for name in _TEXTS}
    numbers = {name: _whole(values[name]) for name in _WHOLE}
    sound = Intent(
        id=rowid, state=State.DEAD, route=texts["route"], category=texts["category"],
        stage=texts["stage"], primary=Side(str(side)) if side in list(Side) else Side.LEGACY,
        lanes=lanes, sequence=numbers["sequence"], method=texts["method"], target=texts["target"],
        received_at=_time(values["received_at"]) or time(), changed_at=time(),
        attempts=numbers["attempts"], reason=f"damaged_row: {why}", overtaken=True,
        primary_status=numbers["primary_status"], secondary_status=numbers["secondary_status"],
        bytes=numbers["bytes"], spool=values["spool"] if isinstance(values["spool"], str) else None,
    )  # fmt: skip
    columns = (
        "state", "route", "category", "stage", "primary_side", "lanes", "sequence", "method", "target",
        "received_at", "changed_at", "due_at", "attempts", "reason", "verdict", "primary_status",
        "secondary_status", "bytes", "spool", "overtaken", "fingerprint",
    )  # fmt: skip
    connection.execute(
        f"UPDATE intents SET {', '.join(f'{name} = ?' for name in columns)} WHERE rowid = ?",
        (
            sound.state, sound.route, sound.category, sound.stage, sound.primary,
            json.dumps(sound.lanes), sound.sequence, sound.method, sound.target, sound.received_at,
            sound.changed_at, 0.0, sound.attempts, sound.reason, "", sound.primary_status,
            sound.secondary_status, sound.bytes, sound.spool, True, fingerprint(sound), rowid,
        ),
    )  # fmt: skip


def _check_types(values: dict[str, object]) -> None:
    for name in _TEXTS:
        if not isinstance(values[name], str):
            raise DamagedRow(f"{name} is no text")
    for name in _WHOLE:
        if not isinstance(values[name], int):
            raise DamagedRow(f"{name} is no number")
    for name in _TIMES:
        if _time(values[name]) is None:
            raise DamagedRow(f"{name} is no time")
    if values["overtaken"] not in (0, 1):
        raise DamagedRow("overtaken is no flag")
    if not isinstance(values["spool"], str | None):
        raise DamagedRow("spool is no path")


def _lanes(stored: object) -> tuple[str, ...]:
    lanes = json.loads(stored) if isinstance(stored, str) else None
    if not isinstance(lanes, list) or not all(isinstance(each, str) for each in lanes):
        raise DamagedRow("lanes are no list of texts")
    return tuple(lanes)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
