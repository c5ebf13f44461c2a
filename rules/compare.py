"""Do two replies agree? Digest first, then decode, parse, and a field diff: a verdict.

Law: `compare` never raises and never guesses. What cannot be read on both sides is
`not_comparable`, with the reason; a difference that is certain stays a mismatch all the same.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Never
from urllib.parse import parse_qs

from msgspec import Struct
from xxhash import xxh3_128_digest

from rules.coding import Unreadable, decoded
from rules.diff import Difference, DiffResult, DiffRules, diff
from rules.framing import same_fields
from rules.message import Reply
from rules.pointer import Pattern

INFLATION_MAX = 8
"""A decoded body may be this many times `body_bytes_max`, no more."""

READ_HEADERS = ("content-type", "content-encoding")
"""What is needed to read a body, beside the headers that are compared."""

_FORM_FIELDS_MAX = 10_000
_FORM = "application/x-www-form-urlencoded"


class VerdictKind(StrEnum):
    """What became of one comparison."""

    MATCH = "match"
    MISMATCH = "mismatch"
    IGNORED = "ignored"  # they differ, but only where it was declared not to matter
    NOT_COMPARABLE = "not_comparable"
    SKIPPED = "skipped"  # not compared, by a limit or a setting
    ERROR = "error"  # the secondary gave no reply to compare


class Checksum(StrEnum):
    """The digest of the fast path."""

    XXH3 = "xxh3"
    CRC32 = "crc32"
    SHA256 = "sha256"


class Verdict(Struct, frozen=True, kw_only=True, gc=False):
    """The result of a comparison.

    `reason` is one word of a closed set (`equal_bytes`, `status`, `json_too_deep`, `coding_br`...),
    fit for a metric label. `ignored` names the patterns that ate a difference.
    """

    kind: VerdictKind
    reason: str
    differences: tuple[Difference, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How the replies of a route are compared; the keys of `[compare]` and of the route.

    `headers`: names of response headers that must agree. `ignore` and `unordered` are relative to
    the parsed body: "/updated_at" eats the path ("body", "updated_at").
    """

    checksum: Checksum = Checksum.XXH3
    headers: tuple[str, ...] = ("content-type",)
    ignore: tuple[Pattern, ...] = ()
    unordered: tuple[Pattern, ...] = ()
    body_bytes_max: int = 65536
    differences_max: int = 50
    names: tuple[str, ...] = field(init=False)
    """The headers that are compared, and those that say how to read a body: in lower case."""
    compared: tuple[bytes, ...] = field(init=False)
    """How the lines of these begin."""

    def __post_init__(self) -> None:
        names = tuple(dict.fromkeys((*READ_HEADERS, *(name.lower() for name in self.headers))))
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "compared", tuple(f"\r\n{name}:".encode() for name in names))


