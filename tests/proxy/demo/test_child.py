"""Processes that the demo starts: ready lines, ends by id, output kept."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from proxy.demo.child import Child, ChildEnded, ready_event

SERVES = """
import json, sys
print("before")
print(json.dumps({"event": "ready", "url": "http://here", "port": 8}), flush=True)
sys.stdin.read() or __import__("signal").pause()
"""


async def started(code: str, log: Path) -> Child:
    return await Child.start([sys.executable, "-c", code], environment=os.environ, log=log)


async def test_a_child_is_ready_when_it_said_so(tmp_path: Path) -> None:
    child = await started(SERVES, tmp_path / "sample.log")
    assert child.fields() == {"event": "ready", "url": "http://here"}
    running = [child.running]
    assert await child.stop() == -signal.SIGTERM
    running.append(child.running)
    assert running == [True, False]
    assert (tmp_path / "sample.log").read_text().startswith("before\n")


async def test_a_killed_child_is_gone_and_may_be_stopped_again(tmp_path: Path) -> None:
    child = await started(SERVES, tmp_path / "sample.log")
    assert await child.kill() == -signal.SIGKILL
    assert await child.stop() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


async def test_a_child_that_ends_early_is_told_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(ChildEnded, match="sample ended before it was ready: no port"):
        await started("print('no port'); raise SystemExit(2)", tmp_path / "sample.log")


async def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    log = tmp_path / "sample.log"
    code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def never(line: str) -> bool:
        seen.set_result(int(line))
        return False

    command = [sys.executable, "-c", code]
    task = asyncio.create_task(Child.start(command, environment=os.environ, log=log, ready=never))
    pid = await seen
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_only_the_json_event_is_a_ready_line() -> None:
    assert ready_event('{"event": "ready"}')
    assert not any(map(ready_event, ["ready", '{"event": "start"}', "[1]", ""]))
