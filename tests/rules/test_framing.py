"""Heads, as tables: what is accepted, what is refused with which status, what is passed on."""

import re
from string import printable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.framing import (
    SAFE_METHODS,
    Refusal,
    ReplyHead,
    RequestHead,
    field,
    fields,
    is_event_stream,
    parse_reply,
    parse_request,
    refuse_fragment,
    same_fields,
    with_line,
    without,
)
from rules.message import Framing

NONE, LENGTH, CHUNKED, CLOSE = Framing.NONE, Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE
TUNNEL = Framing.TUNNEL


def request(*lines: str, first: str = "POST /a HTTP/1.1") -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


def with_host(*lines: str, first: str = "POST /a HTTP/1.1") -> bytes:
    return request("Host: shop", *lines, first=first)


def reply(*lines: str, first: str = "HTTP/1.1 200 OK") -> bytes:
    return request(*lines, first=first)


ACCEPTED: dict[str, tuple[bytes, Framing, int]] = {
    "no body": (with_host(), NONE, 0),
    "a length": (with_host("Content-Length: 5"), LENGTH, 5),
    "a length of zero": (with_host("Content-Length: 0"), NONE, 0),
    "a length with leading zeros": (with_host("Content-Length: 007"), LENGTH, 7),
    "a length in odd case, tabs around": (with_host("cOnTeNt-LeNgTh:\t 5 \t"), LENGTH, 5),
    "the longest length": (with_host("Content-Length: 999999999999999"), LENGTH, 10**15 - 1),
    "chunked": (with_host("Transfer-Encoding: chunked"), CHUNKED, 0),
    "chunked in odd case": (with_host("transfer-encoding:CHUNKED  "), CHUNKED, 0),
    "a length on a GET": (with_host("Content-Length: 2", first="GET / HTTP/1.1"), LENGTH, 2),
    "a field without a value": (with_host("X-Empty:"), NONE, 0),
    "a field of the same name twice": (with_host("X: 1", "X: 2"), NONE, 0),
    "high bytes in a value": (with_host("X: caf\xe9"), NONE, 0),
    "high bytes in the target": (with_host(first="GET /caf\xe9 HTTP/1.1"), NONE, 0),
    "a name of strange token characters": (with_host("!#$%&'*+-.^_`|~: 1"), NONE, 0),
    "a query": (with_host(first="GET /a?b=c&d=/? HTTP/1.1"), NONE, 0),
    "a double slash": (with_host(first="GET //a HTTP/1.1"), NONE, 0),
    "an asterisk": (with_host(first="OPTIONS * HTTP/1.1"), NONE, 0),
    "an absolute target of the same host": (
        with_host(first="GET http://shop/a HTTP/1.1"),
        NONE,
        0,
    ),
    "a host with a port": (request("Host: shop:8080"), NONE, 0),
    "a host that is an IPv6 address": (request("Host: [::1]:80"), NONE, 0),
    "an empty host": (request("Host:"), NONE, 0),
    "an expectation": (with_host("Expect: 100-Continue", "Content-Length: 5"), LENGTH, 5),
    "keep-alive": (with_host("Connection: keep-alive", "Content-Length: 5"), LENGTH, 5),
    "close": (with_host("Connection: close"), NONE, 0),
    "an upgrade, which is not passed on": (
        with_host("Connection: Upgrade", "Upgrade: h2c"),
        NONE,
        0,
    ),
    "HTTP/1.0": (request(first="GET /a HTTP/1.0"), NONE, 0),
    "HTTP/1.0 with host and length": (
        with_host("Content-Length: 3", first="POST /a HTTP/1.0"),
        LENGTH,
        3,
    ),
    "CONNECT": (request("Host: Shop:443", first="CONNECT shop:443 HTTP/1.1"), NONE, 0),
    "CONNECT to an IPv6 address": (
        request("Host: [::1]:1", first="CONNECT [::1]:1 HTTP/1.1"),
        NONE,
        0,
    ),
    "a method of its own": (with_host(first="BREW /pot HTTP/1.1"), NONE, 0),
}

