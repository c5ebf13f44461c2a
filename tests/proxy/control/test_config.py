"""TOML and environment to one Config: values, problems, warnings, and the policy that is built."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.control.address import Address
from proxy.control.config import Config, ConfigError, effective, load, parse
from proxy.control.keys import Origin, keys, plain, toml
from proxy.control.owed import Confirm
from proxy.control.ports import Listen
from proxy.control.settings import Category, Settings
from proxy.control.settings import Route as RouteSettings
from proxy.control.sides import Backend
from rules import breaker, fate
from rules.checksum import Checksum
from rules.compare import Comparison
from rules.framing import RequestHead, parse_request
from rules.identity import Harvest, Translation
from rules.message import Side
from rules.pointer import compile_pattern
from rules.route import Kill, Mirrored, Ordering, Scope, Sharing, plan
from rules.source import parse_source
from rules.stage import Stage
from rules.tolerance import Rule, RuleKind

URLS = """
[backends.legacy]
url = "http://legacy:8001"
[backends.new]
url = "http://new:8002"
"""


def made(top: str = "", rest: str = "", environment: Mapping[str, str] | None = None) -> Config:
    return parse(top + URLS + rest, "f.toml", environment or {})


def problems(
    top: str = "", rest: str = "", environment: Mapping[str, str] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        made(top, rest, environment)
    assert str(caught.value).splitlines() == [str(each) for each in caught.value.problems]
    return str(caught.value).splitlines()


def route(name: str = "r", **given_keys: str) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in given_keys.items())
    return f'[[routes]]\nname = "{name}"\n{lines}'


def request(line: str) -> RequestHead:
    head = parse_request(f"{line} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
    assert isinstance(head, RequestHead)
    return head


# values


def test_two_urls_are_enough() -> None:
    config = made()
    assert config.stage is Stage.LEGACY_ONLY
    assert config.listen == Listen()
    assert config.journal.confirm is Confirm.BEFORE_REPLY
    assert config.backends[Side.NEW].address == Address(host="new", port=8002)
    assert config.warnings == ()


def test_limits_are_in_the_units_of_the_rules() -> None:
    config = made(rest="[delivery]\nbackoff_first_ms = 250\n[breaker]\nopen_seconds = 7\n")
    assert config.fate_limits == fate.Limits(
        attempts_max=100_000, age_max_s=604800.0, backoff_first_s=0.25, backoff_max_s=30.0
    )
    assert config.breaker_limits == breaker.Limits(open_seconds=7.0)


def test_the_environment_wins_over_the_file() -> None:
    config = made(
        'stage = "shadow"\n',
        "[listen]\nport = 1\n",
        {
            "TWINWRITE_STAGE": "dual_new_primary",
            "TWINWRITE_LISTEN_PORT": "7001",
            "TWINWRITE_BACKENDS_NEW_URL": "http://other:1",
            "TWINWRITE_COMPARE_HEADERS": "etag, content-type",
            "TWINWRITE_BREAKER_FAILURE_RATE": "0.5",
            "TWINWRITE_BREAKER_ENABLED": "off",
            "TWINWRITE_SALT": "",
        },
    )
    assert config.policy.stage is Stage.DUAL_NEW_PRIMARY
    assert config.listen.port == 7001
    assert config.backends[Side.NEW].url == "http://other:1"
    assert config.compare.headers == ("etag", "content-type")
    assert config.breaker_limits.failure_rate == 0.5
    assert not config.breaker_limits.enabled
    assert config.salt == "twinwrite"
    assert config.origins["listen.port"] is Origin.ENVIRONMENT
    assert config.origins["backends.legacy.url"] is Origin.FILE
    assert "salt" not in config.origins


def test_the_environment_alone_is_enough() -> None:
    environment = {
        "TWINWRITE_BACKENDS_LEGACY_URL": "http://a:1",
        "TWINWRITE_BACKENDS_NEW_URL": "http://b:1",
    }
    assert parse("", "f", environment).backends[Side.LEGACY].address.host == "a"


@pytest.mark.parametrize(
    ("top", "environment", "on"),
    [
        ("", {}, False),
        ("kill_switch = true\n", {}, True),
        ("", {"TWINWRITE_KILL_SWITCH": "1"}, True),
        ("", {"TWINWRITE_DUAL_WRITE": "0"}, True),
        ("kill_switch = true\n", {"TWINWRITE_DUAL_WRITE": "1"}, False),
        ("kill_switch = true\n", {"TWINWRITE_DUAL_WRITE": ""}, True),
        ("", {"TWINWRITE_DUAL_WRITE": "false", "TWINWRITE_KILL_SWITCH": "true"}, True),
    ],
)
def test_the_kill_switch_has_two_variables(top: str, environment: dict[str, str], on: bool) -> None:
    assert made(top, "", environment).policy.kill_switch is on


# the policy


def test_without_routes_everything_takes_the_built_in_one() -> None:
    policy = made().policy
    assert policy.fallback.name == "default"
    assert policy.fallback.mirrored is Mirrored.AUTO
    assert policy.fallback.ordering is Ordering.SERIALIZE
    assert policy.fallback.comparison == Comparison()
    assert plan(request("POST /any/thing?x=1"), policy).route is policy.fallback
    assert plan(request("OPTIONS *"), policy).route is policy.fallback


def test_a_route_is_built_from_all_of_its_keys() -> None:
    config = made(
        'kill = "drop"\nsalt = "s"\n',
        '[compare]\nheaders = ["ETag"]\nignore = ["/a"]\nbody_bytes_max = 9\n'
        + route(
            "change order",
            methods='["PUT", "PATCH"]',
            path='"/orders/{id}/{rest...}"',
            host='"shop"',
            headers='{ x-kind = "^a" }',
            category='"critical"',
            mirror='"always"',
            entity='"order"',
            entity_key='["path:id", "json:/other"]',
            entity_scope='"below"',
            ordering='"completion"',
            applied_redirects="true",
            ignore='["/b", "/a"]',
            unordered='["/tags"]',
            harvest='[{ kind = "order", from = "header:Location" }]',
            translate='{ "path:id" = "order" }',
        ),
    )
    assert config.policy.kill is Kill.DROP
    assert config.policy.salt == "s"
    (built,) = config.policy.routes
    assert built.name == "change order"
    assert built.match.methods == {"PUT", "PATCH"}
    assert built.match.path.fullmatch("/orders/7/notes/1")
    assert built.match.host == "shop"
    ((header, pattern),) = built.match.headers
    assert (header, pattern.pattern) == ("x-kind", "^a")
    assert built.category == "critical"
    assert built.mirrored is Mirrored.ALWAYS
    assert built.entity == "order"
    assert built.entity_keys == (parse_source("path:id"), parse_source("json:/other"))
    assert (built.scope, built.sharing) == (Scope.BELOW, Sharing.LEVELS)
    assert built.ordering is Ordering.COMPLETION
    assert built.applied_redirects
    assert built.comparison == Comparison(
        checksum=Checksum.SHA256,
        headers=("etag",),
        rules=(
            Rule(name="/a", kind=RuleKind.IGNORE, paths=(compile_pattern("/a"),), everywhere=True),
            Rule(name="/b", kind=RuleKind.IGNORE, paths=(compile_pattern("/b"),)),
            Rule(name="/tags", kind=RuleKind.UNORDERED, paths=(compile_pattern("/tags"),)),
        ),
        body_bytes_max=9,
    )
    assert built.harvests == (Harvest("order", parse_source("header:Location")),)
    assert built.translations == (Translation("order", parse_source("path:id")),)


@pytest.mark.parametrize("rest", ["[compare]\nenabled = false\n" + route(), route(compare="false")])
def test_a_route_may_go_without_comparison(rest: str) -> None:
    assert made(rest=rest).policy.routes[0].comparison is None


def test_only_routes_whose_entity_needs_it_share_lanes() -> None:
    config = made(
        rest=route("bulk", path='"/_bulk"', entity='"order"', entity_scope='"all"')
        + route("change", path='"/orders/{id}"', entity='"order"', entity_key='["path:id"]')
        + route("order", path='"/old/{id}"', entity_key='["path:id"]')
        + route("batch", path='"/batch"', entity='"user"', entity_key='["json:/*/id"]')
        + route("user", path='"/users/{id}"', entity_key='["path:id"]')
        + route("item", path='"/items/{id}"', entity_key='["path:id"]')
    )
    assert {each.name: each.sharing for each in config.policy.routes} == {
        "bulk": Sharing.ENTITY,
        "change": Sharing.ENTITY,
        "order": Sharing.ENTITY,  # its name is its entity
        "batch": Sharing.ENTITY,
        "user": Sharing.ENTITY,
        "item": Sharing.NOTHING,
    }
    assert [each.name for each in config.policy.routes if each.path_key] == ["item"]


def test_categories_are_the_built_in_ones_as_changed_and_the_new_ones() -> None:
    config = made(
        rest='[categories.debug]\nmirror = false\nstage = "shadow"\n'
        '[categories.critical]\nstage = "dual_legacy_primary"\npercent = 5\n[categories.mine]\n'
    )
    assert config.categories["critical"] == Category(
        stage=Stage.DUAL_LEGACY_PRIMARY, percent=5.0, checksum=Checksum.SHA256
    )
    built = config.policy.categories
    assert set(built) == {
        "critical", "performance", "user_activity", "system", "debug", "default", "mine",
    }  # fmt: skip
    assert built["mine"].name == "mine"
    assert built["mine"].stage is None
    assert built["critical"].percent == 5.0
    assert not built["debug"].mirror


# problems


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ('[listen]\nport = "x"', 'listen.port = "x": must be an integer from 0 to 65535'),
        ("[listen]\nprot = 1", "listen.prot: unknown key; did you mean port?"),
        ("[admin]\nport = 8080", "admin.port = 8080: must differ from listen.port"),
        (route("a") + route("a"), 'routes[1].name = "a": must be unique, and routes[0] has it'),
        (
            route("default"),
            'routes[0].name = "default": must be unique, and the built-in route has it',
        ),
        (
            route(category='"critcal"'),
            'routes[0].category = "critcal": must be one of critical, performance, user_activity,'
            " system, debug, default; did you mean critical?",
        ),
        (
            route(path='"/o/{id}"', entity_key='["path:idd"]'),
            'routes[0].entity_key[0] = "path:idd": must name a capture of the path /o/{id}',
        ),
        (
            route(path='"/o/{id...}"', translate='{ "path:x" = "order", "path:id" = "order" }'),
            'routes[0].translate."path:x" = "path:x": must name a capture of the path /o/{id...}',
        ),
        (
            route(path='"/o/{id}"', probe='"/o/{idd}"', probe_equals='["/a"]'),
            'routes[0].probe = "/o/{idd}": {idd} must be a capture of the path /o/{id}',
        ),
        (
            route(probe='"o/1"', probe_equals='["/a"]'),
            'routes[0].probe = "o/1": must be a path as it is on the wire, with captures,'
            " and a query if need be",
        ),
        (
            route(probe='"/o"', methods='["PUT", "DELETE"]'),
            "routes[0].probe_equals = []: must name what has to agree",
        ),
        (
            route(probe_equals='["/a"]'),
            'routes[0].probe = "": must name what is read, for probe_equals',
        ),
        (
            route(reask="true", ordering='"completion"'),
            'routes[0].reask = true: contradicts ordering = "completion" of r: writes overlap',
        ),
        (
            route(probe='"/o"', probe_equals='["/a"]', entity='"e"')
            + route("s", ordering='"completion"', entity='"e"'),
            'routes[0].probe = "/o": contradicts ordering = "completion" of s: writes overlap',
        ),
        (
            route(ordering='"none"', entity_key='["json:/id"]'),
            'routes[0].ordering = "none": contradicts entity_key, which asks for an order',
        ),
        (
            route(ordering='"none"', entity_scope='"all"'),
            'routes[0].ordering = "none": contradicts entity_scope, which asks for an order',
        ),
        (
            route(entity_scope='"all"', entity_key='["json:/id"]'),
            'routes[0].entity_scope = "all": contradicts entity_key, which asks for less',
        ),
        (
            route(entity_scope='"below"'),
            'routes[0].entity_scope = "below": asks for entity_key: below what',
        ),
    ],
)
def test_a_contradiction_is_refused(rest: str, expected: str) -> None:
    assert problems(rest=rest) == [f"f.toml: {expected}"]


@pytest.mark.parametrize(
    ("legacy", "new", "listen", "expected"),
    [
        ("a:1", "a:1", "127.0.0.1", "new must differ from backends.legacy.url"),
        ("A:1", "a:1", "127.0.0.1", "new must differ from backends.legacy.url"),
        ("localhost:1", "127.0.0.1:1", "127.0.0.1", "new must differ from backends.legacy.url"),
        ("localhost:8080", "a:1", "127.0.0.1", "legacy must not be the address of [listen]"),
        ("a:1", "127.0.0.1:8080", "0.0.0.0", "new must not be the address of [listen]"),
        ("a:1", "[::1]:8080", "::", "new must not be the address of [listen]"),
        ("a:1", "10.1.1.1:8080", "10.1.1.1", "new must not be the address of [listen]"),
    ],
)
def test_the_backends_differ_from_each_other_and_from_twinwrite(
    legacy: str, new: str, listen: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(
            f'[listen]\nhost = "{listen}"\n[backends]\nlegacy.url = "http://{legacy}"\n'
            f'new.url = "http://{new}"',
            "f",
            {},
        )
    (problem,) = caught.value.problems
    side, _, allowed = expected.partition(" ")
    assert (problem.key, problem.allowed) == (f"backends.{side}.url", allowed)


@pytest.mark.parametrize(
    "rest",
    [
        "[listen]\nport = 0\n[admin]\nport = 0",
        '[listen]\nhost = "10.1.1.1"\nport = 8001\n[admin]\nport = 8080',
    ],
)
def test_what_does_not_clash_is_allowed(rest: str) -> None:
    made(rest=rest)


def test_a_value_that_is_bad_by_itself_clashes_with_nothing() -> None:
    rest = '[listen]\nport = "x"\n[admin]\nport = 8080\n'
    rest += route(path='"/a?b"', entity_key='["path:id"]')
    assert [line.split(" ")[1] for line in problems(rest=rest)] == ["listen.port", "routes[0].path"]


def test_all_problems_of_file_and_environment_come_at_once() -> None:
    environment = {
        "TWINWRITE_LISTEN_PORT": "many",
        "TWINWRITE_DUAL_WRITE": "perhaps",
        "TWINWRITE_REDACT_HEADERS": "ok,not ok",
    }
    rest = "[admin]\nport = -1\n" + route("a", methods='["get"]') + route("a")
    assert problems('stage = "dual"\n', rest, environment) == [
        'f.toml: stage = "dual": must be one of legacy_only, shadow, dual_legacy_primary,'
        " dual_new_primary, new_only",
        'environment: TWINWRITE_LISTEN_PORT = "many": must be an integer from 0 to 65535',
        "f.toml: admin.port = -1: must be an integer from 0 to 65535",
        'environment: TWINWRITE_REDACT_HEADERS = "not ok": must be the name of a header',
        'f.toml: routes[0].methods[0] = "get": must be a method in capitals, as POST',
        'f.toml: routes[1].name = "a": must be unique, and routes[0] has it',
        'environment: TWINWRITE_DUAL_WRITE = "perhaps": must be 0 or 1',
    ]


def test_the_two_kill_switch_variables_may_not_contradict_each_other() -> None:
    environment = {"TWINWRITE_DUAL_WRITE": "0", "TWINWRITE_KILL_SWITCH": "0"}
    assert problems(environment=environment) == [
        'environment: TWINWRITE_DUAL_WRITE = "0": contradicts TWINWRITE_KILL_SWITCH'
    ]
    environment = {"TWINWRITE_DUAL_WRITE": "0", "TWINWRITE_KILL_SWITCH": "perhaps"}
    assert problems(environment=environment) == [
        'environment: TWINWRITE_KILL_SWITCH = "perhaps": must be true or false'
    ]


def test_a_variable_that_clashes_is_named() -> None:
    assert problems(environment={"TWINWRITE_ADMIN_PORT": "8080"}) == [
        "environment: TWINWRITE_ADMIN_PORT = 8080: must differ from listen.port"
    ]


def test_a_variable_that_is_not_utf_8_is_refused() -> None:
    (line,) = problems(environment={"TWINWRITE_JOURNAL_DIRECTORY": "caf\udce9"})
    assert line.endswith(": must be UTF-8")


def test_missing_urls_are_asked_for() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("", "f", {})
    assert [(each.key, each.value) for each in caught.value.problems] == [
        ("backends.legacy.url", ""),
        ("backends.new.url", ""),
    ]


def test_a_password_in_a_url_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parse('[backends]\nnew.url = "http://ann:hunter2@new:80"', "f", {})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        parse("", "f", {"TWINWRITE_BACKENDS_NEW_URL": "http://ann:hunter2@new:80"})
    assert "hunter2" not in str(caught.value)


def values() -> st.SearchStrategy[object]:
    odd = st.sampled_from(
        ["", "x", "/{a}", "/{a", "path:a", "json:/a", "(", "default", "http://a:1"]
    )
    plain_values = st.one_of(odd, st.text(max_size=3), st.booleans(), st.integers(), st.floats())
    return st.recursive(
        plain_values,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(odd, inner, max_size=2),
        max_leaves=4,
    )


def documents() -> st.SearchStrategy[dict[str, object]]:
    def table(declared: type) -> st.SearchStrategy[dict[str, object]]:
        return st.fixed_dictionaries({}, optional={key.name: values() for key in keys(declared)})

    routes = st.lists(table(RouteSettings), max_size=3)
    sides = st.fixed_dictionaries({}, optional={"legacy": table(Backend), "new": table(Backend)})
    whole = {"routes": routes, "backends": sides, "listen": table(Listen)}
    return st.fixed_dictionaries(
        {}, optional={key.name: values() for key in keys(Settings)} | whole
    )


@settings(max_examples=200, deadline=None)
@given(documents())
def test_no_document_gives_more_than_a_config_or_problems(raw: dict[str, object]) -> None:
    written = "".join(f"{name} = {toml(value)}\n" for name, value in raw.items())
    try:
        config = parse(written, "f", {})
    except ConfigError as error:
        lines = [str(problem) for problem in error.problems]
    else:
        lines = []
        assert parse(effective(config), "again", {}).policy == config.policy
    assert all("\n" not in line for line in lines)


# files


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_bytes(b"\xef\xbb\xbf" + f"# {chr(228)}\r\n{URLS}".encode())
    assert load(str(file), {}).stage is Stage.LEGACY_ONLY


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff", "cannot be read: 'utf-8' codec"),
        (b"a = ", "line 1, column 5: not valid TOML: Invalid value"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem(
    tmp_path: Path, content: bytes | None, allowed: str
) -> None:
    file = tmp_path / "f.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(str(file), {})
    assert str(caught.value).startswith(f"{file}: {allowed}")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(str(tmp_path), {})


# warnings


def test_a_tunnel_is_no_surprise_where_nothing_is_mirrored() -> None:
    assert made("", "[listen]\nconnect = true").warnings == ()


@pytest.mark.parametrize(
    ("top", "rest", "expected"),
    [
        ("kill_switch = true\n", "", "kill_switch = true: nothing is sent to the secondary"),
        (
            "",
            '[admin]\nhost = "0.0.0.0"',
            'admin.host = "0.0.0.0": whoever reaches this port gets in',
        ),
        ("", '[admin]\nhost = "pod"', 'admin.host = "pod": whoever reaches this port gets in'),
        (
            'stage = "shadow"\n',
            "",
            'stage = "shadow": writes are not journaled; one that fails is not sent again',
        ),
        (
            "",
            '[categories.debug]\nstage = "shadow"',
            'categories.debug.stage = "shadow": writes are not journaled; one that fails is not'
            " sent again",
        ),
        (
            'stage = "dual_legacy_primary"\n',
            "[categories.debug]\npercent = 12.5",
            "categories.debug.percent = 12.5: in a dual stage, writes to the other entities reach"
            " one side only",
        ),
        (
            'stage = "dual_legacy_primary"\n',
            "[listen]\nconnect = true",
            "listen.connect = true: writes within a CONNECT tunnel reach the primary only",
        ),
        (
            "",
            "[compare]\nbody_bytes_max = 65537",
            "journal.reply_bytes_max = 65536: cuts replies that compare.body_bytes_max lets in",
        ),
        (
            "",
            route(ordering='"none"'),
            'routes[0] (r): ordering = "none": the two sides may get two writes in different orders',
        ),
        (
            "",
            route(mirror='"never"', entity_key='["json:/id"]'),
            'routes[0] (r): mirror = "never": entity_key, harvest and translate have no effect',
        ),
        (
            "",
            route(entity_scope='"all"', entity='"order"'),
            'routes[0] (r): entity_scope = "all": no other route has the entity "order"',
        ),
        (
            "",
            route(compare="false", unordered='["/x"]'),
            "routes[0] (r): compare = false: ignore, unordered and rules have no effect",
        ),
        (
            "",
            route(match='"exact"', unordered='["/x"]'),
            'routes[0] (r): match = "exact": ignore, unordered and rules have no effect',
        ),
        (
            "",
            route(headers='{ Authorization = "x" }'),
            "routes[0] (r): headers.Authorization: `twinwrite check` shows this pattern; put no"
            " secret into it",
        ),
    ],
)
def test_what_may_surprise_is_a_warning(top: str, rest: str, expected: str) -> None:
    assert made(top, rest).warnings == (expected,)


@pytest.mark.parametrize(
    ("stage", "rest"),
    [
        ("legacy_only", "[categories.debug]\npercent = 5"),
        ("shadow", '[categories.default]\nstage = "new_only"\npercent = 5'),
        ("dual_legacy_primary", '[admin]\nhost = "::1"'),
    ],
)
def test_what_cannot_surprise_is_none(stage: str, rest: str) -> None:
    config = made(f'stage = "{stage}"\n', rest)
    assert [line for line in config.warnings if not line.startswith("stage")] == []


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({}, {"path": '"/a"'}),
        ({"path": '"/a/{x}"'}, {"path": '"/a/b"'}),
        ({"path": '"/a/{x}"'}, {"path": '"/a/{y}"'}),
        ({"path": '"/a/{x...}"'}, {"path": '"/a/{y}/{z...}"'}),
        ({"path": '"/a"'}, {"path": '"/a"', "methods": '["POST"]', "host": '"h"'}),
        ({"methods": '["POST", "PUT"]'}, {"methods": '["PUT"]'}),
        ({"headers": '{ a = "b" }'}, {"headers": '{ a = "b", c = "d" }'}),
    ],
)
def test_a_route_that_is_never_reached_is_a_warning(
    earlier: dict[str, str], later: dict[str, str]
) -> None:
    config = made(rest=route("first", **earlier) + route("second", **later))
    assert config.warnings == (
        "routes[1] (second): never reached: first takes all that it matches",
    )


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"path": '"/a/b"'}, {"path": '"/a/{x}"'}),
        ({"path": '"/{x}/{y}"'}, {"path": '"/{rest...}"'}),
        ({"path": '"/{x}"'}, {"path": '"/{rest...}"'}),
        ({"methods": '["POST"]'}, {}),
        ({"methods": '["POST"]'}, {"methods": '["POST", "PUT"]'}),
        ({"host": '"h"'}, {}),
        ({"host": '"h"'}, {"host": '"i"'}),
        ({"headers": '{ a = "b" }'}, {"headers": '{ a = "c" }'}),
    ],
)
def test_a_route_that_can_be_reached_is_none(
    earlier: dict[str, str], later: dict[str, str]
) -> None:
    assert made(rest=route("first", **earlier) + route("second", **later)).warnings == ()


def test_variables_that_set_no_key_are_warnings() -> None:
    environment = {
        "TWINWRITE_STAEG": "shadow",
        "TWINWRITE_SERVICE_HOST": "10.0.0.1",
        "TWINWRITE_PORT_8080_TCP_ADDR": "10.0.0.1",
        "TWINWRITE_ADMIN_PORT": "tcp://10.0.0.1:9090",
        "TWINWRITE_CONFIG": "f.toml",
        "PATH": "/bin",
    }
    config = made(environment=environment)
    assert config.warnings == (
        "environment: ignored, they look like Kubernetes service links: TWINWRITE_ADMIN_PORT,"
        " TWINWRITE_PORT_8080_TCP_ADDR, TWINWRITE_SERVICE_HOST",
        "environment: TWINWRITE_STAEG: sets no key, ignored; did you mean TWINWRITE_STAGE?",
    )
    assert config.admin.port == 9090


# effective


def test_the_effective_settings_say_where_each_value_comes_from() -> None:
    config = made('stage = "shadow"\n', route(), {"TWINWRITE_LISTEN_PORT": "7001"})
    lines = effective(config).splitlines()
    assert 'stage = "shadow"  # file' in lines
    assert "port = 7001  # environment" in lines
    assert "port = 9090  # default" in lines
    assert 'name = "r"  # file' in lines
    assert 'mirror = "auto"  # default' in lines


def test_the_effective_settings_are_the_same_settings() -> None:
    config = made(
        'stage = "dual_new_primary"\nsalt = "a\\"\\\\\\n\\u007fé"\n',
        '[categories.mine]\npercent = 0.1\nstage = "shadow"\n[breaker]\nfailure_rate = 0.075\n'
        + route(
            path='"/o/{id}"',
            headers='{ X-Kind = "^\\\\d+$" }',
            category='"mine"',
            entity_key='["path:id"]',
            harvest='[{ kind = "o", from = "json:/a~1b" }]',
            translate='{ "path:id" = "o", "json:/x y" = "o" }',
        ),
        {"TWINWRITE_REDACT_FIELDS": "a b,c"},
    )
    again = parse(effective(config), "again", {})
    assert again.policy == config.policy
    assert plain(again) == plain(config)
    assert again.fate_limits == config.fate_limits
    assert again.breaker_limits == config.breaker_limits
    assert effective(parse(effective(again), "again", {})) == effective(again)
