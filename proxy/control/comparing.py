"""The keys of `[compare]` and of its rules: which differences between two replies matter.

Law: a rule that cannot do what it says is refused at load; each has a name under which it is counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from proxy.control import checks
from proxy.control.keys import key
from rules.compare import StatusMatch
from rules.expression import compile_expression
from rules.pointer import compile_pattern, parse
from rules.tolerance import Rule as Tolerance
from rules.tolerance import RuleKind

_OWN = {  # the keys that only some kinds of rules have
    "regex": (RuleKind.REGEX,),
    "absolute": (RuleKind.NUMBER,),
    "relative": (RuleKind.NUMBER,),
    "within_seconds": (RuleKind.TIME,),
    "key_": (RuleKind.UNORDERED,),
    "to": (RuleKind.RENAME,),
}
_NEEDED = {RuleKind.REGEX: "regex", RuleKind.RENAME: "to"}
_NOT_OF_HEADERS = (RuleKind.UNORDERED, RuleKind.RENAME, RuleKind.TYPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of `rules`."""

    name: str = key(
        "",
        'What verdicts and metrics call it; "" is its kind and first place.',
        check=checks.optional(checks.title),
    )
    kind: RuleKind = key(RuleKind.IGNORE, "What may differ.")
    paths: tuple[str, ...] = key((), "JSON paths that it is for.", check=compile_pattern)
    headers: tuple[str, ...] = key((), "Response headers that it is for.", check=checks.header)
    regex: str = key("", "What both values must match, as a whole.", check=compile_expression)
    absolute: float = key(0.0, "How far apart two numbers may be.", "", (0, 1e18))
    relative: float = key(0.0, "The same, as a share of the larger one.", "", (0, 1))
    within_seconds: float = key(0.0, "How far apart two times may be.", "seconds", checks.AGE)
    key_: str = key("", "What names an element of the array.", check=parse)
    to: str = key("", "The secondary's name of the member.", check=checks.optional(checks.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """`[compare]`: how the two replies are compared, on every route."""

    enabled: bool = key(True, "Whether replies are compared at all.")
    body_bytes_max: int = key(65536, "Longer bodies are not looked into.", "bytes", checks.SIZE)
    status: StatusMatch = key(StatusMatch.EXACT, "What two statuses must have in common.")
    headers: tuple[str, ...] = key(
        ("content-type",), "Response headers that must agree.", check=checks.header
    )
    ignore: tuple[str, ...] = key(
        (), "JSON paths that may differ on every route.", check=compile_pattern
    )
    rules: tuple[Rule, ...] = key((), "What else may differ on every route.")
    pending_max: int = key(1000, "Shadow writes at once; more are skipped.", "", checks.COUNT)
    differences_max: int = key(50, "Differences noted per comparison.", "", (1, 10000))
    baseline_percent: float = key(
        0.0, "The share of GET and HEAD that the primary is asked twice more.", "%", (0, 100)
    )


def contradictions(rule: Rule) -> Iterator[tuple[str, object, str]]:
    """What is wrong with a rule as a whole: the key, its value, and what is allowed."""
    if not (rule.paths or rule.headers):
        yield "paths", rule.paths, "must name a path, or headers a header"
    for name, kinds in _OWN.items():
        if getattr(rule, name) and rule.kind not in kinds:
            yield name.rstrip("_"), getattr(rule, name), f"is for kind = {_quoted(kinds[0])}"
    needed = _NEEDED.get(rule.kind)
    if needed is not None and not getattr(rule, needed):
        yield needed, "", f"is required by kind = {_quoted(rule.kind)}"
    if rule.headers and rule.kind in _NOT_OF_HEADERS:
        yield "headers", rule.headers, f"have no kind = {_quoted(rule.kind)}"
    if rule.kind is RuleKind.RENAME:
        for path in rule.paths:
            if path.rpartition("/")[2] in ("", "*", "**"):
                yield "paths", path, "must end in the name of a member"


def doubled(everywhere: tuple[Rule, ...], own: tuple[Rule, ...]) -> Iterator[int]:
    """The indexes of a route's rules whose given name another one has."""
    taken = {rule.name for rule in everywhere}
    for index, rule in enumerate(own):
        if rule.name and rule.name in taken:
            yield index
        taken.add(rule.name)


def tolerances(
    compare: Compare, ignore: tuple[str, ...], unordered: tuple[str, ...], rules: tuple[Rule, ...]
) -> tuple[Tolerance, ...]:
    """The rules of a route: those of every route first. Valid settings only."""
    everywhere = (*_ignoring(compare.ignore), *compare.rules)
    own = (
        *_ignoring(path for path in ignore if path not in compare.ignore),
        *(Rule(name=path, kind=RuleKind.UNORDERED, paths=(path,)) for path in unordered),
        *rules,
    )
    return (
        *(_tolerance(rule, everywhere=True) for rule in everywhere),
        *(_tolerance(rule, everywhere=False) for rule in own),
    )


def _ignoring(paths: Iterator[str] | tuple[str, ...]) -> Iterator[Rule]:
    for path in dict.fromkeys(paths):
        yield Rule(name=path, paths=(path,))


def _tolerance(rule: Rule, *, everywhere: bool) -> Tolerance:
    place = next(iter((*rule.paths, *rule.headers)))
    return Tolerance(
        name=rule.name or f"{rule.kind} {place}",
        kind=rule.kind,
        paths=tuple(compile_pattern(each) for each in rule.paths),
        headers=tuple(each.lower() for each in rule.headers),
        expression=compile_expression(rule.regex) if rule.regex else None,
        absolute=rule.absolute,
        relative=rule.relative,
        within_s=rule.within_seconds,
        key=parse(rule.key_),
        to=rule.to,
        everywhere=everywhere,
    )


def _quoted(kind: RuleKind) -> str:
    return f'"{kind}"'
