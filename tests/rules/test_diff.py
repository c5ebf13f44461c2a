"""The diff: every class of difference, ignores, unordered arrays, identities, and every limit."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.diff import diff
from rules.difference import Class, DiffRules
from rules.tolerance import Rule
from rules.value import SHOWN_MAX
from tests.rules.made import allow, same

RULES = DiffRules()
Found = tuple[str, str, str, str]


def rules(*ignore: str, unordered: tuple[str, ...] = ()) -> DiffRules:
    return DiffRules(
        rules=(
            *(allow("ignore", path) for path in ignore),
            *(allow("unordered", path) for path in unordered),
        )
    )


def found(
    primary: object, secondary: object, rules: DiffRules = RULES, *pairs: tuple[str, str]
) -> list[Found]:
    return [
        ("/".join(d.path), str(d.kind), d.primary, d.secondary)
        for d in diff(primary, secondary, rules, same(*pairs)).differences
    ]


@pytest.mark.parametrize(
    ("primary", "secondary", "expected"),
    [
        ({"a": 1}, {}, [("a", "missing", "1", "")]),
        ({}, {"a": None}, [("a", "extra", "", "null")]),
        ({"a": 1}, {"a": "1"}, [("a", "type", "1", '"1"')]),
        ({"a": 1}, {"a": True}, [("a", "type", "1", "true")]),
        ({"a": None}, {"a": []}, [("a", "type", "null", "[]")]),
        ({"a": {}}, {"a": []}, [("a", "type", "{}", "[]")]),
        ({"a": 1}, {"a": 2}, [("a", "value", "1", "2")]),
        ({"a": 1.5}, {"a": 1}, [("a", "value", "1.5", "1")]),
        ("x", "y", [("", "value", '"x"', '"y"')]),
        ([1, 2, 3], [1, 3, 2], [("", "order", "[1, 2, 3]", "[1, 3, 2]")]),
        ([1], [1, 2], [("", "length", "1", "2")]),
        ([1, 2], [3], [("", "length", "2", "1"), ("0", "value", "1", "3")]),
        ([[1, 2], 0], [[2, 1], 0], [("0", "order", "[1, 2]", "[2, 1]")]),
        ([1, 1, 2], [1, 2, 2], [("1", "value", "1", "2")]),
        ([True, 1], [1, True], [("", "order", "[true, 1]", "[1, true]")]),
        (
            [{"i": 1, "v": [1]}, {"i": 2}],
            [{"i": 2}, {"v": [1.0], "i": 1}],
            [("", "order", '[{"i": 1, "v": [1]}, {"i": 2}]', '[{"i": 2}, {"v": [1.0], "i": 1}]')],
        ),
        ({"ä": "é"}, {"ä": "e"}, [("ä", "value", '"é"', '"e"')]),
    ],
    ids=[
        *("missing", "extra null", "number or text", "number or boolean", "null or array"),
        *("object or array", "value", "fraction", "root", "order", "longer", "shorter"),
        *("nested order", "other counts", "order of booleans", "order of objects", "any script"),
    ],
)
def test_a_difference_has_a_path_a_class_and_both_values(
    primary: object, secondary: object, expected: list[Found]
) -> None:
    assert found(primary, secondary) == expected


@pytest.mark.parametrize(
    ("primary", "secondary"),
    [
        (1, 1.0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([-0.0], [0]),
        (float("nan"), float("nan")),
        ([], []),
        (10**23, 1e23),
    ],
    ids=["number spelling", "key order", "minus zero", "nan", "empty", "large"],
)
def test_what_means_the_same_is_equal(primary: object, secondary: object) -> None:
    assert not found(primary, secondary)


def test_differences_come_in_document_order() -> None:
    primary = {"a": {"x": 1, "y": [1, {"z": 1}]}, "b": {"c": 1}, "d": 1}
    secondary = {"a": {"x": 2, "y": [1, {"z": 2}]}, "b": {"c": 2}, "d": 1}
    assert [path for path, *_ in found(primary, secondary)] == ["a/x", "a/y/1/z", "b/c"]


@pytest.mark.parametrize(
    ("primary", "secondary", "patterns", "paths", "ignored"),
    [
        ({"at": 1, "b": 1}, {"at": 2, "b": 1}, ("/at",), [], ("/at",)),
        ({"at": 1, "b": 1}, {"at": 2, "b": 2}, ("/at",), ["b"], ("/at",)),
        ({"at": 1}, {"at": 1}, ("/at",), [], ()),
        ({"at": 1}, {}, ("/at",), [], ("/at",)),
        ({}, {"at": 1}, ("/at",), [], ("/at",)),
        ({"m": {"a": [1]}}, {"m": {"a": [2]}}, ("/m",), [], ("/m",)),
        ({"m": {"a": [1]}}, {"m": {"a": [1]}}, ("/m",), [], ()),
        ({"m": {"a": 1}}, {"m": 3}, ("/m",), [], ("/m",)),
        ({"i": [{"e": 1}]}, {"i": [{"e": 2}]}, ("/x", "/**/e"), [], ("/**/e",)),
        ({"i": [1, 2]}, {"i": [1]}, ("/i/*",), ["i"], ()),
        ({"i": [1, 2]}, {"i": [3]}, ("/i/*",), ["i"], ("/i/*",)),
        ([1], {"a": 1}, ("/**",), [], ("/**",)),
        ({"a": 1, "b": 1}, {"a": 2, "b": 2}, ("/a", "/b"), [], ("/a", "/b")),
    ],
    ids=[
        *("eaten", "another is left", "nothing to eat", "missing", "extra", "below"),
        *("equal below", "type", "second pattern", "length is above", "element and length"),
        *("everything", "both patterns"),
    ],
)
def test_an_ignored_path_eats_what_is_at_or_below_it(
    primary: object,
    secondary: object,
    patterns: tuple[str, ...],
    paths: list[str],
    ignored: tuple[str, ...],
) -> None:
    result = diff(primary, secondary, rules(*patterns))
    assert ["/".join(difference.path) for difference in result.differences] == paths
    assert result.ignored == ignored


@pytest.mark.parametrize(
    ("primary", "secondary", "expected"),
    [
        ([1, 2, 3], [3, 1.0, 2], []),
        ([1, 1, 2], [1, 2, 2], [("1", "missing", "1", ""), ("2", "extra", "", "2")]),
        ([1], [1, "1"], [("1", "extra", "", '"1"')]),
        ([1, True], [True, 1], []),
        ([[1, 2], [3]], [[3], [1, 2]], []),
        ([[1, 2]], [[2, 1]], [("0", "missing", "[1, 2]", ""), ("0", "extra", "", "[2, 1]")]),
        ([["a", "sb"], ["as", "b"]], [["as", "b"], ["a", "sb"]], []),
        ([{"a": "1", "b": 2}], [{"b": 2, "a": "1"}], []),
        ([None, False, "n"], ["n", None, False], []),
        ([], [], []),
    ],
    ids=[
        *("shuffled", "other counts", "number or text", "booleans", "arrays inside"),
        *("order inside", "where texts end", "objects", "nulls", "empty"),
    ],
)
def test_an_unordered_array_is_a_multiset(
    primary: object, secondary: object, expected: list[Found]
) -> None:
    assert found(primary, secondary, rules(unordered=("",))) == expected


def test_nested_unordered_arrays_and_ignored_fields_pair_up() -> None:
    given = rules("/items/*/at", unordered=("/items", "/items/*/tags"))
    primary = {"items": [{"id": 1, "at": 1, "tags": [1, 2]}, {"id": 2, "at": 1, "tags": []}]}
    secondary = {"items": [{"id": 2, "at": 8, "tags": []}, {"id": 1, "at": 9, "tags": [2, 1]}]}
    result = diff(primary, secondary, given)
    assert result.differences == ()
    assert result.ignored == ("/items/*/at",)


def test_an_ignored_field_does_not_hide_a_new_order() -> None:
    primary = [{"id": 1, "at": 1}, {"id": 2, "at": 2}]
    secondary = [{"id": 2, "at": 3}, {"id": 1, "at": 4}]
    result = diff(primary, secondary, rules("/*/at"))
    assert [difference.kind for difference in result.differences] == [Class.ORDER]


@pytest.mark.parametrize(
    ("primary", "secondary", "equal"),
    [
        (17, "u-9", True),
        ("17", "u-9", True),
        ("u-9", "17", False),
        (17, "17", False),
        ({"self": "/users/17?x=1"}, {"self": "/users/u-9?x=1"}, True),
        ({"self": "/users/17?x=1"}, {"self": "/users/u-9?x=2"}, False),
        ("/users/171", "/users/u-91", False),
        (None, {}, False),
        ([17, 5], [5, "u-9"], False),
    ],
    ids=["number", "text", "wrong way", "type", "link", "other", "part", "containers", "order"],
)
def test_the_two_values_of_one_identity_are_equal(
    primary: object, secondary: object, equal: bool
) -> None:
    assert (not found(primary, secondary, RULES, ("17", "u-9"), ("", ""))) is equal


@pytest.mark.parametrize(
    ("primary", "secondary", "paths"),
    [
        ({"id": 17, "quantity": 17}, {"id": 18, "quantity": 18}, ["quantity"]),
        ({"id": 17, "note": "17 items"}, {"id": 18, "note": "18 items"}, ["note"]),
        ({"user_id": 17, "paid": "17"}, {"user_id": "18", "paid": "18"}, ["paid"]),
        ([{"self": "/users/17", "at": "10:17"}], [{"self": "/users/18", "at": "10:18"}], ["0/at"]),
        ({"users": [{"id": 17}], "pets": [{"id": 17}]}, {"users": [{"id": 18}], "pets": [{"id": 18}]},
         ["pets/0/id"]),
    ],
)  # fmt: skip
def test_a_number_is_an_identity_only_where_its_name_says_so(
    primary: object, secondary: object, paths: list[str]
) -> None:
    assert [path for path, *_ in found(primary, secondary, RULES, ("17", "18"))] == paths
    keyed = DiffRules(rules=(allow("unordered", "/**"), allow("unordered", "", key="/user_id")))
    everything = [{"user_id": 17, "all": primary}, 0], [0, {"user_id": 18, "all": secondary}]
    kinds = [kind for _, kind, *_ in found(*everything, keyed, ("17", "18"))]
    assert kinds == ["missing", "extra"]


@pytest.mark.parametrize("ordered", [True, False])
def test_long_texts_that_are_searched_for_identities_are_counted(ordered: bool) -> None:
    one, other = [f"{'17 ' * 9000}{end}" for end in "ab"], [f"{'u9 ' * 9000}{end}" for end in "cd"]
    given = replace(rules(unordered=() if ordered else ("",)), nodes_max=3000)
    assert diff(one, other, given, same(("17", "u9"))).exhausted
    assert not diff(one, other, given).exhausted


def test_a_key_that_is_an_identity_pairs_elements() -> None:
    given = DiffRules(rules=(allow("unordered", "", key="/user_id"),))
    primary = [{"user_id": 17, "n": 1}, {"user_id": 5, "n": 2}]
    secondary = [{"user_id": 5, "n": 2}, {"user_id": 18, "n": 3}]
    assert found(primary, secondary, given, ("17", "18")) == [("0/n", "value", "1", "3")]


def test_a_new_order_of_elements_with_identities_is_one_difference() -> None:
    primary, secondary = [{"id": 17}, {"id": 5}], [{"id": 5}, {"id": 18}]
    assert [kind for _, kind, *_ in found(primary, secondary, RULES, ("17", "18"))] == ["order"]


def test_numbers_beyond_a_float_are_told_apart_and_shown_with_their_digits() -> None:
    one, other = Decimal("12345678901234567.89"), Decimal("12345678901234567.91")
    assert found({"a": one}, {"a": other}) == [("a", "value", str(one), str(other))]
    assert found([one], [[other]]) == [("0", "type", str(one), f'["{other}"]')]
    assert found(one, 0.5)
    assert found(Decimal("0.10000000000000000555"), 0.1)
    assert found(2**100, 2.0**100)
    assert not found([[10**23, 1], 2], [2, [1, 1e23]], rules(unordered=("/**",)))
    assert not found([one, 1], [1, Decimal(str(one) + "0")], rules(unordered=("",)))
    assert not found(Decimal("9007199254740993.0"), 9007199254740993)


TWO_NAMES = allow("rename", "/a", "/b", to="c", name="renamed")


@pytest.mark.parametrize(
    ("one", "other", "left", "given"),
    [
        ({"a": 1, "b": 1}, {"c": 1}, ["b"], ()),
        ({"b": 1, "a": 1}, {"c": 1}, ["b"], ()),
        ({"b": 1, "a": 2}, {"c": 1}, ["b"], ("/a",)),
        ({"b": 1}, {"c": 1}, [], ()),
        ({"a": 1}, {"c": 1}, [], ()),
        ({"a": 1}, {"b": 1}, ["a", "b"], ()),
    ],
)
def test_two_members_with_one_other_name_are_renamed_alike_on_both_sides(
    one: object, other: object, left: list[str], given: tuple[str, ...]
) -> None:
    ruled = DiffRules(rules=(TWO_NAMES, *(allow("ignore", path) for path in given)))
    for result in (diff(one, other, ruled), diff(other, one, ruled)):
        assert sorted("/".join(each.path) for each in result.differences) == left


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (allow("ignore", ""), allow("number", "/*", absolute=1)),
        (allow("presence", "/**"), allow("regex", "/**", regex=".*")),
        (allow("ignore", ""), allow("rename", "/c", to="d")),
    ],
)
def test_a_rule_above_another_one_is_named_for_what_it_takes(outer: Rule, inner: Rule) -> None:
    primary, secondary = {"c": 0}, {"d": 0} if inner.to else {"c": 1}
    for one, other in ((primary, secondary), (secondary, primary)):
        result = diff(one, other, DiffRules(rules=(inner, outer)))
        assert (result.differences, result.ignored) == ((), (outer.name,))
    assert diff(primary, dict(primary), DiffRules(rules=(inner, outer))).ignored == ()


@pytest.mark.parametrize(
    "rule",
    [allow("ignore", "/1/x"), allow("presence", "/1"), allow("rename", "/1/x", to="y")],
    ids=["ignore", "presence", "rename"],
)
def test_an_index_names_no_element_of_an_unordered_array(rule: Rule) -> None:
    given = DiffRules(rules=(allow("unordered", "", key="/i"), rule))
    one = [{"i": 1, "x": 1}, {"i": 2, "x": 1}]
    other = [{"i": 2, "y" if rule.to else "x": 9}, {"i": 1, "x": 1}]
    for result in (diff(one, other, given), diff(other, one, given)):
        assert result.differences
        assert result.ignored == ()
        assert all(type(token) is str for each in result.differences for token in each.path)
    assert not diff(one, one[::-1], given).differences


@pytest.mark.parametrize(
    ("primary", "secondary", "kinds"),
    [
        (["a1", "a2"], ["a3", "a2"], []),
        (["a2", "a1"], ["a2", "a3"], []),
        (["a1", "a2"], ["a1", "a2"], []),
        (
            [{"id": 1, "count": 1}, {"id": 2, "count": 2}],
            [{"id": 3, "count": 2}, {"id": 2, "count": 1}],
            [],
        ),
        ([{"id": 1, "count": 1}], [{"id": 2, "count": 2}], ["missing", "extra"]),
        ([[{"id": 1}], 1], [1, [{"id": 2}]], []),
        (["a1", "a9"], ["a2", "a8"], ["missing", "extra"]),
        (["a3", "a2"], ["a1", "a3"], ["missing", "extra"]),
        ([["/users/1"], "x"], ["x", ["/users/2"]], []),
    ],
    ids=[
        *("swapped", "in place", "plain", "id or count", "count", "deeper", "one left"),
        *("wrong way", "links"),
    ],
)
def test_identities_that_overlap_still_pair_in_unordered_arrays(
    primary: object, secondary: object, kinds: list[str]
) -> None:
    pairs = (("1", "2"), ("2", "3"), ("a1", "a2"), ("a2", "a3"))
    given = rules(unordered=("",))
    assert [kind for _, kind, *_ in found(primary, secondary, given, *pairs)] == kinds


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 10_000, '"' + "x" * 198 + "…"),
        (["y" * 300], '["' + "y" * 197 + "…"),
        (10**5000, "<a number too long to show>"),
        ("\ud800", '"\\ud800"'),
        ({"\udfff": 1}, '{"\\udfff": 1}'),
    ],
    ids=["long text", "long array", "huge number", "surrogate", "surrogate in a name"],
)
def test_values_are_shown_short_and_writable(value: object, shown: str) -> None:
    difference = diff({"a": value}, {}, RULES).differences[0]
    assert difference.primary == shown
    assert len(difference.primary) <= SHOWN_MAX


def test_a_path_is_writable_too() -> None:
    difference = diff({"\ud800": 1}, {}, RULES).differences[0]
    assert difference.path == ("\\ud800",)


def test_differences_are_counted_up_to_the_limit() -> None:
    primary = {str(number): number for number in range(100)}
    result = diff(primary, {}, replace(RULES, differences_max=7))
    assert len(result.differences) == 7
    assert result.truncated
    assert not diff(primary, {}, replace(RULES, differences_max=100)).truncated


@pytest.mark.parametrize("equal", [{}, [], [[1]], {"x": [True]}])
def test_what_is_equal_is_not_left_out_where_the_limit_is_reached(equal: object) -> None:
    one, other = {"same": equal}, {"more": 1, "same": json.loads(json.dumps(equal))}
    for primary, secondary in ((one, other), (other, one), ([one, 1], [other, 1])):
        result = diff(primary, secondary, replace(RULES, differences_max=1))
        assert (len(result.differences), result.truncated) == (1, False)


def test_a_new_order_is_seen_where_there_is_room_for_one_difference() -> None:
    primary, secondary = [{"a": 1, "b": 1}, {"a": 2, "b": 2}], [{"a": 2, "b": 2}, {"a": 1, "b": 1}]
    result = diff(primary, secondary, replace(RULES, differences_max=1))
    assert [difference.kind for difference in result.differences] == [Class.ORDER]
    assert not result.truncated


def test_a_large_array_in_another_order_is_one_difference() -> None:
    primary = [{"id": number, "name": f"n{number}"} for number in range(300)]
    result = diff({"a": primary, "b": 1}, {"a": primary[::-1], "b": 2}, RULES)
    assert [(d.path, d.kind) for d in result.differences] == [
        (("a",), Class.ORDER),
        (("b",), Class.VALUE),
    ]
    assert not result.truncated


def test_differences_come_in_the_order_of_the_document() -> None:
    primary = {"a": {"b": [1, {"c": 2}], "d": 3}, "e": 4, "f": {"g": 5}}
    secondary = {"a": {"b": [0, {"c": 0}], "d": 0}, "e": 0, "f": {"g": 0}}
    result = diff(primary, secondary, RULES)
    assert ["/".join(difference.path) for difference in result.differences] == [
        "a/b/0",
        "a/b/1/c",
        "a/d",
        "e",
        "f/g",
    ]


def nested(value: object, depth: int, name: str | None = None) -> object:
    for _ in range(depth):
        value = [value] if name is None else {name: value}
    return value


@pytest.mark.parametrize(
    ("depth", "truncated"), [(199, False), (200, False), (201, True), (20_000, True)]
)
@pytest.mark.parametrize("name", [None, "a"], ids=["arrays", "objects"])
def test_depth_ends_at_the_limit_and_says_so(name: str | None, depth: int, truncated: bool) -> None:
    result = diff(nested(1, depth, name), nested(2, depth, name), RULES)
    assert result.truncated is truncated
    assert len(result.differences) == (not truncated)


def test_a_long_unordered_array_of_identities_pairs_up() -> None:
    pairs = tuple((str(number), str(number + 1)) for number in range(500))
    primary = [{"id": number, "count": number % 9, "name": f"n{number}"} for number in range(400)]
    secondary = [row | {"id": number + 1} for number, row in enumerate(primary)][::-1]
    assert not found(primary, secondary, rules(unordered=("",)), *pairs)


def test_depth_inside_unordered_arrays_is_no_trouble() -> None:
    primary, secondary = [nested(1, 3_000), 1], [1, nested(2, 3_000)]
    result = diff(primary, secondary, rules(unordered=("",)), same(("8", "9")))
    assert [difference.kind for difference in result.differences] == [Class.MISSING, Class.EXTRA]


def long_arrays(value: object, depth: int) -> object:
    """Each level in slices."""
    for _ in range(depth):
        value = [0] * 64 + [value]
    return value


def mixed(value: object, depth: int) -> object:
    return nested({"a": [value]}, depth - 2)


@pytest.mark.parametrize("made", [long_arrays, mixed])
def test_any_depth_within_the_limit_is_entered(made: Callable[[object, int], object]) -> None:
    result = diff(made(1, 200), made(2, 200), RULES)
    assert [difference.kind for difference in result.differences] == [Class.VALUE]
    assert not result.truncated


@pytest.mark.parametrize("depth", [150, 199, 250])
def test_arrays_without_order_within_each_other_are_never_too_deep(depth: int) -> None:
    """Each level tries pairs, and each trial does so below: that once ran out of Python's stack."""
    primary: object = 8
    secondary: object = 9
    for _ in range(depth):
        primary, secondary = [primary, "x"], ["x", secondary]
    trying = DiffRules(rules=(allow("unordered", "/**"), allow("number", "/**", absolute=0.5)))
    result = diff(primary, secondary, trying)
    assert result.truncated
    assert not result.differences


