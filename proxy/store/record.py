"""What happens to an intent, as bytes for the log; and the log read back.

Law: an intent lives in the log while it is young, then in a row of its own (`proxy.store.journal`
folds), and where it has both the row is right. A record is a msgpack array that begins with its kind.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgpack

from proxy.store.intent import Intent
from rules.fate import State
from rules.payload import digest

BEGUN, SETTLED, CONCLUDED = 1, 2, 3
"""The kinds of records."""

_pack = msgpack.Packer().pack


@dataclass(slots=True)
class Logged:
    """One intent as the log tells it: the columns of its row, by their names."""

    columns: dict[str, Any]

    @property
    def state(self) -> State:
        """The last state that the log knows."""
        return State(self.columns["state"])

    def fingerprint(self) -> bytes:
        """As `proxy.store.intent.fingerprint` of the intent that this is."""
        one = self.columns
        packed: bytes = _pack(
            (one["id"], one["route"], one["category"], one["stage"], one["primary_side"], one["lanes"],
             one["sequence"], one["method"], one["target"], one["received_at"], one["spool"])
        )  # fmt: skip
        return digest(packed)


_BEGUN = (
    "id", "state", "route", "category", "stage", "primary_side", "lanes", "method", "target",
    "received_at", "bytes", "spool", "payload", "digest",
)  # fmt: skip
_SETTLED = ("id", "state", "sequence", "changed_at", "reason", "primary_status", "bytes", "reply")
_CONCLUDED = (
    "id", "state", "changed_at", "due_at", "attempts", "reason", "verdict", "secondary_status",
)  # fmt: skip
_COLUMNS = {BEGUN: _BEGUN, SETTLED: _SETTLED, CONCLUDED: _CONCLUDED}
_MISSING = {
    "sequence": 0, "due_at": 0.0, "attempts": 0, "reason": "", "verdict": "", "primary_status": 0,
    "secondary_status": 0, "reply": None, "overtaken": 0, "fingerprint": None,
}  # fmt: skip


def begun(intent: Intent, state: State, payload: bytes) -> bytes:
    """The record of an intent that is about to be `state`: what its row would hold."""
    packed: bytes = _pack(
        (BEGUN, intent.id, state, intent.route, intent.category, intent.stage, intent.primary,
         intent.lanes, intent.method, intent.target, intent.received_at, intent.bytes, intent.spool,
         payload, intent.seal)
    )  # fmt: skip
    return packed


def settled(intent: Intent, reply: bytes | None) -> bytes:
    """The record of the primary's outcome."""
    packed: bytes = _pack(
        (SETTLED, intent.id, intent.state, intent.sequence, intent.changed_at, intent.reason,
         intent.primary_status, intent.bytes, reply)
    )  # fmt: skip
    return packed


def concluded(intent: Intent) -> bytes:
    """The record of what became of a try at the secondary, or of an intent that waits."""
    packed: bytes = _pack(
        (CONCLUDED, intent.id, intent.state, intent.changed_at, intent.due_at, intent.attempts,
         intent.reason, intent.verdict, intent.secondary_status)
    )  # fmt: skip
    return packed


def is_sound(expected: object, records: object) -> bool:
    """Whether a row of the log is what was written."""
    return isinstance(records, bytes) and digest(records) == expected


def replayed(rows: Iterable[tuple[bytes, bytes]]) -> tuple[dict[int, Logged], int]:
    """What the rows of the log (digest and records), in order, say of each intent that begins in them,
    and how many rows are damaged.

    Of a damaged row nothing is believed: an intent that begins there is lost, and of another one the
    last that is known before stands. So it is sent again, or `unknown`, and nothing is invented.
    """
    found: dict[int, Logged] = {}
    damaged = 0
    for expected, row in rows:
        if not is_sound(expected, row):
            damaged += 1
            continue
        unpacker = msgpack.Unpacker(max_buffer_size=0, use_list=False)
        unpacker.feed(row)
        for kind, *values in unpacker:
            told = zip(_COLUMNS[kind], values, strict=True)
            if kind == BEGUN:
                columns = {**_MISSING, **dict(told)}
                columns["changed_at"] = columns["received_at"]
                found[columns["id"]] = Logged(columns)
            elif (known := found.get(values[0])) is not None:
                known.columns.update(told)
    return found, damaged
