"""Redaction: headers, targets, bodies and differences, and that no secret gets through."""

import json
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.diff import Difference, DiffRules, diff
from rules.redact import (
    DEFAULT_FIELDS,
    DEFAULT_HEADERS,
    Redaction,
    redact_body,
    redact_differences,
    redact_fields,
    redact_target,
)

REDACTION = Redaction(headers=DEFAULT_HEADERS, fields=DEFAULT_FIELDS, key=b"key of this test")
SECRET = "hunter2"
HIDDEN = redact_target(f"?token={SECRET}", REDACTION).removeprefix("?token=")
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def body(text: str, content_type: str) -> str:
    return redact_body(text.encode(), content_type, REDACTION).decode()


def test_a_hidden_value_is_a_short_keyed_hash() -> None:
    assert HIDDEN.startswith("redacted:")
    assert len(HIDDEN) == len("redacted:") + 12
    assert int(HIDDEN.removeprefix("redacted:"), 16) >= 0
    other = Redaction(headers=DEFAULT_HEADERS, fields=DEFAULT_FIELDS, key=b"another" * 20)
    assert redact_target(f"?token={SECRET}", other) != f"?token={HIDDEN}"


def test_the_key_is_not_shown() -> None:
    assert "key of this test" not in repr(REDACTION)


def test_equal_values_are_equal_wherever_they_stood() -> None:
    assert redact_fields((("Cookie", SECRET),), REDACTION) == (("Cookie", HIDDEN),)
    assert redact_target(f"/a?PASSWORD={SECRET}", REDACTION) == f"/a?PASSWORD={HIDDEN}"
    assert json.loads(body(f'{{"password": "{SECRET}"}}', JSON)) == {"password": HIDDEN}
    assert body(f"x=1&password={SECRET}", FORM) == f"x=1&password={HIDDEN}"
    found = diff({"token": SECRET}, {"token": 1}, DiffRules()).differences
    assert redact_differences(found, REDACTION)[0].primary == HIDDEN


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("authorization", f"Bearer {SECRET}", None),
        ("SET-COOKIE", f"id={SECRET}", None),
        ("Token", SECRET, HIDDEN),
        ("content-type", "text/plain", "text/plain"),
        ("location", f"/a?x=1&token={SECRET}", f"/a?x=1&token={HIDDEN}"),
        ("link", f"</a?sig={SECRET}>; rel=x", None),
        ("referer", f"http://{SECRET}@host/a", f"http://{HIDDEN}@host/a"),
    ],
    ids=["by name", "any case", "a field name", "harmless", "location", "link", "user"],
)
def test_headers_are_hidden_by_name_and_links_in_the_others(
    name: str, value: str, expected: str | None
) -> None:
    ((kept, shown),) = redact_fields(((name, value),), REDACTION)
    assert kept == name
    assert SECRET not in shown
    assert expected is None or shown == expected


def test_header_order_and_duplicates_stay() -> None:
    fields = (("a", "1"), ("cookie", "x"), ("a", "2"), ("cookie", "x"))
    shown = redact_fields(fields, REDACTION)
    assert [name for name, _ in shown] == ["a", "cookie", "a", "cookie"]
    assert shown[1] == shown[3]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a/b", "/a/b"),
        ("/a?x=%20&y", "/a?x=%20&y"),
        ("*", "*"),
        (f"/a?token={SECRET}&x=1&token={SECRET}", f"/a?token={HIDDEN}&x=1&token={HIDDEN}"),
        (f"/a?tok%65n={SECRET}", f"/a?tok%65n={HIDDEN}"),
        (f"/a?user%5Bpassword%5D={SECRET}", f"/a?user%5Bpassword%5D={HIDDEN}"),
        (f"/a?user.password={SECRET}", f"/a?user.password={HIDDEN}"),
        ("/a?token=%68unter2", f"/a?token={HIDDEN}"),
        (f"http://{SECRET}@host/a?b=1", f"http://{HIDDEN}@host/a?b=1"),
        ("/a?tokens=3", "/a?tokens=3"),
        ("/a?token", "/a?token"),
    ],
)
def test_query_values_are_hidden_by_name(target: str, expected: str) -> None:
    assert redact_target(target, REDACTION) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1, "b": [1.5, null]}', {"a": 1, "b": [1.5, None]}),
        (f'{{"a": [{{"PassWord": "{SECRET}"}}]}}', {"a": [{"PassWord": HIDDEN}]}),
        (f'[{{"p\\u0061ssword": "{SECRET}"}}]', [{"password": HIDDEN}]),
        (f'\ufeff {{"pin": "{SECRET}"}}', {"pin": HIDDEN}),
        (f'{{"next": "/a?token={SECRET}&b=1"}}', {"next": f"/a?token={HIDDEN}&b=1"}),
        ('{"a": "\\ud800é"}', {"a": "\ud800é"}),
    ],
    ids=["harmless", "nested", "escaped name", "byte order mark", "link", "surrogate"],
)
@pytest.mark.parametrize("content_type", [JSON, "a/b+json; charset=utf-8", "text/plain", ""])
def test_json_bodies_keep_all_but_sensitive_values(
    text: str, expected: object, content_type: str
) -> None:
    assert json.loads(body(text, content_type)) == expected


