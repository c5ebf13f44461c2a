"""The field-by-field difference of two documents, bounded in number, depth and length.

Law: "primary" is the measure. `missing` is what only the primary has, `extra` what only the
secondary has. Documents are trees as a JSON parser makes them; nothing here recurses into them, and
nothing is equal because of a digest: digests only propose which elements of arrays to pair.
"""

import json
import re
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import islice
from operator import itemgetter
from typing import Any

from xxhash import xxh3_128_hexdigest

from rules.pointer import Pattern

Path = tuple[str, ...]
Array = list[object]

SHOWN_MAX = 200
"""Characters of a value that a Difference shows."""

_TRIES_MAX = 1024  # pairs of array elements compared one by one where digests cannot tell
_CHAIN_MAX = 50  # elements moved to make room for one
_DELIMITERS = re.compile(r"([/?#&=;:,\"\s]+)")
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=repr)


class Class(StrEnum):
    """The kind of a difference."""

    MISSING = "missing"  # in the primary only
    EXTRA = "extra"  # in the secondary only
    TYPE = "type"
    VALUE = "value"
    ORDER = "order"  # an array with the same elements in another order
    LENGTH = "length"  # an array with more or fewer elements


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference at `path`; both values as short JSON, "" on the side that has none.

    Every text in it can be written as UTF-8.
    """

    path: Path
    kind: Class
    primary: str
    secondary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRules:
    """What counts as a difference.

    `ignore`: differences at or below such a path are eaten. `unordered`: arrays compared as
    multisets. `same`: identity values (primary's, secondary's) that count as equal, also as whole
    segments inside a text ("/users/17"). `depth_max`: containers deeper than this are not entered.
    """

    ignore: tuple[Pattern, ...] = ()
    unordered: tuple[Pattern, ...] = ()
    differences_max: int = 50
    depth_max: int = 200
    same: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffResult:
    """What differs. `ignored` names the patterns that ate a difference; `truncated` says that
    there may be more: a limit was reached."""

    differences: tuple[Difference, ...]
    ignored: tuple[str, ...] = ()
    truncated: bool = False


def diff(primary: object, secondary: object, rules: DiffRules) -> DiffResult:
    """Compare two documents, in document order.

    1 equals 1.0, True is not 1, a number is not a text. Never raises for parsed JSON of any depth;
    the time is linear in its size, except for a bounded number of tries in unordered arrays.
    """
    return _Walk(rules).run((), primary, secondary)


_Mark = tuple[int, bool]  # differences found, and truncated or not, when an array was entered
_Step = tuple[Path, Any, Any, _Mark | None]


class _Walk:
    """One pass over two documents, with a stack of pairs of containers still to compare. An entry
    with a mark lies below the elements of an array: it is met when they are done."""

    def __init__(self, rules: DiffRules, tries: int = _TRIES_MAX) -> None:
        self.rules = rules
        self.tries = tries
        self.found: list[Difference] = []
        self.ignored: dict[str, None] = {}
        self.truncated = False
        self.stack: list[_Step] = []

    @cached_property
    def digests(self) -> tuple["_Digests", "_Digests", "_Digests"]:
        """Digests of the primary's values, of the secondary's, and vague ones for either."""
        pairs = [(one, other) for one, other in sorted(self.rules.same) if one and other]
        ours = {one: one for one, _ in pairs}
        theirs = {other: one for one, other in pairs}
        vague = dict.fromkeys([*ours, *theirs], "")
        return _Digests(self.rules, ours), _Digests(self.rules, theirs), _Digests(self.rules, vague)

    def run(self, path: Path, primary: object, secondary: object) -> DiffResult:
        self.meet(path, primary, secondary)
        while self.stack:
            path, one, other, mark = self.stack.pop()
            if mark is not None:
                self.leave(path, one, other, mark)
            elif len(self.found) >= self.rules.differences_max:
                self.truncated = True
            else:
                self.enter(path, one, other)
        found, ignored = tuple(self.found), tuple(self.ignored)
        return DiffResult(differences=found, ignored=ignored, truncated=self.truncated)

    def meet(self, path: Path, one: object, other: object) -> None:
        """Compare two scalars, or put two containers of one sort on the stack."""
        sort = _sort(one)
        if sort is not _sort(other):
            if not _alike(one, other, self.rules.same):
                self.report(path, Class.TYPE, one, other)
        elif sort is dict or sort is list:
            self.stack.append((path, one, other, None))
        elif not _equal(one, other) and not _alike(one, other, self.rules.same):
            self.report(path, Class.VALUE, one, other)

    def enter(self, path: Path, one: object, other: object) -> None:
        name = _matching(self.rules.ignore, path)
        if name is not None:
            if name not in self.ignored and self.differs(path, one, other, ()):
                self.ignored[name] = None
        elif len(path) >= self.rules.depth_max:
            self.truncated = True
        elif isinstance(one, dict) and isinstance(other, dict):
            self.objects(path, one, other)
        elif isinstance(one, list) and isinstance(other, list):
            if _matching(self.rules.unordered, path) is not None:
                self.unordered(path, one, other)
            else:
                self.ordered(path, one, other)

    def objects(self, path: Path, one: dict[str, object], other: dict[str, object]) -> None:
        start = len(self.stack)
        for name, value in one.items():
            if name not in other:
                self.report((*path, name), Class.MISSING, value, None)
            elif not _plainly_equal(value, other[name]):
                self.meet((*path, name), value, other[name])
        for name, value in other.items():
            if name not in one:
                self.report((*path, name), Class.EXTRA, None, value)
        self.stack[start:] = reversed(self.stack[start:])

    def ordered(self, path: Path, one: Array, other: Array) -> None:
        if len(one) != len(other):
            self.report(path, Class.LENGTH, len(one), len(other))
        elif len(one) > 1:
            self.stack.append((path, one, other, (len(self.found), self.truncated)))
        start = len(self.stack)
        for index, (value, counterpart) in enumerate(zip(one, other, strict=False)):
            if not _plainly_equal(value, counterpart):
                self.meet((*path, str(index)), value, counterpart)
        self.stack[start:] = reversed(self.stack[start:])

    def leave(self, path: Path, one: Array, other: Array, mark: _Mark) -> None:
        """Replace what was found inside an array by one `order`, where that says it all."""
        count, truncated = mark
        moved = {int(difference.path[len(path)]) for difference in self.found[count:]}
        if len(moved) > 1 or (moved and self.truncated):  # equal elements need no second look
            indexes: set[int] = set() if self.truncated else moved
            ours = self.digests[0].elements(path, one, indexes)
            if Counter(ours) == Counter(self.digests[1].elements(path, other, indexes)):
                del self.found[count:]
                self.truncated = truncated
                self.report(path, Class.ORDER, one, other)

    def unordered(self, path: Path, one: Array, other: Array) -> None:
        start = len(self.stack)
        taken = self.paired(path, one, other)
        if self.rules.same and self.tries > 0 and len(taken) < min(len(one), len(other)):
            self.place(path, one, other, taken)
        for counterpart, index in sorted(taken.items(), key=itemgetter(1)):
            self.meet((*path, str(index)), one[index], other[counterpart])
        for index in sorted(set(range(len(one))) - set(taken.values())):
            self.report((*path, str(index)), Class.MISSING, one[index], None)
        for index in sorted(set(range(len(other))) - set(taken)):
            self.report((*path, str(index)), Class.EXTRA, None, other[index])
        self.stack[start:] = reversed(self.stack[start:])

    def paired(self, path: Path, one: Array, other: Array) -> dict[int, int]:
        """Pair the elements of two arrays by digest: index of the secondary's -> primary's."""
        ours, theirs, _ = self.digests
        waiting = _places(theirs.elements(path, other))
        return {
            waiting[digest].popleft(): index
            for index, digest in enumerate(ours.elements(path, one))
            if waiting[digest]
        }

    def place(self, path: Path, one: Array, other: Array, taken: dict[int, int]) -> None:
        """Pair what digests could not: a value may be an identity here and a plain one there."""
        vague = self.digests[2]
        places = _places(vague.elements(path, other))
        candidates = [places[digest] for digest in vague.elements(path, one)]

        def fits(index: int, counterpart: int) -> bool:
            self.tries -= 1
            where = (*path, str(index))
            return not self.differs(where, one[index], other[counterpart], self.rules.ignore)

        def settle(index: int, seen: set[int]) -> bool:
            """Find a counterpart, where need be by moving others to theirs."""
            for counterpart in candidates[index]:
                if self.tries <= 0 or len(seen) > _CHAIN_MAX:
                    return False
                if counterpart not in seen and fits(index, counterpart):
                    seen.add(counterpart)
                    if counterpart not in taken or settle(taken[counterpart], seen):
                        taken[counterpart] = index
                        return True
            return False

        for index in sorted(set(range(len(one))) - set(taken.values())):
            settle(index, set())

    def differs(self, path: Path, one: object, other: object, ignore: tuple[Pattern, ...]) -> bool:
        rules = replace(self.rules, ignore=ignore, differences_max=1)
        result = _Walk(rules, tries=0).run(path, one, other)
        return bool(result.differences) or result.truncated

    def report(self, path: Path, kind: Class, one: object, other: object) -> None:
        name = _matching(self.rules.ignore, path)
        if name is not None:
            self.ignored[name] = None
        elif len(self.found) >= self.rules.differences_max:
            self.truncated = True
        else:
            tokens = tuple(_printable(token) for token in path)
            ours = "" if kind is Class.EXTRA else _shown(one)
            theirs = "" if kind is Class.MISSING else _shown(other)
            self.found.append(Difference(path=tokens, kind=kind, primary=ours, secondary=theirs))


class _Digests:
    """Digests of the canonical form of one side's values: key order, the spelling of numbers,
    ignored paths and the order of unordered arrays leave no trace; an identity value counts as the
    primary's. Each container is digested once."""

    def __init__(self, rules: DiffRules, names: dict[str, str]) -> None:
        self.rules = rules
        self.names = names
        self.by_path = bool(rules.ignore or rules.unordered)
        self.known: dict[int, str] = {}

    def elements(self, path: Path, array: Array, only: Collection[int] = ()) -> list[str]:
        indexes = only or range(len(array))
        return [self.token((*path, str(index)), array[index]) for index in indexes]

    def token(self, path: Path, root: object) -> str:
        """Digest a container, children first and without recursion; a scalar is its own token."""
        stack = [(path, root)] if isinstance(root, dict | list) else []
        while stack:
            path, value = stack[-1]
            unknown = [
                (where, child)
                for _, where, child in self.children(path, value)
                if isinstance(child, dict | list) and id(child) not in self.known
            ]
            if unknown:
                stack.extend(unknown)
            else:
                stack.pop()
                self.known[id(value)] = self.combined(path, value)
        return self.leaf(root)

    def children(self, path: Path, value: object) -> Iterator[tuple[str, Path, object]]:
        """List (name, path, child); paths only where rules ask for them, and only so deep."""
        extend = self.by_path and len(path) <= self.rules.depth_max
        if isinstance(value, dict):
            for name, child in value.items():
                where = (*path, name) if extend else path
                if _matching(self.rules.ignore, where) is None:
                    yield name, where, child
        elif isinstance(value, list):
            for index, child in enumerate(value):
                where = (*path, str(index)) if extend else path
                ignored = _matching(self.rules.ignore, where) is not None
                yield "", where, None if ignored else child

    def combined(self, path: Path, value: object) -> str:
        tokens = []
        for name, _, child in self.children(path, value):
            token = self.leaf(child)
            tokens.append(f"{len(name)}:{name}{len(token)}:{token}")
        if isinstance(value, dict) or _matching(self.rules.unordered, path) is not None:
            tokens.sort()
        text = "".join(tokens).encode("utf-8", "surrogatepass")
        return f"{_sort(value).__name__} {xxh3_128_hexdigest(text)}"

    def leaf(self, value: object) -> str:
        if isinstance(value, dict | list):
            return self.known[id(value)]
        if self.names:
            parts = _DELIMITERS.split(_identity(value))
            if any(part in self.names for part in parts):
                return "=" + "".join(self.names.get(part, part) for part in parts)
        if isinstance(value, str):
            return "s" + value
        if isinstance(value, float) and not value.is_integer():
            return "n" + value.hex()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return f"n{int(value):x}"
        return repr(value)


