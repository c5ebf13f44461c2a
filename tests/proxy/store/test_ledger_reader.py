"""The ledger's reader: what the command line sees, also while a sidecar runs, and that it looks things up."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from proxy.control.evidence import Ledger as Settings
from proxy.store import ledger_reader as reader
from proxy.store import ledger_schema as schema
from proxy.store.batch import StoreError
from proxy.store.ledger import Ledger, Sample
from proxy.store.ledger_reader import PAGE_IDS, Chosen
from rules.compare import Verdict, VerdictKind
from rules.difference import Class, Difference
from tests.proxy.samples import Clock, until

HOUR = 1_800_000_000.0 - 1_800_000_000.0 % 3600
EVIDENCE = {
    "request": {"method": "PUT", "target": "/a", "headers": [], "body": "haystack needle"},
    "primary": {"side": "legacy", "status": 200, "headers": [], "body": "1"},
    "secondary": {"side": "new", "status": 200, "headers": [], "body": "2"},
}
MATCH = Verdict(kind=VerdictKind.MATCH, reason="equal_bytes")


def differs(*path: str, kind: Class = Class.VALUE, values: tuple[str, str] = ("1", "2")) -> Verdict:
    primary, secondary = values
    found = Difference(path=path, kind=kind, primary=primary, secondary=secondary)
    return Verdict(kind=VerdictKind.MISMATCH, reason="body", differences=(found,))


def record(
    ledger: Ledger, verdict: Verdict, route: str = "orders", category: str = "default"
) -> int:
    """What `proxy.flow.evidence` does."""
    ledger.count(route, category, verdict)
    ledger.used(route, verdict.ignored)
    if verdict.kind in (VerdictKind.MATCH, VerdictKind.IGNORED):
        return 0
    wanted = ledger.group(route, category, verdict.differences)
    sample = Sample(
        intent=7, route=route, category=category, method="PUT", target=f"/{route}/1", verdict=verdict,
        differences=verdict.differences, evidence=json.dumps(EVIDENCE),
    )  # fmt: skip
    return ledger.keep(sample, wanted)


async def flushed(ledger: Ledger) -> None:
    ledger.sweep()
    await until(lambda: not len(ledger.writer))
    await ledger.writer.call(lambda _: None)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """One of "notes", an hour later two of "orders" in an array, a missing field, and an error."""
    clock = Clock(HOUR)
    opened = await Ledger.open(tmp_path, Settings(), clock)
    record(opened, MATCH, "notes")
    record(opened, differs("body", "a", values=('"café"', '"x-1"')), "notes", "critical")
    opened.sweep()
    clock.forward(3600)
    record(opened, differs("body", "items", "0", "id"))
    record(opened, differs("body", "items", "4", "id"))
    record(opened, differs("body", "gone", kind=Class.MISSING))
    record(opened, Verdict(kind=VerdictKind.ERROR, reason="timeout"))
    record(
        opened, Verdict(kind=VerdictKind.IGNORED, reason="differences_ignored", ignored=("/at",))
    )
    await flushed(opened)
    yield opened
    await opened.close()


@pytest.mark.usefixtures("ledger")
def test_groups_come_most_frequent_first(tmp_path: Path) -> None:
    found = [
        (g["route"], g["path"], g["kind"], g["count"], g["sample"]) for g in reader.groups(tmp_path)
    ]
    assert found == [
        ("orders", "/body/items/*/id", "value", 2, 3),
        ("notes", "/body/a", "value", 1, 1),
        ("orders", "/body/gone", "missing", 1, 4),
    ]
    assert len(reader.groups(tmp_path, limit=1)) == 1


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("chosen", "paths"),
    [
        (Chosen(route="notes"), ["/body/a"]),
        (Chosen(category="critical"), ["/body/a"]),
        (Chosen(kind="missing"), ["/body/gone"]),
        (Chosen(path="/body/items"), ["/body/items/*/id"]),
        (Chosen(path="/body/items/*/id"), ["/body/items/*/id"]),
        (Chosen(path="/body/go*"), ["/body/gone"]),
        (Chosen(path="/body/[g]one"), []),
        (Chosen(path="/bod"), []),
        (Chosen(since=HOUR + 3600), ["/body/items/*/id", "/body/gone"]),
        (Chosen(until=HOUR + 3600), ["/body/a"]),
        (Chosen(since=HOUR + 3600, kind="missing"), ["/body/gone"]),
        (Chosen(route="notes' OR 1 --"), []),
    ],
)
def test_groups_can_be_chosen(tmp_path: Path, chosen: Chosen, paths: list[str]) -> None:
    assert [each["path"] for each in reader.groups(tmp_path, chosen)] == paths


@pytest.mark.usefixtures("ledger")
def test_verdicts_are_summed(tmp_path: Path) -> None:
    found = [tuple(each.values()) for each in reader.verdicts(tmp_path)]
    assert found == [
        ("notes", "critical", "mismatch", "body", 1),
        ("notes", "default", "match", "equal_bytes", 1),
        ("orders", "default", "error", "timeout", 1),
        ("orders", "default", "ignored", "differences_ignored", 1),
        ("orders", "default", "mismatch", "body", 3),
    ]
    assert len(reader.verdicts(tmp_path, Chosen(verdict="mismatch"))) == 2


@pytest.mark.usefixtures("ledger")
def test_a_sample_comes_in_full(tmp_path: Path) -> None:
    found = reader.sample(tmp_path, 2)
    assert found is not None
    assert {name: found[name] for name in EVIDENCE} == EVIDENCE
    assert found["differences"] == [
        {"path": "/body/items/0/id", "kind": "value", "primary": "1", "secondary": "2"}
    ]
    assert (found["id"], found["route"], found["intent"]) == (2, "orders", 7)
    assert "evidence" not in found


@pytest.mark.usefixtures("ledger")
def test_a_sample_that_is_not_kept_is_none(tmp_path: Path) -> None:
    assert reader.sample(tmp_path, 99) is None


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [
        (Chosen(), [1, 2, 3, 4, 5]),
        (Chosen(route="notes"), [1]),
        (Chosen(verdict="error"), [5]),
        (Chosen(kind="missing"), [4]),
        (Chosen(path="/body/items/*/id"), [2, 3]),
        (Chosen(path="/body/items/4"), [3]),
        (Chosen(since=HOUR + 1), [2, 3, 4, 5]),
        (Chosen(until=HOUR + 1), [1]),
        (Chosen(since=HOUR + 7200), []),
    ],
)
def test_all_that_is_chosen_streams_in_order(
    tmp_path: Path, chosen: Chosen, numbers: list[int]
) -> None:
    assert [each["id"] for each in reader.stream(tmp_path, chosen)] == numbers
    whole = reader.stream(tmp_path, chosen, whole=True)
    assert [each["request"] for each in whole] == [EVIDENCE["request"]] * len(numbers)
    later = [each["id"] for each in reader.stream(tmp_path, chosen, after=2)]
    assert later == [number for number in numbers if number > 2]


async def test_a_long_ledger_streams_page_by_page_over_gaps(tmp_path: Path, ledger: Ledger) -> None:
    def more(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        numbers = (*range(10, 3 * PAGE_IDS), *range(10 * PAGE_IDS, 10 * PAGE_IDS + 5))
        for number in numbers:
            row = (
                number,
                HOUR,
                None,
                "bulk",
                "default",
                "mismatch",
                "body",
                "PUT",
                "/",
                "{}",
                "[]",
            )
            connection.execute(schema.VERDICT.sql, row)
        connection.execute("COMMIT")

    await ledger.writer.call(more)
    numbers = [each["id"] for each in reader.stream(tmp_path, Chosen(route="bulk"))]
    assert numbers == [*range(10, 3 * PAGE_IDS), *range(10 * PAGE_IDS, 10 * PAGE_IDS + 5)]
    assert [each["id"] for each in islice(reader.stream(tmp_path), 2)] == [1, 2]
    found, read = reader.search(tmp_path, "needle", Chosen(route="notes"), bodies=True)
    assert [each["id"] for each in found] == [1]
    assert read == len(numbers) + 5


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("text", "chosen", "numbers"),
    [
        ("café", Chosen(), [1]),
        ("CAFÉ", Chosen(), [1]),
        ("caf", Chosen(), []),
        ("x-1", Chosen(), [1]),
        ("items", Chosen(), [3, 2]),
        ("items notes", Chosen(), []),
        ("timeout", Chosen(), [5]),
        ("orders", Chosen(kind="missing"), [4]),
        ("", Chosen(path="/body/items/*/id"), [3, 2]),
        ("", Chosen(path="/body/items/4"), [3]),
        ("", Chosen(path="/body/go*"), [4]),
        ("", Chosen(verdict="error"), [5]),
        ("", Chosen(category="critical"), [1]),
        ("", Chosen(), [5, 4, 3, 2, 1]),
        ("orders", Chosen(since=HOUR + 3600), [5, 4, 3, 2]),
        ("body", Chosen(until=HOUR + 3600), [1]),
        ("body", Chosen(since=HOUR + 9999), []),
        ('" OR "x', Chosen(), []),
        ("* - (", Chosen(), []),
        ("-", Chosen(), [1]),
        ("notes -", Chosen(), [1]),
        ("orders -", Chosen(), []),
        ("orders _", Chosen(), []),
        ("NOT", Chosen(), []),
    ],
)
def test_search_finds_words_and_fields_latest_first(
    tmp_path: Path, text: str, chosen: Chosen, numbers: list[int]
) -> None:
    found, read = reader.search(tmp_path, text, chosen)
    assert ([each["id"] for each in found], read) == (numbers, 0)


@pytest.mark.usefixtures("ledger")
def test_bodies_are_read_through_where_they_are_asked_for(tmp_path: Path) -> None:
    assert reader.search(tmp_path, "needle") == ([], 0)
    found, read = reader.search(tmp_path, "needle", Chosen(route="orders"), 2, bodies=True)
    assert [each["id"] for each in found] == [5, 4]
    assert read == 5


async def test_without_a_full_text_index_rows_are_read_through(
    tmp_path: Path, ledger: Ledger
) -> None:
    await ledger.writer.call(lambda db: schema.make_searchable(db, fts5=False))
    for text, numbers in (
        ("items", [3, 2]),
        ("caf", [1]),
        ("100%", []),
        ("_", []),
        ("", [5, 4, 3, 2, 1]),
    ):
        found, read = reader.search(tmp_path, text)
        assert ([each["id"] for each in found], read) == (numbers, 5)


async def test_rows_of_before_the_index_are_found_too(tmp_path: Path, ledger: Ledger) -> None:
    await ledger.writer.call(lambda db: schema.make_searchable(db, fts5=False))
    await ledger.writer.call(lambda db: schema.make_searchable(db, fts5=True))
    record(ledger, differs("body", "items", "0", "id"))
    await flushed(ledger)
    found, read = reader.search(tmp_path, "items")
    assert ([each["id"] for each in found], read) == ([6, 3, 2], 5)
    assert reader.search(tmp_path, "items", limit=1)[1] == 0


@pytest.mark.parametrize(
    "text", ["first\nnowhere at 7", "a\tnowhere\r\nb", "C:\\nowhere", '"nowhere"']
)
async def test_a_word_behind_a_newline_or_a_backslash_is_found(
    tmp_path: Path, ledger: Ledger, text: str
) -> None:
    number = record(ledger, differs("body", text, values=(json.dumps(text), "1")))
    await flushed(ledger)
    found, read = reader.search(tmp_path, "nowhere")
    assert ([each["id"] for each in found], read) == ([number], 0)


async def test_the_last_number_never_goes_back(tmp_path: Path, ledger: Ledger) -> None:
    before = reader.last_id(tmp_path)
    await ledger.writer.call(lambda db: db.execute("DELETE FROM verdicts WHERE id > 2"))
    assert reader.last_id(tmp_path) == before == 5
    assert [each["id"] for each in reader.stream(tmp_path)] == [1, 2]
    assert list(reader.stream(tmp_path, after=before)) == []


@pytest.mark.usefixtures("ledger")
def test_hours_tell_what_became_of_comparisons(tmp_path: Path) -> None:
    first, second = reader.hours(tmp_path)
    assert (first["hour"], second["hour"]) == (HOUR, HOUR + 3600)
    assert (first["match"], first["mismatch"], first["compared"], first["found"]) == (1, 1, 2, 1)
    assert (second["ignored"], second["mismatch"], second["error"]) == (1, 3, 1)
    assert second["compared"] == 4
    (only,) = reader.hours(tmp_path, Chosen(since=HOUR + 3600, path="/body/items"))
    assert (only["found"], only["compared"]) == (2, 4)
    assert [each["found"] for each in reader.hours(tmp_path, Chosen(kind="missing"))] == [0, 1]
    assert reader.hours(tmp_path, Chosen(route="none")) == []


@pytest.mark.usefixtures("ledger")
def test_comparisons_are_counted_by_route(tmp_path: Path) -> None:
    assert reader.compared(tmp_path) == {"notes": 2, "orders": 4}
    assert reader.compared(tmp_path, Chosen(since=HOUR + 3600)) == {"orders": 4}


@pytest.mark.usefixtures("ledger")
def test_the_values_of_a_group_are_those_of_its_samples(tmp_path: Path) -> None:
    items, note, _ = reader.groups(tmp_path)
    values = [(each["primary"], each["secondary"]) for each in reader.members(tmp_path, items)]
    assert values == [("1", "2"), ("1", "2")]
    (only,) = reader.members(tmp_path, note)
    assert (only["path"], only["primary"], only["secondary"]) == ("/body/a", '"café"', '"x-1"')


@pytest.mark.usefixtures("ledger")
def test_rules_tell_how_often_and_when_last(tmp_path: Path) -> None:
    assert reader.rules(tmp_path) == [
        {"route": "orders", "rule": "/at", "count": 1, "last_hour": HOUR + 3600}
    ]
    assert reader.rules(tmp_path, Chosen(until=HOUR)) == []


async def test_a_search_goes_through_the_index_in_steps(tmp_path: Path, ledger: Ledger) -> None:
    more = 6 * reader.PAGE_IDS
    columns = "at, intent, route, category, verdict, reason, method, target, evidence, differences"
    sql = (
        f"INSERT INTO verdicts (id, {columns}) WITH RECURSIVE n (i) AS"
        " (SELECT 6 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        f" SELECT i, {columns} FROM n, verdicts WHERE id = 1"
    )
    await ledger.writer.call(lambda db: db.execute(sql, (more,)))
    for text, numbers in (
        ("items", [3, 2]),
        ("café", [*range(more, 5, -1), 1]),
        ("", list(range(more, 0, -1))),
    ):
        for limit in (1, 3, more):
            found, read = reader.search(tmp_path, text, limit=limit)
            assert ([each["id"] for each in found], read) == (numbers[:limit], 0)


async def test_no_query_goes_through_all_verdicts(tmp_path: Path, ledger: Ledger) -> None:
    """EXPLAIN QUERY PLAN: what grows with every mismatch is looked up, not scanned."""
    await ledger.writer.call(lambda db: db.execute("ANALYZE"))
    asked: list[str] = []
    chosen = Chosen(route="orders", path="/body/items", kind="value", since=HOUR, until=HOUR + 9999)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.set_trace_callback(asked.append)
        reader._indexed(connection, ["items"], chosen, (9, 0, 10))
        reader._indexed(connection, [], Chosen(), (9, 0, 10))
        reader._first_id(connection, HOUR)
        connection.set_trace_callback(None)
        own = [sql for sql in asked if "verdicts" in sql and not sql.startswith("--")]
        assert len(own) == 3
        own += [
            "SELECT max(id) FROM verdicts",
            "SELECT * FROM verdicts AS v WHERE v.id > 3 AND v.id <= 9 ORDER BY v.id",
            "SELECT max(verdict) FROM samples WHERE group_id = 1",
            "SELECT 1 FROM samples WHERE verdict = 1",
            "SELECT id FROM verdicts WHERE at < 9 ORDER BY at LIMIT 9",
            "SELECT sum(count) FROM counts WHERE hour >= 5",
            "SELECT hour, sum(count) FROM group_hours WHERE hour >= 5 AND group_id IN (1, 2)",
        ]
        for sql in own:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
            assert plan
            for step in plan:
                assert not step.startswith("SCAN") or "VIRTUAL TABLE" in step, (sql, plan)
            assert not any("ORDER BY" in step for step in plan), (sql, plan)


def test_a_directory_without_a_ledger_is_one_clear_line(tmp_path: Path) -> None:
    for look in (reader.groups, reader.verdicts, reader.hours, reader.rules, reader.last_id):
        with pytest.raises(StoreError, match="no such file; has a sidecar run with this journal"):
            look(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [1, 99])
async def test_a_file_of_another_version_is_one_clear_line(
    tmp_path: Path, ledger: Ledger, version: int
) -> None:
    await ledger.writer.call(
        lambda db: db.execute("UPDATE meta SET value = ? WHERE name = 'version'", (version,))
    )
    with pytest.raises(StoreError, match=f"format version {version}; this release reads 2"):
        reader.groups(tmp_path)
