"""Rules: the differences that a route declares not to matter, each under a name.

Law: a rule only ever takes a difference away, and it does so alike whichever side is called primary.
What it took is known by its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from enum import StrEnum
from functools import cache
from math import isfinite

from rules.expression import STEPS_MAX, Expression
from rules.instant import instant
from rules.pointer import Paths, Pattern
from rules.value import exact

NUMBER_CHARACTERS_MAX = 64
"""Longer texts are not read as numbers."""

_MICROSECOND = 1e-6  # below it a float of our time does not count
_DISTANCES = Context(prec=128, traps=[])  # twice the digits that are read from a text


class RuleKind(StrEnum):
    """What a rule allows at its paths."""

    IGNORE = "ignore"  # any difference, at or below
    PRESENCE = "presence"  # any difference at or below, as long as both have something there
    REGEX = "regex"  # two values that both match an expression as a whole
    NUMBER = "number"  # two numbers, also as texts, that are close
    TIME = "time"  # two points in time, in any common format, that are close
    TYPE = "type"  # "1" for 1, "true" for true
    UNORDERED = "unordered"  # the elements of an array in any order
    RENAME = "rename"  # a member under another name


ACCEPTING = frozenset((RuleKind.REGEX, RuleKind.NUMBER, RuleKind.TIME, RuleKind.TYPE))
"""Those that look at the two values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `paths` are relative to the parsed body, `headers` are names in lower case.

    `absolute`: the largest distance of two numbers; `relative`: the same as a share of the larger
    one; either is enough. `within_s`: seconds between two points in time. `key`: where the elements
    of an unordered array say what they are. `to`: the other name of the member that `paths` name.
    `everywhere`: it stands under `[compare]`, not on a route.
    """

    name: str
    kind: RuleKind
    paths: tuple[Pattern, ...] = ()
    headers: tuple[str, ...] = ()
    expression: Expression | None = None
    absolute: float = 0.0
    relative: float = 0.0
    within_s: float = 0.0
    key: tuple[str, ...] = ()
    to: str = ""
    everywhere: bool = False

    def accepts(self, one: object, other: object) -> bool:
        """Whether it takes the difference of these two scalars away."""
        match self.kind:
            case RuleKind.REGEX:
                return self._fits(one) and self._fits(other)
            case RuleKind.NUMBER:
                ours, theirs = decimal(one), decimal(other)
                return ours is not None and theirs is not None and self._near(ours, theirs)
            case RuleKind.TIME:
                first, second = instant(one), instant(other)
                return (
                    first is not None
                    and second is not None
                    and abs(first - second) <= self.within_s + _MICROSECOND
                )
            case RuleKind.TYPE:
                return _reads_alike(one, other) or _reads_alike(other, one)
            case _:
                return False

    def cost(self, one: object, other: object) -> int:
        """What `accepts` costs, in looks at a plain value."""
        if self.expression is None:
            return 1
        steps = (self.expression.steps(written(value) or "") for value in (one, other))
        return sum(min(each, STEPS_MAX) for each in steps) // 4 + 1

    def _near(self, one: Decimal, other: Decimal) -> bool:
        """Whether they are within one of the distances, as decimals: 1.01 is 0.01 from 1."""
        if one == other:
            return True
        apart = _DISTANCES.subtract(one, other).copy_abs()
        if apart <= _distance(self.absolute):
            return True
        largest = max(one.copy_abs(), other.copy_abs())
        return apart <= _DISTANCES.multiply(_distance(self.relative), largest)

    def _fits(self, value: object) -> bool:
        text = written(value)
        return text is not None and self.expression is not None and self.expression.matches(text)


@cache  # distances are those of the configuration
def _distance(value: float) -> Decimal:
    return Decimal(repr(value))


class Rulebook:
    """Rules made ready to be looked up by path."""

    __slots__ = ("accepting", "any", "ignoring", "present", "renamed", "unordered", "weight")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        def of(*kinds: RuleKind) -> Paths[Rule]:
            chosen = [rule for rule in rules if rule.kind in kinds]
            return Paths((pattern, rule) for rule in chosen for pattern in rule.paths)

        self.ignoring = of(RuleKind.IGNORE)
        self.present = of(RuleKind.PRESENCE)
        self.accepting = of(*ACCEPTING)
        self.unordered = of(RuleKind.UNORDERED)
        renaming = [rule for rule in rules if rule.kind is RuleKind.RENAME]
        self.renamed: Paths[tuple[Rule, str, str]] = Paths(
            (pattern.beside(name), (rule, str(pattern.tokens[-1]), other))
            for rule in renaming
            for pattern in rule.paths
            for name, other in ((None, rule.to), (rule.to, str(pattern.tokens[-1])))
        )
        """By path of a member: the rule, the name under which it is known, and the other name."""
        self.any = any(rule.paths for rule in rules)
        """Whether there is anything to look up."""
        tried = (self.ignoring, self.present, self.accepting, self.unordered, self.renamed)
        self.weight = 1 + sum(paths.tried for paths in tried)
        """How much more a look-up costs, because of patterns that have to be tried."""

    def eats(self, path: tuple[str, ...]) -> Rule | None:
        """The rule that ignores whatever is at a path."""
        return self.ignoring.first(path) if self.ignoring else None


def for_headers(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The rules that concern headers, with the headers as the paths of a document of them."""
    return tuple(
        Rule(
            name=rule.name,
            kind=rule.kind,
            paths=tuple(Pattern(name, (name,)) for name in rule.headers),
            expression=rule.expression,
            absolute=rule.absolute,
            relative=rule.relative,
            within_s=rule.within_s,
        )
        for rule in rules
        if rule.headers
    )


