"""Redaction: headers, targets, bodies and differences, and that no secret gets through."""

import json
import re
import time
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from rules.body import Reader
from rules.diff import diff
from rules.difference import Class, Difference, DiffRules
from rules.evidence import Keeper
from rules.message import Fields
from rules.pointer import compile_pattern
from rules.redact import DEFAULT_FIELDS, DEFAULT_HEADERS, Masker, Redaction, redact_paths
from rules.shapes import Shape, custom


def redact_target(target: str, redaction: Redaction) -> str:
    return Keeper(redaction).target(target)


def redact_text(text: str, redaction: Redaction) -> str:
    return Masker(redaction).text(text)


def redact_fields(fields: Fields, redaction: Redaction) -> Fields:
    return Keeper(redaction).fields(fields)


def redact_differences(
    differences: tuple[Difference, ...], redaction: Redaction, *, unread: bool = False
) -> tuple[Difference, ...]:
    keeper = Keeper(redaction)
    return tuple(keeper.difference(each, unread=unread) for each in differences)


REDACTION = Redaction(headers=DEFAULT_HEADERS, fields=DEFAULT_FIELDS, key=b"key of this test")
SECRET = "hunter2"
HIDDEN = redact_target(f"?token={SECRET}", REDACTION).removeprefix("?token=")
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def body(text: str, content_type: str) -> str:
    return Reader(REDACTION).body(text.encode(), content_type).decode()


def test_a_hidden_value_is_a_short_keyed_hash() -> None:
    assert HIDDEN.startswith("redacted:")
    assert re.fullmatch("redacted:[a-p]{16}", HIDDEN)
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
    [
        ({"a": 1.50}, {"a": "é"}),
        ({"a": [1, 2]}, {"a": [1]}),
        ({"a": "x " * 500}, {}),
        ([None], [1]),
    ],
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


MAIL = "ada@example.com"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Cookie", f"sid={SECRET}; theme=dark", f"sid={HIDDEN}; theme=redacted:"),
        (
            "Set-Cookie",
            f"sid={SECRET}; Path=/; HttpOnly; Max-Age=9",
            f"sid={HIDDEN}; Path=/; HttpOnly; Max-Age=9",
        ),
        ("set-cookie", f"a=1; Path=/, sid={SECRET}; Secure", ";redacted:"),
        ("Authorization", f"Bearer {SECRET}", f"Bearer {HIDDEN}"),
        ("Authorization", f"{SECRET} x", "redacted:"),
        ("X-Goog-Api-Key", SECRET, HIDDEN),
        ("X-Note", f"from {MAIL}", "from redacted:"),
        ("Location", f"/cb#access_token={SECRET}&state=1", f"/cb#access_token={HIDDEN}&state=1"),
        ("Location", f"/in?to=%2Fa%3Ftoken%3D{SECRET}&b=1", f"token%3D{HIDDEN}&b=1"),
        ("X-Error", f"invalid token: {SECRET} of x", "invalid token: redacted:"),
        ("X-Json", f'{{"password": "{SECRET}"}}', f'"{HIDDEN}"'),
    ],
)
def test_names_stay_and_secrets_go_in_headers(name: str, value: str, expected: str) -> None:
    ((_, shown),) = redact_fields(((name, value),), REDACTION)
    assert expected in shown
    assert SECRET not in shown
    assert redact_fields(((name, shown),), REDACTION) == ((name, shown),)


def test_cookies_are_hidden_by_their_own_names_where_the_header_is_not_listed() -> None:
    given = Redaction(headers=frozenset(), key=b"k")
    ((_, shown),) = redact_fields((("Cookie", f"session_id={SECRET}; theme=dark; x"),), given)
    assert shown.startswith("session_id=redacted:")
    assert shown.endswith("; theme=dark; x")


