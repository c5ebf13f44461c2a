"""The declarations themselves: every key is whole, and its check lets the right things through."""

import re
from dataclasses import fields

import pytest

from proxy.control.address import Address
from proxy.control.comparing import Compare, Rule
from proxy.control.evidence import Ledger, Redact
from proxy.control.keys import NESTED, Key, Shape, keys
from proxy.control.owed import Breaker, Delivery, Journal
from proxy.control.ports import Admin, Listen
from proxy.control.settings import CATEGORIES, Category, Harvest, Route, Settings
from proxy.control.sides import Backend
from proxy.control.tls import BackendTls, ListenTls
from rules.breaker import Limits
from rules.checksum import Checksum

TABLES = (
    Settings, Listen, ListenTls, Admin, Backend, BackendTls, Journal, Delivery, Breaker,
    Compare, Rule, Ledger, Redact, Category, Route, Harvest,
)  # fmt: skip
KEYS = [
    pytest.param(table, each, id=f"{table.__name__}.{each.name}")
    for table in TABLES
    for each in keys(table)
]
REQUIRED = {("Backend", "url"), ("Route", "name"), ("Harvest", "kind"), ("Harvest", "from")}


def the(table: type, name: str) -> Key:
    return {each.name: each for each in keys(table)}[name]


@pytest.mark.parametrize("table", TABLES)
def test_every_field_is_a_key(table: type) -> None:
    assert [each.attribute for each in keys(table)] == [each.name for each in fields(table)]


@pytest.mark.parametrize(("table", "each"), KEYS)
def test_every_key_says_what_it_is_for(table: type, each: Key) -> None:
    assert re.fullmatch(r"[A-Z].{5,80}\.", each.doc), (table, each.doc)


@pytest.mark.parametrize(("table", "each"), KEYS)
def test_every_default_is_valid_unless_the_key_is_required(table: type, each: Key) -> None:
    assert bool(each.needed(each.default)) is ((table.__name__, each.name) in REQUIRED)
    if each.shape not in NESTED and each.shape not in (Shape.TEXT, Shape.TEXTS, Shape.PAIRS):
        assert each.value("" if each.default is None else each.default) == each.default
    if each.shape is Shape.TEXTS:
        assert isinstance(each.default, tuple)
        assert [each.value(item) for item in each.default] == list(each.default)


@pytest.mark.parametrize(("table", "each"), KEYS)
def test_the_unit_is_the_end_of_the_name(table: type, each: Key) -> None:
    by_name = {"ms": "ms", "seconds": "seconds"}
    ending = each.name.removesuffix("_max").rpartition("_")[2]
    unit = "bytes" if "bytes" in each.name else by_name.get(ending, "")
    if ending == "percent":
        unit = "%"
    assert each.unit == unit, table


def test_the_breaker_table_is_what_the_breaker_takes() -> None:
    declared = {each.name: (each.type, each.default) for each in fields(Limits)}
    ours = {
        each.name: (each.type, key.default)
        for each, key in zip(fields(Breaker), keys(Breaker), strict=True)
    }
    assert ours == declared


def test_a_critical_route_is_compared_by_sha256() -> None:
    assert CATEGORIES["critical"].checksum is Checksum.SHA256
    assert list(CATEGORIES) == [
        "critical", "performance", "user_activity", "system", "debug", "default",
    ]  # fmt: skip


def test_a_backend_is_where_its_url_says() -> None:
    assert Backend(url="https://new").address == Address(host="new", port=443, is_secure=True)
    assert Backend(url="new").address == Address()


GOOD = [
    (Listen, "host", ["0.0.0.0", "::1", "localhost", "fe80::1%eth0"]),
    (Listen, "unix", ["", "/run/twinwrite.sock"]),
    (Listen, "unix_mode", ["0660", "0777", "0600"]),
    (Backend, "url", ["http://a", "https://a:8443", "unix:/run/a.sock"]),
    (BackendTls, "server_name", ["", "shop.example.org", "10.0.0.7", "::1"]),
    (ListenTls, "key_file", ["", "/etc/tls/tls.key", "tls key.pem"]),
    (Compare, "headers", ["ETag", "x-total"]),
    (Compare, "ignore", ["", "/a", "/a/*/b", "/**/etag"]),
    (Redact, "fields", ["a b", "kennwört"]),
    (Route, "name", ["a", "create order", "v2/orders.create"]),
    (Route, "methods", ["POST", "MKCOL", "VERSION-CONTROL"]),
    (Route, "path", ["/", "/a%20b", "/{id}", "/a/{id}/{rest...}", "/a:b;c=d"]),
    (Route, "host", ["", "shop.example.org:8080"]),
    (Route, "entity", ["", "order"]),
    (Route, "entity_key", ["path:id", "json:/a/*/0", "header:X-Id", "form:id", "query:id"]),
    (Harvest, "from", ["json:/id", "header:Location"]),
]
BAD = [
    (Listen, "host", ["", "a b", "http://x"]),
    (Listen, "unix", ["twinwrite.sock", "/a\0", "/" + "x" * 107]),
    (Listen, "unix_mode", ["", "660", "0999", "00660"]),
    (Backend, "url", ["", "ftp://a", "https://a/", "unix:a"]),
    (BackendTls, "server_name", ["a b", "https://a", "*.a", ".a"]),
    (ListenTls, "key_file", ["a\0"]),
    (Journal, "directory", ["", "a\nb"]),
    (Compare, "headers", ["", "a b", "a:b"]),
    (Compare, "ignore", ["$.a", "a.b", "/a*"]),
    (Route, "name", ["", "a:b", " a", "a\n", "x" * 65, '"']),
    (Route, "methods", ["", "post", "P OST"]),
    (Route, "path", ["", "a", "/a b", "/ä", "/a?b", "/a#b", "/{a}/{a}", "/{", "/{a-b}"]),
    (Route, "entity_key", ["", "id", "path:", "body:id", "json:id", "header:a b", "json:/a*"]),
    (Harvest, "from", ["path:id", "form:id", "json:id", "header:", "json:/*/id"]),
]


@pytest.mark.parametrize(("table", "name", "texts"), GOOD)
def test_a_good_text_is_taken(table: type, name: str, texts: list[str]) -> None:
    for text in texts:
        assert the(table, name).value(text) == text


@pytest.mark.parametrize(("table", "name", "texts"), BAD)
def test_a_bad_text_is_refused(table: type, name: str, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=r"\S"):
            the(table, name).value(text)


@pytest.mark.parametrize(
    ("name", "pair"), [("headers", ("x-kind", "^a|b$")), ("translate", ("json:/id", "order"))]
)
def test_a_good_pair_is_taken(name: str, pair: tuple[str, str]) -> None:
    check = the(Route, name).check
    assert check is not None
    check(*pair)


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("headers", ("x kind", "a")),
        ("headers", ("x-kind", "a(")),
        ("translate", ("id", "order")),
        ("translate", ("json:/id", "an order")),
        ("translate", ("json:/id", "")),
        ("translate", ("json:/items/*/id", "order")),
        ("translate", ("header:Host", "order")),
        ("translate", ("header:content-length", "order")),
    ],
)
def test_a_bad_pair_is_refused(name: str, pair: tuple[str, str]) -> None:
    check = the(Route, name).check
    assert check is not None
    with pytest.raises(ValueError, match="must be"):
        check(*pair)
