"""The field-by-field difference of two documents, bounded in number, depth, length and time.

Law: "primary" is the measure. `missing` is what only the primary has, `extra` what only the
secondary has. Documents are trees as a parser makes them, entered to a depth and no deeper; nothing
is equal because of a digest: digests only propose which elements of arrays to pair.
"""

from collections import Counter, deque
from collections.abc import Collection
from functools import cached_property
from operator import itemgetter
from typing import Any

from rules.canonical import Budget, Digests, Exhausted, Path, Sight
from rules.difference import Class, Difference, DiffResult, DiffRules
from rules.pairing import Pairing, places
from rules.pointer import Anywhere
from rules.same import NONE, Same, Spelling
from rules.tolerance import Rule
from rules.value import CONTAINERS, equal, identical, printable, shown, sort

Array = list[object]
_ENTRY_NODES = 8  # what it costs to enter a container, or to look for the rule of a difference
_TRY_NODES = 20  # what it costs to try two elements, beside what is in them
_TEXT_CHARACTERS = 16  # of a text that is searched for identities, for one node
_WHOLE_DEPTH_MAX = 8  # above it, containers are first compared as a whole, at the speed of C
_SLICE = 64  # elements of an array compared as a whole


_MISSING, _EXTRA, _TYPE, _VALUE = Class.MISSING, Class.EXTRA, Class.TYPE, Class.VALUE
# An enum's member costs 80 ns to look up in Python 3.11, a global 2.


def diff(
    primary: object, secondary: object, rules: DiffRules, same: Same = NONE, at: Path = ()
) -> DiffResult:
    """Compare two documents, in document order; paths in the result begin with `at`.

    1 equals 1.0, True is not 1, a number is not a text. The two values of an identity in `same` count as
    equal, also as whole segments inside a text ("/users/17"). Never raises for documents of any
    depth; the time is linear in their size, and what goes beyond is counted against `nodes_max`.
    """
    walk = _Walk(rules, same, Budget(rules.nodes_max), at)
    try:
        walk.meet((), primary, secondary)
    except (Exhausted, RecursionError):
        walk.truncated = True
    exhausted = walk.budget.nodes < 0
    return DiffResult(
        differences=tuple(walk.found),
        ignored=tuple(walk.ignored),
        truncated=walk.truncated or exhausted,
        exhausted=exhausted,
    )


