"""The sample order shop's storage: one SQLite file per side, and the side's way to write values.

Law: one request is one transaction, committed before it is answered, so a killed process loses
nothing that it acknowledged; every applied write stays in the history, also of what was deleted.
"""

import hashlib
import json
import re
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

Fields = dict[str, object]

ITEMS_SUMMED_RIGHT_MAX = 3  # seeded bug: `new` drops the cents of orders with more items

SCHEMA = """
CREATE TABLE IF NOT EXISTS customers (
    id {id}, email TEXT NOT NULL UNIQUE, name TEXT NOT NULL, phone TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    id {id}, number TEXT NOT NULL UNIQUE, customer_id NOT NULL REFERENCES customers (id),
    status TEXT NOT NULL, currency TEXT NOT NULL, items TEXT NOT NULL, total REAL NOT NULL,
    note TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notes (
    id {id}, order_id NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    author TEXT NOT NULL, text TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS notes_order ON notes (order_id);
CREATE TABLE IF NOT EXISTS history (
    position INTEGER PRIMARY KEY, entity TEXT NOT NULL, reference TEXT NOT NULL,
    method TEXT NOT NULL, fields TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL,
    location TEXT NOT NULL, body TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one side assigns ids and writes values down."""

    id_column: str
    id_type: type[int] | type[str]
    timestamp: Callable[[datetime], str]
    phone: Callable[[str], str]
    note: Callable[[str], str]
    total: Callable[[float, int], float]  # the exact sum, the number of items
    status: Callable[[str], str]  # as reported; stored as given


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. `reference` is the client's X-Request-Id, `key` its Idempotency-Key."""

    method: str
    path: str
    id: str
    fields: Fields
    reference: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One answer of the shop; `body` is None for 204."""

    status: int
    body: object = None
    location: str = ""


class Refusal(Exception):
    """The shop says no: `status` 4xx, `detail` in words, `field` that is to blame or empty."""

    def __init__(self, status: int, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field


def _same(value: str) -> str:
    return value


def _legacy_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _new_time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


LEGACY = Dialect(
    id_column="INTEGER PRIMARY KEY AUTOINCREMENT",
    id_type=int,
    timestamp=_legacy_time,
    phone=_same,
    note=_same,
    total=lambda exact, _items: exact,
    status=_same,
)
NEW_EXACT = Dialect(
    id_column="TEXT PRIMARY KEY",
    id_type=str,
    timestamp=_new_time,
    phone=_same,
    note=_same,
    total=lambda exact, _items: exact,
    status=_same,
)
NEW = Dialect(  # with the seeded bugs
    id_column="TEXT PRIMARY KEY",
    id_type=str,
    timestamp=_new_time,
    phone=lambda phone: re.sub(r"[^+0-9]", "", phone),
    note=str.rstrip,
    total=lambda exact, items: float(int(exact)) if items > ITEMS_SUMMED_RIGHT_MAX else exact,
    status=lambda status: "canceled" if status == "cancelled" else status,
)


class Shop:
    """One side's shop on one SQLite file. Not safe for threads: it lives in one event loop."""

    def __init__(self, dialect: Dialect, file: Path) -> None:
        self.dialect = dialect
        self.connection = sqlite3.connect(file, isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.connection.executescript(SCHEMA.format(id=dialect.id_column))

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def apply(self, action: "Action", call: Call) -> Result:
        """Run one action as one transaction. Raises Refusal, after which nothing has changed."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = self._replayed(call) or self._remembered(call, action(self, call))
        except Refusal:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        return result

    def now(self) -> str:
        """The present moment as this side writes it."""
        return self.dialect.timestamp(datetime.now(UTC))

    def row(self, table: str, given: object) -> sqlite3.Row:
        """The row of `table` with the id `given` (path text or JSON value); raises a 404."""
        query = " ".join(("SELECT * FROM", table, "WHERE id = ?"))
        row = self.connection.execute(query, (str(given),)).fetchone()
        if not isinstance(row, sqlite3.Row):
            raise Refusal(404, f"there is no {table.removesuffix('s')} {given}")
        return row

    def insert(self, table: str, values: Fields) -> object:
        """Insert one row, return the id assigned; raises a 409 for a taken natural key."""
        if self.dialect.id_type is str:
            values = {"id": str(uuid.uuid4()), **values}
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        query = " ".join(("INSERT INTO", table, f"({names}) VALUES ({marks}) RETURNING id"))
        try:
            identity: object = self.connection.execute(query, tuple(values.values())).fetchone()[0]
        except sqlite3.IntegrityError as error:
            raise Refusal(409, f"this {table.removesuffix('s')} exists already") from error
        return identity

    def update(self, table: str, identity: object, values: Fields) -> None:
        """Change columns of one existing row."""
        names = ", ".join(f"{name} = ?" for name in values)
        query = " ".join(("UPDATE", table, "SET", names, "WHERE id = ?"))
        self.connection.execute(query, (*values.values(), identity))

    def log(self, call: Call, entity: str) -> None:
        """Add one applied write to the history of an entity, under its natural key."""
        fields = {name: value for name, value in call.fields.items() if name != "customer_id"}
        self.connection.execute(
            "INSERT INTO history (entity, reference, method, fields) VALUES (?, ?, ?, ?)",
            (entity, call.reference, call.method, json.dumps(fields, sort_keys=True)),
        )

    def _replayed(self, call: Call) -> Result | None:
        if not self._keyed(call):
            return None
        query = "SELECT * FROM replies WHERE key = ?"
        row = self.connection.execute(query, (call.key,)).fetchone()
        if row is None:
            return None
        if row["fingerprint"] != fingerprint(call):
            raise Refusal(422, "this Idempotency-Key was used for another request")
        return Result(status=row["status"], body=json.loads(row["body"]), location=row["location"])

    def _remembered(self, call: Call, result: Result) -> Result:
        if self._keyed(call):
            body = json.dumps(result.body)
            row = (call.key, fingerprint(call), result.status, result.location, body)
            self.connection.execute("INSERT INTO replies VALUES (?, ?, ?, ?, ?)", row)
        return result

    def _keyed(self, call: Call) -> bool:
        return self.dialect.id_type is str and call.method != "GET" and call.key != ""


Action = Callable[[Shop, Call], Result]


def fingerprint(call: Call) -> str:
    """Digest of what a request asks for: equal for a repetition, whatever its reference."""
    asked = json.dumps([call.method, call.path, call.fields], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()