class Answer(Struct, frozen=True, kw_only=True, gc=False):
    """What is compared of a reply: header names in lower case, the body without chunk framing.

    `truncated` says that `body` is only the start of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool = False


_MATCH = Verdict(kind=VerdictKind.MATCH, reason="equal_bytes")


def agree(primary: Reply, secondary: Reply, comparison: Comparison) -> Verdict | None:
    """The fast path: a match of replies that are equal as they came, in all that is compared; None is no answer."""
    if primary.status != secondary.status or primary.framing is not secondary.framing:
        return None
    ours, theirs = primary.body, secondary.body
    if len(ours) != len(theirs) or primary.truncated or secondary.truncated:
        return None
    if digest(comparison.checksum, ours) != digest(comparison.checksum, theirs):
        return None
    return _MATCH if same_fields(primary.head, secondary.head, comparison.compared) else None


def digest(checksum: Checksum, body: bytes) -> bytes:
    """Digest a body: 16 bytes for xxh3, 4 (big-endian) for crc32, 32 for sha256."""
    return _DIGESTS[checksum](body)


def _crc32(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


_DIGESTS: Mapping[Checksum, Callable[[bytes], bytes]] = {
    Checksum.XXH3: xxh3_128_digest,
    Checksum.CRC32: _crc32,
    Checksum.SHA256: _sha256,
}


def compare(
    primary: Answer, secondary: Answer, comparison: Comparison, same: frozenset[tuple[str, str]]
) -> Verdict:
    """Compare the secondary's answer with the primary's; `same` are known identities, as in diff.

    Where the statuses differ the bodies are not compared: they answer different questions.
    """
    outer = _outer(primary, secondary, comparison, same)
    if primary.status != secondary.status:
        return _mismatch(outer, "status", comparison)
    truncated = primary.truncated or secondary.truncated
    if not truncated and _equal_bytes(primary, secondary, comparison.checksum):
        return _mismatch(outer, "header", comparison) if outer else _match("equal_bytes")
    try:
        if truncated:
            raise Unreadable("body_too_large")
        reason, result = _bodies(primary, secondary, comparison, same)
    except Unreadable as error:
        if outer:
            return _mismatch(outer, "header", comparison)
        return Verdict(kind=VerdictKind.NOT_COMPARABLE, reason=str(error))
    differences = outer + _below("body", result)
    if differences:
        return _mismatch(differences, "header" if outer else "body", comparison, result.ignored)
    if result.truncated:
        return Verdict(kind=VerdictKind.NOT_COMPARABLE, reason="json_too_deep")
    if result.ignored:
        kind = VerdictKind.IGNORED
        return Verdict(kind=kind, reason="differences_ignored", ignored=result.ignored)
    return _match(reason)


def _match(reason: str) -> Verdict:
    return Verdict(kind=VerdictKind.MATCH, reason=reason)


def _mismatch(
    differences: tuple[Difference, ...],
    reason: str,
    comparison: Comparison,
    ignored: tuple[str, ...] = (),
) -> Verdict:
    kept = differences[: max(comparison.differences_max, 1)]
    return Verdict(kind=VerdictKind.MISMATCH, reason=reason, differences=kept, ignored=ignored)


def _equal_bytes(primary: Answer, secondary: Answer, checksum: Checksum) -> bool:
    coding = "content-encoding"
    return (
        len(primary.body) == len(secondary.body)
        and digest(checksum, primary.body) == digest(checksum, secondary.body)
        and primary.headers.get(coding) == secondary.headers.get(coding)
    )


def _outer(
    primary: Answer, secondary: Answer, comparison: Comparison, same: frozenset[tuple[str, str]]
) -> tuple[Difference, ...]:
    """Find what differs outside the body: the status, and the chosen headers."""
    found: tuple[Difference, ...] = ()
    if primary.status != secondary.status:
        found = _below("status", diff(primary.status, secondary.status, DiffRules()))
    names = [name.lower() for name in comparison.headers]
    if any(primary.headers.get(name) != secondary.headers.get(name) for name in names):
        ours, theirs = _chosen(primary.headers, names), _chosen(secondary.headers, names)
        found += _below("header", diff(ours, theirs, DiffRules(same=same)))
    return found


def _chosen(headers: Mapping[str, str], names: list[str]) -> dict[str, str]:
    return {
        name: _content_type(headers[name]) if name == "content-type" else headers[name]
        for name in names
        if name in headers
    }


def _content_type(value: str) -> str:
    """Spell a content type in one way (RFC 9110, 8.3): case, blanks and quotes mean nothing."""
    media, *parameters = value.split(";")
    parts = [media.strip().lower()]
    for parameter in parameters:
        name, _, text = (part.strip() for part in parameter.partition("="))
        name, text = name.lower(), text.strip('"')
        parts.append(f"{name}={text.lower() if name == 'charset' else text}")
    return "; ".join(parts)


def _below(step: str, result: DiffResult) -> tuple[Difference, ...]:
    return tuple(replace(found, path=(step, *found.path)) for found in result.differences)


def _bodies(
    primary: Answer, secondary: Answer, comparison: Comparison, same: frozenset[tuple[str, str]]
) -> tuple[str, DiffResult]:
    """Decode, parse and diff two bodies: the reason for a match, and what differs."""
    rules = DiffRules(
        ignore=comparison.ignore,
        unordered=comparison.unordered,
        differences_max=max(comparison.differences_max, 1),
        same=same,
    )
    if max(len(primary.body), len(secondary.body)) > comparison.body_bytes_max:
        raise Unreadable("body_too_large")
    bodies = (
        decoded(primary.body, _coding(primary), comparison.body_bytes_max * INFLATION_MAX),
        decoded(secondary.body, _coding(secondary), comparison.body_bytes_max * INFLATION_MAX),
    )
    if bodies[0] == bodies[1]:
        return "equal_decoded", DiffResult(differences=())
    types = (_media(primary), _media(secondary))
    documents = _documents(types, bodies)
    if documents is not None:
        return "equal_json", diff(*documents, rules)
    if types == (_FORM, _FORM):
        return "equal_form", diff(_form(bodies[0]), _form(bodies[1]), rules)
    ours, theirs = (_summary(body, comparison.checksum) for body in bodies)
    return "equal_bytes", diff(ours, theirs, replace(rules, same=frozenset()))


def _summary(body: bytes, checksum: Checksum) -> str:
    return f"{len(body)} bytes, {checksum} {digest(checksum, body).hex()[:32]}"


def _coding(answer: Answer) -> str:
    return answer.headers.get("content-encoding", "")


def _media(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _documents(types: tuple[str, str], bodies: tuple[bytes, bytes]) -> tuple[object, object] | None:
    """Parse two JSON bodies; None when they are to be compared as bytes.

    Raises Unreadable where declared JSON can be read in more ways than one.
    """
    declared = any(_is_json(media) for media in types)
    if not declared and not all(body.lstrip()[:1] in (b"{", b"[") for body in bodies):
        return None
    try:
        return _json(bodies[0]), _json(bodies[1])
    except json.JSONDecodeError:
        return None
    except Unreadable:
        if declared:
            raise
        return None


def _is_json(media: str) -> bool:
    return media == "application/json" or media.endswith("+json")


def _json(body: bytes) -> object:
    """Parse strict JSON. Raises JSONDecodeError for no JSON, Unreadable for the doubtful."""
    try:
        return _DECODER.decode(body.decode().removeprefix("\ufeff"))
    except (json.JSONDecodeError, Unreadable):
        raise
    except UnicodeDecodeError:
        raise Unreadable("not_utf8") from None
    except ValueError:  # more digits than Python will turn into an integer
        raise Unreadable("json_number_too_long") from None
    except RecursionError:
        raise Unreadable("json_too_deep") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Unreadable("json_duplicate_key")
    return members


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Unreadable("json_number_too_large")
    return value


def _constant(_: str) -> Never:
    raise Unreadable("json_not_a_number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)


def _form(body: bytes) -> dict[str, list[str]]:
    """Parse a form to name -> values, by name; bytes that are no UTF-8 stay distinct."""
    text = body.decode("utf-8", "surrogateescape")
    try:
        fields = parse_qs(
            text,
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=_FORM_FIELDS_MAX,
        )
    except ValueError:
        raise Unreadable("form_too_many_fields") from None
    return dict(sorted(fields.items()))
