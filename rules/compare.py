"""Do two replies agree? Digest first, then decode, parse, and a field diff: a verdict.

Law: `compare` never guesses. What cannot be read on both sides is `not_comparable`, with the reason; a
difference that is certain stays a mismatch all the same.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from msgspec import Struct, structs

from rules.checksum import DIGESTS, Checksum, Whole, whole
from rules.coding import Unreadable, decoded
from rules.diff import diff
from rules.difference import Class, Difference, DiffResult, DiffRules
from rules.document import Answer, Documents, Format, documents
from rules.framing import fields_pattern, joined, same_fields
from rules.identity import payload_of
from rules.message import Framing, Reply
from rules.same import NONE, Same
from rules.tolerance import Rule, RuleKind, for_headers

INFLATION_MAX = 8
"""A decoded body may be this many times `body_bytes_max`, no more."""

READ_HEADERS = ("content-type", "content-encoding")
"""What is needed to read a body, beside the headers that are compared."""


class VerdictKind(StrEnum):
    """What became of one comparison."""

    MATCH = "match"
    MISMATCH = "mismatch"
    IGNORED = "ignored"  # they differ, but only where it was declared not to matter
    NOT_COMPARABLE = "not_comparable"
    SKIPPED = "skipped"  # not compared, by a limit or a setting
    ERROR = "error"  # the comparison itself failed: a defect of ours


class Match(StrEnum):
    """What two replies must have in common."""

    EXACT = "exact"  # the decoded bytes; no rule applies
    SEMANTIC = "semantic"  # what the bytes mean, as the rules have it
    PRESENCE = "presence"  # the same fields and headers, whatever their values


class StatusMatch(StrEnum):
    """What two statuses must have in common."""

    EXACT = "exact"
    CLASS = "class"  # the first digit


class Verdict(Struct, frozen=True, kw_only=True, gc=False):
    """The result of a comparison.

    `reason` is one word of a closed set (`equal_bytes`, `status`, `json_too_deep`, `undecodable`...),
    fit for a metric label. `ignored` names the rules that ate a difference.
    """

    kind: VerdictKind
    reason: str
    differences: tuple[Difference, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How the replies of a route are compared; the keys of `[compare]`, its category and the route.

    `headers`: names of response headers that must agree; those with a rule of their own are compared,
    too. The paths of `rules` are relative to the parsed body: "/updated_at" eats the path
    ("body", "updated_at").
    """

    checksum: Checksum = Checksum.XXH3
    match: Match = Match.SEMANTIC
    status: StatusMatch = StatusMatch.EXACT
    headers: tuple[str, ...] = ("content-type",)
    rules: tuple[Rule, ...] = ()
    body_bytes_max: int = 65536
    differences_max: int = 50
    compared: tuple[bytes, ...] = field(init=False)
    """How the lines of the headers begin that are compared, or say how to read a body."""
    fields: re.Pattern[bytes] = field(init=False, repr=False)
    """What finds these in a head."""
    chosen: tuple[str, ...] = field(init=False)
    """The headers that are compared, in lower case."""
    digested: Callable[[bytes], bytes] = field(init=False, repr=False)
    """What digests a body by `checksum`."""
    costly: bool = field(init=False)
    """Whether a rule may take more than a look at each value."""
    exact: bool = field(init=False)
    presence: bool = field(init=False)
    """Whether `match` is this one: a member of an enum costs 80 ns to look up in Python 3.11."""
    body_rules: DiffRules = field(init=False)
    header_rules: DiffRules = field(init=False)

    def __post_init__(self) -> None:
        ruled = [
            name for rule in self.rules if rule.kind is not RuleKind.IGNORE for name in rule.headers
        ]
        chosen = tuple(dict.fromkeys(name.lower() for name in (*self.headers, *ruled)))
        names = tuple(dict.fromkeys((*READ_HEADERS, *chosen)))
        exact, presence = (self.match is each for each in (Match.EXACT, Match.PRESENCE))
        rules = () if exact else self.rules
        limits = DiffRules(
            rules=rules,
            presence=presence,
            differences_max=max(self.differences_max, 1),
        )
        for name, value in (
            ("compared", tuple(f"\r\n{name}:".encode() for name in names)),
            ("chosen", chosen),
            ("fields", fields_pattern(names)),
            ("digested", DIGESTS[self.checksum]),
            ("costly", _costly(limits)),
            ("exact", exact),
            ("presence", presence),
            ("body_rules", limits),
            ("header_rules", replace(limits, rules=for_headers(rules))),
        ):
            object.__setattr__(self, name, value)


Wholes = tuple[Whole | None, Whole | None]
"""What is known of bodies that are not kept: the primary's, and the secondary's."""


