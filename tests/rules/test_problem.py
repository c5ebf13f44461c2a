"""Problem documents: whole replies, and the status that tells a client of a primary's failure."""

import json
from http import HTTPStatus

import pytest

from rules.framing import fields, parse_reply
from rules.message import Cause, Failure, Framing
from rules.problem import ALLOW, RETRY_AFTER_S, problem, status_of

STATUSES = (400, 405, 408, 413, 414, 417, 431, 501, 502, 503, 504, 505, 508)


def parts(reply: bytes) -> tuple[bytes, dict[str, str], bytes]:
    head, _, body = reply.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", dict(fields(head + b"\r\n\r\n")), body


@pytest.mark.parametrize("status", STATUSES)
def test_a_problem_is_a_whole_clean_reply(status: int) -> None:
    head, named, body = parts(problem(status, "why it is so"))
    parsed = parse_reply(head, "GET")
    assert parsed is not None
    assert (parsed.status, parsed.framing, parsed.length) == (status, Framing.LENGTH, len(body))
    assert parsed.keep_alive
    assert named["content-type"] == "application/problem+json"
    assert json.loads(body) == {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": "why it is so",
    }


def test_a_problem_may_say_that_the_connection_ends() -> None:
    head, _, _ = parts(problem(400, "x", close=True))
    parsed = parse_reply(head, "GET")
    assert parsed is not None
    assert not parsed.keep_alive


def test_only_503_asks_to_come_again() -> None:
    _, named, _ = parts(problem(503, "full"))
    assert named["retry-after"] == str(RETRY_AFTER_S)
    _, named, _ = parts(problem(502, "down"))
    assert "retry-after" not in named


def test_a_405_names_the_methods_that_are_allowed() -> None:
    _, named, _ = parts(problem(405, "no"))
    assert f"Allow: {named['allow']}" == ALLOW
    assert "TRACE" not in named["allow"]


@pytest.mark.parametrize("close", [False, True])
def test_a_204_is_no_problem_and_has_no_content(close: bool) -> None:
    end = "Connection: close\r\n" if close else ""
    expected = f"HTTP/1.1 204 No Content\r\n{ALLOW}\r\n{end}\r\n"
    assert problem(204, "no further", close=close) == expected.encode()


def test_a_problem_has_members_of_its_own() -> None:
    _, _, body = parts(problem(502, "down", reason="refused", side="legacy"))
    document = json.loads(body)
    assert (document["reason"], document["side"]) == ("refused", "legacy")


def test_nothing_in_a_detail_gets_out_of_the_document() -> None:
    detail = 'a "quoted"\r\nSet-Cookie: x=1\r\n\r\ncaf\u00e9 \ud800'
    head, named, body = parts(problem(502, detail))
    assert "set-cookie" not in named
    assert json.loads(body)["detail"] == detail
    assert parse_reply(head, "GET") is not None


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        (Cause.REFUSED, 502),
        (Cause.NAME, 502),
        (Cause.TLS, 502),
        (Cause.RESET, 502),
        (Cause.BROKEN_REPLY, 502),
        (Cause.POOL_FULL, 503),
        (Cause.CONNECT_TIMEOUT, 504),
        (Cause.TIMEOUT, 504),
    ],
)
def test_each_cause_has_its_status(cause: Cause, status: int) -> None:
    assert status_of(Failure(cause=cause, sent=False)) == status


def test_no_cause_is_without_a_status() -> None:
    assert all(500 <= status_of(Failure(cause=cause, sent=True)) < 600 for cause in Cause)


TRACE = "0af7651916cd43dd8448eb211c80319c"


def asked(method: str = "PUT", trace: str = "") -> bytes:
    line = f"traceparent: {trace}\r\n" if trace else ""
    return f"{method} / HTTP/1.1\r\nHost: a\r\n{line}\r\n".encode()


def test_a_problem_names_the_trace_of_the_request() -> None:
    head = asked(trace=f"00-{TRACE}-b7ad6b7169203331-01")
    assert json.loads(parts(problem(502, "down", head=head))[2])["trace_id"] == TRACE


@pytest.mark.parametrize("head", [b"", asked(), asked(trace="broken")])
def test_a_problem_without_a_trace_does_not_name_one(head: bytes) -> None:
    assert "trace_id" not in json.loads(parts(problem(502, "down", head=head))[2])


def test_the_problem_of_a_head_request_has_the_fields_but_no_body() -> None:
    asked_by_get = problem(502, "down", head=asked("GET"), close=True)
    assert problem(502, "down", head=asked("HEAD"), close=True) == parts(asked_by_get)[0]
