"""From TOML text and environment variables to declared dataclasses, with every problem on the way.

Law: nothing is guessed and nothing is lost. What is wrong keeps its default and is noted; the
environment wins over the file; no secret gets into a message. Knows no single key, but those beside
a secret.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar, cast

from proxy.control.keys import NESTED, Key, Origin, Shape, keys, sections, toml, under
from rules.redact import DEFAULT_FIELDS, DEFAULT_HEADERS

PREFIX = "TWINWRITE_"
"""Every environment variable that sets a key begins so."""

VALUE_CHARACTERS_MAX = 80
"""A value in a problem is shown up to this length."""

_T = TypeVar("_T")
_WHERE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_USERINFO = re.compile(r"(?<=//).*(?=@)", re.DOTALL)
_BESIDE = ("auth_env", "auth_file", "auth_header", "set_headers")  # where one is put by mistake
_KEYS = ("encryption_key_env", "encryption_key_file")  # as well
_SECRET = frozenset(word.lower() for word in (*DEFAULT_FIELDS, *DEFAULT_HEADERS, *_BESIDE, *_KEYS))
_TRUTH = {"1": True, "true": True, "yes": True, "on": True,
          "0": False, "false": False, "no": False, "off": False}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    `source` is the file, or "environment"; `key` the dotted TOML path (rows count from 0:
    `routes[2].path`) or the name of a variable; `value` how it is written, secrets masked, empty
    where there is nothing to show; `allowed` what is allowed, in one line.
    """

    source: str
    key: str
    value: str
    allowed: str

    def __str__(self) -> str:
        shown = f"{self.key} = {self.value}" if self.value else self.key
        return ": ".join(part for part in (self.source, shown, self.allowed) if part)


class Reading:
    """One pass over a TOML document: what it sets, and all that is wrong with it.

    `variables` (path -> name) are the environment variables that put a value into the document; a
    problem with such a value names the variable.
    """

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        self._source = source
        self._variables = variables
        self._found: set[str] = set()
        self._bad: set[str] = set()
        self.problems: list[Problem] = []

    @property
    def origins(self) -> Mapping[str, Origin]:
        """Where each value that is not a default comes from, by path."""
        origins = dict.fromkeys(self._found, Origin.FILE)
        return MappingProxyType(origins | dict.fromkeys(self._variables, Origin.ENVIRONMENT))

    def refuse(self, path: str, value: object, allowed: str) -> None:
        """Note a problem with the value at a path; None shows no value."""
        self._bad.add(path)
        variable = self._variables.get(path.partition("[")[0])
        source = self._source if variable is None else "environment"
        shown = "" if value is None else _shown(path, value)
        self.problems.append(
            Problem(source=source, key=variable or path, value=shown, allowed=allowed)
        )

    def clash(self, paths: tuple[str, ...], value: object, allowed: str) -> None:
        """Note at the first path that values contradict each other; not if one is bad by itself."""
        if self._bad.isdisjoint(paths):
            self.refuse(paths[0], value, allowed)

    def table(self, base: _T, raw: object, path: str = "") -> _T:
        """The dataclass `base` with what a TOML table sets; what is wrong keeps its default."""
        if not isinstance(raw, dict):
            self.refuse(path, raw, "must be a table")
            return base
        declared = keys(type(base))
        self._unknown(raw, [each.name for each in declared], path)
        changes = {each.attribute: self._member(each, base, raw, path) for each in declared}
        return cast("_T", replace(cast("Any", base), **changes))

    def _unknown(self, raw: Mapping[str, object], known: Iterable[str], path: str) -> None:
        for name in raw:
            if name not in known:
                self.refuse(under(path, name), None, "unknown key" + suggestion(name, known))

    def _member(self, key: Key, base: object, raw: Mapping[str, object], path: str) -> object:
        path, value = under(path, key.name), getattr(base, key.attribute)
        if key.name in raw:
            self._found.add(path)
            return self._value(key, value, raw[key.name], path)
        if key.shape in (Shape.TABLE, Shape.TABLES):
            return self._value(key, value, {}, path)
        needed = key.needed(value)
        if needed:
            self.refuse(path, None, needed)
        return value

    def _value(self, key: Key, base: object, raw: object, path: str) -> object:
        match key.shape:
            case Shape.TABLE:
                return self.table(base, raw, path)
            case Shape.TABLES:
                return self._tables(key, cast("Mapping[Any, Any]", base), raw, path)
            case Shape.ROWS:
                return tuple(
                    self.table(key.item(), row, at) for at, row in self._items(key, raw, path)
                )
            case Shape.TEXTS:
                return tuple(
                    self._single(key, "", item, at) for at, item in self._items(key, raw, path)
                )
            case Shape.PAIRS:
                return self._pairs(key, raw, path)
            case _:
                return self._single(key, base, raw, path)

    def _single(self, key: Key, base: object, raw: object, path: str) -> object:
        try:
            return key.value(raw)
        except ValueError as error:
            self.refuse(path, raw, str(error))
            return base

    def _items(self, key: Key, raw: object, path: str) -> Iterator[tuple[str, object]]:
        if isinstance(raw, list):
            yield from ((f"{path}[{index}]", item) for index, item in enumerate(raw))
        else:
            self.refuse(path, raw, f"must be {key.allowed}")

    def _tables(self, key: Key, base: Mapping[Any, Any], raw: object, path: str) -> object:
        if not isinstance(raw, dict):
            self.refuse(path, raw, "must be a table")
            return base
        names, table = key.item
        tables = dict(base)
        if names is not str:
            self._unknown(raw, list(names), path)
        for name in [*base, *(name for name in raw if name not in base)]:
            if name in base or (names is str and self._checked(key, (name,), under(path, name))):
                start = base.get(name, table())
                tables[name] = self.table(start, raw.get(name, {}), under(path, name))
        return MappingProxyType(tables)

    def _pairs(self, key: Key, raw: object, path: str) -> Mapping[str, str]:
        if not isinstance(raw, dict):
            self.refuse(path, raw, f"must be {key.allowed}")
            return {}
        for name, value in raw.items():
            at = under(path, name)
            if not isinstance(value, str):
                self.refuse(at, value, "must be a string")
            else:
                self._checked(key, (name, value), at)
        return MappingProxyType(raw)

    def _checked(self, key: Key, given: tuple[str, ...], path: str) -> bool:
        try:
            if key.check is not None:
                key.check(*given)
        except ValueError as error:
            self.refuse(path, given[1] if len(given) > 1 else None, str(error))
            return False
        return True


