"""Side by side: equal lines stand beside each other, others are marked, nothing is wider than it may be."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from proxy.cli.side_by_side import CONTEXT, LINES_MAX, Pair, aligned, columns, shortened

LEFT = ["{", '  "a": 1,', '  "b": 2,', '  "c": 3', "}"]
RIGHT = ["{", '  "a": 1,', '  "b": 20,', '  "c": 3,', '  "d": 4', "}"]


def test_lines_are_paired_and_marked() -> None:
    assert list(aligned(LEFT, RIGHT)) == [
        (" ", "{", "{"),
        (" ", '  "a": 1,', '  "a": 1,'),
        ("|", '  "b": 2,', '  "b": 20,'),
        (" ", '  "c": 3', '  "c": 3,'),
        (">", "", '  "d": 4'),
        (" ", "}", "}"),
    ]


def test_what_only_one_side_has_is_marked() -> None:
    assert list(aligned(["a", "b"], ["b"])) == [("<", "a", ""), (" ", "b", "b")]
    assert list(aligned([], ["b"])) == [(">", "", "b")]
    assert list(aligned([], [])) == []


def test_members_of_the_same_name_stand_beside_each_other() -> None:
    left = ['  "note": "x",', '  "state": "open",']
    right = ['  "state": "OPEN",', '  "updated": 1']
    assert list(aligned(left, right)) == [
        ("<", left[0], ""),
        ("|", left[1], right[0]),
        (">", "", right[1]),
    ]
    assert list(aligned(["a text"], ["another"])) == [("|", "a text", "another")]


def test_endless_bodies_end() -> None:
    pairs = list(aligned(["x"] * (LINES_MAX + 5), ["x"] * LINES_MAX))
    assert pairs[-1] == ("|", "… 5 more lines", "")
    assert len(pairs) == LINES_MAX + 1


def test_lines_that_repeat_take_no_time() -> None:
    left, right = ["  0,"] * LINES_MAX, ["  0,", "  1,"] * (LINES_MAX // 2)
    started = time.perf_counter()
    pairs = list(aligned(left, right))
    assert time.perf_counter() - started < 2.0
    assert [pair[1] for pair in pairs if pair[1]] == left
    assert [pair[2] for pair in pairs if pair[2]] == right


def test_rare_lines_are_paired_among_many_that_repeat() -> None:
    left = [line for number in range(400) for line in ("{", f'"id": {number}', '"a": 1', "}")]
    right = left[:400] + left[404:800] + left[812:]
    assert [pair for pair in aligned(left, right) if pair[0] == "|"] == []
    assert len([pair for pair in aligned(left, right) if pair[0] == "<"]) == 16


def test_equal_lines_far_from_others_are_left_out() -> None:
    equal: list[Pair] = [(" ", str(n), str(n)) for n in range(10)]
    other: list[Pair] = [("|", "a", "b")]
    found = list(shortened([*equal, *other, *equal]))
    assert found[0] == (" ", "… 7 equal lines", "… 7 equal lines")
    assert found[1 : 1 + CONTEXT] == equal[-CONTEXT:]
    assert found[1 + CONTEXT] == other[0]
    assert found[-1] == found[0]
    assert list(shortened(equal[:1])) == equal[:1]


def test_columns_are_as_wide_as_asked_and_long_lines_go_on() -> None:
    lines = [line.plain for line in columns([("|", "abcdefghij", "xyz"), (" ", "a", "a")], 19)]
    assert lines == ["abcdefgh | xyz", "ij       | ", "a          a"]


@pytest.mark.parametrize("width", [20, 80])
@given(texts=st.lists(st.text(max_size=60), max_size=6))
def test_no_text_is_wider_than_the_terminal_or_moves_its_cursor(
    width: int, texts: list[str]
) -> None:
    pairs = list(aligned(texts, texts[::-1]))
    for line in columns(pairs, width):
        assert cell_len(line.plain) <= width
        assert line.plain.isprintable() or not any(c in line.plain for c in "\x1b\r\n\t")
