"""RFC 6901 JSON pointers, and path patterns that look like them.

Law: a pointer names one place of a document, a pattern names many. Documents are what a JSON parser
makes (dict, list, str, int, float, bool, None); nothing here changes one, or recurses into it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class Missing(Enum):
    """The type of MISSING: there is nothing at that place, not even a null."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING

_INDEX = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_BAD_ESCAPE = re.compile(r"~(?![01])")


class _Wild(Enum):
    ONE = "*"
    MANY = "**"


class Anywhere(str):
    """The index of an element whose place says nothing: no pattern names it but by a wildcard."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled path pattern; `text` is how it was written, and its name in evidence."""

    text: str
    tokens: tuple[str | _Wild, ...]

    def matches(self, path: tuple[str, ...]) -> bool:
        """Say whether the pattern names exactly this path (not merely a place above it)."""
        if _Wild.MANY in self.tokens:
            return _floats(self.tokens, path)
        return len(path) == len(self.tokens) and _fits(self.tokens, path)

    def beside(self, name: str | None) -> "Pattern":
        """The pattern of a member of this name in the same object; None is the one it names."""
        return self if name is None else Pattern(self.text, (*self.tokens[:-1], name))


class Paths(Generic[T]):
    """Many patterns, each with what it stands for, looked up by path.

    A pattern without wildcards costs one look-up in a dict; of the others only those are tried that
    have the path's length, or (with `**`) its last token.
    """

    __slots__ = ("_ending", "_exact", "_floating", "_sized")

    def __init__(self, entries: Iterable[tuple[Pattern, T]]) -> None:
        self._exact: dict[tuple[str | _Wild, ...], list[tuple[int, T]]] = {}
        self._sized: dict[int, list[tuple[int, Pattern, T]]] = {}
        self._ending: dict[str, list[tuple[int, Pattern, T]]] = {}
        self._floating: list[tuple[int, Pattern, T]] = []
        for order, (pattern, item) in enumerate(entries):
            tokens = pattern.tokens
            if _Wild.MANY in tokens:
                last = tokens[-1]
                row = self._ending.setdefault(last, []) if isinstance(last, str) else self._floating
                row.append((order, pattern, item))
            elif _Wild.ONE in tokens:
                self._sized.setdefault(len(tokens), []).append((order, pattern, item))
            else:
                self._exact.setdefault(tokens, []).append((order, item))

    def __bool__(self) -> bool:
        return bool(self._exact or self._sized or self._ending or self._floating)

    @property
    def tried(self) -> int:
        """How many patterns a look-up may have to try."""
        rows = (*self._sized.values(), *self._ending.values())
        return len(self._floating) + max(map(len, rows), default=0)

    def found(self, path: tuple[str, ...]) -> list[T]:
        """What the patterns that name this path stand for, in the order in which they were given."""
        found = self._named(path)
        found.sort(key=itemgetter(0))
        return [item for _, item in found]

    def _named(self, path: tuple[str, ...]) -> list[tuple[int, T]]:
        found = list(self._exact.get(path, ())) if self._exact else []
        if self._sized and (row := self._sized.get(len(path))):
            found += [(order, item) for order, pattern, item in row if _fits(pattern.tokens, path)]
        if self._ending and path and (row := self._ending.get(path[-1])):
            found += [(order, item) for order, pattern, item in row if pattern.matches(path)]
        if self._floating:
            found += [
                (order, item) for order, pattern, item in self._floating if pattern.matches(path)
            ]
        return found

    def first(self, path: tuple[str, ...]) -> T | None:
        """The first of `found`, or None."""
        found = self._named(path)
        return min(found, key=itemgetter(0))[1] if found else None


def parse(pointer: str) -> tuple[str, ...]:
    """Split a JSON pointer ("/a/0/b~1c") into its unescaped tokens; "" is the whole document.

    Raises ValueError, with a message for the person who wrote it.
    """
    return tuple(_unescaped(token) for token in _split(pointer, "JSON pointer"))


def compile_pattern(text: str) -> Pattern:
    """Compile a pattern: a pointer in which `*` is any one token and `**` any number of tokens.

    Raises ValueError for bad syntax and for other spellings ("$.a.b[*]"); the message shows the
    right form.
    """
    tokens: list[str | _Wild] = []
    for token in _split(text, "path pattern"):
        if token in ("*", "**"):
            tokens.append(_Wild(token))
        elif "*" in token:
            raise ValueError(f"path pattern {text!r}: '*' stands for a whole token, as in '/a/*/b'")
        else:
            tokens.append(_unescaped(token))
    return Pattern(text, tuple(tokens))


def resolve(document: object, tokens: tuple[str, ...]) -> object | Missing:
    """Get the value at a parsed pointer, or MISSING."""
    value = document
    for token in tokens:
        value = _child(value, token)
        if value is MISSING:
            break
    return value


def replace(document: object, tokens: tuple[str, ...], value: object) -> object:
    """Copy `document` with `value` at a parsed pointer; parts off that path are shared.

    Where there is nothing at the pointer, the document itself comes back, unchanged.
    """
    parents: list[object] = []
    here = document
    for token in tokens:
        parents.append(here)
        here = _child(here, token)
        if here is MISSING:
            return document
    for parent, token in zip(reversed(parents), reversed(tokens), strict=True):
        value = _with_child(parent, token, value)
    return value


def _child(value: object, token: str) -> object | Missing:
    child: object = MISSING
    if isinstance(value, dict):
        child = value.get(token, MISSING)
    elif isinstance(value, list) and _INDEX.fullmatch(token) and int(token) < len(value):
        child = value[int(token)]
    return child


def _with_child(parent: object, token: str, value: object) -> object:
    if isinstance(parent, dict):
        return {**parent, token: value}
    assert isinstance(parent, list)
    copy = list(parent)
    copy[int(token)] = value
    return copy


def _split(text: str, what: str) -> list[str]:
    if not text:
        return []
    if not text.startswith("/"):
        raise ValueError(f"{what} {text!r} must begin with '/': write {_suggested(text)!r}")
    if _BAD_ESCAPE.search(text):
        raise ValueError(f"{what} {text!r}: write '~0' for '~' and '~1' for '/' inside a token")
    return text[1:].split("/")


def _suggested(text: str) -> str:
    """Turn "$.a.b[*]", "a.b" or "a/b" into the pointer spelling, as far as one can guess."""
    steps = re.sub(r"\[['\"]?([^\]'\"]*)['\"]?\]", r"/\1", text.removeprefix("$"))
    return "/" + steps.replace("..", "/**/").replace(".", "/").lstrip("/")


def _unescaped(token: str) -> str:
    return token.replace("~1", "/").replace("~0", "~")


def _fits(tokens: tuple[str | _Wild, ...], path: tuple[str, ...]) -> bool:
    """Match without `**`, and at equal lengths."""
    return all(
        token == step or token is _Wild.ONE for token, step in zip(tokens, path, strict=True)
    )


def _floats(tokens: tuple[str | _Wild, ...], path: tuple[str, ...]) -> bool:
    """Match with `**`: walk on greedily, and on a dead end let the last `**` take one step more."""
    at = step = 0
    many, resume = -1, 0
    while step < len(path):
        if at < len(tokens) and tokens[at] is _Wild.MANY:
            many, resume = at, step
            at += 1
        elif at < len(tokens) and (tokens[at] is _Wild.ONE or tokens[at] == path[step]):
            at, step = at + 1, step + 1
        elif many >= 0:
            resume += 1
            at, step = many + 1, resume
        else:
            return False
    return all(token is _Wild.MANY for token in tokens[at:])
