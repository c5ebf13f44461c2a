"""Every key of the TOML file, declared once: its name, default, limits, and what it is for.

Law: the fields are the keys, their class says what may stand there, and nothing else lists them.
`config.example.toml` repeats each line of these declarations; a test holds it to them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from proxy.control import checks
from proxy.control.comparing import Compare, Rule
from proxy.control.evidence import Ledger, Redact
from proxy.control.keys import key
from proxy.control.owed import Breaker, Delivery, Journal
from proxy.control.ports import Admin, Listen
from proxy.control.sides import Backend
from rules.checksum import Checksum
from rules.compare import Match, StatusMatch
from rules.message import Side
from rules.pointer import compile_pattern, parse
from rules.route import Kill, Mirrored, Ordering, Scope, compile_path
from rules.source import Place, Source, parse_source
from rules.stage import Stage

_TARGET = re.compile(r"/[\x21\x22\x24-\x7e]*")
_FRAMING = frozenset(("host", "content-length", "transfer-encoding", "connection"))


def _path(text: str) -> None:
    checks.wire_path(text)
    compile_path(text)


def _probe(text: str) -> None:
    if _TARGET.fullmatch(text) is None:
        raise ValueError(
            "must be a path as it is on the wire, with captures, and a query if need be"
        )


def _header_pattern(name: str, pattern: str) -> None:
    checks.header(name)
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from None


def _source(text: str) -> Source:
    source = parse_source(text)
    if source.place is Place.HEADER:
        checks.header(source.name)
    return source


def _one_place(text: str) -> Source:
    source = _source(text)
    if "*" in source.tokens:
        raise ValueError("must be one place: * is for entity_key")
    return source


def _named_by(text: str) -> None:
    for step in _source(text).tokens:
        if "*" in step and step != "*":
            raise ValueError("must have * as a whole step, as in json:/items/*/id")


def _translated(text: str, kind: str) -> None:
    source = _one_place(text)
    if source.place is Place.HEADER and source.name.lower() in _FRAMING:
        raise ValueError("must be a header that is not about framing or the host")
    checks.word(kind)


def _replied(text: str) -> None:
    if text.partition(":")[0] not in (Place.JSON, Place.HEADER):
        raise ValueError("must be json:/pointer or header:Name")
    _one_place(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """`[categories.NAME]`: flags of a group of routes."""

    stage: Stage | None = key(None, 'The stage of its routes; "" is the global one.')
    mirror: bool = key(True, "Whether its writes are mirrored.")
    percent: float = key(100.0, "The share of entities that are mirrored.", "%", (0, 100))
    checksum: Checksum = key(Checksum.XXH3, "The digest that replies are compared by first.")
    match: Match = key(Match.SEMANTIC, "What two replies must have in common.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """One entry of a route's `harvest`."""

    kind: str = key("", "The kind of identity.", check=checks.word)
    from_: str = key("", "Where both replies of a create carry it.", check=_replied)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`[[routes]]`: one rule; the first that matches a request wins."""

    name: str = key("", "What logs, metrics and the ledger call it; unique.", check=checks.title)
    methods: tuple[str, ...] = key((), "Methods that it matches; none is any.", check=checks.method)
    path: str = key(
        "/{rest...}", "Paths that it matches; {name} is a segment, {name...} the rest.", check=_path
    )
    host: str = key(
        "", 'The Host header that it matches; "" is any.', check=checks.optional(checks.host)
    )
    headers: Mapping[str, str] = key(
        MappingProxyType({}),
        "Headers that it asks for: name = regular expression.",
        check=_header_pattern,
    )
    category: str = key("default", "Its category.", check=checks.word)
    mirror: Mirrored = key(Mirrored.AUTO, "Whether it is mirrored; auto is by method.")
    entity: str = key(
        "",
        'What its entities are called; "" is the name of the route.',
        check=checks.optional(checks.title),
    )
    entity_key: tuple[str, ...] = key(
        (), "Where a request names its entities: its lanes.", check=_named_by
    )
    entity_scope: Scope = key(Scope.KEY, "How much of its entity a request concerns.")
    ordering: Ordering = key(
        Ordering.SERIALIZE, "How writes to one entity are ordered at the primary."
    )
    applied_redirects: bool = key(False, "Whether 301 and 302 say that the write was applied.")
    reask: bool = key(False, "Whether a write of unknown outcome may go to the primary again.")
    probe: str = key(
        "",
        'A read that tells whether an unknown write was applied; "" is none.',
        check=checks.optional(_probe),
    )
    probe_equals: tuple[str, ...] = key(
        (), "JSON pointers at which that read and the write must agree.", check=parse
    )
    compare: bool = key(True, "Whether its replies are compared.")
    ignore: tuple[str, ...] = key((), "JSON paths that may differ.", check=compile_pattern)
    unordered: tuple[str, ...] = key(
        (), "JSON paths of arrays in any order.", check=compile_pattern
    )
    rules: tuple[Rule, ...] = key((), "What else may differ.")
    match: Match | None = key(
        None, 'What its replies must have in common; "" is as its category has it.'
    )
    compare_status: StatusMatch | None = key(
        None, 'What its statuses must have in common; "" is compare.status.'
    )
    compare_headers: tuple[str, ...] = key(
        (), "Response headers that must agree, too.", check=checks.header
    )
    harvest: tuple[Harvest, ...] = key((), "Identities that its replies reveal.")
    translate: Mapping[str, str] = key(
        MappingProxyType({}), "Identities that its requests carry: place = kind.", check=_translated
    )


BACKENDS: Mapping[Side, Backend] = MappingProxyType({side: Backend() for side in Side})
"""Both sides, their addresses still missing."""

CATEGORIES: Mapping[str, Category] = MappingProxyType(
    {
        "critical": Category(checksum=Checksum.SHA256),
        "performance": Category(),
        "user_activity": Category(),
        "system": Category(),
        "debug": Category(),
        "default": Category(),
    }
)
"""The categories that are always there (semantics.md section 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole file."""

    stage: Stage = key(Stage.LEGACY_ONLY, "Where the migration stands.")
    kill_switch: bool = key(False, "Everything to the primary only, now.")
    kill: Kill = key(Kill.JOURNAL, "What becomes of writes while the kill switch is on.")
    salt: str = key("twinwrite", "Chooses which entities are within a percent.")
    listen: Listen = key(Listen(), "Where clients connect.")
    admin: Admin = key(Admin(), "Health, metrics and status.")
    backends: Mapping[Side, Backend] = key(BACKENDS, "The two sides.")
    journal: Journal = key(Journal(), "The file of owed writes.")
    delivery: Delivery = key(Delivery(), "How owed writes get to the secondary.")
    breaker: Breaker = key(Breaker(), "When the secondary is left alone.")
    compare: Compare = key(Compare(), "How replies are compared.")
    ledger: Ledger = key(Ledger(), "The file of evidence.")
    redact: Redact = key(Redact(), "What never gets into evidence.")
    categories: Mapping[str, Category] = key(CATEGORIES, "Groups of routes.", check=checks.word)
    routes: tuple[Route, ...] = key((), "The rules, in order.")
