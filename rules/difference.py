"""What a diff is asked, and what it says: the rules of it, one difference, and all of them.

Law: every text of a difference can be written as UTF-8, and is short.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import Struct

from rules.canonical import Path
from rules.tolerance import Rule, Rulebook

NODES_MAX = 1_000_000
"""Members and elements that one comparison looks at: about a second at the most."""


class Class(StrEnum):
    """The kind of a difference."""

    MISSING = "missing"  # in the primary only
    EXTRA = "extra"  # in the secondary only
    TYPE = "type"
    VALUE = "value"
    ORDER = "order"  # an array with the same elements in another order
    LENGTH = "length"  # an array with more or fewer elements


class Difference(Struct, frozen=True, kw_only=True, gc=False):
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


class DiffResult(Struct, frozen=True, kw_only=True, gc=False):
    """What differs. `ignored` names the rules that ate a difference; `truncated` says that there
    may be more, `exhausted` that it is so because `nodes_max` was reached."""

    differences: tuple[Difference, ...]
    ignored: tuple[str, ...] = ()
    truncated: bool = False
    exhausted: bool = False
