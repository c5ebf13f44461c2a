"""What a key of the TOML file is: how it is declared, checked, and printed.

Law: knows no single key. `proxy.control.settings` declares the keys as fields of dataclasses; the
reader, the environment variables and the effective text all follow from the declarations.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

COUNT_MAX = 1_000_000_000
"""The largest number of anything that is counted."""

_T = TypeVar("_T")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Shape(StrEnum):
    """What a key holds; the value is how a problem calls it."""

    BOOLEAN = "true or false"
    INTEGER = "an integer"
    NUMBER = "a number"
    TEXT = "a string"
    WORD = "one of"
    TEXTS = "a list of strings"
    PAIRS = "a table of strings"
    TABLE = "a table"
    TABLES = "a table of tables"
    ROWS = "an array of tables"


NESTED = frozenset((Shape.TABLE, Shape.TABLES, Shape.ROWS))
"""Shapes that hold further keys."""


class Origin(StrEnum):
    """Where the value in force comes from."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One declared key.

    `item` is the class of a word, a table or a row; of TABLES the classes of name and table.
    `within` is the lowest and the highest number. `check` raises ValueError, with what is allowed,
    for a bad text (of PAIRS: for a bad name and value; of TABLES: for a bad name).
    """

    name: str
    attribute: str
    shape: Shape
    item: Any
    default: object
    doc: str
    unit: str
    within: tuple[float, float]
    check: Callable[..., object] | None

    @property
    def words(self) -> tuple[str, ...]:
        """The allowed words; the empty one stands for a default of None."""
        return (*([""] if self.default is None else []), *(str(word) for word in self.item))

    @property
    def allowed(self) -> str:
        """What may stand there, in one line: "an integer from 1 to 86400000 ms"."""
        if self.shape is Shape.WORD:
            return "one of " + ", ".join(word or '""' for word in self.words)
        if self.shape in (Shape.INTEGER, Shape.NUMBER):
            low, high = (f"{bound:.15g}" for bound in self.within)
            return f"{self.shape} from {low} to {high} {self.unit}".rstrip()
        return str(self.shape)

    def needed(self, value: object) -> str:
        """What the key asks for if nobody sets it; empty where the value that it has will do."""
        if self.shape is Shape.TEXT:
            try:
                self.value(value)
            except ValueError as error:
                return f"is required and {error}"
        return ""

    def value(self, raw: object) -> object:
        """The value (of TEXTS: one of them) of what TOML gave; ValueError says what is allowed."""
        if self.shape is Shape.BOOLEAN and isinstance(raw, bool):
            return raw
        if self.shape in (Shape.INTEGER, Shape.NUMBER) and self._holds(raw):
            return float(cast("float", raw)) if self.shape is Shape.NUMBER else raw
        if self.shape is Shape.WORD and raw in self.words:
            return self.item(raw) if raw else None
        if self.shape in (Shape.TEXT, Shape.TEXTS) and isinstance(raw, str):
            if _SURROGATE.search(raw):  # bytes of the environment that are not UTF-8
                raise ValueError("must be UTF-8")
            if self.check is not None:
                self.check(raw)
            return raw
        raise ValueError(f"must be {self.allowed}")

    def _holds(self, raw: object) -> bool:
        types = (int,) if self.shape is Shape.INTEGER else (int, float)
        return (
            isinstance(raw, types)
            and not isinstance(raw, bool)
            and self.within[0] <= raw <= self.within[1]
        )


def key(
    default: _T,
    doc: str,
    unit: str = "",
    within: tuple[float, float] = (0, COUNT_MAX),
    check: Callable[..., object] | None = None,
) -> _T:
    """Declare a key as a field of a dataclass; see `Key`."""
    metadata = {"doc": doc, "unit": unit, "within": within, "check": check}
    return field(default_factory=lambda: default, metadata=metadata)


def keys(table: type) -> tuple[Key, ...]:
    """The keys that a dataclass declares, in order; its other fields are left out."""
    assert is_dataclass(table)
    hints = get_type_hints(table)
    found = []
    for each in fields(table):
        if "doc" in each.metadata:
            assert callable(each.default_factory)
            shape, item = _shape(hints[each.name])
            found.append(
                Key(name=each.name.rstrip("_"), attribute=each.name, shape=shape, item=item,
                    default=each.default_factory(), **each.metadata)
            )  # fmt: skip
    return tuple(found)


def under(path: str, name: str) -> str:
    """The dotted path of a key of the table at `path`, quoted where TOML wants it."""
    part = name if _BARE.fullmatch(name) else toml(name)
    return f"{path}.{part}" if path else part


def plain(value: object) -> object:
    """A value as JSON and TOML know it: tables become dicts, words text, None the empty word."""
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.attribute)) for each in keys(type(value))}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str):
        return str(value or "")
    return value


def toml(value: object) -> str:
    """A value as TOML writes it, on one line."""
    value = plain(value)
    if isinstance(value, dict):
        pairs = [f"{under('', name)} = {toml(item)}" for name, item in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def sections(settings: object) -> Iterator[tuple[str, str, object]]:
    """Every table of the settings as (header line, path, dataclass); the top level comes first."""
    yield "", "", settings
    for each in keys(type(settings)):
        value = getattr(settings, each.attribute)
        if each.shape is Shape.TABLE:
            yield from _sections(each.name, value)
        elif each.shape is Shape.TABLES:
            for name, table in value.items():
                yield from _sections(under(each.name, name), table)
        elif each.shape is Shape.ROWS:
            for index, row in enumerate(value):
                yield f"[[{each.name}]]", f"{each.name}[{index}]", row


def _sections(path: str, table: object) -> Iterator[tuple[str, str, object]]:
    """A table and the tables in it."""
    yield f"[{path}]", path, table
    for each in keys(type(table)):
        if each.shape is Shape.TABLE:
            yield from _sections(under(path, each.name), getattr(table, each.attribute))


def text(settings: object, origins: Mapping[str, Origin]) -> str:
    """Settings as TOML text: every key, the value in force, and where it comes from."""
    lines = []
    for header, path, table in sections(settings):
        lines += ["", header] if header else []
        for each in keys(type(table)):
            if each.shape is not Shape.TABLE and (header or each.shape not in NESTED):
                origin = origins.get(under(path, each.name), Origin.DEFAULT)
                lines.append(f"{each.name} = {toml(getattr(table, each.attribute))}  # {origin}")
    return "\n".join(lines) + "\n"


def _shape(hint: object) -> tuple[Shape, Any]:
    single = {bool: Shape.BOOLEAN, int: Shape.INTEGER, float: Shape.NUMBER, str: Shape.TEXT}
    origin, inner = get_origin(hint), get_args(hint)
    if hint in single:
        return single[hint], None
    if origin is UnionType:
        return Shape.WORD, inner[0]
    if origin is tuple:
        return (Shape.ROWS if is_dataclass(inner[0]) else Shape.TEXTS), inner[0]
    if origin is not None:
        return (Shape.TABLES if is_dataclass(inner[1]) else Shape.PAIRS), inner
    return (Shape.TABLE if is_dataclass(hint) else Shape.WORD), hint
