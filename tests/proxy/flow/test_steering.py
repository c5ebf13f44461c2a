"""A person's decisions through a whole sidecar: each once, durable, refused where it would do harm."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.json import encode

from proxy.flow.steering import Action, Document, edited
from rules.fate import State
from rules.framing import Refusal
from rules.message import Request
from tests.proxy.flow.foreground import Sidecar, sidecar
from tests.proxy.flow.scripted import Answer, Fault, Gate
from tests.proxy.samples import a_request, disk_broken, hanging, journaled, rows, until

ROUTE = """
[[routes]]
name = "things"
path = "/things/{id}"
entity_key = ["path:id"]
"""
LANELESS = ROUTE.replace('entity_key = ["path:id"]', 'ordering = "none"')
SKIP = ROUTE + '[delivery]\non_dead = "skip"\n'
REFUSED = Answer(status=422)
WHO = {"by": "ada", "reason": "seen"}
SPOOLED = {"LISTEN_SPOOL_MEMORY_BYTES_MAX": "4"}


async def act(car: Sidecar, path: str, **document: object) -> Document:
    told = await actions(car)[path](encode(document))
    assert not isinstance(told, Refusal), told
    return told


def actions(car: Sidecar) -> Mapping[str, Action]:
    return car.app._actions(car.app.journal).by_path


async def refused(car: Sidecar, path: str, **document: object) -> str:
    told = await act(car, path, **document)
    assert (told["changed"], told["unchanged"]) == ([], [])
    (only,) = told["refused"]
    return str(only["detail"])


async def buried(car: Sidecar, *targets: str, count: int = 1) -> None:
    for target in targets:
        await car.ask("PUT", target, b'{"a": 1}')
    await until(lambda: car.app.tally.states[State.DEAD] == count)


def told_events(car: Sidecar) -> list[dict[str, Any]]:
    sql = "SELECT details FROM events WHERE event = 'steered'"
    return [
        json.loads(row["details"]) for row in rows(car.app.journal.directory / "ledger.db", sql)
    ]


async def ledger_written(car: Sidecar) -> None:
    assert car.app._ledger is not None
    writer = car.app._ledger.writer
    writer.nudge()
    await until(lambda: not len(writer))
    await writer.call(lambda _: None)


async def test_a_dead_letter_is_sent_again_before_what_waited_behind_it(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        await car.ask("PUT", "/things/1", b"later")
        told = await act(car, "/dead/retry", ids=[1])
        await car.done(2)
        await car.idle()

        assert [each["id"] for each in told["changed"]] == [1]
        assert [seen.body for seen in car.new.seen] == [b'{"a": 1}', b'{"a": 1}', b"later"]
        again = await act(car, "/dead/retry", ids=[1, 1])
        assert again["unchanged"] == [{"id": 1, "state": "done"}]
        assert len(car.new.seen) == 3


async def test_an_overtaken_letter_is_sent_only_out_of_order(tmp_path: Path) -> None:
    async with sidecar(tmp_path, SKIP) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        await car.ask("PUT", "/things/1", b"later")
        await car.done()

        assert "went on without it" in await refused(car, "/dead/retry", ids=[1])
        await act(car, "/dead/retry", ids=[1], out_of_order=True)
        await car.done(2)
        await car.idle()
        assert [seen.body for seen in car.new.seen] == [b'{"a": 1}', b"later", b'{"a": 1}']


async def test_a_letter_without_a_lane_is_sent_again(tmp_path: Path) -> None:
    async with sidecar(tmp_path, LANELESS) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        await act(car, "/dead/retry", ids=[1])
        await car.done()
        await car.idle()


async def test_what_is_waived_says_by_whom_and_why_and_its_lane_goes_on(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        await car.ask("PUT", "/things/1", b"later")
        told = await act(car, "/dead/waive", ids=[1], **WHO)
        await car.done()
        await car.idle()
        await ledger_written(car)

        assert told["changed"] == [{"id": 1, "state": "waived"}]
        assert journaled(car.app.journal.directory)[1]["reason"] == "waived by ada: seen"
        assert told_events(car) == [
            {"intent": "1", "action": "waive", "by": "ada", "reason": "seen", "route": "things"}
        ]
        again = await act(car, "/dead/waive", ids=[1], **WHO)
        assert again["unchanged"] == [{"id": 1, "state": "waived"}]
        assert "it is waived, not dead" in await refused(car, "/dead/retry", ids=[1])


async def test_an_edited_letter_is_durable_and_sent_as_edited(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        head = (
            "PATCH /things/2?x=1 HTTP/1.1\r\nHost: shop\r\nX-Fixed: 1\r\nContent-Length: 99\r\n\r\n"
        )
        body = b64encode(b"fixed").decode()
        await act(car, "/dead/edit", id=1, by="ada", head=head, body=body)
        await car.done()
        await car.idle()

        seen = car.new.seen[-1]
        assert (seen.method, seen.target, seen.body) == ("PATCH", "/things/2?x=1", b"fixed")
        assert (seen.headers["x-fixed"], seen.headers["content-length"]) == ("1", "5")
        first = car.new.seen[0].headers["idempotency-key"]
        assert seen.headers["idempotency-key"].startswith(f"{first}-")  # another request


async def test_a_key_that_a_person_gives_is_taken(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        head = "PUT /things/1 HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: mine\r\n\r\n"
        await act(car, "/dead/edit", id=1, by="ada", head=head)
        await car.done()
        await car.idle()

        assert car.new.seen[-1].headers["idempotency-key"] == "mine"


async def test_an_edit_that_takes_the_clients_key_away_gets_one_of_its_own(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        base = car.new.seen[0].headers["idempotency-key"]
        first = "PUT /things/1 HTTP/1.1\r\nHost: shop\r\n"
        car.new.will("/things/1", REFUSED)
        await act(car, "/dead/edit", id=1, by="ada", head=f"{first}Idempotency-Key: mine\r\n\r\n")
        await until(lambda: len(car.new.seen) == 2 and car.app.tally.states[State.DEAD] == 1)
        await act(car, "/dead/edit", id=1, by="ada", head=f"{first}\r\n")
        await car.done()
        await car.idle()

        assert car.new.seen[-1].headers["idempotency-key"].startswith(f"{base}-")


async def test_an_edited_letter_survives_a_restart(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE, LISTEN_SPOOL_MEMORY_BYTES_MAX="4") as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        assert len(car.spools()) == 1
        car.new.always = Answer(status=503)
        await act(car, "/dead/edit", id=1, by="ada", body=b64encode(b"fixed").decode())
        await until(lambda: len(car.new.seen) == 2)
        assert car.spools() == []
    async with sidecar(tmp_path, ROUTE) as car:
        await car.done()
        await car.idle()

        assert [seen.body for seen in car.new.seen] == [b"fixed"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"head": "PUT /elsewhere HTTP/1.1\r\nHost: shop\r\n\r\n"}, "does not match /elsewhere"),
        ({"head": "PUT /things/1\r\n\r\n"}, "the head: "),
        ({"head": "PUT /things/\u20ac HTTP/1.1\r\n\r\n"}, "Latin-1"),
        ({"head": ""}, "the head: "),
    ],
)
async def test_an_edit_that_makes_no_request_of_its_route_changes_nothing(
    tmp_path: Path, change: dict[str, str], why: str
) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")

        assert why in await refused(car, "/dead/edit", id=1, by="ada", **change)
        assert (car.states(), len(car.new.seen)) == ({"dead": 1}, 1)


@pytest.mark.parametrize(
    ("path", "document", "why"),
    [
        ("/dead/retry", b"{", "truncated"),
        ("/dead/retry", b'{"ids": []}', "length >= 1"),
        ("/dead/retry", b'{"ids": [1], "force": true}', "unknown field"),
        ("/dead/waive", b'{"ids": [1], "by": "ada"}', "reason"),
        ("/dead/waive", b'{"ids": [1], "by": " ", "reason": "x"}', "regex"),
        ("/dead/edit", b'{"id": 1, "by": "ada", "body": "?"}', "base64"),
        ("/unknown/settle", b'{"ids": [1], "outcome": "x", "by": "a", "reason": "b"}', "enum"),
    ],
)
async def test_a_document_that_is_not_understood_is_400(
    tmp_path: Path, path: str, document: bytes, why: str
) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        told = await actions(car)[path](document)

        assert isinstance(told, Refusal)
        assert told.status == 400
        assert why in told.detail


async def test_an_intent_that_is_not_there_or_not_dead_is_refused(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        await unknown_one(car)
        told = await act(car, "/dead/retry", ids=[1, 7])

        assert [(each["status"], each["detail"]) for each in told["refused"]] == [
            (409, "it is unknown, not dead"),
            (404, "the journal has no such intent that is dead"),
        ]


async def test_a_journal_that_refuses_is_503(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        await car.idle()
        await disk_broken(car.app.journal)
        told = await act(car, "/dead/edit", id=1, by="ada", body="")
        await disk_broken(car.app.journal, broken=False)

        assert [each["status"] for each in told["refused"]] == [503]
        assert car.states() == {"dead": 1}


async def test_while_the_disk_refuses_a_letter_is_sent_again_once(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        await car.idle()
        await disk_broken(car.app.journal)
        for _ in range(2):  # nobody can tell a person that the first time was enough
            told = await act(car, "/dead/retry", ids=[1])
            assert [each["status"] for each in told["refused"]] == [503]
        await until(lambda: len(car.new.seen) == 2)
        await disk_broken(car.app.journal, broken=False)
        await car.done()
        await car.idle()

        assert (car.states(), len(car.new.seen)) == ({"done": 1}, 2)
        assert (await act(car, "/dead/retry", ids=[1]))["unchanged"]


async def test_while_the_disk_refuses_nobody_is_told_that_a_letter_is_waived(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        await car.idle()
        await disk_broken(car.app.journal)
        waive = await act(car, "/dead/waive", ids=[1], **WHO)
        retry = await act(car, "/dead/retry", ids=[1])
        await disk_broken(car.app.journal, broken=False)
        await car.idle()

        assert [each["status"] for each in waive["refused"] + retry["refused"]] == [503, 503]
        assert (car.states(), len(car.new.seen)) == ({"waived": 1}, 1)
        assert (await act(car, "/dead/waive", ids=[1], **WHO))["unchanged"]


async def test_a_spooled_letter_is_waived_and_one_that_is_done_is_told(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE, **SPOOLED) as car:
        for target in ("/things/1", "/things/2"):
            car.new.will(target, REFUSED)
        await buried(car, "/things/1", "/things/2", count=2)
        await act(car, "/dead/retry", ids=[1])
        await car.done()
        told = await act(car, "/dead/waive", ids=[2], **WHO)
        await car.idle()
        again = await act(car, "/dead/retry", ids=[1])
        settled = await act(car, "/unknown/settle", ids=[2], outcome="waive", **WHO)

        assert told["changed"] == [{"id": 2, "state": "waived"}]
        assert again["unchanged"] == [{"id": 1, "state": "done"}]
        assert settled["unchanged"] == [{"id": 2, "state": "waived"}]
        assert car.spools() == []


async def test_a_spooled_letter_whose_edit_the_disk_refused_is_sent_as_it_was(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path, ROUTE, **SPOOLED) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        await car.idle()
        await disk_broken(car.app.journal)
        edit = {"id": 1, "by": "ada", "body": b64encode(b"fixed").decode()}
        told = await act(car, "/dead/edit", **edit)
        await disk_broken(car.app.journal, broken=False)
        await until(lambda: not car.app.journal.fails)
        await act(car, "/dead/retry", ids=[1])
        await car.done()
        await car.idle()

        assert [each["status"] for each in told["refused"]] == [503]
        assert [seen.body for seen in car.new.seen] == [b'{"a": 1}', b'{"a": 1}']


async def test_a_letter_that_the_config_does_not_let_through_can_only_be_waived(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.new.will("/things/1", REFUSED)
        await buried(car, "/things/1")
        await car.idle()
    async with sidecar(tmp_path, ROUTE, STAGE="dual_new_primary") as car:
        assert "makes the primary" in await refused(car, "/dead/retry", ids=[1])
        assert (await act(car, "/dead/waive", ids=[1], **WHO))["changed"]


async def unknown_one(car: Sidecar, target: str = "/things/1") -> None:
    car.legacy.will(target, Fault.RESET)
    await car.ask("PUT", target, b"x", "Idempotency-Key: k\r\n")
    await car.idle()


async def settle(car: Sidecar, outcome: str, **more: object) -> Document:
    return await act(car, "/unknown/settle", ids=[1], outcome=outcome, **WHO, **more)


async def test_what_has_been_settled_takes_no_room_any_more(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        await unknown_one(car)
        assert car.app.tally.stuck_bytes > 0
        await settle(car, "applied")
        await car.idle()
        assert (car.app.tally.stuck_bytes, car.app.tally.backlog_bytes) == (0, 0)


async def test_what_was_applied_goes_to_the_secondary_and_is_not_compared(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        await unknown_one(car)
        told = await settle(car, "applied")
        await car.done()
        await car.idle()
        await ledger_written(car)

        assert [each["id"] for each in told["changed"]] == [1]
        assert [seen.body for seen in car.new.seen] == [b"x"]
        (verdict,) = rows(car.app.journal.directory / "ledger.db", "SELECT * FROM verdicts")
        assert (verdict["verdict"], verdict["reason"]) == ("not_comparable", "no_primary_reply")
        assert [each["reason"] for each in told_events(car)] == ["applied: seen"]
        assert (await settle(car, "applied"))["unchanged"] == [{"id": 1, "state": "done"}]
        assert (await settle(car, "rejected"))["refused"]
        assert (await car.ask("PUT", "/things/1", b"y", "Idempotency-Key: k\r\n")).status == 422


async def test_what_was_not_applied_or_does_not_matter_is_closed(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        await unknown_one(car)
        car.legacy.will("/things/2", Fault.RESET)
        await car.ask("PUT", "/things/2")
        await settle(car, "rejected")
        await act(car, "/unknown/settle", ids=[2], outcome="waive", **WHO)
        await car.idle()

        assert car.states() == {"p_rejected": 1, "waived": 1}
        assert (car.new.seen, len(car.app.unknown)) == ([], 0)
        assert (await settle(car, "rejected"))["unchanged"]
        free = await car.ask("PUT", "/things/1", b"y", "Idempotency-Key: k\r\n")
        assert free.status == 200


async def test_an_overtaken_one_is_settled_as_applied_only_out_of_order(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        await unknown_one(car)
        await car.ask("PUT", "/things/1", b"later")
        await car.done()

        assert "went on without it" in (await settle(car, "applied"))["refused"][0]["detail"]
        await settle(car, "applied", out_of_order=True)
        await car.done(2)
        await car.idle()
        assert [seen.body for seen in car.new.seen] == [b"later", b"x"]


async def test_a_damaged_one_is_not_sent_and_can_be_waived(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        await unknown_one(car)
        sql = "UPDATE intents SET digest = x'00'"
        await car.app.journal.writer.call(lambda db: db.execute(sql))

        assert "digest differs" in (await settle(car, "applied"))["refused"][0]["detail"]
        assert car.states() == {"unknown": 1}
        assert (await settle(car, "waive"))["changed"] == [{"id": 1, "state": "waived"}]


@pytest.mark.parametrize("outcome", ["applied", "rejected", "waive"])
async def test_while_the_primary_is_asked_again_what_it_says_counts_not_what_a_person_knew(
    tmp_path: Path, outcome: str
) -> None:
    async with sidecar(tmp_path, ROUTE + "reask = true\n", DELIVERY_BACKOFF_FIRST_MS="1") as car:
        gate = Gate()
        car.legacy.will("/things/1", Fault.RESET, gate)
        await car.ask("PUT", "/things/1", b"x")
        await until(lambda: gate.held)
        told = await settle(car, outcome)
        assert [each["status"] for each in told["refused"]] == [409]
        gate.open()
        await car.done()
        assert [seen.body for seen in car.new.seen] == [b"x"]


async def test_what_a_later_write_overtakes_while_it_is_read_is_not_settled_as_applied(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path, ROUTE, **SPOOLED) as car:
        car.legacy.will("/things/1", Fault.RESET)
        await car.ask("PUT", "/things/1", b"older")
        await car.idle()
        (spool,) = car.spools()
        async with hanging(spool) as is_read:
            settling = asyncio.create_task(settle(car, "applied"))
            await until(is_read)
            assert (await car.ask("PUT", "/things/1", b"new")).status == 200
            await car.done()
        told = await settling
        await car.idle()

        assert [each["status"] for each in told["refused"]] == [409]
        assert car.states() == {"unknown": 1, "done": 1}
        assert (await settle(car, "applied", out_of_order=True))["changed"]
        await car.done(2)
        await car.idle()
        assert [seen.body for seen in car.new.seen] == [b"new", b"older"]


def test_an_edit_is_framed_anew() -> None:
    chunked = Request(
        method="PUT", target="/a", head=b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        body=b"1\r\nx\r\n0\r\n\r\n", chunked=True,
    )  # fmt: skip
    same = edited(chunked, None, None)
    empty = edited(a_request("PUT", "/a", b"x"), None, b"")
    bare = edited(a_request("DELETE", "/a"), None, None)

    assert isinstance(same, Request)
    assert isinstance(empty, Request)
    assert isinstance(bare, Request)
    assert (same.body, same.chunked) == (b"x", False)
    assert same.head == b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"
    assert (empty.body, b"Content-Length: 0" in empty.head) == (b"", True)
    assert b"Content-Length" not in bare.head
