"""Where a benchmark keeps its files, and where its results go."""

import json
from pathlib import Path

import click
import pytest

from bench import machine
from bench.place import on_disk, write


def test_a_run_has_a_directory_of_its_own_for_as_long_as_it_takes() -> None:
    parent = machine.disk()
    with on_disk(parent, "trial") as (found, facts):
        (found / "file").write_text("x")
        assert found.parent == parent
        assert facts.filesystem == machine.filesystem(parent)
    assert not found.exists()


def test_journals_do_not_lie_in_memory() -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or machine.filesystem(memory) not in machine.NOT_A_DISK:
        pytest.skip("/dev/shm is not in memory here; in CI it is")
    with pytest.raises(click.ClickException, match="is in memory"), on_disk(memory, "trial"):
        pass
    assert not list(memory.glob("twinwrite-trial-*"))


def test_results_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    write(tmp_path / "found.json", {"rows": [1]})
    write(None, {"rows": [2]})
    assert json.loads((tmp_path / "found.json").read_text()) == {"rows": [1]}
    assert len(list(tmp_path.iterdir())) == 1
