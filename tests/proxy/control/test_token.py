"""The token: random, for the owner only, kept over restarts."""

from pathlib import Path

import pytest

from proxy.control.token import FILE, made, read


def test_it_is_made_once_for_the_owner_only(tmp_path: Path) -> None:
    token = made(tmp_path)

    assert len(token) == 43
    assert (made(tmp_path), read(tmp_path)) == (token, token)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_two_directories_have_two_tokens(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    assert made(tmp_path) != made(tmp_path / "a")


def test_what_a_crash_left_empty_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()

    assert len(made(tmp_path)) == 43


def test_a_directory_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        made(tmp_path / "none")
