"""The lock: one process per journal, and a clear line for the second one."""

import os
from pathlib import Path

import pytest

from proxy.store.batch import StoreError
from proxy.store.lock import Locked
from tests.proxy.samples import opened


async def test_a_second_process_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(
            Locked, match=rf"another process \(pid {os.getpid()}\) has this journal"
        ):
            async with opened(tmp_path):
                pass
    async with opened(tmp_path):
        pass


async def test_a_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="the journal's directory cannot be written") as caught:
        async with opened(tmp_path / "file" / "journal"):
            pass
    assert "\n" not in str(caught.value)


async def test_a_lock_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.lock").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        async with opened(tmp_path):
            pass