def _places(digests: list[str]) -> defaultdict[str, deque[int]]:
    places: defaultdict[str, deque[int]] = defaultdict(deque)
    for index, digest in enumerate(digests):
        places[digest].append(index)
    return places


def _matching(patterns: tuple[Pattern, ...], path: Path) -> str | None:
    for pattern in patterns:
        if pattern.matches(path):
            return pattern.text
    return None


def _sort(value: object) -> type:
    return int if type(value) is float else type(value)


def _plainly_equal(one: object, other: object) -> bool:
    """The cheap test before the exact one: equal scalars of one type."""
    sort = type(one)
    return sort is type(other) and sort is not dict and sort is not list and one == other


def _equal(one: object, other: object) -> bool:
    return one == other or (one != one and other != other)  # a NaN is equal to a NaN


def _alike(one: object, other: object, same: frozenset[tuple[str, str]]) -> bool:
    """Say whether two scalars are the two sides' values of one identity, or texts made of such."""
    if not same:
        return False
    ours, theirs = _identity(one), _identity(other)
    if ours and theirs and (ours, theirs) in same:
        return True
    if not (isinstance(one, str) and isinstance(other, str)):
        return False
    parts, counterparts = _DELIMITERS.split(one), _DELIMITERS.split(other)
    return len(parts) == len(counterparts) and all(
        part == counterpart or (part, counterpart) in same
        for part, counterpart in zip(parts, counterparts, strict=True)
    )


def _identity(value: object) -> str:
    """The text under which a scalar is known in the identity map; "" for what cannot be one."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 256:
        return str(value)
    return ""


def _shown(value: object) -> str:
    start = value[: SHOWN_MAX + 1] if isinstance(value, str) else value
    try:
        text = _printable("".join(islice(_ENCODER.iterencode(start), SHOWN_MAX + 1)))
    except ValueError:  # an integer with more digits than Python will print
        return "<a number too long to show>"
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"


def _printable(text: str) -> str:
    """Escape lone surrogates, which no file or database takes."""
    return text.encode("utf-8", "backslashreplace").decode()
