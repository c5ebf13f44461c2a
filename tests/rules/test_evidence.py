"""Evidence: what is kept of a difference is redacted and short, and comes back as a curl command."""

import gzip
import json
import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.difference import Class, Difference
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
    found: dict[str, Any] = json.loads(evidence(request, *sides, (), REDACTION).document)
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
    found = evidence(request, (Side.LEGACY, reply), (Side.NEW, reply), (), REDACTION).document
    assert found.isascii()
    assert isinstance(shlex.split(curl(json.loads(found)["request"], "http://new")), list)


def test_a_secret_that_one_side_echoes_is_hidden_there_too() -> None:
    fields = JSON + b"Authorization: Bearer zq-token-1\r\n"
    request = a_request(b'{"password": "x y\\"z&22"}', fields=fields)
    echo = b'{"note": "zq-token-1", "other": "x y\\"z&22", "link": "/?q=x+y%22z%2622"}'
    reply = a_reply(
        echo, fields=JSON + b"X-Echo: got zq-token-1\r\nLocation: /a/x%20y%22z%2622\r\n"
    )
    failure = Failure(cause=Cause.BROKEN_REPLY, sent=True, detail="odd zq-token-1")
    difference = Difference(
        path=("header", "x-echo"), kind=Class.VALUE, primary='"got zq-token-1"', secondary='""'
    )
    sides = (Side.LEGACY, reply), (Side.NEW, failure)
    found = evidence(request, *sides, (difference,), REDACTION)
    assert "zq-token" not in found.document + repr(found.differences)
    assert "y%22z" not in found.document
    assert "z&22" not in found.document
    assert "got redacted:" in found.differences[0].primary


def test_a_secret_that_is_a_name_elsewhere_is_hidden_there_too() -> None:
    secret = "zq8w7e6r5t4y3u"
    fields = JSON + f"{secret}: x\r\n".encode()
    request = a_request(fields=f"Authorization: Bearer {secret}\r\n".encode())
    reply = a_reply(json.dumps({"sessions": {secret: 1}}).encode(), fields=fields)
    lacks = Difference(
        path=("body", "sessions", secret), kind=Class.MISSING, primary="1", secondary=""
    )
    sides = (Side.LEGACY, reply), (Side.NEW, a_reply(b'{"sessions": {}}', fields=JSON))
    found = evidence(request, *sides, (lacks,), REDACTION)
    assert secret not in found.document + repr(found.differences)
    assert found.differences[0].path[:2] == ("body", "sessions")


@pytest.mark.parametrize("secret", ["zq8w7", "12345", "x" * 300, '"é\\' * 90])
@pytest.mark.parametrize(
    "body",
    [
        '{"token": %s, "x": %s}',
        '{"Cookie": %s}',
        '[{"name": "API_KEY", "value": %s}]',
        '--xx\r\nContent-Disposition: form-data; name="pin"\r\n\r\n%s\r\n--xx--\r\n',
    ],
)
def test_what_was_hidden_by_its_name_is_hidden_as_a_value_of_a_difference(
    secret: str, body: str
) -> None:
    media = b"Content-Type: multipart/mixed; boundary=xx\r\n" if body[0] == "-" else JSON
    text = secret if body[0] == "-" else json.dumps(secret)
    reply = a_reply(body.replace("%s", text).encode(), fields=media)
    value = json.dumps(secret, ensure_ascii=False)
    value = value if len(value) <= 200 else value[:199] + "…"
    difference = Difference(
        path=("body", "0", "value"), kind=Class.VALUE, primary=value, secondary="true"
    )
    sides = (Side.LEGACY, reply), (Side.NEW, a_reply(fields=JSON))
    (shown,) = evidence(a_request(), *sides, (difference,), REDACTION).differences
    assert shown.primary.startswith("redacted:")
    assert shown.secondary == "true"


def test_a_value_of_a_letter_or_two_is_shown_where_it_is_not_named() -> None:
    reply = a_reply(b'{"pin": "1", "token": null, "count": 1}', fields=JSON)
    seen = [
        Difference(path=("body", "count"), kind=Class.VALUE, primary=value, secondary="null")
        for value in ("1", '"1"')
    ]
    sides = (Side.LEGACY, reply), (Side.NEW, a_reply(fields=JSON))
    assert evidence(a_request(), *sides, tuple(seen), REDACTION).differences == tuple(seen)


def test_a_lone_surrogate_in_a_secret_spoils_nothing() -> None:
    reply = a_reply(b'{"token": "\\ud800SECRETSECRET", "echo": "\\ud800SECRETSECRET"}', fields=JSON)
    assert "SECRET" not in json.dumps(kept(a_request(), reply, reply))


def test_of_a_text_that_mentions_a_sensitive_name_no_line_is_kept() -> None:
    text = b"password:\nzq-token-1\n"
    line = Difference(path=("body", "1"), kind=Class.VALUE, primary='"zq-token-1"', secondary='"x"')
    sides = (Side.LEGACY, a_reply(text)), (Side.NEW, a_reply(b"x\nx\n"))
    found = evidence(a_request(), *sides, (line,), REDACTION)
    assert "zq-token-1" not in found.document + repr(found.differences)


def test_short_values_are_hidden_where_they_are_named_only() -> None:
    found = kept(a_request(b'{"pin": "1234567"}', fields=JSON), a_reply(b"nr 1234567"))
    assert "1234567" not in found["request"]["body"]
    assert found["primary"]["body"] == "nr 1234567"


def test_a_compressed_body_is_kept_as_what_it_holds() -> None:
    packed = gzip.compress(b'{"a": 1, "token": "hunter2"}')
    fields = JSON + b"Content-Encoding: gzip\r\n"
    found = kept(a_request(packed, fields=fields), a_reply(packed[:-3], fields=fields))
    assert json.loads(found["request"]["body"])["a"] == 1
    assert SECRET not in found["request"]["body"]
    assert found["primary"]["body"].startswith(f"<{len(packed) - 3} bytes, digest ")
    assert "content-encoding" not in curl(found["request"], "http://new")


def test_a_failure_is_kept_without_secrets_in_its_detail() -> None:
    failure = Failure(cause=Cause.RESET, sent=True, detail="of ada@example.com")
    assert "ada@" not in kept(a_request(), secondary=failure)["secondary"]["failure"]


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


@pytest.mark.parametrize("body", ["a=\x1b]0;x\x07'&b=\\1", "1\r\n2", "\x9b31m\u202e", "1\n2", "é"])
def test_curl_has_nothing_that_a_terminal_obeys_and_sends_the_same(body: str) -> None:
    document = {"method": "PUT", "target": "/a", "headers": [["x", body]], "body": body}
    command = curl(document, "http://new")
    assert all(sign.isprintable() or sign == "\n" for sign in command)
    said = subprocess.run(  # the shell takes it apart, nothing is sent
        ["bash", "-c", command.replace("curl", "printf '%s\\0'", 1)],
        capture_output=True,
        check=True,
    ).stdout
    assert said.decode().split("\0")[-2] == body
    assert f"x: {body}" in said.decode().split("\0")


def test_curl_keeps_an_empty_header() -> None:
    assert words(a_request(fields=b"X-Empty:\r\n"))[-2:] == ["-H", "x-empty;"]
