"""Which upgrades are asked for, and which are not."""

import pytest

from rules.upgrade import EXPECTATION, HTTP_INSIDE, forwarded_once_more, is_asked_for, upgrade_lines


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ([b"websocket"], b"websocket"),
        ([b"WebSocket"], b"WebSocket"),
        ([b"tcp"], b"tcp"),
        ([b"a/1, b"], b"a/1, b"),
        ([b"a", b"b"], b"a, b"),
    ],
)
def test_what_carries_no_http_is_asked_for(values: list[bytes], asked: bytes) -> None:
    assert upgrade_lines(values) == b"Connection: Upgrade\r\nUpgrade: " + asked


@pytest.mark.parametrize("name", sorted(HTTP_INSIDE))
def test_what_carries_http_is_not_asked_for(name: bytes) -> None:
    for value in (
        name,
        name.upper(),
        name + b"/2.0",
        b"websocket ,\t" + name,
        name + b",websocket",
    ):
        assert upgrade_lines([value]) == b""
    assert upgrade_lines([b"websocket", name]) == b""


@pytest.mark.parametrize("values", [[], [b""], [b" , "], [b"/1"]])
def test_nothing_is_no_protocol(values: list[bytes]) -> None:
    assert upgrade_lines(values) == b""


@pytest.mark.parametrize(
    "value",
    [b"h 2c", b"h2c;q=1", b"websocket h2c", b"h2c:", b"\xa0h2c", b"a/", b"a/1/2", b"a/b c", b'"a"'],
)
def test_what_is_not_written_as_a_protocol_is_not_asked_for(value: bytes) -> None:
    assert upgrade_lines([value]) == b""
    assert upgrade_lines([b"websocket", value]) == b""
    assert upgrade_lines([value + b", websocket"]) == b""


def test_empty_members_of_the_list_do_not_count() -> None:
    assert upgrade_lines([b", websocket ,,", b""]).endswith(b"\r\nUpgrade: , websocket ,,, ")


@pytest.mark.parametrize(
    ("agreed", "asked_for"),
    [
        (b"chat", True), (b"CHAT/2", True), (b"talk/1, chat", True), (b"talk", True),
        (b"h2c", False), (b"chat, h2c", False), (b"other", False), (b"", False), (b"chat;h2c", False),
    ],
)  # fmt: skip
def test_a_switch_is_to_what_was_asked_for(agreed: bytes, asked_for: bool) -> None:
    head = b"HTTP/1.1 101 Go\r\nX: 1\r\nConnection: Upgrade\r\nUpgrade: " + agreed + b"\r\n\r\n"
    asks = upgrade_lines([b"chat/2", b"Talk"])
    assert is_asked_for(asks, head) is asked_for
    assert is_asked_for(EXPECTATION + b"\r\n" + asks, head) is asked_for


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        (b"Max-Forwards: 1", b"Max-Forwards: 0"),
        (b"max-forwards:10 \t", b"max-forwards:9"),
        (b"Max-Forwards: 007", b"Max-Forwards: 6"),
        (b"Max-Forwards: -1", b"Max-Forwards: -1"),
        (b"Max-Forwards: 1x", b"Max-Forwards: 1x"),
        (b"X-Max-Forwards: 0", b"X-Max-Forwards: 0"),
        (b"Max-Forwards: 0", None),
        (b"Max-Forwards: 000", None),
    ],
)
def test_each_hop_counts_down(field: bytes, sent: bytes | None) -> None:
    head = b"OPTIONS * HTTP/1.1\r\nHost: a\r\n%b\r\nX: 1\r\n\r\n"
    assert forwarded_once_more(head % field) == (None if sent is None else head % sent)


def test_a_count_without_end_is_cut() -> None:
    sent = forwarded_once_more(b"OPTIONS * HTTP/1.1\r\nMax-Forwards: %b\r\n\r\n" % (b"9" * 5000))
    assert sent == b"OPTIONS * HTTP/1.1\r\nMax-Forwards: 999999998\r\n\r\n"
