"""The replies that Twinwrite makes itself: RFC 9457 problem documents, ready to write."""

import json
from http import HTTPStatus

from rules.message import Cause, Failure
from rules.trace import trace_id

RETRY_AFTER_S = 1
"""What a 503 tells the client: the conditions behind it (a full journal, a limit) pass in seconds."""

ALLOW = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""What a 405 (RFC 9110 15.5.6) and an answer to OPTIONS tell: the resource may know more, or fewer."""


def problem(
    status: int,
    detail: str,
    *,
    close: bool = False,
    head: bytes = b"",
    **members: str,
) -> bytes:
    """A whole reply: status line, fields, and a JSON problem document with `members` added.

    `head` is the head of the request that it answers, if there was a good one: the document names its
    trace as `trace_id`, and the reply to a HEAD has no body. A 204 has none either: it is no problem.
    """
    title = HTTPStatus(status).phrase
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    body = json.dumps({**document, **members, **_trace(head)}).encode()
    lines = [
        f"HTTP/1.1 {status} {title}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
    ]
    if status == 204:
        del lines[1:]
    if status in (204, 405):
        lines.append(ALLOW)
    if status == 503:
        lines.append(f"Retry-After: {RETRY_AFTER_S}")
    if close:
        lines.append("Connection: close")
    whole = "\r\n".join([*lines, "", ""]).encode()
    return whole if status == 204 or head.startswith(b"HEAD ") else whole + body


def _trace(head: bytes) -> dict[str, str]:
    found = trace_id(head)
    return {"trace_id": found} if found else {}


def status_of(failure: Failure) -> int:
    """The status that tells a client of a primary's failure (RFC 9110 15.6)."""
    match failure.cause:
        case Cause.TIMEOUT | Cause.CONNECT_TIMEOUT:
            return 504
        case Cause.POOL_FULL:
            return 503
        case Cause.REFUSED | Cause.NAME | Cause.TLS | Cause.RESET | Cause.BROKEN_REPLY:
            return 502
