"""The canonical form of a document's parts, as digests: equal digests propose that parts are equal.

Law: key order, the spelling of numbers, the order of unordered arrays, the two names of a renamed
member and the two values of an identity leave no trace; how much else is left out is said by `Sight`.
"""

from collections.abc import Collection, Iterator
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from enum import Enum
from typing import Any

from xxhash import xxh3_128_hexdigest

from rules.pointer import Anywhere
from rules.same import Spelling
from rules.tolerance import Rulebook
from rules.value import exact

Path = tuple[str, ...]


_DEPTH_MAX = 200  # rules name no places that are deeper
_TEXT_CHARACTERS = 32  # of a text that is searched for identities, for one node
_EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)


NODE_COST = 2
"""What it costs to digest a node, in nodes that are compared; more where rules have paths."""


class Sight(Enum):
    """What a digest sees: `full` all values; `declared` not what is ignored, or merely present;
    `vague` not what any rule may accept, nor the values of identities."""

    FULL = "full"
    DECLARED = "declared"
    VAGUE = "vague"


class Budget:
    """The members and elements that may still be looked at; below 0 a comparison has had enough."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes


class Exhausted(Exception):
    """The budget is used up."""


class Digests:
    """Digests of one side's values. Each container is digested once, within a budget."""

    def __init__(
        self, book: Rulebook, names: Spelling, sight: Sight, budget: Budget, *, presence: bool
    ) -> None:
        """`names`: the text by which each value of an identity counts."""
        self.book = book
        self.names = names
        self.named = bool(names)
        self.sight = sight
        self.presence = presence
        self.budget = budget
        self.by_path = book.any or bool(names.numbers)
        self.cost = NODE_COST * (1 + book.weight if self.by_path else 1)
        self.known: dict[int, str] = {}

    def elements(self, path: Path, array: list[object], only: Collection[int]) -> list[str]:
        """The digests of these elements of the array at a path. Raises Exhausted."""
        self.spend(len(only))
        step = self.step(path)
        return [self.token((*path, step(index)), array[index]) for index in only]

    def step(self, path: Path) -> type[str]:
        """How an index of the array at a path is written: in one without an order it names no place."""
        return str if self.book.unordered.first(path) is None else Anywhere

    def token(self, path: Path, root: object) -> str:
        """Digest a value, children first and without recursion; a scalar is its own digest."""
        if self._blank(path):
            return "-"
        stack: list[tuple[Path, Any]] = []
        if isinstance(root, dict | list) and id(root) not in self.known:
            stack.append((path, root))
        while stack:
            at, value = stack[-1]
            self.spend(len(value))
            unknown = [
                (where, child)
                for _, where, child in self.children(at, value)
                if isinstance(child, dict | list) and id(child) not in self.known
            ]
            if unknown:
                stack.extend(unknown)
            else:
                stack.pop()
                self.known[id(value)] = self._combined(at, value)
        return self._leaf(root, path)

    def spend(self, nodes: int) -> None:
        """Count what is about to be digested. Raises Exhausted."""
        self.budget.nodes -= nodes * self.cost
        if self.budget.nodes < 0:
            raise Exhausted

    def children(self, path: Path, value: object) -> Iterator[tuple[str, Path, object]]:
        """List (name, path, child); paths only where rules ask for them, and only so deep."""
        extend = self.by_path and len(path) <= _DEPTH_MAX
        if isinstance(value, dict):
            for name, child in value.items():
                if not extend:
                    yield name, path, child
                    continue
                known = self._name(path, name, value)
                where = (*path, known)
                if self.sight is Sight.FULL or self.book.eats(where) is None:
                    yield known, where, None if self._blank(where) else child
        elif isinstance(value, list):
            step = self.step(path) if extend else str
            for index, child in enumerate(value):
                where = (*path, step(index)) if extend else path
                yield "", where, None if extend and self._blank(where) else child

    def _name(self, path: Path, name: str, value: dict[str, object]) -> str:
        """The name under which a member is known."""
        found = self.book.renamed.first((*path, name))
        return name if found is None or found[2] in value else found[1]

    def _blank(self, path: Path) -> bool:
        if self.sight is Sight.FULL or not self.by_path:
            return False
        book = self.book
        return (
            book.eats(path) is not None
            or book.present.first(path) is not None
            or (self.sight is Sight.VAGUE and book.accepting.first(path) is not None)
        )

    def _combined(self, path: Path, value: object) -> str:
        tokens = []
        for name, where, child in self.children(path, value):
            token = self._leaf(child, where)
            tokens.append(f"{len(name)}:{name}{len(token)}:{token}")
        if isinstance(value, dict) or self.book.unordered.first(path) is not None:
            tokens.sort()
        text = "".join(tokens).encode("utf-8", "surrogatepass")
        return f"{type(value).__name__} {xxh3_128_hexdigest(text)}"

    def _leaf(self, value: object, path: Path) -> str:
        if isinstance(value, dict | list):
            return self.known[id(value)]
        if self.presence:
            return ""
        if self.named:
            if isinstance(value, str):
                self.spend(len(value) // _TEXT_CHARACTERS)
            spelled = self.names.of(value, path)
            if spelled is not None:
                return "=" + spelled
        if isinstance(value, str):
            return "s" + value
        if isinstance(value, float) and not value.is_integer():
            return "n" + value.hex()
        if isinstance(value, float | Decimal):
            return _decimal(exact(value))
        if isinstance(value, int) and not isinstance(value, bool):
            return f"n{value:x}"
        return repr(value)


def _decimal(value: Decimal) -> str:
    """A number as it is equal to others: a whole one as integers are, any other without zeros at its end."""
    if value == value.to_integral_value():
        return f"n{int(value):x}"
    return f"n{value.normalize(_EXACT)}"
