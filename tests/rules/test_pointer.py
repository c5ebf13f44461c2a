"""Pointers: the examples of RFC 6901, copies that share the rest, and patterns."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.pointer import MISSING, Paths, compile_pattern, parse, replace, resolve

RFC = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}
RFC_CASES: list[tuple[str, object]] = [
    ("", RFC),
    ("/foo", ["bar", "baz"]),
    ("/foo/0", "bar"),
    ("/", 0),
    ("/a~1b", 1),
    ("/c%d", 2),
    ("/e^f", 3),
    ("/g|h", 4),
    ("/i\\j", 5),
    ('/k"l', 6),
    ("/ ", 7),
    ("/m~0n", 8),
]


@pytest.mark.parametrize(("pointer", "value"), RFC_CASES, ids=[p or "whole" for p, _ in RFC_CASES])
def test_the_examples_of_the_rfc_hold(pointer: str, value: object) -> None:
    assert resolve(RFC, parse(pointer)) == value


@pytest.mark.parametrize(
    ("pointer", "tokens"),
    [("/~01", ("~1",)), ("/~1~0", ("/~",)), ("//", ("", "")), ("/*", ("*",))],
    ids=["escape order", "both escapes", "empty tokens", "a star is a name"],
)
def test_a_pointer_is_split_and_unescaped(pointer: str, tokens: tuple[str, ...]) -> None:
    assert parse(pointer) == tokens


@pytest.mark.parametrize(
    "pointer",
    ["/foo/2", "/foo/-", "/foo/-1", "/foo/00", "/foo/٣", "/foo/" + "9" * 5000, "/x", "/a~1b/c"],
    ids=["past the end", "dash", "negative", "zeros", "other digits", "huge", "name", "in scalar"],
)
def test_what_is_not_there_is_missing_and_not_replaced(pointer: str) -> None:
    assert resolve(RFC, parse(pointer)) is MISSING
    assert replace(RFC, parse(pointer), 1) is RFC


def test_a_null_is_not_missing() -> None:
    assert resolve({"a": None}, ("a",)) is None


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("", 9),
        ("/a", {"a": 9, "z": {"y": 1}}),
        ("/a/1/b", {"a": [0, {"b": 9}], "z": {"y": 1}}),
        ("/a/0", {"a": [9, {"b": None}], "z": {"y": 1}}),
    ],
    ids=["whole", "member", "deep, over a null", "element"],
)
def test_a_value_is_replaced_in_a_copy_that_shares_the_rest(pointer: str, expected: object) -> None:
    document = {"a": [0, {"b": None}], "z": {"y": 1}}
    changed = replace(document, parse(pointer), 9)
    assert changed == expected
    assert document == {"a": [0, {"b": None}], "z": {"y": 1}}
    if isinstance(changed, dict):
        assert changed["z"] is document["z"]
        assert list(changed) == list(document)


def test_depth_is_no_trouble() -> None:
    document: object = 1
    for _ in range(5_000):
        document = {"a": document}
    tokens = ("a",) * 5_000
    assert resolve(replace(document, tokens, 2), tokens) == 2


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("$.a.b[*]", "write '/a/b/*'"),
        ("$", "write '/'"),
        ("$..etag", "write '/**/etag'"),
        ("$['a'][0]", "write '/a/0'"),
        ("a.b", "write '/a/b'"),
        ("updated_at", "write '/updated_at'"),
        ("/a~2b", "write '~0' for '~'"),
        ("/a~", "write '~0' for '~'"),
    ],
    ids=["json path", "root", "descent", "brackets", "dots", "bare", "bad escape", "lone tilde"],
)
def test_bad_syntax_is_refused_with_the_right_form(text: str, advice: str) -> None:
    for read in (parse, compile_pattern):
        with pytest.raises(ValueError, match=r"must begin|inside a token") as error:
            read(text)
        assert advice in str(error.value)


def test_a_star_inside_a_token_is_refused() -> None:
    with pytest.raises(ValueError, match="whole token"):
        compile_pattern("/a/b*")


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("/updated_at", "updated_at", True),
        ("/updated_at", "a/updated_at", False),
        ("/updated_at", "updated_at/a", False),
        ("/items/*/id", "items/7/id", True),
        ("/items/*/id", "items/7/8/id", False),
        ("/*", "", False),
        ("/**", "", True),
        ("/**", "a/b/c", True),
        ("/**/etag", "etag", True),
        ("/**/etag", "a/b/etag", True),
        ("/**/etag", "a/etag/b", False),
        ("/a/**/b/**/c", "a/b/x/b/c", True),
        ("/a/**/b/**/c", "a/x/c", False),
        ("/**/**/a", "a", True),
        ("/a/**", "a", True),
        ("/**/*", "", False),
        ("/a~1b", "a~1b", True),
    ],
)
def test_a_pattern_names_the_paths_it_should(text: str, path: str, expected: bool) -> None:
    tokens = parse(f"/{path}") if path else ()
    assert compile_pattern(text).matches(tokens) is expected


def test_a_wild_token_is_not_a_literal_one() -> None:
    assert compile_pattern("/*").matches(("x",))
    assert not compile_pattern("/x").matches(("*",))


def by_definition(tokens: tuple[str, ...], path: tuple[str, ...]) -> bool:
    @cache
    def here(at: int, step: int) -> bool:
        if at == len(tokens):
            return step == len(path)
        if tokens[at] == "**":
            return here(at + 1, step) or (step < len(path) and here(at, step + 1))
        return step < len(path) and tokens[at] in ("*", path[step]) and here(at + 1, step + 1)

    return here(0, 0)


@settings(max_examples=80, deadline=None, database=None)
@given(
    tokens=st.lists(st.sampled_from(["a", "b", "*", "**"]), max_size=6).map(tuple),
    path=st.lists(st.sampled_from(["a", "b"]), max_size=8).map(tuple),
)
def test_matching_agrees_with_its_definition(
    tokens: tuple[str, ...], path: tuple[str, ...]
) -> None:
    pattern = compile_pattern("".join(f"/{token}" for token in tokens))
    assert pattern.matches(path) is by_definition(tokens, path)


LOOKED_UP = ["", "/a", "/a/b", "/*", "/*/b", "/a/*", "/**", "/**/b", "/a/**", "/**/b/*", "/a"]
STEPS = st.lists(st.sampled_from(["a", "b", "*", "c"]), max_size=4).map(tuple)


@settings(max_examples=100, deadline=None, database=None)
@given(path=STEPS, chosen=st.lists(st.sampled_from(LOOKED_UP), max_size=8))
def test_many_patterns_are_found_as_one_by_one(path: tuple[str, ...], chosen: list[str]) -> None:
    patterns = [(compile_pattern(text), place) for place, text in enumerate(chosen)]
    expected = [place for pattern, place in patterns if pattern.matches(path)]
    paths = Paths(patterns)
    assert paths.found(path) == expected
    assert paths.first(path) == (expected[0] if expected else None)
    assert bool(paths) is bool(chosen)
    assert paths.tried <= len(chosen)


def test_only_patterns_that_may_fit_are_tried() -> None:
    texts = ["/a", "/b/c", "/*/a", "/*/b", "/**/a", "/**/b", "/a/**"]
    assert Paths((compile_pattern(text), None) for text in texts).tried == 3
    assert Paths((compile_pattern(text), None) for text in texts[:2]).tried == 0


def test_a_pattern_has_others_beside_it() -> None:
    pattern = compile_pattern("/a/*/b")
    assert pattern.beside(None) is pattern
    assert pattern.beside("c").matches(("a", "x", "c"))
