"""The families that are Python libraries: requests, httpx, aiohttp."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from typing import Any

import aiohttp
import httpx
import requests
from yarl import URL

from tests.clients.cases import Case, Reply, Step, reply

PIECE = 100_000


def _pieces(body: bytes) -> Iterator[bytes]:
    yield from (body[at : at + PIECE] for at in range(0, len(body), PIECE))


async def _pieces_later(body: bytes) -> AsyncIterator[bytes]:
    for piece in _pieces(body):
        yield piece


def by_requests(url: str, case: Case, name: str) -> list[Reply]:
    with requests.Session() as session:
        return [_requests_step(session, url, case, step, name) for step in case.steps]


def _requests_step(session: requests.Session, url: str, case: Case, step: Step, name: str) -> Reply:
    assert not step.expect
    more: dict[str, Any] = {"json": step.json, "data": step.body}
    if step.chunked:
        more["data"] = _pieces(step.body or b"")
    if step.form is not None and step.file is not None:
        more.update(data=step.form, files={"file": step.file})
    headers = {**step.headers, "X-Case": name}
    got = session.request(
        step.method,
        url + step.path,
        headers=headers,
        allow_redirects=case.follow,
        timeout=10,
        **more,
    )
    return reply(got.status_code, list(got.raw.headers.iteritems()), got.content, len(got.history))


def by_httpx(url: str, case: Case, name: str) -> list[Reply]:
    with httpx.Client(timeout=10, follow_redirects=case.follow) as client:
        return [_httpx_step(client, url, step, name) for step in case.steps]


def _httpx_step(client: httpx.Client, url: str, step: Step, name: str) -> Reply:
    more: dict[str, Any] = {"json": step.json, "content": step.body}
    if step.chunked:
        more["content"] = _pieces(step.body or b"")
    if step.form is not None and step.file is not None:
        more = {"data": step.form, "files": {"file": step.file}}
    got = client.request(
        step.method, url + step.path, headers={**step.headers, "X-Case": name}, **more
    )
    return reply(got.status_code, got.headers.multi_items(), got.content, len(got.history))


def by_aiohttp(url: str, case: Case, name: str) -> list[Reply]:
    async def session() -> list[Reply]:
        jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address, not of a name
        limit = aiohttp.ClientTimeout(10)
        async with aiohttp.ClientSession(cookie_jar=jar, timeout=limit) as client:
            return [await _aiohttp_step(client, url, case, step, name) for step in case.steps]

    return asyncio.run(session())


async def _aiohttp_step(
    client: aiohttp.ClientSession, url: str, case: Case, step: Step, name: str
) -> Reply:
    more: dict[str, Any] = {} if step.json is None else {"json": step.json}
    if step.body is not None:
        more["data"] = BytesIO(step.body)
    if step.chunked:
        more["data"] = _pieces_later(step.body or b"")
    if step.form is not None and step.file is not None:
        form = aiohttp.FormData(dict(step.form))
        form.add_field("file", step.file[1], filename=step.file[0])
        more["data"] = form
    async with client.request(
        step.method, URL(url + step.path, encoded=True), headers={**step.headers, "X-Case": name},
        allow_redirects=case.follow, expect100=step.expect, **more,
    ) as got:  # fmt: skip
        headers = [(key.decode(), value.decode()) for key, value in got.raw_headers]
        return reply(got.status, headers, await got.read(), len(got.history))
