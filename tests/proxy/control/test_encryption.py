"""The keys that encrypt: read from one place, in two forms, and shown nowhere."""

from base64 import b64encode
from pathlib import Path

import pytest

from proxy.cipher import key_id
from proxy.control.config import ConfigError, parse
from proxy.control.encryption import FILE_BYTES_MAX, EncryptionError, cipher_of
from proxy.control.owed import Journal

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
ALLOWED = "must hold 32 random bytes, as base64 or 64 hex digits, one key per line"
BASE = """
[backends.legacy]
url = "http://old:1"
[backends.new]
url = "http://new:2"
[journal]
"""


def ids(text: str) -> tuple[bytes, ...]:
    cipher = cipher_of(Journal(encryption_key_env="K"), {"K": text})
    assert cipher is not None
    return cipher.ids


def key_file(directory: Path, content: str = KEY.hex(), mode: int = 0o600) -> Path:
    path = directory / "key"
    path.write_text(content)
    path.chmod(mode)
    return path


def problems(lines: str, *, files: bool = True) -> list[str]:
    try:
        parse(BASE + lines, "f.toml", {}, files=files)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def test_nothing_is_encrypted_unless_it_is_asked_for() -> None:
    assert cipher_of(Journal(), {}) is None
    assert not problems("")


@pytest.mark.parametrize("text", [KEY.hex(), KEY.hex().upper(), f" {b64encode(KEY).decode()}\n"])
def test_a_key_is_base64_or_hex(text: str) -> None:
    assert ids(text) == (key_id(KEY),)


def test_several_keys_are_several_lines() -> None:
    assert ids(f"{OTHER.hex()}\n\n{b64encode(KEY).decode()}\n") == (key_id(OTHER), key_id(KEY))


def test_keys_may_be_in_a_file(tmp_path: Path) -> None:
    cipher = cipher_of(Journal(encryption_key_file=str(key_file(tmp_path))), {})
    assert cipher is not None
    assert cipher.ids == (key_id(KEY),)


@pytest.mark.parametrize(
    "text",
    [
        KEY.hex()[:-1],
        KEY.hex() + "00",
        "hunter2",
        b64encode(KEY[1:]).decode(),
        "é",
        f"{KEY.hex()} x",
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(EncryptionError) as caught:
        ids(text)
    assert str(caught.value) == f"journal.encryption_key_env: {ALLOWED}"
    path = key_file(tmp_path, text)
    assert problems(f'encryption_key_file = "{path}"') == [
        f'f.toml: journal.encryption_key_file = "***": {ALLOWED}'
    ]


def test_what_is_empty_holds_no_key(tmp_path: Path) -> None:
    with pytest.raises(EncryptionError, match="it is empty"):
        ids(" \n")
    (told,) = problems(f'encryption_key_file = "{key_file(tmp_path, "")}"')
    assert told.endswith("it is empty")


def test_a_variable_that_is_not_set_is_refused_and_not_shown() -> None:
    with pytest.raises(EncryptionError) as caught:
        cipher_of(Journal(encryption_key_env="hunter2"), {})
    told = "journal.encryption_key_env: the variable that it names is not set"
    assert str(caught.value) == told


def test_a_file_that_cannot_be_read_is_a_problem_for_who_needs_it(tmp_path: Path) -> None:
    line = f'encryption_key_file = "{tmp_path / "none"}"'
    (told,) = problems(line)
    assert told.endswith("cannot be read: No such file or directory")
    assert not problems(line, files=False)


def test_a_file_that_is_no_key_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    (told,) = problems(f'encryption_key_file = "{key_file(tmp_path, "0" * (FILE_BYTES_MAX + 1))}"')
    assert told.endswith(f"is longer than {FILE_BYTES_MAX} bytes")


def test_keys_are_in_one_place_only(tmp_path: Path) -> None:
    (told,) = problems(f'encryption_key_env = "K"\nencryption_key_file = "{key_file(tmp_path)}"')
    assert told == (
        "f.toml: journal.encryption_key_env: contradicts encryption_key_file:"
        " one of them holds all keys"
    )


def test_a_key_in_place_of_where_it_is_is_not_shown() -> None:
    for name in ("encryption_key_env", "encryption_key_file"):
        (told,) = problems(f'{name} = "{KEY.hex()}\\u0000"')
        assert KEY.hex() not in told


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o604, 1)])
def test_a_file_that_everybody_may_read_is_warned_of(
    tmp_path: Path, mode: int, warned: int
) -> None:
    path = key_file(tmp_path, mode=mode)
    config = parse(f'{BASE}encryption_key_file = "{path}"', "f.toml", {})
    assert len(config.warnings) == warned
    assert all("every user of this machine may read it" in each for each in config.warnings)
