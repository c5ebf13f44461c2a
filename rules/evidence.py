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
            "body": _request_body(request, redaction),
        },
        "primary": _side(*primary, redaction),
        "secondary": _side(*secondary, redaction),
    }
    return json.dumps(document)


def curl(request: Mapping[str, Any], url: str) -> str:
    """The request of an evidence document as a curl command against a backend's url.

    Exactly this request: no globbing, no path squeezed, no header of curl's own for the body.
    """
    words = ["curl", "-i", "-g", "--path-as-is", "-X", request["method"]]
    words.append(url.rstrip("/") + request["target"])
    names = [name for name, _ in request["headers"]]
    for name, value in request["headers"]:
        if name not in ("host", "content-length", "transfer-encoding"):
            words += ["-H", f"{name}: {value}" if value else f"{name};"]
    if request["body"]:
        if "content-type" not in names:
            words += ["-H", "content-type:"]
        words += ["--data-raw", request["body"]]  # --data-binary would read "@name" as a file
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


def _request_body(request: Request, redaction: Redaction) -> str:
    if request.spool is not None:
        return f"<{request.body_bytes} bytes, too long to keep>"
    return _body(request.head, payload_of(request), redaction)


def _body(head: bytes, payload: bytes, redaction: Redaction) -> str:
    kept = redact_body(payload, field(head, "content-type") or "", redaction)
    return kept.decode("utf-8", "replace")[:BODY_CHARACTERS_MAX]
