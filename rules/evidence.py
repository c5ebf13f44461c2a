"""What is kept of a difference: the request and both replies, redacted, as one JSON text; and as a curl command.

Law: everything that goes in here passes `rules.redact` first; a secret that one part of a message gives
away by its name is hidden in all parts.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from rules.body import MEASURED, READ_MAX, SEARCHED_MAX, Reader
from rules.coding import Unreadable, decoded
from rules.difference import Difference
from rules.framing import field, fields
from rules.identity import payload_of
from rules.message import Failure, Fields, Outcome, Request, Side
from rules.redact import ECHO_MIN, Path, Redaction, plain_text, written

BODY_CHARACTERS_MAX = 16384
"""What is kept of each body: enough to read, small enough for 100,000 samples."""

VALUE_MIN = 3
"""Characters of a hidden value that is hidden as the value of a difference, too: shorter ones are no secret."""

_NOT_REPEATED = ("host", "content-length", "transfer-encoding", "content-encoding")
"""What curl says for itself; the body is kept without its coding."""

_SCHEME = re.compile(r"(?i:basic|bearer|digest|negotiate|token) (?=\S)")
_ATTRIBUTE = re.compile(  # of Set-Cookie (RFC 6265 4.1.1, and what browsers added)
    r"(?:domain|expires|max-age|path|priority|samesite)=[^=]*|httponly|partitioned|secure",
    re.IGNORECASE,
)
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
        part["headers"] = [
            (_without(name, ways), _without(value, ways)) for name, value in part["headers"]
        ]
        part["body"] = part["body"][:BODY_CHARACTERS_MAX]
    return Kept(
        target=document["request"]["target"],
        differences=tuple(
            structs.replace(
                each,
                path=tuple(_without(step, ways) for step in each.path),
                primary=_without(each.primary, ways),
                secondary=_without(each.secondary, ways),
            )
            for each in shown
        ),
        document=json.dumps(document),
    )


def _begins(value: str, start: str) -> bool:
    """Whether a value, as JSON, begins like this; an escape has at most six characters for one."""
    if 6 * len(value) < len(start):
        return False
    return value.startswith(start) or json.dumps(value, ensure_ascii=False).startswith(start)


def _without(text: str, ways: list[tuple[str, str]]) -> str:
    """Hide what was hidden elsewhere."""
    if len(text) < ECHO_MIN:
        return text
    for way, mask in ways:
        text = text.replace(way, mask)
    return text


def curl(request: Mapping[str, Any], url: str) -> str:
    """The request of an evidence document as a curl command against a backend's url.

    Exactly this request: no globbing, no path squeezed, no header of curl's own for the body. What a terminal
    would obey is escaped in $'...' (POSIX 2024 2.2.4), which not every `sh` knows.
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
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """A word for a shell, of which nothing but lines is to be seen on a terminal."""
    if all(sign.isprintable() or sign == "\n" for sign in word):
        return shlex.quote(word)
    return "$'" + "".join(map(_octal, word)) + "'"


def _octal(sign: str) -> str:
    if sign.isprintable() and sign not in "\\'":
        return sign
    return "".join(f"\\{byte:03o}" for byte in sign.encode())


class Keeper(Reader):
    """Masks all parts of one comparison."""

    def target(self, target: str) -> str:
        """Hide sensitive query values, secrets anywhere, and a user in an absolute target."""
        path, mark, query = target.partition("?")
        return self.text(path) + mark + self.form(query)

    def fields(self, fields: Fields) -> Fields:
        """Hide the values of sensitive headers and of cookies, and secrets in all other values."""
        return tuple((self.scan(name), self.header(name, value)) for name, value in fields)

    def header(self, name: str, value: str) -> str:
        lowered = name.lower()
        hide = lowered in self.redaction.headers
        if lowered in ("cookie", "set-cookie"):
            parts = value.split(";")
            kept = len(parts) if lowered == "cookie" else 1
            first = [self.cookie(part, hide) for part in parts[:kept]]
            return ";".join(first + [self.attribute(part) for part in parts[kept:]])
        if self.sensitive(name):
            scheme = _SCHEME.match(value)
            at = 0 if scheme is None else scheme.end()
            return value[:at] + self.hidden(value[at:])
        return self.text(value)

    def cookie(self, part: str, hide: bool) -> str:
        name, equals, value = part.partition("=")
        if not equals:
            return self.hidden(part) if hide else self.text(part)
        if hide or self.sensitive(name):
            return f"{self.scan(name)}={self.hidden(value)}"
        return f"{self.scan(name)}={self.encoded(value, 0)}"

    def attribute(self, part: str) -> str:
        """An attribute of Set-Cookie; anything else there may be another cookie."""
        return self.text(part) if _ATTRIBUTE.fullmatch(part.strip()) else self.hidden(part)

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
        shown, hide = self.place(where)
        path = inside if self.redaction.paths else None
        values = (difference.primary, difference.secondary)
        if (
            unread
            and where[:1] == ("body",)
            and (not inside or (inside[0].isdigit() and not inside[1:]))
        ):
            hide = hide or any(text[:1] == '"' for text in values)
        ours, theirs = (self.value(text, path, hide=hide) for text in values)
        return structs.replace(difference, path=shown, primary=ours, secondary=theirs)

    def value(self, text: str, path: Path | None, *, hide: bool) -> str:
        """Redact one value of a difference: short JSON, perhaps cut off, or nothing.

        What was hidden elsewhere as a whole is hidden, down to VALUE_MIN characters.
        """
        try:
            value = json.loads(text) if text else None
        except (ValueError, RecursionError):
            return self.cut(text, hide=hide or (path is not None and text[:1] in ("{", "[")))
        if not text:
            return text
        told = plain_text(value)
        hide = hide or (len(told) >= VALUE_MIN and told in self.values)
        return self.concealed(value) if hide else written(self.walk(value, path, 0))

    def cut(self, text: str, *, hide: bool) -> str:
        if hide or self.mentions(text):
            return self.hidden(text)
        if not text.endswith(_CUT):
            return self.text(text)
        start = text.removesuffix(_CUT)
        if any(_begins(each, start) for each in self.values):
            return self.hidden(text)
        shown = self.text(start)
        tail = _TAIL.search(shown)
        assert tail is not None
        return shown[: tail.start()] + self.hidden(tail[0]) + _CUT
