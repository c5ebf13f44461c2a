"""Reading TOML and environment into declared tables, with every problem."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest

from proxy.control.keys import Origin, key, keys
from proxy.control.reading import (
    Problem,
    Reading,
    document,
    from_variable,
    overlay,
    suggestion,
    variables,
)


class Way(StrEnum):
    UP = "up"
    DOWN = "down"


def no_spaces(*words: str) -> None:
    if any(" " in word or not word for word in words):
        raise ValueError("must be without spaces")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    label: str = key("", "What it is called.", check=no_spaces)
    height: int = key(10, "How high it is.", "cm", (1, 99))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stairs:
    way: Way = key(Way.UP, "Where they lead.")
    names: tuple[str, ...] = key((), "What people call them.", check=no_spaces)
    token: str = key("t", "What opens them.", check=no_spaces)
    notes: Mapping[str, str] = key(MappingProxyType({}), "Notes.", check=no_spaces)
    top: Step = key(Step(label="top"), "The last one.")
    ends: Mapping[Way, Step] = key(
        MappingProxyType({way: Step(label=str(way)) for way in Way}), "The two ends."
    )
    marked: Mapping[str, Step] = key(
        MappingProxyType({"first": Step(label="1")}), "Those with a name.", check=no_spaces
    )
    steps: tuple[Step, ...] = key((), "All of them.")


@dataclass
class Read:
    stairs: Stairs
    lines: list[str]
    origins: Mapping[str, Origin] = field(default_factory=dict)


def read(raw: Mapping[str, object], variables: Mapping[str, str] | None = None) -> Read:
    reading = Reading("f.toml", variables or {})
    stairs = reading.table(Stairs(), raw)
    return Read(stairs, [str(problem) for problem in reading.problems], reading.origins)


def test_an_empty_document_is_all_defaults() -> None:
    found = read({})
    assert found.stairs == Stairs()
    assert found.lines == []
    assert found.origins == {}


def test_every_shape_is_read() -> None:
    found = read(
        {
            "way": "down",
            "names": ["a", "b"],
            "notes": {"n": "m"},
            "top": {"height": 3},
            "ends": {"up": {"height": 4}},
            "marked": {"second": {"label": "2"}, "first": {"height": 5}},
            "steps": [{"label": "x"}],
        }
    )
    assert found.lines == []
    assert found.stairs == Stairs(
        way=Way.DOWN,
        names=("a", "b"),
        notes={"n": "m"},
        top=Step(label="top", height=3),
        ends={Way.UP: Step(label="up", height=4), Way.DOWN: Step(label="down")},
        marked={"first": Step(label="1", height=5), "second": Step(label="2")},
        steps=(Step(label="x"),),
    )


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"way": "left"}, 'way = "left": must be one of up, down'),
        ({"names": "a"}, 'names = "a": must be a list of strings'),
        ({"names": ["a", "b c"]}, 'names[1] = "b c": must be without spaces'),
        ({"names": [1]}, "names[0] = 1: must be a list of strings"),
        ({"notes": []}, "notes = []: must be a table of strings"),
        ({"notes": {"n": 1}}, "notes.n = 1: must be a string"),
        ({"notes": {"n": "a b"}}, 'notes.n = "a b": must be without spaces'),
        ({"top": 1}, "top = 1: must be a table"),
        ({"top": {"height": 0}}, "top.height = 0: must be an integer from 1 to 99 cm"),
        ({"ends": 1}, "ends = 1: must be a table"),
        ({"ends": {"upp": {}}}, "ends.upp: unknown key; did you mean up?"),
        ({"ends": {"up": 1}}, "ends.up = 1: must be a table"),
        ({"marked": {"a b": {}}}, 'marked."a b": must be without spaces'),
        ({"marked": {"new": {}}}, "marked.new.label: is required and must be without spaces"),
        ({"steps": {}}, "steps = {...}: must be an array of tables"),
        ({"steps": [{"label": "a"}, 1]}, "steps[1] = 1: must be a table"),
        ({"steps": [{}]}, "steps[0].label: is required and must be without spaces"),
        ({"stepps": []}, "stepps: unknown key; did you mean steps?"),
        ({"top": {"zzz": 1}}, "top.zzz: unknown key"),
        ({"a\nb": 1}, '"a\\nb": unknown key'),
    ],
)
def test_a_problem_names_key_value_and_what_is_allowed(raw: dict[str, object], line: str) -> None:
    assert read(raw).lines == [f"f.toml: {line}"]


def test_all_problems_come_at_once() -> None:
    raw = {"way": 1, "top": {"height": "x"}, "nope": 1, "steps": [{}, {"label": ""}]}
    assert len(read(raw).lines) == 5


def test_what_is_wrong_keeps_its_default() -> None:
    assert read({"way": 1, "token": "x"}).stairs == Stairs(token="x")


@pytest.mark.parametrize(
    "raw",
    [
        {"token": "s e c"},
        {"token": ["s e c"]},
        {"notes": {"Authorization": "s e c"}},
        {"names": ["http://ann:s e c@host"]},
        {"names": ["http://ann:s/e c@host"]},
        {"top": "x://s e c@h"},
        {"way": {"x": "s e c"}},
        {"way": [{"x": "s e c"}]},
        {"password": "s e c"},
    ],
)
def test_no_secret_gets_into_a_problem(raw: dict[str, object]) -> None:
    (line,) = read(raw).lines
    assert "e c" not in line


def test_a_long_value_is_cut() -> None:
    (line,) = read({"way": "x" * 1000}).lines
    assert len(line) < 160


def test_a_problem_with_a_variable_names_the_variable() -> None:
    found = read({"way": "left", "names": ["a b"]}, {"way": "T_WAY", "names": "T_NAMES"})
    assert found.lines == [
        'environment: T_WAY = "left": must be one of up, down',
        'environment: T_NAMES = "a b": must be without spaces',
    ]


def test_the_origin_of_each_value_is_known() -> None:
    raw = {"way": "up", "top": {"height": 3}, "steps": [{"label": "a"}]}
    assert read(raw, {"top.height": "T_TOP_HEIGHT"}).origins == {
        "way": Origin.FILE,
        "top": Origin.FILE,
        "top.height": Origin.ENVIRONMENT,
        "steps": Origin.FILE,
        "steps[0].label": Origin.FILE,
    }


def test_values_clash_only_if_each_is_good_by_itself() -> None:
    reading = Reading("f", {})
    reading.table(Stairs(), {"way": "left"})
    reading.clash(("token", "way"), "t", "contradicts way")
    assert [each.key for each in reading.problems] == ["way"]
    reading.clash(("names", "steps"), ["n"], "contradicts steps")
    assert str(reading.problems[1]) == 'f: names = ["n"]: contradicts steps'


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a = 1\nb = = 2", "line 2, column 5"),
        ("a = 1\nb = ", "line 2, column 5"),
        ('a = "x', "line 1, column 7"),
        ("a = 1\na = 2", "line 2, column 6"),
        ("x = " + "9" * 5000, "line 1, column 5005"),
        ("x = 2021-13-99", "line 1, column"),
    ],
)
def test_a_syntax_error_has_line_and_column(text: str, where: str) -> None:
    raw, problems = document(text, "f.toml")
    assert raw == {}
    assert str(problems[0]).startswith(f"f.toml: {where}")
    assert "not valid TOML" in problems[0].allowed
    assert "(at " not in problems[0].allowed


def test_a_bottomless_document_is_a_problem_too() -> None:
    _, problems = document("x = " + "[" * 100_000, "f")
    assert problems == (
        Problem(source="f", key="", value="", allowed="not valid TOML: nested too deeply"),
    )


def test_every_plain_key_has_a_variable() -> None:
    found = variables(Stairs(), ("marked",))
    assert {name: path for name, (path, _) in found.items()} == {
        "TWINWRITE_WAY": "way",
        "TWINWRITE_NAMES": "names",
        "TWINWRITE_TOKEN": "token",
        "TWINWRITE_NOTES": "notes",
        "TWINWRITE_TOP_LABEL": "top.label",
        "TWINWRITE_TOP_HEIGHT": "top.height",
        "TWINWRITE_ENDS_UP_LABEL": "ends.up.label",
        "TWINWRITE_ENDS_UP_HEIGHT": "ends.up.height",
        "TWINWRITE_ENDS_DOWN_LABEL": "ends.down.label",
        "TWINWRITE_ENDS_DOWN_HEIGHT": "ends.down.height",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    flag: bool = key(False, "A flag.")
    count: int = key(1, "A count.")
    share: float = key(0.5, "A share.")
    names: tuple[str, ...] = key((), "Names.")
    word: Way = key(Way.UP, "A word.")


@pytest.mark.parametrize(
    ("name", "text", "raw"),
    [
        ("flag", "1", True),
        ("flag", "False", False),
        ("flag", "on", True),
        ("flag", "maybe", "maybe"),
        ("count", "-12", -12),
        ("count", "1.5", "1.5"),
        ("share", "0.25", 0.25),
        ("share", "1", 1.0),
        ("share", "much", "much"),
        ("names", "a, b,,c ", ["a", "b", "c"]),
        ("word", "down", "down"),
    ],
)
def test_a_variable_is_parsed_by_the_shape_of_its_key(name: str, text: str, raw: object) -> None:
    (found,) = [each for each in keys(Kinds) if each.name == name]
    assert from_variable(found, text) == raw


def test_a_value_is_put_over_what_the_document_says() -> None:
    raw: dict[str, Any] = {"a": {"b": 1}, "c": 3}
    overlay(raw, "a.b", 2)
    overlay(raw, "x.y.z", 5)
    overlay(raw, "c.d", 4)  # c is no table: that is for the reader to refuse
    assert raw == {"a": {"b": 2}, "x": {"y": {"z": 5}}, "c": 3}


def test_a_suggestion_is_made_only_where_a_word_is_close() -> None:
    assert suggestion("prot", ["host", "port"]) == "; did you mean port?"
    assert suggestion("zzz", ["host", "port"]) == ""
