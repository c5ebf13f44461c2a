"""Which element of one unordered array stands for which of another.

Law: a pairing is only ever proposed: what is paired is compared afterwards.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Collection
from decimal import Decimal

from rules.canonical import Digests, Path
from rules.pointer import resolve

Array = list[object]
Indexes = tuple[list[int], list[int]]

_CHAIN_MAX = 50  # elements moved to make room for one


class Pairing:
    """A growing pairing of the elements of two arrays: the primary's and the secondary's."""

    def __init__(self, one: Array, other: Array) -> None:
        self.one = one
        self.other = other
        self.taken: dict[int, int] = {}
        """Index of the secondary's -> of the primary's."""

    def left(self) -> Indexes:
        """The indexes without a counterpart."""
        paired = set(self.taken.values())
        return (
            [index for index in range(len(self.one)) if index not in paired],
            [index for index in range(len(self.other)) if index not in self.taken],
        )

    def by_key(self, key: Path, path: Path, ours: Digests, theirs: Digests) -> None:
        """Pair what is named by the value at `key`, where both arrays, at `path`, have that name once."""
        names = _named(self.one, key, path, ours)
        others = _named(self.other, key, path, theirs)
        self.taken |= {others[name]: index for name, index in names.items() if name in others}

    def by_digest(self, left: Indexes, digests: tuple[list[str], list[str]]) -> None:
        """Pair what is left and has equal digests."""
        waiting = places(left[1], digests[1])
        for index, digest in zip(left[0], digests[0], strict=True):
            if waiting[digest]:
                self.taken[waiting[digest].popleft()] = index

    def by_trial(
        self,
        unpaired: list[int],
        candidates: list[deque[int]],
        fits: Callable[[int, int], bool],
    ) -> None:
        """Pair what fits, where need be by giving others another counterpart.

        `candidates`: by index of the primary's.
        """
        for index in unpaired:
            self._settle(index, candidates, fits, set())

    def _settle(
        self,
        index: int,
        candidates: list[deque[int]],
        fits: Callable[[int, int], bool],
        seen: set[int],
    ) -> bool:
        for counterpart in candidates[index]:
            if len(seen) > _CHAIN_MAX:
                return False
            if counterpart not in seen and fits(index, counterpart):
                seen.add(counterpart)
                taken = self.taken
                if counterpart not in taken or self._settle(
                    taken[counterpart], candidates, fits, seen
                ):
                    taken[counterpart] = index
                    return True
        return False


def places(indexes: Collection[int], digests: list[str]) -> defaultdict[str, deque[int]]:
    """The indexes of each digest."""
    found: defaultdict[str, deque[int]] = defaultdict(deque)
    for index, digest in zip(indexes, digests, strict=True):
        found[digest].append(index)
    return found


def _named(array: Array, key: Path, path: Path, digests: Digests) -> dict[str, int]:
    """The index of each element by the value at its key; those that share one are left out."""
    found = defaultdict(list)
    for index, element in enumerate(array):
        value = resolve(element, key)
        if isinstance(value, str | int | float | Decimal):
            found[digests.token((*path, str(index), *key), value)].append(index)
    return {name: indexes[0] for name, indexes in found.items() if len(indexes) == 1}
