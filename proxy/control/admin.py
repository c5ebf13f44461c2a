"""The admin port: health, readiness, metrics, status, and the actions of a person. Loopback by default.

Law: it shows what the tests assert: the same numbers, under the same words. Looking needs nothing;
every action needs the token.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge

from proxy.control.metrics import CONTENT_TYPE, Metrics
from proxy.control.ports import Admin as Settings
from rules.framing import Refusal

Status = Callable[[], Mapping[str, Any]]
"""What `/status` shows."""

Ready = Callable[[], Awaitable[str]]
"""Why the sidecar cannot serve now, in one line; "" when it can."""

Action = Callable[[bytes], Awaitable[dict[str, Any] | Refusal]]
"""Takes the JSON document of a POST as it came."""

BODY_BYTES_MAX = 16 * 1024 * 1024
"""The longest document of an action: an edited body, in base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What may be posted, by path, by who shows the token."""

    token: str = field(default="", repr=False)
    by_path: Mapping[str, Action] = field(default_factory=dict)


class Admin:
    """The listener of the admin port."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        status: Status,
        ready: Ready,
        actions: Actions = Actions(),
    ) -> None:
        self._metrics = metrics
        self._ready = ready
        self._settings = settings
        self._status = status
        self._bearer = f"bearer {actions.token}".encode()
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.add_routes(
            [
                web.get("/healthz", self._get_health),
                web.get("/readyz", self._get_readiness),
                web.get("/metrics", self._get_metrics),
                web.get("/status", self._get_status),
            ]
        )
        for path, action in actions.by_path.items():
            application.router.add_post(path, partial(self._act, action))
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

    async def _act(self, action: Action, request: web.Request) -> web.Response:
        refusal = self._refused(request)
        if refusal is not None:
            return _problem(refusal)
        try:
            given = await request.read()
        except HTTPRequestEntityTooLarge:
            return _problem(Refusal(413, f"more than {BODY_BYTES_MAX} bytes"))
        told = await action(given)
        return _problem(told) if isinstance(told, Refusal) else web.json_response(told)

    def _refused(self, request: web.Request) -> Refusal | None:
        """Why a POST is not looked at. A browser always sends an Origin with one (Fetch standard, 3.2)."""
        if "Origin" in request.headers:
            return Refusal(403, "no web page may act")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        shown = f"{scheme.lower()} {token.strip()}".encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(shown, self._bearer):
            return Refusal(401, "the token in the journal's directory is needed")
        if request.content_type != "application/json":
            return Refusal(415, "must be application/json")
        return None


def _problem(refusal: Refusal) -> web.Response:
    """A problem document (RFC 9457)."""
    title = HTTPStatus(refusal.status).phrase
    document = {
        "type": "about:blank", "title": title, "status": refusal.status, "detail": refusal.detail,
    }  # fmt: skip
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
    return web.json_response(
        document, status=refusal.status, headers=headers, content_type="application/problem+json"
    )
