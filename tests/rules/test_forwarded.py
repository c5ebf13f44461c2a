"""Forwarding fields: three policies, every spelling that a server may read, and addresses of all kinds."""

import pytest

from rules.forwarded import Forwarding, forwarded
from rules.framing import Refusal, fields, parse_request

CLIENT = ("10.0.0.7", "http")


def head(*lines: str) -> bytes:
    block = "".join(f"{line}\r\n" for line in ("PUT /a HTTP/1.1", "Host: shop", *lines))
    return block.encode("latin-1") + b"\r\n"


def after(
    sent: Forwarding, *lines: str, host: str = "shop", client: tuple[str, str] = CLIENT
) -> list[tuple[str, str]]:
    """The fields that come out, but for Host."""
    out = forwarded(head(*lines), host, client, sent)
    assert not isinstance(parse_request(out), Refusal)
    return [each for each in fields(out) if each[0] != "host"]


FRESH = [
    ("x-forwarded-for", "10.0.0.7"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-host", "shop"),
]


def test_preserve_gives_the_very_same_bytes() -> None:
    came = head("X-Forwarded-For: 1.2.3.4", "Forwarded: for=1.2.3.4")
    assert forwarded(came, "shop", CLIENT, Forwarding.PRESERVE) is came


@pytest.mark.parametrize("policy", [Forwarding.APPEND, Forwarding.REPLACE])
def test_where_nothing_came_the_client_is_told_of(policy: Forwarding) -> None:
    assert after(policy, "Accept: */*") == [("accept", "*/*"), *FRESH]


@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-For: 1.2.3.4", "x-forwarded-for:", "X_Forwarded_For: 1.2.3.4",
        "X-FORWARDED-PROTO: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 443",
        "X-Forwarded-Prefix: /evil", "X-Forwarded-Ssl: on", "X-Forwarded: evil",
        "Forwarded: for=1.2.3.4", "FORWARDED: for=a", "X-Real-IP: 1.2.3.4", "x_real-ip: 1.2.3.4",
    ],
)  # fmt: skip
def test_replace_believes_nothing_in_any_spelling(line: str) -> None:
    assert after(Forwarding.REPLACE, line, "Accept: */*", line) == [("accept", "*/*"), *FRESH]


def test_replace_leaves_other_fields_alone() -> None:
    others = ("X-Forwarding: 1", "X-Real-IPs: 2", "My-X-Forwarded-For: 3", "Forwarded-For: 4")
    kept = [(name.lower(), value) for name, value in (line.split(": ") for line in others)]
    assert after(Forwarding.REPLACE, *others) == [*kept, *FRESH]


def test_append_makes_one_list_of_all_that_came() -> None:
    came = (
        "X-Forwarded-For: 1.2.3.4, 5.6.7.8",
        "A: b",
        "x-forwarded-for:",
        "x-forwarded-for: 9.9.9.9",
    )
    found = dict(after(Forwarding.APPEND, *came))
    assert found["x-forwarded-for"] == "1.2.3.4, 5.6.7.8, 9.9.9.9, 10.0.0.7"
    assert len(after(Forwarding.APPEND, *came)) == 4


def test_append_keeps_the_scheme_and_the_host_that_came() -> None:
    came = ("X-Forwarded-Proto: https", "X-Forwarded-Host: www")
    assert after(Forwarding.APPEND, *came) == [
        ("x-forwarded-proto", "https"), ("x-forwarded-host", "www"), ("x-forwarded-for", "10.0.0.7"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "client", "element"),
    [
        ("shop", ("10.0.0.7", "http"), "for=10.0.0.7;host=shop;proto=http"),
        ("shop:80", ("10.0.0.7", "https"), 'for=10.0.0.7;host="shop:80";proto=https'),
        ("", ("2001:db8::1", "http"), 'for="[2001:db8::1]";proto=http'),
        ("[::1]", ("", "http"), 'for=unknown;host="[::1]";proto=http'),
    ],
)
def test_append_adds_to_forwarded_where_somebody_uses_it(
    host: str, client: tuple[str, str], element: str
) -> None:
    came = "Forwarded: for=1.2.3.4;by=x"
    found = dict(after(Forwarding.APPEND, came, host=host, client=client))
    assert found["forwarded"] == f"for=1.2.3.4;by=x, {element}"
    assert "forwarded" not in dict(after(Forwarding.APPEND, host=host, client=client))


def test_a_client_without_an_address_is_unknown_and_a_request_without_a_host_has_none() -> None:
    assert after(Forwarding.REPLACE, host="", client=("", "https")) == [
        ("x-forwarded-for", "unknown"), ("x-forwarded-proto", "https"),
    ]  # fmt: skip


def test_an_ipv6_address_stands_bare_in_the_x_field() -> None:
    found = dict(after(Forwarding.REPLACE, client=("2001:db8::1", "http")))
    assert found["x-forwarded-for"] == "2001:db8::1"
