"""What is written for people agrees with the code: `config.example.toml` is the config reference."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from proxy.control.config import parse
from proxy.control.keys import NESTED, Key, keys, plain, toml
from proxy.control.settings import (
    BACKENDS,
    Admin,
    Backend,
    Breaker,
    Category,
    Compare,
    Delivery,
    Harvest,
    Journal,
    Ledger,
    Listen,
    Redact,
    Route,
    Settings,
)
from rules.message import Side

EXAMPLE = (Path(__file__).parent.parent / "config.example.toml").read_text()

SET = re.compile(r"#?(?P<key>\w+) = ")
HEADER = re.compile(r"#?\[+(?P<table>[\w.]+)\]+")

# Where the reference of each table stands.
TABLES: dict[str, type] = {
    "": Settings,
    "listen": Listen,
    "admin": Admin,
    "backends.legacy": Backend,
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
        if table or key.shape not in NESTED
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
