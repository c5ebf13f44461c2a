"""What another try and a read-back tell about a write whose outcome is unknown."""

import json
import zlib

import pytest

from rules.message import Cause, Failure, Framing, Outcome, Reply, Request
from rules.pointer import parse
from rules.probe import (
    NO_REPLY,
    Finding,
    after_probe,
    after_reask,
    probing,
    unknown_captures,
)
from rules.route import Match, Route, captures, compile_path

APPLIED, NOT, UNSURE = Finding.APPLIED, Finding.NOT_APPLIED, Finding.UNSURE


def a_request(method: str = "PUT", body: object = None, fields: bytes = b"") -> Request:
    head = b"%b /orders/a%%2Fb?x=1 HTTP/1.1\r\nHost: shop\r\n%b\r\n" % (method.encode(), fields)
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(method=method, target="/orders/a%2Fb?x=1", head=head, body=payload)


def a_reply(status: int = 200, body: object = None, fields: bytes = b"") -> Reply:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, b"HTTP/1.1 %d Word\r\n%b\r\n" % (status, fields), payload)


def failure(*, sent: bool) -> Failure:
    return Failure(cause=Cause.RESET, sent=sent)


@pytest.mark.parametrize(
    ("method", "outcome", "expected"),
    [
        ("PUT", a_reply(200), APPLIED),
        ("POST", a_reply(303), APPLIED),
        ("PUT", a_reply(301), NOT),
        ("PUT", a_reply(400), NOT),
        ("PUT", a_reply(404), NOT),
        ("PATCH", a_reply(422), NOT),
        ("DELETE", a_reply(404), APPLIED),
        ("DELETE", a_reply(410), APPLIED),
        ("DELETE", a_reply(400), NOT),
        ("PUT", a_reply(500), UNSURE),
        ("PUT", failure(sent=True), UNSURE),
        ("PUT", failure(sent=False), UNSURE),
        *(("PUT", a_reply(status), UNSURE) for status in (401, 403, 408, 409, 412, 423, 425, 429)),
    ],
)
def test_another_try_tells(method: str, outcome: Outcome, expected: Finding) -> None:
    assert after_reask(a_request(method), outcome, applied_redirects=False) is expected


def test_a_redirect_is_applied_where_the_route_says_so() -> None:
    assert after_reask(a_request(), a_reply(302), applied_redirects=True) is APPLIED


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ({"name": "a", "version": 3}, {"name": "a", "version": 3, "id": 17}, APPLIED),
        ({"name": "a", "version": 3}, {"name": "a", "version": 2}, NOT),
        ({"name": "a", "version": 3}, {"name": "a"}, NOT),
        ({"name": "a"}, {"name": "a", "version": 2}, APPLIED),  # a PATCH of one of them
        ({"other": 1}, {"name": "a", "version": 2}, UNSURE),
        ({"name": 1}, {"name": 1.0}, APPLIED),
        ({"name": 1}, {"name": True}, NOT),
        ({"name": None}, {"name": None}, APPLIED),
        ({"name": None}, {}, NOT),
        ({"name": [1, {"a": [False]}]}, {"name": [1, {"a": [False]}]}, APPLIED),
        ({"name": [1, {"a": [False]}]}, {"name": [1, {"a": [0]}]}, NOT),
        ({"name": [1]}, {"name": [1, 2]}, NOT),
        ({"name": {"a": 1}}, {"name": {"b": 1}}, NOT),
        (b"name=a", {"name": "a"}, UNSURE),
        ({"name": "a"}, b"<html>", UNSURE),
        (b"\xff", {"name": "a"}, UNSURE),
        ({"name": "a"}, b"[" * 100_000, UNSURE),
    ],
)
def test_a_read_back_is_compared_at_the_pointers(
    wanted: object, found: object, expected: Finding
) -> None:
    equals = (parse("/name"), parse("/version"))

    assert after_probe(a_request(body=wanted), a_reply(body=found), equals) is expected


@pytest.mark.parametrize(
    ("method", "outcome", "expected"),
    [
        ("PUT", a_reply(404), NOT),
        ("PUT", a_reply(410), NOT),
        ("PUT", a_reply(500, {"name": "a"}), UNSURE),
        ("PUT", a_reply(401, {"name": "a"}), UNSURE),
        ("PUT", a_reply(301, {"name": "a"}), UNSURE),
        ("PUT", failure(sent=True), UNSURE),
        ("PUT", Reply(200, b"HTTP/1.1 200 OK\r\n\r\n", b'{"name": "a"}', truncated=True), UNSURE),
        ("DELETE", a_reply(404), APPLIED),
        ("DELETE", a_reply(410), APPLIED),
        ("DELETE", a_reply(200), NOT),
        ("DELETE", a_reply(204), NOT),
        ("DELETE", a_reply(503), UNSURE),
        ("DELETE", failure(sent=False), UNSURE),
    ],
)
def test_a_read_back_tells_by_its_status(method: str, outcome: Outcome, expected: Finding) -> None:
    found = after_probe(a_request(method, {"name": "a"}), outcome, (parse("/name"),))

    assert found is expected


def test_bodies_are_read_through_chunks_and_codings() -> None:
    squeezed = zlib.compressobj(wbits=31)
    body = squeezed.compress(b'{"name": "a"}') + squeezed.flush()
    chunked = Request(
        method="PUT", target="/a", head=b"PUT /a HTTP/1.1\r\n\r\n", chunked=True,
        body=b'd\r\n{"name": "a"}\r\n0\r\n\r\n',
    )  # fmt: skip
    reply = Reply(
        200, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), Framing.CHUNKED,
    )  # fmt: skip

    assert after_probe(chunked, reply, (parse("/name"),)) is APPLIED


def test_a_coding_that_is_not_known_tells_nothing() -> None:
    reply = a_reply(body={"name": "a"}, fields=b"Content-Encoding: br\r\n")

    assert after_probe(a_request(body={"name": "a"}), reply, (parse("/name"),)) is UNSURE


def test_a_probe_has_the_captures_as_they_came_and_the_client_s_credentials() -> None:
    route = Route(name="orders", match=Match(path=compile_path("/orders/{id}")))
    fields = (
        b'Authorization: Bearer 1\r\nContent-Type: text/plain\r\nIf-Match: "3"\r\n'
        b"Idempotency-Key: 1\r\nContent-Length: 4\r\n"
    )
    request = a_request(body=b"text", fields=fields)
    found = captures(route, request.target)
    assert found is not None

    probe = probing(request, "/v2/orders/{id}?fields=name", found)

    assert (probe.method, probe.target, probe.body) == ("GET", "/v2/orders/a%2Fb?fields=name", b"")
    assert probe.head == (
        b"GET /v2/orders/a%2Fb?fields=name HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer 1\r\n\r\n"
    )


def test_names_that_the_path_does_not_capture_are_told() -> None:
    assert unknown_captures("/a/{id}/{other}", frozenset({"id"})) == ["other"]


def test_there_is_nothing_to_compare_where_there_was_no_reply() -> None:
    assert (NO_REPLY.status, NO_REPLY.truncated) == (0, True)
