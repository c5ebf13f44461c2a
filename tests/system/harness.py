"""What system tests start and ask: real processes, their ready lines, their ends by id."""

import asyncio
import os
import shutil
import socket
import sys
import tomllib
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import aiohttp
import pytest

from proxy.demo.child import Child, ready_event

POLL_SECONDS = 0.1

Status = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A running sidecar: where clients go, where the operator looks, what it was started with."""

    child: Child
    config: Path
    url: str
    admin: str

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    @property
    def admin_port(self) -> str:
        return self.admin.rpartition(":")[2]


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without any of the sidecar's settings, and `extra`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TWINWRITE_")}
    return {**kept, **extra}


def free_port() -> int:
    """A port that nobody listened on a moment ago, for programs that cannot pick one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_config(directory: Path, text: str) -> Path:
    """Write a sidecar's configuration (checked to be TOML) and return its path."""
    tomllib.loads(text)
    file = directory / "twinwrite.toml"
    file.write_text(text)
    return file


async def start_sidecar(config: Path, *within: str, **settings: str) -> Sidecar:
    """Start `twinwrite run -c config`, wait until it serves; `settings` are its variables.

    `within`: a command that runs the one behind it, such as `nsenter`.
    """
    command = [*within, sys.executable, "-m", "proxy", "run", "-c", str(config)]
    log = config.with_name("sidecar.log")
    child = await Child.start(command, environment=environment(**settings), log=log)
    told = child.fields()
    return Sidecar(
        child=child,
        config=config,
        url=f"http://{told['listen']}",
        admin=f"http://{told['admin']}",
    )


async def start_shop(side: str, directory: Path, *options: str) -> Child:
    """Start one backend of the sample shop on `directory`; its URL is `fields()["url"]`."""
    data = str(directory / f"{side}.sqlite")
    command = [sys.executable, "-m", "proxy.demo.backend", side, "--data", data, *options]
    return await start_program(command, directory / f"{side}.log")


async def start_program(
    command: list[str],
    log: Path,
    ready: Callable[[str], bool] = ready_event,
    **settings: str,
) -> Child:
    """Start any program and wait for the line of its output that `ready` accepts."""
    return await Child.start(command, environment=environment(**settings), log=log, ready=ready)


async def status_of(sidecar: Sidecar) -> Status:
    """The sidecar's `/status`."""
    return await get_json(f"{sidecar.admin}/status")


async def get_json(url: str) -> Status:
    """A JSON object by GET; anything but 200 is an error."""
    async with aiohttp.ClientSession() as session, session.get(url) as reply:
        reply.raise_for_status()
        found: Status = await reply.json()
        return found


def counted(status: Status, name: str) -> dict[str, int]:
    """One table of numbers of `/status`, such as `intents`, without those that are 0."""
    found = status[name]
    assert isinstance(found, dict)
    return {word: count for word, count in found.items() if count}


async def wait_until(
    sidecar: Sidecar, holds: Callable[[Status], bool], seconds: float = 60.0
) -> Status:
    """Ask `/status` until `holds` says yes; fails with the last answer after `seconds`."""
    status: Status = {}
    try:
        async with asyncio.timeout(seconds):
            while not holds(status := await status_of(sidecar)):
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        pytest.fail(f"not within {seconds} s: {status}")
    return status


async def caught_up(sidecar: Sidecar, seconds: float = 60.0) -> Status:
    """Wait until nothing is owed to the secondary; returns the status then."""

    def owes_nothing(status: Status) -> bool:
        return not counted(status, "backlog").get("rows")

    return await wait_until(sidecar, owes_nothing, seconds)


def assert_balanced(status: Status) -> None:
    """The law: accepted writes = intents by state + skipped by reason."""
    entered = sum(counted(status, "intents").values()) + sum(counted(status, "skipped").values())
    assert status["accepted"] == entered, status


async def run_cli(
    *arguments: str, within: Sequence[str] = (), **settings: str
) -> tuple[int, str, str]:
    """Run `twinwrite ARGUMENTS` to its end: exit code, stdout, stderr. `within`: as in `start_sidecar`."""
    process = await asyncio.create_subprocess_exec(
        *(*within, sys.executable, "-m", "proxy", *arguments),
        stdout=PIPE,
        stderr=PIPE,
        env=environment(**settings),
    )
    out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


def needed(program: str, *folders: Path) -> str:
    """The path of a third-party program; where it is missing, skip with the reason, in CI fail."""
    path = os.pathsep.join([*(str(folder) for folder in folders), os.environ.get("PATH", "")])
    found = shutil.which(program, path=path)
    return found if found is not None else _missing(program)


def _missing(program: str) -> NoReturn:
    reason = f"{program} is not installed: run tests/setup"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
