"""What is kept of a difference: the request and both replies, redacted, as one JSON text; and as a curl command.

Law: everything that goes in here passes `rules.redact` first.
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from rules.framing import field, fields
from rules.identity import payload_of
from rules.message import Failure, Outcome, Request, Side
from rules.redact import Redaction, redact_body, redact_fields, redact_target

BODY_CHARACTERS_MAX = 16384
"""What is kept of each body: enough to read, small enough for 100,000 samples."""


def evidence(
    request: Request,
    primary: tuple[Side, Outcome],
    secondary: tuple[Side, Outcome],
    redaction: Redaction,
) -> str:
    """A JSON object: request {method, target, headers, body}, primary and secondary {side, status, headers, body}."""
    document = {
        "request": {
            "method": request.method,
            "target": redact_target(request.target, redaction),
            "headers": redact_fields(fields(request.head), redaction),
            "body": _body(request.head, payload_of(request), redaction),
        },
        "primary": _side(*primary, redaction),
        "secondary": _side(*secondary, redaction),
    }
    return json.dumps(document)


def curl(request: Mapping[str, Any], url: str) -> str:
    """The request of an evidence document as a curl command against a backend's url."""
    words = ["curl", "-i", "-X", request["method"], url.rstrip("/") + request["target"]]
    for name, value in request["headers"]:
        if name not in ("host", "content-length", "transfer-encoding"):
            words += ["-H", f"{name}: {value}"]
    if request["body"]:
        words += ["--data-binary", request["body"]]
    return shlex.join(words)


def _side(side: Side, outcome: Outcome, redaction: Redaction) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return {
            "side": side,
            "status": 0,
            "headers": [],
            "body": "",
            "failure": f"{outcome.cause}: {outcome.detail}",
        }
    return {
        "side": side,
        "status": outcome.status,
        "headers": redact_fields(fields(outcome.head), redaction),
        "body": _body(outcome.head, payload_of(outcome), redaction),
    }


def _body(head: bytes, payload: bytes, redaction: Redaction) -> str:
    kept = redact_body(payload, field(head, "content-type") or "", redaction)
    return kept.decode("utf-8", "replace")[:BODY_CHARACTERS_MAX]
