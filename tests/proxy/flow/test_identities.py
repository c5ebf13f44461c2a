"""Identities: found from either side, learned once, contradictions refused, and who waits goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.control.tally import Tally
from proxy.flow.identities import Identities
from proxy.store.journal import Journal
from rules.identity import Pair
from rules.message import Side
from tests.proxy.samples import an_intent, disk_broken, opened, rows, until

LEGACY, NEW = Side.LEGACY, Side.NEW


@asynccontextmanager
async def knowing(
    directory: Path, *pairs: tuple[str, str]
) -> AsyncIterator[tuple[Identities, Journal, Tally]]:
    """A fresh process on a journal that holds these orders: (legacy, new)."""
    if pairs:
        async with opened(directory) as journal:
            before = Identities(journal.pairs, Tally())
            for legacy, new in pairs:
                before.learn(Pair("order", legacy, new), LEGACY)
    tally = Tally()
    async with opened(directory, tally) as journal:
        yield Identities(journal.pairs, tally), journal, tally


async def stored(journal: Journal) -> list[tuple[str, str, str]]:
    await until(lambda: not len(journal.writer))
    await journal.writer.call(lambda _: None)
    found = rows(journal.writer.path, "SELECT * FROM identities ORDER BY legacy_value")
    return [(row["kind"], row["legacy_value"], row["new_value"]) for row in found]


async def test_an_identity_is_found_from_either_side(tmp_path: Path) -> None:
    async with knowing(tmp_path) as (identities, _, _):
        identities.learn(Pair("order", "1", "a"), LEGACY)
        identities.learn(Pair("order", "b", "2"), NEW)
        legacy_keys = (("order", "1"), ("order", "2"), ("order", "9"), ("note", "1"))
        assert await identities.find(LEGACY, legacy_keys) == {
            ("order", "1"): "a",
            ("order", "2"): "b",
        }
        assert await identities.find(NEW, (("order", "a"),)) == {("order", "a"): "1"}


async def test_what_is_learned_is_there_after_a_restart(tmp_path: Path) -> None:
    async with knowing(tmp_path, ("1", "a")) as (identities, _, _):
        for _ in range(2):
            assert await identities.find(LEGACY, (("order", "1"),)) == {("order", "1"): "a"}


async def test_an_identity_is_stored_once(tmp_path: Path) -> None:
    async with knowing(tmp_path, ("1", "a")) as (identities, journal, tally):
        for _ in range(3):
            pair = Pair("order", "1", "a")
            await identities.recall((pair,), LEGACY)
            assert identities.learn(pair, LEGACY) == []
        assert len(journal.writer) == 0
        assert await stored(journal) == [("order", "1", "a")]
        assert tally.identity_conflicts == 0


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("other", [("1", "b"), ("2", "a")])
async def test_a_contradiction_is_refused_and_counted(
    tmp_path: Path, other: tuple[str, str], restarted: bool
) -> None:
    async with knowing(tmp_path, *[("1", "a")] * restarted) as (identities, journal, tally):
        if not restarted:
            identities.learn(Pair("order", "1", "a"), LEGACY)
        pair = Pair("order", *other)
        await identities.recall((pair,), LEGACY)
        assert identities.learn(pair, LEGACY) == []
        assert tally.identity_conflicts == 1
        assert await identities.find(LEGACY, (("order", "1"),)) == {("order", "1"): "a"}
        assert await identities.find(NEW, (("order", "a"),)) == {("order", "a"): "1"}
        assert await stored(journal) == [("order", "1", "a")]


async def test_the_same_value_of_another_kind_is_no_contradiction(tmp_path: Path) -> None:
    async with knowing(tmp_path, ("1", "a")) as (identities, journal, tally):
        pair = Pair("note", "1", "b")
        await identities.recall((pair,), LEGACY)
        identities.learn(pair, LEGACY)
        assert tally.identity_conflicts == 0
        assert await stored(journal) == [("note", "1", "b"), ("order", "1", "a")]


async def test_a_value_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    async with knowing(tmp_path) as (identities, journal, tally):
        pair = Pair("order", "1", "\ud800")
        await identities.recall((pair,), LEGACY)
        assert identities.learn(pair, LEGACY) == []
        assert tally.identity_conflicts == 1
        assert await identities.find(NEW, (("order", "\ud800"), ("order", "?"))) == {}
        assert await stored(journal) == []


async def test_who_waits_for_an_identity_comes_back_when_it_is_learned(tmp_path: Path) -> None:
    async with knowing(tmp_path) as (identities, _, _):
        first, second, other = (an_intent("a") for _ in range(3))
        assert identities.wait(first, LEGACY, ("order", "1"))
        assert identities.wait(second, NEW, ("order", "a"))
        assert identities.wait(other, LEGACY, ("order", "2"))
        assert identities.learn(Pair("order", "1", "a"), LEGACY) == [first, second]
        assert identities.learn(Pair("order", "1", "a"), LEGACY) == []
        assert not identities.wait(first, LEGACY, ("order", "1"))


async def test_who_waits_no_more_does_not_come_back(tmp_path: Path) -> None:
    async with knowing(tmp_path) as (identities, _, _):
        gone, stays = an_intent("a"), an_intent("b")
        for intent in (gone, stays):
            identities.wait(intent, LEGACY, ("order", "1"))
        identities.forget(gone, LEGACY, ("order", "1"))
        assert identities.learn(Pair("order", "1", "a"), LEGACY) == [stays]


async def test_what_the_disk_refused_is_known_all_the_same(tmp_path: Path) -> None:
    async with knowing(tmp_path) as (identities, journal, _):
        await disk_broken(journal)
        identities.learn(Pair("order", "1", "a"), LEGACY)
        await journal.writer.call(lambda _: None)
        assert await identities.find(LEGACY, (("order", "1"),)) == {("order", "1"): "a"}
        await disk_broken(journal, broken=False)
        journal.sweep()
        assert await stored(journal) == [("order", "1", "a")]
