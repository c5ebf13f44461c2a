"""The whole sidecar, put together: it starts, serves, refuses to start clearly, and stops in order."""

import asyncio
import io
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from proxy.app import App, StartError
from proxy.control.config import parse
from proxy.control.log import Log
from proxy.store import reader
from proxy.wire.downstream import Downstream
from rules.message import Side
from tests.proxy.samples import until
from tests.proxy.world import world


def config_text(directory: Path, port: int = 0) -> str:
    return f"""
[listen]
port = {port}
[admin]
port = 0
[backends.legacy]
url = "http://127.0.0.1:1"
[backends.new]
url = "http://127.0.0.1:2"
[journal]
directory = "{directory}"
"""


async def refused(text: str) -> str:
    app = App(parse(text, "test.toml", {}), Log(io.StringIO()))
    with pytest.raises(StartError) as caught:
        await app.start()
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_write_reaches_both_sides_and_is_done(tmp_path: Path) -> None:
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        async with session.put(f"{w.url}/things/1", json={"a": 1}) as reply:
            assert (reply.status, await reply.json()) == (200, {"path": "/things/1"})
        await w.delivered()

        assert w.legacy.seen == w.new.seen == [("PUT", "/things/1", b'{"a": 1}')]
        status = w.app.status()
        assert status["accepted"] == status["intents"]["done"] == 1
        assert status["verdicts"]["match"] == 1


async def test_a_read_goes_to_the_primary_only(tmp_path: Path) -> None:
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        async with session.get(URL(f"{w.url}/things/1?q=%2F", encoded=True)) as reply:
            assert reply.status == 200

        assert w.legacy.seen == [("GET", "/things/1?q=%2F", b"")]
        assert w.new.seen == []
        assert w.app.status()["accepted"] == 0


@pytest.mark.parametrize("stage", ["legacy_only", "new_only"])
async def test_a_stage_without_mirror_skips_by_name(tmp_path: Path, stage: str) -> None:
    async with world(tmp_path, f'[categories.default]\nstage = "{stage}"') as w:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{w.url}/a", data=b"x") as reply,
        ):
            assert reply.status == 200

        assert len(w.legacy.seen) + len(w.new.seen) == 1
        assert w.app.status()["skipped"]["stage"] == w.app.status()["accepted"] == 1


async def test_a_shadowed_write_is_sent_and_compared_but_not_owed(tmp_path: Path) -> None:
    async with world(tmp_path, '[categories.default]\nstage = "shadow"') as w:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{w.url}/a", data=b"x") as reply,
        ):
            assert reply.status == 200
        await w.delivered()

        assert w.new.seen == [("POST", "/a", b"x")]
        assert w.app.status()["skipped"]["shadow"] == w.app.status()["verdicts"]["match"] == 1


async def test_what_was_owed_is_sent_after_a_restart(tmp_path: Path) -> None:
    async with (
        world(tmp_path, "[breaker]\nenabled = false") as w,
        aiohttp.ClientSession() as session,
    ):
        w.app.delivery.pause()
        for number in range(3):
            async with session.put(f"{w.url}/things/1", data=b"%d" % number) as reply:
                assert reply.status == 200
        assert w.new.seen == []
    async with world(tmp_path) as again:
        await again.delivered()

        assert [body for _, _, body in again.new.seen] == [b"0", b"1", b"2"]
        assert again.app.status()["intents"]["done"] == 3
        assert "resumed" in again.events()


async def test_a_port_in_use_ends_the_start_with_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        message = await refused(config_text(tmp_path, port))

    assert re.fullmatch(rf"cannot listen on 127.0.0.1:{port}: Address already in use", message)


async def test_a_second_process_on_one_journal_is_refused_by_pid(tmp_path: Path) -> None:
    async with world(tmp_path):
        message = await refused(config_text(tmp_path / "data"))

    assert re.search(r"another process \(pid \d+\) has this journal", message)


async def test_an_unwritable_directory_ends_the_start_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert "journal's directory cannot be written" in await refused(
        config_text(tmp_path / "file" / "x")
    )


async def test_it_starts_with_both_backends_gone_and_says_it_is_not_ready(tmp_path: Path) -> None:
    log = io.StringIO()
    app = App(parse(config_text(tmp_path), "test.toml", {}), Log(log))
    await app.start()
    try:
        assert (
            "the primary (legacy, http://127.0.0.1:1) takes no connection" in await app._not_ready()
        )
    finally:
        await app.stop()


async def test_a_damaged_ledger_is_moved_aside_and_does_not_stop_writes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ledger.db").write_bytes(b"this is not a database" * 100)
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        async with session.put(f"{w.url}/things/1", data=b"x") as reply:
            assert reply.status == 200
        await w.delivered()

        assert w.app.status()["intents"]["done"] == 1
        assert "ledger_damaged" in w.events()
        assert len(list((tmp_path / "data").glob("ledger.db.damaged-*"))) == 1


