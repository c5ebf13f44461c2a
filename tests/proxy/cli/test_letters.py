"""Intents and requests as people read them, and the text form that an editor opens."""

import pytest

from proxy.cli.letters import as_document, form, formed, raw, readable
from rules.message import Request
from tests.proxy.samples import a_request

CHUNKED = Request(
    method="PUT", target="/a", head=b"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    body=b"1\r\nx\r\n0\r\n\r\n", chunked=True,
)  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"x", b"x\n", b"a\r\nb", b"a\n\nb\n\n", b"# no remark"])
def test_a_form_that_is_saved_as_it_was_is_the_same_request(body: bytes) -> None:
    request = a_request("PUT", "/a", body, "X: \u00e9\r\n")
    text = form(request)
    for saved in (text, text + "" if text.endswith("\n") else text + "\n"):
        head, found = formed(saved, request)
        assert head == "PUT /a HTTP/1.1\r\nHost: shop\r\nX: \u00e9\r\n\r\n"
        assert found == body


def test_a_form_that_was_changed_is_another_request() -> None:
    text = form(a_request("PUT", "/a", b"x")).replace("/a", "/b").replace("\n\nx", "\nX: 1\n\ny")

    assert formed(text, a_request("PUT", "/a", b"x")) == (
        "PUT /b HTTP/1.1\r\nHost: shop\r\nX: 1\r\n\r\n", b"y",
    )  # fmt: skip


def test_a_body_that_is_no_text_is_not_in_the_form() -> None:
    request = a_request("PUT", "/a", b"\xff")

    assert "no text" in form(request)
    assert formed(form(request), request)[1] is None
    assert as_document(request)["body_base64"] == "/w=="


def test_chunks_and_framing_are_not_in_what_people_read() -> None:
    assert raw(CHUNKED) == b"PUT /a HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"
    assert as_document(CHUNKED)["body"] == "x"
    assert form(CHUNKED).endswith("PUT /a HTTP/1.1\n\nx")


@pytest.mark.parametrize(
    ("intent", "expected"),
    [
        ({"state": "dead", "reason": "s_rejected", "secondary_status": 422}, "s_rejected (422)"),
        ({"state": "unknown", "reason": "", "primary_status": 500}, "(500)"),
        ({"state": "unknown", "reason": "reset: lost"}, "reset: lost"),
        ({"state": "dead", "reason": "age_max", "overtaken": 1}, "age_max, overtaken"),
        ({"state": "done", "reason": "", "secondary_status": 200}, ""),
    ],
)
def test_a_reason_is_readable(intent: dict[str, object], expected: str) -> None:
    missing = {"primary_status": 0, "secondary_status": 0, "overtaken": 0, "lanes": ["a"]}

    assert readable({**missing, **intent}) == expected