REFUSED: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "an empty line": (b"\r\n\r\n", 400),
    "no version": (with_host(first="GET /a"), 400),
    "no target": (with_host(first="GET HTTP/1.1"), 400),
    "no method": (with_host(first=" /a HTTP/1.1"), 400),
    "two spaces": (with_host(first="GET  /a HTTP/1.1"), 400),
    "a tab for a space": (with_host(first="GET\t/a HTTP/1.1"), 400),
    "a space behind the version": (with_host(first="GET /a HTTP/1.1 "), 400),
    "a space in the target": (with_host(first="GET /a b HTTP/1.1"), 400),
    "a fragment in the target": (with_host(first="GET /a#b HTTP/1.1"), 400),
    "NUL in the target": (with_host(first="GET /a\0b HTTP/1.1"), 400),
    "DEL in the target": (with_host(first="GET /a\x7f HTTP/1.1"), 400),
    "a method that is no token": (with_host(first="GE(T /a HTTP/1.1"), 400),
    "HTTP/0.9": (with_host(first="GET /a HTTP/0.9"), 505),
    "HTTP/1.2": (with_host(first="GET /a HTTP/1.2"), 505),
    "HTTP/2.0": (request(first="PRI * HTTP/2.0"), 505),
    "HTTP in small letters": (with_host(first="GET /a http/1.1"), 400),
    "a version of two digits": (with_host(first="GET /a HTTP/1.10"), 400),
    "a target that is no path": (with_host(first="GET a HTTP/1.1"), 400),
    "an asterisk for another method": (with_host(first="GET * HTTP/1.1"), 400),
    "an absolute target of another host": (with_host(first="GET http://pay/a HTTP/1.1"), 400),
    "an absolute target of another port": (with_host(first="GET http://shop:81/ HTTP/1.1"), 400),
    "an absolute target of another scheme": (with_host(first="GET https://shop/ HTTP/1.1"), 400),
    "an absolute target without a host": (request("Host:", first="GET http:///a HTTP/1.1"), 400),
    "a user in an absolute target": (with_host(first="GET http://me@shop/ HTTP/1.1"), 400),
    "CONNECT of another host": (with_host(first="CONNECT shop:443 HTTP/1.1"), 400),
    "CONNECT to a path": (with_host(first="CONNECT /a HTTP/1.1"), 400),
    "CONNECT without a port": (with_host(first="CONNECT shop HTTP/1.1"), 400),
    "CONNECT without a host": (request(first="CONNECT shop:443 HTTP/1.0"), 400),
    "CONNECT with a body": (
        request("Host: shop:443", "Content-Length: 5", first="CONNECT shop:443 HTTP/1.1"),
        400,
    ),
    "no host": (request(), 400),
    "two hosts": (with_host("Host: shop"), 400),
    "a host of two words": (request("Host: shop pay"), 400),
    "a host with a path": (request("Host: shop/a"), 400),
    "a host with a user": (request("Host: me@shop"), 400),
    "a host with a port that is no number": (request("Host: shop:a"), 400),
    "an open bracket in the host": (request("Host: [::1"), 400),
    "high bytes in the host": (request("Host: caf\xe9"), 400),
    "two lengths that differ": (with_host("Content-Length: 5", "Content-Length: 6"), 400),
    "two lengths that agree": (with_host("Content-Length: 5", "Content-Length: 5"), 400),
    "a list of lengths": (with_host("Content-Length: 5, 5"), 400),
    "a length with a sign": (with_host("Content-Length: +5"), 400),
    "a negative length": (with_host("Content-Length: -5"), 400),
    "a length in hexadecimal": (with_host("Content-Length: 0x5"), 400),
    "a length with an underscore": (with_host("Content-Length: 1_0"), 400),
    "a length with a fraction": (with_host("Content-Length: 5.0"), 400),
    "a length with a space in it": (with_host("Content-Length: 1 0"), 400),
    "an empty length": (with_host("Content-Length:"), 400),
    "a length of 16 digits": (with_host("Content-Length: 1000000000000000"), 400),
    "a length in superscript": (with_host("Content-Length: \xb2"), 400),
    "length, then chunked": (with_host("Content-Length: 5", "Transfer-Encoding: chunked"), 400),
    "chunked, then length": (with_host("Transfer-Encoding: chunked", "Content-Length: 5"), 400),
    "length zero, then chunked": (
        with_host("Content-Length: 0", "Transfer-Encoding: chunked"),
        400,
    ),
    "chunked twice": (with_host("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400),
    "gzip": (with_host("Transfer-Encoding: gzip"), 501),
    "gzip, chunked": (with_host("Transfer-Encoding: gzip, chunked"), 501),
    "chunked, chunked": (with_host("Transfer-Encoding: chunked, chunked"), 501),
    "xchunked": (with_host("Transfer-Encoding: xchunked"), 501),
    "chunked;a=b": (with_host("Transfer-Encoding: chunked;a=b"), 501),
    "identity": (with_host("Transfer-Encoding: identity"), 501),
    "an empty encoding": (with_host("Transfer-Encoding:"), 501),
    "HTTP/1.0 chunked": (with_host("Transfer-Encoding: chunked", first="POST / HTTP/1.0"), 400),
    "a space before the colon": (with_host("Content-Length : 5"), 400),
    "a space before the name": (with_host(" Content-Length: 5"), 400),
    "a folded line": (with_host("X: a", " b"), 400),
    "a line folded by a tab": (with_host("X: a", "\tb"), 400),
    "a field without a colon": (with_host("X"), 400),
    "a field without a name": (with_host(": x"), 400),
    "a name that is no token": (with_host("X(Y): 1"), 400),
    "NUL in a value": (with_host("X: a\0b"), 400),
    "BEL in a value": (with_host("X: a\x07b"), 400),
    "DEL in a value": (with_host("X: a\x7fb"), 400),
    "a bare CR in a value": (with_host("X: a\rContent-Length: 5"), 400),
    "a bare LF in a value": (with_host("X: a\nContent-Length: 5"), 400),
    "lines that end in LF": (with_host().replace(b"\r\n", b"\n"), 400),
    "an end in LF": (with_host()[:-2] + b"\n", 400),
    "a bare CR at the end": (with_host()[:-2] + b"\r\r\n", 400),
    "another expectation": (with_host("Expect: 200-ok"), 417),
    "two expectations": (with_host("Expect: 100-continue, x"), 417),
    "Connection: content-length": (with_host("Connection: content-length"), 400),
    "Connection: close, host": (with_host("Connection: close, Host"), 400),
    "Connection: Transfer-Encoding": (with_host("Connection: Transfer-Encoding"), 400),
    "more behind the head": (with_host() + b"GET", 400),
}

REPLIES: dict[str, tuple[bytes, str, ReplyHead | None]] = {}


def replies(name: str, head: bytes, *expected: object, method: str = "GET") -> None:
    """One row: status, framing, length, keep-alive, and what the head becomes (as it was)."""
    passed = None
    if expected:
        status, framing, length, keep_alive, *out = expected
        passed = ReplyHead(status, out[0] if out else head, framing, length, keep_alive)  # type: ignore[arg-type]
    REPLIES[name] = (head, method, passed)


replies("a length", reply("Content-Length: 5"), 200, LENGTH, 5, True)
replies("a length of zero", reply("Content-Length: 0"), 200, NONE, 0, True)
replies("chunked", reply("Transfer-Encoding: chunked"), 200, CHUNKED, 0, True)
replies("neither", reply(), 200, CLOSE, 0, False)
replies("close", reply("Content-Length: 5", "Connection: close"), 200, LENGTH, 5, False,
        reply("Content-Length: 5"))  # fmt: skip
replies("keep-alive", reply("connection: Keep-Alive", "Content-Length: 5", "Keep-Alive: timeout=5"),
        200, LENGTH, 5, True, reply("Content-Length: 5"))  # fmt: skip
replies("keep-alive of no length", reply("Connection: keep-alive"), 200, CLOSE, 0, False, reply())
replies("204", reply(first="HTTP/1.1 204 No Content"), 204, NONE, 0, True)
replies("204, length zero", reply("Content-Length: 0", first="HTTP/1.1 204 No Content"),
        204, NONE, 0, True)  # fmt: skip
replies("204 with a length", reply("Content-Length: 5", first="HTTP/1.1 204 No Content"),
        204, NONE, 0, False, reply(first="HTTP/1.1 204 No Content"))  # fmt: skip
replies("204 chunked", reply("Transfer-Encoding: chunked", first="HTTP/1.1 204 No Content"),
        204, NONE, 0, False, reply(first="HTTP/1.1 204 No Content"))  # fmt: skip
replies("304 with a length", reply("Content-Length: 5", first="HTTP/1.1 304 Not Modified"),
        304, NONE, 0, True)  # fmt: skip
replies("304 chunked", reply("Transfer-Encoding: chunked", first="HTTP/1.1 304 Not Modified"),
        304, NONE, 0, True)  # fmt: skip
replies("HEAD with a length", reply("Content-Length: 5"), 200, NONE, 0, True, method="HEAD")
replies("HEAD without one", reply(), 200, NONE, 0, True, method="HEAD")
replies("HEAD chunked", reply("Transfer-Encoding: chunked"), 200, NONE, 0, True, method="HEAD")
replies("HEAD and close", reply("Connection: close"), 200, NONE, 0, False, reply(), method="HEAD")
replies("100", reply(first="HTTP/1.1 100 Continue"), 100, NONE, 0, True)
replies(
    "103 with fields", reply("Link: </a>", first="HTTP/1.1 103 Early Hints"), 103, NONE, 0, True
)
SWITCHED = reply("Connection: Upgrade", "Upgrade: a/1, b", first="HTTP/1.1 101 Switching")
replies("101", SWITCHED, 101, TUNNEL, 0, True)
replies("101 in its own way", reply("Upgrade: a/1", "Keep-Alive: 5", "connection: UPGRADE, keep-alive",
        "upgrade:b", first="HTTP/1.1 101 Switching"), 101, TUNNEL, 0, True, SWITCHED)  # fmt: skip
replies("101 with a length", reply("Upgrade: a/1, b", "Content-Length: 5",
        first="HTTP/1.1 101 Switching"), 101, TUNNEL, 0, False, SWITCHED)  # fmt: skip
replies("101 to no protocol", reply(first="HTTP/1.1 101 Switching"))
replies("101 to CONNECT", SWITCHED, method="CONNECT")
replies("CONNECT", reply(), 200, TUNNEL, 0, True, method="CONNECT")
replies("CONNECT, 299 with a body", reply("Content-Length: 5", "X: 1", first="HTTP/1.0 299 Go"),
        299, TUNNEL, 0, False, reply("X: 1", first="HTTP/1.1 299 Go"), method="CONNECT")  # fmt: skip
replies("CONNECT, chunked", reply("Transfer-Encoding: chunked"), 200, TUNNEL, 0, False, reply(),
        method="CONNECT")  # fmt: skip
replies("CONNECT refused", reply("Content-Length: 5", first="HTTP/1.1 403 No"), 403, LENGTH, 5, True,
        method="CONNECT")  # fmt: skip
replies("CONNECT, 100", reply(first="HTTP/1.1 100 Continue"), 100, NONE, 0, True, method="CONNECT")
replies("no reason", reply("Content-Length: 5", first="HTTP/1.1 200"), 200, LENGTH, 5, True)
replies("an empty reason", reply("Content-Length: 5", first="HTTP/1.1 200 "), 200, LENGTH, 5, True)
replies(
    "a high reason", reply("Content-Length: 5", first="HTTP/1.1 500 \xe9"), 500, LENGTH, 5, True
)
replies("HTTP/1.0", reply("Content-Length: 5", first="HTTP/1.0 200 OK"), 200, LENGTH, 5, False,
        reply("Content-Length: 5"))  # fmt: skip
replies("HTTP/1.0 of no length", reply(first="HTTP/1.0 200 OK"), 200, CLOSE, 0, False, reply())
replies("HTTP/1.0 keep-alive", reply("Connection: keep-alive", "Content-Length: 5",
        first="HTTP/1.0 200 OK"), 200, LENGTH, 5, True, reply("Content-Length: 5"))  # fmt: skip
replies("a named hop-by-hop field", reply("Connection: X-Hop", "X-Hop: 1", "Content-Length: 5"),
        200, LENGTH, 5, True, reply("Content-Length: 5"))  # fmt: skip
replies("HTTP/1.0 chunked", reply("Transfer-Encoding: chunked", first="HTTP/1.0 200 OK"))
replies("HTTP/2", reply("Content-Length: 5", first="HTTP/2 200 OK"))
replies("HTTP/1.2", reply("Content-Length: 5", first="HTTP/1.2 200 OK"))
replies("no HTTP", reply(first="SSH-2.0-OpenSSH_9.2"))
replies("ICY", reply(first="ICY 200 OK"))
replies("a status of two digits", reply(first="HTTP/1.1 20 OK"))
replies("a status of four digits", reply(first="HTTP/1.1 2000 OK"))
replies("status 600", reply(first="HTTP/1.1 600 Odd"))
replies("status 099", reply(first="HTTP/1.1 099 Odd"))
replies("two spaces", reply(first="HTTP/1.1  200 OK"))
replies("length and chunked", reply("Content-Length: 5", "Transfer-Encoding: chunked"))
replies("two lengths", reply("Content-Length: 5", "Content-Length: 5"))
replies("a length with a sign", reply("Content-Length: +5"))
replies("gzip, chunked", reply("Transfer-Encoding: gzip, chunked"))
replies("a folded line", reply("X: a", " b"))
replies("a space before the colon", reply("Content-Length : 5"))
replies("a bare CR", reply("X: a\rb"))
replies("NUL", reply("X: a\0b"))
replies("lines that end in LF", reply().replace(b"\r\n", b"\n"))
replies("Connection: content-length", reply("Connection: content-length", "Content-Length: 5"))


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_clean_request_is_accepted_and_framed(name: str) -> None:
    head, framing, length = ACCEPTED[name]
    found = parse_request(head)
    assert isinstance(found, RequestHead)
    assert (found.framing, found.length) == (framing, length)


@pytest.mark.parametrize("name", REFUSED)
def test_an_unclean_request_is_refused(name: str) -> None:
    head, status = REFUSED[name]
    found = parse_request(head)
    assert isinstance(found, Refusal)
    assert found.status == status
    assert found.detail


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_is_usable_or_it_is_not(name: str) -> None:
    head, method, expected = REPLIES[name]
    assert parse_reply(head, method) == expected


def test_the_tables_are_as_long_as_promised() -> None:
    assert len(ACCEPTED) + len(REFUSED) >= 60
    assert len(REPLIES) >= 30


def parsed(head: bytes) -> RequestHead:
    found = parse_request(head)
    assert isinstance(found, RequestHead)
    return found


def test_a_request_keeps_every_byte_that_is_not_hop_by_hop() -> None:
    head = (
        b"POST /Caf%E9?q=%20 HTTP/1.1\r\nhOST:shop \r\nX-B:  2\t\r\nx-a: 1\r\nX-B: 3\r\n"
        b"Content-Length: 5\r\nCookie: a=b\r\n\r\n"
    )
    assert parsed(head).head == head
    noisy = head.replace(b"x-a: 1\r\n", b"x-a: 1\r\nconnection:  close \r\nTE: trailers\r\n")
    assert parsed(noisy).head == head


@pytest.mark.parametrize("option", ["keep-alive", "close", "Keep-Alive", "keep-alive, X-Hop"])
def test_what_concerns_one_connection_is_not_passed_on(option: str) -> None:
    dropped = (f"Connection: {option}", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive")
    more = ("X-Hop: 1", "TE: gzip", "Upgrade: h2c", "Expect: 100-continue")
    kept = ("X-Last: 1",) if "X-Hop" in option else ("X-Hop: 1", "X-Last: 1")
    head = with_host(*dropped, *more, "X-Last: 1")
    assert parsed(head).head == with_host(*kept)


def test_only_a_plain_connection_field_leaves_the_short_way_its_bytes() -> None:
    assert parsed(with_host("Connection: keep-alive", "X: 1")).head == with_host("X: 1")
    assert parsed(with_host("X: 1", "CONNECTION:close")).head == with_host("X: 1")
    twice = with_host("Connection: keep-alive", "X: 1", "Connection: close")
    assert parsed(twice).head == with_host("X: 1")
    assert parsed(twice).keep_alive is False


@pytest.mark.parametrize(
    ("lines", "first", "keep_alive"),
    [
        ((), "GET / HTTP/1.1", True),
        (("Connection: keep-alive",), "GET / HTTP/1.1", True),
        (("Connection: CLOSE",), "GET / HTTP/1.1", False),
        (("Connection: x , close",), "GET / HTTP/1.1", False),
        (("Connection: x", "Connection: close"), "GET / HTTP/1.1", False),
        (("Connection: keep-alive",), "GET / HTTP/1.0", False),
        (("Proxy-Connection: close",), "GET / HTTP/1.1", True),
    ],
)
def test_a_connection_lasts_as_long_as_the_client_lets_it(
    lines: tuple[str, ...], first: str, keep_alive: bool
) -> None:
    assert parsed(with_host(*lines, first=first)).keep_alive is keep_alive


def test_only_http_1_1_expects_to_be_told_to_continue() -> None:
    lines = ("Expect: 100-continue", "Content-Length: 5")
    assert parsed(with_host(*lines)).expects_continue
    assert not parsed(with_host(*lines, first="POST /a HTTP/1.0")).expects_continue
    assert parsed(with_host(*lines, first="POST /a HTTP/1.0")).head == with_host(
        "Content-Length: 5"
    )


UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: websocket")
ASKED = b"Connection: Upgrade\r\nUpgrade: websocket"


@pytest.mark.parametrize(
    ("lines", "first", "asks"),
    [
        (UPGRADE, "GET /a HTTP/1.1", ASKED),
        (UPGRADE, "POST /a HTTP/1.1", ASKED),
        ((*UPGRADE, "Content-Length: 0"), "POST /a HTTP/1.1", ASKED),
        ((*UPGRADE, "upgrade:b/2"), "GET /a HTTP/1.1", ASKED + b", b/2"),
        ((*UPGRADE, "Content-Length: 5"), "POST /a HTTP/1.1", b""),
        ((*UPGRADE, "Transfer-Encoding: chunked"), "POST /a HTTP/1.1", b""),
        ((*UPGRADE, "Upgrade: h2c"), "GET /a HTTP/1.1", b""),
        (UPGRADE, "GET /a HTTP/1.0", b""),
        (UPGRADE[:1], "GET /a HTTP/1.1", b""),
        (UPGRADE[1:], "GET /a HTTP/1.1", b""),
    ],
)
def test_an_upgrade_is_asked_of_the_primary_and_of_nobody_else(
    lines: tuple[str, ...], first: str, asks: bytes
) -> None:
    found = parsed(with_host(*lines, first=first))
    assert (found.asks, found.tunnel) == (asks, bool(asks))
    assert b"pgrade" not in found.head
    assert found.keep_alive is first.endswith("1")


def test_an_expectation_is_asked_of_the_primary_and_of_nobody_else() -> None:
    found = parsed(with_host("Expect: 100-Continue", "Content-Length: 5"))
    assert (found.asks, found.tunnel) == (b"Expect: 100-continue", False)
    assert b"Expect" not in found.head
    both = parsed(with_host("Expect: 100-continue", *UPGRADE))
    assert both.asks == b"Expect: 100-continue\r\n" + ASKED
    assert parsed(with_host("Expect: 100-continue", first="POST / HTTP/1.0")).asks == b""
    assert (parsed(with_host()).asks, parsed(with_host()).tunnel) == (b"", False)


def test_after_connect_comes_no_request() -> None:
    head = request("Host: shop:443", "X: 1", first="CONNECT shop:443 HTTP/1.1")
    found = parsed(head)
    assert (found.head, found.target, found.tunnel) == (head, "shop:443", True)
    assert (found.keep_alive, found.mutating) == (False, False)


def test_http_1_0_goes_on_as_http_1_1_if_it_names_its_host() -> None:
    with_a_host = parsed(with_host("X: 1", first="GET /a HTTP/1.0"))
    assert with_a_host.head == with_host("X: 1", first="GET /a HTTP/1.1")
    assert with_a_host.minor == 0
    assert parsed(request("X: 1", first="GET /a HTTP/1.0")).head == request(
        "X: 1", first="GET /a HTTP/1.0"
    )


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        ("http://shop/a?b=/c", "/a?b=/c"),
        ("HTTP://SHOP/a", "/a"),
        ("http://shop", "/"),
        ("http://shop?a", "/?a"),
    ],
)
def test_an_absolute_target_becomes_a_path(target: str, origin: str) -> None:
    found = parsed(with_host("X: 1", first=f"GET {target} HTTP/1.1"))
    assert found.target == origin
    assert found.head == with_host("X: 1", first=f"GET {origin} HTTP/1.1")


