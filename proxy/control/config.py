"""The configuration: a TOML file and the environment become one frozen `Config`, or all problems.

Law: a `Config` is valid as a whole; contradictions are refused here and met nowhere else. What is
allowed but may surprise is a warning. The policy and the limits of `rules/` are built here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy.control import comparing, ends, ways
from proxy.control.comparing import tolerances
from proxy.control.keys import Key, Origin, text, toml, under
from proxy.control.outbound import contradictions
from proxy.control.reading import (
    PREFIX,
    Problem,
    Reading,
    document,
    from_variable,
    overlay,
    suggestion,
    variables,
)
from proxy.control.settings import Route as RouteSettings
from proxy.control.settings import Settings
from rules import breaker, fate
from rules.compare import Comparison
from rules.compare import Match as RepliesMatch
from rules.identity import Harvest, Translation
from rules.redact import DEFAULT_HEADERS
from rules.route import Category, Match, Mirrored, Ordering, Policy, Route, Scope, compile_path
from rules.source import Place, parse_source
from rules.stage import DUTIES, Mirror, Stage

FALLBACK = "default"
"""The name of the route that takes what no other route matches."""

DUAL_WRITE = "TWINWRITE_DUAL_WRITE"
"""0 turns the kill switch on, 1 turns it off: the flag for "write to both sides"."""

FILE = "TWINWRITE_CONFIG"
"""Names the file, for the command line; sets no key."""

_LINK = re.compile(r"(?:tcp|udp|sctp)://.*")  # what Kubernetes puts into NAME_PORT
_SERVICE = re.compile(PREFIX + r"(?:.*_)?(?:SERVICE_HOST|SERVICE_PORT.*|PORT(?:_[0-9]+_.*)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Settings):
    """The settings in force, and what is built from them.

    `origins` tells where a value comes from, by dotted path; what is not in it is a default.
    """

    policy: Policy
    fate_limits: fate.Limits
    breaker_limits: breaker.Limits
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...]


class ConfigError(Exception):
    """The configuration is not valid. `problems` are all of them; as text, one per line."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def load(path: str, environment: Mapping[str, str], *, files: bool = True) -> Config:
    """The configuration of a TOML file and an environment; raises ConfigError. `files` as in `parse`."""
    try:
        content = Path(path).read_text("utf-8-sig")
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
    except ValueError as error:
        problem = f"cannot be read: {error}"
    else:
        return parse(content, path, environment, files=files)
    raise ConfigError((Problem(source=path, key="", value="", allowed=problem),))


def parse(
    content: str, source: str, environment: Mapping[str, str], *, files: bool = True
) -> Config:
    """The configuration of a TOML text, as `load`; `source` is how problems call it.

    `files`: whether the certificates that it names must be good; only who uses them needs that.
    """
    raw, broken = document(content, source)
    if broken:
        raise ConfigError(broken)
    overlaid = _overlay(raw, environment)
    reading = Reading(source, overlaid.variables)
    settings = reading.table(Settings(), raw)
    ends.check(settings, reading, files=files)
    _check_outbound(settings, reading)
    _check_routes(settings, reading)
    _check_rules(settings, reading)
    problems = (*reading.problems, *overlaid.problems)
    if problems:
        raise ConfigError(problems)
    given: dict[str, Any] = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return Config(
        **given,
        policy=policy(settings),
        fate_limits=_fate_limits(settings),
        breaker_limits=breaker.Limits(**asdict(settings.breaker)),
        origins=reading.origins,
        warnings=(*overlaid.warnings, *_warnings(settings)),
    )


def effective(config: Config) -> str:
    """The configuration as TOML text: every key, the value in force, and where it comes from.

    Parsed again it gives an equal policy.
    """
    return text(config, config.origins)


def policy(settings: Settings) -> Policy:
    """The policy of valid settings."""
    categories = {
        name: Category(name=name, stage=each.stage, mirror=each.mirror, percent=each.percent)
        for name, each in settings.categories.items()
    }
    return Policy(
        stage=settings.stage,
        routes=tuple(_route(each, settings) for each in settings.routes),
        fallback=_route(RouteSettings(name=FALLBACK), settings),
        categories=MappingProxyType(categories),
        kill_switch=settings.kill_switch,
        kill=settings.kill,
        salt=settings.salt,
    )


def _route(route: RouteSettings, settings: Settings) -> Route:
    harvests = tuple(Harvest(each.kind, parse_source(each.from_)) for each in route.harvest)
    translations = [Translation(kind, parse_source(at)) for at, kind in route.translate.items()]
    return Route(
        name=route.name,
        match=Match(
            methods=frozenset(route.methods),
            path=compile_path(route.path),
            host=route.host,
            headers=tuple((name, re.compile(regex)) for name, regex in route.headers.items()),
        ),
        category=route.category,
        mirrored=route.mirror,
        entity=route.entity,
        entity_keys=tuple(parse_source(each) for each in route.entity_key),
        scope=route.entity_scope,
        ordering=route.ordering,
        applied_redirects=route.applied_redirects,
        comparison=_comparison(route, settings),
        harvests=harvests,
        translations=tuple(translations),
    )


