"""The keys of a side: its address."""

import pytest

from proxy.control.address import Address
from proxy.control.sides import Backend


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8001", Address(host="127.0.0.1", port=8001)),
        ("nonsense", Address()),
    ],
)
def test_the_address_is_where_the_url_says_or_nowhere(url: str, address: Address) -> None:
    assert Backend(url=url).address == address
