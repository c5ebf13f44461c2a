"""Identities: what a request needs, what is put in, and what a pair of replies reveals."""

import gzip

import pytest
from msgspec import structs

from rules.framing import fields
from rules.identity import (
    Harvest,
    Pair,
    Translation,
    harvest,
    payload_of,
    rebuilt,
    same,
    translate,
    wanted,
)
from rules.message import Framing, Reply, Request
from rules.source import Parts, parse_source


def a_request(body: bytes = b"", *, target: str = "/orders/42", chunked: bool = False) -> Request:
    framing = (
        "Transfer-Encoding: chunked\r\nTrailer: X-Sum"
        if chunked
        else f"Content-Length: {len(body)}"
    )
    head = f"POST {target} HTTP/1.1\r\nHost: shop\r\n{framing}\r\nX-Last: 1\r\n\r\n".encode(
        "latin-1"
    )
    return Request(
        method="POST", target=target, head=head, body=body, chunked=chunked, body_bytes=len(body)
    )


def seen(request: Request) -> Parts:
    start = request.target.rfind("/") + 1
    return Parts(
        target=request.target, head=request.head, payload=payload_of(request),
        captures={"id": (start, len(request.target))},
    )  # fmt: skip


def a_reply(body: bytes, location: str = "") -> Reply:
    line = f"Location: {location}\r\n" if location else ""
    return Reply(status=201, head=f"HTTP/1.1 201 Created\r\n{line}\r\n".encode(), body=body)


def translations(*sources: str, kind: str = "order") -> tuple[Translation, ...]:
    return tuple(Translation(kind, parse_source(source)) for source in sources)


def harvests(*sources: str) -> tuple[Harvest, ...]:
    return tuple(Harvest("order", parse_source(source)) for source in sources)


def test_a_request_wants_each_identity_once() -> None:
    request = a_request(b'{"order": 42, "parent": 7}')
    wishes = translations("path:id", "json:/order", "json:/parent", "query:none")
    assert wanted(wishes, seen(request)) == (("order", "42"), ("order", "7"))


def test_the_same_value_of_another_kind_is_another_identity() -> None:
    request = a_request(b'{"customer": 42}')
    wishes = translations("path:id") + translations("json:/customer", kind="customer")
    assert wanted(wishes, seen(request)) == (("order", "42"), ("customer", "42"))


def test_nothing_is_wanted_where_nothing_stands() -> None:
    assert wanted(translations("json:/order"), seen(a_request(b"[]"))) == ()
    assert wanted((), seen(a_request())) == ()


def test_every_identity_is_put_in_where_it_stands() -> None:
    request = a_request(b'{"order": 42, "n": 42}')
    parts = translate(
        translations("path:id", "json:/order"), seen(request), {("order", "42"): "n-9"}
    )
    assert parts.target == "/orders/n-9"
    assert parts.payload == b'{"order": "n-9", "n": 42}'


def test_an_identity_that_was_not_found_is_never_guessed() -> None:
    with pytest.raises(KeyError):
        translate(translations("path:id"), seen(a_request()), {})


def test_a_pair_of_replies_reveals_the_identities_that_both_have() -> None:
    primary = a_reply(b'{"id": 42, "only": "here"}', "/orders/42")
    secondary = a_reply(b'{"id": "n-9"}', "http://new/orders/n-9?x")
    found = harvest(harvests("json:/id", "header:location", "json:/only"), primary, secondary)
    assert found == (Pair("order", "42", "n-9"), Pair("order", "42", "n-9"))


def test_a_truncated_reply_reveals_nothing_of_its_body() -> None:
    whole = a_reply(b'{"id": 42}', "/orders/42")
    cut = Reply(status=201, head=whole.head, body=whole.body, truncated=True)
    assert harvest(harvests("json:/id"), whole, cut) == ()
    assert harvest(harvests("header:location"), whole, cut) == (Pair("order", "42", "42"),)


def test_a_reply_is_seen_without_chunk_lines() -> None:
    reply = Reply(status=200, head=b"", body=b"2\r\nab\r\n0\r\n\r\n", framing=Framing.CHUNKED)
    assert payload_of(reply) == b"ab"
    assert payload_of(Reply(status=204, head=b"", framing=Framing.CHUNKED)) == b""


def test_a_spooled_body_is_not_looked_into() -> None:
    request = Request(
        method="POST", target="/", head=b"", chunked=True, spool="somewhere", body_bytes=9
    )
    assert payload_of(request) == b""


def test_a_request_that_did_not_change_stays_as_it_was() -> None:
    for request in (a_request(b"ab"), a_request(b"2\r\nab\r\n0\r\n\r\n", chunked=True)):
        assert rebuilt(request, seen(request)) == request


