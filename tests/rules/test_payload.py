"""The digest of a payload: the same however it is cut, another for any other bytes."""

from hypothesis import assume, given
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from rules.payload import digest


@given(st.binary(), st.lists(st.binary()))
def test_pieces_and_the_whole_have_one_digest(payload: bytes, rest: list[bytes]) -> None:
    assert digest(payload, rest) == digest(b"".join((payload, *rest)))


@given(st.binary(), st.binary())
def test_other_bytes_have_another_digest(one: bytes, other: bytes) -> None:
    assume(one != other)
    assert digest(one) != digest(other)


def test_it_is_xxh3_of_128_bits() -> None:
    assert digest(b"abc") == xxh3_128_digest(b"abc")
    assert len(digest(b"")) == 16
