"""The foreground of a mirrored write: what the client gets, what each side gets, what the journal says."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from proxy.flow.write import Write
from rules.compare import VerdictKind
from tests.proxy.flow.foreground import Got, Sidecar, sidecar
from tests.proxy.flow.scripted import Answer, Fault, Gate, Seen
from tests.proxy.samples import disk_broken, journaled, rows, until

LONG = b"body" * 200_000  # comes in several pieces

ORDER = """
[[routes]]
name = "orders"
path = "/orders/{id}"
entity_key = ["path:id"]
"""


def route(**keys: str) -> str:
    more = "\n".join(f"{name} = {value}" for name, value in keys.items())
    return f'[[routes]]\nname = "orders"\npath = "/orders/{{id}}"\n{more}\n'


def on_disk(s: Sidecar) -> list[str]:
    found = journaled(s.app.journal.directory).values()
    return [row["state"] for row in found]


# what the client gets, and what becomes of it


async def test_a_write_reaches_both_sides_and_the_client_gets_the_primarys_bytes(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path) as s:
        s.legacy.always = Answer(201, b'{"a":  1}', ("X-One: 1", "x-one: 2", "Content-Type: a/b"))
        got = await s.ask("PUT", "/a?b=%20", b"\x00body", "X-A: b\r\n")
        assert got.raw == s.legacy.always.head()
        assert (got.status, got.body) == (201, b'{"a":  1}')
        await s.done()
        for backend in (s.legacy, s.new):
            (seen,) = backend.seen
            assert (seen.method, seen.target, seen.body) == ("PUT", "/a?b=%20", b"\x00body")
            assert seen.headers["x-a"] == "b"
        assert "idempotency-key" not in s.legacy.seen[0].headers
        assert s.app.tally.accepted == 1


async def test_once_new_is_primary_legacy_is_caught_up(tmp_path: Path) -> None:
    async with sidecar(tmp_path, STAGE="dual_new_primary") as s:
        s.new.always, s.legacy.always = Answer(200, b"new"), Answer(200, b"old")
        assert (await s.ask("PUT", "/a", b"x")).body == b"new"
        await s.done()
        assert s.legacy.targets() == s.new.targets() == ["/a"]


@pytest.mark.parametrize("status", [400, 404, 409, 422, 307])
async def test_what_the_primary_rejects_goes_nowhere(tmp_path: Path, status: int) -> None:
    async with sidecar(tmp_path) as s:
        s.legacy.always = Answer(status, b"no")
        got = await s.ask("PUT", "/a", b"x")
        assert (got.status, got.body) == (status, b"no")
        await s.idle()
        assert s.states() == {"p_rejected": 1}
        assert on_disk(s) == ["p_rejected"]
        assert s.new.seen == []


@pytest.mark.parametrize("status", [500, 503])
async def test_what_the_primary_failed_at_is_unknown_and_goes_nowhere(
    tmp_path: Path, status: int
) -> None:
    async with sidecar(tmp_path) as s:
        s.legacy.always = Answer(status, b"oops")
        got = await s.ask("PUT", "/a", b"x")
        assert (got.status, got.body) == (status, b"oops")
        await s.idle()
        assert s.states() == {"unknown": 1}
        assert s.new.seen == []
        (row,) = journaled(s.app.journal.directory).values()
        assert (row["state"], row["payload"] is None) == ("unknown", False)


async def test_a_primary_that_goes_away_is_a_502_and_unknown(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        s.legacy.always = Fault.RESET
        got = await s.ask("PUT", "/a", b"x")
        assert got.status == 502
        assert "may have applied" in got.detail
        await s.idle()
        assert s.states() == {"unknown": 1}
        assert (len(s.legacy.seen), s.new.seen) == (1, [])


async def test_a_primary_that_refuses_is_a_502_and_not_sent(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        await s.legacy.stop()
        got = await s.ask("PUT", "/a", b"x")
        assert got.status == 502
        assert "did not get the write" in got.detail
        await s.idle()
        assert s.states() == {"not_sent": 1}
        await s.legacy.start()
        assert (await s.ask("PUT", "/a", b"x")).status == 200
        await s.done()
        assert len(s.new.seen) == 1


async def test_a_primary_that_hangs_is_a_504_and_unknown(tmp_path: Path) -> None:
    async with sidecar(tmp_path, BACKENDS_LEGACY_FIRST_BYTE_TIMEOUT_MS="10") as s:
        s.legacy.always = Fault.HANG
        assert (await s.ask("PUT", "/a", b"x")).status == 504
        await s.idle()
        assert s.states() == {"unknown": 1}
        assert s.new.seen == []


async def test_a_primary_without_a_free_connection_is_a_503_and_not_sent(tmp_path: Path) -> None:
    limits = {"BACKENDS_LEGACY_CONNECTIONS_MAX": "1", "BACKENDS_LEGACY_POOL_TIMEOUT_MS": "10"}
    async with sidecar(tmp_path, route(ordering='"none"'), **limits) as s:
        gate = Gate()
        s.legacy.will("/orders/1", gate)
        first = asyncio.create_task(s.ask("PUT", "/orders/1", b"x"))
        await until(lambda: gate.held)
        got = await s.ask("PUT", "/orders/2", b"x")
        assert (got.status, got.headers["retry-after"]) == (503, "1")
        gate.open()
        assert (await first).status == 200
        await s.done()
        assert s.states() == {"done": 1, "not_sent": 1}


async def test_the_lane_goes_on_after_a_write_that_is_unknown(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ORDER) as s:
        s.legacy.will("/orders/1", Answer(500), Answer(200))
        assert (await s.ask("PUT", "/orders/1", b"1")).status == 500
        assert (await s.ask("PUT", "/orders/1", b"2")).status == 200
        await s.done()
        assert [seen.body for seen in s.new.seen] == [b"2"]


@pytest.mark.parametrize("confirm", ["before_reply", "behind"])
async def test_the_outcome_is_on_disk_before_the_reply_unless_told_otherwise(
    tmp_path: Path, confirm: str
) -> None:
    async with sidecar(tmp_path, JOURNAL_CONFIRM=confirm, KILL_SWITCH="1") as s:
        assert (await s.ask("PUT", "/a", b"x")).status == 200
        if confirm == "before_reply":
            assert on_disk(s) == ["s_pending"]
        await s.idle()
        assert on_disk(s) == ["s_pending"]


# the client goes away


async def test_a_client_that_goes_away_after_its_body_changes_nothing(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        gate = Gate()
        s.legacy.always = gate
        async with s.client() as client:
            client.ask("PUT", "/a", b"body")
            await until(lambda: gate.held)
        await until(lambda: not s.app.clients.open)
        gate.open()
        await s.done()
        assert [seen.body for seen in s.new.seen] == [b"body"]


async def test_a_client_that_goes_away_while_its_lane_is_busy_changes_nothing(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path, ORDER) as s:
        gate = Gate()
        s.legacy.will("/orders/1", gate)
        first = asyncio.create_task(s.ask("PUT", "/orders/1", b"1"))
        await until(lambda: gate.held)
        async with s.client() as client:
            client.ask("PUT", "/orders/1", b"2")
            await until(lambda: s.app.tally.in_flight == 2)
        await until(lambda: len(s.app.clients.open) == 1)
        gate.open()
        await first
        await s.done(2)
        assert [seen.body for seen in s.new.seen] == [b"1", b"2"]


@pytest.mark.parametrize("memory", ["1000000", "2"])
@pytest.mark.parametrize(
    "start", [b"Content-Length: 9\r\n\r\npart", b"Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"]
)
async def test_a_client_that_goes_away_within_its_body_is_aborted(
    tmp_path: Path, memory: str, start: bytes
) -> None:
    async with sidecar(tmp_path, LISTEN_SPOOL_MEMORY_BYTES_MAX=memory) as s:
        async with s.client() as client:
            client.send(b"PUT /a HTTP/1.1\r\nHost: a\r\n" + start)
            await until(lambda: s.app.tally.in_flight)
        await until(lambda: not s.app.tally.in_flight)
        assert s.states() == {"aborted": 1}
        assert s.legacy.seen == s.new.seen == []
        assert (on_disk(s), s.spools()) == ([], [])


async def test_a_body_that_stops_arriving_is_a_408_and_aborted(tmp_path: Path) -> None:
    async with sidecar(tmp_path, LISTEN_BODY_TIMEOUT_MS="10") as s, s.client() as client:
        client.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\npart")
        assert (await client.reply()).status == 408
        assert (s.states(), s.app.tally.in_flight) == ({"aborted": 1}, 0)
        assert s.legacy.seen == []


async def test_a_client_that_only_sends_no_more_still_gets_its_reply(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s, s.client() as client:
        client.ask("PUT", "/a", b"body")
        client.end()
        assert (await client.reply()).status == 200
        assert await client.ended() == b""
        await s.done()


# long bodies


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_long_body_goes_through_a_file_to_both_sides(tmp_path: Path, chunked: bool) -> None:
    body = bytes(range(256)) * 4000
    async with sidecar(tmp_path, LISTEN_SPOOL_MEMORY_BYTES_MAX="1000") as s:
        gate = Gate()
        s.new.always = gate
        async with s.client() as client:
            if chunked:
                client.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                for at in range(0, len(body), 1000):
                    client.send(b"3e8\r\n" + body[at : at + 1000] + b"\r\n")
                client.send(b"0\r\n\r\n")
            else:
                client.ask("PUT", "/a", body)
            assert (await client.reply()).status == 200
        await until(lambda: gate.held)
        assert len(s.spools()) == 1
        assert s.spools()[0].stat().st_mode & 0o777 == 0o600
        gate.open()
        await s.done()
        assert s.legacy.seen[0].body == s.new.seen[0].body == body
        await until(lambda: not s.spools())


@pytest.mark.parametrize(
    ("step", "state"), [(Answer(400), "p_rejected"), (Answer(500), "unknown"), (None, "not_sent")]
)
async def test_a_file_stays_only_where_it_may_still_be_needed(
    tmp_path: Path, step: Answer | None, state: str
) -> None:
    async with sidecar(tmp_path, LISTEN_SPOOL_MEMORY_BYTES_MAX="2") as s:
        if step is None:
            await s.legacy.stop()
        else:
            s.legacy.always = step
        await s.ask("PUT", "/a", LONG)
        await s.idle()
        assert s.states() == {state: 1}
        await until(lambda: len(s.spools()) == (state == "unknown"))


async def test_a_long_body_that_finds_no_disk_is_a_503_and_aborted(tmp_path: Path) -> None:
    async with sidecar(tmp_path, LISTEN_SPOOL_MEMORY_BYTES_MAX="2") as s:
        (tmp_path / "spool").rmdir()
        got = await s.ask("PUT", "/a", LONG)
        assert (got.status, got.headers["retry-after"]) == (503, "1")
        assert (s.states(), s.app.tally.in_flight) == ({"aborted": 1}, 0)
        assert (s.legacy.seen, on_disk(s)) == ([], [])


async def test_a_key_in_a_long_body_is_found(tmp_path: Path) -> None:
    toml = route(entity_key='["json:/id"]')
    async with sidecar(tmp_path, toml, LISTEN_SPOOL_MEMORY_BYTES_MAX="2") as s:
        await s.ask("PUT", "/orders/1", b'{"id": 7, "long": "%s"}' % LONG)
        await s.done()
        (row,) = journaled(s.app.journal.directory).values()
        assert row["lanes"] == ("orders:7",)


# long replies


def long_answer(pieces: int) -> Answer:
    return Answer(200, b"start", pieces=(b"x" * 262144,) * pieces)


async def test_a_long_reply_is_streamed_and_its_digest_compared(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        s.legacy.always = long_answer(40)
        got = await s.ask("PUT", "/a", b"x")
        assert got.body == b"start" + b"x" * 262144 * 40
        await s.done()
        await until(lambda: s.app.tally.verdicts[VerdictKind.MISMATCH] == 1)
        assert (await s.ask("PUT", "/a", b"x")).status == 200


@pytest.mark.parametrize("kept", ["65536", "20000000"])
async def test_a_client_that_reads_slowly_slows_the_primary_down(tmp_path: Path, kept: str) -> None:
    async with sidecar(tmp_path, JOURNAL_REPLY_BYTES_MAX=kept) as s, s.client() as client:
        s.legacy.always = long_answer(400)
        client.ask("PUT", "/a", b"x")
        got = await client.head()
        await s.done()
        seen = -1
        async with asyncio.timeout(10):
            while seen != s.legacy.streamed:  # until the pipe is full, or all of it is in memory
                seen = s.legacy.streamed
                await asyncio.sleep(0.1)
        assert seen < 50_000_000
        rest = int(got.headers["content-length"])
        assert len(await client._reader.readexactly(rest)) == rest


async def test_a_client_that_goes_away_within_a_long_reply_changes_nothing(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        s.legacy.always = long_answer(400)
        async with s.client() as client:
            client.ask("PUT", "/a", b"x")
            await client.head()
        await s.done()
        await until(lambda: not s.legacy.busy["/a"] and not s.app.clients.open)
        s.legacy.always = Answer()
        assert (await s.ask("PUT", "/b", b"x")).status == 200


# the journal fails


async def test_a_write_that_cannot_be_journaled_is_refused_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path) as s:
        await disk_broken(s.app.journal)
        got = await s.ask("PUT", "/a", b"x")
        assert (got.status, got.headers["retry-after"]) == (503, "1")
        assert "nothing was sent" in got.detail
        assert s.states() == {"aborted": 1}
        assert s.legacy.seen == s.new.seen == []
        await disk_broken(s.app.journal, broken=False)
        await until(lambda: not s.app.journal.fails)
        assert (await s.ask("PUT", "/a", b"x")).status == 200
        await s.done()


async def test_or_it_goes_to_the_primary_only_and_is_counted(tmp_path: Path) -> None:
    settings = {"JOURNAL_ON_JOURNAL_ERROR": "pass_through", "LISTEN_SPOOL_MEMORY_BYTES_MAX": "2"}
    async with sidecar(tmp_path, **settings) as s:
        await disk_broken(s.app.journal)
        assert (await s.ask("PUT", "/a", LONG)).status == 200
        await until(lambda: not s.app.tally.in_flight)
        assert (s.states(), s.skips()) == ({}, {"journal_error": 1})
        assert ([seen.body == LONG for seen in s.legacy.seen], s.new.seen) == ([True], [])
        assert s.spools() == []
        assert s.app.tally.journal_errors == 1
        await disk_broken(s.app.journal, broken=False)


@pytest.mark.parametrize(("step", "state"), [(Answer(), "done"), (Answer(400), "p_rejected")])
async def test_an_outcome_that_cannot_be_written_is_written_later(
    tmp_path: Path, step: Answer, state: str
) -> None:
    async with sidecar(tmp_path) as s:
        gate = Gate(step)
        s.legacy.always = gate
        asking = asyncio.create_task(s.ask("PUT", "/a", b"x"))
        await until(lambda: gate.held)
        await disk_broken(s.app.journal)
        gate.open()
        assert (await asking).status == step.status
        assert "settle_failed" in s.events()
        await until(lambda: s.states() == {state: 1})
        assert on_disk(s) == ["p_sent"]
        await disk_broken(s.app.journal, broken=False)
        await until(lambda: on_disk(s) == [state])


# order at the primary


async def busiest(s: Sidecar, target: str = "/orders/1", writes: int = 4) -> int:
    """How many of so many writes the primary had at once."""
    gate = Gate()
    s.legacy.always = gate
    asking = [asyncio.create_task(s.ask("PUT", target, b"x")) for _ in range(writes)]
    await until(lambda: s.app.tally.in_flight == writes)
    for _ in range(20):
        await s.app.journal.writer.call(lambda _: None)  # turns of the loop and of the journal
    held = gate.held
    gate.open()
    assert {(await each).status for each in asking} == {200}
    await s.done(writes)
    return held


async def test_writes_to_one_entity_are_one_at_a_time_at_the_primary(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ORDER) as s:
        assert await busiest(s) == 1
        assert s.legacy.busiest["/orders/1"] == 1


@pytest.mark.parametrize("ordering", ["completion", "none"])
async def test_unless_the_route_says_otherwise(tmp_path: Path, ordering: str) -> None:
    keys = {"ordering": f'"{ordering}"'}
    if ordering == "completion":
        keys["entity_key"] = '["path:id"]'
    async with sidecar(tmp_path, route(**keys)) as s:
        assert await busiest(s) == 4


async def test_writes_to_other_entities_do_not_wait(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ORDER) as s:
        gate = Gate()
        s.legacy.will("/orders/1", gate)
        first = asyncio.create_task(s.ask("PUT", "/orders/1", b"x"))
        await until(lambda: gate.held)
        assert (await s.ask("PUT", "/orders/2", b"x")).status == 200
        gate.open()
        await first
        await s.done(2)


async def test_the_secondary_gets_the_order_in_which_the_primary_answered(tmp_path: Path) -> None:
    toml = route(ordering='"completion"', entity_key='["path:id"]')
    async with sidecar(tmp_path, toml) as s:
        gates = [Gate() for _ in range(3)]
        asking = []
        for n, gate in enumerate(gates):
            s.legacy.will("/orders/1", gate)
            asking.append(asyncio.create_task(s.ask("PUT", "/orders/1", b"%d" % n)))
            await until(lambda gate=gate: gate.held)  # type: ignore[misc]
        for n in (2, 0, 1):
            gates[n].open()
            await asking[n]
        await s.done(3)
        assert [seen.body for seen in s.new.seen] == [b"2", b"0", b"1"]


async def test_writes_with_two_keys_in_any_order_do_not_lock_each_other_out(tmp_path: Path) -> None:
    toml = route(entity_key='["path:id", "json:/to"]')
    async with sidecar(tmp_path, toml) as s:
        asking = [
            asyncio.create_task(s.ask("PUT", f"/orders/{n % 3}", b'{"to": %d}' % ((n + 1) % 3)))
            for n in range(30)
        ]
        assert {(await each).status for each in asking} == {200}
        await s.done(30)


# the secondary is nobody's business


@pytest.mark.parametrize("target", ["/orders/1", "/orders/{}"])
async def test_a_secondary_that_hangs_delays_no_client(tmp_path: Path, target: str) -> None:
    async with sidecar(tmp_path, ORDER) as s, s.client() as client, asyncio.timeout(5):
        s.new.always = Fault.HANG
        for n in range(100):
            client.ask("PUT", target.format(n), b"x")
            assert (await client.reply()).status == 200
        await until(lambda: s.app.tally.states["s_pending"] + s.app.tally.states["s_sent"] == 100)  # type: ignore[index]
        assert len(s.app.delivery) == 100


async def test_what_is_owed_at_the_end_is_delivered_by_the_next_process(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ORDER) as s:
        await s.new.stop()
        for n in range(5):
            assert (await s.ask("PUT", "/orders/1", b"%d" % n)).status == 200
    async with sidecar(tmp_path, ORDER) as s:
        await s.done(5)
        assert [seen.body for seen in s.new.seen] == [b"0", b"1", b"2", b"3", b"4"]


# not every write


async def test_outside_the_percent_a_write_goes_to_the_primary_only(tmp_path: Path) -> None:
    toml = ORDER + "[categories.default]\npercent = 50"
    async with sidecar(tmp_path, toml) as s:
        for n in range(40):
            assert (await s.ask("PUT", f"/orders/{n}", b"x")).status == 200
        await s.idle()
        done = s.states()["done"]
        assert s.skips() == {"sample": 40 - done}
        assert 5 < done < 35
        mirrored = set(s.new.targets())
        for n in range(40):  # sticky
            await s.ask("PUT", f"/orders/{n}", b"x")
        await s.idle()
        assert set(s.new.targets()) == mirrored


async def test_outside_the_percent_nothing_is_kept_of_a_long_body(tmp_path: Path) -> None:
    toml = "[categories.default]\npercent = 0"
    async with sidecar(tmp_path, toml, LISTEN_SPOOL_MEMORY_BYTES_MAX="2") as s:
        assert (await s.ask("PUT", "/a", LONG)).status == 200
        await until(lambda: not s.app.tally.in_flight)
        assert (s.legacy.seen[0].body == LONG, s.spools(), on_disk(s)) == (True, [], [])


async def test_a_shadowed_write_is_sent_after_the_reply_and_not_journaled(tmp_path: Path) -> None:
    async with sidecar(tmp_path, STAGE="shadow", LISTEN_SPOOL_MEMORY_BYTES_MAX="2") as s:
        s.app.clients.door._rooms.memory.free = 0  # type: ignore[attr-defined]
        gate = Gate()
        s.new.always = gate
        assert (await s.ask("PUT", "/a", LONG)).status == 200
        await until(lambda: gate.held)
        assert len(s.spools()) == 1
        gate.open()
        await s.idle()
        assert (s.skips(), s.states(), on_disk(s)) == ({"shadow": 1}, {}, [])
        assert s.app.tally.verdicts[VerdictKind.MATCH] == 1
        assert (s.new.seen[0].body == LONG, s.spools()) == (True, [])


@pytest.mark.parametrize("step", [Answer(400), Answer(500), Fault.RESET])
async def test_what_the_primary_did_not_apply_is_not_shadowed(
    tmp_path: Path, step: Answer | Fault
) -> None:
    async with sidecar(tmp_path, STAGE="shadow", LISTEN_SPOOL_MEMORY_BYTES_MAX="2") as s:
        s.legacy.always = step
        await s.ask("PUT", "/a", LONG)
        await s.idle()
        assert (s.new.seen, s.spools()) == ([], [])


async def test_the_next_request_on_the_connection_is_served(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ORDER) as s, s.client() as client:
        for n in range(5):
            client.ask("PUT", f"/orders/{n}", b"%d" % n)
        for _ in range(5):
            assert (await client.reply()).status == 200
        await s.done(5)
        assert [seen.body for seen in s.legacy.seen] == [b"0", b"1", b"2", b"3", b"4"]


# all of it at once


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_the_secondary_gets_what_the_primary_applied_and_nothing_else(
    tmp_path: Path, seed: int
) -> None:
    chance = Random(seed)
    applied: list[bytes] = []

    async def primary(seen: Seen) -> Answer | Fault:
        await asyncio.sleep(chance.random() * 0.01)
        steps: list[Answer | Fault] = [Answer(400), Answer(500), Fault.RESET, *[Answer(201)] * 6]
        step = chance.choice(steps)
        if isinstance(step, Answer) and step.status == 201:
            applied.append(seen.body)
        return step

    async def secondary(_: Seen) -> Answer | Fault:
        await asyncio.sleep(chance.random() * 0.005)
        steps: list[Answer | Fault] = [Answer(503), Fault.RESET, *[Answer(201)] * 6]
        return chance.choice(steps)

    async def write(s: Sidecar, number: int) -> None:
        await asyncio.sleep(chance.random() * 0.1)
        body = b"%d " % number + b"x" * chance.choice([0, 0, 0, 500_000])
        async with s.client() as client:
            client.ask("PUT", f"/orders/{number % 5}", body)
            if chance.random() < 0.3:  # and is gone, now or in a moment
                await asyncio.sleep(chance.choice([0, 0.005]))
            else:
                await client.reply()

    settings = {
        "DELIVERY_BACKOFF_FIRST_MS": "5",
        "DELIVERY_BACKOFF_MAX_MS": "20",
        "LISTEN_SPOOL_MEMORY_BYTES_MAX": "100000",
    }
    async with sidecar(tmp_path, ORDER, **settings) as s:
        s.legacy.always, s.new.always = primary, secondary
        await asyncio.gather(*(write(s, number) for number in range(60)))
        await s.idle()
        assert set(s.states()) <= {"done", "p_rejected", "unknown", "aborted"}
        assert s.states()["done"] == len(applied) == len(set(applied))
        assert {seen.body for seen in s.new.seen} == set(applied)
        for lane in range(5):
            target = f"/orders/{lane}"
            first = dict.fromkeys(seen.body for seen in s.new.seen if seen.target == target)
            assert list(first) == [body for body in applied if body in first]
        assert len(s.spools()) <= s.states().get("unknown", 0)


async def test_a_write_that_waits_for_its_turn_at_the_end_is_not_begun(tmp_path: Path) -> None:
    async with sidecar(tmp_path, route(entity_key='["path:id"]')) as s:
        gate = Gate()
        s.legacy.always = gate
        async with s.client() as one, s.client() as other, s.client() as third:
            for client in (one, other, third):
                client.ask("PUT", "/orders/1", b"x")
                await until(lambda: gate.held)
            await until(lambda: s.app.tally.in_flight == 3)
            await s.app.stop()
        assert gate.held == 1
        assert on_disk(s) == ["p_sent"]  # the one that the primary may have


async def test_a_spooled_body_that_is_gone_before_its_key_was_read_is_not_sent_anywhere(
    tmp_path: Path,
) -> None:
    routes = """