def test_options_of_an_absolute_target_without_a_path_is_about_the_server() -> None:
    assert parsed(with_host(first="OPTIONS http://shop HTTP/1.1")).target == "*"


def test_a_head_knows_its_path_and_whether_its_method_may_change_state() -> None:
    assert parsed(with_host(first="GET /a/b?c=/d?e HTTP/1.1")).path == "/a/b"
    for method in ("POST", "PUT", "PATCH", "DELETE", "LOCK", "get"):
        assert parsed(with_host(first=f"{method} / HTTP/1.1")).mutating
    for method in SAFE_METHODS - {"CONNECT"}:
        assert not parsed(with_host(first=f"{method} / HTTP/1.1")).mutating


HEAD = with_host("X-One:  a b \t", "x-two:", "X-One: c", "X-y: d")


def test_fields_come_in_order_with_duplicates() -> None:
    assert fields(HEAD) == (
        ("host", "shop"), ("x-one", "a b"), ("x-two", ""), ("x-one", "c"), ("x-y", "d"),
    )  # fmt: skip
    assert fields(request()) == ()


def test_one_field_is_found_whatever_its_case() -> None:
    assert field(HEAD, "X-ONE") == "a b"
    assert field(HEAD, "x-two") == ""
    assert field(HEAD, "x-three") is None
    assert field(HEAD, "one") is None
    assert field(request("X.Y: 1", "XzY: 2"), "x.y") == "1"


