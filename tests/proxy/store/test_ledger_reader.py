"""The ledger's reader: what the command line sees, also while a sidecar runs."""

import json
from pathlib import Path

from proxy.store import ledger_reader as reader
from proxy.store.ledger import Ledger, Sample
from rules.compare import Verdict, VerdictKind
from rules.diff import Class, Difference
from tests.proxy.samples import Clock, until

EVIDENCE = {
    "request": {"method": "PUT", "target": "/a", "headers": [], "body": ""},
    "primary": {"side": "legacy", "status": 200, "headers": [], "body": "1"},
    "secondary": {"side": "new", "status": 200, "headers": [], "body": "2"},
}


async def a_ledger(directory: Path) -> Ledger:
    ledger = await Ledger.open(directory, 100, Clock())
    difference = Difference(path=("body", "a"), kind=Class.VALUE, primary="1", secondary="2")
    verdict = Verdict(kind=VerdictKind.MISMATCH, reason="body", differences=(difference,))
    for route, times in (("notes", 1), ("orders", 2)):
        sample = Sample(
            intent=7, route=route, category="default", method="PUT", target="/a", verdict=verdict,
            differences=(difference,), evidence=json.dumps(EVIDENCE),
        )  # fmt: skip
        for _ in range(times):
            ledger.keep(sample)
            ledger.count(route, "mismatch")
        ledger.count(route, "match")
    ledger.sweep()
    await until(lambda: not len(ledger.writer))
    await ledger.writer.call(lambda _: None)
    return ledger


async def test_groups_come_most_frequent_first(tmp_path: Path) -> None:
    ledger = await a_ledger(tmp_path)
    found = reader.groups(tmp_path)
    assert [(each["route"], each["count"]) for each in found] == [("orders", 2), ("notes", 1)]
    assert (found[0]["path"], found[0]["kind"], found[0]["sample"]) == ("/body/a", "value", 3)
    assert [each["route"] for each in reader.groups(tmp_path, route="notes")] == ["notes"]
    assert len(reader.groups(tmp_path, limit=1)) == 1
    await ledger.close()


async def test_verdicts_are_summed_by_route(tmp_path: Path) -> None:
    ledger = await a_ledger(tmp_path)
    assert reader.verdicts(tmp_path) == [
        {"route": "notes", "verdict": "match", "count": 1},
        {"route": "notes", "verdict": "mismatch", "count": 1},
        {"route": "orders", "verdict": "match", "count": 1},
        {"route": "orders", "verdict": "mismatch", "count": 2},
    ]
    await ledger.close()


async def test_a_sample_comes_in_full_and_once(tmp_path: Path) -> None:
    await (await a_ledger(tmp_path)).close()
    found = reader.sample(tmp_path, 2)
    assert found is not None
    assert {name: found[name] for name in EVIDENCE} == EVIDENCE
    assert found["differences"] == [
        {"path": "/body/a", "kind": "value", "primary": "1", "secondary": "2"}
    ]
    assert (found["id"], found["route"], found["intent"]) == (2, "orders", 7)
    assert "evidence" not in found


async def test_a_sample_that_is_not_kept_is_none(tmp_path: Path) -> None:
    await (await a_ledger(tmp_path)).close()
    assert reader.sample(tmp_path, 99) is None
