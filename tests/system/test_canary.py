"""Nothing secret is written: canaries go through a real sidecar in every way, and every byte it wrote is searched.

Exempt is the journal, by contract: it keeps exact bytes to replay them (mode 0600). All else is searched:
the ledger with its write-ahead log, the log, every answer that the sidecar made itself, its admin port.
"""

import asyncio
import base64
import gzip
import json
import secrets
import sqlite3
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.parse import quote, quote_plus

import aiohttp
import pytest

from rules.message import Side
from tests.system.harness import (
    Sidecar,
    Status,
    counted,
    start_sidecar,
    status_of,
    wait_until,
    write_config,
)

pytestmark = pytest.mark.system

CONFIG = """
stage = "dual_legacy_primary"
[listen]
port = 0
body_bytes_max = 100000
[admin]
port = 0
[backends.legacy]
url = "http://127.0.0.1:{legacy}"
[backends.new]
url = "http://127.0.0.1:{new}"
[journal]
directory = "{directory}/data"
[delivery]
attempts_max = 2
backoff_first_ms = 10
backoff_max_ms = 20
[breaker]
enabled = false
[compare]
headers = ["content-type", "location", "set-cookie", "x-echo"]
[[routes]]
name = "scene"
path = "/s/{{scene}}"
entity_key = ["path:scene"]
[[routes]]
name = "parked"
path = "/parked"
translate = {{ "json:/customer_id" = "customer" }}
"""
BARE = "[redact]\nheaders = []\nfields = []\npatterns = []\n"

JOURNAL = ("journal.db", "journal.db-wal", "journal.db-shm")
"""Exempt: the replay payloads, exact and 0600 (semantics.md, 12)."""

MISMATCHES = (
    "json",
    "form",
    "parts",
    "lines",
    "text",
    "gzip",
    "page",
    "moved",
    "status",
    "keys",
    "array",
)
JSON, FORM, TEXT = "application/json", "application/x-www-form-urlencoded", "text/plain"
PARTS = "multipart/form-data; boundary=xx"

Canaries = Mapping[str, str]


def luhn(start: str) -> str:
    """A card number that begins so: with the check digit that makes it one (ISO/IEC 7812-1)."""
    digits = [int(each) for each in start]
    doubled = [2 * each - 9 * (each > 4) for each in digits[-1::-2]]
    return start + str(-(sum(doubled) + sum(digits[-2::-2])) % 10)


def iban(account: str) -> str:
    """A German IBAN of an account of 18 digits (ISO 13616)."""
    return f"DE{98 - int(account + '131400') % 97:02}{account}"