class _Walk:
    """One pass over two documents. `eating`: whether what is ignored, or merely present, is left out."""

    def __init__(
        self, rules: DiffRules, same: Same, budget: Budget, at: Path = (), *, eating: bool = True
    ) -> None:
        self.rules = rules
        self.book = book = rules.book
        self.ruled = book.any
        self.entry_nodes = _ENTRY_NODES * book.weight
        self.same = same
        self.named = same is not NONE and bool(same)
        self.budget = budget
        self.eating = eating
        self.limit = rules.differences_max
        self.at = at
        self.found: list[Difference] = []
        self.ignored: dict[str, None] = {}
        self.truncated = False

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

    def enter(self, path: Path, one: Any, other: Any) -> None:  # noqa: ANN401 - dicts, or lists
        """Compare two containers of one sort. Raises Exhausted."""
        budget = self.budget
        if len(self.found) >= self.limit or len(path) >= self.rules.depth_max:
            self.truncated = True
            return
        budget.nodes -= self.entry_nodes
        if budget.nodes < 0:
            raise Exhausted
        if self.ruled and self.eaten(path, one, other):
            return
        if type(one) is dict:
            self.objects(path, one, other)
        else:
            self.arrays(path, one, other)

    def alike(self, path: Path, one: object, other: object) -> bool:
        """Whether two scalars are one identity."""
        if not self.named:
            return False
        texts = (value for value in (one, other) if isinstance(value, str))
        self.budget.nodes -= 1 + sum(map(len, texts)) // _TEXT_CHARACTERS
        return self.same.alike(one, other, path)

    def meet(self, path: Path, one: object, other: object) -> None:
        """Compare two values, which may be of two sorts."""
        kind = type(one)
        if kind is not type(other) and sort(one) is not sort(other):
            containers = kind in CONTAINERS or type(other) in CONTAINERS
            if (containers or not self.rules.presence) and not self.alike(path, one, other):
                self.report(path, _TYPE, one, other)
        elif kind is dict or kind is list:
            self.enter(path, one, other)
        else:
            self.scalars(path, one, other)

    def scalars(self, path: Path, one: object, other: object) -> None:
        """Compare two scalars of one sort."""
        if not (self.rules.presence or equal(one, other) or self.alike(path, one, other)):
            self.report(path, _VALUE, one, other)

    def eaten(self, path: Path, one: object, other: object) -> bool:
        """Whether a rule takes any difference of two containers; it is named if there is one."""
        rule = self.eats(path)
        if rule is None:
            return False
        if rule.name not in self.ignored and self.differs(path, one, other, eating=False):
            self.ignored[rule.name] = None
        return True

    def eats(self, path: Path) -> Rule | None:
        """The rule that takes any difference of two values at a path."""
        return self.book.eats(path) or self.book.present.first(path) if self.eating else None

    def objects(self, path: Path, one: dict[str, Any], other: dict[str, Any]) -> None:
        common = len(one)
        self.budget.nodes -= common + 1
        whole = len(path) < _WHOLE_DEPTH_MAX
        only = common == 1 == len(other) and not (self.ruled or self.named)
        # the difference is in it, as a rule
        renamed: tuple[str, ...] = ()
        for name, value in one.items():
            try:
                counterpart = other[name]
            except KeyError:
                common -= 1
                renamed += self.alone(path, name, one, other)
                continue
            if value is counterpart:
                continue
            kind = type(value)
            if kind is not type(counterpart):
                self.meet((*path, name), value, counterpart)
            elif kind is dict or kind is list:
                looked = whole and not (only and len(value) <= _SLICE)
                if not (looked and identical(value, counterpart)):
                    self.enter((*path, name), value, counterpart)
            elif value != counterpart:
                self.scalars((*path, name), value, counterpart)
        if len(other) > common + len(renamed):
            self.beyond(path, other, one.keys() | renamed)

    def alone(
        self, path: Path, name: str, one: dict[str, object], other: dict[str, object]
    ) -> tuple[str, ...]:
        """Compare a member that the secondary lacks with the one of its other name, and say which that is;
        report it where there is none."""
        alias = self.counterpart(path, name, one, other) if self.ruled else None
        if alias is None:
            self.report((*path, name), _MISSING, one[name], None)
            return ()
        rule, known, alias_name = alias
        self.ignored[rule.name] = None
        self.meet((*path, known), one[name], other[alias_name])
        return (alias_name,)

    def beyond(self, path: Path, other: dict[str, object], known: Collection[str]) -> None:
        """Report what the secondary has beyond the members that are known."""
        for name, value in other.items():
            if name not in known:
                self.report((*path, name), _EXTRA, None, value)

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

    def arrays(self, path: Path, one: Array, other: Array) -> None:
        if self.ruled and (rule := self.book.unordered.first(path)) is not None:
            if path or not identical(one, other):  # below the root that was looked at before
                self.unordered(path, one, other, rule)
            return
        size, count, truncated = len(one), len(self.found), self.truncated
        as_long = size == len(other)
        if not as_long:
            self.report(path, Class.LENGTH, size, len(other))
            size = min(size, len(other))
        if size <= _SLICE:
            self.pairwise(path, one, other, range(size))
        else:
            self.slices(path, one, other, size)
        several = len(self.found) > count + 1 or self.truncated
        if several and as_long and self.reordered(path, one, other, count):
            del self.found[count:]
            self.truncated = truncated
            self.report(path, Class.ORDER, one, other)

    def slices(self, path: Path, one: Array, other: Array, size: int) -> None:
        """Compare so many elements, slice by slice."""
        whole = len(path) < _WHOLE_DEPTH_MAX
        for first in range(0, size, _SLICE):
            last = min(first + _SLICE, size)
            if whole and identical(one[first:last], other[first:last]):
                continue
            if not self.pairwise(path, one, other, range(first, last)):
                break

    def pairwise(self, path: Path, one: Array, other: Array, indexes: range) -> bool:
        """Compare the elements at these indexes; False where there is no room for what may come of it."""
        budget = self.budget
        if budget.nodes < 0 or (self.truncated and len(self.found) >= self.limit):
            self.truncated = True
            return False
        budget.nodes -= len(indexes)
        whole = len(path) < _WHOLE_DEPTH_MAX
        for index in indexes:
            value, counterpart = one[index], other[index]
            kind = type(value)
            if kind is not type(counterpart):
                self.meet((*path, str(index)), value, counterpart)
            elif kind is dict or kind is list:
                if not (whole and identical(value, counterpart)):
                    self.enter((*path, str(index)), value, counterpart)
            elif value != counterpart:
                self.scalars((*path, str(index)), value, counterpart)
        return True

    def reordered(self, path: Path, one: Array, other: Array, count: int) -> bool:
        """Whether the order of an array is all that was found in it, after so many differences elsewhere."""
        depth = len(self.at) + len(path)
        moved = {int(difference.path[depth]) for difference in self.found[count:]}
        if not moved or (len(moved) == 1 and not self.truncated):
            return False
        indexes = range(len(one)) if self.truncated else moved  # equal elements need no second look
        ours, theirs = self.seen(Sight.DECLARED, path, (one, other), (indexes, indexes))
        return Counter(ours) == Counter(theirs)

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
            self.report((*path, Anywhere(index)), _MISSING, one[index], None)
        for index in theirs:
            self.report((*path, Anywhere(index)), _EXTRA, None, other[index])

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
        walk.meet(path, one, other)
        return bool(walk.found) or walk.truncated or (bool(walk.ignored) and not eating)

    def report(self, path: Path, kind: Class, one: object, other: object) -> None:
        self.budget.nodes -= self.entry_nodes
        rule = self.taker(path, kind, one, other) if self.ruled else None
        if rule is not None:
            self.ignored[rule.name] = None
        elif len(self.found) >= self.limit:
            self.truncated = True
        else:
            if self.ruled:
                path = tuple(map(str, path))  # the index of an unordered array is none
            if not "".join(path).isascii():
                path = tuple(map(printable, path))
            ours = "" if kind is _EXTRA else shown(one)
            theirs = "" if kind is _MISSING else shown(other)
            self.found.append(
                Difference(path=self.at + path, kind=kind, primary=ours, secondary=theirs)
            )

    def taker(self, path: Path, kind: Class, one: object, other: object) -> Rule | None:
        """The rule that takes a difference away."""
        book = self.book
        if self.eating:
            rule = book.eats(path)
            if rule is None and kind not in (_MISSING, _EXTRA):
                rule = book.present.first(path)
            if rule is not None:
                return rule
        if kind in (_VALUE, _TYPE) and book.accepting:
            for rule in book.accepting.found(path):
                self.budget.nodes -= rule.cost(one, other)
                if rule.accepts(one, other):
                    return rule
        return None
