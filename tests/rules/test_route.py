"""Routes: which one takes a request, whether it is mirrored and why not."""

import re
from typing import Any

import pytest

from rules.framing import RequestHead, parse_request
from rules.identity import Translation
from rules.message import Side
from rules.route import (
    Category,
    Kill,
    Match,
    Mirrored,
    Plan,
    Policy,
    Route,
    Skip,
    captures,
    compile_path,
    hindrance,
    plan,
)
from rules.source import parse_source
from rules.stage import Mirror, Stage

DUAL = Stage.DUAL_LEGACY_PRIMARY


def a_route(name: str = "orders", path: str = "/{rest...}", **more: object) -> Route:
    return Route(name=name, match=Match(path=compile_path(path)), **more)  # type: ignore[arg-type]


def a_policy(
    *routes: Route, stage: Stage = DUAL, category: Category | None = None, **more: object
) -> Policy:
    return Policy(
        stage=stage,
        routes=routes,
        fallback=a_route("fallback"),
        categories={"default": category or Category(name="default")},
        **more,  # type: ignore[arg-type]
    )


def a_head(method: str = "POST", target: str = "/orders/7", *fields: str) -> RequestHead:
    lines = [f"{method} {target} HTTP/1.1", "Host: shop.example", *fields, "", ""]
    head = parse_request("\r\n".join(lines).encode("latin-1"))
    assert isinstance(head, RequestHead), head
    return head


def planned(route: Route, policy: Policy | None = None, method: str = "POST") -> Plan:
    return plan(a_head(method), policy or a_policy(route))


def keyed(path: str, *keys: str, **more: object) -> Route:
    sources = tuple(parse_source(key) for key in keys)
    return a_route("orders", path, entity_keys=sources, **more)


# which route


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("/orders", "/orders", {}),
        ("/orders", "/orders/", None),
        ("/orders/{id}", "/orders/7", {"id": "7"}),
        ("/orders/{id}", "/orders/", None),
        ("/orders/{id}", "/orders/7/notes", None),
        ("/orders/{id}/notes/{note}", "/orders/7/notes/a%2Fb", {"id": "7", "note": "a%2Fb"}),
        ("/files/{rest...}", "/files/", {"rest": ""}),
        ("/files/{rest...}", "/files/a/b", {"rest": "a/b"}),
        ("/{rest...}", "/", {"rest": ""}),
        ("/v1.0/{id}", "/v1x0/7", None),
        ("/a+b/{id}", "/a+b/7", {"id": "7"}),
        ("/{kind}.{id}", "/order.7", {"kind": "order", "id": "7"}),
    ],
)
def test_a_pattern_takes_whole_paths(pattern: str, path: str, found: dict[str, str] | None) -> None:
    match = compile_path(pattern).fullmatch(path)
    assert (None if match is None else match.groupdict()) == found


@pytest.mark.parametrize(
    "pattern", ["", "orders", "/{", "/}", "/{1a}", "/{a.b}", "/{a..}", "/{a}/{a}", "/{}", "/{a b}"]
)
def test_a_pattern_that_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(pattern))):
        compile_path(pattern)


def test_the_first_route_that_matches_wins() -> None:
    first, second = a_route("first", "/orders/{id}"), a_route("second", "/orders/{key}")
    assert plan(a_head(), a_policy(first, second)).route is first
    assert plan(a_head(), a_policy(second, first)).route is second


def test_what_no_route_matches_falls_back() -> None:
    policy = a_policy(a_route("orders", "/orders"))
    found = plan(a_head(target="/other"), policy)
    assert found.route is policy.fallback
    assert set(found.captures) <= {"rest"}


@pytest.mark.parametrize(
    ("match", "head", "taken"),
    [
        ({"methods": frozenset({"PUT"})}, a_head("PUT"), True),
        ({"methods": frozenset({"PUT"})}, a_head("POST"), False),
        ({"host": "SHOP.example"}, a_head(), True),
        ({"host": "other.example"}, a_head(), False),
        ({"headers": (("X-Kind", re.compile("^b")),)}, a_head("POST", "/a", "x-kind: bulk"), True),
        ({"headers": (("X-Kind", re.compile("^b")),)}, a_head("POST", "/a", "X-Kind: one"), False),
        ({"headers": (("X-Kind", re.compile("")),)}, a_head(), False),
    ],
)
def test_every_condition_of_a_route_must_hold(
    match: dict[str, Any], head: RequestHead, taken: bool
) -> None:
    found = Match(path=compile_path("/{rest...}"), **match)
    route = Route(name="picky", match=found)
    assert (plan(head, a_policy(route)).route is route) is taken


