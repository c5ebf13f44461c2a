"""The report: losses, order and differences are computed from what both sides hold."""

import json
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO

from rich.console import Console

from proxy.demo.report import (
    Books,
    Outage,
    Report,
    State,
    answers,
    as_json,
    books,
    compare_state,
    number,
    numbers,
    render,
    table,
)

EQUAL = State(lost=(), doubled=(), out_of_order=(), differing={})
GROUP = {
    "route": "change order",
    "path": "/body/status",
    "kind": "value",
    "count": 12,
    "sample": "9",
}
EXAMPLE = {
    "method": "PATCH",
    "target": "/orders/7",
    "primary": {"side": "legacy", "status": 200, "body": '{"id": 7, "status": "cancelled"}'},
    "secondary": {"side": "new", "status": 200, "body": {"id": "u-1", "status": "canceled"}},
    "differences": [
        {"path": "/body/status", "kind": "value", "primary": "cancelled", "secondary": "canceled"}
    ],
}
REPORT = Report(
    requests=100,
    seconds=2.0,
    answers={"PATCH 200": 100},
    accepted=90,
    mirrored=90,
    outage=Outage(seconds=1.5, owed=40, catch_up_seconds=0.5, caught_up=True),
    state=EQUAL,
    books=Books(accepted=95, intents={"done": 90, "p_rejected": 5, "dead": 0}, skipped={}),
    groups=[GROUP],
    example=EXAMPLE,
    admin_url="http://127.0.0.1:9090",
    diffs_command="twinwrite diffs list",
)


def dumped(history: Mapping[str, list[str]], **kinds: object) -> dict[str, object]:
    entries = {name: [{"reference": m} for m in marks] for name, marks in history.items()}
    return {"customers": {}, "orders": {}, "history": entries, **kinds}


def printed(report: Report) -> str:
    out = StringIO()
    render(report, Console(file=out, width=100))
    return out.getvalue()


def test_an_answered_write_that_one_side_lacks_is_lost() -> None:
    both, less = dumped({"order A": ["r1", "r2"]}), dumped({"order A": ["r1"]})
    assert compare_state({"r1": 1, "r2": 1}, both, less).lost == ("r2",)
    assert compare_state({"r1": 1, "r2": 1}, less, both).lost == ("r2",)
    assert compare_state({"r1": 1, "r2": 1}, both, both).lost == ()


def test_a_write_answered_twice_must_be_there_twice() -> None:
    once, twice = dumped({"order A": ["r1"]}), dumped({"order A": ["r1", "r1"]})
    assert compare_state({"r1": 2}, twice, once).lost == ("r1",)
    assert compare_state({"r1": 1}, once, twice).doubled == ("r1",)
    assert compare_state({"r1": 2}, twice, twice) == EQUAL


def test_another_order_of_the_same_writes_is_told() -> None:
    one, other = dumped({"order A": ["r1", "r2"]}), dumped({"order A": ["r2", "r1"]})
    state = compare_state({"r1": 1, "r2": 1}, one, other)
    assert (state.lost, state.out_of_order) == ((), ("order A",))


def test_stored_fields_that_differ_are_counted_by_kind_and_name() -> None:
    one = dumped({}, orders={"A": {"total": 1.5, "note": ""}, "B": {"total": 2}})
    other = dumped({}, orders={"A": {"total": 1, "note": ""}, "C": {"total": 2}})
    found = compare_state({}, one, other).differing
    assert found == {"orders.total": 1, "orders (missing)": 2}


def test_the_books_are_added_up() -> None:
    status = {"accepted": 7, "intents": {"done": 4, "p_rejected": 2}, "skipped": {"route": 1}}
    assert books(status).balanced
    assert not books({**status, "accepted": 8}).balanced


def test_missing_numbers_in_json_are_nothing() -> None:
    assert (number({}, "rows"), table({"a": 3}, "a"), numbers({"a": {"b": "x"}}, "a")) == (
        0,
        {},
        {},
    )


def test_answers_are_named_by_method_and_status() -> None:
    assert answers({("PUT", 200): 3, ("GET", 404): 1}) == {"GET 404": 1, "PUT 200": 3}


def test_a_report_is_good_only_with_nothing_lost_and_all_caught_up() -> None:
    assert REPORT.good
    assert not replace(REPORT, state=replace(EQUAL, lost=("r1",))).good
    assert not replace(REPORT, outage=replace(REPORT.outage, caught_up=False)).good


def test_the_json_report_holds_the_numbers_and_the_verdict() -> None:
    found = json.loads(as_json(REPORT))
    assert found["good"] is True
    assert found["state"]["lost_count"] == 0
    assert found["books"]["balanced"] is True
    assert found["groups"] == [GROUP]
    assert found["outage"]["owed"] == 40


def test_the_printed_report_shows_one_example_side_by_side() -> None:
    text = printed(REPORT)
    assert "PATCH /orders/7" in text
    line = next(line for line in text.splitlines() if "canceled" in line)
    assert '"cancelled"' in line
    assert "95 accepted = 90 done + 5 p_rejected" in text
    assert "Both sides hold the same data." in text


def test_the_printed_report_names_what_is_wrong() -> None:
    bad = State(lost=("r9",), doubled=(), out_of_order=(), differing={"orders.total": 3})
    account = Books(accepted=9, intents={"done": 1}, skipped={})
    text = printed(replace(REPORT, state=bad, books=account, example=None))
    assert "1: r9" in text
    assert "9 accepted IS NOT 1 done" in text
    assert "orders.total (3)" in text


def test_a_body_that_is_not_json_is_shown_as_it_is() -> None:
    raw = {"side": "new", "status": 500, "body": "oops"}
    text = printed(replace(REPORT, example={**EXAMPLE, "secondary": raw}))
    assert '"oops"' in text
