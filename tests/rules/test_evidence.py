"""Evidence: what is kept of a difference is redacted and short, and comes back as a curl command."""

import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.evidence import BODY_CHARACTERS_MAX, curl, evidence
from rules.message import Cause, Failure, Framing, Outcome, Reply, Request, Side
from rules.redact import Redaction

REDACTION = Redaction(key=b"key of this test")
JSON = b"Content-Type: application/json\r\n"
SECRET = "hunter2"


def a_request(
    body: bytes = b"", *, fields: bytes = b"", target: str = "/a", **more: object
) -> Request:
    head = b"PUT %s HTTP/1.1\r\nHost: shop\r\n%s\r\n" % (target.encode(), fields)
    return Request(method="PUT", target=target, head=head, body=body, **more)  # type: ignore[arg-type]


def a_reply(
    body: bytes = b"{}", *, fields: bytes = b"", status: int = 200, **more: object
) -> Reply:
    head = b"HTTP/1.1 200 OK\r\n%s\r\n" % fields
    return Reply(status=status, head=head, body=body, **more)  # type: ignore[arg-type]


def kept(
    request: Request, primary: Reply | None = None, secondary: Outcome | None = None
) -> dict[str, Any]:
    sides = (Side.NEW, primary or a_reply()), (Side.LEGACY, secondary or a_reply())
    found: dict[str, Any] = json.loads(evidence(request, *sides, REDACTION))
    return found


def test_request_and_replies_are_kept_as_one_document() -> None:
    request = a_request(b'{"a": 1}', fields=JSON, target="/a?x=1")
    assert kept(request, a_reply(fields=b"ETag: 1\r\n"), a_reply(b"no", status=500)) == {
        "request": {
            "method": "PUT",
            "target": "/a?x=1",
            "headers": [["host", "shop"], ["content-type", "application/json"]],
            "body": '{"a": 1}',
        },
        "primary": {"side": "new", "status": 200, "headers": [["etag", "1"]], "body": "{}"},
        "secondary": {"side": "legacy", "status": 500, "headers": [], "body": "no"},
    }


def test_a_failure_is_kept_with_its_cause() -> None:
    failure = Failure(cause=Cause.RESET, sent=True, detail="gone")
    found = kept(a_request(), secondary=failure)["secondary"]
    assert found == {
        "side": "legacy", "status": 0, "headers": [], "body": "", "failure": "reset: gone",
    }  # fmt: skip


def test_no_secret_is_kept_wherever_it_stood() -> None:
    body = json.dumps({"password": SECRET, "deep": [{"token": SECRET}]}).encode()
    fields = JSON + f"Authorization: {SECRET}\r\nCookie: id={SECRET}\r\n".encode()
    request = a_request(body, fields=fields, target=f"/a?api_key={SECRET}")
    reply = a_reply(body, fields=JSON + f"Set-Cookie: id={SECRET}\r\n".encode())
    assert SECRET not in json.dumps(kept(request, reply, reply))


def test_a_long_body_is_cut() -> None:
    found = kept(a_request(b"x" * (BODY_CHARACTERS_MAX + 1)))
    assert found["request"]["body"] == "x" * BODY_CHARACTERS_MAX


def test_a_chunked_body_is_kept_without_its_chunk_lines() -> None:
    chunked = b"2\r\nhi\r\n0\r\n\r\n"
    reply = a_reply(chunked, framing=Framing.CHUNKED)
    found = kept(a_request(chunked, chunked=True), reply)
    assert (found["request"]["body"], found["primary"]["body"]) == ("hi", "hi")


def test_of_a_truncated_reply_no_body_is_kept() -> None:
    assert kept(a_request(), a_reply(b"start", truncated=True))["primary"]["body"] == ""


def test_a_spooled_body_is_named_by_its_length() -> None:
    request = a_request(spool="/nowhere/17", body_bytes=10**6)
    assert kept(request)["request"]["body"] == "<1000000 bytes, too long to keep>"


def test_binary_is_kept_as_its_length_and_digest() -> None:
    assert kept(a_request(b"\x00\xff\x01"))["request"]["body"].startswith("<3 bytes, digest")


@given(st.binary(max_size=200), st.sampled_from([b"application/json", b"text/plain", b"x/y", b""]))
def test_whatever_a_message_holds_the_document_can_be_stored(body: bytes, media: bytes) -> None:
    fields = b"Content-Type: %s\r\nX-A: \xff\r\n" % media
    request, reply = a_request(body, fields=fields), a_reply(body, fields=fields)
    found = evidence(request, (Side.LEGACY, reply), (Side.NEW, reply), REDACTION)
    assert found.isascii()
    assert isinstance(shlex.split(curl(json.loads(found)["request"], "http://new")), list)


# as curl


def words(request: Request, url: str = "http://new:81/") -> list[str]:
    return shlex.split(curl(kept(request)["request"], url))


def test_curl_sends_exactly_the_request() -> None:
    fields = JSON + b"Content-Length: 8\r\nX-Note: it's $HOME\r\n"
    command = words(a_request(b'{"a": 1}', fields=fields, target="/a/../b?q=[1]&r={2}"))
    assert command == [
        *("curl", "-i", "-g", "--path-as-is", "-X", "PUT"),
        "http://new:81/a/../b?q=[1]&r={2}",
        *("-H", "content-type: application/json"),
        *("-H", "x-note: it's $HOME"),
        *("--data-raw", '{"a": 1}'),
    ]


@pytest.mark.parametrize("url", ["http://new:81", "http://new:81/"])
def test_curl_puts_one_slash_between_url_and_target(url: str) -> None:
    assert "http://new:81/a" in words(a_request(), url)


def test_curl_reads_no_file_and_adds_no_content_type() -> None:
    command = words(a_request(b"@/etc/hostname"))
    assert command[-4:] == ["-H", "content-type:", "--data-raw", "@/etc/hostname"]


def test_curl_keeps_an_empty_header() -> None:
    assert words(a_request(fields=b"X-Empty:\r\n"))[-2:] == ["-H", "x-empty;"]
