"""Two instances of a service that knows nothing of the sidecar hold the same data afterwards.

In each test the new side is stopped half-way for ten seconds while writing goes on.
"""

import asyncio
import json
import time
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from proxy.demo.child import Child
from tests.system.harness import (
    Sidecar,
    Status,
    assert_balanced,
    caught_up,
    counted,
    free_port,
    needed,
    start_program,
    start_sidecar,
    write_config,
)

with warnings.catch_warnings():  # the client still calls what Python 3.12 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from influxdb import InfluxDBClient

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore:.*utcfromtimestamp:DeprecationWarning"),
]

OUTAGE_SECONDS = 10.0
PACE_SECONDS = 0.02
POINTS = 5  # in each batch
WRITES_AROUND = 50  # before and after the outage
SEEDED_ID = 5000  # so that the two sides assign different ids
WORKERS = 3
BINARIES = Path(__file__).parent / "node_modules" / ".bin"

CONFIG = """
stage = "dual_legacy_primary"
[listen]
port = 0
[admin]
port = 0
[backends.legacy]
url = "http://127.0.0.1:{legacy}"
[backends.new]
url = "http://127.0.0.1:{new}"
[journal]
directory = "{journal}"
[delivery]
backoff_max_ms = 1000
[breaker]
open_seconds = 2
ramp_seconds = 2
"""

ONE_LANE = """
[[routes]]
name = "influx"
methods = ["POST"]
path = "/{rest...}"
"""

POSTS = """
[compare]
ignore = ["/id", "/postId"]
[[routes]]
name = "create post"
methods = ["POST"]
path = "/posts"
harvest = [{ kind = "post", from = "json:/id" }]
[[routes]]
name = "change post"
path = "/posts/{post_id}"
entity = "post"
entity_key = ["path:post_id"]
translate = { "path:post_id" = "post" }
[[routes]]
name = "create comment"
methods = ["POST"]
path = "/comments"
translate = { "json:/postId" = "post" }
"""

Json = dict[str, object]


@asynccontextmanager
async def sidecar_between(
    directory: Path, ports: Mapping[str, int], routes: str
) -> AsyncIterator[Sidecar]:
    journal = directory / "journal"
    config = write_config(directory, CONFIG.format(**ports, journal=journal) + routes)
    sidecar = await start_sidecar(config)
    try:
        yield sidecar
    finally:
        await sidecar.child.stop()


class Pair:
    """Two instances of one service; subclass says how one is started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = {"legacy": free_port(), "new": free_port()}
        self.running: dict[str, Child] = {}

    async def start(self, side: str) -> None:
        raise NotImplementedError

    async def outage(self) -> None:
        """Stop the new side, really, for OUTAGE_SECONDS; start it again on its data and port."""
        await self.running["new"].stop()
        await asyncio.sleep(OUTAGE_SECONDS)
        await self.start("new")

    async def __aenter__(self) -> None:
        for side in self.ports:
            await self.start(side)

    async def __aexit__(self, *_: object) -> None:
        for child in self.running.values():
            await child.stop()


class Influx(Pair):
    """InfluxDB 1.6, as Debian ships it, configured by its own environment variables."""

    async def start(self, side: str) -> None:
        data, port = self.directory / side, self.ports[side]
        self.running[side] = await start_program(
            [needed("influxd", Path("/usr/bin"), Path("/usr/sbin")), "run"],
            self.directory / f"{side}.log",
            lambda line: "Listening on HTTP" in line,
            INFLUXDB_HTTP_BIND_ADDRESS=f"127.0.0.1:{port}",
            INFLUXDB_BIND_ADDRESS="127.0.0.1:0",
            INFLUXDB_META_DIR=str(data / "meta"),
            INFLUXDB_DATA_DIR=str(data / "data"),
            INFLUXDB_DATA_WAL_DIR=str(data / "wal"),
            INFLUXDB_REPORTING_DISABLED="true",
            INFLUXDB_MONITOR_STORE_ENABLED="false",
            INFLUXDB_HTTP_LOG_ENABLED="false",
        )


class JsonServer(Pair):
    """json-server 0.17: a REST service over one file; new starts with other ids."""

    async def start(self, side: str) -> None:
        file = self.directory / f"{side}.json"
        if not file.exists():
            seed = [{"id": SEEDED_ID, "key": "seed"}] if side == "new" else []
            file.write_text(json.dumps({"posts": seed, "comments": []}))
        program = needed("json-server", BINARIES)
        self.running[side] = await start_program(
            [program, "--host", "127.0.0.1", "--port", str(self.ports[side]), str(file)],
            self.directory / f"{side}.log",
            lambda line: line.strip() == f"http://127.0.0.1:{self.ports[side]}",
        )


def batch(number: int) -> list[Json]:
    """POINTS points with their own times, so that both sides store the same."""
    return [
        {
            "measurement": "load",
            "tags": {"host": f"app-{point}"},
            "time": 1_700_000_000_000_000_000 + number * 1_000_000_000,
            "fields": {"batch": number, "share": number / 7},
        }
        for point in range(POINTS)
    ]


class Writing:
    """How much was written, and whether to go on."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.written = 0
        self._wanted = 0
        self._reached = asyncio.Event()

    def one_more(self) -> int:
        """Count what was written; returns its number."""
        self.written += 1
        if self.written >= self._wanted:
            self._reached.set()
        return self.written

    async def more(self, count: int) -> None:
        """Wait until `count` more were written."""
        self._wanted = self.written + count
        self._reached.clear()
        await self._reached.wait()