def test_a_line_is_added_at_the_end_and_fields_are_taken_out_by_name() -> None:
    assert with_line(with_host("X: 1"), b"Y: 2") == with_host("X: 1", "Y: 2")
    assert with_line(request(), b"Y: 2") == request("Y: 2")
    assert without(HEAD, (b"x-one", b"x-y")) == with_host("x-two:")
    assert without(HEAD, ()) == HEAD
    assert without(request("Host: a"), (b"host",)) == request()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"P", None),
        (b"POST /a HTTP/1.1\r\nHost: sho", None),
        (b"POST /a HTTP/1.1\r", None),
        (b"!weird", None),
        (b"x" * 64, None),
        (b"x" * 65, 414),
        (b"GET /" + b"x" * 100 + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 100, 431),
        (b" GET", 400),
        (b"\r\n", 400),
        (b"\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"{", 400),
        (b"GET / HTTP/1.1\nHost", 400),
        (b"GET / HT\rTP", 400),
    ],
)
def test_a_head_that_cannot_become_one_is_refused_early(data: bytes, status: int | None) -> None:
    found = refuse_fragment(data, 64)
    assert (None if found is None else found.status) == status


@pytest.mark.parametrize(
    ("line", "events"),
    [
        ("Content-Type: text/event-stream", True),
        ("content-type:Text/Event-Stream; charset=utf-8", True),
        ("Content-Type: text/event-streams", False),
        ("Content-Type: text/plain", False),
        ("Vary: text/event-stream", False),
    ],
)
def test_an_event_stream_is_told_by_its_content_type(line: str, events: bool) -> None:
    head = request("Server: x", line, "Age: 1", first="HTTP/1.1 200 OK")
    assert is_event_stream(head) is events


