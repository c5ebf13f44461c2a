"""What the tests of comparing are made of."""

from typing import Any

from rules.expression import compile_expression
from rules.pointer import compile_pattern, parse
from rules.same import Same
from rules.tolerance import Rule, RuleKind


def allow(kind: str, *paths: str, **given: Any) -> Rule:  # noqa: ANN401 - the fields of a rule
    """A rule as a configuration would have it; its name is its first place."""
    if "regex" in given:
        given["expression"] = compile_expression(given.pop("regex"))
    if "key" in given:
        given["key"] = parse(given["key"])
    name = given.pop("name", next(iter((*paths, *given.get("headers", ())))))
    patterns = tuple(map(compile_pattern, paths))
    return Rule(name=name, kind=RuleKind(kind), paths=patterns, **given)


def same(*pairs: tuple[str, str]) -> Same:
    """Identities of users: (primary's, secondary's)."""
    return Same(("user", *pair) for pair in pairs)
