"""Lanes: which names a write holds, alone or shared, and which entities are within a percent."""

import json
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.lane import CHARACTERS_MAX, KEYS_MAX, LEVELS_MAX, is_sampled, lanes, path_lanes
from rules.route import Category, Ordering, Route, Scope, captures, plan
from rules.source import Parts
from tests.rules.test_route import a_head, a_policy, a_route, keyed, planned

HEAD = b"POST / HTTP/1.1\r\nX-Order: 9\r\n\r\n"


def parts_of(route: Route, target: str, payload: bytes = b"", head: bytes = b"") -> Parts:
    spans = captures(route, target)
    assert spans is not None
    return Parts(target=target, head=head, payload=payload, captures=spans)


def lanes_of(route: Route, target: str, payload: bytes = b"", head: bytes = b"") -> tuple[str, ...]:
    return lanes_among((route,), target, payload, head)


def lanes_among(
    routes: tuple[Route, ...], target: str, payload: bytes = b"", head: bytes = b""
) -> tuple[str, ...]:
    """Those of a request for the first of these routes that matches it."""
    chosen = plan(a_head(target=target), a_policy(*routes))
    return lanes(chosen, parts_of(chosen.route, target, payload, head))


def exclude(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two writes are in a lane that one of them holds alone."""
    return any(
        name == "^" + another or another == "^" + name or (name == another and name[0] != "^")
        for name in one
        for another in other
    )


# one entity, one lane


@pytest.mark.parametrize(
    ("keys", "payload", "expected"),
    [
        (("path:id",), b"", ("orders:7",)),
        ((), b"", ("orders",)),
        (("json:/id",), b'{"id": 7}', ("orders:7",)),
        (("json:/id",), b"{}", ("orders",)),
        (("json:/id",), b"not json", ("orders",)),
        (("header:X-Order",), b"", ("orders:9",)),
        (("header:X-None",), b"", ("orders",)),
        (("path:id", "json:/to"), b'{"to": "3"}', ("orders:3", "orders:7")),
        (("json:/to", "path:id"), b'{"to": "3"}', ("orders:3", "orders:7")),
        (("path:id", "json:/to"), b'{"to": "7"}', ("orders:7",)),
        (("path:id", "json:/to"), b"{}", ("orders", "orders:7")),
        (("path:id", "json:/to"), b"no JSON", ("orders", "orders:7")),
    ],
)
def test_lanes_are_the_entities_in_one_global_order(
    keys: tuple[str, ...], payload: bytes, expected: tuple[str, ...]
) -> None:
    assert lanes_of(keyed("/orders/{id}", *keys), "/orders/7", payload, HEAD) == expected


def test_two_spellings_of_one_key_are_one_lane() -> None:
    route = keyed("/orders/{id}", "path:id")
    assert lanes_of(route, "/orders/%37") == lanes_of(route, "/orders/7") == ("orders:7",)


def test_routes_that_name_one_entity_share_its_lanes() -> None:
    change = keyed("/orders/{id}", "path:id", entity="order")
    pay = keyed("/orders/{id}/pay", "path:id", entity="order")
    assert lanes_of(change, "/orders/7") == lanes_of(pay, "/orders/7/pay") == ("order:7",)


def test_without_an_order_there_is_no_lane() -> None:
    route = keyed("/orders/{id}", "path:id", ordering=Ordering.NONE)
    assert lanes_of(route, "/orders/7") == ()


@pytest.mark.parametrize(
    "target", ["/orders/7", "/orders/%37", "/orders/a%2Fb", "/orders/caf%C3%A9"]
)
def test_a_plain_path_key_is_told_by_the_head_alone(target: str) -> None:
    route = keyed("/orders/{id}", "path:id", entity="order")
    chosen = plan(a_head(target=target), a_policy(route))
    assert path_lanes(chosen) == lanes(chosen, parts_of(route, target))


@pytest.mark.parametrize(
    "more", [{"scope": Scope.BELOW}, {"ordering": Ordering.NONE}], ids=["below", "none"]
)
def test_the_head_alone_does_not_tell_what_is_not_plain(more: dict[str, object]) -> None:
    assert path_lanes(planned(keyed("/orders/{id}", "path:id", **more))) is None


# several entities of a request


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"items": [{"id": 2}, {"id": 1}, {"id": 2}]}', ("order:1", "order:2", "^order:")),
        (b'{"items": {"x": {"id": 2}, "y": {"id": "1"}}}', ("order:1", "order:2", "^order:")),
        (b'{"items": [{"id": 2}, {"no": 1}]}', ("batch", "order:2", "^order:")),
        (b'{"items": [{"id": 2}, {"id": null}, 7]}', ("batch", "order:2", "^order:")),
        (b'{"items": []}', ("^order:", "batch")),
        (b'{"items": 7}', ("^order:", "batch")),
        (b"{}", ("^order:", "batch")),
        (b"", ("^order:", "batch")),
        (b'{"items": [{"id": 2}, {"id": true}]}', ("order:",)),  # which one, nobody knows
        (b"\x1f\x8b compressed", ("order:",)),
    ],
)  # fmt: skip
def test_each_element_of_an_array_is_a_key(payload: bytes, expected: tuple[str, ...]) -> None:
    route = a_route("batch", entity="order", entity_keys=keyed("/", "json:/items/*/id").entity_keys)
    assert lanes_of(route, "/batch", payload) == tuple(sorted(expected))


def test_a_name_that_is_repeated_is_several_keys_and_a_comma_separates_nothing() -> None:
    query, header = keyed("/orders", "query:id"), keyed("/orders", "header:X-Order")
    form = keyed("/orders", "form:ids[]")
    assert lanes_of(query, "/orders?id=1&n=5&id=2,3") == ("orders:1", "orders:2,3")
    head = b"POST / HTTP/1.1\r\nX-Order: 1\r\nHost: a\r\nx-order: 2, 3\r\n\r\n"
    assert lanes_of(header, "/orders", b"", head) == ("orders:1", "orders:2, 3")
    found = lanes_of(form, "/orders", b"ids%5B%5D=1&x=1&ids[]=a%20b")
    assert found == ("^orders:", "orders:1", "orders:a b")


def batch(count: int, letters: int = 1) -> bytes:
    return json.dumps([{"id": f"{n}".rjust(letters, "x")} for n in range(count)]).encode()


@pytest.mark.parametrize(
    ("payload", "names"),
    [
        (batch(KEYS_MAX - 1), KEYS_MAX),
        (batch(KEYS_MAX), 1),
        (batch(KEYS_MAX + 1), 1),
        (batch(KEYS_MAX * 50), 1),
        (batch(900, 130), 901),
        (batch(900, 150), 1),
        (batch(1, CHARACTERS_MAX + 1), 1),
    ],
    ids=["as many as may be", "one more", "two more", "far more", "long", "too long", "one long"],
)
def test_a_request_with_too_many_keys_holds_its_whole_entity(payload: bytes, names: int) -> None:
    many, one = keyed("/batch", "json:/*/id"), keyed("/orders/{id}", "path:id")
    found = lanes_among((many, one), "/batch", payload)
    assert len(found) == names
    assert (found == ("orders:",)) == (names == 1)
    assert exclude(found, lanes_among((many, one), "/orders/0")) == (
        b'"0"' in payload or names == 1
    )


def test_where_keys_stand_in_the_head_it_bounds_them() -> None:
    target = "/orders?" + "&".join(f"id={n}" for n in range(2 * KEYS_MAX))
    assert len(lanes_of(keyed("/orders", "query:id"), target)) == 2 * KEYS_MAX


# what concerns more than its keys

FILE = keyed("/files/{rest...}", "path:rest", scope=Scope.BELOW, entity="file")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", ("^file:", "file:a")),
        ("a/b", ("^file:", "^file:a", "file:a/b")),
        ("a/b/c", ("^file:", "^file:a", "^file:a/b", "file:a/b/c")),
        ("a/b/", ("^file:", "^file:a", "file:a/b")),  # a / at the end is no level
        ("a//b", ("^file:", "^file:a", "file:a/b")),
        ("./a/./b", ("^file:", "^file:a", "file:a/b")),
        ("a%2Fb", ("^file:", "^file:a", "file:a/b")),
        ("%61/b", ("^file:", "^file:a", "file:a/b")),
        ("", ("file:",)),
        ("/", ("file:",)),
        ("a/../b", ("file:",)),  # b, or something below a
        ("a/b/../c", ("^file:", "file:a")),
        ("a/b/%2e%2E/c/d", ("^file:", "file:a")),
        ("a/b/../c/../../d", ("file:",)),
        ("a/b/c/../d/e/../f", ("^file:", "^file:a", "file:a/b")),
        ("..", ("file:",)),
        ("a/b...", ("^file:", "^file:a", "file:a/b...")),
    ],
)  # fmt: skip
def test_a_key_that_is_a_path_shares_what_is_above_it(path: str, expected: tuple[str, ...]) -> None:
    assert lanes_of(FILE, f"/files/{path}") == tuple(sorted(expected))


def test_several_paths_hold_no_lane_twice() -> None:
    move = keyed("/{rest...}", "path:rest", "header:X-To", scope=Scope.BELOW)
    head = b"MOVE / HTTP/1.1\r\nX-To: /a/c\r\n\r\n"
    assert lanes_of(move, "/a/b", b"", head) == (
        "^orders:",
        "^orders:a",
        "orders:a/b",
        "orders:a/c",
    )
    assert lanes_of(move, "/a", b"", head) == ("^orders:", "orders:a", "orders:a/c")


def test_a_path_that_is_too_deep_holds_the_level_above() -> None:
    deep = "/".join("a" * (2 * LEVELS_MAX))
    found = lanes_of(FILE, f"/files/{deep}")
    assert len(found) == LEVELS_MAX + 1
    assert found == lanes_of(FILE, f"/files/{deep}/b")
    assert len(lanes_of(FILE, f"/files/{'a' * 9000}/{deep}")) == 1  # what it would take is too long


def test_a_route_that_concerns_all_of_its_entity_excludes_each_write_of_it() -> None:
    everything = a_route("graphql", "/graphql", scope=Scope.ALL, entity="order")
    change = keyed("/orders/{id}", "path:id", entity="order")
    create = a_route("create", "/orders", entity="order")
    other = keyed("/users/{id}", "path:id", entity="user")
    routes = (everything, change, create, other)
    expected = {
        "/graphql": ("order:",),
        "/orders/7": ("^order:", "order:7"),
        "/orders": ("^order:", "create"),
        "/users/7": ("user:7",),
    }
    assert {target: lanes_among(routes, target) for target in expected} == expected
    assert path_lanes(plan(a_head(target="/users/7"), a_policy(*routes))) == ("user:7",)
    assert path_lanes(plan(a_head(target="/orders/7"), a_policy(*routes))) is None


def test_what_no_route_takes_can_be_of_an_entity_that_is_shared() -> None:
    everything = a_route("graphql", "/graphql", scope=Scope.ALL, entity="fallback")
    assert lanes_among((everything,), "/any/thing") == ("^fallback:", "fallback")
    assert exclude(*(lanes_among((everything,), each) for each in ("/graphql", "/any/thing")))


def test_one_route_with_levels_gives_them_to_all_of_its_entity() -> None:
    put = keyed("/f/{rest...}", "path:rest", entity="file")
    delete = keyed("/d/{rest...}", "path:rest", entity="file", scope=Scope.BELOW)
    found = lanes_among((put, delete), "/f/a/b")
    assert found == lanes_among((put, delete), "/d/a/b") == ("^file:", "^file:a", "file:a/b")
    assert lanes_of(put, "/f/a/b") == ("file:a/b",)


STEPS = st.lists(st.sampled_from(["a", "b", "", ".", ".."]), max_size=5)


def literally(steps: list[str]) -> list[str]:
    return steps


def resolved(steps: list[str]) -> list[str]:
    found: list[str] = []
    for step in steps:
        if step == "..":
            del found[-1:]
        elif step not in ("", "."):
            found.append(step)
    return found


@pytest.mark.parametrize("server", [literally, resolved])
@given(STEPS, STEPS)
def test_a_write_excludes_what_is_below_it_however_the_server_reads_paths(
    server: Callable[[list[str]], list[str]], above: list[str], below: list[str]
) -> None:
    top, bottom = server(above), server(below)
    one, other = (lanes_of(FILE, "/files/" + "/".join(each)) for each in (above, below))
    if bottom[: len(top)] == top:
        assert exclude(one, other)
        assert exclude(other, one)


@given(STEPS, STEPS)
def test_neighbours_do_not_exclude_each_other(one: list[str], other: list[str]) -> None:
    found = []
    for top, steps in (("c", one), ("d", other)):
        path = "/".join([top, *(step for step in steps if step != "..")])
        found.append(lanes_of(FILE, f"/files/{path}"))
    assert not exclude(*found)


# within which percent


def sampled(
    percent: float, target: str, salt: str = "twinwrite", route: Route | None = None
) -> bool:
    route = route or keyed("/orders/{id}", "path:id")
    policy = a_policy(route, category=Category(name="default", percent=percent), salt=salt)
    chosen = plan(a_head(target=target), policy)
    return is_sampled(chosen, policy, parts_of(chosen.route, target))


@given(st.integers(0, 10**6), st.floats(0, 100), st.floats(0, 100))
def test_an_entity_that_is_in_stays_in_when_the_percent_rises(
    key: int, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert sampled(low, f"/orders/{key}") <= sampled(high, f"/orders/{key}")


def test_a_percent_takes_about_its_share_of_the_entities() -> None:
    share = sum(sampled(25.0, f"/orders/{key}") for key in range(2000)) / 2000
    assert 0.2 < share < 0.3
    assert not any(sampled(0.0, f"/orders/{key}") for key in range(100))
    assert all(sampled(100.0, f"/orders/{key}") for key in range(100))


def test_all_writes_of_an_entity_share_its_fate() -> None:
    for key in range(50):
        assert sampled(50.0, f"/orders/{key}") == sampled(50.0, f"/orders/{key}?note=1")


def test_a_request_with_several_keys_is_in_when_one_of_them_is() -> None:
    many, chance = keyed("/orders", "query:id"), Random(7)
    for _ in range(100):
        keys = [str(chance.randrange(1000)) for _ in range(chance.randrange(1, 4))]
        target = "/orders?" + "&".join(f"id={key}" for key in keys)
        expected = any(sampled(30.0, f"/orders/{key}") for key in keys)
        assert sampled(30.0, target, route=many) == expected


def test_a_tree_is_in_or_out_as_a_whole() -> None:
    tops = {f"/files/{n}": sampled(50.0, f"/files/{n}", route=FILE) for n in range(50)}
    assert set(tops.values()) == {True, False}
    for top, is_in in tops.items():
        for below in ("/", "/a", "/a/b", "//a/./b"):
            assert sampled(50.0, top + below, route=FILE) == is_in


def test_another_salt_takes_other_entities() -> None:
    keys = [f"/orders/{key}" for key in range(100)]
    assert [sampled(50.0, k) for k in keys] != [sampled(50.0, k, "other") for k in keys]


def test_without_a_key_the_target_is_the_entity() -> None:
    assert {sampled(50.0, f"/{n}", route=a_route()) for n in range(50)} == {True, False}