def answers(
    primary: Reply, secondary: Reply, comparison: Comparison, wholes: Wholes = (None, None)
) -> tuple[Answer, Answer]:
    """Two replies as the comparison sees them: of their headers only what is compared, or says how to read a body."""
    fields = comparison.fields
    ours, theirs = fields.findall(primary.head), fields.findall(secondary.head)
    headers = joined(ours)
    others = headers if theirs == ours else joined(theirs)
    return _answer(primary, headers, wholes[0]), _answer(secondary, others, wholes[1])


def _answer(reply: Reply, headers: Mapping[str, str], whole: Whole | None) -> Answer:
    if whole is None and not reply.truncated and reply.framing is not _CHUNKED:
        return Answer(reply.status, headers, reply.body)
    return Answer(reply.status, headers, payload_of(reply), reply.truncated, whole)


def _costly(rules: DiffRules) -> bool:
    kinds = (RuleKind.UNORDERED, RuleKind.REGEX)
    return rules.book.weight > _WEIGHT_MAX or any(rule.kind in kinds for rule in rules.rules)


_WEIGHT_MAX = 8  # patterns that are tried at each place
_MISMATCHED, _CHUNKED = VerdictKind.MISMATCH, Framing.CHUNKED
_MATCH = Verdict(kind=VerdictKind.MATCH, reason="equal_bytes")


def agree(primary: Reply, secondary: Reply, comparison: Comparison) -> Verdict | None:
    """The fast path: a match of replies that are equal as they came, in all that is compared; None is no answer."""
    if primary.status != secondary.status or primary.framing is not secondary.framing:
        return None
    ours, theirs = primary.body, secondary.body
    if len(ours) != len(theirs) or primary.truncated or secondary.truncated:
        return None
    if comparison.digested(ours) != comparison.digested(theirs):
        return None
    return _MATCH if same_fields(primary.head, secondary.head, comparison.compared) else None


def compare(primary: Answer, secondary: Answer, comparison: Comparison, same: Same) -> Verdict:
    """Compare the secondary's answer with the primary's; `same` are known identities, as in diff.

    Where the statuses differ the bodies are not compared: they answer different questions. One
    difference is a mismatch, whatever `match` is. Never raises for any bytes; time and memory are
    linear in `body_bytes_max`, beyond that limited by `rules.difference.NODES_MAX`.
    """
    same = NONE if comparison.exact else same
    if primary.status != secondary.status and not _same_class(
        primary.status, secondary.status, comparison.status
    ):
        outer = diff(primary.status, secondary.status, DiffRules(), at=("status",))
        headers = _headers(primary, secondary, comparison, same)
        found = (*outer.differences, *headers.differences)
        return _mismatch(found, "status", comparison, headers.ignored)
    headers = _headers(primary, secondary, comparison, same)
    truncated = primary.truncated or secondary.truncated
    if not truncated and primary.body == secondary.body and _coding(primary) == _coding(secondary):
        return _judged(headers, _NOTHING, "equal_bytes", comparison)
    try:
        if truncated:
            reason, result = _by_digest(primary, secondary, comparison)
        else:
            reason, result = _bodies(primary, secondary, comparison, same)
        if not result.differences and result.truncated:
            raise Unreadable("too_many_nodes" if result.exhausted else "json_too_deep")
    except Unreadable as error:
        if headers.differences:
            return _mismatch(headers.differences, "header", comparison, headers.ignored)
        return Verdict(kind=VerdictKind.NOT_COMPARABLE, reason=str(error), ignored=headers.ignored)
    return _judged(headers, result, reason, comparison)


def _judged(headers: DiffResult, body: DiffResult, reason: str, comparison: Comparison) -> Verdict:
    """The verdict on headers and bodies; `reason` is for a match."""
    differences = headers.differences + body.differences
    ignored = headers.ignored + body.ignored
    if ignored:
        ignored = tuple(dict.fromkeys(ignored))
    if differences:
        where = "header" if headers.differences else "body"
        return _mismatch(differences, where, comparison, ignored)
    if ignored:
        kind = VerdictKind.IGNORED
        return Verdict(kind=kind, reason="differences_ignored", ignored=ignored)
    return Verdict(kind=VerdictKind.MATCH, reason=reason)


def _mismatch(
    differences: tuple[Difference, ...],
    reason: str,
    comparison: Comparison,
    ignored: tuple[str, ...] = (),
) -> Verdict:
    kept = differences[: comparison.body_rules.differences_max]
    return Verdict(kind=_MISMATCHED, reason=reason, differences=kept, ignored=ignored)


def _same_class(primary: int, secondary: int, match: StatusMatch) -> bool:
    """Whether two statuses have enough in common that are not equal."""
    return match is StatusMatch.CLASS and primary // 100 == secondary // 100


_NOTHING = DiffResult(differences=())
_BYTES, _TEXT = Format.BYTES, Format.TEXT
_EQUAL: Mapping[Format, str] = {each: f"equal_{each}" for each in Format}


