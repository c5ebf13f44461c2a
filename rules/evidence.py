"""What is kept of a difference: the request and both replies, redacted, as one JSON text; and as a curl command.

Law: everything that goes in here passes `rules.redact` first; a secret that one part of a message gives
away by its name is hidden in all parts.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rules.body import MEASURED, READ_MAX, SEARCHED_MAX, Reader
from rules.coding import Unreadable, decoded
from rules.diff import Difference
from rules.framing import field, fields
from rules.identity import payload_of
from rules.message import Failure, Outcome, Request, Side
from rules.redact import Path, Redaction, written

BODY_CHARACTERS_MAX = 16384
"""What is kept of each body: enough to read, small enough for 100,000 samples."""

_NOT_REPEATED = ("host", "content-length", "transfer-encoding", "content-encoding")
"""What curl says for itself; the body is kept without its coding."""

_TAIL = re.compile(r"(?:[A-Z0-9]{2,6}[ -]){0,8}[^\s\"]*\Z")
_CUT = "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What may be stored of a comparison. `document` is a JSON object in ASCII: request {method, target,
    headers, body}, primary and secondary {side, status, headers, body}, of a failure {failure}, too."""

    target: str
    differences: tuple[Difference, ...]
    document: str


def evidence(
    request: Request,
    primary: tuple[Side, Outcome],
    secondary: tuple[Side, Outcome],
    differences: tuple[Difference, ...],
    redaction: Redaction,
) -> Kept:
    """Redact all that is kept of one comparison, together."""
    keeper = Keeper(redaction)
    document: dict[str, dict[str, Any]] = {
        "request": {
            "method": request.method,
            "target": keeper.target(request.target),
            "headers": keeper.fields(fields(request.head)),
            "body": keeper.request_body(request),
        },
        "primary": keeper.side(*primary),
        "secondary": keeper.side(*secondary),
    }
    unread = any(
        MEASURED.fullmatch(document[role]["body"].encode()) for role in ("primary", "secondary")
    )
    shown = tuple(keeper.difference(each, unread=unread) for each in differences)
    ways = keeper.ways()
    for part in document.values():
        part["body"] = part["body"][:READ_MAX]
        for name in ("target", "body", "failure"):
            if name in part:
                part[name] = _without(part[name], ways)
        part["headers"] = [(name, _without(value, ways)) for name, value in part["headers"]]
        part["body"] = part["body"][:BODY_CHARACTERS_MAX]
    return Kept(
        target=document["request"]["target"],
        differences=tuple(
            replace(
                each, primary=_without(each.primary, ways), secondary=_without(each.secondary, ways)
            )
            for each in shown
        ),
        document=json.dumps(document),
    )


def _without(text: str, ways: list[tuple[str, str]]) -> str:
    """Hide what was hidden elsewhere."""
    for way, mask in ways:
        text = text.replace(way, mask)
    return text


def curl(request: Mapping[str, Any], url: str) -> str:
    """The request of an evidence document as a curl command against a backend's url.

    Exactly this request: no globbing, no path squeezed, no header of curl's own for the body.
    """
    words = ["curl", "-i", "-g", "--path-as-is", "-X", request["method"]]
    words.append(url.rstrip("/") + request["target"])
    names = [name for name, _ in request["headers"]]
    for name, value in request["headers"]:
        if name not in _NOT_REPEATED:
            words += ["-H", f"{name}: {value}" if value else f"{name};"]
    if request["body"]:
        if "content-type" not in names:
            words += ["-H", "content-type:"]
        words += ["--data-raw", request["body"]]  # --data-binary would read "@name" as a file
    return shlex.join(words)


class Keeper(Reader):
    """Masks all parts of one comparison."""

    def side(self, side: Side, outcome: Outcome) -> dict[str, Any]:
        if isinstance(outcome, Failure):
            detail = self.text(outcome.detail)
            failure = f"{outcome.cause}: {detail}"
            return {"side": side, "status": 0, "headers": (), "body": "", "failure": failure}
        return {
            "side": side,
            "status": outcome.status,
            "headers": self.fields(fields(outcome.head)),
            "body": self.payload(outcome.head, payload_of(outcome)),
        }

    def request_body(self, request: Request) -> str:
        if request.spool is not None:
            return f"<{request.body_bytes} bytes, too long to keep>"
        return self.payload(request.head, payload_of(request))

    def payload(self, head: bytes, payload: bytes) -> str:
        """A body without its content codings; one that cannot be decoded is only measured."""
        try:
            payload = decoded(payload, field(head, "content-encoding") or "", SEARCHED_MAX)
        except Unreadable:
            return self.measured(payload).decode()
        return self.body(payload, field(head, "content-type") or "", 0).decode("utf-8", "replace")

    def difference(self, difference: Difference, *, unread: bool = False) -> Difference:
        """Hide both values at or below a sensitive name or path, and secrets in the path and the values.

        Of a value that was cut off, the last word is hidden: it may be the start of a secret. `unread`: one
        of the bodies could not be searched; then no line of text is kept of either.
        """
        where = difference.path
        inside = where[1:] if where[:1] == ("body",) else where
        hide = any(
            step.lower() in self.redaction.headers or self.sensitive(step) for step in where
        ) or any(self.named(inside[:end]) for end in range(len(inside) + 1))
        path = inside if self.redaction.paths else None
        values = (difference.primary, difference.secondary)
        if (
            unread
            and where[:1] == ("body",)
            and (not inside or (inside[0].isdigit() and not inside[1:]))
        ):
            hide = hide or any(text[:1] == '"' for text in values)
        ours, theirs = (self.value(text, path, hide=hide) for text in values)
        return replace(difference, path=tuple(map(self.key, where)), primary=ours, secondary=theirs)

    def value(self, text: str, path: Path | None, *, hide: bool) -> str:
        """Redact one value of a difference: short JSON, perhaps cut off, or nothing."""
        try:
            value = json.loads(text) if text else None
        except (ValueError, RecursionError):
            return self.cut(text, hide=hide or (path is not None and text[:1] in ("{", "[")))
        if not text:
            return text
        return self.concealed(value) if hide else written(self.walk(value, path, 0))

    def cut(self, text: str, *, hide: bool) -> str:
        if hide or self.mentions(text):
            return self.hidden(text)
        if not text.endswith(_CUT):
            return self.text(text)
        shown = self.text(text.removesuffix(_CUT))
        tail = _TAIL.search(shown)
        assert tail is not None
        return shown[: tail.start()] + self.hidden(tail[0]) + _CUT