Use = tuple[str, str]
"""A route, and the name of one of its rules."""


def unused(rules: Mapping[str, tuple[Rule, ...]], uses: Mapping[Use, int]) -> tuple[Use, ...]:
    """The rules, of each route by its name, that never took a difference away.

    One of `[compare]` is unused when no route used it: its route is then "". What `unordered` takes
    leaves no trace, so these are not among them.
    """
    traced = {
        route: [rule for rule in declared if rule.kind is not RuleKind.UNORDERED]
        for route, declared in rules.items()
    }
    everywhere = {rule.name: False for each in traced.values() for rule in each if rule.everywhere}
    found = []
    for route, declared in traced.items():
        for rule in declared:
            used = uses.get((route, rule.name), 0) > 0
            if rule.everywhere:
                everywhere[rule.name] = everywhere[rule.name] or used
            elif not used:
                found.append((route, rule.name))
    return (*(("", name) for name, used in everywhere.items() if not used), *found)


def number(value: object) -> float | None:
    """A number, or a text that spells one in decimal; None for all else and for what is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and (
        len(value) > NUMBER_CHARACTERS_MAX or "_" in value or not value.isascii()
    ):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if isfinite(read) else None


def decimal(value: object) -> Decimal | None:
    """The same numbers with all their digits: a float as it is spelled, in as few as tell it apart."""
    if isinstance(value, Decimal):
        return value
    if number(value) is None:
        return None
    try:
        return Decimal(value) if isinstance(value, str) else exact(value)
    except InvalidOperation:  # an exponent of 19 digits
        return None


def written(value: object) -> str | None:
    """A scalar as JSON spells it, a text as it is; None for what has no short spelling."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float | Decimal) and not (
        isinstance(value, int) and value.bit_length() > 256
    ):
        return str(value)
    return None


def _reads_alike(text: object, value: object) -> bool:
    """Whether a text spells a number, true, false or null."""
    if not isinstance(text, str) or isinstance(value, str):
        return False
    if isinstance(value, bool) or value is None:
        return text == written(value)
    if isinstance(value, int | float | Decimal):
        spelled = decimal(text)
        return text == written(value) or (spelled is not None and spelled == decimal(value))
    return False
