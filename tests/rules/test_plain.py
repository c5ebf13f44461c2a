"""The short way to read a head says what the long way says, wherever it says anything."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rules.framing import Refusal, _unusual_reply, _unusual_request, parse_reply, parse_request
from rules.message import Framing
from rules.plain import HOST, REPLY, REQUEST

LINES = st.lists(
    st.sampled_from([
        b"Host: shop", b"host:shop:80", b"Host: [::1]", b"HOST: ", b"Host: a,b", b"Host: a b", b"Host: shop ",
        b"Content-Length: 5", b"content-length:0", b"Content-Length: 05", b"Content-Length: 5, 5",
        b"Content-Length: +5", b"Content-Length: " + b"9" * 15, b"Content-Length: " + b"9" * 16, b"Content-Length: 5 ",
        b"Content-Length:", b"Connection: close", b"connection: Keep-Alive", b"Connection: close, x",
        b"Connection: upgrade", b"Connection: host", b"Connection:", b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip", b"TE: trailers", b"Te:", b"Expect: 100-continue", b"Upgrade: websocket",
        b"Idempotency-Key: a", b"IDEMPOTENCY-KEY:", b"idempotency-keys: a", b"Traceparent: x", b"tracestate: y",
        b"Tracer: 1", b"Twinwrite-Hop: z", b"twinwrite_hop: z", b"If-Match: 1", b"I: 1", b"T: 1",
        b"Keep-Alive: 5", b"Proxy-Connection: close", b"Cookie: a=b", b"Content-Type: text/plain", b"Hosts: a",
        b"Contents: a", b"E: 1", b"Tea: 1", b"Up: 1", b"X-A: \xff\t b ", b"X-B:", b" folded", b"X : 1", b"X: a\rb",
        b"X: \0",
        b"no colon", b"",
    ]),
    max_size=6,
)  # fmt: skip
FIRST = st.sampled_from([
    b"GET / HTTP/1.1", b"POST /a?b=c HTTP/1.1", b"CONNECT /a HTTP/1.1", b"M-SEARCH /\xff HTTP/1.1", b"GET /# HTTP/1.1",
    b"GET  / HTTP/1.1", b"GET / HTTP/1.0", b"GET / HTTP/1.2", b"GET http://shop/ HTTP/1.1", b"OPTIONS * HTTP/1.1",
    b"GET / http/1.1", b"G@T / HTTP/1.1", b"GET /a b HTTP/1.1",
])  # fmt: skip
STATUS = st.sampled_from([
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 204 x", b"HTTP/1.1 304 x", b"HTTP/1.1 100 x",
    b"HTTP/1.1 101 x", b"HTTP/1.0 200 OK", b"HTTP/1.1 600 x", b"HTTP/1.1 599 \xff", b"HTTP/1.1 2000 x",
    b"HTTP/1.1  200 x",
])  # fmt: skip


def head(first: bytes, lines: list[bytes]) -> bytes:
    return b"\r\n".join([first, *lines, b"", b""])


@settings(max_examples=1500, derandomize=True, deadline=None)
@given(FIRST, LINES)
@example(b"GET / HTTP/1.1", [b"Host: shop"])
@example(
    b"POST /a HTTP/1.1", [b"Content-Length: 5", b"Connection: close", b"Host: shop", b"X-A: 1"]
)
def test_both_ways_to_a_request_agree(first: bytes, lines: list[bytes]) -> None:
    raw = head(first, lines)
    assert parse_request(raw) == _unusual_request(raw)


@settings(max_examples=1500, derandomize=True, deadline=None)
@given(STATUS, LINES, st.sampled_from(["GET", "HEAD", "CONNECT", "POST"]))
@example(b"HTTP/1.1 200 OK", [b"Content-Length: 5"], "POST")
@example(b"HTTP/1.1 200 OK", [b"Connection: close", b"Content-Length: 0"], "POST")
@example(b"HTTP/1.1 204 x", [b"Content-Length: 5"], "HEAD")
def test_both_ways_to_a_reply_agree(status: bytes, lines: list[bytes], method: str) -> None:
    raw = head(status, lines)
    assert parse_reply(raw, method) == _unusual_reply(raw, method)


def test_a_usual_head_takes_the_short_way() -> None:
    lines = [b"Host: shop:8080", b"User-Agent: x", b"Content-Length: 12", b"Connection: close"]
    found = REQUEST.fullmatch(head(b"POST /a HTTP/1.1", lines))
    assert found is not None
    assert found.groups() == (
        b"POST", b"/a", b"shop:8080", b"12", b"Connection: close", b"close", None,
    )  # fmt: skip
    found = REPLY.fullmatch(head(b"HTTP/1.1 201 Created", [b"Date: now", b"Content-Length: 3"]))
    assert found is not None
    assert found.groups() == (b"201", b"3", None, None)


def test_the_connections_line_is_taken_out_and_nothing_else() -> None:
    parsed = parse_request(head(b"GET /a HTTP/1.1", [b"Host: a", b"Connection: close", b"X: 1"]))
    assert not isinstance(parsed, Refusal)
    assert parsed.head == head(b"GET /a HTTP/1.1", [b"Host: a", b"X: 1"])
    assert (parsed.keep_alive, parsed.framing) == (False, Framing.NONE)


@pytest.mark.parametrize(
    ("line", "noted"),
    [
        (b"Idempotency-Key: a", True),
        (b"TRACEPARENT: a", True),
        (b"tracestate:", True),
        (b"twinwrite-hop: a", True),
        (b"Twinwrite_Hop: a", True),
        (b"X-Idempotency-Key: a", False),
        (b"Idempotency-Keys: a", False),
        (b"X-Note: idempotency-key: a", False),
    ],
)
def test_a_head_tells_whether_it_has_a_field_that_we_read(line: bytes, noted: bool) -> None:
    raw = head(b"POST /a HTTP/1.1", [b"Host: a", line, b"X: 1"])
    assert REQUEST.fullmatch(raw) is not None
    parsed = parse_request(raw)
    assert not isinstance(parsed, Refusal)
    assert parsed.noted is noted


@pytest.mark.parametrize(
    "line",
    [b"Host: shop", b"Content-Length: 5", b"Connection: close"],
)
def test_what_stands_twice_takes_the_long_way(line: bytes) -> None:
    lines = [b"Host: shop", b"Content-Length: 5", b"Connection: close", line]
    assert REQUEST.fullmatch(head(b"POST /a HTTP/1.1", lines)) is None


@pytest.mark.parametrize(
    ("host", "good"),
    [
        (b"shop", True),
        (b"", True),
        (b"shop:80", True),
        (b"[::1]:80", True),
        (b"a/b", False),
        (b"a@b", False),
    ],
)
def test_a_host_is_a_name_or_an_address_and_perhaps_a_port(host: bytes, good: bool) -> None:
    assert (re.fullmatch(HOST, host) is not None) is good
