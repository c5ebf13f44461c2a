"""Spool files: names, what is left of a former run, and a disk that does not answer."""

import asyncio
import os
from pathlib import Path

import pytest

from proxy.store.intent import seal
from proxy.store.spools import Spools, remove


def made(directory: Path, *names: str, timeout_s: float = 5.0) -> Spools:
    (directory / "spool").mkdir()
    for name in names:
        (directory / "spool" / name).write_bytes(name.encode())
    return Spools(directory, timeout_s)


async def test_what_no_row_asks_for_goes_and_no_name_comes_back(tmp_path: Path) -> None:
    spools = made(tmp_path, "3", "7", "stray")
    spools.clean(frozenset({"spool/7"}))
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["7"]
    assert [spools.next().name for _ in range(2)] == ["8", "9"]
    spools.close()


async def test_where_nobody_knows_what_is_asked_for_all_stays(tmp_path: Path) -> None:
    spools = made(tmp_path, "3", "7")
    spools.clean(None)
    assert len(list((tmp_path / "spool").iterdir())) == 2
    assert spools.next().name == "8"
    spools.close()


async def test_the_seal_is_that_of_request_and_file(tmp_path: Path) -> None:
    spools = made(tmp_path, "3")
    path = tmp_path / "spool" / "3"
    assert await spools.sealed(b"packed", path) == seal(b"packed", path)
    spools.close()


async def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    spools = made(tmp_path)
    with pytest.raises(FileNotFoundError):
        await spools.sealed(b"packed", tmp_path / "spool" / "3")
    spools.close()


async def test_a_disk_that_does_not_answer_is_one_that_refuses(tmp_path: Path) -> None:
    spools = made(tmp_path, timeout_s=0.05)
    pipe = tmp_path / "spool" / "3"
    os.mkfifo(pipe)  # to open it for reading takes until somebody writes
    with pytest.raises(TimeoutError):
        await spools.sealed(b"packed", pipe)
    await asyncio.to_thread(pipe.write_bytes, b"")
    spools.close()


def test_to_remove_what_is_gone_is_no_error(tmp_path: Path) -> None:
    remove(tmp_path / "gone")