def _comparison(route: RouteSettings, settings: Settings) -> Comparison | None:
    everywhere = settings.compare
    if not (everywhere.enabled and route.compare):
        return None
    category = settings.categories[route.category]
    return Comparison(
        checksum=category.checksum,
        match=route.match or category.match,
        status=route.compare_status or everywhere.status,
        headers=tuple(name.lower() for name in (*everywhere.headers, *route.compare_headers)),
        rules=tolerances(everywhere, route.ignore, route.unordered, route.rules),
        body_bytes_max=everywhere.body_bytes_max,
        differences_max=everywhere.differences_max,
    )


def _fate_limits(settings: Settings) -> fate.Limits:
    delivery = settings.delivery
    return fate.Limits(
        attempts_max=delivery.attempts_max,
        age_max_s=delivery.age_max_seconds,
        backoff_first_s=delivery.backoff_first_ms / 1000,
        backoff_max_s=delivery.backoff_max_ms / 1000,
    )


@dataclass(slots=True, kw_only=True)
class _Overlaid:
    """What the environment did: the variable that set each path, and what is odd about the rest."""

    variables: dict[str, str]
    problems: list[Problem]
    warnings: list[str]


def _overlay(raw: dict[str, Any], environment: Mapping[str, str]) -> _Overlaid:
    """Put the variables of keys into the document. An empty variable counts as not set."""
    known = variables(Settings(), ("categories", "routes"))
    overlaid = _Overlaid(variables={}, problems=[], warnings=[])
    unknown = []
    given = {name: value.strip() for name, value in environment.items() if value.strip()}
    for name in sorted(name for name in given if name.startswith(PREFIX)):
        if name in known and not _LINK.fullmatch(given[name]):
            path, key = known[name]
            overlay(raw, path, from_variable(key, given[name]))
            overlaid.variables[path] = name
        elif name not in (DUAL_WRITE, FILE):
            unknown.append(name)
    if DUAL_WRITE in given:
        _dual_write(raw, given[DUAL_WRITE], known["TWINWRITE_KILL_SWITCH"][1], overlaid)
    overlaid.warnings += _unknown(unknown, known)
    return overlaid


def _dual_write(raw: dict[str, Any], given: str, key: Key, overlaid: _Overlaid) -> None:
    wanted = from_variable(key, given)
    if not isinstance(wanted, bool):
        allowed = "must be 0 or 1"
    elif "kill_switch" not in overlaid.variables:
        overlaid.variables["kill_switch"] = DUAL_WRITE
        overlay(raw, "kill_switch", not wanted)
        return
    elif raw["kill_switch"] == wanted:
        allowed = "contradicts TWINWRITE_KILL_SWITCH"
    else:
        return
    overlaid.problems.append(
        Problem(source="environment", key=DUAL_WRITE, value=toml(given), allowed=allowed)
    )


def _unknown(names: list[str], known: Mapping[str, object]) -> Iterator[str]:
    links = [name for name in names if _SERVICE.fullmatch(name)]
    if links:
        yield f"environment: ignored, they look like Kubernetes service links: {', '.join(links)}"
    for name in names:
        if name not in links:
            yield f"environment: {name}: sets no key, ignored{suggestion(name, known)}"


def _check_outbound(settings: Settings, reading: Reading) -> None:
    masked = DEFAULT_HEADERS | {name.lower() for name in settings.redact.headers}
    for side, backend in settings.backends.items():
        for names, value, allowed in contradictions(backend, masked):
            reading.clash(tuple(f"backends.{side}.{name}" for name in names), value, allowed)


def _check_routes(settings: Settings, reading: Reading) -> None:
    first = {FALLBACK: "the built-in route"}
    for index, route in enumerate(settings.routes):
        at = f"routes[{index}]"
        owner = first.setdefault(route.name, at)
        if owner != at:
            reading.clash((f"{at}.name",), route.name, f"must be unique, and {owner} has it")
        if route.category not in settings.categories:
            known = settings.categories
            allowed = f"must be one of {', '.join(known)}" + suggestion(route.category, known)
            reading.clash((f"{at}.category",), route.category, allowed)
        _check_order(route, at, reading)
        _check_captures(route, at, reading)
        for names, value, allowed in ways.contradictions(route, settings.routes):
            reading.clash(tuple(f"{at}.{name}" for name in names), value, allowed)


def _check_order(route: RouteSettings, at: str, reading: Reading) -> None:
    key, scope = f"{at}.entity_key", f"{at}.entity_scope"
    for path, asked in ((key, route.entity_key), (scope, route.entity_scope is not Scope.KEY)):
        if route.ordering is Ordering.NONE and asked:
            allowed = f"contradicts {path.rpartition('.')[2]}, which asks for an order"
            reading.clash((f"{at}.ordering", path), route.ordering, allowed)
    if route.entity_scope is Scope.ALL and route.entity_key:
        allowed = "contradicts entity_key, which asks for less"
        reading.clash((scope, key), route.entity_scope, allowed)
    if route.entity_scope is Scope.BELOW and not route.entity_key:
        reading.clash((scope, key), route.entity_scope, "asks for entity_key: below what")


