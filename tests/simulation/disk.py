"""The disk: real SQLite files, run inline after a virtual delay, that can fail, and crash the life that writes.

A crash leaves the files as the last commit left them: an open transaction is rolled back.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from proxy.store.batch import Schema, prepare
from tests.simulation.universe import Universe

COMMITS = frozenset(("transact", "recover"))
"""The functions that commit."""

DELAY_S = 0.002
"""What a healthy disk takes for one transaction at the most."""


class Mortal(Protocol):
    """The life of a sidecar, as far as the disk is concerned."""

    dead: bool

    def commits(self, *, after: bool) -> bool:
        """A transaction is about to be committed, or has just been; True: this is where the life ends."""

    def doubt(self) -> None:
        """A commit was told to have failed, and is durable if the life ends before the next one."""


class Disk:
    """What the disk does to whom: `trouble` is "", "writes" (full) or "all" (I/O errors)."""

    def __init__(self, universe: Universe, directory: Path) -> None:
        self.universe = universe
        self.directory = directory
        self.trouble = ""
        self.doubtful = 0.0  # the chance that a commit fails and is durable all the same
        self.delay_s = DELAY_S

    def reset(self, schemas: dict[str, tuple[Path, Schema]]) -> None:
        """Empty files, as a first start makes them."""
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.directory / "spool").mkdir(parents=True)
        for name, (templates, schema) in schemas.items():
            path = templates / name
            if not path.exists():
                make_template(path, schema)
            shutil.copyfile(path, self.directory / name)


def make_template(path: Path, schema: Schema) -> None:
    """A file with its tables, and nothing that differs from run to run."""
    connection = sqlite3.connect(path, isolation_level=None)
    prepare(connection, schema, "OFF")
    meta = (("simulated", "journal_id"), (b"k" * 32, "redaction_key"))
    connection.executemany("UPDATE meta SET value = ? WHERE name = ?", meta)
    connection.close()


class Connection:
    """What `proxy.store.writer.Writer` asks of an aiosqlite connection."""

    def __init__(self, disk: Disk, life: Mortal, path: Path) -> None:
        self._conn = sqlite3.connect(path, isolation_level=None)
        self._disk = disk
        self._life = life
        self._free_at = 0.0
        self.waiting = 0

    def _execute(self, function: Callable[..., object], *args: object) -> "asyncio.Future[object]":
        universe = self._disk.universe
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        start = max(universe.now, self._free_at)
        self._free_at = start + universe.chance.random() * self._disk.delay_s
        self.waiting += 1
        universe.later(self._free_at - universe.now, self._run, future, function, args)
        return future

    def _run(
        self,
        future: "asyncio.Future[object]",
        function: Callable[..., object],
        args: tuple[object, ...],
    ) -> None:
        if self._life.dead:
            return
        self.waiting -= 1
        name = getattr(function, "func", function).__name__
        commits = name in COMMITS
        if commits and self._life.commits(after=False):
            return
        try:
            result = self._carried_out(name, function, args)
        except Exception as error:  # noqa: BLE001 - as aiosqlite passes it on
            if not future.done():
                future.set_exception(error)
            return
        if commits and self._life.commits(after=True):
            return
        if not future.done():
            future.set_result(result)

    def _carried_out(
        self, name: str, function: Callable[..., object], args: tuple[object, ...]
    ) -> object:
        disk = self._disk
        if disk.trouble == "all" or (disk.trouble and name in COMMITS):
            disk.universe.note("disk", name, "fails", disk.trouble)
            raise sqlite3.OperationalError("disk I/O error")
        result = function(*args)
        if name == "transact":
            batch = function.keywords["batch"]  # type: ignore[attr-defined]
            disk.universe.note("disk", "commit", len(batch.entries), len(batch.operations))
            if disk.doubtful and disk.universe.chance.random() < disk.doubtful:
                disk.universe.note("disk", "commit is told to have failed")
                self._life.doubt()
                raise sqlite3.OperationalError("disk I/O error")
        return result

    async def close(self) -> None:
        """Part of aiosqlite's connection."""
        self._conn.close()

    def abandon(self) -> None:
        """The process is gone."""
        self._conn.close()
