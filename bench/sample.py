"""What is sent and what is answered: different writes (of 512 bytes, or more), one reply of about 200.

Law: both load generators send the same bytes, and both kinds of backend answer the same body.
"""

import json

ENTITIES = 256
"""Different requests (path, request id, body), so that no cache on identical heads can win."""

BODY_BYTES = 512

TOTAL_BYTES_MAX = 16 << 20
"""All different bodies together: of long ones there are fewer than ENTITIES."""

ROUTE = """
[[routes]]
name = "order"
methods = ["POST"]
path = "/orders/{{order_id}}"
entity_key = ["path:order_id"]
compare = {compare}
"""
"""The route that these writes take, as TOML; `compare` is to be put in."""

REPLY_BODY = json.dumps(
    {
        "id": "5f0c7a52-91c4-4c02-b4ea-0f3f4d1f8f6e",
        "state": "accepted",
        "customer": "c-20417",
        "total": {"amount": "129.90", "currency": "EUR"},
        "created_at": "2026-01-01T00:00:00Z",
        "links": {"self": "/orders"},
    },
    separators=(",", ":"),
)
"""The reply's JSON, the same from both sides: comparing it is a match."""


def reply(body: str = REPLY_BODY) -> bytes:
    """The whole reply of `bench.backend`; an empty body is what nginx's mirror likes best."""
    lines = (
        "HTTP/1.1 200 OK",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", body)).encode()


REPLY = reply()


def request(number: int, host: str, body_bytes: int = BODY_BYTES) -> bytes:
    """The request to entity `number` (0 to ENTITIES-1), with 9 header lines and its body."""
    body = _body(number, body_bytes)
    lines = (
        f"POST /orders/{10_000 + number} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: bench/1",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: 00000000-0000-4000-8000-{number:012d}",
        "Authorization: Bearer 0123456789abcdef0123456789abcdef",
        f"traceparent: 00-{number + 1:032x}-{number + 1:016x}-01",
    )
    return "\r\n".join((*lines, "", body)).encode()


def requests(host: str, body_bytes: int = BODY_BYTES) -> list[bytes]:
    """All different requests, in order."""
    count = max(min(ENTITIES, TOTAL_BYTES_MAX // body_bytes), 1)
    return [request(number, host, body_bytes) for number in range(count)]


def _body(number: int, body_bytes: int) -> str:
    fields = {"order": 10_000 + number, "customer": f"c-{number:05d}", "items": 3, "note": ""}
    missing = body_bytes - len(json.dumps(fields))
    return json.dumps(
        {**fields, "note": "abcdefghijklmnopqrstuvwxyz "[number % 13 :][:1] * missing}
    )