def _check_rules(settings: Settings, reading: Reading) -> None:
    everywhere = settings.compare.rules
    named = {f"routes[{at}]": route.rules for at, route in enumerate(settings.routes)}
    for table, rules in {"compare": everywhere, **named}.items():
        for index, rule in enumerate(rules):
            for name, value, allowed in comparing.contradictions(rule):
                reading.clash((f"{table}.rules[{index}].{name}",), value, allowed)
        for index in comparing.doubled(() if table == "compare" else everywhere, rules):
            at = f"{table}.rules[{index}].name"
            reading.clash((at,), rules[index].name, "must be unique")


def _check_captures(route: RouteSettings, at: str, reading: Reading) -> None:
    named = [(f"{at}.entity_key[{index}]", each) for index, each in enumerate(route.entity_key)]
    named += [(under(f"{at}.translate", source), source) for source in route.translate]
    for path, source in named:
        place, _, name = source.partition(":")
        if place == Place.PATH and f"{{{name}}}" not in route.path.replace("...}", "}"):
            allowed = f"must name a capture of the path {route.path}"
            reading.clash((path, f"{at}.path"), source, allowed)


def _warnings(settings: Settings) -> Iterator[str]:
    if settings.kill_switch:
        yield "kill_switch = true: nothing is sent to the secondary"
    yield from ends.warnings(settings)
    kept = settings.journal.reply_bytes_max
    if settings.compare.enabled and kept < settings.compare.body_bytes_max:
        yield f"journal.reply_bytes_max = {kept}: cuts replies that compare.body_bytes_max lets in"
    stages = {f"categories.{name}.stage": each.stage for name, each in settings.categories.items()}
    for path, stage in {"stage": settings.stage, **stages}.items():
        if stage is Stage.SHADOW:
            yield f"{path} = {toml(stage)}: writes are not journaled; one that fails is not sent again"
    if settings.listen.connect and any(
        DUTIES[each.stage or settings.stage].mirror is not Mirror.NONE
        for each in settings.categories.values()
    ):
        yield "listen.connect = true: writes within a CONNECT tunnel reach the primary only"
    for name, category in settings.categories.items():
        duty = DUTIES[category.stage or settings.stage]
        if duty.mirror is Mirror.JOURNAL and category.percent < 100:
            shown = f"categories.{name}.percent = {toml(category.percent)}"
            yield f"{shown}: in a dual stage, writes to the other entities reach one side only"
    for index, route in enumerate(settings.routes):
        found = _route_warnings(route, settings.routes[:index])
        yield from (f"routes[{index}] ({route.name}): {each}" for each in found)
    yield from _alone(settings.routes)


def _alone(routes: tuple[RouteSettings, ...]) -> Iterator[str]:
    entities = [*(route.entity or route.name for route in routes), FALLBACK]
    for index, route in enumerate(routes):
        if route.entity_scope is Scope.ALL and entities.count(entities[index]) == 1:
            whole = f'entity_scope = "all": no other route has the entity {toml(entities[index])}'
            yield f"routes[{index}] ({route.name}): {whole}"


def _route_warnings(route: RouteSettings, earlier: tuple[RouteSettings, ...]) -> Iterator[str]:
    if route.mirror is Mirrored.NEVER and (route.harvest or route.translate or route.entity_key):
        yield 'mirror = "never": entity_key, harvest and translate have no effect'
    elif route.ordering is Ordering.NONE:
        yield 'ordering = "none": the two sides may get two writes in different orders'
    if not route.compare and (route.ignore or route.unordered or route.rules):
        yield "compare = false: ignore, unordered and rules have no effect"
    elif route.match is RepliesMatch.EXACT and (route.ignore or route.unordered or route.rules):
        yield 'match = "exact": ignore, unordered and rules have no effect'
    for name in route.headers:
        if name.lower() in DEFAULT_HEADERS:
            yield f"headers.{name}: `twinwrite check` shows this pattern; put no secret into it"
    for other in earlier:
        if _covers(other, route):
            yield f"never reached: {other.name} takes all that it matches"
            break


def _covers(earlier: RouteSettings, later: RouteSettings) -> bool:
    """Whether a route takes every request that a later one could get."""
    if earlier.host not in ("", later.host) or earlier.headers.items() - later.headers.items():
        return False
    if earlier.methods and not (later.methods and set(later.methods) <= set(earlier.methods)):
        return False
    taken = compile_path(earlier.path)
    samples = ("", "\0", "\0/\0", "\0/\0/\0")  # \0 is in no pattern: it stands for anything
    segments = re.sub(r"\{\w+\}", "\0", later.path)
    return all(taken.fullmatch(re.sub(r"\{\w+\.\.\.\}", each, segments)) for each in samples)
