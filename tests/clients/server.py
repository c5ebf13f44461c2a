"""A real service (aiohttp) whose replies depend on the request alone, and that remembers what it got."""

import asyncio
import email
import hashlib
from collections.abc import Awaitable, Callable

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TRAILERS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: close\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n"
)


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Service:
    """One side; `got` holds by the client's X-Case what arrived: method, target, digest of the body."""

    def __init__(self) -> None:
        self.got: dict[str, list[tuple[str, str, str]]] = {}
        self._held = asyncio.Event()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._remember], client_max_size=1 << 26)
        handlers: dict[str, Handler] = {
            "hello": hello, "echo": echo, "form": form, "empty": empty, "tagged": tagged, "zipped": zipped,
            "moved": moved, "cookies": cookies, "large": large, "events": self._events, "trailers": trailers,
            "broken": broken, "release": self._release, "close": close, "chunky": chunky,
        }  # fmt: skip
        for name, handler in handlers.items():
            application.router.add_route("*", f"/{name}", handler)
        return application

    @web.middleware
    async def _remember(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await request.read()
        seen = (request.method, request.raw_path, digest(body))
        self.got.setdefault(request.headers.get("X-Case", ""), []).append(seen)
        return await handler(request)

    async def _release(self, _: web.Request) -> web.Response:
        self._held.set()
        return web.Response()

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Three events; with `?hold` the second waits for a request to /release."""
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        for number in range(3):
            await reply.write(f"id: {number}\ndata: event {number}\n\n".encode())
            if "hold" in request.query and number == 0:
                await self._held.wait()
                self._held.clear()
        return reply


async def hello(request: web.Request) -> web.Response:
    reply = web.json_response({"hello": request.raw_path})
    reply.headers.add("X-One", "1")
    reply.headers.add("X-One", "2")
    return reply


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    told = {"method": request.method, "length": len(body), "digest": digest(body)}
    reply = web.json_response(told, status=201 if request.method == "PUT" else 200)
    reply.headers.add("x-ODD", "1")
    reply.headers.add("X-Odd", "2")
    return reply


async def form(request: web.Request) -> web.Response:
    """The parts of a multipart body, read by Python's mail parser: aiohttp reads a body only once."""
    whole = (
        b"Content-Type: "
        + request.headers["Content-Type"].encode()
        + b"\r\n\r\n"
        + await request.read()
    )
    parts = email.message_from_bytes(whole).walk()
    found = {
        str(part.get_param("name", header="content-disposition")): [
            part.get_filename(),
            digest(bytes(part.get_payload(decode=True))),
        ]
        for part in parts
        if not part.is_multipart()
    }
    assert len(found) == 3, "not all parts were found"
    return web.json_response(found)


async def empty(_: web.Request) -> web.Response:
    return web.Response(status=204, headers={"X-Empty": "yes"})


async def tagged(request: web.Request) -> web.Response:
    tag = {"ETag": '"v1"', "Cache-Control": "max-age=5"}
    if request.headers.get("If-None-Match") == '"v1"':
        return web.Response(status=304, headers=tag)
    return web.Response(text="version 1", headers=tag)


async def zipped(_: web.Request) -> web.Response:
    reply = web.Response(text="zip " * 1000)
    reply.enable_compression(web.ContentCoding.gzip)
    return reply


async def moved(_: web.Request) -> web.Response:
    return web.Response(status=303, headers={"Location": "/hello?moved"})


async def cookies(request: web.Request) -> web.Response:
    reply = web.json_response(sorted(request.cookies.items()))
    reply.set_cookie("one", "1", path="/")
    reply.set_cookie("two", "2", httponly=True, max_age=3600)
    return reply


async def large(request: web.Request) -> web.Response:
    sizes = [len(value) for name, value in request.headers.items() if name.startswith("X-Large")]
    return web.json_response(sizes, headers={"X-Large": "r" * 7000})


async def chunky(request: web.Request) -> web.StreamResponse:
    reply = web.StreamResponse()
    reply.enable_chunked_encoding()
    await reply.prepare(request)
    for size in (1, 70_000, 3):
        await reply.write(b"c" * size)
    return reply


async def trailers(request: web.Request) -> web.Response:
    """aiohttp sends no trailers: these are written under its feet."""
    assert request.transport is not None
    request.transport.write(TRAILERS)
    request.transport.close()
    return web.Response()


async def broken(_: web.Request) -> web.Response:
    return web.Response(status=500, text="sorry", headers={"Retry-After": "1"})


async def close(_: web.Request) -> web.Response:
    reply = web.Response(text="bye")
    reply.force_close()
    return reply
