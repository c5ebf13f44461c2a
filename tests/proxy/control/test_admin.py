"""The admin port: health, readiness, status, metrics."""

from pathlib import Path

import aiohttp
import pytest

from proxy.control.admin import Admin
from proxy.control.metrics import Metrics
from proxy.control.ports import Admin as Settings
from proxy.control.tally import Tally
from tests.proxy.control.test_metrics import READING
from tests.proxy.world import world


async def test_health_status_and_metrics_answer(tmp_path: Path) -> None:
    async with world(tmp_path) as w, aiohttp.ClientSession() as session:
        for path, expected in (("/healthz", "ok"), ("/readyz", "ready")):
            async with session.get(w.admin + path) as reply:
                assert (reply.status, (await reply.json())["status"]) == (200, expected)
        async with session.get(f"{w.admin}/status") as reply:
            assert (await reply.json())["primary"] == "legacy"
        async with session.get(f"{w.admin}/metrics") as reply:
            assert reply.headers["Content-Type"].startswith("text/plain")


async def test_not_ready_is_503_with_the_reason() -> None:
    async def no_primary() -> str:
        return "the primary takes no connection"

    admin = Admin(Settings(port=0), Metrics(Tally(), lambda: READING), dict, no_primary)
    address = await admin.start()
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{address}/readyz") as reply,
        ):
            assert reply.status == 503
            assert await reply.json() == {
                "status": "not_ready",
                "reason": "the primary takes no connection",
            }
    finally:
        await admin.stop()


async def test_a_taken_port_is_an_os_error() -> None:
    async def ready() -> str:
        return ""

    first = Admin(Settings(port=0), Metrics(Tally(), lambda: READING), dict, ready)
    port = int((await first.start()).rpartition(":")[2])
    second = Admin(Settings(port=port), Metrics(Tally(), lambda: READING), dict, ready)
    try:
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
    finally:
        await first.stop()