def _headers(primary: Answer, secondary: Answer, comparison: Comparison, same: Same) -> DiffResult:
    """What differs in the chosen headers."""
    ours, theirs, names = primary.headers, secondary.headers, comparison.chosen
    if ours is theirs:
        return _NOTHING
    for name in names:
        if ours.get(name) != theirs.get(name):
            rules = comparison.header_rules
            return diff(_chosen(ours, names), _chosen(theirs, names), rules, same, ("header",))
    return _NOTHING


def _chosen(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {
        name: _content_type(headers[name]) if name == "content-type" else headers[name]
        for name in names
        if name in headers
    }


def _content_type(value: str) -> str:
    """Spell a content type in one way (RFC 9110, 8.3): case, blanks, quotes and the boundary of a
    multipart body mean nothing."""
    media, *parameters = value.split(";")
    media = media.strip().lower()
    parts = [media]
    for parameter in parameters:
        name, _, text = (part.strip() for part in parameter.partition("="))
        name, text = name.lower(), text.strip('"')
        if name != "boundary" or not media.startswith("multipart/"):
            parts.append(f"{name}={text.lower() if name == 'charset' else text}")
    return "; ".join(parts)


def _bodies(
    primary: Answer, secondary: Answer, comparison: Comparison, same: Same
) -> tuple[str, DiffResult]:
    """Decode, parse and diff two bodies: the reason for a match, and what differs."""
    limit, exact, presence = comparison.body_bytes_max, comparison.exact, comparison.presence
    if len(primary.body) > limit or len(secondary.body) > limit:
        return _by_digest(primary, secondary, comparison)
    ours, theirs = _decoded(primary, comparison), _decoded(secondary, comparison)
    if ours.body == theirs.body:
        return "equal_decoded", _NOTHING
    try:
        read = documents(ours, theirs)
    except Unreadable:
        if not exact:
            raise
        read = Documents(_BYTES)
    if read.format is _BYTES or (presence and read.format is _TEXT):
        return "equal_bytes", _as_bytes(ours, theirs, comparison)
    result = diff(read.primary, read.secondary, comparison.body_rules, same, ("body",))
    if exact and not result.differences:
        result = _as_bytes(ours, theirs, comparison)
    return "equal_presence" if presence else _EQUAL[read.format], result


def _by_digest(
    primary: Answer, secondary: Answer, comparison: Comparison
) -> tuple[str, DiffResult]:
    """Compare bodies of which one is too long to be looked into, as they came but for chunk framing: the reason
    for a match, and what differs. Raises Unreadable where one of them is not known to its end."""
    ours, theirs = (_whole_of(each, comparison.checksum) for each in (primary, secondary))
    codings = [_coding(each) for each in (primary, secondary)]
    if ours == theirs and codings[0] == codings[1]:
        return "equal_digest", _NOTHING
    result = _apart(ours, theirs, comparison)
    coded = any(codings) and ours.length > 0 and theirs.length > 0
    if coded and not result.ignored and not comparison.presence:
        raise Unreadable("body_too_large")  # one text is coded in many ways
    if ours.length != theirs.length:
        found = tuple(structs.replace(each, kind=Class.LENGTH) for each in result.differences)
        result = structs.replace(result, differences=found)
    return "equal_presence", result


def _coding(answer: Answer) -> str:
    coding = answer.headers.get("content-encoding", "").strip().lower()
    return "" if coding == "identity" else coding


def _whole_of(answer: Answer, checksum: Checksum) -> Whole:
    if not answer.truncated:
        return whole(answer.body, checksum)
    if answer.whole is None:
        raise Unreadable("body_too_large")
    return answer.whole


def _as_bytes(primary: Answer, secondary: Answer, comparison: Comparison) -> DiffResult:
    """The one difference of bodies that have no fields."""
    checksum = comparison.checksum
    return _apart(whole(primary.body, checksum), whole(secondary.body, checksum), comparison)


def _apart(primary: Whole, secondary: Whole, comparison: Comparison) -> DiffResult:
    """What is told of bodies that are not equal: as long as both have one, that is no difference of presence."""
    if comparison.presence and bool(primary.length) == bool(secondary.length):
        return _NOTHING
    ours, theirs = (_summary(each, comparison.checksum) for each in (primary, secondary))
    return diff(ours, theirs, replace(comparison.body_rules, presence=False), at=("body",))


def _decoded(answer: Answer, comparison: Comparison) -> Answer:
    coding = answer.headers.get("content-encoding")
    if not coding:
        return answer
    data = decoded(answer.body, coding, comparison.body_bytes_max * INFLATION_MAX)
    return structs.replace(answer, body=data)


def _summary(body: Whole, checksum: Checksum) -> str:
    return f"{body.length} bytes, {checksum} {body.digest.hex()[:32]}"