@given(st.integers(1, 400))
def test_no_beginning_of_a_clean_head_is_refused(end: int) -> None:
    head, _, _ = ACCEPTED["a name of strange token characters"]
    assert refuse_fragment(head[:end], 4096) is None


ANY_BYTES = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from([
            b"GET / HTTP/1.1\r\n", b"POST http://shop/ HTTP/1.0\r\n", b"HTTP/1.1 200 OK\r\n", b"Host: shop\r\n",
            b"Content-Length: 5\r\n", b"Content-Length:", b"Transfer-Encoding: chunked\r\n", b"Expect: x\r\n",
            b"Connection: close, x\r\n", b"connection:keep-alive\r\n", b"\r\n", b"\r", b"\n", b" ", b"\0",
            b"X: \xff\r\n",
        ]),
        max_size=8,
    ).map(b"".join),
)  # fmt: skip


@settings(max_examples=300)
@given(ANY_BYTES)
def test_no_bytes_make_the_parser_raise(data: bytes) -> None:
    assert isinstance(parse_request(data), RequestHead | Refusal)
    assert isinstance(parse_reply(data, "GET"), ReplyHead | None)
    if data:
        assert isinstance(refuse_fragment(data, 100), Refusal | None)


def field_lines() -> st.SearchStrategy[list[str]]:
    special = st.sampled_from([
        "Host: shop", "Content-Length: 5", "Content-Length: 0", "Connection: close",
        "Connection: keep-alive", "connection: Keep-Alive",
    ])  # fmt: skip
    value = st.text(alphabet=[c for c in printable if c not in "\r\n\x0b\x0c"], max_size=12)
    return st.lists(st.one_of(special, value.map(lambda text: f"X-Any: {text}")), max_size=6)


