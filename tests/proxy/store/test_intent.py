"""Intents as bytes: exact, versioned, and refused when a single bit is not what it was."""

from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cipher import SEALED, Cipher
from proxy.store.intent import (
    PIECE_BYTES,
    Damaged,
    Identity,
    pack_reply,
    pack_request,
    seal,
    unpack_reply,
    unpack_request,
)
from rules.message import Framing, Reply, Request, Side
from rules.payload import digest
from tests.proxy.samples import a_reply, a_request

requests = st.builds(
    Request,
    method=st.sampled_from(["PUT", "POST", "BREW"]),
    target=st.text(st.characters(min_codepoint=33, max_codepoint=255), min_size=1),
    head=st.binary(),
    body=st.binary(),
    chunked=st.booleans(),
    body_bytes=st.integers(0, 2**40),
)
replies = st.builds(
    Reply,
    status=st.integers(100, 599),
    head=st.binary(),
    body=st.binary(max_size=100),
    framing=st.sampled_from(Framing),
    truncated=st.just(value=False),
    latency_s=st.floats(0, 100),
)


@given(requests)
def test_a_request_comes_back_as_it_was(request: Request) -> None:
    packed = pack_request(request)
    assert unpack_request(packed, seal(packed, None), None) == request


@given(replies)
def test_a_reply_comes_back_as_it_was(reply: Reply) -> None:
    assert unpack_reply(pack_reply(reply, 100)) == reply


@given(requests, st.data())
def test_one_flipped_bit_of_a_request_is_noticed(request: Request, data: st.DataObject) -> None:
    packed = bytearray(pack_request(request))
    expected = seal(bytes(packed), None)
    at = data.draw(st.integers(0, len(packed) * 8 - 1))
    packed[at // 8] ^= 1 << at % 8
    with pytest.raises(Damaged, match="digest"):
        unpack_request(bytes(packed), expected, None)


@given(replies, st.data())
def test_one_flipped_bit_of_a_reply_is_noticed(reply: Reply, data: st.DataObject) -> None:
    stored = bytearray(pack_reply(reply, 100))
    at = data.draw(st.integers(0, len(stored) * 8 - 1))
    stored[at // 8] ^= 1 << at % 8
    with pytest.raises(Damaged, match="digest"):
        unpack_reply(bytes(stored))


@pytest.mark.parametrize(
    "packed",
    [
        msgpack.packb((2, "PUT", "/", b"", b"", False, 0)),
        msgpack.packb((1, "PUT", "/", b"", b"", False)),
        msgpack.packb(()),
        msgpack.packb(7),
        b"\xc1",
        b"",
    ],
)
def test_what_this_release_does_not_know_is_refused(packed: bytes) -> None:
    with pytest.raises(Damaged):
        unpack_request(packed, seal(packed, None), None)
    with pytest.raises(Damaged):
        unpack_reply(digest(packed) + packed)


@pytest.mark.parametrize("stored", [b"", b"short"])
def test_a_reply_without_its_digest_is_refused(stored: bytes) -> None:
    with pytest.raises(Damaged):
        unpack_reply(stored)


@pytest.mark.parametrize(
    ("body", "truncated", "kept"),
    [(b"12345", False, b"12345"), (b"123456", False, b""), (b"123", True, b"")],
)
def test_a_long_reply_is_kept_without_its_body(body: bytes, truncated: bool, kept: bytes) -> None:
    given_reply = Reply(status=200, head=b"h", body=body, truncated=truncated)
    found = unpack_reply(pack_reply(given_reply, 5))
    assert (found.body, found.truncated, found.head) == (kept, kept == b"", b"h")


# a body in a spool file


def spooled(file: Path, body: bytes) -> tuple[bytes, bytes]:
    file.write_bytes(body)
    packed = pack_request(a_request())
    return packed, seal(packed, file)


@pytest.mark.parametrize("body", [b"", b"abc", b"x" * (2 * PIECE_BYTES + 1)])
def test_a_spooled_request_names_its_file(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "7"
    found = unpack_request(*spooled(file, body), file)
    assert (found.spool, found.body) == (str(file), b"")


def test_a_spool_file_that_changed_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "7"
    packed, expected = spooled(file, b"abc")
    for other in (b"abd", b"ab", b"abcd", b""):
        file.write_bytes(other)
        with pytest.raises(Damaged, match="digest"):
            unpack_request(packed, expected, file)


def test_a_spool_file_that_is_gone_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "7"
    packed, expected = spooled(file, b"abc")
    file.unlink()
    with pytest.raises(Damaged, match="cannot be read: No such file"):
        unpack_request(packed, expected, file)


# encrypted


@given(requests)
def test_an_encrypted_request_comes_back_as_it_was(request: Request) -> None:
    cipher = Cipher([bytes(32)])
    packed = pack_request(request, cipher, 7)
    assert packed.startswith(SEALED)
    assert unpack_request(packed, seal(packed, None), None, cipher, 7) == request


@given(replies)
def test_an_encrypted_reply_comes_back_as_it_was(reply: Reply) -> None:
    cipher = Cipher([bytes(32)])
    assert unpack_reply(pack_reply(reply, 100, cipher, 7), cipher, 7) == reply


def test_what_is_encrypted_belongs_to_its_intent_and_is_a_request_or_a_reply() -> None:
    cipher = Cipher([bytes(32)])
    packed = pack_request(a_request(), cipher, 7)
    with pytest.raises(Damaged, match="cannot be decrypted: it is not what was encrypted"):
        unpack_request(packed, seal(packed, None), None, cipher, 8)
    with pytest.raises(Damaged, match="cannot be decrypted"):
        unpack_reply(digest(packed) + packed, cipher, 7)


def test_without_the_key_an_encrypted_payload_is_damaged() -> None:
    packed = pack_request(a_request(), Cipher([bytes(32)]), 7)
    with pytest.raises(Damaged, match="no key is given"):
        unpack_request(packed, seal(packed, None), None, None, 7)
    with pytest.raises(Damaged, match="its key is not given"):
        unpack_request(packed, seal(packed, None), None, Cipher([b"x" * 32]), 7)


def test_a_body_in_a_file_that_is_not_encrypted_is_not_journaled_under_a_key() -> None:
    request = a_request()
    request = Request(method="PUT", target="/", head=request.head, spool="7", body_bytes=3)
    with pytest.raises(AssertionError, match="not encrypted"):
        pack_request(request, Cipher([bytes(32)]), 7)


def test_an_identity_has_a_value_on_each_side() -> None:
    identity = Identity("order", "1", "a")
    assert (identity.on(Side.LEGACY), identity.on(Side.NEW)) == ("1", "a")


def test_a_reply_with_chunks_keeps_them() -> None:
    reply = Reply(status=200, head=b"", body=b"0\r\n\r\n", framing=Framing.CHUNKED)
    assert unpack_reply(pack_reply(reply, 100)).chunked
    assert not unpack_reply(pack_reply(a_reply(), 100)).chunked