def test_captures_say_where_they_stand_and_the_query_is_no_path() -> None:
    route = a_route("orders", "/orders/{id}/notes/{note}")
    target = "/orders/7/notes/xy?id=8"
    spans = plan(a_head(target=target), a_policy(route)).captures
    assert {name: target[start:end] for name, (start, end) in spans.items()} == {
        "id": "7",
        "note": "xy",
    }
    assert captures(route, target) == spans
    assert captures(route, "/elsewhere") is None


# whether it is mirrored

OFF = Category(name="default", mirror=False)


@pytest.mark.parametrize(
    ("stage", "primary", "mirror", "skip"),
    [
        (Stage.LEGACY_ONLY, Side.LEGACY, Mirror.NONE, Skip.STAGE),
        (Stage.SHADOW, Side.LEGACY, Mirror.SHADOW, Skip.SHADOW),
        (Stage.DUAL_LEGACY_PRIMARY, Side.LEGACY, Mirror.JOURNAL, None),
        (Stage.DUAL_NEW_PRIMARY, Side.NEW, Mirror.JOURNAL, None),
        (Stage.NEW_ONLY, Side.NEW, Mirror.NONE, Skip.STAGE),
    ],
)
def test_the_stage_says_who_answers_and_what_the_other_gets(
    stage: Stage, primary: Side, mirror: Mirror, skip: Skip | None
) -> None:
    found = plan(a_head(), a_policy(stage=stage))
    assert (found.primary, found.mirror, found.skip, found.stage) == (primary, mirror, skip, stage)
    assert found.write


def test_a_category_has_a_stage_of_its_own() -> None:
    ahead = Category(name="default", stage=Stage.NEW_ONLY)
    found = plan(a_head(), a_policy(category=ahead))
    assert (found.stage, found.primary, found.mirror) == (
        Stage.NEW_ONLY, Side.NEW, Mirror.NONE,
    )  # fmt: skip


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH", "QUERY"]
)
def test_a_read_is_relayed_and_no_write(method: str) -> None:
    found = plan(a_head(method), a_policy())
    assert (found.mirror, found.write, found.skip) == (Mirror.NONE, False, None)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "MKCOL", "LOCK", "BREW"])
def test_every_other_method_is_a_write(method: str) -> None:
    found = plan(a_head(method), a_policy())
    assert (found.mirror, found.write, found.skip) == (Mirror.JOURNAL, True, None)


@pytest.mark.parametrize(
    ("mirrored", "method", "mirror", "write", "skip"),
    [
        (Mirrored.ALWAYS, "GET", Mirror.JOURNAL, True, None),
        (Mirrored.ALWAYS, "POST", Mirror.JOURNAL, True, None),
        (Mirrored.NEVER, "GET", Mirror.NONE, False, None),
        (Mirrored.NEVER, "POST", Mirror.NONE, True, Skip.ROUTE),
    ],
)
def test_a_route_may_declare_what_is_a_write(
    mirrored: Mirrored, method: str, mirror: Mirror, write: bool, skip: Skip | None
) -> None:
    found = planned(a_route(mirrored=mirrored), method=method)
    assert (found.mirror, found.write, found.skip) == (mirror, write, skip)


@pytest.mark.parametrize(
    ("stage", "kill", "mirror", "skip"),
    [
        (DUAL, Kill.JOURNAL, Mirror.JOURNAL, None),
        (DUAL, Kill.DROP, Mirror.NONE, Skip.KILL_SWITCH),
        (Stage.SHADOW, Kill.JOURNAL, Mirror.NONE, Skip.KILL_SWITCH),
        (Stage.SHADOW, Kill.DROP, Mirror.NONE, Skip.KILL_SWITCH),
        (Stage.NEW_ONLY, Kill.JOURNAL, Mirror.NONE, Skip.STAGE),
    ],
)
def test_the_kill_switch_sends_nothing_and_journals_unless_told_to_drop(
    stage: Stage, kill: Kill, mirror: Mirror, skip: Skip | None
) -> None:
    found = plan(a_head(), a_policy(stage=stage, kill_switch=True, kill=kill))
    assert (found.mirror, found.skip) == (mirror, skip)
    assert found.primary is (Side.NEW if stage is Stage.NEW_ONLY else Side.LEGACY)