def canaries() -> Canaries:
    """One secret of each kind, of this run only."""

    def chance() -> str:
        return secrets.token_hex(12)

    def packed(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    def digits(count: int) -> str:
        return "".join(str(secrets.randbelow(10)) for _ in range(count))

    basic = f"ada:{chance()}"
    return {
        "card": luhn("4" + digits(14)),
        "iban": iban(digits(18)),
        "jwt": f"{packed({'alg': 'HS256'})}.{packed({'sub': chance()})}.{chance()}",
        "email": f"ada.{chance()}@example.com",
        "email as a key": f"key.{chance()}@example.com",
        "email in a path": f"path.{chance()}@example.com",
        "email as an identity": f"id.{chance()}@example.com",
        "aws": "AKIA" + secrets.token_hex(8).upper(),
        "stripe": "sk_live_" + chance(),
        "basic": basic,
        "basic, coded": base64.b64encode(basic.encode()).decode(),
        **{
            name: chance()
            for name in (
                "password", "nested", "form", "part", "query", "bearer", "cookie", "api key", "set-cookie",
                "location", "fragment", "user", "line", "assigned", "camel", "header link",
            )
        },
    }  # fmt: skip


def spellings(value: str) -> set[bytes]:
    """A canary as it may stand in a file; of base64 what does not depend on what follows."""
    coded = base64.b64encode(value.encode()).decode().rstrip("=")
    as_json = json.dumps(value)[1:-1]
    return {
        each.encode()
        for each in (value, quote(value, safe=""), quote_plus(value), as_json, coded[:-1])
    }


def document(known: Canaries) -> dict[str, object]:
    """JSON with a secret in every place."""
    inner = json.dumps({"user": {"password": known["nested"]}})
    return {
        "password": known["password"],
        "newPassword": {"value": known["camel"]},
        "note": f"pay {known['card']} or {known['iban']}, write to {known['email']}",
        "list": [known["jwt"], {"deep": [known["aws"], known["stripe"]]}],
        "inner": inner,
        "twice": json.dumps({"inner": inner}),
        known["email as a key"]: {"a": 1},
        "link": f"https://ada:{known['user']}@host/a?token={known['query']}",
        "error": f"bad token: {known['assigned']}",
        "header": f"Authorization: Basic {known['basic, coded']}",
    }


def bodies(known: Canaries) -> Mapping[str, tuple[str, bytes]]:
    """The same secrets as each content type carries them."""
    whole = json.dumps(document(known))
    disposition = "--xx\r\nContent-Disposition: form-data; name="
    parts = (
        f'{disposition}"password"\r\n\r\n{known["part"]}\r\n'
        f'{disposition}"a"; filename="{known["email"]}"\r\nContent-Type: {JSON}\r\n\r\n{whole}\r\n--xx--\r\n'
    )
    form = f"password={known['form']}&mail={quote_plus(known['email'])}&json={quote_plus(whole)}"
    return {
        "json": (JSON, whole.encode()),
        "form": (FORM, form.encode()),
        "parts": (PARTS, parts.encode()),
        "lines": ("application/x-ndjson", f'{whole}\n{{"token": "{known["line"]}"}}\n'.encode()),
        "text": (TEXT, f"call {known['email']}: {known['card']}, {known['jwt']}".encode()),
        "page": ("text/html", f"<input name=password value={known['password']}>".encode()),
        "array": (JSON, json.dumps([document(known)]).encode()),
    }


def request(
    known: Canaries, target: str, content_type: str, body: bytes, method: str = "POST"
) -> bytes:
    """A request with secrets in its target, its headers and its body."""
    query = f"token={known['query']}&mail={quote(known['email'])}&card={known['card']}"
    mark = "&" if "?" in target else "?"
    lines = [
        f"{method} {target}{mark}{query} HTTP/1.1",
        "Host: shop",
        "Connection: close",
        f"Authorization: Bearer {known['bearer']}",
        f"Cookie: sid={known['cookie']}; theme=dark",
        f"X-Api-Key: {known['api key']}",
        f"Referer: https://shop/?access_token={known['header link']}",
        f"X-Echo: Basic {known['basic, coded']}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def reply(known: Canaries, status: str, content_type: str, body: bytes, *more: str) -> bytes:
    """A reply with secrets in its headers and its body."""
    lines = [
        f"HTTP/1.1 {status}",
        "Connection: close",
        f"Set-Cookie: sid={known['set-cookie']}; Path=/; HttpOnly",
        f"X-Echo: {known['bearer']} for Bearer {known['jwt']}, {known['email']}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(known: Canaries, side: Side, scene: str) -> bytes:
    """What a side says in a scene; b"" is nothing at all."""
    new = side is Side.NEW
    types = bodies(known)
    plain = reply(known, "200 OK", *types["json"])
    match scene:
        case "failing" if new:
            return b""
        case "refusing" if new:
            return reply(known, "422 Unprocessable", *types["json"])
        case "broken":
            return f"HTTP/1.1 what {known['jwt']} {known['email']}\r\n\r\n".encode()
        case "switching":
            return f"HTTP/1.1 101 Go\r\nUpgrade: {known['aws']}\r\nConnection: upgrade\r\n\r\n".encode()
        case "status":
            return reply(known, "201 Created", *types["json"]) if new else plain
        case "moved":
            where = f"/in?token={known['location']}&b={int(new)}#access_token={known['fragment']}"
            return reply(known, "303 See Other", TEXT, b"", f"Location: {where}")
        case "gzip":
            body = gzip.compress(types["json"][1].replace(b'"a": 1', b'"a": %d' % new))
            return reply(known, "200 OK", JSON, body, "Content-Encoding: gzip")
        case "keys":
            found = {
                known["email as a key"]: {known["card"]: int(new), "pad": "x " * 80 + known["jwt"]}
            }
            return reply(known, "200 OK", JSON, json.dumps({} if new else found).encode())
        case _ if scene in types:
            content_type, body = types[scene]
            changed = (
                body.replace(b"ada.", b"eve.").replace(b"name=password", b"name=pin")
                if new
                else body
            )
            return reply(known, "200 OK", content_type, changed)
        case _:
            return plain


@asynccontextmanager
async def backend(known: Canaries, side: Side) -> AsyncIterator[int]:
    """One side: a server that answers by the scene in the path; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = [
                    line
                    for line in head.lower().split("\r\n")
                    if line.startswith("content-length:")
                ]
                await reader.readexactly(int(length[0].partition(":")[2]) if length else 0)
            except asyncio.IncompleteReadError:
                return
            scene = head.split()[1].partition("?")[0].rpartition("/")[2]
            writer.write(answer(known, side, scene))
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def ask(sidecar: Sidecar, raw: bytes) -> bytes:
    """Send bytes as they are, and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sidecar.port))
    with closing(writer):
        writer.write(raw)
        return await asyncio.wait_for(reader.read(), 10)


async def play(sidecar: Sidecar, known: Canaries) -> list[bytes]:
    """Every scene; the answers that the sidecar made itself."""
    types = bodies(known)
    for scene in ("match", "failing", "refusing", *MISMATCHES):
        content_type, body = types.get(scene, types["json"])
        relayed = await ask(sidecar, request(known, f"/s/{scene}", content_type, body))
        assert relayed.startswith((b"HTTP/1.1 200", b"HTTP/1.1 303")), (scene, relayed)
    parked = json.dumps({**document(known), "customer_id": known["email as an identity"]})
    assert (await ask(sidecar, request(known, "/parked", JSON, parked.encode()))).startswith(
        b"HTTP/1.1 200"
    )
    good = request(known, f"/{known['email in a path']}/broken", *types["json"])
    told = [
        await ask(sidecar, good),
        await ask(sidecar, request(known, "/broken", TEXT, b"", "GET")),
        await ask(sidecar, request(known, "/s/large", JSON, b" " * 100_001)),
        await ask(sidecar, good.replace(b"Host: shop", f"Bad {known['jwt']}: x".encode())),
        await ask(sidecar, good.replace(b"Host: shop", f"Host: {known['email']} x".encode())),
        await ask(sidecar, good.replace(b" HTTP/1.1", f" {known['card']} HTTP/1.1".encode(), 1)),
        await ask(sidecar, good.replace(b"POST", known["aws"].encode(), 1)),
        await ask(
            sidecar, good.replace(b"Content-Length: ", f"Content-Length: {known['card']}x".encode())
        ),
        await ask(
            sidecar, good.replace(b"Connection: close", b"Transfer-Encoding: chunked\r\nX: y")
        ),
        await ask(sidecar, good.replace(b"POST", b"TRACE", 1)),
        await ask(
            sidecar,
            request(known, "/switching", TEXT, b"", "GET").replace(
                b"Connection: close",
                f"Connection: upgrade, close\r\nUpgrade: x/{known['stripe']}".encode(),
            ),
        ),
    ]
    for each in told:
        assert each.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), each
        assert b"application/problem+json" in each
    return told


