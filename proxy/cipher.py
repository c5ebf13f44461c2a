"""Encryption at rest: bytes that nobody can read, or change unseen, without the key.

Law: AES-256-GCM of the package `cryptography`; of our own is only the order of the bytes. No nonce is
used twice under one key: each start has a subkey of its own (HKDF-SHA256, RFC 5869, with a random
salt) and counts, so that the bound of 2^32 random nonces (NIST SP 800-38D 8.3) is none of ours; each
file has a random key of its own, and its frames are numbered.
"""

import hashlib
import os
import secrets
from collections.abc import Sequence
from errno import EBADMSG
from functools import lru_cache
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Protocol, Self

Bytes = bytes | memoryview

KEY_BYTES = 32
"""AES-256."""

SEALED = b"\xc1\x01"
"""How every encrypted payload begins: no msgpack does (0xc1 is never used, says its specification), so a
payload tells by itself whether it is encrypted. The second byte is the version of this format."""

FRAME_BYTES = 65536
"""Plain bytes per frame of a file: what is in memory at a time, and sealed or opened in some 8 us."""

SUBKEYS_MAX = 256
"""Derived keys that are kept, one for each start that left something: 8 us to make one again."""

_ID_BYTES, _SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 4, 16, 12, 16
_SUBKEY_BYTES = len(SEALED) + _ID_BYTES + _SALT_BYTES
_HEAD_BYTES = _SUBKEY_BYTES + _NONCE_BYTES


class CipherError(Exception):
    """Nothing can be encrypted: why, in one line."""


class BadSeal(OSError):
    """What was encrypted is not what is there; or the key is another one."""

    def __init__(self, why: str) -> None:
        super().__init__(EBADMSG, why)


class _Aead(Protocol):
    def encrypt(self, nonce: bytes, data: Bytes, associated_data: bytes | None, /) -> bytes: ...

    def decrypt(self, nonce: bytes, data: Bytes, associated_data: bytes | None, /) -> bytes: ...


class Cipher:
    """Encrypts under the first of its keys (32 bytes each), decrypts under all of them.

    A sealed text: SEALED, the key's id (4 bytes), salt (16), nonce (12), ciphertext, tag (16). `place`
    is where it belongs: it is opened nowhere else. Raises CipherError where the package is missing.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {key_id(key): key for key in keys}
        self._aead = lru_cache(SUBKEYS_MAX)(self._derived)
        self._begin = SEALED + key_id(keys[0]) + secrets.token_bytes(_SALT_BYTES)
        self._own = self._derived(self._begin)
        self._nonces = count()

    @property
    def ids(self) -> tuple[bytes, ...]:
        """The ids of the keys; the first one encrypts."""
        return tuple(self._keys)

    def encrypt(self, plain: bytes, place: bytes) -> bytes:
        """The sealed text: 50 bytes longer, and another one at each call."""
        nonce = next(self._nonces).to_bytes(_NONCE_BYTES, "big")
        return b"".join((self._begin, nonce, self._own.encrypt(nonce, plain, place)))

    def decrypt(self, sealed: bytes, place: bytes) -> bytes:
        """What was encrypted for this place; raises BadSeal."""
        try:
            aead = self._aead(sealed[:_SUBKEY_BYTES])
        except KeyError:
            raise BadSeal("its key is not given") from None
        return _opened(aead, sealed[_SUBKEY_BYTES:_HEAD_BYTES], sealed[_HEAD_BYTES:], place)

    def _derived(self, begin: bytes) -> _Aead:
        at = len(SEALED) + _ID_BYTES
        hashes = _library("cryptography.hazmat.primitives.hashes")
        hkdf = _library("cryptography.hazmat.primitives.kdf.hkdf").HKDF(
            algorithm=hashes.SHA256(), length=KEY_BYTES, salt=begin[at:], info=b"twinwrite payload"
        )
        return _aead(hkdf.derive(self._keys[begin[len(SEALED) : at]]))


class Frames:
    """Seals and opens the frames of one file. Its key is for no other file: `new_key`."""

    def __init__(self, key: bytes) -> None:
        self._aead = _aead(key)

    def sealed(self, index: int, plain: Bytes, *, last: bool) -> bytes:
        """The frame at this place; the last one says so."""
        return self._aead.encrypt(_place(index, last=last), plain, None)

    def opened(self, index: int, sealed: bytes, *, last: bool) -> bytes:
        """What is in the frame; raises BadSeal if it is not the one of this place."""
        return _opened(self._aead, _place(index, last=last), sealed, None)


class SealedFile:
    """Reads a file of frames, all but the last one FRAME_BYTES long, and `size` plain bytes in all.

    Raises OSError when it is not there, or not all of it.
    """

    def __init__(self, path: Path, key: bytes, size: int) -> None:
        self._frames = Frames(key)
        self._count = -(-size // FRAME_BYTES)
        self._index = 0
        self._file = path.open("rb")
        found, expected = os.fstat(self._file.fileno()).st_size, size + self._count * _TAG_BYTES
        if found != expected:
            self._file.close()
            raise OSError(f"the spool file has {found} bytes, not {expected}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1, /) -> bytes:
        """The next frames, whole ones: up to `size` bytes, but at least one frame; all if it is negative.

        Nothing at the end. Raises BadSeal.
        """
        most = max(size // FRAME_BYTES, 1) if size >= 0 else self._count
        pieces: list[bytes] = []
        while self._index < self._count and len(pieces) < most:
            sealed = self._file.read(FRAME_BYTES + _TAG_BYTES)
            index, self._index = self._index, self._index + 1
            pieces.append(self._frames.opened(index, sealed, last=self._index == self._count))
        return b"".join(pieces)


def new_key() -> bytes:
    """A random key."""
    return secrets.token_bytes(KEY_BYTES)


def key_id(key: bytes) -> bytes:
    """What tells keys apart and says nothing of them."""
    return hashlib.sha256(b"twinwrite key id" + key).digest()[:_ID_BYTES]


def _place(index: int, *, last: bool) -> bytes:
    """The nonce of a frame: neither its place nor that it is the last one can be changed unseen."""
    return index.to_bytes(_NONCE_BYTES - 1, "big") + (b"\1" if last else b"\0")


def _aead(key: bytes) -> _Aead:
    aead: _Aead = _library("cryptography.hazmat.primitives.ciphers.aead").AESGCM(key)
    return aead


def _opened(aead: _Aead, nonce: bytes, sealed: bytes, place: bytes | None) -> bytes:
    try:
        return aead.decrypt(nonce, sealed, place)
    except (ValueError, _library("cryptography.exceptions").InvalidTag):
        raise BadSeal("it is not what was encrypted") from None


def _library(name: str) -> ModuleType:
    """A module of `cryptography`. Not imported at the top: it takes 6 MiB and 23 ms (measured), and is an
    extra that only who encrypts needs. This is the one place where anything is imported later."""
    try:
        return import_module(name)
    except ImportError as error:
        raise CipherError(
            "encryption needs the package cryptography: pip install 'twinwrite[encryption]'"
        ) from error
