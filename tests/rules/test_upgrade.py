"""Which upgrades are asked for, and which are not."""

import pytest

from rules.upgrade import HTTP_INSIDE, upgrade_lines


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