def test_the_reason_is_that_of_the_highest_precedence() -> None:
    killed = {"kill_switch": True, "kill": Kill.DROP}
    skips = [
        plan(a_head(), a_policy(category=OFF, stage=Stage.NEW_ONLY, **killed)).skip,
        plan(a_head(), a_policy(category=OFF, stage=Stage.NEW_ONLY)).skip,
        plan(a_head(), a_policy(category=OFF)).skip,
        plan(a_head(), a_policy(stage=Stage.NEW_ONLY)).skip,
    ]
    assert skips == [Skip.KILL_SWITCH, Skip.CATEGORY, Skip.CATEGORY, Skip.STAGE]


# what an earlier run owes


@pytest.mark.parametrize(
    ("stage", "primary", "target", "why"),
    [
        (Stage.DUAL_LEGACY_PRIMARY, Side.LEGACY, "/orders/7", ""),
        (Stage.LEGACY_ONLY, Side.LEGACY, "/orders/7", ""),
        (Stage.DUAL_NEW_PRIMARY, Side.LEGACY, "/orders/7", "to new, which stage dual_new_primary"),
        (Stage.DUAL_LEGACY_PRIMARY, Side.NEW, "/orders/7", "to legacy, which stage dual_legacy"),
        (Stage.DUAL_LEGACY_PRIMARY, Side.LEGACY, "/other/7", "its route no longer matches"),
    ],
)
def test_a_write_is_not_delivered_under_a_policy_that_it_does_not_fit(
    stage: Stage, primary: Side, target: str, why: str
) -> None:
    translation = Translation("order", parse_source("path:id"))
    route = keyed("/orders/{id}", "path:id", translations=(translation,))
    found = hindrance(primary, target, route, a_policy(route, stage=stage))
    assert why in found
    assert bool(found) == bool(why)


def test_a_write_of_a_route_that_is_gone_is_not_delivered() -> None:
    assert "no longer has" in hindrance(Side.LEGACY, "/orders/7", None, a_policy())


# what is decided once


@pytest.mark.parametrize(
    ("source", "needed"),
    [("json:/id", True), ("form:id", True), ("path:id", False), ("header:X", False)],
)
def test_a_body_is_read_only_where_a_key_or_a_translation_stands_in_it(
    source: str, needed: bool
) -> None:
    assert keyed("/", source).reads_body is needed
    translation = Translation("order", parse_source(source))
    assert a_route(translations=(translation,)).reads_body is needed
    assert not a_route().reads_body


def test_a_plan_keeps_what_it_was_made_from() -> None:
    route = a_route(path="/orders/{id}")
    policy = a_policy(route)
    found = plan(a_head(), policy)
    assert found.route is route
    assert found.category is policy.categories["default"]
    assert found.captures == {"id": (8, 9)}


TRANSLATED = keyed("/users/{id}", translations=(Translation("user", parse_source("path:id")),))


@pytest.mark.parametrize(
    ("primary", "target", "route", "stage", "why"),
    [
        (Side.LEGACY, "/users/7", TRANSLATED, Stage.DUAL_LEGACY_PRIMARY, ""),
        (Side.LEGACY, "/users/7", TRANSLATED, Stage.LEGACY_ONLY, ""),
        (Side.LEGACY, "/users/7", None, Stage.DUAL_LEGACY_PRIMARY, "no longer has"),
        (Side.LEGACY, "/people/7", TRANSLATED, Stage.DUAL_LEGACY_PRIMARY, "no longer matches"),
        (Side.LEGACY, "/people/7", keyed("/users/{id}"), Stage.DUAL_LEGACY_PRIMARY, ""),
        (Side.LEGACY, "/users/7", TRANSLATED, Stage.DUAL_NEW_PRIMARY, "to new, which"),
        (Side.NEW, "/users/7", TRANSLATED, Stage.DUAL_LEGACY_PRIMARY, "to legacy, which"),
    ],
    ids=[
        "as before",
        "stopped mirroring",
        "route gone",
        "pattern changed",
        "nothing to translate",
        "flipped",
        "back",
    ],
)
def test_what_an_earlier_run_owes_is_sent_only_as_it_was_meant(
    primary: Side, target: str, route: Route | None, stage: Stage, why: str
) -> None:
    policy = a_policy(*([] if route is None else [route]), stage=stage)

    found = hindrance(primary, target, route, policy)

    assert why in found
    assert bool(found) == bool(why)
