"""Intents read from their rows, and the rows that are not what was written.

Law: a damaged row becomes a dead letter, never a wrong write and never a start that fails: what cannot be
read is put right with a word that says so, and a person looks at it.
"""

import json
import sqlite3
from collections.abc import Mapping
from itertools import product
from math import isfinite
from time import time
from types import NoneType
from typing import Any

from msgspec import DecodeError
from msgspec.json import Decoder

from proxy.store.intent import Intent, fingerprint
from rules.fate import CLOSED, State
from rules.message import Side

_TYPES: Mapping[str, tuple[type, ...]] = {
    "id": (int,), "state": (str,), "route": (str,), "category": (str,), "stage": (str,),
    "primary_side": (str,), "lanes": (str,), "sequence": (int,), "method": (str,), "target": (str,),
    "received_at": (float,), "due_at": (float,), "attempts": (int,), "reason": (str,), "bytes": (int,),
    "spool": (str, NoneType), "primary_status": (int,), "secondary_status": (int,), "verdict": (str,),
    "changed_at": (float,), "overtaken": (int,), "fingerprint": (bytes, NoneType),
}  # fmt: skip
"""What is read of a row, all that stands before its payload, and what SQLite makes of each column."""

COLUMNS = tuple(_TYPES)
_SOUND = frozenset(product(*_TYPES.values()))
_WORDS = {str: "text", int: "number", float: "time", bytes: "digest"}

_SIDES = {str(side): side for side in Side}
_STATES = {str(state): state for state in State}
_LANES = Decoder(tuple[str, ...])


class DamagedRow(ValueError):
    """A row that is not what was written."""


def unpacked(row: tuple[Any, ...]) -> Intent:
    """The intent of a row; raises DamagedRow. It is called for every open intent at a start: 4 us each."""
    if tuple(map(type, row)) not in _SOUND:
        raise DamagedRow(_wrong_type(row))
    (
        number, state, route, category, stage, side, lanes, sequence, method, target, received_at,
        due_at, attempts, reason, size, spool, primary_status, secondary_status, verdict, changed_at,
        overtaken, expected,
    ) = row  # fmt: skip
    if state not in _STATES or side not in _SIDES or overtaken not in (0, 1):
        raise DamagedRow("state, primary_side or overtaken has a value that is not known")
    if not isfinite(received_at + due_at + changed_at):
        raise DamagedRow("a time is not finite")
    # A try is written behind: the last one may have been made and not be recorded. Counting it is
    # what makes a DELETE that finds nothing the second time `done`, not dead.
    attempts = max(attempts, 1)
    intent = Intent(
        id=number, state=_STATES[state], route=route, category=category, stage=stage,
        primary=_SIDES[side], lanes=_lanes(lanes), sequence=sequence, method=method, target=target,
        received_at=received_at, due_at=due_at, attempts=attempts, reason=reason, bytes=size,
        spool=spool, primary_status=primary_status, secondary_status=secondary_status,
        verdict=verdict, changed_at=changed_at, overtaken=bool(overtaken), has_row=True,
    )  # fmt: skip
    checked = expected is not None and intent.state not in CLOSED  # None: of a former version
    if checked and fingerprint(intent) != expected:
        raise DamagedRow("its columns differ from the journaled ones")
    return intent


def unclosed(connection: sqlite3.Connection) -> tuple[list[Intent], int]:
    """Every intent that is not closed, without its payload; how many became dead letters, because their rows are not
    what was written."""
    closed = ",".join(f"'{state}'" for state in CLOSED)
    sql = f"SELECT {{}} FROM intents NOT INDEXED WHERE state NOT IN ({closed})"
    sound, damaged = [], []
    for row in connection.execute(sql.format(", ".join(COLUMNS))):
        try:
            sound.append(unpacked(row))
        except DamagedRow as error:
            damaged.append((row, str(error)))
    buried = [_bury(connection, row, why) for row, why in damaged]
    return sound + buried, len(buried)


def _bury(connection: sqlite3.Connection, row: tuple[Any, ...], why: str) -> Intent:
    """Dead, out of every lane, with what can be read of it."""
    values = dict(zip(COLUMNS, row, strict=True))
    try:
        lanes = _lanes(str(values["lanes"]))
    except DamagedRow:
        lanes = ()
    side = values["primary_side"]
    texts = {name: str(values[name] or "") for name, (kind, *_) in _TYPES.items() if kind is str}
    numbers = {name: _whole(values[name]) for name, (kind, *_) in _TYPES.items() if kind is int}
    sound = Intent(
        id=values["id"], state=State.DEAD, route=texts["route"], category=texts["category"],
        stage=texts["stage"], primary=Side(str(side)) if side in list(Side) else Side.LEGACY,
        lanes=lanes, sequence=numbers["sequence"], method=texts["method"], target=texts["target"],
        received_at=_time(values["received_at"]) or time(), changed_at=time(),
        attempts=max(numbers["attempts"], 1), reason=f"damaged_row: {why}", overtaken=True,
        primary_status=numbers["primary_status"], secondary_status=numbers["secondary_status"],
        bytes=numbers["bytes"], spool=values["spool"] if isinstance(values["spool"], str) else None,
        has_row=True,
    )  # fmt: skip
    columns = (
        "state", "route", "category", "stage", "primary_side", "lanes", "sequence", "method", "target",
        "received_at", "changed_at", "due_at", "attempts", "reason", "verdict", "primary_status",
        "secondary_status", "bytes", "spool", "overtaken", "fingerprint",
    )  # fmt: skip
    connection.execute(
        f"UPDATE intents SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?",
        (
            sound.state, sound.route, sound.category, sound.stage, sound.primary,
            json.dumps(sound.lanes), sound.sequence, sound.method, sound.target, sound.received_at,
            sound.changed_at, 0.0, sound.attempts, sound.reason, "", sound.primary_status,
            sound.secondary_status, sound.bytes, sound.spool, True, fingerprint(sound), sound.id,
        ),
    )  # fmt: skip
    return sound


def _wrong_type(row: tuple[object, ...]) -> str:
    for (name, kinds), value in zip(_TYPES.items(), row, strict=True):
        if type(value) not in kinds:
            return f"{name} is no {_WORDS[kinds[0]]}"
    raise AssertionError("every column has a type that it may have")


def _lanes(stored: str) -> tuple[str, ...]:
    try:
        return _LANES.decode(stored)
    except DecodeError as error:
        raise DamagedRow(f"lanes are no list of texts: {error}") from error


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and isfinite(value) else None
