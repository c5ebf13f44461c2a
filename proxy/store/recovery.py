"""What a restart finds in the journal, and makes of it.

Law: nothing is guessed. `p_sent` becomes `unknown`, `s_sent` and `p_done` become `s_pending`
(`rules.fate.RECOVERY`), what owes nothing is removed and stays counted in `totals`. What was young
gets its row; the log is empty afterwards.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from operator import attrgetter, itemgetter
from time import time
from typing import Any

from msgspec.json import encode

from proxy.cipher import SEALED, Cipher
from proxy.store import schema
from proxy.store.batch import StoreError, transaction
from proxy.store.damage import COLUMNS, unclosed, unpacked
from proxy.store.intent import DIGEST_BYTES, Intent
from proxy.store.record import Logged, is_sound, replayed
from rules.fate import CLOSED, OWED, RECOVERY, STUCK, State, move
from rules.payload import digest

DAMAGED_IDS = 1_000_000
"""Ids that are not used again for each damaged row of the log: a transaction begins far fewer intents,
and a secondary that has seen an id would take another write with it for a repetition."""

_ROW = itemgetter(*schema.ROW)
_BY_ORDER = attrgetter("sequence", "id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The journal at start-up. `states` counts every intent there ever was, removed ones included.

    `found`: every intent that is not closed, in the primary's order, without its payload.
    `damaged`: how many rows of the log were not what was written; what they told is not believed, and they are
    kept as they are. `damaged_rows`: how many intents became dead letters because their rows are not sound.
    """

    journal_id: str
    redaction_key: bytes
    next_id: int
    next_sequence: int
    states: dict[State, int]
    backlog_bytes: int
    stuck_bytes: int
    spools: frozenset[str]
    found: list[Intent] = field(default_factory=list, compare=False)
    damaged: int = 0
    damaged_rows: int = 0


def recover(connection: sqlite3.Connection, cipher: Cipher | None = None) -> Recovered:
    """Bring every intent to a state that a fresh process can go on from: one transaction.

    Raises StoreError, and changes nothing, if what is left is encrypted under a key that `cipher` has not.
    """
    with transaction(connection):
        damaged = _unfold(connection)
        _keep_damaged(connection, damaged)
        for state, event in RECOVERY.items():
            connection.execute(
                "UPDATE intents SET state = ? WHERE state = ?", (move(state, event), state)
            )
        closed = tuple(CLOSED)
        marks = ",".join("?" * len(closed))
        connection.execute(
            f"INSERT INTO totals SELECT state, count(*) FROM intents WHERE state IN ({marks}) GROUP BY state"
            " ON CONFLICT (state) DO UPDATE SET removed = removed + excluded.removed",
            closed,
        )
        connection.execute(f"DELETE FROM intents WHERE state IN ({marks})", closed)
        _check_keys(connection, () if cipher is None else cipher.ids)
        found, buried = unclosed(connection)
    found.sort(key=_BY_ORDER)
    return replace(_read(connection, found), damaged=damaged, damaged_rows=buried)


def _check_keys(connection: sqlite3.Connection, given: tuple[bytes, ...]) -> None:
    """Refuse a journal that needs another key than these; note which ones it may need from now on.

    `meta` has the ids: only those that are not given are looked for in the rows.
    """
    noted = connection.execute("SELECT value FROM meta WHERE name = 'keys'").fetchone()
    used = frozenset() if noted is None else {bytes.fromhex(each) for each in noted[0].split()}
    for missing in sorted(used - set(given)):
        if _is_in_use(connection, missing):
            raise StoreError(
                "the journal holds writes that are encrypted under a key that is not given (its id is"
                f" {missing.hex()}): add it to journal.encryption_key_file or encryption_key_env"
            )
    left = dict.fromkeys((*given[:1], *(each for each in given if each in used)))
    if used != set(left):
        ids = " ".join(each.hex() for each in left)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('keys', ?)", (ids,))


def _is_in_use(connection: sqlite3.Connection, key: bytes) -> bool:
    """Whether anything is encrypted under the key with this id. What is damaged does not count: it needs no key."""
    begin = SEALED + key
    rows = connection.execute(
        "SELECT digest, payload FROM intents WHERE substr(payload, 1, :length) = :begin UNION ALL"
        " SELECT substr(reply, 1, :digest), substr(reply, :digest + 1) FROM intents"
        " WHERE substr(reply, :digest + 1, :length) = :begin",
        {"begin": begin, "length": len(begin), "digest": DIGEST_BYTES},
    )
    return any(digest(sealed) == expected for expected, sealed in rows)