@pytest.mark.parametrize("value", ['{"a": "hunter2"}', '["hunter2"]', "7", "null", "true"])
def test_a_sensitive_value_of_any_sort_is_hidden_whole(value: str) -> None:
    hidden = json.loads(body(f'{{"secret": {value}}}', JSON))["secret"]
    assert hidden.startswith("redacted:")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"\xff\xfe hunter2", "text/plain"),
        (b"\x00hunter2", "text/plain"),
        (b'{"a": "hunter2"', JSON),
        (b'{"a": "hunter2"', "text/plain"),
        (b"hunter2", JSON),
        (b'{"a": 1}\n{"p\\u0061ssword": "hunter2"}', "text/plain"),
        (b"[" * 100_000 + b"hunter2", JSON),
        (b"[" * 900 + b'"hunter2"' + b"]" * 901, JSON),
        (b'<password a="1">hunter2</password>', "application/xml"),
        (b"--x\r\nname=password\r\n\r\nhunter2", "multipart/form-data"),
        (b"p%61ssword=hunter2", "text/plain"),
        (b"My Password: hunter2", ""),
        (b'{"a":' + b"9" * 5000 + b', "b": "hunter2"}', JSON),
    ],
    ids=[
        *("no utf-8", "control", "broken json", "looks like json", "declared json", "json lines"),
        *(
            "too deep",
            "too deep to write",
            "xml",
            "multipart",
            "undeclared form",
            "prose",
            "number",
        ),
    ],
)
def test_what_cannot_be_searched_is_only_measured(content: bytes, content_type: str) -> None:
    shown = redact_body(content, content_type, REDACTION)
    assert shown.startswith(f"<{len(content)} bytes, digest ".encode())
    assert len(shown) < 50
    assert shown == redact_body(content, content_type, REDACTION)
    assert shown != redact_body(content + b" ", content_type, REDACTION)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", JSON),
        (b"cpu,host=a usage=0.5 1700000000", "text/plain"),
        (b"shipping spins", "text/plain"),
        ("<p>é</p>\r\n\tx".encode(), "text/html"),
        (b"a=1&b=%20", FORM),
    ],
    ids=["empty", "lines", "a name inside a word", "html", "form"],
)
def test_harmless_text_is_kept_as_it_is(content: bytes, content_type: str) -> None:
    assert redact_body(content, content_type, REDACTION) == content


def shown(primary: object, secondary: object) -> list[Difference]:
    return list(redact_differences(diff(primary, secondary, DiffRules()).differences, REDACTION))


@pytest.mark.parametrize(
    ("primary", "secondary"),
    [
        ({"password": SECRET}, {"password": "x"}),
        ({"a": {"Token": {"value": SECRET}}}, {"a": {"Token": {"value": "x"}}}),
        ({"header": {"set-cookie": SECRET}}, {"header": {"set-cookie": "x"}}),
        ({"a": {"password": SECRET}}, {}),
        ({"a": [{"b": {"api_key": SECRET}}]}, {"a": 1}),
        ({"a": {"password": SECRET, "z": "x" * 300}}, {}),
        ({"a": {"password": SECRET, "\ud800": "x" * 300}}, {}),
        ({"a": f"https://u:{SECRET}@h/?token={SECRET}"}, {"a": "b"}),
        ({"a": f"https://h/?token=x\\{SECRET}&b=1"}, {"a": "b"}),
        ({"a": f"https://h/?token={SECRET}&b=" + "x" * 300}, {"a": "b"}),
        ({"password": [SECRET, "x" * 300]}, {}),
        ({"token": SECRET + "x" * 300}, {"token": 1}),
    ],
    ids=[
        *("name", "above", "header", "inside", "deep inside", "cut off", "cut off, escaped"),
        *("link", "link with an escape", "link cut off", "array cut off", "text cut off"),
    ],
)
def test_no_difference_shows_a_secret(primary: object, secondary: object) -> None:
    for one, other in ((primary, secondary), (secondary, primary)):
        differences = shown(one, other)
        assert differences
        assert SECRET not in repr(differences)


def test_a_difference_keeps_path_class_and_an_absent_side() -> None:
    before = diff({"a": {"password": SECRET, "b": 1}}, {}, DiffRules()).differences[0]
    after = shown({"a": {"password": SECRET, "b": 1}}, {})[0]
    assert (after.path, after.kind, after.secondary) == (before.path, before.kind, "")
    assert json.loads(after.primary) == {"password": HIDDEN, "b": 1}


@pytest.mark.parametrize(
    ("primary", "secondary"),
    [({"a": 1.50}, {"a": "é"}), ({"a": [1, 2]}, {"a": [1]}), ({"a": "x" * 500}, {}), ([None], [1])],
    ids=["scalars", "length", "cut off", "null"],
)
def test_a_harmless_difference_stays_as_it_is(primary: object, secondary: object) -> None:
    assert shown(primary, secondary) == list(diff(primary, secondary, DiffRules()).differences)


def test_names_are_compared_in_any_case_on_both_sides() -> None:
    given = Redaction(headers=frozenset({"X-Thing"}), fields=frozenset({"CamelCase"}), key=b"")
    assert redact_target("?camelcase=x", given) != "?camelcase=x"
    assert redact_fields((("x-thing", "x"),), given) != (("x-thing", "x"),)


NAMES = st.sampled_from(["password", "a", "Token", "b", "api_key"])
VALUES = st.recursive(
    st.integers() | st.none() | st.text("ab?&=\\\"'\ud800é", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None, database=None)
@given(document=VALUES, sensitive=st.sampled_from(["password", "Token"]))
def test_a_planted_secret_never_survives(document: object, sensitive: str) -> None:
    planted = {"x": [document, {sensitive: [document, "hunter2-"]}]}
    assert "hunter2" not in body(json.dumps(planted), JSON)
    assert "hunter2" not in repr(shown(planted, {})) + repr(shown({}, planted))
    form = f"a=1&{quote_plus(f'x[{sensitive}]')}=hunter2-"
    assert "hunter2" not in body(form, FORM)
