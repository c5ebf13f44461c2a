"""What is written for people agrees with the code: `config.example.toml` is the config reference."""

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from proxy.__main__ import VERBS
from proxy.control.comparing import Compare, Rule
from proxy.control.config import parse
from proxy.control.evidence import Ledger, Redact
from proxy.control.keys import NESTED, Key, Shape, keys, plain, toml
from proxy.control.metrics import DECLARED, LATENCY
from proxy.control.owed import Breaker, Delivery, Journal
from proxy.control.ports import Admin, Listen
from proxy.control.settings import BACKENDS, Category, Harvest, Route, Settings
from proxy.control.sides import Backend
from proxy.control.tls import BackendTls, ListenTls
from rules import breaker, fate
from rules.compare import Match, VerdictKind
from rules.document import Format
from rules.message import Side
from rules.tolerance import RuleKind

DOCS = Path(__file__).parent.parent / "docs"
EXAMPLE = (Path(__file__).parent.parent / "config.example.toml").read_text()

SET = re.compile(r"#?(?P<key>\w+) = ")
HEADER = re.compile(r"#?\[+(?P<table>[\w.]+)\]+")

# Where the reference of each table stands.
TABLES: dict[str, type] = {
    "": Settings,
    "listen": Listen,
    "listen.tls": ListenTls,
    "admin": Admin,
    "backends.legacy": Backend,
    "backends.legacy.tls": BackendTls,
    "journal": Journal,
    "delivery": Delivery,
    "breaker": Breaker,
    "compare": Compare,
    "ledger": Ledger,
    "redact": Redact,
    "categories.default": Category,
    "routes": Route,
}


def uncommented() -> str:
    """The example with every default that it only shows (`#name = ...`) switched on."""
    return re.sub(r"^#(?=\w+ = |\[)", "", EXAMPLE, flags=re.MULTILINE)


def comments() -> dict[tuple[str, str], str]:
    """The comment above the first mention of each key, by (table, key)."""
    found: dict[tuple[str, str], str] = {}
    table, above = "", ""
    for line in EXAMPLE.splitlines():
        header, mention = HEADER.match(line), SET.match(line)
        if header is not None:
            table = header["table"]
        elif mention is not None:
            found.setdefault((table, mention["key"]), above.strip())
        above = f"{above} {line.removeprefix('#').strip()}" if line.startswith("# ") else ""
    return found


def shown(table: str) -> dict[str, Any]:
    """What the reference of a table sets, defaults switched on."""
    place: Any = tomllib.loads(uncommented())
    for name in table.split(".") if table else ():
        place = place[name]
    return dict(place[0] if isinstance(place, list) else place)


def reference() -> list[Any]:
    return [
        pytest.param(table, key, id=f"{table}.{key.name}".strip("."))
        for table, declared in TABLES.items()
        for key in keys(declared)
        if key.shape is not Shape.TABLE and (table or key.shape not in NESTED)
    ]


def test_the_reference_has_every_table() -> None:
    nested = {key.name for key in keys(Settings) if key.shape in NESTED}
    assert {table.partition(".")[0] for table in TABLES if table} == nested


@pytest.mark.parametrize(("table", "key"), reference())
def test_the_reference_shows_every_key_with_its_default(table: str, key: Key) -> None:
    value = shown(table)[key.name]
    if not key.needed(key.default):
        assert toml(value) == toml(key.default)


@pytest.mark.parametrize(("table", "key"), reference())
def test_the_reference_says_of_every_key_what_it_is_for_and_what_is_allowed(
    table: str, key: Key
) -> None:
    comment = comments()[table, key.name]
    assert comment.startswith(f"{key.doc} [{key.allowed}]")


@pytest.mark.parametrize("key", keys(Harvest), ids=lambda key: key.name)
def test_the_reference_explains_the_entries_of_harvest(key: Key) -> None:
    assert f"{key.name}: {key.doc} [{key.allowed}]" in comments()["routes", "harvest"]


@pytest.mark.parametrize("key", keys(Rule), ids=lambda key: key.name)
def test_the_reference_explains_the_entries_of_rules(key: Key) -> None:
    assert f"{key.name}: {key.doc} [{key.allowed}]" in comments()["compare", "rules"]


def test_nothing_unknown_is_in_the_reference() -> None:
    config = parse(uncommented(), "config.example.toml", {})
    assert config.routes[0].name == "every key"


def test_the_example_is_valid_and_gives_no_warning() -> None:
    config = parse(EXAMPLE, "config.example.toml", {})
    assert config.warnings == ()
    differ = {
        each.name for each in keys(Settings) if getattr(config, each.attribute) != each.default
    }
    assert differ == {"backends", "routes"}
    for side in Side:
        mine, default = plain(config.backends[side]), plain(BACKENDS[side])
        assert isinstance(mine, dict)
        assert isinstance(default, dict)
        assert {name for name in mine if mine[name] != default[name]} == {"url"}


def test_the_example_routes_show_what_routes_can_do() -> None:
    routes = parse(EXAMPLE, "config.example.toml", {}).routes
    assert len(routes) == 2
    assert any("{" in route.path for route in routes)
    for name in ("entity_key", "harvest", "translate", "ignore", "unordered"):
        assert any(getattr(route, name) for route in routes), name


@pytest.mark.parametrize(
    "words", [VerdictKind, Format, Match, RuleKind], ids=lambda words: words.__name__
)
def test_comparing_is_explained_in_its_words(words: type[StrEnum]) -> None:
    text = (DOCS / "comparing.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
    assert [word for word in words if word not in rows] == []


def metric_rows() -> dict[str, tuple[list[str], str]]:
    """The metrics table of docs/operations.md: name -> (labels, what it tells)."""
    text = (DOCS / "operations.md").read_text()
    found = re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.+) \|$", text, flags=re.MULTILINE)
    return {name: (re.findall(r"`(\w+)`", labels), told) for name, labels, told in found}


def test_every_metric_is_documented_as_declared() -> None:
    declared = {each.name: (list(each.labels), each.doc) for each in (*DECLARED, LATENCY)}

    assert metric_rows() == declared


@pytest.mark.parametrize(
    "table", [fate.TRANSITIONS, breaker.TRANSITIONS], ids=["intent", "breaker"]
)
def test_the_state_diagrams_are_the_transition_tables(
    table: Mapping[tuple[str, str], str],
) -> None:
    drawn = (DOCS / "states.md").read_text()
    lines = "\n".join(
        f"    {before} --> {after}: {event}" for (before, event), after in table.items()
    )

    assert lines + "\n```" in drawn


def test_every_state_is_explained() -> None:
    text = (DOCS / "states.md").read_text()

    assert re.findall(r"^\| `(\w+)` \| [a-z]", text, flags=re.MULTILINE) == list(fate.State)


def test_every_decision_has_its_headings_and_a_status() -> None:
    for page in (DOCS / "decisions").glob("*.md"):
        text = page.read_text()
        assert re.match(r"# \d{4} ", text), page
        assert "\nStatus: " in text, page
        headings = re.findall(r"^## (\w+)$", text, flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Rejected", "Consequences"], page


def test_every_verb_is_in_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text()

    assert all(verb in readme for verb in VERBS)
