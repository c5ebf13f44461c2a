"""The native mirrors: their configuration, and that they do with it what they are measured for."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench import envoy, nginx, sample
from bench.bed import Bed, Choice, missing
from bench.check import CONNECTIONS_MAX, COUNT, Recorder, Seen, check, judged
from bench.contestants import CONTESTANTS, Contestant
from bench.nginx import Mirror
from bench.tools import ToolError

ABSENT = missing()
PEERS = tuple(each for each in CONTESTANTS if each.needs and each.needs not in ABSENT)
DIRECT = next(each for each in CONTESTANTS if each.name == "direct")
OURS = Choice(load="own", backends="own")


def test_nginx_keeps_connections_to_legacy_and_mirrors_as_it_is_told() -> None:
    made = {each: nginx.proxying(1, "127.0.0.1:2", "127.0.0.1:3", each) for each in Mirror}
    for text in made.values():
        assert "proxy_request_buffering" not in text  # its default
        assert "keepalive 256" in text.partition("upstream new")[0]
    assert "mirror /mirror;" not in made[Mirror.NONE]
    default, tuned = made[Mirror.DEFAULT], made[Mirror.TUNED]
    assert "mirror /mirror;" in default
    assert default.count("keepalive 256") == default.count("proxy_http_version 1.1") == 1
    assert tuned.count("keepalive 256") == tuned.count("proxy_http_version 1.1") == 2


def test_nginx_logs_nothing_per_request_and_is_one_process(tmp_path: Path) -> None:
    command = nginx.proxy(tmp_path, 1, "127.0.0.1:2", "127.0.0.1:3", Mirror.TUNED)
    text = Path(command[command.index("-c") + 1]).read_text()
    assert "access_log off;" in text
    assert "master_process off;" in text


def test_envoy_has_one_worker_and_mirrors_only_with_a_new_side(tmp_path: Path) -> None:
    command = envoy.command(tmp_path, 1, "127.0.0.1:2", "127.0.0.1:3")
    assert command[command.index("--concurrency") + 1] == "1"
    assert "--disable-hot-restart" in command
    assert command[command.index("--log-level") + 1] == "off"
    mirroring = json.dumps(envoy.bootstrap(1, "127.0.0.1:2", "127.0.0.1:3"))
    assert json.loads(Path(command[2]).read_text()) == json.loads(mirroring)
    assert "request_mirror_policies" in mirroring
    assert "access_log" not in mirroring
    relaying = json.dumps(envoy.bootstrap(1, "127.0.0.1:2", None))
    assert "request_mirror_policies" not in relaying
    assert '"port_value": 2' in relaying


@pytest.mark.system
@pytest.mark.skipif(not PEERS, reason="neither nginx nor envoy is installed")
@pytest.mark.parametrize("body_bytes", [sample.BODY_BYTES, 1 << 20])
async def test_every_peer_gives_each_side_what_it_was_sent(tmp_path: Path, body_bytes: int) -> None:
    async with Bed.made(tmp_path, OURS) as bed:
        await check(bed, PEERS, body_bytes)


@pytest.mark.system
@pytest.mark.skipif("nginx" in ABSENT, reason="nginx is not installed")
async def test_nginx_opens_a_connection_per_mirrored_request_unless_replies_are_empty(
    tmp_path: Path,
) -> None:
    kept = [replace(each, reconnects=False) for each in PEERS if each.needs == "nginx"]
    async with Bed.made(tmp_path, OURS) as bed:
        with pytest.raises(ToolError) as caught:
            await check(bed, kept, sample.BODY_BYTES)
    assert str(caught.value) == "; ".join(
        f"{name}, new: {COUNT} connections for {COUNT} requests"
        for name in ("nginx_mirror", "nginx_mirror_tuned")
    )


async def test_a_contestant_that_does_not_mirror_ends_the_run(tmp_path: Path) -> None:
    lazy = replace(DIRECT, name="lazy", mirrors=True)
    async with Bed.made(tmp_path, OURS) as bed:
        await check(bed, [DIRECT], sample.BODY_BYTES)
        with pytest.raises(ToolError, match="lazy, new: of 16 requests it got 0"):
            await _hurried(bed, lazy)


async def _hurried(bed: Bed, contestant: Contestant) -> None:
    await check(bed, [contestant], sample.BODY_BYTES, seconds=0.2)


def test_lost_changed_doubled_and_reconnecting_are_each_told() -> None:
    wanted: Seen = Counter({(b"POST", b"/1", b"a"): 1, (b"POST", b"/2", b"b"): 1})
    assert judged("it", _side(wanted), wanted) == ""
    lost: Seen = Counter({(b"POST", b"/1", b"a"): 1})
    assert judged("it", _side(lost), wanted).endswith(
        "got 1 as they were sent, and 0 that were not"
    )
    changed: Seen = lost + Counter({(b"GET", b"/2", b"b"): 1})
    assert judged("it", _side(changed), wanted).endswith("1 as they were sent, and 1 that were not")
    doubled = wanted + lost
    assert judged("it", _side(doubled), wanted).endswith("2 as they were sent, and 1 that were not")
    restless = _side(wanted, connections=CONNECTIONS_MAX + 1)
    assert "connections" in judged("it", restless, wanted)
    assert judged("it", restless, wanted, reconnects=True) == ""


def _side(seen: Seen, connections: int = 1) -> Recorder:
    return Recorder(sample.REPLY, asyncio.Event(), seen=seen, connections=connections)
