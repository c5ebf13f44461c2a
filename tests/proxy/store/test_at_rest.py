"""A journal under a key: nothing of a payload in clear in any file, and nothing lost or changed by a wrong key."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from proxy.cipher import FRAME_BYTES, SEALED, Cipher, key_id
from proxy.control.owed import Journal as Settings
from proxy.control.tally import Tally
from proxy.store.batch import StoreError
from proxy.store.intent import DIGEST_BYTES, Damaged, Intent, Result
from proxy.store.journal import Journal
from proxy.wire.body import Spool, in_memory
from rules.fate import OWED, Event, State
from rules.message import Reply, Request
from rules.payload import digest
from tests.proxy.samples import (
    Clock,
    a_reply,
    a_request,
    an_intent,
    begun,
    crashed,
    journaled,
    kept,
    settled,
    written,
)

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
CANARY = b"canary-in-the-coal-mine"
LONG = CANARY * (2 * FRAME_BYTES // len(CANARY))

Made = Callable[..., Awaitable[Intent]]

in_both_places = pytest.mark.parametrize("made", [settled, kept], ids=["in the log", "in a row"])


@asynccontextmanager
async def under(
    directory: Path, *keys: bytes, tally: Tally | None = None, clock: Clock | None = None
) -> AsyncIterator[Journal]:
    """An open journal that encrypts under the first of these keys, if there is one."""
    cipher = Cipher(keys) if keys else None
    given = Settings(directory=str(directory), done_hold_seconds=0)
    journal = await Journal.open(given, tally or Tally(), clock or Clock(), cipher)
    try:
        yield journal
    finally:
        await journal.close()


def a_secret(body: bytes = CANARY) -> Request:
    """A request that has the canary wherever it may be: in a field and in the body."""
    return a_request("PUT", "/a", body, f"X-Secret: {CANARY.decode()}\r\n")


def spooled(journal: Journal, body: bytes = LONG) -> Request:
    spool = Spool(journal.spools.next(), 0, len(body), sealed=journal.cipher is not None)
    for at in range(0, len(body), 1000):
        spool.add(body[at : at + 1000])
    spool.close()
    head = a_secret(body).head
    return Request(
        method="PUT", target="/a", head=head, spool=str(spool.path), body_bytes=spool.size,
        spool_key=spool.key,
    )  # fmt: skip


def the_reply() -> Reply:
    head = f"HTTP/1.1 200 OK\r\nSet-Cookie: {CANARY.decode()}\r\nContent-Length: {len(CANARY)}\r\n"
    return Reply(status=200, head=head.encode() + b"\r\n", body=CANARY)


async def owed(journal: Journal, made: Made, request: Request) -> Intent:
    spool = None if request.spool is None else f"spool/{Path(request.spool).name}"
    intent = an_intent("a", request=request, spool=spool)
    return await made(journal, intent, Event.PRIMARY_APPLIED, the_reply())


async def done(journal: Journal, intent: Intent) -> None:
    journal.sending(intent)
    journal.conclude(intent, Event.CONFIRM, Result("", "match", 200))


def files_with(directory: Path, words: bytes) -> list[str]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return sorted(path.name for path in found if words in path.read_bytes())


def dump(directory: Path) -> tuple[list[str], list[tuple[str, bytes]]]:
    """All that a journal holds."""
    with closing(sqlite3.connect(directory / "journal.db")) as db:
        spools = sorted((directory / "spool").iterdir())
        return list(db.iterdump()), [(path.name, path.read_bytes()) for path in spools]


def change(directory: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(directory / "journal.db")) as db:
        db.execute(sql, values)
        db.commit()


async def loaded(journal: Journal) -> list[tuple[Request, Reply]]:
    return [await journal.load(each) for each in await journal.standing(OWED)]


async def left_behind(directory: Path, *keys: bytes) -> Path:
    """A journal that owes a write from a row and one from a spool file."""
    async with under(directory, *keys) as journal:
        await owed(journal, kept, a_secret())
        await owed(journal, kept, spooled(journal))
    return directory


@in_both_places
async def test_nothing_of_a_payload_is_in_clear_in_any_file(tmp_path: Path, made: Made) -> None:
    """While it is owed, after a crash, while a restart has it, and after that."""
    async with under(tmp_path / "a", KEY) as journal:
        intents = [await owed(journal, made, a_secret())]
        intents.append(await owed(journal, made, spooled(journal)))
        unknown = await begun(journal, an_intent("b", request=a_secret()))
        await written(journal)
        requests = [each.request for each in intents]
        assert unknown.state is State.P_SENT
        assert files_with(tmp_path, b"/a")  # a column of its own
        assert not files_with(tmp_path, CANARY)
        copy = crashed(tmp_path / "a", tmp_path / "b")
    assert not files_with(tmp_path, CANARY)
    async with under(copy, KEY) as journal:
        assert not files_with(copy, CANARY)
        found = await loaded(journal)
        assert [in_memory(request).body for request, _ in found] == [CANARY, LONG]
        assert found[0][0] == requests[0]
        assert [reply for _, reply in found] == [the_reply()] * 2
        await written(journal)
    assert not files_with(tmp_path, CANARY)


@in_both_places
async def test_without_a_key_it_is_there_to_be_found(tmp_path: Path, made: Made) -> None:
    async with under(tmp_path) as journal:
        await owed(journal, made, a_secret())
        await owed(journal, made, spooled(journal))
        await written(journal)
        assert {"2", "journal.db-wal"} <= set(files_with(tmp_path, CANARY))


@pytest.mark.parametrize("given", [(), (OTHER,)], ids=["no key", "another key"])
@in_both_places
async def test_a_journal_without_its_key_is_refused_and_nothing_is_changed(
    tmp_path: Path, made: Made, given: tuple[bytes, ...]
) -> None:
    async with under(tmp_path / "a", KEY) as journal:
        await owed(journal, made, spooled(journal))
        await written(journal)
        copy = crashed(tmp_path / "a", tmp_path / "b")
    before = dump(copy)
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            async with under(copy, *given):
                pass
        assert str(caught.value) == (
            "the journal holds writes that are encrypted under a key that is not given (its id is"
            f" {key_id(KEY).hex()}): add it to journal.encryption_key_file or encryption_key_env"
        )
    assert dump(copy) == before
    async with under(copy, KEY) as journal:
        ((request, reply),) = await loaded(journal)
        assert (in_memory(request).body, reply) == (LONG, the_reply())


async def test_a_reply_alone_needs_its_key(tmp_path: Path) -> None:
    await left_behind(tmp_path, KEY)
    change(tmp_path, "UPDATE intents SET payload = NULL")
    with pytest.raises(StoreError, match="under a key that is not given"):
        async with under(tmp_path, OTHER):
            pass


async def test_keys_are_rotated(tmp_path: Path) -> None:
    await left_behind(tmp_path, KEY)
    async with under(tmp_path, OTHER, KEY) as journal:
        await owed(journal, kept, a_secret(b"new"))
        found = await loaded(journal)
        assert [in_memory(request).body for request, _ in found] == [CANARY, LONG, b"new"]
    with pytest.raises(StoreError, match=key_id(KEY).hex()):
        async with under(tmp_path, OTHER):
            pass
    async with under(tmp_path, OTHER, KEY) as journal:
        for intent in (await journal.standing(OWED))[:2]:
            await done(journal, intent)
    async with under(tmp_path, OTHER) as journal:  # the old one may go
        ((request, _),) = await loaded(journal)
        assert request.body == b"new"


async def test_what_was_written_in_clear_is_read_under_a_key(tmp_path: Path) -> None:
    await left_behind(tmp_path)
    async with under(tmp_path, KEY) as journal:
        await owed(journal, kept, a_secret(b"new"))
        await owed(journal, settled, a_secret(b"newer"))
        found = await loaded(journal)
        assert [in_memory(request).body for request, _ in found] == [CANARY, LONG, b"new"]
    rows = list(journaled(tmp_path).values())
    assert [row["payload"].startswith(SEALED) for row in rows] == [False, False, True, True]
    assert [row["reply"].startswith(SEALED, DIGEST_BYTES) for row in rows] == [
        False, False, True, True,
    ]  # fmt: skip


async def test_a_key_that_nothing_needs_any_more_may_be_left_out(tmp_path: Path) -> None:
    await left_behind(tmp_path, KEY)
    async with under(tmp_path, KEY) as journal:
        for intent in await journal.standing(OWED):
            await done(journal, intent)
    async with under(tmp_path) as journal:
        await owed(journal, kept, a_secret())
        assert len(await loaded(journal)) == 1
    async with under(tmp_path, OTHER):
        pass


async def test_a_key_that_wrote_nothing_is_not_missed(tmp_path: Path) -> None:
    for keys in ((KEY,), (), (OTHER, KEY), (KEY,), ()):
        async with under(tmp_path, *keys):
            pass


@pytest.mark.parametrize("name", ["payload", "reply"])
@pytest.mark.parametrize("forged", [False, True])
async def test_a_payload_that_was_changed_is_damaged(
    tmp_path: Path, name: str, forged: bool
) -> None:
    """A single bit of the tag; and by somebody who knows what a digest is."""
    await left_behind(tmp_path, KEY)
    row = journaled(tmp_path)[1]
    stored = bytearray(row[name])
    stored[-1] ^= 1
    if forged and name == "reply":
        stored[:DIGEST_BYTES] = digest(bytes(stored[DIGEST_BYTES:]))
    change(tmp_path, f"UPDATE intents SET {name} = ? WHERE id = 1", bytes(stored))
    if forged and name == "payload":
        change(tmp_path, "UPDATE intents SET digest = ? WHERE id = 1", digest(bytes(stored)))
    async with under(tmp_path, KEY) as journal:
        first, second = await journal.standing(OWED)
        with pytest.raises(Damaged, match="not what was encrypted" if forged else "digest"):
            await journal.load(first)
        assert (await journal.load(second))[1] == the_reply()


@pytest.mark.parametrize("columns", [("payload", "digest"), ("reply",)])
async def test_a_payload_in_the_row_of_another_is_damaged(
    tmp_path: Path, columns: tuple[str, ...]
) -> None:
    async with under(tmp_path, KEY) as journal:
        for body in (b"one", b"two"):
            await owed(journal, kept, a_secret(body))
    one = journaled(tmp_path)[1]
    for name in columns:
        change(tmp_path, f"UPDATE intents SET {name} = ? WHERE id = 2", one[name])
    async with under(tmp_path, KEY) as journal:
        first, second = await journal.standing(OWED)
        assert (await journal.load(first))[0].body == b"one"
        with pytest.raises(Damaged, match="not what was encrypted"):
            await journal.load(second)


@pytest.mark.parametrize("trouble", ["cut", "changed", "gone", "of another"])
async def test_a_spool_file_that_is_not_what_it_was_is_damaged(
    tmp_path: Path, trouble: str
) -> None:
    async with under(tmp_path, KEY) as journal:
        await owed(journal, kept, spooled(journal))
        await owed(journal, kept, spooled(journal))
        one, two = sorted((tmp_path / "spool").iterdir())
        sealed = bytearray(one.read_bytes())
        if trouble == "cut":
            one.write_bytes(sealed[:-1])
        elif trouble == "changed":
            sealed[FRAME_BYTES // 2] ^= 1
            one.write_bytes(sealed)
        elif trouble == "gone":
            one.unlink()
        else:
            one.write_bytes(two.read_bytes())
        first, second = await journal.standing(OWED)
        with pytest.raises(Damaged, match="the spool file cannot be read"):
            await journal.load(first)
        assert in_memory((await journal.load(second))[0]).body == LONG


async def test_what_is_damaged_needs_no_key(tmp_path: Path) -> None:
    """It is a dead letter under every key: it must not keep a journal closed."""
    await left_behind(tmp_path, KEY)
    change(tmp_path, "UPDATE intents SET digest = zeroblob(16), reply = zeroblob(100)")
    async with under(tmp_path, OTHER) as journal:
        for intent in await journal.standing(OWED):
            with pytest.raises(Damaged, match="digest"):
                await journal.load(intent)


async def test_a_dead_letter_that_is_replaced_is_encrypted(tmp_path: Path) -> None:
    await left_behind(tmp_path)
    async with under(tmp_path, KEY) as journal:
        intent = (await journal.standing(OWED))[1]
        journal.sending(intent)
        journal.conclude(intent, Event.BURY, Result("status_400"))
        assert await journal.replace(intent, a_secret(b"edited " + CANARY)) is None
        (row,) = [row for row in journaled(tmp_path).values() if row["id"] == intent.id]
        assert row["payload"].startswith(SEALED)
        assert CANARY not in row["payload"]
        request, reply = await journal.load(intent)
        assert (request.body, request.spool) == (b"edited " + CANARY, None)
        assert reply == the_reply()


async def test_a_large_reply_is_left_out_as_without_a_key(tmp_path: Path) -> None:
    async with under(tmp_path, KEY) as journal:
        intent = an_intent("a", request=a_secret())
        await kept(journal, intent, Event.PRIMARY_APPLIED, a_reply(200, b"x" * 70_000))
        ((_, reply),) = await loaded(journal)
        assert (reply.truncated, reply.body) == (True, b"")
