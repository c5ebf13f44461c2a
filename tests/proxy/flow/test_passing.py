"""Replies that are longer than what is kept: measured while they pass, compared when both have passed."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.flow.passing import Drain, Passing, passing_of
from rules.checksum import Checksum, whole
from rules.compare import Comparison, VerdictKind
from rules.message import Framing, Reply, Side
from tests.proxy.flow.background import background, configured
from tests.proxy.flow.foreground import Sidecar, sidecar
from tests.proxy.flow.scripted import Answer, Fault, Gate, backends
from tests.proxy.samples import a_request, journaled, rows, until

START, BLOCK = b"s" * 1000, b"x" * 262144
BODY = START + BLOCK * 4
EQUAL = Answer(200, START, (), (BLOCK,) * 4)
OTHER = Answer(200, START, (), (*(BLOCK,) * 3, BLOCK[1:] + b"y"))
SHORTER = Answer(200, START, (), (BLOCK,) * 3)
OWED, SHADOWED = "dual_legacy_primary", "shadow"
BOTH = pytest.mark.parametrize("stage", [OWED, SHADOWED])


def chunked(*pieces: bytes) -> tuple[bytes, ...]:
    return (*(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), b"0\r\nA: b\r\n\r\n")


def in_chunks(*pieces: bytes) -> Answer:
    return Answer(200, b"", ("Transfer-Encoding: chunked",), chunked(*pieces))


CHUNKED = in_chunks(START, BLOCK + b"x", BLOCK[1:], BLOCK * 2)


# what measures


async def test_the_measure_is_there_when_the_last_piece_is() -> None:
    passing = Passing(Checksum.SHA256, Framing.LENGTH, b"st")
    passing.add(b"art", ended=False)
    assert (passing.done, passing.length) == (False, 5)
    passing.add(b"end", ended=True)
    assert await passing == whole(b"startend", Checksum.SHA256)


@pytest.mark.parametrize("cut", range(1, 25))
async def test_of_a_chunked_body_the_payload_is_measured(cut: int) -> None:
    body = b"".join(chunked(b"abc", b"defghijk"))
    passing = Passing(Checksum.XXH3, Framing.CHUNKED, body[:cut])
    passing.add(body[cut:], ended=True)
    assert await passing == whole(b"abcdefghijk", Checksum.XXH3)


async def test_what_broke_has_no_measure_whatever_comes_then() -> None:
    passing = Passing(Checksum.CRC32, Framing.CLOSE, b"start")
    passing.broke()
    passing.add(b"", ended=True)
    assert await passing is None


@pytest.mark.parametrize(
    ("lines", "comparison", "measured"),
    [
        ("", Comparison(), True),
        ("", None, False),
        ("Content-Type: text/event-stream\r\n", Comparison(), False),
    ],
    ids=["compared", "not compared", "event stream"],
)
def test_what_is_not_compared_and_what_has_no_end_is_not_measured(
    lines: str, comparison: Comparison | None, measured: bool
) -> None:
    reply = Reply(200, f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode(), b"start", truncated=True)
    assert (passing_of(reply, comparison) is not None) is measured


class Deaf:
    """A Hearer: the rest of a long reply waits."""

    def interim(self, status: int, head: bytes) -> None:
        """Nothing to tell."""


@pytest.mark.parametrize(("bytes_max", "idle"), [(10_000_000, 1), (10_000, 0)])
async def test_a_drain_reads_to_the_end_but_not_beyond_its_limit(
    tmp_path: Path, bytes_max: int, idle: int
) -> None:
    async with backends() as sides, background(configured(tmp_path, sides)) as b:
        sides[1].always = EQUAL
        pool, request = b.pools[Side.NEW], a_request()
        exchange = pool.ask(request, request.head, 100, Deaf())
        reply = await exchange
        assert isinstance(reply, Reply)
        assert exchange.connection is not None
        passing = Passing(Checksum.XXH3, reply.framing, reply.body)
        exchange.pass_on(Drain(passing, exchange.connection, bytes_max), streamed=False)
        assert await passing == (whole(BODY, Checksum.XXH3) if idle else None)
        await until(lambda: f"busy=0 idle={idle} " in repr(pool))


# a whole sidecar


def verdicts(s: Sidecar) -> dict[str, int]:
    return {kind.value: count for kind, count in s.app.tally.verdicts.items() if count}


def done(s: Sidecar) -> bool:
    return not len(s.app.fibers) and not len(s.app.delivery) and not s.app.tally.in_flight


def on_disk(s: Sidecar) -> list[tuple[str, str]]:
    found = journaled(s.app.journal.directory).values()
    return [(row["state"], row["verdict"]) for row in found]


@BOTH
@pytest.mark.parametrize(
    ("primary", "secondary", "kind", "reason"),
    [
        (EQUAL, EQUAL, "match", "equal_digest"),
        (EQUAL, OTHER, "mismatch", "value"),
        (EQUAL, SHORTER, "mismatch", "length"),
        (SHORTER, EQUAL, "mismatch", "length"),
        (EQUAL, Answer(200, b"short", ()), "mismatch", "length"),
        (Answer(200, b"short", ()), EQUAL, "mismatch", "length"),
        (EQUAL, Answer(201, START, (), (BLOCK,)), "mismatch", "value"),
        (CHUNKED, EQUAL, "match", "equal_digest"),
        (EQUAL, CHUNKED, "match", "equal_digest"),
        (CHUNKED, in_chunks(START, BLOCK), "mismatch", "length"),
    ],
    ids=[
        *("equal", "one byte", "secondary shorter", "secondary longer", "secondary short"),
        *("primary short", "status", "primary chunked", "secondary chunked", "both chunked"),
    ],
)
async def test_long_replies_are_compared_by_their_digest(
    tmp_path: Path,
    stage: str,
    primary: Answer,
    secondary: Answer,
    kind: str,
    reason: str,
) -> None:
    async with sidecar(tmp_path, STAGE=stage) as s:
        s.legacy.always, s.new.always = primary, secondary
        got = await s.ask("PUT", "/a", b"x")
        assert got.status == primary.status
        await until(lambda: done(s) and verdicts(s) == {kind: 1})
        assert s.app.tally.agreements["default"][VerdictKind(kind)] == 1
        assert (await s.ask("PUT", "/a", b"x")).status == primary.status
        await until(lambda: done(s) and verdicts(s) == {kind: 2})
    if kind == "mismatch":
        found = rows(tmp_path / "ledger.db", "SELECT path, kind FROM differences")
        path = "/status" if secondary.status == 201 else "/body"
        assert [tuple(row) for row in found] == [(path, reason)] * 2
    else:
        found = rows(tmp_path / "ledger.db", "SELECT reason, sum(count) AS total FROM counts")
        assert [tuple(row) for row in found] == [(reason, 2)]


@BOTH
async def test_what_the_primary_did_not_send_to_its_end_is_not_comparable(
    tmp_path: Path, stage: str
) -> None:
    async with sidecar(tmp_path, STAGE=stage) as s:
        s.legacy.always = Answer(200, START, (), (BLOCK,) * 4, ends=Fault.RESET)
        s.new.always = EQUAL
        reader, writer = await asyncio.open_connection(*s.app.address.split(":"))
        writer.write(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        with suppress(ConnectionError):  # it is cut
            await reader.read()
        writer.close()
        await until(lambda: done(s) and verdicts(s) == {"not_comparable": 1})
        assert len(s.new.seen) == 1


@BOTH
async def test_what_the_client_did_not_take_is_not_comparable(tmp_path: Path, stage: str) -> None:
    async with sidecar(tmp_path, STAGE=stage) as s:
        s.legacy.always = Answer(200, START, (), (BLOCK,) * 400)
        s.new.always = EQUAL
        async with s.client() as client:
            client.ask("PUT", "/a", b"x")
            await client.head()
            await until(lambda: s.new.streamed == len(BLOCK) * 4)
            assert verdicts(s) == {}
        await until(lambda: done(s) and verdicts(s) == {"not_comparable": 1})


@BOTH
@pytest.mark.parametrize("ends", [Fault.RESET, Fault.HANG])
async def test_a_secondary_that_ends_within_a_long_reply_has_done_the_write(
    tmp_path: Path, stage: str, ends: Fault
) -> None:
    late = {"BACKENDS_NEW_TOTAL_TIMEOUT_MS": "300", "BACKENDS_NEW_FIRST_BYTE_TIMEOUT_MS": "300"}
    async with sidecar(tmp_path, STAGE=stage, **late) as s:
        s.legacy.always = EQUAL
        s.new.always = Answer(200, START, (), (BLOCK,) * 4, ends=ends)
        assert (await s.ask("PUT", "/a", b"x")).body == BODY
        await until(lambda: done(s) and verdicts(s) == {"not_comparable": 1})
        assert len(s.new.seen) == 1
        assert s.states() == ({"done": 1} if stage == OWED else {})


async def test_a_secondary_has_the_time_of_the_whole_reply_however_often_it_says_something(
    tmp_path: Path,
) -> None:
    late = {"BACKENDS_NEW_TOTAL_TIMEOUT_MS": "300", "BACKENDS_NEW_FIRST_BYTE_TIMEOUT_MS": "300"}
    async with sidecar(tmp_path, COMPARE_BODY_BYTES_MAX="100", **late) as s:
        s.legacy.always = EQUAL
        s.new.always = Answer(200, START, (), (b"x",) * 1000, pause_s=0.02)
        await s.ask("PUT", "/a", b"x")
        await until(lambda: done(s) and verdicts(s) == {"not_comparable": 1})


async def test_a_verdict_that_is_waited_for_takes_no_place_of_a_delivery(tmp_path: Path) -> None:
    async with sidecar(tmp_path, DELIVERY_CONCURRENCY_MAX="1") as s, s.client() as client:
        s.legacy.will("/a", Answer(200, START, (), (BLOCK,) * 400))
        s.new.will("/a", EQUAL)
        client.ask("PUT", "/a", b"x")
        await client.head()
        await s.done()
        await s.ask("PUT", "/b", b"x")
        await s.done(2)
        assert verdicts(s) == {"match": 1}


async def test_a_short_reply_that_hangs_midway_is_a_failed_try_as_ever(tmp_path: Path) -> None:
    late = {"BACKENDS_NEW_TOTAL_TIMEOUT_MS": "200", "BACKENDS_NEW_FIRST_BYTE_TIMEOUT_MS": "200"}
    async with sidecar(tmp_path, DELIVERY_BACKOFF_FIRST_MS="10", **late) as s:
        s.new.will("/a", Answer(200, b"{", (), ends=Fault.HANG))
        await s.ask("PUT", "/a", b"x")
        await s.done()
        assert len(s.new.seen) == 2


async def test_neither_the_lane_nor_the_state_waits_for_the_verdict(tmp_path: Path) -> None:
    route = '[[routes]]\nname = "one"\npath = "/{id}"\nentity_key = ["path:id"]\n'
    async with sidecar(tmp_path, route) as s, s.client() as client:
        s.legacy.always = Answer(200, START, (), (BLOCK,) * 400)
        s.new.always = Answer(200, START, (), (BLOCK,) * 400)
        client.ask("PUT", "/a", b"x")
        got = await client.head()
        await s.done()
        s.legacy.will("/a", Answer(200, b"{}", ()))
        s.new.will("/a", Answer(200, b"{}", ()))
        await s.ask("PUT", "/a", b"x")
        await s.done(2)
        assert verdicts(s) == {"match": 1}
        await until(lambda: on_disk(s) == [("done", ""), ("done", "match")])
        await client.exactly(int(got.headers["content-length"]))
        await until(lambda: done(s) and verdicts(s) == {"match": 2})


async def test_the_measure_outlives_a_reply_that_is_not_kept_in_memory(tmp_path: Path) -> None:
    async with sidecar(tmp_path, DELIVERY_MEMORY_BYTES_MAX="0") as s:
        s.legacy.always = s.new.always = EQUAL
        await s.ask("PUT", "/a", b"x")
        await until(lambda: done(s) and verdicts(s) == {"match": 1})


async def test_after_a_restart_a_long_reply_is_not_comparable(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        s.new.always = Gate(Fault.RESET)
        s.legacy.always = EQUAL
        await s.ask("PUT", "/a", b"x")
        await until(lambda: len(s.new.seen) == 1)
    async with sidecar(tmp_path) as s:
        s.new.always = EQUAL
        await s.done()
        await until(lambda: done(s) and verdicts(s) == {"not_comparable": 1})


async def test_the_secondary_is_not_slowed_by_the_client(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s, s.client() as client:
        s.legacy.always = s.new.always = Answer(200, START, (), (BLOCK,) * 400)
        client.ask("PUT", "/a", b"x")
        await client.head()
        await until(lambda: s.new.streamed == len(BLOCK) * 400)
        assert s.legacy.streamed < s.new.streamed


async def test_an_event_stream_is_passed_on_and_not_compared(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as s:
        events = ("Content-Type: text/event-stream",)
        s.legacy.always = s.new.always = Answer(200, b"data: a\n\n", events, (b"data: b\n\n",))
        assert (await s.ask("PUT", "/a", b"x")).body == b"data: a\n\ndata: b\n\n"
        await until(lambda: done(s) and sum(verdicts(s).values()) == 1)
