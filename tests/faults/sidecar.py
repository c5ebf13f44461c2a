"""A whole sidecar in the test's own loop, seen from outside only: its port, its admin port, its journal."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.app import TICK_S, App
from proxy.control.config import parse
from proxy.control.log import Log
from proxy.store import reader

FIRST_BYTE_SECONDS = 0.3
TOTAL_SECONDS = 0.6
SLACK_SECONDS = TICK_S + 2.0
"""How late a time-out may be: a tick of the sidecar, and what a busy machine takes."""

CONFIG = """
stage = "dual_legacy_primary"
[listen]
port = 0
drain_timeout_ms = 1000
[admin]
port = 0
[backends.legacy]
url = "http://127.0.0.1:{legacy}"
first_byte_timeout_ms = 300
total_timeout_ms = 600
[backends.new]
url = "http://127.0.0.1:{new}"
first_byte_timeout_ms = 300
total_timeout_ms = 600
[journal]
directory = "{directory}/data"
reply_bytes_max = 16384
[compare]
body_bytes_max = 16384
[delivery]
backoff_first_ms = 100
backoff_max_ms = 200
on_dead = "skip"
[breaker]
enabled = false
[[routes]]
name = "relayed"
path = "/relay/{{rest...}}"
mirror = "never"
"""

Status = dict[str, Any]


@dataclass(frozen=True)
class Running:
    """A running sidecar."""

    host: str
    port: int
    admin: str
    data: Path
    session: aiohttp.ClientSession

    async def status(self) -> Status:
        async with self.session.get(f"{self.admin}/status") as reply:
            found: Status = await reply.json()
            return found

    async def outcomes(self, role: str) -> dict[str, int]:
        """Calls to the side of this role, by what came of them."""
        async with self.session.get(f"{self.admin}/metrics") as reply:
            text = await reply.text()
        found = {}
        for labels, count in re.findall(
            r"^twinwrite_outcomes_total\{(.*)\} (\S+)$", text, re.MULTILINE
        ):
            named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            if named["role"] == role:
                found[named["outcome"]] = int(float(count))
        return found

    async def until(self, holds: Callable[[Status], bool], seconds: float = 8.0) -> Status:
        """The first `/status` that `holds`."""
        status: Status = {}
        try:
            async with asyncio.timeout(seconds):
                while not holds(status := await self.status()):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"not within {seconds} s: {status}")
        return status

    async def settled(self) -> Status:
        """Wait until nothing is in flight and nothing is owed; the books must balance then."""
        status = await self.until(lambda s: not s["in_flight"] and not s["backlog"]["rows"])
        entered = sum(status["intents"].values()) + sum(status["skipped"].values())
        assert status["accepted"] == entered, status
        return status

    def states(self) -> list[str]:
        """The journal's intents, oldest first."""
        return [str(row["state"]) for row in reversed(reader.intents(self.data))]


def happened(status: Status) -> dict[str, int]:
    """The intents by state, without the states that nothing is in."""
    return {state: count for state, count in status["intents"].items() if count}


@asynccontextmanager
async def running(text: str, directory: Path) -> AsyncIterator[Running]:
    """Start a sidecar, and stop it at the end; what it logs as a failure fails the test."""
    log = io.StringIO()
    app = App(parse(text, "faults.toml", {}), Log(log))
    await app.start()
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (ready,) = [line for line in lines if line["event"] == "ready"]
    host, _, port = ready["listen"].rpartition(":")
    try:
        async with aiohttp.ClientSession() as session:
            admin = f"http://{ready['admin']}"
            yield Running(host, int(port), admin, directory / "data", session)
    finally:
        await app.stop()
    failures = [line for line in log.getvalue().splitlines() if '"error"' in line]
    assert not failures, failures
