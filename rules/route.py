"""What happens to a request: which route it takes, and whether it is mirrored.

Law: first match wins; precedence is kill switch > category flag > stage > percent > route
(semantics.md section 5). The answer carries its reason, which is also the metric label.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from msgspec import Struct

from rules.compare import Comparison
from rules.framing import SAFE_METHODS, RequestHead
from rules.framing import field as header_field
from rules.identity import Harvest, Translation
from rules.message import Side
from rules.source import Place, Source
from rules.stage import DUTIES, Mirror, Stage

_SEGMENT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}")


class Mirrored(StrEnum):
    """Whether a route's requests are mirrored."""

    AUTO = "auto"  # when the method is mutating
    ALWAYS = "always"
    NEVER = "never"


class Ordering(StrEnum):
    """How writes of one lane are ordered at the primary; the secondary always gets that order."""

    SERIALIZE = "serialize"  # one at a time, a fair lock
    COMPLETION = "completion"  # at once; the order in which the primary answered counts
    NONE = "none"  # no order: no lane


class Scope(StrEnum):
    """How much of its entity a request concerns."""

    KEY = "key"  # what its keys name
    BELOW = "below"  # that, and all below it: the keys are paths, with / between their levels
    ALL = "all"  # everything, whatever it says


class Sharing(StrEnum):
    """What a write holds shared besides its own keys, so that one that concerns more excludes it."""

    NOTHING = "nothing"
    ENTITY = "entity"  # all of its entity
    LEVELS = "levels"  # that, and each level above its keys


_UNORDERED, _UNSHARED = Ordering.NONE, Sharing.NOTHING


class Kill(StrEnum):
    """What the kill switch does with writes meanwhile."""

    JOURNAL = "journal"
    DROP = "drop"


