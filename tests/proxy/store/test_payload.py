"""The request of an intent without a reply, from disk."""

from pathlib import Path

import pytest

from proxy.store.batch import StoreError
from proxy.store.intent import Damaged
from proxy.store.payload import request_of
from rules.fate import Event
from rules.message import Cause, Failure, Request
from tests.proxy.samples import a_request, an_intent, begun, disk_broken, kept, opened

LOST = Failure(cause=Cause.RESET, sent=True)


async def test_it_is_exactly_what_was_journaled(tmp_path: Path) -> None:
    request = a_request("POST", "/a", b"\0body", "X: 1\r\n")
    async with opened(tmp_path) as journal:
        intent = an_intent("a", request=request)
        await kept(journal, intent, Event.PRIMARY_UNKNOWN, LOST)

        assert await request_of(journal, intent) == request


async def test_a_spooled_body_is_verified_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        path = journal.spools.next()
        path.write_bytes(b"x" * 100)
        request = Request(method="PUT", target="/a", head=b"h", spool=str(path), body_bytes=100)
        intent = an_intent("a", request=request, spool=f"spool/{path.name}")
        await kept(journal, intent, Event.PRIMARY_UNKNOWN, LOST)
        assert await request_of(journal, intent) == request

        path.write_bytes(b"y" * 100)
        with pytest.raises(Damaged, match="digest differs"):
            await request_of(journal, intent)


async def test_a_row_that_is_gone_is_damaged(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        with pytest.raises(Damaged, match="is gone"):
            await request_of(journal, an_intent("a", id=17))


async def test_a_disk_that_refuses_is_a_store_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        intent = await begun(journal, an_intent("a"))
        await disk_broken(journal)
        journal.keep(intent)  # its row is on its way, and does not arrive
        with pytest.raises(StoreError):
            await request_of(journal, intent)
        await disk_broken(journal, broken=False)
