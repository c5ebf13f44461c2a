"""The admin port: health, readiness, status, metrics; and actions, for who has the token."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.control.admin import BODY_BYTES_MAX, Actions, Admin
from proxy.control.metrics import Metrics
from proxy.control.ports import Admin as Settings
from proxy.control.tally import Tally
from proxy.control.token import FILE
from rules.framing import Refusal
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


GOOD = {"Authorization": "Bearer secret", "Content-Type": "application/json"}


@asynccontextmanager
async def acting() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An admin port with one action, and what reached it."""
    given: list[bytes] = []

    async def ready() -> str:
        return ""

    async def act(document: bytes) -> dict[str, Any] | Refusal:
        given.append(document)
        return {"done": 1} if document else Refusal(400, "empty")

    actions = Actions(token="secret", by_path={"/act": act})
    admin = Admin(Settings(port=0), Metrics(Tally(), lambda: READING), dict, ready, actions)
    address = await admin.start()
    try:
        yield f"http://{address}/act", given
    finally:
        await admin.stop()


async def posted(
    url: str, headers: dict[str, str], body: bytes | io.BytesIO = b"{}"
) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as reply,
    ):
        return reply.status, await reply.json(content_type=None)


async def test_an_action_is_for_who_has_the_token() -> None:
    async with acting() as (url, given):
        assert await posted(url, GOOD) == (200, {"done": 1})
        assert await posted(url, {**GOOD, "Authorization": "bearer  secret"}) == (200, {"done": 1})
        assert given == [b"{}", b"{}"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer secre"}, 401),
        ({"Authorization": "Bearer secret1"}, 401),
        ({"Authorization": "Basic secret"}, 401),
        ({"Authorization": "secret"}, 401),
        ({"Authorization": "Bearer \u00e9"}, 401),
        ({"Origin": "http://127.0.0.1:9090"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
async def test_nobody_else_may_act(change: dict[str, str], status: int) -> None:
    async with acting() as (url, given):
        found, document = await posted(url, {**GOOD, **change})

        assert (found, document["status"], document["type"]) == (status, status, "about:blank")
        assert given == []


async def test_what_an_action_refuses_and_what_is_too_long_is_a_problem_document() -> None:
    async with acting() as (url, given):
        assert (await posted(url, GOOD, b""))[1]["detail"] == "empty"
        assert (await posted(url, GOOD, io.BytesIO(b"x" * (BODY_BYTES_MAX + 1))))[0] == 413
        assert given == [b""]


async def test_the_token_of_a_sidecar_lies_beside_its_journal_and_stays(tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        async with world(tmp_path) as w:
            tokens.append((tmp_path / "data" / FILE).read_text().strip())
            headers = {"Authorization": f"Bearer {tokens[-1]}", "Content-Type": "application/json"}
            found = await posted(f"{w.admin}/dead/retry", headers, b'{"ids": [1]}')
            assert found[0] == 200
    assert tokens[0] == tokens[1]