class Skip(StrEnum):
    """Why an accepted write has no intent. Every skip is counted under its word."""

    STAGE = "stage"  # the stage does not mirror
    SHADOW = "shadow"  # mirrored without the journal
    SAMPLE = "sample"  # outside the category's percent
    ROUTE = "route"  # the route says never
    CATEGORY = "category"  # the category's flag is off
    KILL_SWITCH = "kill_switch"
    JOURNAL_ERROR = "journal_error"  # on_journal_error = "pass_through": a gap
    BACKLOG = "backlog"  # on_backlog_full = "pause_mirroring": a gap


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a route matches; an empty condition matches everything."""

    methods: frozenset[str] = frozenset()
    path: re.Pattern[str]
    host: str = ""
    headers: tuple[tuple[str, re.Pattern[str]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One TOML rule. `comparison` is None when its replies are not compared. The policy sets `sharing`."""

    name: str
    match: Match
    category: str = "default"
    mirrored: Mirrored = Mirrored.AUTO
    entity: str = ""
    entity_keys: tuple[Source, ...] = ()
    scope: Scope = Scope.KEY
    sharing: Sharing = Sharing.NOTHING
    ordering: Ordering = Ordering.SERIALIZE
    applied_redirects: bool = False
    comparison: Comparison | None = None
    harvests: tuple[Harvest, ...] = ()
    translations: tuple[Translation, ...] = ()
    reads_body: bool = field(init=False)
    """Whether its keys or its translations stand in the body."""
    path_key: str = field(init=False)
    """The path capture that alone is its entity key; "" where it is not so simple."""

    def __post_init__(self) -> None:
        sources = [*self.entity_keys, *(wish.source for wish in self.translations)]
        in_body = any(source.place in (Place.JSON, Place.FORM) for source in sources)
        object.__setattr__(self, "reads_body", in_body)
        only = self.entity_keys[0] if len(self.entity_keys) == 1 else None
        plain = self.ordering is not _UNORDERED and self.sharing is _UNSHARED
        simple = plain and only is not None and only.place is Place.PATH
        named = simple and only is not None and only.name in self.match.path.groupindex
        object.__setattr__(self, "path_key", only.name if named and only is not None else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A named group of routes: `stage` None means the global one."""

    name: str
    stage: Stage | None = None
    mirror: bool = True
    percent: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that decides about requests: one frozen snapshot, read once per request."""

    stage: Stage
    routes: tuple[Route, ...]
    fallback: Route
    categories: Mapping[str, Category]
    kill_switch: bool = False
    kill: Kill = Kill.JOURNAL
    salt: str = "twinwrite"
    rules: "tuple[_Rule, ...]" = field(init=False, repr=False)
    """The routes and the fallback, each with its plans: what does not depend on the request is decided once."""

    def __post_init__(self) -> None:
        *routes, fallback = _with_sharing((*self.routes, self.fallback))
        object.__setattr__(self, "routes", tuple(routes))
        object.__setattr__(self, "fallback", fallback)
        rules = tuple(_rule(route, self) for route in (*self.routes, self.fallback))
        object.__setattr__(self, "rules", rules)


class Plan(Struct, frozen=True, gc=False):
    """What to do with one request.

    `write`: it counts as an accepted write. `mirror` NONE relays it to the primary; `skip` then says
    why a write is not mirrored.
    """

    route: Route
    category: Category
    stage: Stage
    primary: Side
    mirror: Mirror
    write: bool
    skip: Skip | None = None
    found: re.Match[str] | None = None

    @property
    def captures(self) -> Mapping[str, tuple[int, int]]:
        """Where the route's path captures stand in the target, as (start, end)."""
        return {} if self.found is None else _spans(self.found)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A route as it is looked for, and what it plans for a method that is safe, and for others."""

    match: Match
    asks_more: bool
    captures: bool
    safe: Plan
    mutating: Plan


def compile_path(pattern: str) -> re.Pattern[str]:
    """`/orders/{id}` or `/files/{rest...}` as a regex over the raw path; ValueError says what is wrong."""
    if not pattern.startswith("/"):
        raise ValueError(f"a path pattern starts with /, not {pattern!r}")
    pieces, at = [], 0
    for found in _SEGMENT.finditer(pattern):
        pieces.append(_literal(pattern[at : found.start()]))
        pieces.append(f"(?P<{found.group(1)}>{'.*' if found.group(2) else '[^/]+'})")
        at = found.end()
    pieces.append(_literal(pattern[at:]))
    try:
        return re.compile("".join(pieces))
    except re.error as error:
        raise ValueError(f"{pattern!r}: {error}") from None


def plan(head: RequestHead, policy: Policy) -> Plan:
    """The plan of a request by its head: that of the first route that matches, else the fallback's.

    Percent is decided later, by `rules.lane`.
    """
    method = head.method
    path = head.target.partition("?")[0]
    for rule in policy.rules:
        match = rule.match
        if match.methods and method not in match.methods:
            continue
        found = match.path.fullmatch(path)
        if found is None or (rule.asks_more and not _others_match(match, head)):
            continue
        chosen = rule.safe if method in SAFE_METHODS else rule.mutating
        if not rule.captures:
            return chosen
        return Plan(
            chosen.route, chosen.category, chosen.stage, chosen.primary, chosen.mirror, chosen.write,
            chosen.skip, found,
        )  # fmt: skip
    rule = policy.rules[-1]  # `*`, or the authority of a CONNECT: no path matches that
    return rule.safe if method in SAFE_METHODS else rule.mutating


def _with_sharing(routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """The routes, and what their writes hold shared: only where one of their entity may concern more than keys."""
    wanted: dict[str, set[Sharing]] = {}
    for route in routes:
        wanted.setdefault(route.entity or route.name, set()).add(_asked_sharing(route))
    found = []
    for route in routes:
        asked = wanted[route.entity or route.name]
        most = next(each for each in (Sharing.LEVELS, Sharing.ENTITY, _UNSHARED) if each in asked)
        found.append(route if route.sharing is most else replace(route, sharing=most))
    return tuple(found)


def _asked_sharing(route: Route) -> Sharing:
    if route.scope is Scope.BELOW:
        return Sharing.LEVELS
    many = any(source.is_unbounded for source in route.entity_keys)
    return Sharing.ENTITY if many or route.scope is Scope.ALL else _UNSHARED


def _rule(route: Route, policy: Policy) -> _Rule:
    match = route.match
    return _Rule(
        match,
        bool(match.host or match.headers),
        match.path.groups > 0,
        _planned(route, policy, mutating=False),
        _planned(route, policy, mutating=True),
    )


def _planned(route: Route, policy: Policy, *, mutating: bool) -> Plan:
    category = policy.categories[route.category]
    stage = category.stage or policy.stage
    duty = DUTIES[stage]
    write = mutating or route.mirrored is Mirrored.ALWAYS
    mirror, skip = duty.mirror, None
    if not write or route.mirrored is Mirrored.NEVER:
        mirror, skip = Mirror.NONE, Skip.ROUTE
    elif policy.kill_switch and (policy.kill is Kill.DROP or mirror is Mirror.SHADOW):
        mirror, skip = Mirror.NONE, Skip.KILL_SWITCH
    elif not category.mirror:
        mirror, skip = Mirror.NONE, Skip.CATEGORY
    elif mirror is Mirror.NONE:
        skip = Skip.STAGE
    else:
        skip = Skip.SHADOW if mirror is Mirror.SHADOW else None
    return Plan(route, category, stage, duty.primary, mirror, write, skip if write else None)


def captures(route: Route, target: str) -> Mapping[str, tuple[int, int]] | None:
    """Where the path captures of a route stand in a target; None if the route does not match it."""
    found = route.match.path.fullmatch(target.partition("?")[0])
    return None if found is None else _spans(found)


def journals(route: Route, policy: Policy) -> bool:
    """Whether each mutating write of a route is journaled under this policy."""
    planned = _planned(route, policy, mutating=True)
    return planned.mirror is Mirror.JOURNAL and planned.category.percent >= 100.0


def hindrance(primary: Side, target: str, route: Route | None, policy: Policy) -> str:
    """Why a write that an earlier run owes must not be delivered under this policy; "" if it may be."""
    if route is None:
        return "of a route that the config no longer has"
    if route.translations and captures(route, target) is None:
        return "whose target its route no longer matches"
    stage = policy.categories[route.category].stage or policy.stage
    if DUTIES[stage].primary is not primary:
        return f"to {primary.other}, which stage {stage} makes the primary"
    return ""


def _spans(found: re.Match[str]) -> Mapping[str, tuple[int, int]]:
    return {name: found.span(name) for name in found.re.groupindex}


def _literal(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError(f"captures are written {{name}} or {{name...}}: {text!r}")
    return re.escape(text)


def _others_match(match: Match, head: RequestHead) -> bool:
    if match.host and match.host.lower() != head.host.lower():
        return False
    return all(
        (value := header_field(head.head, name)) is not None and pattern.search(value)
        for name, pattern in match.headers
    )
