"""Unknown outcomes through a whole sidecar: a retry, another try, a read-back; and what later writes forbid."""

import asyncio
import json
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from proxy.flow.unknown import AT_ONCE_MAX, REACHED_MAX
from rules.compare import VerdictKind
from rules.fate import State
from rules.probe import Ways
from tests.proxy.flow.foreground import Sidecar, sidecar
from tests.proxy.flow.scripted import Answer, Fault, Gate, Seen
from tests.proxy.samples import crashed, disk_broken, hanging, journaled, until

ROUTE = """
[[routes]]
name = "things"
path = "/things/{id}"
entity_key = ["path:id"]
"""
REASK = ROUTE + "reask = true\n"
PROBE = ROUTE + 'probe = "/state/{id}"\nprobe_equals = ["/name"]\n'
KEY = 'Idempotency-Key: "k1"\r\n'
FAST = {
    "DELIVERY_BACKOFF_FIRST_MS": "10", "DELIVERY_BACKOFF_MAX_MS": "20",
    "DELIVERY_PROBE_QUIET_SECONDS": "0",
}  # fmt: skip
NEVER = {"DELIVERY_BACKOFF_FIRST_MS": "86400000", "DELIVERY_BACKOFF_MAX_MS": "86400000"}
SICK = Answer(status=500)
OTHER = REASK.replace("things", "others")
SPOOLED = {"LISTEN_SPOOL_MEMORY_BYTES_MAX": "4"}
LONG = b"longer than that"


def rows(car: Sidecar) -> list[tuple[str, str]]:
    """State and reason of every intent, in the order of their ids."""
    found = journaled(car.app.journal.directory)
    return [(row["state"], row["reason"]) for row in found.values()]


def events(car: Sidecar, name: str) -> list[dict[str, object]]:
    told = [json.loads(line) for line in car.log.getvalue().splitlines()]
    return [each for each in told if each["event"] == name]