[[routes]]
name = "keyed"
path = "/keyed"
entity_key = ["json:/id"]
"""
    async with sidecar(tmp_path, routes, LISTEN_SPOOL_MEMORY_BYTES_MAX="10") as s, s.client() as c:
        c.send(b"PUT /keyed HTTP/1.1\r\nHost: shop\r\nContent-Length: 40\r\n\r\n" + b"x" * 20)
        spool = tmp_path / "spool"
        await until(lambda: any(spool.iterdir()))
        for file in spool.iterdir():
            file.unlink()
        c.send(b"x" * 20)
        got = await c.reply()
        assert (got.status, "nothing was sent" in got.detail) == (503, True)
        assert s.legacy.targets() == []
        assert s.states() == {"aborted": 1}
        assert s.app.tally.holds()


async def test_a_longer_body_that_is_only_shadowed_stays_in_memory_while_there_is_a_place(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path, STAGE="shadow", LISTEN_SPOOL_MEMORY_BYTES_MAX="10") as s:
        memory = s.app.clients.door._rooms.memory  # type: ignore[attr-defined]
        free = memory.free
        async with s.client() as c:
            c.send(b"PUT /a HTTP/1.1\r\nHost: shop\r\nContent-Length: 40\r\n\r\n" + b"x" * 20)
            await until(lambda: memory.free == free - 1)
            assert s.spools() == []
            c.send(b"x" * 20)
            assert (await c.reply()).status == 200
            await until(lambda: len(s.new.seen) == 1)
            assert (s.new.seen[0].body, memory.free) == (b"x" * 40, free)
            memory.free = 0
            c.send(b"PUT /b HTTP/1.1\r\nHost: shop\r\nContent-Length: 40\r\n\r\n" + b"y" * 20)
            await until(lambda: len(s.spools()) == 1)
            c.send(b"y" * 20)
            assert (await c.reply()).status == 200
            await until(lambda: len(s.new.seen) == 2)
            await until(lambda: s.spools() == [])
            assert memory.free == 0


IN_PIECES = """
[[routes]]
name = "orders"
path = "/orders/{id}"
[routes.translate]
"path:id" = "order"
[[routes]]
name = "read"
path = "/read/{id}"
entity_key = ["json:/id"]
[[routes]]
name = "create"
methods = ["POST"]
path = "/orders"
harvest = [{kind = "order", from = "json:/id"}]
"""


async def in_pieces(s: Sidecar, path: str, body: bytes, fields: str = "") -> Got:
    """Three pieces, each sent when the one before is there; the first comes with the head."""
    head = f"PUT {path} HTTP/1.1\r\nHost: shop\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    third = len(body) // 3
    async with s.client() as client:
        client.send(head.encode() + body[:third])
        await until(lambda: spooled(s) == third)
        client.send(body[third : 2 * third])
        await until(lambda: spooled(s) == 2 * third)
        client.send(body[2 * third :])
        return await client.reply()


def spooled(s: Sidecar) -> int:
    """Bytes of the one body that is on its way."""
    writes = [each._sink for each in s.app.clients.open if isinstance(each._sink, Write)]
    return sum(each._spool.size for each in writes if each._spool is not None)


@pytest.mark.parametrize("fields", ["", "Idempotency-Key: k\r\n"])
@pytest.mark.parametrize("path", ["/a", "/read/1"])
async def test_a_shadowed_body_that_comes_in_pieces_reaches_both_sides(
    tmp_path: Path, path: str, fields: str
) -> None:
    body = b'{"id": 1, "text": "%b"}' % (b"x" * 300_000)
    async with sidecar(tmp_path, IN_PIECES, STAGE="shadow") as s:
        s.new.always = Answer(200, b'{"other": 1}', ())
        assert (await in_pieces(s, path, body, fields)).status == 200
        await s.idle()
        assert [each.seen[0].body for each in (s.legacy, s.new)] == [body, body]
        assert s.app.tally.verdicts[VerdictKind.MISMATCH] == 1


async def test_the_evidence_of_a_body_in_pieces_is_what_was_sent(tmp_path: Path) -> None:
    async with sidecar(tmp_path, IN_PIECES, STAGE="shadow") as s:
        s.new.always = Answer(200, b'{"other": 1}', ())
        assert (await in_pieces(s, "/a", b'{"colour": "a certain blue"}')).status == 200
        await s.idle()
        ledger = tmp_path / "ledger.db"
        await until(lambda: rows(ledger, "SELECT * FROM verdicts"))
        (row,) = rows(ledger, "SELECT evidence FROM verdicts")
        assert "a certain blue" in row["evidence"]


async def test_a_body_in_pieces_is_sent_under_a_translated_path(tmp_path: Path) -> None:
    async with sidecar(tmp_path, IN_PIECES, STAGE="shadow") as s:
        s.legacy.will("/orders", Answer(201, b'{"id": 1}', ()))
        s.new.will("/orders", Answer(201, b'{"id": "n1"}', ()))
        assert (await s.ask("POST", "/orders", b"{}")).status == 201
        await s.idle()
        assert (await in_pieces(s, "/orders/1", b"z" * 200_000)).status == 200
        await s.idle()
        assert (s.new.targets()[-1], s.new.seen[-1].body) == ("/orders/n1", b"z" * 200_000)


async def test_a_client_that_goes_before_its_body_is_whole_leaves_its_place(tmp_path: Path) -> None:
    async with sidecar(tmp_path, STAGE="shadow", LISTEN_SPOOL_MEMORY_BYTES_MAX="10") as s:
        memory = s.app.clients.door._rooms.memory  # type: ignore[attr-defined]
        free = memory.free
        async with s.client() as c:
            c.send(b"PUT /a HTTP/1.1\r\nHost: shop\r\nContent-Length: 40\r\n\r\n" + b"x" * 20)
            await until(lambda: memory.free == free - 1)
        await until(lambda: memory.free == free)