def test_a_changed_target_changes_the_request_line_only() -> None:
    request = a_request(b"ab")
    changed = rebuilt(
        request, translate(translations("path:id"), seen(request), {("order", "42"): "9"})
    )
    assert changed.target == "/orders/9"
    assert changed.head == request.head.replace(b"/orders/42 ", b"/orders/9 ")
    assert changed.body == b"ab"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_changed_payload_is_framed_by_its_length(chunked: bool) -> None:
    payload = b'{"order": 42}'
    framed = b"d\r\n%s\r\n0\r\nX-Sum: 1\r\n\r\n" % payload
    request = a_request(framed if chunked else payload, chunked=chunked)
    found = {("order", "42"): "1234"}
    changed = rebuilt(request, translate(translations("json:/order"), seen(request), found))
    assert changed.body == b'{"order": 1234}'
    assert not changed.chunked
    assert changed.body_bytes == 15
    assert fields(changed.head) == (("host", "shop"), ("x-last", "1"), ("content-length", "15"))


def test_a_spooled_request_keeps_its_file_when_its_target_changes() -> None:
    request = Request(
        method="PUT", target="/orders/42", head=b"PUT /orders/42 HTTP/1.1\r\n\r\n",
        spool="somewhere", body_bytes=10**6, spool_key=b"key",
    )  # fmt: skip
    changed = rebuilt(
        request, translate(translations("path:id"), seen(request), {("order", "42"): "9"})
    )
    assert (changed.spool, changed.body_bytes) == ("somewhere", 10**6)
    assert changed.spool_key == b"key"
    assert changed.head == b"PUT /orders/9 HTTP/1.1\r\n\r\n"


def test_a_body_in_pieces_is_seen_as_one_and_stays_in_pieces_when_only_its_target_changes() -> None:
    pieces = (b'{"order"', b": 42}")
    request = structs.replace(a_request(b"".join(pieces)), body=b"", pieces=pieces)
    assert payload_of(request) == b'{"order": 42}'
    assert rebuilt(request, seen(request)) == request
    found = {("order", "42"): "9"}
    changed = rebuilt(request, translate(translations("path:id"), seen(request), found))
    assert (changed.target, changed.pieces) == ("/orders/9", pieces)
    assert (changed.body, changed.body_bytes) == (b"", 13)
    changed = rebuilt(request, translate(translations("json:/order"), seen(request), found))
    assert (changed.body, changed.pieces, changed.body_bytes) == (b'{"order": 9}', (), 12)


def test_chunks_in_pieces_are_seen_without_their_lines() -> None:
    framed = (b"2\r", b"\nab\r\n", b"0\r\n\r\n")
    request = structs.replace(a_request(b"", chunked=True), pieces=framed)
    assert payload_of(request) == b"ab"


def test_an_identity_is_harvested_from_a_compressed_reply() -> None:
    head = b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\n\r\n"
    ours = Reply(status=201, head=head, body=gzip.compress(b'{"id": 17}'))
    theirs = Reply(status=201, head=head, body=gzip.compress(b'{"id": "9f"}'))
    wish = Harvest("order", parse_source("json:/id"))

    assert harvest((wish,), ours, theirs) == (Pair("order", "17", "9f"),)


@pytest.mark.parametrize("body", [b"not JSON", b'{"id": 1.5}', b""])
def test_a_reply_that_does_not_tell_is_left_out(body: bytes) -> None:
    good = Reply(status=201, head=b"HTTP/1.1 201 Created\r\n\r\n", body=b'{"id": 17}')
    bad = Reply(status=201, head=b"HTTP/1.1 201 Created\r\n\r\n", body=body)

    assert harvest((Harvest("order", parse_source("json:/id")),), good, bad) == ()


def test_what_two_replies_have_in_common_comes_from_both_and_stands_where_the_route_says() -> None:
    wishes: tuple[Harvest | Translation, ...] = (
        Harvest("order", parse_source("json:/order/no")),
        *translations("form:buyer", "header:X-Buyer", "path:id", kind="user"),
    )
    known = same(wishes, (Pair("order", "1", "2"),), {("user", "3"): "4"})
    for path in (("order", "no"), ("order_id",), ("orders", "id")):
        assert known.alike(1, 2, path)
        assert not known.alike(3, 4, path)
    for path in (("buyer",), ("x-buyer",), ("user_id",)):
        assert known.alike("3", 4, path)
        assert not known.alike("1", 2, path)
    assert not known.alike(1, 2, ("no",))
    assert not same(wishes, (), {})