async def shown(sidecar: Sidecar) -> list[bytes]:
    """All that the admin port shows."""
    found = []
    async with aiohttp.ClientSession() as session:
        for path in ("/metrics", "/status", "/readyz", "/healthz"):
            async with session.get(sidecar.admin + path) as told:
                found.append(await told.read())
    return found


def written(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every file but the exempt ones, and every value of the ledger, unpacked where it is packed."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name not in JOURNAL and "spool" not in path.parts:
            yield path.name, path.read_bytes()
    ledger = directory / "data" / "ledger.db"
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
        for (table,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            try:
                rows = database.execute(f'SELECT * FROM "{table}"').fetchall()
            except sqlite3.Error:
                continue  # an inner table of an index
            for value in (value for row in rows for value in row):
                yield table, _unpacked(value)


def _unpacked(value: object) -> bytes:
    if not isinstance(value, bytes):
        return str(value).encode("utf-8", "replace")
    try:
        return zlib.decompress(value, 47)  # gzip or zlib
    except zlib.error:
        return value


def leaks(known: Canaries, where: Iterator[tuple[str, bytes]]) -> set[tuple[str, str]]:
    """(canary, place) of what is found."""
    wanted = {name: spellings(value) for name, value in known.items()}
    return {
        (name, place)
        for place, content in where
        for name, ways in wanted.items()
        if any(way in content for way in ways)
    }


def settled(status: Status) -> bool:
    states = counted(status, "intents")
    return (
        states.get("parked", 0) == 1 and states.get("dead", 0) >= 2 and states.get("s_sent", 0) == 0
    )


async def run(directory: Path, redact: str = "") -> set[tuple[str, str]]:
    """Play every scene with a sidecar of this `[redact]`, and tell what leaked."""
    known = canaries()
    async with backend(known, Side.LEGACY) as legacy, backend(known, Side.NEW) as new:
        text = CONFIG.format(legacy=legacy, new=new, directory=directory) + redact
        sidecar = await start_sidecar(write_config(directory, text))
        try:
            told = await play(sidecar, known)
            await wait_until(sidecar, settled)
            status = await wait_until(
                sidecar, lambda now: counted(now, "verdicts").get("mismatch", 0) >= len(MISMATCHES)
            )
            found = leaks(known, written(directory))
            told += await shown(sidecar)
            assert status["accepted"] == (await status_of(sidecar))["accepted"]
        finally:
            assert await sidecar.child.stop() == 0
    for name in JOURNAL[:1]:
        assert (directory / "data" / name).stat().st_mode & 0o777 == 0o600
    found |= leaks(known, written(directory))
    return found | leaks(known, (("answer", each) for each in told))


def kept(directory: Path) -> dict[str, int]:
    """Mismatches in the ledger by path of their request."""
    with closing(sqlite3.connect(directory / "data" / "ledger.db")) as database:
        found = database.execute(
            "SELECT target, evidence FROM verdicts WHERE verdict = 'mismatch'"
        ).fetchall()
    assert all(evidence for _, evidence in found)
    return {target.partition("?")[0]: 1 for target, _ in found}


async def test_no_secret_gets_into_ledger_log_metrics_or_answers(tmp_path: Path) -> None:
    assert await run(tmp_path) == set()
    assert {f"/s/{scene}" for scene in MISMATCHES} <= set(kept(tmp_path))


async def test_this_search_finds_secrets_where_nothing_is_masked(tmp_path: Path) -> None:
    found = {name for name, _ in await run(tmp_path, BARE)}
    assert {
        "password",
        "bearer",
        "cookie",
        "api key",
        "set-cookie",
        "query",
        "nested",
        "part",
    } <= found