def document(text: str, source: str) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """The raw tables of a TOML text, or the problem with its syntax: with line and column."""
    try:
        return tomllib.loads(text), ()
    except RecursionError:
        detail = "not valid TOML: nested too deeply"
    except ValueError as error:
        found = _WHERE.fullmatch(str(error))
        line, column = (found[2], found[3]) if found and found[2] else _end(text)
        detail = f"line {line}, column {column}: not valid TOML: {found[1] if found else error}"
    return {}, (Problem(source=source, key="", value="", allowed=detail),)


def variables(settings: object, tables: Iterable[str]) -> Mapping[str, tuple[str, Key]]:
    """Every environment variable, with the path and the key that it sets; `tables` are left out."""
    found = {}
    for _, path, table in sections(settings):
        if path.partition(".")[0].partition("[")[0] not in tables:
            for key in keys(type(table)):
                if key.shape not in NESTED:
                    at = under(path, key.name)
                    found[PREFIX + at.replace(".", "_").upper()] = (at, key)
    return found


def overlay(raw: dict[str, Any], path: str, value: object) -> None:
    """Put a value into a document; where something other than a table is in the way, it stays."""
    *tables, name = path.split(".")
    place: Any = raw
    for table in tables:
        place = place.setdefault(table, {})
        if not isinstance(place, dict):
            return
    place[name] = value


def from_variable(key: Key, text: str) -> object:
    """What TOML would have given for the text of a variable; where that fails the text itself."""
    try:
        match key.shape:
            case Shape.BOOLEAN:
                return _TRUTH.get(text.lower(), text)
            case Shape.INTEGER:
                return int(text)
            case Shape.NUMBER:
                return float(text)
            case Shape.TEXTS:
                return [item.strip() for item in text.split(",") if item.strip()]
            case _:
                return text
    except ValueError:
        return text


def suggestion(word: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown word: the known one that looks most like it."""
    close = difflib.get_close_matches(word, [str(each) for each in known], n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _shown(path: str, value: object) -> str:
    if any(part.lower() in _SECRET for part in re.split(r"[.\[\]\"]+", path)):
        return '"***"'
    if isinstance(value, dict):
        return "{...}"
    if isinstance(value, list):
        value = ["{...}" if isinstance(item, dict) else item for item in value]
    written = _USERINFO.sub("***", toml(value))
    if len(written) > VALUE_CHARACTERS_MAX:
        return written[: VALUE_CHARACTERS_MAX - 3] + "..."
    return written


def _end(text: str) -> tuple[int, int]:
    lines = text.split("\n")
    return len(lines), len(lines[-1]) + 1
