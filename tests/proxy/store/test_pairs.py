"""The identities in the file: found from either side, with what they contradict."""

from pathlib import Path

from proxy.store.intent import Identity
from rules.message import Side
from tests.proxy.samples import opened, written


async def test_an_identity_is_found_from_either_side(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        known = Identity("order", "1", "a")
        journal.pairs.learn(known, "reply")
        await written(journal)
        assert await journal.pairs.find("order", Side.LEGACY, "1") == known
        assert await journal.pairs.find("order", Side.NEW, "a") == known
        for kind, side, value in (
            ("order", Side.LEGACY, "a"), ("order", Side.NEW, "1"), ("note", Side.LEGACY, "1"),
        ):  # fmt: skip
            assert await journal.pairs.find(kind, side, value) is None


async def test_what_a_new_identity_would_contradict_is_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        known = [
            Identity("order", "1", "a"),
            Identity("order", "2", "b"),
            Identity("note", "1", "c"),
        ]
        for each in known:
            journal.pairs.learn(each, "reply")
        await written(journal)
        assert await journal.pairs.contradicted([Identity("order", "1", "b")]) == known[:2]
        assert await journal.pairs.contradicted([Identity("order", "9", "z")]) == []


async def test_a_value_that_is_no_unicode_is_not_known(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        journal.pairs.learn(Identity("order", "?", "a"), "reply")
        await written(journal)
        assert await journal.pairs.find("order", Side.LEGACY, "\ud800") is None