NUMBERS = st.integers(-3, 3) | st.floats(-2, 2, width=16)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text("ab/\ud800", max_size=2)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=1), inner),
    max_leaves=12,
)


def shuffled(value: object, draw: st.DataObject) -> object:
    if isinstance(value, list):
        return [shuffled(element, draw) for element in draw.draw(st.permutations(value))]
    if isinstance(value, dict):
        return {
            name: shuffled(value[name], draw) for name in draw.draw(st.permutations(list(value)))
        }
    return value


@settings(max_examples=50, deadline=None, database=None)
@given(document=DOCUMENTS, data=st.data())
def test_a_shuffled_document_is_equal_when_nothing_is_ordered(
    document: object, data: st.DataObject
) -> None:
    assert not found(document, document)
    assert not found(document, shuffled(document, data), rules(unordered=("/**",)))


@settings(max_examples=50, deadline=None, database=None)
@given(primary=DOCUMENTS, secondary=DOCUMENTS)
def test_documents_are_equal_exactly_when_their_canonical_json_is(
    primary: object, secondary: object
) -> None:
    forward, backward = found(primary, secondary), found(secondary, primary)
    assert (not forward) is (canonical(primary) == canonical(secondary))
    assert len(forward) == len(backward)


def canonical(document: object) -> str:
    def whole(value: object) -> object:
        if isinstance(value, list):
            return [whole(element) for element in value]
        if isinstance(value, dict):
            return {name: whole(element) for name, element in value.items()}
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return json.dumps(whole(document), sort_keys=True)
