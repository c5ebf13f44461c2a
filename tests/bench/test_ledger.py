"""The ledger's bench, on a small ledger and without its clock: every query that it times has an answer."""

from pathlib import Path

from bench.ledger import build, queries
from proxy.store import ledger_reader as reader


async def test_every_query_that_is_timed_finds_something(tmp_path: Path) -> None:
    await build(tmp_path, 2400)
    assert reader.last_id(tmp_path) == 2400
    empty = {name for name, call in queries(tmp_path) if call() in ([], {}, ([], 0), None)}
    assert empty == {"search, a word of no row", "rules"}
