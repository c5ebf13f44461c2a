"""`twinwrite demo` as a user runs it: the report's numbers, and that it leaves nothing running."""

import json
import re
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from proxy.demo.run import TERMINATED
from tests.system.harness import run_cli, start_program

pytestmark = pytest.mark.system

SEEDED = {"total", "status", "note", "phone"}


async def test_the_demo_loses_nothing_and_finds_what_was_seeded() -> None:
    code, out, errors = await run_cli("demo", "--json", "--count", "300")
    assert code == 0, errors
    found = json.loads(out)
    assert found["good"] is True
    assert found["requests"] == 300
    assert found["accepted"] > 200
    assert found["mirrored"] == found["books"]["intents"]["done"] == found["accepted"]
    assert found["books"]["balanced"] is True
    state = found["state"]
    assert (state["lost"], state["doubled"], state["out_of_order"]) == ([], [], [])
    assert found["outage"]["owed"] > 0
    assert {group["path"] for group in found["groups"]} == {f"/body/{name}" for name in SEEDED}
    assert {name.rpartition(".")[2] for name in state["differing"]} == SEEDED
    assert found["example"]["primary"]["side"] == "legacy"
    assert found["example"]["differences"]


async def test_the_printed_report_is_short_and_says_where_to_look() -> None:
    code, out, errors = await run_cli("demo", "--count", "100")
    assert code == 0, errors
    assert len(out.splitlines()) < 60
    assert re.search(r"lost +0", out)
    assert "side by side" in out
    assert "twinwrite demo --keep" in out


async def test_a_kept_demo_stays_until_it_is_told_and_then_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "demo.log"
    command = [sys.executable, "-m", "proxy", "demo", "--keep", "--count", "60"]
    demo = await start_program(command, log, lambda line: line.startswith("to stop"))
    try:
        told = re.findall(r"^(?:metrics|clients|logs) +(\S+)$", log.read_text(), re.MULTILINE)
        metrics, clients, logs = told
        async with aiohttp.ClientSession() as session:
            for url in (metrics, clients):
                async with session.get(url) as reply:
                    assert reply.status == 200
    finally:
        code = await demo.stop()
    assert code == TERMINATED == 128 + signal.SIGTERM
    async with aiohttp.ClientSession() as session:
        for url in (metrics, clients):
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get(url)
    assert not Path(logs).exists()
