"""A whole sidecar under a key: what it owes is unreadable, and is delivered byte for byte."""

import io
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from proxy.app import App, StartError
from proxy.control.config import parse
from proxy.control.log import Log
from tests.proxy.samples import until
from tests.proxy.world import World, world

CANARY = b"canary-in-the-coal-mine"
UPLOAD = (CANARY + os.urandom(1001)) * 1024
"""1 MiB."""


def key_line(directory: Path, *keys: bytes) -> str:
    """The line of [journal] that names a file with these keys."""
    path = directory / "keys"
    path.write_text("\n".join(key.hex() for key in keys))
    path.chmod(0o600)
    return f'encryption_key_file = "{path}"'


def files_with(directory: Path, words: bytes) -> list[str]:
    """But for the ledger: what is in it is redacted instead."""
    files = (path for path in directory.rglob("*") if path.is_file())
    found = (path for path in files if not path.name.startswith("ledger"))
    return sorted(path.name for path in found if words in path.read_bytes())


async def put(w: World, path: str, body: bytes) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.put(w.url + path, data=body, headers={"X-Secret": CANARY.decode()}) as reply,
    ):
        assert reply.status == 200
        await reply.read()


async def refused(directory: Path, line: str) -> str:
    text = f"""
[listen]
port = 0
[admin]
port = 0
[backends.legacy]
url = "http://127.0.0.1:1"
[backends.new]
url = "http://127.0.0.1:2"
[journal]
directory = "{directory}"
{line}
"""
    app = App(parse(text, "test.toml", {}), Log(io.StringIO()))
    with pytest.raises(StartError) as caught:
        await app.start()
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def owing(directory: Path, key: bytes) -> Path:
    """What a kill -9 leaves: a small write and an upload that the secondary has not taken yet."""
    async with world(directory, key_line(directory, key)) as w:
        w.legacy.answers["/small"] = (200, {"secret": CANARY.decode()})
        w.new.answers = {"/small": (503, {}), "/upload": (503, {})}
        await put(w, "/small", CANARY)
        await put(w, "/upload", UPLOAD)
        await until(lambda: len(w.new.seen) >= 2)
        data = directory / "data"
        assert files_with(data, b"/small")  # columns are in clear
        assert not files_with(data, CANARY)
        crashed = shutil.copytree(data, directory / "crashed" / "data")
    assert not files_with(directory, CANARY)
    return crashed


async def test_what_is_owed_is_unreadable_and_delivered_after_a_crash(tmp_path: Path) -> None:
    crashed = await owing(tmp_path, bytes(32))
    directory = crashed.parent
    async with world(directory, key_line(directory, bytes(32))) as w:
        await w.delivered()
        assert sorted((path, body) for _, path, body in w.new.seen) == [
            ("/small", CANARY), ("/upload", UPLOAD),
        ]  # fmt: skip
        assert w.app.tally.states["done"] == 2
        assert not files_with(directory, CANARY)


async def test_an_upload_reaches_both_sides_byte_for_byte(tmp_path: Path) -> None:
    async with world(tmp_path, key_line(tmp_path, bytes(32))) as w:
        await put(w, "/upload", UPLOAD)
        await w.delivered()
        assert w.legacy.seen == w.new.seen == [("PUT", "/upload", UPLOAD)]
        assert not list((tmp_path / "data" / "spool").iterdir())
        assert not files_with(tmp_path, CANARY)


async def test_a_wrong_key_makes_no_dead_letters(tmp_path: Path) -> None:
    crashed = await owing(tmp_path, bytes(32))
    for line in ("", key_line(tmp_path, b"x" * 32)):
        assert "encrypted under a key that is not given" in await refused(crashed, line)
    with closing(sqlite3.connect(crashed / "journal.db")) as db:
        assert not db.execute("SELECT 1 FROM intents WHERE state = 'dead'").fetchall()
    directory = crashed.parent
    async with world(directory, key_line(directory, b"x" * 32, bytes(32))) as w:  # rotated
        await w.delivered()
        assert sorted(body for _, _, body in w.new.seen) == sorted([CANARY, UPLOAD])


async def test_a_spool_file_that_was_cut_is_a_dead_letter(tmp_path: Path) -> None:
    crashed = await owing(tmp_path, bytes(32))
    (spool,) = (crashed / "spool").iterdir()
    spool.write_bytes(spool.read_bytes()[:-1])
    directory = crashed.parent
    async with world(directory, key_line(directory, bytes(32))) as w:
        await until(lambda: w.app.tally.states["dead"] == 1 and w.app.tally.states["done"] == 1)
        assert [path for _, path, _ in w.new.seen] == ["/small"]


async def test_a_key_that_cannot_be_had_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = 'encryption_key_env = "TEST_JOURNAL_KEY"'
    where = "journal.encryption_key_env"
    monkeypatch.delenv("TEST_JOURNAL_KEY", raising=False)
    told = await refused(tmp_path / "data", line)
    assert told == f"{where}: the variable that it names is not set"
    monkeypatch.setenv("TEST_JOURNAL_KEY", "hunter2")
    told = await refused(tmp_path / "data", line)
    assert told.startswith(f"{where}: must hold 32 random bytes")
    assert "hunter2" not in told
    assert not (tmp_path / "data").exists()
    monkeypatch.setenv("TEST_JOURNAL_KEY", "00" * 32)
    async with world(tmp_path, line) as w:
        await put(w, "/small", CANARY)
        await w.delivered()
        assert not files_with(tmp_path / "data", CANARY)
