"""Digests: the published ones, and piece by piece the same as at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.checksum import DIGESTS, Checksum, Whole, running, whole


@pytest.mark.parametrize(
    ("checksum", "expected"),
    [
        (Checksum.XXH3, "99aa06d3014798d86001c324468d497f"),
        (Checksum.CRC32, "00000000"),
        (Checksum.SHA256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ],
    ids=str,
)
def test_a_digest_is_the_published_one(checksum: Checksum, expected: str) -> None:
    assert DIGESTS[checksum](b"").hex() == expected


@given(st.sampled_from(Checksum), st.lists(st.binary(max_size=300), max_size=5))
def test_piece_by_piece_it_is_the_same_as_at_once(checksum: Checksum, pieces: list[bytes]) -> None:
    found = running(checksum)
    for piece in pieces:
        found.update(piece)
    assert found.digest() == DIGESTS[checksum](b"".join(pieces))


@pytest.mark.parametrize("checksum", list(Checksum), ids=str)
def test_a_body_is_its_length_and_its_digest(checksum: Checksum) -> None:
    assert whole(b"body", checksum) == Whole(4, DIGESTS[checksum](b"body"))
