"""Identities in two replies: which values of the two sides stand for one thing, and where they do.

Law: an identity never hides a difference of something else. A text that only an identity can be counts
wherever it stands as a whole; a number may be anything, and counts only where the place says that it is
an identity of this kind.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

from rules.value import identity

Place = tuple[str, ...]
"""A path in the body of a reply, or the name of a header alone."""

_DELIMITERS = re.compile(r"([/?#&=;:,\"\s]+)")  # where a text is cut to find identities in it
_NUMBER = re.compile(r"-?[0-9]+")
_IDS = ("id", "ids")


class Same:
    """Values of the two sides that stand for one thing; it is not changed once it is made."""

    __slots__ = ("numbers", "places", "texts")

    def __init__(
        self,
        pairs: Iterable[tuple[str, str, str]] = (),
        places: Iterable[tuple[str, Place]] = (),
    ) -> None:
        """`pairs`: (kind, primary's, secondary's) values. `places`: (kind, where replies carry it)."""
        self.texts: set[tuple[str, str]] = set()
        self.numbers: dict[tuple[str, str], list[str]] = {}
        """The kinds of each pair of which both are numbers."""
        self.places: dict[Place, set[str]] = {}
        for kind, one, other in pairs:
            if not one or not other or one == other:
                continue
            if _NUMBER.fullmatch(one) and _NUMBER.fullmatch(other):
                self.numbers.setdefault((one, other), []).append(kind)
            else:
                self.texts.add((one, other))
        for kind, place in places:
            self.places.setdefault(place, set()).add(kind)

    def __bool__(self) -> bool:
        return bool(self.texts or self.numbers)

    def alike(self, one: object, other: object, path: Place) -> bool:
        """Whether two scalars at a path are one identity, or texts that differ only in such."""
        if not self or self._alike(identity(one), identity(other), path):
            return bool(self)
        if not (isinstance(one, str) and isinstance(other, str)):
            return False
        parts, counterparts = _DELIMITERS.split(one), _DELIMITERS.split(other)
        return len(parts) == len(counterparts) and all(
            part == counterpart or self._alike(part, counterpart, _before(parts, index))
            for index, (part, counterpart) in enumerate(zip(parts, counterparts, strict=True))
        )

    def _alike(self, ours: str, theirs: str, path: Place) -> bool:
        pair = (ours, theirs)
        return pair in self.texts or any(
            self.stands(kind, path) for kind in self.numbers.get(pair, ())
        )

    def stands(self, kind: str, path: Place) -> bool:
        """Whether a number at a path is an identity of this kind: the route says so, or the names do.

        They do for `order_id` (`orderIds`...), for the `id` of the whole body or of an `order`, and in
        texts for `orders/17` and `order_id=17`. Indexes of arrays say nothing.
        """
        declared = self.places.get(path)
        if declared is not None:
            return kind in declared
        names = [_plain(token) for token in path if not token.isdigit()][-2:]
        if not names:
            return False
        nouns = _nouns(kind)
        if names[-1] in _IDS:
            return len(names) == 1 or names[0] in nouns
        return any(names[-1] == noun + end for noun in nouns for end in _IDS)


class Spelling:
    """How digests spell the identities of one side: equal for the two values of one."""

    __slots__ = ("numbers", "same", "texts")

    def __init__(self, same: Same, side: int | None) -> None:
        """`side`: 0 the primary's, 1 the secondary's; None spells the values of both as nothing."""
        self.same = same
        self.texts: dict[str, str] = {}
        self.numbers: dict[str, list[tuple[str, str]]] = {}
        """By value: in which kinds it is spelled how."""
        if side is None:
            values = (value for pair in (*same.texts, *same.numbers) for value in pair)
            self.texts = dict.fromkeys(values, "")
            return
        self.texts = {pair[side]: pair[0] for pair in sorted(same.texts)}
        for pair, kinds in sorted(same.numbers.items()):
            named = self.numbers.setdefault(pair[side], [])
            named.extend((kind, pair[0]) for kind in kinds)

    def __bool__(self) -> bool:
        return bool(self.texts or self.numbers)

    def of(self, value: object, path: Place) -> str | None:
        """A scalar at a path with its identities spelled in one way; None where it has none."""
        parts = _DELIMITERS.split(identity(value))
        if len(parts) == 1:
            return self._known(parts[0], path)
        spelled = [self._known(part, _before(parts, index)) for index, part in enumerate(parts)]
        if not any(known is not None for known in spelled):
            return None
        return "".join(
            part if known is None else known for part, known in zip(parts, spelled, strict=True)
        )

    def _known(self, part: str, path: Place) -> str | None:
        if part in self.texts:
            return self.texts[part]
        for kind, spelled in self.numbers.get(part, ()):
            if self.same.stands(kind, path):
                return spelled
        return None


def _before(parts: list[str], index: int) -> Place:
    """What a part of a text is by what stands before it, as a path: `orders/17`, `order_id=17`."""
    if index < 2 or parts[index - 2].isdigit():
        return ()
    match parts[index - 1]:
        case "/":
            return (parts[index - 2], "id")
        case "=":
            return ("=", parts[index - 2])
        case _:
            return ()


def _plain(name: str) -> str:
    """A name without case and separators: orderId, order_id and Order-ID are one."""
    return "".join(character for character in name.lower() if character.isalnum())


@cache  # kinds are those of the configuration
def _nouns(kind: str) -> frozenset[str]:
    """How members and paths call a kind: by its name, or its plural."""
    noun = _plain(kind)
    single = noun.removesuffix("s")
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}es"
    return frozenset({noun, single, f"{noun}s", many}) - {""}


NONE: Final = Same()
"""No identities at all."""
