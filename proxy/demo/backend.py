"""The sample order shop, twice: `legacy` and `new`, each a real HTTP service on its own file.

The two differ as backends do in a migration: ids (integers, UUIDs), timestamps, and a few bugs that
were seeded into `new` for the comparison to find. Law: bad input is a 422, an unknown id a 404, a
taken natural key a 409; nothing has changed after any of them.
"""

import argparse
import asyncio
import json
import math
import re
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from aiohttp import web

from proxy.demo.shop import LEGACY, NEW, NEW_EXACT, Action, Call, Fields, Refusal, Result, Shop

Check = Callable[[object], bool]

STATUSES = ("open", "paid", "shipped", "cancelled")
LIST_ROWS_MAX = 50
SHUTDOWN_SECONDS = 2.0


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= 200


def _is_note(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 2000


def _is_email(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[^@\s]+@[^@\s]+\.[a-z]+", value) is not None


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_item(value: object) -> bool:
    match value:
        case {"sku": str(), "quantity": int(quantity), "price": price, **rest}:
            sane = _is_number(price) and not isinstance(quantity, bool)
            return sane and 0 < quantity <= 1000 and 0 <= price <= 1e6 and not rest
        case _:
            return False


def _is_items(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 50 and all(map(_is_item, value))


CUSTOMER: dict[str, Check] = {"email": _is_email, "name": _is_text, "phone": _is_note}
CONTACT: dict[str, Check] = {"name": _is_text, "phone": _is_note}
CHANGES: dict[str, Check] = {
    "customer_id": _is_id,
    "status": lambda value: value in STATUSES,
    "currency": lambda value: value in ("EUR", "USD", "GBP"),
    "items": _is_items,
    "note": _is_note,
}
ORDER: dict[str, Check] = {"number": _is_text, **CHANGES}
NOTE: dict[str, Check] = {"author": _is_text, "text": _is_note}


def checked(fields: Fields, checks: Mapping[str, Check], *required: str) -> Fields:
    """Return `fields` when each is known and valid, and none is missing; else raise a 422."""
    for name in required:
        if name not in fields:
            raise Refusal(422, f"{name} is missing", name)
    for name, value in fields.items():
        if name not in checks:
            raise Refusal(422, f"{name} is not known here", name)
        if not checks[name](value):
            raise Refusal(422, f"{name} is not valid", name)
    if not fields:
        raise Refusal(422, "nothing to change")
    return fields


def _customer(_shop: Shop, row: sqlite3.Row) -> Fields:
    return dict(row)


def _order(shop: Shop, row: sqlite3.Row) -> Fields:
    status = shop.dialect.status(row["status"])
    return {**dict(row), "status": status, "items": json.loads(row["items"])}


def _notes(shop: Shop, order_id: object) -> list[Fields]:
    query = "SELECT * FROM notes WHERE order_id = ? ORDER BY rowid"
    return [dict(row) for row in shop.connection.execute(query, (order_id,))]


def _stored(shop: Shop, fields: Fields) -> Fields:
    """The columns for the fields of an order, or of a customer, as this side stores them."""
    values = dict(fields)
    items = values.get("items")
    if isinstance(items, list):
        exact = round(sum(item["quantity"] * item["price"] for item in items), 2)
        values |= {"items": json.dumps(items), "total": shop.dialect.total(exact, len(items))}
    if "customer_id" in values:
        values["customer_id"] = _customer_id(shop, values["customer_id"])
    for name, write in (("phone", shop.dialect.phone), ("note", shop.dialect.note)):
        if name in values:
            values[name] = write(str(values[name]))
    return {**values, "updated_at": shop.now()}


def _customer_id(shop: Shop, given: object) -> object:
    if not isinstance(given, shop.dialect.id_type):
        raise Refusal(422, "customer_id is not valid", "customer_id")
    return shop.row("customers", given)["id"]


def create_customer(shop: Shop, call: Call) -> Result:
    """POST /customers: 201, or 409 when the email is taken."""
    fields = checked(call.fields, CUSTOMER, "email", "name")
    values = {"phone": "", **_stored(shop, fields), "created_at": shop.now()}
    identity = shop.insert("customers", values)
    shop.log(call, f"customer {fields['email']}")
    body = _customer(shop, shop.row("customers", identity))
    return Result(status=201, body=body, location=f"/customers/{identity}")


def change_customer(shop: Shop, call: Call) -> Result:
    """PATCH /customers/{id}: 200."""
    row = shop.row("customers", call.id)
    shop.update("customers", row["id"], _stored(shop, checked(call.fields, CONTACT)))
    shop.log(call, f"customer {row['email']}")
    return Result(status=200, body=_customer(shop, shop.row("customers", row["id"])))


def create_order(shop: Shop, call: Call) -> Result:
    """POST /orders: 201, 404 for an unknown customer, 409 when the number is taken."""
    fields = checked(call.fields, ORDER, "number", "customer_id", "currency", "items")
    values = {"status": "open", "note": "", **_stored(shop, fields), "created_at": shop.now()}
    identity = shop.insert("orders", values)
    shop.log(call, f"order {fields['number']}")
    body = _order(shop, shop.row("orders", identity))
    return Result(status=201, body=body, location=f"/orders/{identity}")


def replace_order(shop: Shop, call: Call) -> Result:
    """PUT /orders/{id}: 200; the note becomes empty when it is not given."""
    fields = checked(call.fields, CHANGES, "status", "currency", "items")
    return _change(shop, call, {"note": "", **fields})


def change_order(shop: Shop, call: Call) -> Result:
    """PATCH /orders/{id}: 200; what is not given stays."""
    return _change(shop, call, checked(call.fields, CHANGES))


def _change(shop: Shop, call: Call, fields: Fields) -> Result:
    row = shop.row("orders", call.id)
    shop.update("orders", row["id"], _stored(shop, fields))
    shop.log(call, f"order {row['number']}")
    return Result(status=200, body=_order(shop, shop.row("orders", row["id"])))


def delete_order(shop: Shop, call: Call) -> Result:
    """DELETE /orders/{id}: 204, its notes go with it."""
    row = shop.row("orders", call.id)
    shop.connection.execute("DELETE FROM orders WHERE id = ?", (row["id"],))
    shop.log(call, f"order {row['number']}")
    return Result(status=204)


def add_note(shop: Shop, call: Call) -> Result:
    """POST /orders/{id}/notes: 201."""
    row = shop.row("orders", call.id)
    fields = checked(call.fields, NOTE, "author", "text")
    values = {**fields, "order_id": row["id"], "created_at": shop.now()}
    identity = shop.insert("notes", values)
    shop.log(call, f"order {row['number']}")
    body = dict(shop.row("notes", identity))
    return Result(status=201, body=body, location=f"/orders/{row['id']}/notes/{identity}")


def read_customer(shop: Shop, call: Call) -> Result:
    """GET /customers/{id}: 200."""
    return Result(status=200, body=_customer(shop, shop.row("customers", call.id)))


def read_order(shop: Shop, call: Call) -> Result:
    """GET /orders/{id}: 200, with its notes."""
    row = shop.row("orders", call.id)
    return Result(status=200, body={**_order(shop, row), "notes": _notes(shop, row["id"])})


def read_notes(shop: Shop, call: Call) -> Result:
    """GET /orders/{id}/notes: 200."""
    return Result(status=200, body=_notes(shop, shop.row("orders", call.id)["id"]))


def list_customers(shop: Shop, _call: Call) -> Result:
    """GET /customers: 200, the newest first."""
    query = "SELECT * FROM customers ORDER BY rowid DESC LIMIT ?"
    rows = shop.connection.execute(query, (LIST_ROWS_MAX,))
    return Result(status=200, body=[_customer(shop, row) for row in rows])


def list_orders(shop: Shop, _call: Call) -> Result:
    """GET /orders: 200, the newest first."""
    rows = shop.connection.execute(
        "SELECT * FROM orders ORDER BY rowid DESC LIMIT ?", (LIST_ROWS_MAX,)
    )
    return Result(status=200, body=[_order(shop, row) for row in rows])


def dump(shop: Shop, _call: Call) -> Result:
    """GET /dump: all that this side holds, by natural keys, without ids and times.

    {"customers": {email: {...}}, "orders": {number: {..., "customer": email, "notes": [...]}},
    "history": {entity: [{"reference", "method", "fields"}, ...]}}: the writes in the order applied.
    """
    customers = {row["id"]: row for row in shop.connection.execute("SELECT * FROM customers")}
    orders: dict[str, Fields] = {}
    for row in shop.connection.execute("SELECT * FROM orders").fetchall():
        kept = {**_plain(_order(shop, row)), "customer": customers[row["customer_id"]]["email"]}
        kept["notes"] = [_plain(note) for note in _notes(shop, row["id"])]
        orders[row["number"]] = kept
    history: dict[str, list[Fields]] = {}
    for row in shop.connection.execute("SELECT * FROM history ORDER BY position"):
        entry = {"reference": row["reference"], "method": row["method"]}
        entry["fields"] = json.loads(row["fields"])
        history.setdefault(row["entity"], []).append(entry)
    people = {row["email"]: _plain(dict(row)) for row in customers.values()}
    return Result(status=200, body={"customers": people, "orders": orders, "history": history})


def _plain(fields: Fields) -> Fields:
    assigned = ("id", "customer_id", "order_id", "created_at", "updated_at")
    return {name: value for name, value in fields.items() if name not in assigned}


ACTIONS: tuple[tuple[str, str, Action], ...] = (
    ("POST", "/customers", create_customer),
    ("GET", "/customers", list_customers),
    ("GET", "/customers/{id}", read_customer),
    ("PATCH", "/customers/{id}", change_customer),
    ("POST", "/orders", create_order),
    ("GET", "/orders", list_orders),
    ("GET", "/orders/{id}", read_order),
    ("PUT", "/orders/{id}", replace_order),
    ("PATCH", "/orders/{id}", change_order),
    ("DELETE", "/orders/{id}", delete_order),
    ("POST", "/orders/{id}/notes", add_note),
    ("GET", "/orders/{id}/notes", read_notes),
    ("GET", "/dump", dump),
)


async def _call(request: web.Request) -> Call:
    fields: object = {}
    if request.method in ("POST", "PUT", "PATCH"):
        try:
            fields = json.loads(await request.read())
        except ValueError as error:
            raise Refusal(422, "the body is not JSON") from error
    if not isinstance(fields, dict):
        raise Refusal(422, "the body is not a JSON object")
    return Call(
        method=request.method,
        path=request.path,
        id=request.match_info.get("id", ""),
        fields=fields,
        reference=request.headers.get("X-Request-Id", ""),
        key=request.headers.get("Idempotency-Key", ""),
    )


def _handler(shop: Shop, action: Action) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            result = shop.apply(action, await _call(request))
        except Refusal as no:
            body = {"error": no.detail, "field": no.field}
            return web.json_response(body, status=no.status)
        if result.body is None:
            return web.Response(status=result.status)
        headers = {"Location": result.location} if result.location else {}
        return web.json_response(result.body, status=result.status, headers=headers)

    return handle


def application(shop: Shop) -> web.Application:
    """The HTTP service of one shop."""
    app = web.Application()
    for method, path, action in ACTIONS:
        app.router.add_route(method, path, _handler(shop, action))
    return app


async def serve(shop: Shop, port: int) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT; one JSON line on stdout says the URL."""
    runner = web.AppRunner(application(shop), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sys.stdout.write(json.dumps({"event": "ready", "url": url}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    await runner.cleanup()


def main(arguments: Sequence[str]) -> None:
    """`python -m proxy.demo.backend legacy|new --port P --data FILE [--exact]`."""
    parser = argparse.ArgumentParser(prog="python -m proxy.demo.backend", description=__doc__)
    parser.add_argument("side", choices=("legacy", "new"))
    parser.add_argument("--port", type=int, default=0, help="0: the system picks one")
    parser.add_argument("--data", type=Path, required=True, help="the SQLite file")
    parser.add_argument("--exact", action="store_true", help="without the seeded bugs")
    given = parser.parse_args(arguments)
    changed = NEW_EXACT if given.exact else NEW
    shop = Shop(LEGACY if given.side == "legacy" else changed, given.data)
    asyncio.run(serve(shop, given.port))
    shop.close()


if __name__ == "__main__":
    main(sys.argv[1:])