def outcome(found: RequestHead | ReplyHead | Refusal | None) -> object:
    """Everything but the passed-on head, whose spare field the long way leaves."""
    if isinstance(found, RequestHead):
        return (
            found.method,
            found.target,
            found.host,
            found.framing,
            found.length,
            found.keep_alive,
        )
    if isinstance(found, ReplyHead):
        return (found.status, found.framing, found.length, found.keep_alive)
    return found


@settings(max_examples=200)
@given(field_lines(), st.sampled_from(["GET", "POST"]))
def test_the_short_way_and_the_long_way_agree(lines: list[str], method: str) -> None:
    """A `Keep-Alive` field is dropped, and sends a head down the long way: nothing else may change."""
    first = f"{method} /a HTTP/1.1"
    short, long = (
        parse_request(request(*lines, *more, first=first)) for more in ((), ("Keep-Alive: 1",))
    )
    assert outcome(short) == outcome(long)
    answers = [parse_reply(reply(*lines, *more), method) for more in ((), ("Keep-Alive: 1",))]
    assert outcome(answers[0]) == outcome(answers[1])
    for one, other in ((short, long), tuple(answers)):
        if isinstance(one, RequestHead | ReplyHead):
            assert isinstance(other, RequestHead | ReplyHead)
            assert one.head == other.head
            assert re.search(rb"(?i)\r\nconnection:", one.head) is None


@settings(max_examples=500)
@given(
    *[
        st.lists(
            st.builds(
                "{}:{}".format,
                st.sampled_from(["a", "A", "b", "ab", "x-a"]),
                st.sampled_from(["", " 1", "1", " a:", " \xe9", " \xc9"]),
            ),
            max_size=4,
        )
    ]
    * 2
)
def test_fields_are_the_same_in_equal_heads_and_where_each_stands_once_and_is_equal(
    ours: list[str], theirs: list[str]
) -> None:
    one, other = (
        "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("latin-1")
        for lines in (ours, theirs)
    )

    def values(lines: list[str], name: str) -> list[str]:
        return [line.partition(":")[2] for line in lines if line.partition(":")[0].lower() == name]

    expected = one == other or all(
        values(ours, name) == values(theirs, name) and len(values(ours, name)) <= 1
        for name in ("a", "b")
    )
    assert same_fields(one, other, (b"\r\na:", b"\r\nb:")) is expected