def _unfold(connection: sqlite3.Connection) -> int:
    """Rows for what the log holds, unless it has one; the log is empty then. How many of its rows are damaged."""
    found, damaged = young(connection)
    connection.executemany(schema.FOLD.sql, map(_row, found))
    for name in ("id", "sequence"):
        connection.execute(
            f"UPDATE meta SET value = max(value, (SELECT coalesce(max({name}), 0) + 1 FROM intents))"
            " WHERE name = ?",
            (f"next_{name}",),
        )
    return damaged


def _row(logged: Logged) -> tuple[Any, ...]:
    """Every column, in the order of the statement that makes a row."""
    columns = logged.columns
    columns["fingerprint"] = logged.fingerprint()
    columns["lanes"] = encode(columns["lanes"]).decode()
    row: tuple[Any, ...] = _ROW(columns)
    return row


def _keep_damaged(connection: sqlite3.Connection, damaged: int) -> None:
    """Empty the log; what of it is not what was written stays, beside it, and is a gap: writes may be lost in it."""
    if damaged:
        now = time()
        for number, expected, records in connection.execute(
            "SELECT id, digest, records FROM log"
        ).fetchall():
            if not is_sound(expected, records):
                connection.execute(
                    "INSERT INTO damaged VALUES (?, ?, ?, ?)", (number, expected, records, now)
                )
        connection.execute(
            "INSERT INTO gaps SELECT coalesce(max(id), 0) + 1, '', 'damaged_log', ?, ?, 0 FROM gaps",
            (now, now),
        )
        connection.execute(
            "UPDATE meta SET value = value + ? WHERE name = 'next_id'", (damaged * DAMAGED_IDS,)
        )
    connection.execute("DELETE FROM log")


def young(connection: sqlite3.Connection) -> tuple[list[Logged], int]:
    """The intents that have no row yet, as the log tells them, and how many of its rows are damaged."""
    found, damaged = replayed(connection.execute("SELECT digest, records FROM log ORDER BY id"))
    rows: set[int] = set()
    if found:
        sql = "SELECT id FROM intents NOT INDEXED WHERE id BETWEEN ? AND ?"
        rows.update(number for (number,) in connection.execute(sql, (min(found), max(found))))
    logged = [each for number, each in found.items() if number not in rows]
    return logged, damaged


def standing(connection: sqlite3.Connection, states: Collection[State]) -> list[Intent]:
    """Every intent with a row in one of these states, in the primary's order, without its payload."""
    marks = ",".join("?" * len(states))
    rows = connection.execute(
        f"SELECT {', '.join(COLUMNS)} FROM intents NOT INDEXED WHERE state IN ({marks})",
        tuple(states),
    )
    return sorted(map(unpacked, rows), key=_BY_ORDER)


def found(connection: sqlite3.Connection, intent_id: int) -> Intent | None:
    """One intent by its row, without its payload."""
    row = connection.execute(
        f"SELECT {', '.join(COLUMNS)} FROM intents WHERE id = ?", (intent_id,)
    ).fetchone()
    return None if row is None else unpacked(row)


def _read(connection: sqlite3.Connection, found: list[Intent]) -> Recovered:
    """The journal, of which `found` is all that has a row."""
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    states = {**dict.fromkeys(State, 0), **Counter(each.state for each in found)}
    for state, removed in connection.execute("SELECT state, removed FROM totals"):
        if state in states:
            states[State(state)] += removed
    return Recovered(
        journal_id=meta["journal_id"],
        redaction_key=meta["redaction_key"],
        next_id=meta["next_id"],
        next_sequence=meta["next_sequence"],
        states=states,
        backlog_bytes=_bytes(found, OWED),
        stuck_bytes=_bytes(found, STUCK),
        spools=frozenset(each.spool for each in found if each.spool is not None),
        found=found,
    )


def _bytes(found: list[Intent], states: Collection[State]) -> int:
    """The size of all that is in these states."""
    return sum(each.bytes for each in found if each.state in states)
