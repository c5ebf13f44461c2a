"""Expressions: what is let in, what is refused with a reason, and that none of them can blow up."""

import re
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.expression import STEPS_MAX, compile_expression


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("", 0),
        ("abc", 0),
        ("[0-9a-f]{32}", 0),
        (r"[0-9a-f]{8}-[0-9a-f]{4}", 0),
        (r"\d+", 1),
        (r"\d+?", 1),
        (r"\d++", 1),
        (r"\d{2,}", 1),
        (r"\d{,2}", 1),
        ("a?", 1),
        ("GET|POST|PUT", 2),
        (r"(\d{1,3}\.){3}\d{1,3}", 4),
        (r"\d+(?:\.\d+)?", 3),
        (r"(?P<year>\d{4})-(?>\d\d)", 0),
        ("(?i)[a-z]+", 1),
        (r"[]*+?{}|()]+", 1),
        (r"[^]a]*", 1),
        (r"\*\+\|\(\)", 0),
        ("{x}", 0),
        ("(ab){2}", 0),
        ("(?:a|b){2}", 2),
    ],
)
def test_choices_are_counted(text: str, choices: int) -> None:
    assert compile_expression(text).choices == choices


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(a+)+", "must not repeat a group"),
        ("(a*)*b", "must not repeat a group"),
        ("(a|a)*", "must not repeat a group"),
        ("(?:a?){1,9}", "must not repeat a group"),
        ("((a{2,3}))+", "must not repeat a group"),
        (r"(a)\1", "must do without references"),
        ("(?P<a>x)(?P=a)", "must do without looking around"),
        ("(?=a)b", "must do without looking around"),
        ("(?<!a)b", "must do without looking around"),
        ("(?x) a # (", "must do without looking around"),
        ("(", "must be a regular expression"),
        ("a{9}{9}", "must be a regular expression"),
        ("a" * 20 + "(" * 3000, "must be a regular expression"),
    ],
)
def test_what_could_blow_up_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        compile_expression(text)


def test_all_of_a_value_must_match() -> None:
    expression = compile_expression("[a-z]{3}")
    assert expression.matches("abc")
    assert not expression.matches("abcd")
    assert not expression.matches("")


def test_what_would_take_too_long_does_not_match() -> None:
    expression = compile_expression("a*a*a*b?")
    assert expression.matches("a" * 10)
    assert not expression.matches("a" * 20)
    assert expression.steps("a" * 20) > STEPS_MAX


PARTS = st.sampled_from(["a", "[ab]", "(?:aa)", ".", "(a)"])
REPEATS = st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}", "*?"])
TEXTS = st.lists(st.tuples(PARTS, REPEATS, st.sampled_from(["", "|"])), max_size=9)


@settings(max_examples=60, deadline=None, database=None)
@given(parts=TEXTS, length=st.integers(0, 400))
def test_no_expression_that_is_let_in_takes_long(
    parts: list[tuple[str, str, str]], length: int
) -> None:
    expression = compile_expression("".join(map("".join, parts)))
    started = perf_counter()
    expression.matches("a" * length + "!")
    assert perf_counter() - started < 2
    assert expression.pattern.flags & re.UNICODE
