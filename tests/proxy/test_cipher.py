"""Encryption at rest: it comes back, only where it belongs, only with the key, and only whole."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cipher import (
    FRAME_BYTES,
    SEALED,
    BadSeal,
    Cipher,
    Frames,
    SealedFile,
    key_id,
    new_key,
)

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
TAG_BYTES = 16


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_what_was_encrypted_comes_back(plain: bytes, place: bytes) -> None:
    cipher = Cipher([KEY])
    sealed = cipher.encrypt(plain, place)
    assert sealed.startswith(SEALED)
    assert len(sealed) == len(plain) + 50
    assert cipher.decrypt(sealed, place) == Cipher([KEY]).decrypt(sealed, place) == plain


def test_no_text_is_encrypted_twice_to_the_same_bytes() -> None:
    starts = [Cipher([KEY]) for _ in range(3)]
    sealed = [cipher.encrypt(b"text", b"here") for cipher in starts for _ in range(100)]
    assert len({each[:34] for each in sealed}) == len(sealed)
    assert len({each[34:] for each in sealed}) == len(sealed)


def test_it_is_opened_nowhere_else() -> None:
    cipher = Cipher([KEY])
    with pytest.raises(BadSeal, match="not what was encrypted"):
        cipher.decrypt(cipher.encrypt(b"text", b"request 1"), b"request 2")


@given(st.data())
def test_one_flipped_bit_is_noticed(data: st.DataObject) -> None:
    cipher = Cipher([KEY])
    sealed = bytearray(cipher.encrypt(b"text", b"here"))
    at = data.draw(st.integers(len(SEALED) * 8, len(sealed) * 8 - 1))
    sealed[at // 8] ^= 1 << at % 8
    with pytest.raises(BadSeal):
        cipher.decrypt(bytes(sealed), b"here")


@pytest.mark.parametrize("count", [0, 2, 6, 22, 34, 49])
def test_what_is_too_short_is_noticed(count: int) -> None:
    cipher = Cipher([KEY])
    with pytest.raises(BadSeal):
        cipher.decrypt(cipher.encrypt(b"text", b"here")[:count], b"here")


def test_another_key_opens_nothing() -> None:
    with pytest.raises(BadSeal, match="its key is not given"):
        Cipher([OTHER]).decrypt(Cipher([KEY]).encrypt(b"text", b"here"), b"here")


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old, rotated = Cipher([KEY]), Cipher([OTHER, KEY])
    assert rotated.decrypt(old.encrypt(b"old", b"here"), b"here") == b"old"
    assert Cipher([OTHER]).decrypt(rotated.encrypt(b"new", b"here"), b"here") == b"new"
    assert rotated.ids == (key_id(OTHER), key_id(KEY))


def test_keys_are_random_and_their_ids_tell_them_apart() -> None:
    keys = {new_key() for _ in range(100)}
    assert {len(key) for key in keys} == {32}
    assert len({key_id(key) for key in keys}) == 100


# files


def framed(path: Path, body: bytes, key: bytes = KEY) -> list[bytes]:
    """A sealed file, and its frames."""
    frames = Frames(key)
    cuts = range(0, len(body), FRAME_BYTES)
    sealed = [
        frames.sealed(index, body[at : at + FRAME_BYTES], last=at == cuts[-1])
        for index, at in enumerate(cuts)
    ]
    path.write_bytes(b"".join(sealed))
    return sealed


def contents(path: Path, size: int, key: bytes = KEY) -> bytes:
    with SealedFile(path, key, size) as file:
        return file.read()


@pytest.mark.parametrize(
    "size", [1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 5 * FRAME_BYTES]
)
def test_a_file_comes_back_at_once_and_in_pieces(tmp_path: Path, size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    framed(tmp_path / "body", body)
    assert contents(tmp_path / "body", size) == body
    with SealedFile(tmp_path / "body", KEY, size) as file:
        pieces = list(iter(lambda: file.read(2 * FRAME_BYTES), b""))
        assert file.read() == b""
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= 2 * FRAME_BYTES


def test_a_small_read_gets_one_frame(tmp_path: Path) -> None:
    framed(tmp_path / "body", b"x" * (FRAME_BYTES + 1))
    with SealedFile(tmp_path / "body", KEY, FRAME_BYTES + 1) as file:
        assert [len(file.read(1)) for _ in range(3)] == [FRAME_BYTES, 1, 0]


def test_frames_in_another_order_are_noticed(tmp_path: Path) -> None:
    path, size = tmp_path / "body", 3 * FRAME_BYTES
    first, second, third = framed(
        path, b"a" * FRAME_BYTES + b"b" * FRAME_BYTES + b"c" * FRAME_BYTES
    )
    for wrong in (second + first + third, first + first + third, first + third + second):
        path.write_bytes(wrong)
        with pytest.raises(BadSeal):
            contents(path, size)


def test_a_file_that_lost_its_end_is_noticed(tmp_path: Path) -> None:
    path, size = tmp_path / "body", 2 * FRAME_BYTES + 7
    whole = b"".join(framed(path, b"x" * size))
    for cut in (1, 7 + TAG_BYTES):
        path.write_bytes(whole[:-cut])
        with pytest.raises(OSError, match="the spool file has"):
            contents(path, size)
    # even where its length is believed: what is left does not end in a last frame
    with pytest.raises(BadSeal):
        contents(path, 2 * FRAME_BYTES)


def test_a_file_that_shrinks_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path, size = tmp_path / "body", 3 * FRAME_BYTES
    framed(path, b"x" * size)
    with SealedFile(path, KEY, size) as file:
        assert file.read(FRAME_BYTES) == b"x" * FRAME_BYTES
        path.write_bytes(path.read_bytes()[:FRAME_BYTES])
        with pytest.raises(BadSeal):
            file.read()


def test_the_key_of_another_file_opens_nothing(tmp_path: Path) -> None:
    framed(tmp_path / "body", b"body")
    with pytest.raises(BadSeal):
        contents(tmp_path / "body", 4, OTHER)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SealedFile(tmp_path / "body", KEY, 4)


# the package


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_who_encrypts_nothing_does_not_pay_for_the_package() -> None:
    code = "import sys, proxy.cipher, proxy.store.journal, proxy.wire.pool; print('cryptography' in sys.modules)"
    assert python(code) == "False"


def test_where_the_package_is_missing_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from proxy.cipher import Cipher, CipherError\n"
        "try: Cipher([bytes(32)])\n"
        "except CipherError as error: print(error)"
    )
    needed = "encryption needs the package cryptography: pip install 'twinwrite[encryption]'"
    assert python(code) == needed
