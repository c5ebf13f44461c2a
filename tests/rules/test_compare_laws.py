"""Laws of comparing, over generated documents and rules; and beside a diff that is not ours."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from deepdiff import DeepDiff
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.compare import Comparison, Match, StatusMatch, VerdictKind, compare
from rules.diff import diff
from rules.difference import Class, DiffRules
from rules.document import Answer
from rules.same import NONE, Same
from rules.tolerance import Rule
from tests.rules.made import allow

JSON = {"content-type": "application/json"}

NAMES = st.sampled_from(["a", "b", "c"])
TIMES = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", 1_767_225_600])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.5, 1.0, 1.5])
    | st.sampled_from(["", "1", "ab", "true"])
    | TIMES
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


def paths_of(*steps: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(steps), max_size=3).map(
        lambda chosen: "".join(f"/{step}" for step in chosen)
    )


PATHS = paths_of("a", "b", "*", "**", "0")


def a_rule(path: str, kind: str) -> Rule:
    match kind:
        case "regex":
            return allow(kind, path, regex="[a-z0-9]+")
        case "number":
            return allow(kind, path, absolute=0.5)
        case "time":
            return allow(kind, path, within_s=1)
        case "key":
            return allow("unordered", path, key="/a")
        case "rename":
            return allow(kind, f"{path}/a", to="c")
        case _:
            return allow(kind, path)


KINDS = ["ignore", "presence", "regex", "number", "time", "type", "unordered", "key", "rename"]
RULES = st.lists(st.builds(a_rule, PATHS, st.sampled_from(KINDS)), max_size=4).map(tuple)
LAW = settings(max_examples=40, deadline=None, database=None)


def answer(document: object, *, status: int = 200, spaced: bool = False) -> Answer:
    text = json.dumps(document, indent=1 if spaced else None)
    return Answer(status=status, headers=JSON, body=text.encode())


def shuffled(value: object, data: st.DataObject, *, arrays: bool) -> object:
    """The same with members, and elements, in another order."""
    if isinstance(value, list):
        inner = [shuffled(element, data, arrays=arrays) for element in value]
        return data.draw(st.permutations(inner)) if arrays else inner
    if isinstance(value, dict):
        names = data.draw(st.permutations(list(value)))
        return {name: shuffled(value[name], data, arrays=arrays) for name in names}
    return value


@LAW
@given(document=DOCUMENTS, rules=RULES, match=st.sampled_from(Match), data=st.data())
def test_a_document_matches_itself_under_any_rules(
    document: object, rules: tuple[Rule, ...], match: Match, data: st.DataObject
) -> None:
    found = diff(document, json.loads(json.dumps(document)), DiffRules(rules=rules))
    assert (found.differences, found.ignored, found.truncated) == ((), (), False)
    comparison = Comparison(rules=rules, match=match)
    spelled = document if match is Match.EXACT else shuffled(document, data, arrays=False)
    verdict = compare(
        answer(document), answer(spelled, spaced=match is not Match.EXACT), comparison, NONE
    )
    assert verdict.kind is VerdictKind.MATCH


@LAW
@given(document=DOCUMENTS, rules=RULES, data=st.data())
def test_a_document_spelled_with_blanks_matches_itself_whatever_identities_are_known(
    document: object, rules: tuple[Rule, ...], data: st.DataObject
) -> None:
    names = data.draw(st.lists(st.sampled_from(["a", "b", "1", "2", "17"]), min_size=2, max_size=4))
    same = Same([("order", one, other) for one, other in pairwise(names)])
    comparison = Comparison(rules=rules)
    verdict = compare(answer(document), answer(document, spaced=True), comparison, same)
    assert (verdict.kind, verdict.ignored) == (VerdictKind.MATCH, ())


@pytest.mark.parametrize(
    "document", [["u-a"] * 60 + ["u-b"] * 60, {"items": ["u-a"] * 60 + ["u-b"] * 60}]
)
def test_equal_arrays_need_no_pairing_however_their_elements_could_be_paired(
    document: object,
) -> None:
    path = "/items" if isinstance(document, dict) else ""
    comparison = Comparison(rules=(a_rule(path, "unordered"),))
    same = Same([("user", "u-a", "u-b")])
    verdict = compare(answer(document), answer(document, spaced=True), comparison, same)
    assert (verdict.kind, verdict.differences) == (VerdictKind.MATCH, ())


MIRRORED = {Class.MISSING: Class.EXTRA, Class.EXTRA: Class.MISSING}


@LAW
@given(one=DOCUMENTS, other=DOCUMENTS, rules=RULES, presence=st.booleans())
def test_classes_are_symmetric(
    one: object, other: object, rules: tuple[Rule, ...], presence: bool
) -> None:
    given_rules = DiffRules(rules=rules, presence=presence)
    forward, backward = diff(one, other, given_rules), diff(other, one, given_rules)
    kinds = Counter(each.kind for each in forward.differences)
    mirrored = Counter(MIRRORED.get(each.kind, each.kind) for each in backward.differences)
    assert kinds == mirrored
    assert set(forward.ignored) == set(backward.ignored)


@LAW
@given(one=DOCUMENTS, other=DOCUMENTS, rules=RULES, data=st.data())
def test_the_order_of_members_never_changes_what_differs(
    one: object, other: object, rules: tuple[Rule, ...], data: st.DataObject
) -> None:
    given_rules = DiffRules(rules=rules)
    before = diff(one, other, given_rules)
    after = diff(
        shuffled(one, data, arrays=False), shuffled(other, data, arrays=False), given_rules
    )
    places = [{(d.path, d.kind) for d in result.differences} for result in (before, after)]
    assert places[0] == places[1]
    assert set(before.ignored) == set(after.ignored)


@LAW
@given(one=DOCUMENTS, other=DOCUMENTS, rules=RULES, data=st.data())
def test_the_order_of_unordered_arrays_never_changes_the_verdict(
    one: object, other: object, rules: tuple[Rule, ...], data: st.DataObject
) -> None:
    comparison = Comparison(rules=(allow("unordered", "/**"), *rules))
    before = compare(answer(one), answer(other), comparison, NONE)
    moved = (answer(shuffled(each, data, arrays=True)) for each in (one, other))
    assert compare(*moved, comparison, NONE).kind is before.kind


@LAW
@given(
    document=DOCUMENTS,
    rules=RULES,
    match=st.sampled_from(Match),
    status=st.sampled_from(StatusMatch),
)
def test_equal_bytes_match_the_fast_and_the_slow_way(
    document: object, rules: tuple[Rule, ...], match: Match, status: StatusMatch
) -> None:
    comparison = Comparison(rules=rules, match=match, status=status)
    fast = compare(answer(document), answer(document), comparison, NONE)
    packed = replace_coding(answer(document))
    slow = compare(packed, answer(document), comparison, NONE)
    assert fast.kind is slow.kind is VerdictKind.MATCH
    assert (fast.reason, slow.reason) == ("equal_bytes", "equal_decoded")


def replace_coding(given_answer: Answer) -> Answer:
    """The same, sent in codings that do nothing: the fast way does not look into it."""
    headers = {**given_answer.headers, "content-encoding": "identity, identity"}
    return Answer(status=given_answer.status, headers=headers, body=given_answer.body)


@pytest.mark.parametrize("match", Match)
@LAW
@given(one=DOCUMENTS, other=DOCUMENTS)
def test_a_stricter_match_finds_all_that_a_laxer_one_finds(
    match: Match, one: object, other: object
) -> None:
    modes = list(Match)[: list(Match).index(match) + 1]
    found = [
        compare(answer(one), answer(other), Comparison(match=mode), NONE).kind for mode in modes
    ]
    order = [kind is VerdictKind.MISMATCH for kind in found]
    assert order == sorted(order, reverse=True)


@LAW
@given(one=DOCUMENTS, rules=RULES, nodes=st.integers(0, 150), data=st.data())
def test_a_comparison_that_has_had_enough_claims_no_difference_that_is_none(
    one: object, rules: tuple[Rule, ...], nodes: int, data: st.DataObject
) -> None:
    ruled = (allow("unordered", "/**"), *rules)
    other = shuffled(one, data, arrays=True)
    assert not diff(one, other, DiffRules(rules=ruled)).differences
    assert not diff(one, other, DiffRules(rules=ruled, nodes_max=nodes)).differences


# beside DeepDiff

PLAIN = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "1", "ab"])
OBJECTS = st.recursive(
    PLAIN, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)
TREES = st.recursive(
    PLAIN.filter(
        lambda value: not isinstance(value, bool)
    ),  # in arrays, DeepDiff takes false for 0
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)
CLASSES = {
    "dictionary_item_removed": Class.MISSING,
    "dictionary_item_added": Class.EXTRA,
    "type_changes": Class.TYPE,
    "values_changed": Class.VALUE,
}


@LAW
@given(one=OBJECTS, other=OBJECTS)
def test_of_objects_deepdiff_finds_the_same_differences(one: object, other: object) -> None:
    theirs = DeepDiff(one, other, view="tree", threshold_to_diff_deeper=0)
    expected = {
        (tuple(each.path(output_format="list")), CLASSES[name])
        for name, found in theirs.items()
        for each in found
    }
    ours = diff(one, other, DiffRules()).differences
    assert {(each.path, each.kind) for each in ours} == expected


@LAW
@given(one=TREES, other=TREES)
def test_of_trees_deepdiff_finds_differences_where_we_do(one: object, other: object) -> None:
    ours = diff(one, other, DiffRules())
    assert bool(ours.differences) is bool(DeepDiff(one, other))


@LAW
@given(one=st.lists(TREES, max_size=4), data=st.data())
def test_of_shuffled_arrays_deepdiff_agrees(one: list[object], data: st.DataObject) -> None:
    other = shuffled(one, data, arrays=True)
    assert isinstance(other, list)
    if data.draw(st.booleans()):
        other = [*other, data.draw(PLAIN)]
    rules = DiffRules(rules=(allow("unordered", "/**"),))
    theirs = DeepDiff(one, other, ignore_order=True, report_repetition=True)
    assert bool(diff(one, other, rules).differences) is bool(theirs)


def test_a_limit_on_differences_is_no_limit_on_the_verdict() -> None:
    comparison = replace(Comparison(), differences_max=1)
    verdict = compare(answer([1, 2]), answer([3, 4]), comparison, NONE)
    assert (verdict.kind, len(verdict.differences)) == (VerdictKind.MISMATCH, 1)
