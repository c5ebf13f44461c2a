"""Verdicts: the order of the layers, codings, JSON and its traps, forms, other bodies, every limit."""

import gzip
import json
import zlib
from collections.abc import Iterable
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from rules.checksum import DIGESTS, Checksum, whole
from rules.compare import (
    INFLATION_MAX,
    Comparison,
    Match,
    StatusMatch,
    Verdict,
    VerdictKind,
    agree,
    answers,
    compare,
)
from rules.difference import Class
from rules.document import Answer
from rules.message import Framing, Reply
from rules.same import NONE
from rules.tolerance import Rule, RuleKind
from tests.rules.made import allow, same

RULES = Comparison()
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def answer(body: bytes, content_type: str = JSON, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type:
        named["content-type"] = content_type
    return Answer(status=status, headers=named, body=body)


def coded(body: bytes, coding: str) -> Answer:
    return answer(body, content_encoding=coding)


def judged(primary: Answer, secondary: Answer, rules: Comparison = RULES) -> Verdict:
    return compare(primary, secondary, rules, NONE)


def paths(verdict: Verdict) -> list[str]:
    return ["/".join(difference.path) for difference in verdict.differences]


def raw_deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(body) + deflater.flush()


@pytest.mark.parametrize("checksum", list(Checksum), ids=str)
def test_equal_bytes_match_whatever_they_are(checksum: Checksum) -> None:
    rules = replace(RULES, checksum=checksum)
    for body in (b"", b"\xff\x00", b"{", b"[" * 5000, b"x" * 200_000):
        verdict = judged(answer(body), answer(bytes(body)), rules)
        assert verdict == Verdict(kind=VerdictKind.MATCH, reason="equal_bytes")


@pytest.mark.parametrize("checksum", list(Checksum), ids=str)
def test_other_bytes_do_not_match_under_any_checksum(checksum: Checksum) -> None:
    rules = replace(RULES, checksum=checksum)
    assert judged(answer(b"a", "text/plain"), answer(b"b", "text/plain"), rules).reason == "body"


def test_a_status_that_differs_is_a_mismatch_and_bodies_are_left_alone() -> None:
    verdict = judged(answer(b"{}", status=201), answer(b"[1]", status=500))
    assert (verdict.kind, verdict.reason) == (VerdictKind.MISMATCH, "status")
    assert paths(verdict) == ["status"]
    assert (verdict.differences[0].primary, verdict.differences[0].secondary) == ("201", "500")


@pytest.mark.parametrize(
    ("status", "content_type", "kind", "reason"),
    [
        (200, JSON, VerdictKind.NOT_COMPARABLE, "body_too_large"),
        (201, JSON, VerdictKind.MISMATCH, "status"),
        (200, "text/html", VerdictKind.MISMATCH, "header"),
    ],
    ids=["alone", "status too", "header too"],
)
def test_half_a_body_is_not_compared(
    status: int, content_type: str, kind: VerdictKind, reason: str
) -> None:
    full, half = (
        answer(b"{}"),
        structs.replace(answer(b"{}", content_type, status), truncated=True),
    )
    for verdict in (judged(full, half), judged(half, full)):
        assert (verdict.kind, verdict.reason) == (kind, reason)


LONG = b"x" * 70_000


def cut(body: bytes, *, known: bool = True, rules: Comparison = RULES, **headers: str) -> Answer:
    """An answer of whose body only the start was kept."""
    measured = whole(body, rules.checksum) if known else None
    given = answer(body[:10], "", 200, **headers)
    return structs.replace(given, truncated=True, whole=measured)


GZIPPED = cut(LONG, content_encoding="gzip")
GZIPPED_OTHERWISE = cut(LONG[1:], content_encoding="gzip")
PRESENCE = replace(RULES, match=Match.PRESENCE)
LOOSE = replace(RULES, rules=(allow("ignore", ""),))


@pytest.mark.parametrize(
    ("primary", "secondary", "rules", "kind", "reason"),
    [
        (cut(LONG), cut(LONG), RULES, VerdictKind.MATCH, "equal_digest"),
        (cut(LONG), answer(LONG, ""), RULES, VerdictKind.MATCH, "equal_digest"),
        (GZIPPED, GZIPPED, RULES, VerdictKind.MATCH, "equal_digest"),
        (GZIPPED, cut(LONG), RULES, VerdictKind.NOT_COMPARABLE, "body_too_large"),
        (GZIPPED, GZIPPED_OTHERWISE, RULES, VerdictKind.NOT_COMPARABLE, "body_too_large"),
        (GZIPPED, GZIPPED_OTHERWISE, LOOSE, VerdictKind.IGNORED, "differences_ignored"),
        (GZIPPED, cut(LONG), PRESENCE, VerdictKind.MATCH, "equal_presence"),
        (GZIPPED, answer(b"", ""), RULES, VerdictKind.MISMATCH, "body"),
        (cut(LONG), cut(LONG[1:] + b"y"), RULES, VerdictKind.MISMATCH, "body"),
        (cut(LONG), cut(LONG[1:]), RULES, VerdictKind.MISMATCH, "body"),
        (cut(LONG), answer(b"", ""), RULES, VerdictKind.MISMATCH, "body"),
        (answer(LONG, ""), answer(b"x", ""), RULES, VerdictKind.MISMATCH, "body"),
        (cut(LONG), cut(LONG[1:]), PRESENCE, VerdictKind.MATCH, "equal_presence"),
        (cut(LONG), answer(b"", ""), PRESENCE, VerdictKind.MISMATCH, "body"),
        (cut(LONG), cut(LONG[1:]), LOOSE, VerdictKind.IGNORED, "differences_ignored"),
        (cut(LONG), cut(LONG, known=False), RULES, VerdictKind.NOT_COMPARABLE, "body_too_large"),
        (cut(LONG), answer(LONG, "", 201), RULES, VerdictKind.MISMATCH, "status"),
        (cut(LONG), answer(LONG), RULES, VerdictKind.MISMATCH, "header"),
    ],
    ids=[
        *("equal", "one kept", "coded", "other coding", "coded otherwise", "coded and ignored"),
        *("coded presence", "coded or none", "other byte", "shorter", "none", "both kept"),
        *("presence", "no presence", "ignored", "not known", "status", "header"),
    ],
)
def test_what_is_too_long_to_be_looked_into_is_compared_by_its_digest(
    primary: Answer, secondary: Answer, rules: Comparison, kind: VerdictKind, reason: str
) -> None:
    for verdict in (judged(primary, secondary, rules), judged(secondary, primary, rules)):
        assert (verdict.kind, verdict.reason) == (kind, reason)


@pytest.mark.parametrize("checksum", list(Checksum), ids=str)
@pytest.mark.parametrize(
    ("other", "kind"), [(LONG[1:] + b"y", Class.VALUE), (LONG[1:], Class.LENGTH)]
)
def test_the_difference_of_long_bodies_names_length_and_digest(
    checksum: Checksum, other: bytes, kind: Class
) -> None:
    rules = replace(RULES, checksum=checksum)
    (found,) = judged(cut(LONG, rules=rules), cut(other, rules=rules), rules).differences
    assert (found.path, found.kind) == (("body",), kind)
    shown = [
        f'"{len(body)} bytes, {checksum} {DIGESTS[checksum](body).hex()[:32]}"'
        for body in (LONG, other)
    ]
    assert [found.primary, found.secondary] == shown


def test_an_equal_digest_of_another_length_is_a_mismatch() -> None:
    ours, theirs = cut(LONG), cut(LONG)
    assert theirs.whole is not None
    longer = structs.replace(theirs, whole=structs.replace(theirs.whole, length=len(LONG) + 1))
    (found,) = judged(ours, longer).differences
    assert found.kind is Class.LENGTH


def test_chosen_headers_are_compared_and_others_are_not() -> None:
    rules = replace(RULES, headers=("Location", "etag", "content-type"))
    primary = answer(b"{}", location="/a", date="1", etag="x")
    verdict = judged(primary, answer(b"{}", location="/b", date="2"), rules)
    assert (verdict.kind, verdict.reason) == (VerdictKind.MISMATCH, "header")
    assert [(d.path, d.kind) for d in verdict.differences] == [
        (("header", "location"), Class.VALUE),
        (("header", "etag"), Class.MISSING),
    ]


@pytest.mark.parametrize(
    ("primary", "secondary", "kind"),
    [
        ("application/json;charset=UTF-8", 'Application/JSON; charset="utf-8"', VerdictKind.MATCH),
        ("application/json", "application/json; charset=utf-8", VerdictKind.MISMATCH),
        ("text/plain; x=A", "text/plain; x=a", VerdictKind.MISMATCH),
        ("multipart/mixed; boundary=A", "multipart/mixed; boundary=a", VerdictKind.MATCH),
        ("", "application/json", VerdictKind.MISMATCH),
        ("", "", VerdictKind.MATCH),
    ],
    ids=["spelling", "another parameter", "case of a value", "boundary", "absent", "both absent"],
)
def test_a_content_type_is_compared_by_what_it_means(
    primary: str, secondary: str, kind: VerdictKind
) -> None:
    assert judged(answer(b"{}", primary), answer(b"{}", secondary)).kind is kind


def test_header_and_body_differences_come_together() -> None:
    verdict = judged(answer(b'{"a":1}', "a/b+json"), answer(b'{"a":2}', "c/d+json"))
    assert paths(verdict) == ["header/content-type", "body/a"]
    assert verdict.reason == "header"


def test_a_header_that_differs_counts_though_the_body_cannot_be_read() -> None:
    verdict = judged(answer(b"NaN", "a/b+json"), answer(b"[NaN]", "c/d+json"))
    assert (verdict.kind, paths(verdict)) == (VerdictKind.MISMATCH, ["header/content-type"])


def test_mapped_identities_are_equal_in_headers_and_bodies() -> None:
    rules = replace(RULES, headers=("location",))
    primary = answer(b'{"id": 17, "self": "/v1/users/17"}', location="/v1/users/17")
    secondary = answer(b'{"id": "u-9", "self": "/v1/users/u-9"}', location="/v1/users/u-9")
    assert judged(primary, secondary, rules).kind is VerdictKind.MISMATCH
    assert compare(primary, secondary, rules, same(("17", "u-9"))).kind is VerdictKind.MATCH


@pytest.mark.parametrize(
    ("primary", "secondary", "expected"),
    [
        (b'{"a":1,"b":2}', b'{ "b": 2.0, "a": 1 }', []),
        (b'\xef\xbb\xbf{"a":1}', b'{"a":1}', []),
        (b'{"a":"\\u00e9"}', '{"a":"é"}'.encode(), []),
        (b'{"a":1}', b'{"a":true}', ["body/a"]),
        (b'{"a":[1,2]}', b'{"a":[1,2,3],"b":1}', ["body/b", "body/a"]),
        (b"[1]", b"{}", ["body"]),
        (b'{"a":1}', b"", ["body"]),
        (b'{"a":1}', b"<html>", ["body"]),
        (b"{oops", b"{oh", ["body"]),
    ],
    ids=["order", "mark", "escape", "bool", "array", "sort", "empty", "html", "broken"],
)
def test_json_is_compared_field_by_field(
    primary: bytes, secondary: bytes, expected: list[str]
) -> None:
    verdict = judged(answer(primary), answer(secondary))
    assert sorted(paths(verdict)) == sorted(expected)
    assert verdict.kind is (VerdictKind.MISMATCH if expected else VerdictKind.MATCH)
    assert verdict.reason == ("body" if expected else "equal_json")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/problem+json"])
def test_what_looks_like_json_on_both_sides_is_json(content_type: str) -> None:
    assert judged(answer(b'{"a":1}', content_type), answer(b'{"a": 1}', content_type)).reason == (
        "equal_json"
    )


@pytest.mark.parametrize(
    ("primary", "secondary"),
    [(b"1", b"1.0"), (b'{"a":1,"a":1}', b'{"a":1}'), (b"[1] x", b"[1]  x")],
    ids=["bare numbers", "duplicate names", "not json"],
)
def test_text_that_is_not_declared_json_is_compared_as_bytes(
    primary: bytes, secondary: bytes
) -> None:
    assert paths(judged(answer(primary, "text/plain"), answer(secondary, "text/plain"))) == ["body"]


TRAPS: dict[str, bytes] = {
    "json_too_deep": b"[" * 100_000,
    "json_not_a_number": b'{"a": NaN}',
    "not_utf8": b'{"a": "\xff"}',
    "json_number_too_long": b"[" + b"9" * 5000 + b"]",
    "json_number_too_large": b"[1e400]",
    "json_duplicate_key": b'{"a": 1, "b": {"c": 1, "c": 2}}',
}


@pytest.mark.parametrize("reason", TRAPS)
def test_json_that_cannot_be_trusted_is_not_comparable(reason: str) -> None:
    rules = replace(RULES, body_bytes_max=1_000_000)
    for pair in ((answer(TRAPS[reason]), answer(b"[]")), (answer(b"[]"), answer(TRAPS[reason]))):
        assert judged(*pair, rules) == Verdict(kind=VerdictKind.NOT_COMPARABLE, reason=reason)


def test_json_deeper_than_the_diff_goes_is_not_comparable() -> None:
    primary, secondary = b"[" * 300 + b"1" + b"]" * 300, b"[" * 300 + b"2" + b"]" * 300
    assert judged(answer(primary), answer(secondary)).reason == "json_too_deep"


BODY = b'{"a": 1}'


@pytest.mark.parametrize(
    ("secondary", "reason"),
    [
        (coded(gzip.compress(BODY), "gzip"), "equal_decoded"),
        (coded(gzip.compress(b'{"a":1}'), "GZIP, identity"), "equal_json"),
        (coded(gzip.compress(BODY[:4]) + gzip.compress(BODY[4:]), "x-gzip"), "equal_decoded"),
        (coded(gzip.compress(BODY) + b"\0\0", "gzip"), "equal_decoded"),
        (coded(zlib.compress(BODY), "deflate"), "equal_decoded"),
        (coded(raw_deflate(BODY), "deflate"), "equal_decoded"),
        (coded(gzip.compress(zlib.compress(BODY)), "deflate, gzip"), "equal_decoded"),
    ],
    ids=["gzip", "two names", "two members", "padding", "zlib", "raw deflate", "piled"],
)
def test_content_codings_are_undone(secondary: Answer, reason: str) -> None:
    assert judged(answer(BODY), secondary) == Verdict(kind=VerdictKind.MATCH, reason=reason)


@pytest.mark.parametrize(
    ("secondary", "reason"),
    [
        (coded(b"x", "br"), "undecodable"),
        (coded(b"x", "zstd"), "undecodable"),
        (coded(b"x", "compress"), "coding_compress"),
        (coded(b"x", "no-such-coding"), "coding_unknown"),
        (coded(b"x", "gzip," * 9), "coding_unknown"),
        (coded(b"x", "gzip"), "undecodable"),
        (coded(gzip.compress(BODY)[:-1], "gzip"), "undecodable"),
        (coded(gzip.compress(BODY) + b"x", "gzip"), "undecodable"),
        (coded(zlib.compress(BODY) + b"x", "deflate"), "undecodable"),
        (coded(zlib.compress(BODY[:4]) + zlib.compress(BODY[4:]), "deflate"), "undecodable"),
        (coded(BODY, "gzip"), "undecodable"),
        (coded(gzip.compress(b" " * (INFLATION_MAX * 65536 + 1)), "gzip"), "body_too_large"),
        (coded(gzip.compress(b" " * 400_000) * 2, "gzip"), "body_too_large"),
    ],
    ids=[
        *("br", "zstd", "compress", "unknown", "too many", "not gzip", "cut short", "followed"),
        *("deflate followed", "deflate twice", "same bytes", "bomb", "bomb of members"),
    ],
)
def test_what_cannot_be_decoded_is_not_comparable(secondary: Answer, reason: str) -> None:
    for verdict in (judged(answer(BODY), secondary), judged(secondary, answer(BODY))):
        assert verdict == Verdict(kind=VerdictKind.NOT_COMPARABLE, reason=reason)


def test_a_body_inflated_exactly_to_the_limit_is_compared() -> None:
    body = b" " * (INFLATION_MAX * 65536)
    assert judged(
        coded(gzip.compress(body), "gzip"), coded(gzip.compress(body, 1), "gzip")
    ).kind is (VerdictKind.MATCH)


@pytest.mark.parametrize(
    ("primary", "secondary", "expected"),
    [
        (b"a=1&b=2&a=3", b"b=2&a=1&a=3", []),
        (b"a=%20x", b"a=+x", []),
        (b"a=1&a=2", b"a=2&a=1", ["body/a"]),
        (b"a=", b"", ["body/a"]),
        (b"a=%ff", b"a=%fe", ["body/a/0"]),
        (b"a=\xff", b"a=%FF", []),
    ],
    ids=["order of names", "escapes", "order of values", "blank", "no utf-8", "raw"],
)
def test_forms_are_compared_by_name(primary: bytes, secondary: bytes, expected: list[str]) -> None:
    assert paths(judged(answer(primary, FORM), answer(secondary, FORM))) == expected


def test_a_form_of_very_many_fields_is_not_comparable() -> None:
    verdict = judged(answer(b"a&" * 20_000, FORM), answer(b"b&" * 20_000, FORM))
    assert verdict.reason == "form_too_many_fields"


def test_other_bodies_are_one_difference_without_their_content() -> None:
    verdict = judged(answer(b"secret one", "image/png"), answer(b"secret", "image/png"))
    assert paths(verdict) == ["body"]
    shown = verdict.differences[0].primary
    assert shown == f'"10 bytes, xxh3 {DIGESTS[Checksum.XXH3](b"secret one").hex()}"'


def ignoring(*patterns: str) -> Comparison:
    return replace(RULES, rules=tuple(allow("ignore", each) for each in patterns))


@pytest.mark.parametrize(
    ("primary", "secondary", "rules", "kind", "ignored"),
    [
        (b'{"updated_at":1}', b'{"updated_at":2}', ignoring("/updated_at"), "ignored", 1),
        (b'{"updated_at":1,"a":1}', b'{"updated_at":2}', ignoring("/updated_at"), "mismatch", 1),
        (b'{"body":{"a":1}}', b'{"body":{"a":2}}', ignoring("/a"), "mismatch", 0),
        (b'{"a":1,"b":1}', b'{"b":1,"a":1}', ignoring("/a"), "match", 0),
        (b"plain", b"text", ignoring("/**"), "ignored", 1),
        (b"[1,2]", b"[2,1]", replace(RULES, rules=(allow("unordered", ""),)), "match", 0),
        (b"[1,2]", b"[3,4]", replace(RULES, differences_max=0), "mismatch", 0),
    ],
    ids=["all eaten", "one left", "other path", "none", "whole body", "unordered", "no room"],
)
def test_the_rules_of_a_route_are_obeyed(
    primary: bytes, secondary: bytes, rules: Comparison, kind: str, ignored: int
) -> None:
    verdict = judged(answer(primary, "text/x"), answer(secondary, "text/x"), rules)
    assert (str(verdict.kind), len(verdict.ignored)) == (kind, ignored)


def test_differences_are_limited() -> None:
    body = json.dumps(list(range(500))).encode()
    verdict = judged(answer(body), answer(body.replace(b"1", b"2")))
    assert len(verdict.differences) == 50


def under(*rules: Rule, **given: Any) -> Comparison:  # noqa: ANN401 - the fields of a comparison
    return replace(RULES, rules=rules, **given)


@pytest.mark.parametrize(
    ("rule", "primary", "secondary", "left"),
    [
        (allow("ignore", "/a"), {"a": 1}, {}, []),
        (allow("presence", "/a"), {"a": 1}, {"a": [2]}, []),
        (allow("presence", "/a"), {"a": 1}, {}, ["body/a"]),
        (allow("presence", "/a"), {"a": {"b": 1}}, {"a": {"c": 1}}, []),
        (allow("regex", "/a", regex="[a-z]+"), {"a": "x"}, {"a": "yz"}, []),
        (allow("regex", "/a", regex="[a-z]+"), {"a": "x"}, {"a": "9"}, ["body/a"]),
        (allow("regex", "/a", regex=".*"), {"a": "x"}, {"a": {}}, ["body/a"]),
        (allow("regex", "/a", regex=".*"), {"a": "x"}, {}, ["body/a"]),
        (allow("number", "/**/n", absolute=0.1), {"a": [{"n": 1}]}, {"a": [{"n": 1.1}]}, []),
        (allow("number", "/a", relative=0.01), {"a": "100"}, {"a": "100.5"}, []),
        (allow("time", "/at", within_s=1), {"at": "2026-01-01T00:00:00Z"}, {"at": 1767225601}, []),
        (
            allow("time", "/at", within_s=0),
            {"at": "2026-01-01T02:00:00+02:00"},
            {"at": "2026-01-01"},
            [],
        ),
        (allow("type", "/**"), {"a": "1", "b": [True]}, {"a": 1, "b": ["true"]}, []),
        (allow("type", "/**"), {"a": "1"}, {"a": 2}, ["body/a"]),
        (allow("unordered", "/a"), {"a": [1, 2]}, {"a": [2, 1]}, []),
        (
            allow("unordered", "/a", key="/id"),
            {"a": [{"id": 1, "v": 1}, {"id": 2, "v": 2}]},
            {"a": [{"id": 2, "v": 2}, {"id": 1, "v": 3}]},
            ["body/a/0/v"],
        ),
        (
            allow("unordered", "/a", key="/id"),
            {"a": [{"id": 1, "v": 1}, {"id": 1, "v": 2}]},
            {"a": [{"id": 1, "v": 2}, {"id": 1, "v": 1}]},
            [],
        ),
        (allow("rename", "/user_name", to="userName"), {"user_name": 1}, {"userName": 1}, []),
        (allow("rename", "/a", to="b"), {"a": 1}, {"b": 2}, ["body/a"]),
        (allow("rename", "/a", to="b"), {"a": 1, "b": 2}, {"b": 2}, ["body/a"]),
        (allow("rename", "/*/a", to="b"), [{"a": {"c": 1}}], [{"b": {"c": 2}}], ["body/0/a/c"]),
    ],
)
def test_a_rule_takes_its_differences_and_no_others(
    rule: Rule, primary: object, secondary: object, left: list[str]
) -> None:
    ours, theirs = (answer(json.dumps(each).encode()) for each in (primary, secondary))
    verdict = judged(ours, theirs, under(rule))
    assert paths(verdict) == left
    if not left and rule.kind is not RuleKind.UNORDERED:
        assert (verdict.kind, verdict.ignored) == (VerdictKind.IGNORED, (rule.name,))


def test_of_two_members_only_the_one_that_is_absent_is_known_by_another_name() -> None:
    verdict = judged(
        answer(b'{"a":1,"b":2}'), answer(b'{"b":2}'), under(allow("rename", "/a", to="b"))
    )
    assert [(d.path, d.kind) for d in verdict.differences] == [(("body", "a"), Class.MISSING)]


@pytest.mark.parametrize("kind", ["ignore", "presence"])
def test_elements_pair_up_by_what_no_rule_leaves_out(kind: str) -> None:
    rules = under(allow("unordered", ""), allow(kind, "/*/at"))
    primary, secondary = b'[{"k":1,"at":1},{"k":2,"at":2}]', b'[{"k":2,"at":3},{"k":1,"at":4}]'
    assert judged(answer(primary), answer(secondary), rules).kind is VerdictKind.IGNORED


def test_elements_that_a_rule_makes_equal_pair_up_in_any_order() -> None:
    rules = (allow("unordered", ""), allow("number", "/*/n", absolute=0.1))
    primary = [{"n": 1.0, "k": "a"}, {"n": 1.1, "k": "a"}, {"n": 9, "k": "b"}]
    secondary = [{"n": 9.05, "k": "b"}, {"n": 1.2, "k": "a"}, {"n": 1.05, "k": "a"}]
    ours, theirs = (answer(json.dumps(each).encode()) for each in (primary, secondary))
    assert judged(ours, theirs, under(*rules)).kind is VerdictKind.IGNORED


@pytest.mark.parametrize(
    ("rule", "primary", "secondary", "left"),
    [
        (allow("presence", headers=("etag",)), '"a"', '"b"', []),
        (allow("presence", headers=("etag",)), '"a"', None, ["header/etag"]),
        (allow("ignore", headers=("etag",)), '"a"', None, []),
        (allow("regex", headers=("etag",), regex='"[a-z]"'), '"a"', '"b"', []),
        (allow("time", headers=("etag",), within_s=1), "2026-01-01", "1767225601", []),
        (allow("time", headers=("etag",), within_s=1), "2026-01-01", "1767225602", ["header/etag"]),
    ],
)
def test_rules_are_for_headers_too(
    rule: Rule, primary: str, secondary: str | None, left: list[str]
) -> None:
    ours = answer(b"{}", etag=primary)
    theirs = answer(b"{}") if secondary is None else answer(b"{}", etag=secondary)
    verdict = judged(ours, theirs, under(rule, headers=("ETag",)))
    assert paths(verdict) == left
    assert verdict.ignored == (() if left else ("etag",))


def test_a_header_with_a_rule_is_compared_and_an_ignored_one_only_if_it_is_chosen() -> None:
    assert under(allow("presence", headers=("etag",))).chosen == ("content-type", "etag")
    assert under(allow("ignore", headers=("etag",))).chosen == ("content-type",)


@pytest.mark.parametrize(
    ("status", "secondary", "kind"),
    [
        (StatusMatch.EXACT, 201, VerdictKind.MISMATCH),
        (StatusMatch.CLASS, 201, VerdictKind.MATCH),
        (StatusMatch.CLASS, 301, VerdictKind.MISMATCH),
    ],
)
def test_statuses_agree_in_full_or_in_their_class(
    status: StatusMatch, secondary: int, kind: VerdictKind
) -> None:
    verdict = judged(answer(b"{}"), answer(b"{}", status=secondary), replace(RULES, status=status))
    assert verdict.kind is kind


@pytest.mark.parametrize(
    ("primary", "secondary", "exact", "presence"),
    [
        (b'{"a":1}', b'{"a": 1}', ["body"], []),
        (b'{"a":1}', b'{"a":2}', ["body/a"], []),
        (b'{"a":1}', b'{"a":"1"}', ["body/a"], []),
        (b'{"a":1}', b'{"a":null}', ["body/a"], []),
        (b'{"a":1}', b'{"a":[]}', ["body/a"], ["body/a"]),
        (b'{"a":1}', b'{"b":1}', ["body/a", "body/b"], ["body/a", "body/b"]),
        (b"[1]", b"[1,2]", ["body"], ["body"]),
        (b"[1,2]", b"[2,1]", ["body"], []),
        (b'{"a":NaN}', b"{}", ["body"], None),
        (b"one", b"two", ["body"], []),
        (b"one", b"", ["body"], ["body"]),
    ],
)
def test_exact_means_bytes_and_presence_means_fields(
    primary: bytes, secondary: bytes, exact: list[str], presence: list[str] | None
) -> None:
    type_ = JSON if primary[:1] in b"{[" else "text/plain"
    pair = (answer(primary, type_), answer(secondary, type_))
    assert paths(judged(*pair, replace(RULES, match=Match.EXACT))) == exact
    verdict = judged(*pair, replace(RULES, match=Match.PRESENCE))
    if presence is None:
        assert verdict.kind is VerdictKind.NOT_COMPARABLE
    else:
        assert paths(verdict) == presence
        assert verdict.kind is (VerdictKind.MISMATCH if presence else VerdictKind.MATCH)


def test_exact_knows_no_rules_and_no_identities_of_headers_either() -> None:
    rules = under(
        allow("ignore", headers=("etag",)), match=Match.EXACT, headers=("etag", "location")
    )
    pair = (answer(b"{}", etag="1", location="/a/17"), answer(b"{}", etag="2", location="/a/u9"))
    verdict = compare(*pair, rules, same(("17", "u9")))
    assert paths(verdict) == ["header/etag", "header/location"]
    assert verdict.ignored == ()


def test_an_equal_digest_of_another_length_is_no_match() -> None:
    short, long = b"price 5", b"price 379 9E3f"
    rules = replace(RULES, checksum=Checksum.CRC32)
    assert DIGESTS[Checksum.CRC32](short) == DIGESTS[Checksum.CRC32](long)
    assert judged(answer(short, "text/plain"), answer(long, "text/plain"), rules).reason == "body"
    assert agree(reply(body=short), reply(body=long), rules) is None


def test_exact_knows_no_rules_and_no_identities() -> None:
    rules = under(allow("ignore", "/id"), match=Match.EXACT)
    pair = (answer(b'{"id":17}'), answer(b'{"id":"u9"}'))
    assert compare(*pair, rules, same(("17", "u9"))).kind is VerdictKind.MISMATCH


@pytest.mark.parametrize(
    ("content_type", "primary", "secondary", "reason", "left"),
    [
        ("application/x-ndjson", b'{"a":1}\n[]', b'{"a": 1}\n[]\n', "equal_ndjson", []),
        ("application/x-ndjson", b'{"a":1}\n[]', b'{"a":2}\n[]', "body", ["body/0/a"]),
        ("application/msgpack", b"\x81\xa1a\x01", b"\x81\xa1a\xcc\x01", "equal_msgpack", []),
        ("application/msgpack", b"\x81\xa1a\x01", b"\x81\xa1a\x02", "body", ["body/a"]),
        ("text/plain", b"a\nb", b"a\r\nb", "equal_text", []),
        ("text/plain", b"a\nb", b"a\nc", "body", ["body/1"]),
        (FORM, b"a=1&b=2", b"b=2&a=1", "equal_form", []),
    ],
)
def test_other_formats_are_compared_by_what_they_mean(
    content_type: str, primary: bytes, secondary: bytes, reason: str, left: list[str]
) -> None:
    verdict = judged(answer(primary, content_type), answer(secondary, content_type))
    assert (verdict.reason, paths(verdict)) == (reason, left)


@pytest.mark.parametrize(
    ("rules", "costly"),
    [
        ((), False),
        ((allow("ignore", "/**/at"), allow("time", "/*/x")), False),
        ((allow("unordered", "/a"),), True),
        ((allow("regex", "/a", regex="x"),), True),
        (tuple(allow("ignore", f"/**/{n}/*") for n in range(20)), True),
    ],
)
def test_a_comparison_knows_whether_its_rules_may_cost_more(
    rules: tuple[Rule, ...], costly: bool
) -> None:
    assert under(*rules).costly is costly


# adversarial bodies: a verdict in bounded time

LARGE = replace(RULES, body_bytes_max=20_000_000)
MILLION = b"[" + b"1," * 999_999 + b"1]"
DUPLICATES = [number % 7 for number in range(10_000)]


def numbers(values: Iterable[object]) -> bytes:
    return json.dumps(list(values), separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("primary", "secondary", "rules", "kind"),
    [
        (b"[" * 10_000 + b"]" * 10_000, b"[]", LARGE, VerdictKind.NOT_COMPARABLE),
        (MILLION, MILLION[:-2] + b"2]", LARGE, VerdictKind.MISMATCH),
        (MILLION, MILLION.replace(b"1", b"2"), LARGE, VerdictKind.MISMATCH),
        (MILLION, MILLION + b" ", LARGE, VerdictKind.MATCH),
        (numbers(range(400_000)), numbers(range(400_000, 0, -1)), LARGE, VerdictKind.MISMATCH),
        (
            numbers(DUPLICATES),
            numbers(DUPLICATES[::-1]),
            under(allow("unordered", "")),
            VerdictKind.MATCH,
        ),
        (
            numbers(DUPLICATES),
            numbers([*DUPLICATES[:-1], 9]),
            under(allow("unordered", ""), allow("number", "/*", absolute=0.5)),
            VerdictKind.MISMATCH,
        ),
        (
            numbers(n / 10 for n in range(10_000)),
            numbers(n / 10 + 0.01 for n in range(10_000)),
            under(
                allow("unordered", ""), allow("number", "/*", absolute=0.02), body_bytes_max=10**6
            ),
            None,
        ),
        (
            numbers(["a" * 300] * 5_000),
            numbers(["a" * 299 + "b"] * 5_000),
            replace(LARGE, rules=(allow("regex", "/*", regex="a*a*a*[ab]"),)),
            VerdictKind.MISMATCH,
        ),
        (
            numbers([["x"] * 100] * 2_000),
            numbers([["x"] * 99 + ["y"]] * 2_000),
            replace(LARGE, rules=tuple(allow("ignore", f"/**/{n}/**/z") for n in range(50))),
            VerdictKind.MISMATCH,
        ),
        (b'{"a":' * 190 + numbers([1] * 100_000) + b"}" * 190, b"{}", LARGE, VerdictKind.MISMATCH),
        (b"[" + b"9" * 4_000 + b"]", b"[" + b"8" * 4_000 + b"]", LARGE, VerdictKind.MISMATCH),
        (b'["\\ud800"]', b'["\\udfff"]', LARGE, VerdictKind.MISMATCH),
        (b'\xef\xbb\xbf{"a":1}', b'{"a":1}', LARGE, VerdictKind.MATCH),
        (b'{"a":1}' + b" " * 2**20, b'{"a":1}' + b"\n" * 2**20, LARGE, VerdictKind.MATCH),
    ],
    ids=[
        *("deep", "a million, one differs", "a million differ", "a million, spelled", "reversed"),
        *("duplicates", "duplicates, near", "near, no key", "costly expression", "many patterns"),
        *("deep and long", "big integers", "surrogates", "mark", "blanks"),
    ],
)
def test_what_is_meant_to_hurt_gets_its_verdict_in_time(
    primary: bytes, secondary: bytes, rules: Comparison, kind: VerdictKind | None
) -> None:
    started = perf_counter()
    verdict = judged(answer(primary), answer(secondary), rules)
    assert perf_counter() - started < 10  # on a busy machine; alone it is about one
    assert kind is None or verdict.kind is kind
    for difference in verdict.differences:
        f"{difference.path}{difference.primary}{difference.secondary}".encode()


def test_what_was_not_looked_at_is_not_called_equal() -> None:
    rules = replace(LARGE, rules=(allow("ignore", "/never"),))
    left, right = ([{"a": {"b": n}} for n in range(count)] for count in (60_000, 60_000))
    right[-1] = {"a": {"b": -1}}
    primary, secondary = numbers(left), numbers(right)
    assert judged(answer(primary), answer(secondary), rules).kind is VerdictKind.MISMATCH
    spread = [{"a": {"b": -n}} for n in range(60_000)]
    taken = replace(LARGE, rules=(allow("number", "/**/b", absolute=10**9),))
    verdict = judged(answer(primary), answer(numbers(spread)), taken)
    assert (verdict.kind, verdict.reason) == (VerdictKind.NOT_COMPARABLE, "too_many_nodes")


BODIES = st.binary(max_size=30) | st.sampled_from(
    [
        *TRAPS.values(),
        BODY,
        b"",
        b"[]",
        gzip.compress(BODY),
        zlib.compress(b"\xff"),
        b"\xef\xbb\xbf",
    ]
)
ANSWERS = st.builds(
    Answer,
    status=st.sampled_from([200, 404]),
    headers=st.fixed_dictionaries(
        {},
        optional={
            "content-type": st.sampled_from([JSON, FORM, "text/html; charset", ";", "x+json;=;;"]),
            "content-encoding": st.sampled_from(["gzip", "deflate, gzip", "br", ",", "\xff"]),
        },
    ),
    body=BODIES,
    truncated=st.booleans(),
)


@settings(max_examples=80, deadline=None, database=None)
@given(primary=ANSWERS, secondary=ANSWERS, bytes_max=st.sampled_from([0, 5, 200_000]))
def test_nothing_makes_it_raise_and_an_answer_matches_itself(
    primary: Answer, secondary: Answer, bytes_max: int
) -> None:
    rules = replace(RULES, body_bytes_max=bytes_max)
    verdict = judged(primary, secondary, rules)
    assert (verdict.kind is VerdictKind.MISMATCH) is bool(verdict.differences)
    for difference in verdict.differences:
        f"{difference.path}{difference.primary}{difference.secondary}".encode()
    if not primary.truncated:
        assert judged(primary, structs.replace(primary), rules).kind is VerdictKind.MATCH


# the fast path


def reply(
    *lines: str, body: bytes = b"{}", status: int = 200, framing: Framing = Framing.LENGTH
) -> Reply:
    head = "\r\n".join([f"HTTP/1.1 {status} OK", *lines, "", ""]).encode("latin-1")
    return Reply(status, head, body, framing)


def long_way(primary: Reply, secondary: Reply, rules: Comparison) -> Verdict:
    ours, theirs = answers(primary, secondary, rules)
    return compare(ours, theirs, rules, NONE)


@pytest.mark.parametrize(
    ("primary", "secondary", "at_once"),
    [
        (reply(), reply(), True),
        (reply("Content-Type: a", "Date: 1"), reply("Date: 2", "content-TYPE: a"), True),
        (reply("Content-Type: a"), reply("Content-Type: b"), False),
        (reply("Content-Type: a"), reply("Content-Type: A"), False),  # the long way knows better
        (reply("Content-Type: a"), reply(), False),
        (reply(), reply("Content-Type: a"), False),
        (reply("Content-Type: a", "Content-Type: a"), reply("Content-Type: a"), False),
        (reply("Content-Type: a"), reply("Content-Type: a", "Content-Type: b"), False),
        (reply("Content-Encoding: br"), reply("Content-Encoding: gzip"), False),
        (reply("X-Content-Type: a"), reply("X-Content-Type: b"), True),
        (reply(), reply(status=201), False),
        (reply(), reply(body=b"[]"), False),
        (reply(body=b""), reply(body=b"{}"), False),
        (reply(), reply(framing=Framing.CHUNKED), False),
    ],
)
def test_replies_that_are_equal_as_they_came_match_at_once(
    primary: Reply, secondary: Reply, at_once: bool
) -> None:
    found = agree(primary, secondary, RULES)
    assert (found is not None) is at_once
    if found is not None:
        assert found == long_way(primary, secondary, RULES)


def test_the_values_of_a_field_that_is_repeated_are_one_list() -> None:
    rules = Comparison(headers=("X-A", "X-B", "X-C"))
    many = reply(*["X-A: 1", "x-a:2 "] * 2000, "X-B: b", body=b"[]")
    ours, theirs = answers(many, reply("X-B:"), rules)
    assert ours.headers == {"x-a": ", ".join(["1", "2"] * 2000), "x-b": "b"}
    assert theirs.headers == {"x-b": ""}
    assert answers(many, many, rules)[1].headers == ours.headers


@pytest.mark.parametrize("checksum", Checksum)
def test_a_reply_that_was_cut_is_left_to_the_long_way(checksum: Checksum) -> None:
    full = reply()
    half = structs.replace(full, truncated=True)
    rules = replace(RULES, checksum=checksum)
    assert agree(full, full, rules) is not None
    assert agree(half, full, rules) is agree(full, half, rules) is agree(half, half, rules) is None


@pytest.mark.parametrize(("values", "at_once"), [(("1", "1"), True), (("1", "2"), False)])
def test_the_chosen_headers_of_a_route_must_be_equal_too(
    values: tuple[str, str], at_once: bool
) -> None:
    rules = Comparison(headers=("ETag",))
    one, other = (reply("Content-Type: a", f"Etag: {value}") for value in values)
    assert (agree(one, other, rules) is not None) is at_once


LINES = st.lists(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["Content-Type:", "content-type:", "Content-Encoding:", "ETag:", "X:"]),
        st.sampled_from(["", " ", "\t "]),
        st.sampled_from(["a", "A", "a;b=1", "", "content-type:a", "\xe9"]),
    ),
    max_size=4,
)


@settings(max_examples=500)
@given(LINES, LINES, st.sampled_from([("content-type",), ("etag",), ("ETag", "X"), ()]))
def test_what_matches_at_once_would_match_the_long_way(
    ours: list[str], theirs: list[str], headers: tuple[str, ...]
) -> None:
    rules = Comparison(headers=headers)
    one, other = reply(*ours), reply(*theirs)
    found = agree(one, other, rules)
    if found is not None:
        assert long_way(one, other, rules) == found
    assert agree(one, one, rules) is not None
    assert long_way(one, one, rules) == agree(one, one, rules)