async def write_points(client: InfluxDBClient, writing: Writing) -> None:
    while not writing.stop.is_set():
        await asyncio.to_thread(client.write_points, batch(writing.written))
        writing.one_more()
        await asyncio.sleep(PACE_SECONDS)


def points(port: int, query: str = "SELECT * FROM load") -> list[Json]:
    """What one influxd, or the sidecar, answers to a query."""
    client = InfluxDBClient(port=port, database="metrics")
    found: list[Json] = list(client.query(query).get_points())
    client.close()
    return found


def assert_all_done(status: Status) -> None:
    assert_balanced(status)
    assert set(counted(status, "intents")) == {"done"}, status


async def test_two_influxdbs_hold_the_same_points_after_an_outage(tmp_path: Path) -> None:
    pair, writing = Influx(tmp_path), Writing()
    async with pair, sidecar_between(tmp_path, pair.ports, ONE_LANE) as sidecar:
        client = InfluxDBClient(port=int(sidecar.port), database="metrics")
        await asyncio.to_thread(client.create_database, "metrics")
        async with asyncio.TaskGroup() as group:
            group.create_task(write_points(client, writing))
            await writing.more(WRITES_AROUND)
            before = time.monotonic()
            await pair.outage()
            assert time.monotonic() - before >= OUTAGE_SECONDS
            await writing.more(WRITES_AROUND)
            writing.stop.set()
        status = await caught_up(sidecar)
        through = await asyncio.to_thread(points, int(sidecar.port))
        sides = [await asyncio.to_thread(points, port) for port in pair.ports.values()]
        client.close()
    assert len(sides[0]) == writing.written * POINTS
    assert sides[0] == sides[1] == through
    assert_all_done(status)
    assert counted(status, "intents")["done"] == writing.written + 1  # and CREATE DATABASE


class Blogger:
    """One client of json-server: posts, changes them, comments on them, deletes some early ones."""

    def __init__(self, name: str, session: aiohttp.ClientSession, writing: Writing) -> None:
        self.name = name
        self.session = session
        self.writing = writing
        self.deletable: list[object] = []

    async def run(self) -> None:
        while not self.writing.stop.is_set():
            await self.round()

    async def round(self) -> None:
        """A post, two changes, a comment."""
        key = f"{self.name}-{self.writing.one_more()}"
        post = await self._ask("POST", "/posts", {"key": key, "text": "first", "likes": 0})
        path = f"/posts/{post['id']}"
        await self._ask("PATCH", path, {"likes": 3})
        await self._ask("PUT", path, {"key": key, "text": "second", "likes": 4})
        await self._ask("POST", "/comments", {"key": f"{key}-c", "postId": post["id"]})
        if self.deletable:
            await self._ask("DELETE", f"/posts/{self.deletable.pop()}", {})
        await asyncio.sleep(PACE_SECONDS)

    async def lone_post(self) -> None:
        """A post without comments, to be deleted later: json-server deletes comments of none."""
        post = await self._ask("POST", "/posts", {"key": f"{self.name}-lone-{len(self.deletable)}"})
        self.deletable.append(post["id"])

    async def _ask(self, method: str, path: str, fields: Json) -> Json:
        async with self.session.request(method, path, json=fields) as reply:
            assert reply.status in (200, 201), (method, path, reply.status)
            found = await reply.json()
        assert isinstance(found, dict)
        return found


async def blog(port: int) -> dict[str, dict[str, object]]:
    """What one json-server holds, by the client's keys; a comment names its post by key."""
    url = f"http://127.0.0.1:{port}"
    found = []
    async with aiohttp.ClientSession(url) as session:
        for path in ("/posts", "/comments"):
            async with session.get(path) as reply:
                found.append(await reply.json())
    posts, comments = found
    keys = {post["id"]: post["key"] for post in posts}
    plain = {p["key"]: {k: v for k, v in p.items() if k != "id"} for p in posts}
    plain.pop("seed", None)
    assert len(comments) == len({c["key"] for c in comments})
    return {"posts": plain, "comments": {c["key"]: keys[c["postId"]] for c in comments}}


async def bloggers_write(sidecar: Sidecar, pair: JsonServer) -> Writing:
    """Drive json-server through the outage. The new side is stopped between two writes: json-server
    cannot tell a write that it already has, and a file that it is writing would be cut."""
    writing = Writing()
    async with aiohttp.ClientSession(sidecar.url) as session:
        bloggers = [Blogger(f"b{n}", session, writing) for n in range(WORKERS)]
        for blogger in bloggers:
            for _ in range(4):
                await blogger.lone_post()
        for blogger in bloggers:
            await blogger.round()
        await caught_up(sidecar)
        async with asyncio.TaskGroup() as group:
            outage = group.create_task(pair.outage())
            for blogger in bloggers:
                group.create_task(blogger.run())
            await outage
            await writing.more(WRITES_AROUND)
            writing.stop.set()
    return writing


async def test_two_json_servers_hold_the_same_posts_after_an_outage(tmp_path: Path) -> None:
    pair = JsonServer(tmp_path)
    async with pair, sidecar_between(tmp_path, pair.ports, POSTS) as sidecar:
        writing = await bloggers_write(sidecar, pair)
        status = await caught_up(sidecar)
        legacy, new = [await blog(port) for port in pair.ports.values()]
    assert writing.written > WRITES_AROUND
    assert len(legacy["posts"]) >= WRITES_AROUND
    assert legacy == new
    assert_all_done(status)