@pytest.mark.parametrize(
    "target",
    [
        f"/users/{MAIL}/orders",
        "/users/ada%40example.com?x=1",
        f"/a?q={MAIL}",
        "/a?q=ada%40example.com",
    ],
)
def test_a_secret_is_hidden_anywhere_in_a_target(target: str) -> None:
    shown = redact_target(target, REDACTION)
    assert "example" not in shown
    assert redact_target(shown, REDACTION) == shown
    assert shown.startswith(("/users/redacted:", "/a?q=redacted:"))


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("password", True), ("user.password", True), ("NEW_PASSWORD", True), ("passwordHash", True),
        ("PassWord", True), ("accessToken", True), ("x-access-token", True), ("api key", True),
        ("DBPassword", True), ("APIToken", True), ("OTPCode", True), ("password1", True),
        ("new_password2", True), ("2password", True), ("csrfmiddlewaretoken", True), ("Set-Cookie", True),
        ("passwords", False), ("tokens", False), ("spin", False), ("pinned", False), ("", False),
        ("spin1", False), ("APIs", False), ("cookie_policy", False),
    ],
)  # fmt: skip
def test_a_name_is_sensitive_by_its_words(name: str, hidden: bool) -> None:
    assert (redact_target(f"?{name}=x", REDACTION) != f"?{name}=x") is hidden


def test_no_pattern_and_no_name_is_hidden_where_none_is_listed() -> None:
    given = Redaction(headers=frozenset(), fields=frozenset(), shapes=frozenset(), key=b"k")
    text = f"password={SECRET} {MAIL} 4111 1111 1111 1111"
    assert redact_text(text, given) == text
    only = Redaction(
        headers=frozenset(), fields=frozenset(), shapes=frozenset((Shape.EMAIL,)), key=b"k"
    )
    assert redact_text(text, only).endswith(" 4111 1111 1111 1111")
    assert MAIL not in redact_text(text, only)


def test_a_custom_pattern_is_hidden_like_the_others() -> None:
    given = Redaction(custom=(custom("invite/([a-z]+)"),), key=b"key of this test")
    shown = redact_target("/invite/abc/x", given)
    assert re.fullmatch("/invite/redacted:[a-p]{16}/x", shown)
    assert redact_target(shown, given) == shown


def test_a_secret_in_a_path_is_hidden_and_equal_paths_stay_equal() -> None:
    first, second = (
        shown({MAIL: {"a": 1}}, {MAIL: {"a": 2}}),
        shown({MAIL: {"a": 3}}, {MAIL: {"a": 4}}),
    )
    assert first[0].path == second[0].path
    assert re.fullmatch("redacted:[a-p]{16}", first[0].path[0])
    found = diff({MAIL: 1}, {MAIL: 2}, DiffRules()).differences
    paths = redact_paths(found, REDACTION)
    assert [each.path for each in paths] == [first[0].path[:1]]
    assert (paths[0].primary, paths[0].secondary) == ("", "")


SPLIT = [
    MAIL, "4111 1111 1111 1111", "4111111111111111", "DE89370400440532013000", "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", f"https://ada:{SECRET}@db/", "Bearer abcdefgh1ijkl",
]  # fmt: skip


@pytest.mark.parametrize("secret", SPLIT)
def test_a_secret_that_was_cut_off_is_hidden(secret: str) -> None:
    long = 6  # characters that tell something
    for before in range(199 - len(secret) - 2, 199):
        text = ("word " * 50)[: before - 1] + " " + secret
        for document in ({"a": text}, {"a": [text]}, {"a": {"b": text}}):
            (found,) = shown(document, {})
            pieces = [piece for piece in re.split(r"[ /:@]", secret) if len(piece) > long]
            for piece in pieces:
                kept = [
                    piece[:end] for end in range(long, len(piece)) if piece[:end] in found.primary
                ]
                assert not [k for k in kept if k not in ("Bearer", "https:")], (
                    before,
                    found.primary,
                )


@pytest.mark.parametrize("path", [("body",), ("body", "3")])
def test_no_line_is_shown_of_a_text_that_could_not_be_searched(path: tuple[str, ...]) -> None:
    found = Difference(path=path, kind=Class.VALUE, primary=f'" {SECRET}"', secondary='"x…')
    (kept,) = redact_differences((found,), REDACTION, unread=True)
    assert kept.primary.startswith("redacted:")
    assert kept.secondary.startswith("redacted:")
    deeper = structs.replace(found, path=("body", "a"))
    assert redact_differences((deeper,), REDACTION, unread=True)[0].primary == f'" {SECRET}"'


