"""Whether the primary applied a write of which it never told: asked again, or read back.

Law: what cannot be told stays unknown. A wrong "applied" writes something twice at most, a wrong "not
applied" loses a write at the secondary: so only what can mean nothing else counts as that.
"""

import json
import re
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from rules.coding import Unreadable, decoded
from rules.fate import Event, after_primary
from rules.framing import field, without
from rules.identity import payload_of
from rules.message import Failure, Outcome, Reply, Request
from rules.pointer import MISSING, Missing, resolve

BODY_BYTES_MAX = 1024 * 1024
"""Longer bodies, of the request or of the reply, are not looked into."""

NO_REPLY = Reply(0, b"", truncated=True)
"""Stands for the primary's reply where it applied a write and nobody heard: nothing compares with it."""

_CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_GONE = (404, 410)

_INCONCLUSIVE = frozenset((401, 403, 407, 408, 409, 412, 423, 425, 428, 429))
"""Refusals that may come from what has changed since the first try, or because of it: a token that ended, an
entity that is there now, an ETag that the first try changed (RFC 9110 13.1.1, 15.5; RFC 4918 11.3; RFC 6585)."""

_NOT_FOR_A_READ = (
    b"content-length", b"transfer-encoding", b"trailer", b"content-type", b"content-encoding",
    b"content-md5", b"content-digest", b"repr-digest", b"digest", b"idempotency-key", b"if-match",
    b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range",
    b"accept-encoding", b"prefer",
)  # fmt: skip


class Finding(StrEnum):
    """What is known now."""

    APPLIED = "applied"
    NOT_APPLIED = "not_applied"
    UNSURE = "unsure"


class Ways(Struct, frozen=True, kw_only=True):
    """How a route lets unknown outcomes be settled. `probe` "" is none; `equals` are parsed JSON pointers."""

    reask: bool = False
    probe: str = ""
    equals: tuple[tuple[str, ...], ...] = ()


def unknown_captures(probe: str, captured: frozenset[str]) -> list[str]:
    """The names in the target of a probe that the path of its route does not capture."""
    return [name for name in _CAPTURE.findall(probe) if name not in captured]


def probing(request: Request, probe: str, captures: Mapping[str, tuple[int, int]]) -> Request:
    """The read that a probe sends: the captures of the write's target put in as they came, and of the head
    what says who asks. `captures` are (start, end) in the target, one for each name in `probe`."""

    def raw(found: re.Match[str]) -> str:
        start, end = captures[found.group(1)]
        return request.target[start:end]

    target = _CAPTURE.sub(raw, probe)
    head = without(request.head, _NOT_FOR_A_READ)
    _, _, rest = head.split(b" ", 2)
    return Request(
        method="GET", target=target, head=b" ".join((b"GET", target.encode("latin-1"), rest))
    )


def after_reask(request: Request, outcome: Outcome, *, applied_redirects: bool) -> Finding:
    """What the primary's outcome of the same write, sent once more, says about the write.

    A DELETE that finds nothing was applied. Else as `rules.fate.after_primary`, but for refusals that
    tell about the second try only.
    """
    event = after_primary(outcome, applied_redirects=applied_redirects)
    if event is Event.PRIMARY_APPLIED:
        return Finding.APPLIED
    if isinstance(outcome, Failure) or event is not Event.PRIMARY_REJECTED:
        return Finding.UNSURE
    if request.method == "DELETE" and outcome.status in _GONE:
        return Finding.APPLIED
    return Finding.UNSURE if outcome.status in _INCONCLUSIVE else Finding.NOT_APPLIED


def after_probe(request: Request, outcome: Outcome, equals: tuple[tuple[str, ...], ...]) -> Finding:
    """What a read at the primary says about a write; the body of `request` must be in memory."""
    if isinstance(outcome, Failure):
        return Finding.UNSURE
    there, gone = 200 <= outcome.status < 300, outcome.status in _GONE
    if request.method == "DELETE":
        return Finding.APPLIED if gone else Finding.NOT_APPLIED if there else Finding.UNSURE
    if gone:
        return Finding.NOT_APPLIED
    if not there or outcome.truncated:
        return Finding.UNSURE
    try:
        return _compared(_document(request), _document(outcome), equals)
    except (Unreadable, ValueError, RecursionError):
        return Finding.UNSURE


def _compared(wanted: object, found: object, equals: tuple[tuple[str, ...], ...]) -> Finding:
    """A pointer that the write does not have says nothing; without any that it has, nothing is known."""
    asked = [tokens for tokens in equals if resolve(wanted, tokens) is not MISSING]
    if not asked:
        return Finding.UNSURE
    same = all(_equal(resolve(wanted, tokens), resolve(found, tokens)) for tokens in asked)
    return Finding.APPLIED if same else Finding.NOT_APPLIED


def _document(message: Request | Reply) -> object:
    """The JSON of a body. Raises Unreadable, or ValueError."""
    body = payload_of(message)
    coding = field(message.head, "content-encoding")
    if coding is not None:
        body = decoded(body, coding, BODY_BYTES_MAX)
    return json.loads(body)


def _equal(one: object | Missing, other: object | Missing) -> bool:
    """JSON equality: 1 equals 1.0, and not true (Python's == says so of all three)."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other
