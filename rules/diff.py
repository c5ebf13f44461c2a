"""The field-by-field difference of two documents, bounded in number, depth, length and time.

Law: "primary" is the measure. `missing` is what only the primary has, `extra` what only the
secondary has. Documents are trees as a parser makes them; nothing here recurses into them, and
nothing is equal because of a digest: digests only propose which elements of arrays to pair.
"""

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from operator import itemgetter
from typing import Any

from rules.canonical import Budget, Digests, Exhausted, Path, Sight
from rules.pairing import Pairing, places
from rules.pointer import Anywhere
from rules.same import NONE, Same, Spelling
from rules.tolerance import Rule, Rulebook
from rules.value import CONTAINERS, equal, identical, printable, shown, sort

Array = list[object]
NODES_MAX = 1_000_000
"""Members and elements that one comparison looks at: about a second at the most."""

_ENTRY_NODES = 8  # what it costs to enter a container, or to look for the rule of a difference
_TRY_NODES = 20  # what it costs to try two elements, beside what is in them
_TEXT_CHARACTERS = 16  # of a text that is searched for identities, for one node
_WHOLE_DEPTH_MAX = 8  # above it, containers are first compared as a whole, at the speed of C
_SLICE = 64  # elements of an array compared as a whole


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

    `presence`: values do not count, only what is there. `depth_max`: containers deeper than this
    are not entered. `nodes_max`: members and elements that are looked at.
    """

    rules: tuple[Rule, ...] = ()
    presence: bool = False
    differences_max: int = 50
    depth_max: int = 200
    nodes_max: int = NODES_MAX
    book: Rulebook = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "book", Rulebook(self.rules))


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffResult:
    """What differs. `ignored` names the rules that ate a difference; `truncated` says that there
    may be more, `exhausted` that it is so because `nodes_max` was reached."""

    differences: tuple[Difference, ...]
    ignored: tuple[str, ...] = ()
    truncated: bool = False
    exhausted: bool = False


def diff(
    primary: object, secondary: object, rules: DiffRules, same: Same = NONE, at: Path = ()
) -> DiffResult:
    """Compare two documents, in document order; paths in the result begin with `at`.

    1 equals 1.0, True is not 1, a number is not a text. The two values of an identity in `same` count as
    equal, also as whole segments inside a text ("/users/17"). Never raises for documents of any
    depth; the time is linear in their size, and what goes beyond is counted against `nodes_max`.
    """
    walk = _Walk(rules, same, Budget(rules.nodes_max))
    walk.at = at
    return walk.run((), primary, secondary)


_Mark = tuple[int, bool]  # differences found, and truncated or not, when an array was entered
_Step = tuple[Path, Any, Any, _Mark | None]


class _Walk:
    """One pass over two documents, with a stack of pairs of containers still to compare. An entry
    with a mark lies below the elements of an array: it is met when they are done. `eating`: whether
    what is ignored, or merely present, is left out."""

    def __init__(
        self, rules: DiffRules, same: Same, budget: Budget, *, eating: bool = True
    ) -> None:
        self.rules = rules
        self.book = rules.book
        self.ruled = self.book.any
        self.entry_nodes = _ENTRY_NODES * self.book.weight
        self.same = same
        self.budget = budget
        self.eating = eating
        self.limit = rules.differences_max
        self.at: Path = ()
        self.found: list[Difference] = []
        self.ignored: dict[str, None] = {}
        self.truncated = False
        self.stack: list[_Step] = []

    @cached_property
    def digests(self) -> dict[Sight, tuple[Digests, Digests]]:
        """Digests of the primary's values and of the secondary's, by how much they see."""
        spellings = (Spelling(self.same, 0), Spelling(self.same, 1))
        vague = Spelling(self.same, None)

        def made(names: Spelling, sight: Sight) -> Digests:
            presence = self.rules.presence
            return Digests(self.book, names, sight, self.budget, presence=presence)

        def both(sight: Sight) -> tuple[Digests, Digests]:
            ours, theirs = (vague, vague) if sight is Sight.VAGUE else spellings
            return made(ours, sight), made(theirs, sight)

        return {sight: both(sight) for sight in Sight}

    def run(self, path: Path, primary: object, secondary: object) -> DiffResult:
        self.meet(path, primary, secondary)
        while self.stack and self.budget.nodes >= 0:
            path, one, other, mark = self.stack.pop()
            try:
                if mark is not None:
                    self.leave(path, one, other, mark)
                elif len(self.found) >= self.limit:
                    self.truncated = True
                else:
                    self.enter(path, one, other)
            except Exhausted:
                break
        exhausted = self.budget.nodes < 0
        return DiffResult(
            differences=tuple(self.found),
            ignored=tuple(self.ignored),
            truncated=self.truncated or exhausted,
            exhausted=exhausted,
        )

    def alike(self, path: Path, one: object, other: object) -> bool:
        """Whether two scalars are one identity."""
        if not self.same:
            return False
        texts = (value for value in (one, other) if isinstance(value, str))
        self.budget.nodes -= 1 + sum(map(len, texts)) // _TEXT_CHARACTERS
        return self.same.alike(one, other, path)

    def meet(self, path: Path, one: object, other: object) -> None:
        """Compare two scalars, or put two containers of one sort on the stack."""
        ours, theirs = sort(one), sort(other)
        if ours is not theirs:
            containers = ours in CONTAINERS or theirs in CONTAINERS
            if (containers or not self.rules.presence) and not self.alike(path, one, other):
                self.report(path, Class.TYPE, one, other)
        elif ours in CONTAINERS:
            self.stack.append((path, one, other, None))
        elif not (self.rules.presence or equal(one, other) or self.alike(path, one, other)):
            self.report(path, Class.VALUE, one, other)

    def enter(self, path: Path, one: object, other: object) -> None:
        self.budget.nodes -= self.entry_nodes
        rule = self.eats(path) if self.ruled else None
        if rule is not None:
            if rule.name not in self.ignored and self.differs(path, one, other, eating=False):
                self.ignored[rule.name] = None
        elif len(path) >= self.rules.depth_max:
            self.truncated = True
        elif isinstance(one, dict) and isinstance(other, dict):
            self.objects(path, one, other)
        elif isinstance(one, list) and isinstance(other, list):
            rule = self.book.unordered.first(path) if self.ruled else None
            if rule is not None:
                self.unordered(path, one, other, rule)
            else:
                self.ordered(path, one, other)

    def eats(self, path: Path) -> Rule | None:
        """The rule that takes any difference of two values at a path."""
        return self.book.eats(path) or self.book.present.first(path) if self.eating else None

    def objects(self, path: Path, one: dict[str, object], other: dict[str, object]) -> None:
        start = len(self.stack)
        self.budget.nodes -= len(one) + 1
        whole = len(path) < _WHOLE_DEPTH_MAX
        renamed = set()
        for name, value in one.items():
            if name in other:
                counterpart, kind = other[name], type(value)
                if kind is dict or kind is list:
                    if whole and identical(value, counterpart):
                        continue
                elif kind is type(counterpart) and value == counterpart:
                    continue
                self.meet((*path, name), value, counterpart)
            elif self.ruled and (alias := self.counterpart(path, name, one, other)) is not None:
                rule, known, alias_name = alias
                self.ignored[rule.name] = None
                renamed.add(alias_name)
                self.meet((*path, known), value, other[alias_name])
            else:
                self.report((*path, name), Class.MISSING, value, None)
        for name, value in other.items():
            if name not in one and name not in renamed:
                self.report((*path, name), Class.EXTRA, None, value)
        self.stack[start:] = reversed(self.stack[start:])

    def counterpart(
        self, path: Path, name: str, one: dict[str, object], other: dict[str, object]
    ) -> tuple[Rule, str, str] | None:
        """The other name of a member that the secondary lacks, where it has that one, and that one is not
        the other name of an earlier member."""
        found = self.renamed(path, name, one, other)
        if found is None:
            return None
        back = self.renamed(path, found[2], other, one)
        return found if back is not None and back[2] == name else None

    def renamed(
        self, path: Path, name: str, have: dict[str, object], lack: dict[str, object]
    ) -> tuple[Rule, str, str] | None:
        """The first rule under whose other name a member may be found on the side that lacks it."""
        for found in self.book.renamed.found((*path, name)):
            if found[2] in lack and found[2] not in have:
                return found
        return None

    def ordered(self, path: Path, one: Array, other: Array) -> None:
        if len(one) != len(other):
            self.report(path, Class.LENGTH, len(one), len(other))
        elif len(one) > 1:
            self.stack.append((path, one, other, (len(self.found), self.truncated)))
        start, whole = len(self.stack), len(path) < _WHOLE_DEPTH_MAX
        for first in range(0, min(len(one), len(other)), _SLICE):
            ours, theirs = one[first : first + _SLICE], other[first : first + _SLICE]
            if whole and identical(ours, theirs):
                continue
            if self.budget.nodes < 0 or (self.truncated and len(self.found) >= self.limit):
                self.truncated = True
                break
            self.pairwise(path, first, ours, theirs)
        self.stack[start:] = reversed(self.stack[start:])

    def pairwise(self, path: Path, index: int, ours: Array, theirs: Array) -> None:
        """Compare the elements of a slice that begins at this index."""
        self.budget.nodes -= len(ours)
        whole = len(path) < _WHOLE_DEPTH_MAX
        for value, counterpart in zip(ours, theirs, strict=False):
            kind = type(value)
            if kind is dict or kind is list:
                same = whole and identical(value, counterpart)
            else:
                same = kind is type(counterpart) and value == counterpart
            if not same:
                self.meet((*path, str(index)), value, counterpart)
            index += 1

    def leave(self, path: Path, one: Array, other: Array, mark: _Mark) -> None:
        """Replace what was found inside an array by one `order`, where that says it all."""
        count, truncated = mark
        depth = len(self.at) + len(path)
        moved = {int(difference.path[depth]) for difference in self.found[count:]}
        if len(moved) > 1 or (moved and self.truncated):  # equal elements need no second look
            indexes: Collection[int] = range(len(one)) if self.truncated else moved
            ours, theirs = self.seen(Sight.DECLARED, path, (one, other), (indexes, indexes))
            if Counter(ours) == Counter(theirs):
                del self.found[count:]
                self.truncated = truncated
                self.report(path, Class.ORDER, one, other)

    def seen(
        self,
        sight: Sight,
        path: Path,
        arrays: tuple[Array, Array],
        indexes: tuple[Collection[int], Collection[int]],
    ) -> tuple[list[str], list[str]]:
        """The digests of these elements of two arrays. Raises Exhausted."""
        ours, theirs = self.digests[sight]
        return (
            ours.elements(path, arrays[0], indexes[0]),
            theirs.elements(path, arrays[1], indexes[1]),
        )

    def unordered(self, path: Path, one: Array, other: Array, rule: Rule) -> None:
        start = len(self.stack)
        pairing = Pairing(one, other)
        if rule.key:
            pairing.by_key(rule.key, path, *self.digests[Sight.FULL])
            self.budget.nodes -= len(one) + len(other)
        self.by_digest(pairing, path, Sight.FULL)
        if self.book.ignoring or self.book.present:
            self.by_digest(pairing, path, Sight.DECLARED)
        if self.same or self.book.accepting:
            self.by_trial(pairing, path)
        for counterpart, index in sorted(pairing.taken.items(), key=itemgetter(1)):
            if not identical(one[index], other[counterpart]):
                self.meet((*path, Anywhere(index)), one[index], other[counterpart])
        ours, theirs = pairing.left()
        for index in ours:
            self.report((*path, Anywhere(index)), Class.MISSING, one[index], None)
        for index in theirs:
            self.report((*path, Anywhere(index)), Class.EXTRA, None, other[index])
        self.stack[start:] = reversed(self.stack[start:])

    def by_digest(self, pairing: Pairing, path: Path, sight: Sight) -> None:
        left = pairing.left()
        if left[0] and left[1]:
            pairing.by_digest(left, self.seen(sight, path, (pairing.one, pairing.other), left))

    def by_trial(self, pairing: Pairing, path: Path) -> None:
        """Pair what digests could not: a value may be an identity here and a plain one there."""
        one, other = pairing.one, pairing.other
        unpaired, rest = pairing.left()
        if not (unpaired and rest):
            return
        everything = (range(len(one)), range(len(other)))
        ours, theirs = self.seen(Sight.VAGUE, path, (one, other), everything)
        waiting = places(everything[1], theirs)
        primaries, secondaries = self.seen(Sight.FULL, path, (one, other), everything)
        known: dict[tuple[str, str], bool] = {}

        def fits(index: int, counterpart: int) -> bool:
            self.budget.nodes -= 1
            if self.budget.nodes < 0:
                raise Exhausted
            pair = (primaries[index], secondaries[counterpart])
            if pair not in known:
                self.budget.nodes -= _TRY_NODES
                where = (*path, Anywhere(index))
                differs = self.differs(where, one[index], other[counterpart], eating=True)
                known[pair] = not differs
            return known[pair]

        pairing.by_trial(unpaired, [waiting.get(digest, deque()) for digest in ours], fits)

    def differs(self, path: Path, one: object, other: object, *, eating: bool) -> bool:
        """Whether there is a difference; without `eating`, one that a rule takes counts, too."""
        walk = _Walk(self.rules, self.same, self.budget, eating=eating)
        walk.limit = 1
        result = walk.run(path, one, other)
        taken = bool(result.ignored) and not eating
        return bool(result.differences) or result.truncated or taken

    def report(self, path: Path, kind: Class, one: object, other: object) -> None:
        self.budget.nodes -= self.entry_nodes
        rule = self.taker(path, kind, one, other) if self.ruled else None
        if rule is not None:
            self.ignored[rule.name] = None
        elif len(self.found) >= self.limit:
            self.truncated = True
        else:
            tokens = tuple([str(printable(token)) for token in path])
            ours = "" if kind is Class.EXTRA else shown(one)
            theirs = "" if kind is Class.MISSING else shown(other)
            self.found.append(
                Difference(path=self.at + tokens, kind=kind, primary=ours, secondary=theirs)
            )

    def taker(self, path: Path, kind: Class, one: object, other: object) -> Rule | None:
        """The rule that takes a difference away."""
        book = self.book
        if self.eating:
            rule = book.eats(path)
            if rule is None and kind not in (Class.MISSING, Class.EXTRA):
                rule = book.present.first(path)
            if rule is not None:
                return rule
        if kind in (Class.VALUE, Class.TYPE) and book.accepting:
            for rule in book.accepting.found(path):
                self.budget.nodes -= rule.cost(one, other)
                if rule.accepts(one, other):
                    return rule
        return None