def test_what_is_below_a_sensitive_name_is_hidden_where_it_is_a_name_too() -> None:
    for path in (("body", "token", SECRET), ("body", "a", "Cookie", SECRET, SECRET)):
        found = Difference(path=path, kind=Class.VALUE, primary="1", secondary="2")
        (kept,) = redact_differences((found,), REDACTION)
        (counted,) = redact_paths((found,), REDACTION)
        assert kept.path == counted.path
        assert kept.path[: path.index(SECRET)] == path[: path.index(SECRET)]
        assert SECRET not in repr(kept.path)


def test_below_a_path_that_is_hidden_names_are_too() -> None:
    given = Redaction(key=b"k", paths=(compile_pattern("/user/cards"),))
    found = Difference(
        path=("body", "user", "cards", "x7"), kind=Class.VALUE, primary="1", secondary=""
    )
    ((*above, name),) = (each.path for each in redact_paths((found,), given))
    assert above == ["body", "user", "cards"]
    assert name.startswith("redacted:")


def test_a_very_long_name_is_hidden_whole() -> None:
    found = Difference(path=("body", "a" * 300), kind=Class.VALUE, primary="1", secondary="")
    (kept,) = redact_paths((found,), REDACTION)
    assert re.fullmatch("redacted:[a-p]{16}", kept.path[1])


@pytest.mark.parametrize("text", ["\ud800", f"%41\ud800 {'a@b.co'}", "a=b@c.co\ud800&d=%41\udfff"])
def test_lone_surrogates_are_taken_everywhere(text: str) -> None:
    found = Difference(
        path=("body", text),
        kind=Class.VALUE,
        primary=json.dumps(text),
        secondary=json.dumps({text: text}),
    )
    for kept in (redact_differences((found,), REDACTION), redact_paths((found,), REDACTION)):
        assert "b.co" not in repr(kept)
        assert "c.co" not in repr(kept)
    masker = Masker(REDACTION)
    masker.hidden(f"{text} a long secret")
    assert len(masker.ways()) >= 3


def test_an_attribute_of_a_cookie_takes_no_time() -> None:
    started = time.perf_counter()
    redact_fields((("Set-Cookie", "a=b;domain=" + " " * 60_000 + "="),), REDACTION)
    assert time.perf_counter() - started < 0.5


def test_paths_hide_differences_at_below_and_above_them() -> None:
    given = Redaction(key=b"k", paths=(compile_pattern("/user/home"),))

    def seen(*path: str, value: str) -> Difference:
        found = Difference(path=path, kind=Class.VALUE, primary=value, secondary="")
        return redact_differences((found,), given)[0]

    assert seen("body", "user", "home", value='"x"').primary.startswith("redacted:")
    assert seen("body", "user", "home", "0", value='"x"').primary.startswith("redacted:")
    assert "redacted:" in seen("body", "user", value='{"home": "x", "a": 1}').primary
    assert seen("body", "user", value='{"home": "x…').primary.startswith("redacted:")
    assert seen("body", "user", "name", value='"x"').primary == '"x"'


@settings(max_examples=300, deadline=None, database=None)
@given(text=st.text(max_size=200) | st.text('a@.:=&?%{}[]"/ 41eyJ_-', max_size=60))
def test_any_text_is_taken_and_a_second_pass_changes_nothing(text: str) -> None:
    once = redact_text(text, REDACTION)
    assert redact_text(once, REDACTION) == once
    assert len(once) <= 40 * len(text) + 100
    for name in ("x", "cookie", "set-cookie", "authorization"):
        fields = redact_fields(((name, text),), REDACTION)
        assert redact_fields(fields, REDACTION) == fields
    assert isinstance(redact_target(text, REDACTION), str)
