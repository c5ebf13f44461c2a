"""Where a backend is: every form of url, and what is none."""

import pytest

from proxy.control.address import PATH_BYTES_MAX, Address, check_socket_path, parse_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://legacy:80", Address(host="legacy", port=80)),
        ("http://10.0.0.7:8080", Address(host="10.0.0.7", port=8080)),
        ("http://a-b.example.org:65535", Address(host="a-b.example.org", port=65535)),
        ("http://[::1]:8001", Address(host="::1", port=8001)),
        ("http://legacy", Address(host="legacy", port=80)),
        ("https://legacy", Address(host="legacy", port=443, is_secure=True)),
        ("https://[::1]:8443", Address(host="::1", port=8443, is_secure=True)),
        ("unix:/run/legacy.sock", Address(path="/run/legacy.sock")),
    ],
)
def test_a_url_says_where_a_backend_is(url: str, address: Address) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "", "legacy:80", "ftp://legacy", "http://", "http://legacy:", "http://legacy:0",
        "http://legacy:65536", "http://legacy:80/", "http://legacy:80/v2", "http://legacy:80?x",
        "http://ann:pw@legacy:80", "http://:80", "http://le gacy:80", "http://[::1:80",
        "HTTP://legacy:80", "http://legacy:80\n", "http://legacy:٨٠",
    ],
)  # fmt: skip
def test_another_url_is_refused(url: str) -> None:
    allowed = (
        "must be http://host:port, https://host:port or unix:/path, without user, path or query"
    )
    with pytest.raises(ValueError, match=allowed):
        parse_url(url)


@pytest.mark.parametrize("path", ["", "a.sock", "/a\n", "/a\0", "/" + "x" * PATH_BYTES_MAX])
def test_another_socket_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        check_socket_path(path)
    with pytest.raises(ValueError, match="must be"):
        parse_url(f"unix:{path}")


def test_the_longest_socket_path_is_taken() -> None:
    check_socket_path("/" + "x" * (PATH_BYTES_MAX - 1))
