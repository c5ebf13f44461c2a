"""The keys of `[journal]` that encrypt what is replayed: read here and nowhere else.

Law: a key is in no error text. Those name where it is read from, never what stands there.
"""

import binascii
import re
import stat
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path

from proxy.cipher import KEY_BYTES, Cipher, CipherError
from proxy.control.owed import Journal

FILE_BYTES_MAX = 65536
"""The longest key file: some 1,000 keys."""

_HEX = re.compile(rf"[0-9A-Fa-f]{{{2 * KEY_BYTES}}}")
_ALLOWED = "32 random bytes, as base64 or 64 hex digits, one key per line"


class EncryptionError(Exception):
    """What is asked to be encrypted cannot be: why, in one line."""


def contradictions(journal: Journal) -> Iterator[tuple[str, str]]:
    """What contradicts itself: the key at fault, and what is allowed there."""
    if journal.encryption_key_env and journal.encryption_key_file:
        yield "encryption_key_env", "contradicts encryption_key_file: one of them holds all keys"


def flaws(journal: Journal) -> Iterator[tuple[str, str]]:
    """What is wrong with the file: the key at fault, and what is allowed there."""
    if journal.encryption_key_file and not journal.encryption_key_env:
        try:
            cipher_of(journal, {})
        except EncryptionError as error:
            name, _, why = str(error).partition(": ")
            yield name.removeprefix("journal."), why


def warnings(journal: Journal) -> Iterator[str]:
    """What is allowed and may surprise."""
    path = journal.encryption_key_file
    try:
        is_open = bool(path) and Path(path).stat().st_mode & stat.S_IROTH
    except OSError:
        return  # `flaws` has it
    if is_open:
        yield "journal.encryption_key_file: every user of this machine may read it (chmod o-r)"


def cipher_of(journal: Journal, environment: Mapping[str, str]) -> Cipher | None:
    """What encrypts as these keys ask for; None if they ask for nothing. Raises EncryptionError."""
    name = journal.encryption_key_env
    if name:
        where, text = "journal.encryption_key_env", environment.get(name)
        if text is None:
            raise EncryptionError(f"{where}: the variable that it names is not set")
    elif journal.encryption_key_file:
        where = "journal.encryption_key_file"
        text = _content(Path(journal.encryption_key_file), where)
    else:
        return None
    keys = [_key(word, where) for word in text.split()]
    if not keys:
        raise EncryptionError(f"{where}: must hold {_ALLOWED}; it is empty")
    try:
        return Cipher(keys)
    except CipherError as error:
        raise EncryptionError(f"{where}: {error}") from error


def _content(path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise EncryptionError(f"{where}: cannot be read: {error.strerror or error}") from None
    if len(content) > FILE_BYTES_MAX:
        raise EncryptionError(f"{where}: is longer than {FILE_BYTES_MAX} bytes")
    return content.decode("latin-1")  # what is not ASCII is no key


def _key(word: str, where: str) -> bytes:
    if _HEX.fullmatch(word):
        return bytes.fromhex(word)
    try:
        key = b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise EncryptionError(f"{where}: must hold {_ALLOWED}")
    return key