async def test_a_ledger_that_cannot_be_opened_does_not_stop_writes(tmp_path: Path) -> None:
    (tmp_path / "data" / "ledger.db").mkdir(parents=True)
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        async with session.put(f"{w.url}/things/1", data=b"x") as reply:
            assert reply.status == 200
        await w.delivered()

        assert w.app.status()["intents"]["done"] == 1
        assert "ledger_failed" in w.events()


async def test_stopping_lets_a_request_in_flight_finish(tmp_path: Path) -> None:
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        asked = asyncio.create_task(session.put(f"{w.url}/things/1", data=b"x"))
        while not w.app.tally.in_flight and not asked.done():
            await asyncio.sleep(0)
        await w.app.stop()
        reply = await asked

        assert reply.status == 200
        assert w.events()[-2:] == ["draining", "stopped"]


async def test_a_start_that_fails_sends_nothing_of_what_is_owed(tmp_path: Path) -> None:
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        w.app.delivery.pause()
        for number in range(5):
            async with session.put(f"{w.url}/things/{number}", data=b"x"):
                pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = w.config.read_text().replace("[listen]\nport = 0", f"[listen]\nport = {port}")

        assert "Address already in use" in await refused(text)

    assert w.new.seen == []


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (
            '[[routes]]\nname = "gone"\npath = "/things/{id}"\n',
            "",
            "1 of a route that the config no longer has",
        ),
        (
            "",
            '[categories.default]\nstage = "dual_new_primary"\n',
            "1 to new, which stage dual_new_primary",
        ),
    ],
    ids=["route gone", "authority moved"],
)
async def test_a_backlog_that_cannot_be_delivered_as_it_was_meant_ends_the_start(
    tmp_path: Path, before: str, after: str, why: str
) -> None:
    async with world(tmp_path, before) as w, aiohttp.ClientSession() as session:
        w.app.delivery.pause()
        async with session.put(f"{w.url}/things/7", data=b"x") as reply:
            assert reply.status == 200
    text = w.config.read_text().replace(before, "") + after

    assert why in await refused(text)
    async with world(tmp_path, before) as again:
        await again.delivered()
        assert again.new.seen == [("PUT", "/things/7", b"x")]


async def test_a_body_over_the_limit_is_413_however_it_arrives(tmp_path: Path) -> None:
    limit = {"TWINWRITE_LISTEN_BODY_BYTES_MAX": "1000"}
    async with world(tmp_path, **limit) as w, aiohttp.ClientSession() as session:

        async def pieces() -> AsyncIterator[bytes]:
            yield b"x" * 5000

        async with session.put(f"{w.url}/things/7", data=pieces()) as reply:
            assert reply.status == 413
        assert w.legacy.seen == []
        assert w.app.tally.holds()


async def test_an_owed_write_says_what_holds_it_back(tmp_path: Path) -> None:
    limits = "[breaker]\ncalls_min = 1\nopen_seconds = 1000\n"
    async with world(tmp_path, limits) as w, aiohttp.ClientSession() as session:
        w.new.answers["/a"] = (503, {})
        for path in ("/a", "/b"):
            async with session.put(w.url + path, data=b"x") as reply:
                assert reply.status == 200
            async with asyncio.timeout(5):
                while path == "/a" and not w.app.guard.hold("default"):
                    await asyncio.sleep(0.002)
        found = {row["target"]: row for row in reader.intents(tmp_path / "data")}

    assert (found["/b"]["state"], found["/b"]["reason"]) == ("s_pending", "breaker_open")


async def test_the_kill_switch_journals_and_says_so(tmp_path: Path) -> None:
    async with world(tmp_path, TWINWRITE_KILL_SWITCH="1") as w, aiohttp.ClientSession() as session:
        async with session.put(f"{w.url}/a", data=b"x") as reply:
            assert reply.status == 200
        (row,) = reader.intents(tmp_path / "data")

    assert (row["state"], row["reason"]) == ("s_pending", "kill_switch")
    assert w.new.seen == []


class Stuck(Downstream):
    """A client that cannot be given up."""

    def expire(self) -> None:
        raise RuntimeError("stuck")


async def test_a_sweep_that_fails_is_told_once_and_ends_no_other_deadline(tmp_path: Path) -> None:
    limit = {"TWINWRITE_BACKENDS_LEGACY_IDLE_TIMEOUT_MS": "1"}
    async with world(tmp_path, **limit) as w, aiohttp.ClientSession() as session:
        stuck = Stuck(w.app.clients)
        stuck.deadline = 0
        w.app.clients.open.add(stuck)
        pool = w.app.pools[Side.LEGACY]
        for _ in range(2):
            async with session.get(w.url + "/a") as reply:
                assert reply.status == 200
            await until(lambda: not pool._open)
        w.app.clients.open.discard(stuck)

    assert w.events().count("sweep_failed") == 1
