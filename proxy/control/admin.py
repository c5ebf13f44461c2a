"""The admin port: health, readiness, metrics, status. Loopback by default, read-only in this release.

Law: it shows what the tests assert: the same numbers, under the same words.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from proxy.control.metrics import CONTENT_TYPE, Metrics
from proxy.control.ports import Admin as Settings

Status = Callable[[], Mapping[str, Any]]
"""What `/status` shows."""

Ready = Callable[[], Awaitable[str]]
"""Why the sidecar cannot serve now, in one line; "" when it can."""


class Admin:
    """The listener of the admin port."""

    def __init__(self, settings: Settings, metrics: Metrics, status: Status, ready: Ready) -> None:
        self._metrics = metrics
        self._ready = ready
        self._settings = settings
        self._status = status
        application = web.Application()
        application.add_routes(
            [
                web.get("/healthz", self._get_health),
                web.get("/readyz", self._get_readiness),
                web.get("/metrics", self._get_metrics),
                web.get("/status", self._get_status),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)

    async def start(self) -> str:
        """Listen; the address, with the port that was picked. Raises OSError when it is taken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._settings.host, self._settings.port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        host, port = self._runner.addresses[0][:2]
        return f"{host}:{port}"

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _get_health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _get_readiness(self, _: web.Request) -> web.Response:
        reason = await self._ready()
        if reason:
            return web.json_response({"status": "not_ready", "reason": reason}, status=503)
        return web.json_response({"status": "ready"})

    async def _get_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def _get_status(self, _: web.Request) -> web.Response:
        return web.json_response(self._status())
