"""What a key is: declared, checked, printed."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import pytest

from proxy.control.keys import Key, Origin, Shape, key, keys, plain, sections, text, toml, under


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def no_spaces(word: str) -> None:
    if " " in word or not word:
        raise ValueError("must be without spaces")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    label: str = key("", "What it is called.", check=no_spaces)
    from_: int = key(1, "Where it begins.", "mm", (0, 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Car:
    colour: Colour = key(Colour.RED, "What it looks like.")
    trim: Colour | None = key(None, "What its edge looks like.")
    fast: bool = key(True, "Whether it is fast.")
    share: float = key(0.5, "How much of it is left.", "", (0, 1))
    names: tuple[str, ...] = key((), "What people call it.", check=no_spaces)
    notes: Mapping[str, str] = key(MappingProxyType({}), "What was said of it.")
    spare: Wheel = key(Wheel(label="spare"), "The one in the boot.")
    sides: Mapping[str, Wheel] = key(MappingProxyType({}), "Those by name.")
    wheels: tuple[Wheel, ...] = key((), "Those in a row.")
    built: int = 7  # no key: it has no declaration


def the(name: str, table: type = Car) -> Key:
    return {each.name: each for each in keys(table)}[name]


def test_the_class_of_a_field_is_the_shape_of_its_key() -> None:
    assert {each.name: each.shape for each in keys(Car)} == {
        "colour": Shape.WORD,
        "trim": Shape.WORD,
        "fast": Shape.BOOLEAN,
        "share": Shape.NUMBER,
        "names": Shape.TEXTS,
        "notes": Shape.PAIRS,
        "spare": Shape.TABLE,
        "sides": Shape.TABLES,
        "wheels": Shape.ROWS,
    }


def test_a_field_may_end_in_an_underscore_where_the_key_is_a_word_of_python() -> None:
    assert the("from", Wheel).attribute == "from_"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("colour", "one of red, blue"),
        ("trim", 'one of "", red, blue'),
        ("fast", "true or false"),
        ("share", "a number from 0 to 1"),
        ("names", "a list of strings"),
        ("wheels", "an array of tables"),
    ],
)
def test_a_key_says_what_is_allowed(name: str, allowed: str) -> None:
    assert the(name).allowed == allowed


def test_what_is_allowed_ends_in_the_unit() -> None:
    assert the("from", Wheel).allowed == "an integer from 0 to 100 mm"


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("colour", "blue", Colour.BLUE),
        ("trim", "", None),
        ("trim", "red", Colour.RED),
        ("fast", False, False),
        ("share", 1, 1.0),
        ("share", 0.25, 0.25),
        ("names", "ann", "ann"),
    ],
)
def test_a_valid_value_is_taken(name: str, raw: object, value: object) -> None:
    taken = the(name).value(raw)
    assert taken == value
    assert type(taken) is type(value)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("colour", "green"),
        ("colour", ""),
        ("colour", ["red"]),
        ("fast", 1),
        ("fast", "true"),
        ("share", True),
        ("share", 1.01),
        ("share", float("nan")),
        ("share", float("inf")),
        ("share", 10**400),
        ("names", "two words"),
        ("names", 3),
    ],
)
def test_another_value_is_refused(name: str, raw: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        the(name).value(raw)


@pytest.mark.parametrize("raw", [True, 1.0, "1", 101, -1])
def test_an_integer_is_neither_a_truth_nor_a_float_and_keeps_its_limits(raw: object) -> None:
    with pytest.raises(ValueError, match="an integer from 0 to 100 mm"):
        the("from", Wheel).value(raw)


def test_a_key_that_has_no_valid_value_is_needed() -> None:
    assert the("label", Wheel).needed("") == "is required and must be without spaces"
    assert the("label", Wheel).needed("front") == ""
    assert the("from", Wheel).needed(1) == ""


@pytest.mark.parametrize(
    "value",
    ["", 'a "quoted" one', "back\\slash", "tab\tand\nline", "\x7f\x00\x1f", "é€𝄞", "# no comment"],
)
def test_every_text_survives_toml_on_one_line(value: str) -> None:
    written = toml({value: [value]})
    assert "\n" not in written
    assert tomllib.loads(f"x = {written}") == {"x": {value: [value]}}


@pytest.mark.parametrize("value", [0, -3, 0.1, 1e-7, 2.5, True, False])
def test_every_number_survives_toml(value: float) -> None:
    assert tomllib.loads(f"x = {toml(value)}") == {"x": value}


def test_a_whole_number_is_written_without_a_point() -> None:
    assert toml(100.0) == "100"


def test_a_path_quotes_what_toml_would_quote() -> None:
    assert under("", "a-b") == "a-b"
    assert under("routes[0]", "name") == "routes[0].name"
    assert under("translate", "json:/x") == 'translate."json:/x"'


def test_a_table_becomes_plain_values() -> None:
    car = Car(wheels=(Wheel(label="a"),), notes={"n": "m"})
    assert plain(car) == {
        "colour": "red", "trim": "", "fast": True, "share": 0.5, "names": [], "notes": {"n": "m"},
        "spare": {"label": "spare", "from": 1}, "sides": {}, "wheels": [{"label": "a", "from": 1}],
    }  # fmt: skip
    assert type(plain(Colour.RED)) is str


def test_every_table_is_a_section() -> None:
    car = Car(sides={"left": Wheel(label="l")}, wheels=(Wheel(label="a"), Wheel(label="b")))
    assert [(header, path) for header, path, _ in sections(car)] == [
        ("", ""),
        ("[spare]", "spare"),
        ("[sides.left]", "sides.left"),
        ("[[wheels]]", "wheels[0]"),
        ("[[wheels]]", "wheels[1]"),
    ]


def test_settings_as_text_are_the_same_values_with_their_origin() -> None:
    car = Car(sides={"left": Wheel(label="l")}, wheels=(Wheel(label="a"),), notes={"n": "m"})
    origins = {"share": Origin.FILE, "sides.left.label": Origin.ENVIRONMENT}
    written = text(car, origins)
    assert tomllib.loads(written) == plain(car)
    lines = written.splitlines()
    assert "share = 0.5  # file" in lines
    assert 'label = "l"  # environment' in lines
    assert "fast = true  # default" in lines
