"""Request targets, as a table: the form that each method takes, and what a side gets."""

import pytest

from rules.target import sent_target


@pytest.mark.parametrize(
    ("method", "target", "sent"),
    [
        ("GET", "/a?b", "/a?b"),
        ("GET", "//a", "//a"),
        ("GET", "http://shop:8080/a?b=/c", "/a?b=/c"),
        ("GET", "HTTP://SHOP:8080", "/"),
        ("GET", "http://shop:8080?a", "/?a"),
        ("GET", "http://shop/a", None),
        ("GET", "https://shop:8080/a", None),
        ("GET", "http:///a", None),
        ("GET", "*", None),
        ("GET", "a", None),
        ("GET", "shop:8080", None),
        ("OPTIONS", "*", "*"),
        ("OPTIONS", "http://shop:8080", "*"),
        ("OPTIONS", "http://shop:8080/", "/"),
        ("CONNECT", "shop:8080", "shop:8080"),
        ("CONNECT", "SHOP:8080", "SHOP:8080"),
        ("CONNECT", "shop:81", None),
        ("CONNECT", "shop", None),
        ("CONNECT", "/", None),
        ("CONNECT", "http://shop:8080", None),
        ("CONNECT", "me@shop:8080", None),
    ],
)
def test_a_target_is_sent_in_the_form_of_its_method(
    method: str, target: str, sent: str | None
) -> None:
    found = sent_target(method.encode(), target.encode(), b"Shop:8080")
    assert found == (None if sent is None else sent.encode())


@pytest.mark.parametrize("authority", ["[::1]:443", "10.0.0.1:1", "a-b.example:65535"])
def test_connect_names_a_host_and_a_port(authority: str) -> None:
    raw = authority.encode()
    assert sent_target(b"CONNECT", raw, raw) == raw


@pytest.mark.parametrize("authority", ["", ":443", "shop:", "shop:123456", "::1:443", "a b:1"])
def test_connect_to_anything_else_is_refused(authority: str) -> None:
    raw = authority.encode()
    assert sent_target(b"CONNECT", raw, raw) is None


def test_no_target_is_of_a_host_that_is_not_named() -> None:
    assert sent_target(b"GET", b"http://shop/", b"") is None
    assert sent_target(b"GET", b"http:///", b"") is None