async def test_a_retry_under_the_same_key_takes_the_place_of_the_unknown_one(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.legacy.will("/things/1", Fault.RESET)
        first = await car.ask("PUT", "/things/1", b"x", KEY)
        second = await car.ask("PUT", "/things/1", b"x", KEY)
        await car.idle()

        assert (first.status, second.status) == (502, 200)
        assert car.states() == {"superseded": 1, "done": 1}
        assert [seen.headers["idempotency-key"] for seen in car.new.seen] == ['"k1"']
        assert rows(car)[0] == ("superseded", "by intent 2: the client sent it again")
        assert len(car.app.unknown) == 0


async def test_of_one_key_one_intent_is_unknown(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.legacy.will("/things/1", Fault.RESET, SICK)
        for _ in range(2):
            await car.ask("PUT", "/things/1", b"x", KEY)
        await car.idle()

        assert car.states() == {"superseded": 1, "unknown": 1}
        await car.ask("PUT", "/things/1", b"x", KEY)
        await car.idle()
        assert car.states() == {"superseded": 2, "done": 1}


async def test_a_retry_that_the_primary_refuses_settles_nothing(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.legacy.will("/things/1", Fault.RESET, Answer(status=409))
        await car.ask("PUT", "/things/1", b"x", KEY)
        await car.ask("PUT", "/things/1", b"x", KEY)
        await car.idle()

        assert car.states() == {"unknown": 1, "p_rejected": 1}


@pytest.mark.parametrize("step", [Fault.RESET, Answer()])
async def test_a_known_key_with_another_payload_is_422_and_nothing_is_sent(
    tmp_path: Path, step: Answer | Fault
) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.legacy.will("/things/1", step)
        await car.ask("PUT", "/things/1", b"x", KEY)
        got = await car.ask("PUT", "/things/1", b"y", KEY)
        other = await car.ask("PUT", "/things/2", b"x", KEY)

        assert (got.status, other.status, len(car.legacy.seen)) == (422, 422, 1)
        assert "was used for another request" in got.detail
        assert car.app.tally.states[State.ABORTED] == 2


async def test_an_answered_key_passes_again_with_the_same_payload(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        for _ in range(2):
            assert (await car.ask("PUT", "/things/1", b"x", KEY)).status == 200
        await car.idle()

        assert car.states() == {"done": 2}


async def test_a_key_whose_write_was_refused_is_free(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.legacy.will("/things/1", Answer(status=400))
        await car.ask("PUT", "/things/1", b"x", KEY)

        assert (await car.ask("PUT", "/things/1", b"y", KEY)).status == 200


@pytest.mark.parametrize("target", ["/things/1", "/elsewhere"])
async def test_a_key_in_flight_is_409_on_every_route(tmp_path: Path, target: str) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        gate = Gate()
        car.legacy.will("/things/1", gate)
        async with car.client() as client:
            client.ask("PUT", "/things/1", b"x", KEY)
            await until(lambda: gate.held)
            got = await car.ask("PUT", target, b"x", KEY)
            gate.open()
            assert (await client.reply()).status == 200
        await car.idle()

        assert (got.status, len(car.legacy.seen)) == (409, 1)
        assert car.states() == {"aborted": 1, "done": 1}


async def test_a_spooled_chunked_retry_is_recognised_however_it_is_chunked(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path, ROUTE, LISTEN_SPOOL_MEMORY_BYTES_MAX="10") as car:
        car.legacy.will("/things/1", Fault.RESET)
        head = f"PUT /things/1 HTTP/1.1\r\nHost: shop\r\n{KEY}Transfer-Encoding: chunked\r\n\r\n"
        for body in (
            b"10\r\n0123456789abcdef\r\n0\r\n\r\n",
            b"8\r\n01234567\r\n8\r\n89abcdef\r\n0\r\n\r\n",
        ):
            async with car.client() as client:
                client.send(head.encode() + body)
                await client.reply()
        await car.idle()

        assert car.states() == {"superseded": 1, "done": 1}
        assert car.spools() == []


async def test_a_write_is_asked_again_where_its_route_says_so(tmp_path: Path) -> None:
    async with sidecar(tmp_path, REASK, **FAST) as car:
        car.legacy.will("/things/1", Fault.RESET, SICK, Answer(body=b'{"a": 1}'))
        await car.ask("PUT", "/things/1", b"x")
        await car.done()
        await car.idle()

        one, two, three = car.legacy.seen
        assert one == two == three
        assert "idempotency-key" not in one.headers
        assert [seen.target for seen in car.new.seen] == ["/things/1"]
        assert [each["finding"] for each in events(car, "unknown_settled")] == ["applied"]
        assert (
            car.app.tally.verdicts[VerdictKind.MISMATCH] == 1
        )  # {"a": 1} and {}: a reply is compared


@pytest.mark.parametrize(
    ("method", "status", "expected", "reason"),
    [
        ("PUT", 400, "p_rejected", "asked again: 400"),
        ("DELETE", 404, "done", ""),
    ],
)
async def test_the_answer_to_the_second_try_settles_it(
    tmp_path: Path, method: str, status: int, expected: str, reason: str
) -> None:
    async with sidecar(tmp_path, REASK, **FAST) as car:
        car.legacy.will("/things/1", Fault.RESET, Answer(status=status))
        await car.ask(method, "/things/1")
        await until(lambda: car.app.tally.states[State(expected)] == 1)
        await car.idle()

        assert rows(car) == [(expected, reason)]


async def test_a_write_that_later_ones_have_overtaken_is_not_asked_again(tmp_path: Path) -> None:
    async with sidecar(tmp_path, REASK, **NEVER) as car:
        car.legacy.will("/things/1", Fault.RESET)
        await car.ask("PUT", "/things/1", b"x")
        await car.ask("PUT", "/things/2", b"y")
        assert car.app.unknown.lanes
        await car.ask("PUT", "/things/1", b"y")
        await car.idle()
        each, ways = car.app.unknown._all[1], Ways(reask=True)
        car.app.unknown._asking += 1
        await car.app.unknown._ask(each, ways)

        assert car.app.unknown.lanes == {}
        assert len(car.legacy.seen) == 3
        assert journaled(car.app.journal.directory)[1]["overtaken"] == 1


PAST_THE_JOURNAL = {
    "kill switch": ("", {"KILL_SWITCH": "1", "KILL": "drop"}),
    "category": ("[categories.default]\nmirror = false\n", {}),
    "percent": ("[categories.default]\npercent = 0\n", {}),
    "shadow": ("", {"STAGE": "shadow"}),
    "stage": ("", {"STAGE": "legacy_only"}),
}


@pytest.mark.parametrize(("toml", "settings"), PAST_THE_JOURNAL.values(), ids=PAST_THE_JOURNAL)
async def test_a_write_that_goes_past_the_journal_overtakes_what_is_unknown_of_its_entity(
    tmp_path: Path, toml: str, settings: dict[str, str]
) -> None:
    async with sidecar(tmp_path, REASK + OTHER, **NEVER) as car:
        for target in ("/things/1", "/others/1"):
            car.legacy.will(target, Fault.RESET)
            await car.ask("PUT", target, b"old")
        await car.idle()
    async with sidecar(tmp_path, REASK + OTHER + toml, **NEVER, **settings) as car:
        assert set(car.app.unknown.lanes) == {"things:1", "others:1"}
        assert (await car.ask("PUT", "/things/1", b"newer")).status == 200
        await car.idle()

        assert set(car.app.unknown.lanes) == {"others:1"}
        assert [row["overtaken"] for row in journaled(tmp_path).values()][:2] == [1, 0]
    async with sidecar(tmp_path, REASK + OTHER, **FAST) as car:
        await until(lambda: car.new.targets() == ["/others/1"])
        await car.idle()
        assert car.legacy.targets() == ["/others/1"]


@pytest.mark.parametrize("fields", ["", KEY])
async def test_a_write_in_a_gap_overtakes_what_is_unknown_of_its_entity(
    tmp_path: Path, fields: str
) -> None:
    full = {"JOURNAL_BACKLOG_ROWS_MAX": "1", "JOURNAL_ON_BACKLOG_FULL": "pause_mirroring"}
    async with sidecar(tmp_path, REASK, **NEVER, **full) as car:
        car.new.always = SICK
        for target in ("/things/1", "/things/2"):
            car.legacy.will(target, Fault.RESET)
            await car.ask("PUT", target, b"old")
        await car.ask("PUT", "/things/3", b"owed")
        assert (await car.ask("PUT", "/things/1", b"newer", fields)).status == 200
        assert car.app.unknown.lanes == {}  # which ones it concerns is not looked at
        await until(lambda: [row["overtaken"] for row in journaled(tmp_path).values()] == [1, 1, 0])


async def test_a_write_that_the_disk_does_not_take_overtakes_what_is_unknown_of_its_entity(
    tmp_path: Path,
) -> None:
    passing = {"JOURNAL_ON_JOURNAL_ERROR": "pass_through"}
    async with sidecar(tmp_path, REASK, **NEVER, **passing) as car:
        for target in ("/things/1", "/things/2"):
            car.legacy.will(target, Fault.RESET)
            await car.ask("PUT", target, b"old")
        await car.idle()
        await disk_broken(car.app.journal)
        assert (await car.ask("PUT", "/things/1", b"newer")).status == 200  # it finds out
        assert set(car.app.unknown.lanes) == {"things:2"}
        await until(lambda: car.app.capacity.hinders)
        assert (await car.ask("PUT", "/things/2", b"newer")).status == 200  # it is barred
        assert car.app.unknown.lanes == {}
        await disk_broken(car.app.journal, broken=False)
        await until(lambda: [row["overtaken"] for row in journaled(tmp_path).values()] == [1, 1])


async def test_a_later_write_waits_while_the_primary_is_asked_again(tmp_path: Path) -> None:
    async with sidecar(tmp_path, REASK, **FAST) as car:
        gate = Gate()
        car.legacy.will("/things/1", Fault.RESET, gate)
        await car.ask("PUT", "/things/1", b"x")
        await until(lambda: gate.held)
        async with car.client() as client:
            client.ask("PUT", "/things/1", b"y")
            await until(lambda: car.app.tally.in_flight == 1)
            gate.open()
            assert (await client.reply()).status == 200
        await car.idle()

        assert [seen.body for seen in car.legacy.seen] == [b"x", b"x", b"y"]
        assert [seen.body for seen in car.new.seen] == [b"x", b"y"]


async def test_a_primary_that_settles_nothing_is_left_alone_after_a_while(tmp_path: Path) -> None:
    async with sidecar(tmp_path, REASK, **FAST) as car:
        car.legacy.will("/things/1", *[SICK] * (REACHED_MAX + 5))
        await car.ask("PUT", "/things/1", b"x")
        await until(lambda: "unknown_left" in car.events(), 10)

        assert len(car.legacy.seen) == 1 + REACHED_MAX
        assert car.states() == {"unknown": 1}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Answer(body=b'{"name": "a", "id": 1}'), "done"),
        (Answer(body=b'{"name": "b"}'), "p_rejected"),
        (Answer(status=404), "p_rejected"),
    ],
)
async def test_a_probe_tells_whether_the_primary_applied_it(
    tmp_path: Path, found: Answer, expected: str
) -> None:
    async with sidecar(tmp_path, PROBE, **FAST) as car:
        car.legacy.will("/things/1", Fault.RESET)
        car.legacy.will("/state/1", SICK, found)
        await car.ask("PUT", "/things/1", b'{"name": "a"}', "Authorization: me\r\n")
        await until(lambda: car.app.tally.states[State(expected)] == 1)
        await car.idle()

        probes = [seen for seen in car.legacy.seen if seen.target == "/state/1"]
        assert [(seen.method, seen.headers["authorization"]) for seen in probes] == [
            ("GET", "me"), ("GET", "me"),
        ]  # fmt: skip
        assert len(car.new.seen) == (expected == "done")
        if expected == "done":  # nobody heard what the primary had said
            assert car.app.tally.verdicts[VerdictKind.NOT_COMPARABLE] == 1


async def test_not_applied_is_believed_only_when_the_primary_has_been_quiet(
    tmp_path: Path,
) -> None:
    settings = {**FAST, "DELIVERY_PROBE_QUIET_SECONDS": "0.3"}
    async with sidecar(tmp_path, PROBE, **settings) as car:
        loop = asyncio.get_running_loop()
        car.legacy.will("/things/1", Fault.RESET)
        car.legacy.will("/state/1", *[Answer(status=404)] * 1000)
        started = loop.time()
        await car.ask("PUT", "/things/1", b'{"name": "a"}')
        await until(lambda: car.app.tally.states[State.P_REJECTED] == 1)

        assert loop.time() - started >= 0.3


async def test_after_a_restart_a_retry_still_joins_and_the_route_still_asks(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.legacy.always = Fault.RESET
        await car.ask("PUT", "/things/1", b"x", KEY)
        await car.ask("PUT", "/things/2", b"y")
        await car.idle()
    async with sidecar(tmp_path, ROUTE) as car:
        await car.idle()
        assert (len(car.app.unknown), set(car.app.unknown.lanes)) == (2, {"things:1", "things:2"})
        assert (await car.ask("PUT", "/things/1", b"z", KEY)).status == 422
        await car.ask("PUT", "/things/1", b"x", KEY)
        await car.idle()
        assert car.app.tally.states[State.SUPERSEDED] == 1
    async with sidecar(tmp_path, REASK, **FAST) as car:
        await until(lambda: not len(car.app.unknown))
        await car.idle()

        assert car.new.targets() == ["/things/2"]
        assert car.app.tally.states[State.UNKNOWN] == 0


async def left_with_long_body(directory: Path) -> Path:
    """An earlier run left a write with a key unknown; its spool file."""
    async with sidecar(directory, ROUTE, **SPOOLED) as car:
        car.legacy.will("/things/1", Fault.RESET)
        await car.ask("PUT", "/things/1", LONG, KEY)
        await car.idle()
        (spool,) = car.spools()
    return spool


async def test_a_retry_that_comes_before_its_key_was_read_takes_its_place_all_the_same(
    tmp_path: Path,
) -> None:
    spool, other = await left_with_long_body(tmp_path), KEY.replace("k1", "k2")
    async with sidecar(tmp_path, ROUTE, **SPOOLED) as car:
        car.legacy.will("/things/2", Fault.RESET)
        await car.ask("PUT", "/things/2", b"x", other)
    async with AsyncExitStack() as stack:
        is_read = await stack.enter_async_context(hanging(spool))
        async with sidecar(tmp_path, ROUTE, **SPOOLED) as car:
            await until(is_read)  # the first one's; the second one's key is not known yet
            assert (await car.ask("PUT", "/things/2", b"x", other)).status == 200
            await stack.aclose()
            await until(lambda: car.app.tally.states[State.SUPERSEDED])
            await car.idle()

            assert car.states() == {"unknown": 1, "superseded": 1, "done": 1}
            assert rows(car)[1] == ("superseded", "by a retry: the client sent it again")
            assert (await car.ask("PUT", "/things/1", b"y", KEY)).status == 422
            assert (await car.ask("PUT", "/things/1", LONG, KEY)).status == 200
            await car.idle()
            assert (len(car.app.unknown), car.states()["superseded"]) == (0, 2)


async def test_of_two_unknown_under_one_key_the_later_one_stays(tmp_path: Path) -> None:
    spool = await left_with_long_body(tmp_path)
    async with AsyncExitStack() as stack:
        is_read = await stack.enter_async_context(hanging(spool))
        async with sidecar(tmp_path, ROUTE, **SPOOLED) as car:
            await until(is_read)
            car.legacy.will("/things/1", Fault.RESET)
            assert (await car.ask("PUT", "/things/1", LONG, KEY)).status == 502
            assert car.states() == {"unknown": 2}
            await stack.aclose()
            await until(lambda: car.app.tally.states[State.SUPERSEDED])
            await car.idle()

            assert [state for state, _ in rows(car)] == ["superseded", "unknown"]
            await car.ask("PUT", "/things/1", LONG, KEY)
            await car.idle()
            assert car.states() == {"superseded": 2, "done": 1}


async def test_a_start_that_finds_two_unknown_under_one_key_keeps_the_later_one(
    tmp_path: Path,
) -> None:
    spool = await left_with_long_body(tmp_path / "a")
    async with hanging(spool) as is_read, sidecar(tmp_path / "a", ROUTE, **SPOOLED) as car:
        await until(is_read)
        car.legacy.will("/things/1", Fault.RESET)
        await car.ask("PUT", "/things/1", LONG, KEY)
        assert car.states() == {"unknown": 2}
        left = shutil.ignore_patterns("*.lock", "*-shm", spool.name)
        shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=left)
    shutil.copy(spool, tmp_path / "b" / "spool")
    async with sidecar(tmp_path / "b", ROUTE) as car:
        await until(lambda: car.app.tally.states[State.SUPERSEDED])
        await car.idle()

        assert rows(car)[0] == ("superseded", "by intent 2: the client sent it again")
        assert car.states() == {"superseded": 1, "unknown": 1}


async def test_what_a_crash_left_at_the_primary_is_unknown_and_settles_as_any(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path / "a", ROUTE) as car:
        gate = Gate()
        car.legacy.always = gate
        async with car.client() as one, car.client() as two:
            one.ask("PUT", "/things/1", b"x", KEY)
            two.ask("PUT", "/things/2", b"y")
            await until(lambda: gate.held == 2)
            crashed(car.app.journal.directory, tmp_path / "b")
        gate.open()
    async with sidecar(tmp_path / "b", REASK, **FAST) as car:
        await until(lambda: not len(car.app.unknown))
        await car.done(2)
        await car.idle()

        assert (
            sorted(car.legacy.targets()) == sorted(car.new.targets()) == ["/things/1", "/things/2"]
        )
        assert (await car.ask("PUT", "/things/1", b"z", KEY)).status == 422


async def test_many_are_asked_about_a_few_at_a_time(tmp_path: Path) -> None:
    under_way, most = 0, 0

    async def slowly(_: Seen) -> Answer:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return Answer()

    async with sidecar(tmp_path, REASK, **FAST) as car:
        for number in range(12):
            car.legacy.will(f"/things/{number}", Fault.RESET, slowly)
        await asyncio.gather(*(car.ask("PUT", f"/things/{number}") for number in range(12)))
        await car.done(12)
        await car.idle()

        assert 1 < most <= AT_ONCE_MAX


async def test_what_the_config_no_longer_lets_through_is_left_to_a_person(tmp_path: Path) -> None:
    async with sidecar(tmp_path, REASK, **NEVER) as car:
        car.legacy.will("/things/1", Fault.RESET)
        await car.ask("PUT", "/things/1", b"x")
        await car.idle()
    flipped = {**FAST, "STAGE": "dual_new_primary"}
    async with sidecar(tmp_path, REASK, **flipped) as car:
        await until(lambda: "unknown_left" in car.events())

        assert (car.legacy.seen, car.new.seen) == ([], [])
        assert "makes the primary" in str(events(car, "unknown_left")[0]["reason"])


async def test_a_damaged_payload_is_left_to_a_person(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE) as car:
        car.legacy.will("/things/1", Fault.RESET)
        await car.ask("PUT", "/things/1", b"x", KEY)
        await car.idle()
        sql = "UPDATE intents SET digest = x'00'"
        await car.app.journal.writer.call(lambda db: db.execute(sql))
    async with sidecar(tmp_path, REASK, **FAST) as car:
        await until(lambda: "unknown_left" in car.events())

        assert car.legacy.seen == []
        assert "digest differs" in str(events(car, "unknown_left")[0]["reason"])


async def test_a_shared_lane_is_overtaken_by_who_holds_it_alone(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ROUTE, **NEVER) as car:
        car.legacy.will("/things/1", Fault.RESET)
        await car.ask("PUT", "/things/1", b"x")
        unknown = car.app.unknown
        each = unknown._all[1]
        unknown._leave_lanes(each)
        each.intent.lanes = ("^folder:a", "folder:a/b")
        unknown._take(each)
        seen = []
        for lanes in (("^folder:a", "folder:a/c"), ("folder:a",)):
            unknown.begun(lanes)
            seen.append((each.intent.overtaken, len(unknown.lanes)))

        assert seen == [(False, 2), (True, 0)]


async def test_while_writes_pass_by_the_journal_the_primary_is_not_asked(tmp_path: Path) -> None:
    toml = ROUTE + "reask = true\n"
    async with sidecar(tmp_path, toml) as car:
        car.legacy.always = Fault.RESET
        await car.ask("PUT", "/things/1", b"x")
        await until(lambda: car.states() == {"unknown": 1})
    dropping = {"KILL_SWITCH": "1", "KILL": "drop", "DELIVERY_BACKOFF_FIRST_MS": "1"}
    async with sidecar(tmp_path, toml, **dropping) as car:
        await until(lambda: car.app.unknown._all[1].tries > 3)
        assert car.legacy.seen == []
    async with sidecar(tmp_path, toml, DELIVERY_BACKOFF_FIRST_MS="1") as car:
        await car.done()
        assert car.legacy.targets() == ["/things/1"]
