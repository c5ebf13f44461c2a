"""The keys of evidence: what is masked by default, and what becomes of the keys."""

import re

import pytest

from proxy.control.config import ConfigError, parse
from proxy.control.evidence import Redact
from rules.body import Reader
from rules.redact import DEFAULT_FIELDS, DEFAULT_HEADERS
from rules.shapes import Shape

SIDES = '[backends.legacy]\nurl = "http://a"\n[backends.new]\nurl = "http://b"\n'


def masked(toml: str, body: str, content_type: str = "application/json") -> str:
    redaction = parse(SIDES + "[redact]\n" + toml, "test.toml", {}).redact.redaction(b"k")
    shown = Reader(redaction).body(body.encode(), content_type).decode()
    return re.sub("redacted:[a-p]{16}", "*", shown)


def test_by_default_credentials_and_all_shapes_are_masked() -> None:
    assert set(Redact().headers) == DEFAULT_HEADERS
    assert set(Redact().fields) == DEFAULT_FIELDS
    assert set(Redact().patterns) == set(Shape)
    assert "authorization" in DEFAULT_HEADERS


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("", '{"pin": "*", "a": {"b": "*"}, "c": "x-17"}'),
        ("fields = []", '{"pin": "1", "a": {"b": "*"}, "c": "x-17"}'),
        ("patterns = []", '{"pin": "*", "a": {"b": "a@b.co"}, "c": "x-17"}'),
        ('patterns = ["card"]', '{"pin": "*", "a": {"b": "a@b.co"}, "c": "x-17"}'),
        ('paths = ["/a"]', '{"pin": "*", "a": "*", "c": "x-17"}'),
        ('custom = { ticket = "x-([0-9]+)" }', '{"pin": "*", "a": {"b": "*"}, "c": "x-*"}'),
    ],
)
def test_each_key_has_its_effect(toml: str, expected: str) -> None:
    assert masked(toml, '{"pin": "1", "a": {"b": "a@b.co"}, "c": "x-17"}') == expected


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ('patterns = ["cards"]', "redact.patterns[0]"),
        ('paths = ["$.a"]', "redact.paths[0]"),
        ('custom = { a = "(" }', "redact.custom.a"),
        ('custom = { a = "(a+)+" }', "redact.custom.a"),
        ('custom = { "a b" = "a" }', 'redact.custom."a b"'),
    ],
)
def test_what_is_not_valid_is_refused_at_the_start(toml: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        masked(toml, "")
    assert [problem.key for problem in caught.value.problems] == [key]
