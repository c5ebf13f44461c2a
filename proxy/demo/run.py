"""`twinwrite demo`: two backends, the sidecar, clients, an outage in the middle, and a report.

Law: the sidecar is a process of its own, used only by HTTP and by its command line; everything that
is started is ended here, by its process id, also after Ctrl-C.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from proxy.demo import report
from proxy.demo.child import Child, ChildEnded
from proxy.demo.drive import Driver
from proxy.demo.report import Outage, Report

CONFIG = Path(__file__).with_name("demo.toml")
COUNT_MIN = 50
COUNT = 5000  # takes under ten seconds, and new is away for more than one
WORKERS = 8
KILL_AT = 0.35  # of all requests
RESTART_AT = 0.7
CATCH_UP_SECONDS_MAX = 60.0
POLL_SECONDS = 0.1
HINT = (
    "\nAll of it is stopped and removed. `twinwrite demo --keep` leaves it running and says where "
    "to look: status, metrics, and `twinwrite diffs list` for the differences."
)
TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `twinwrite demo` was asked: number of requests, seed, `keep` running, report as JSON."""

    count: int = COUNT
    seed: int = 1
    keep: bool = False
    json: bool = False


class Progressing:
    """The bar on stderr when it is a terminal, one plain line per step when it is not."""

    def __init__(self, count: int) -> None:
        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self.bar = Progress(
            *columns,
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("requests", total=count)

    def step(self, text: str) -> None:
        """Say what happens now."""
        self.console.print(text, highlight=False)

    def tick(self) -> None:
        """One more request was answered."""
        self.bar.advance(self.task)

    def left(self, owed: int) -> None:
        """So many writes are still owed to the new backend."""
        self.bar.update(self.task, description=f"catching up: {owed} owed")


class Scene:
    """The three processes in one directory: `backends` by side, and `sidecar`, set by `open`."""

    sidecar: Child

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.backends: dict[str, Child] = {}
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("TWINWRITE_")}

    async def open(self, stack: AsyncExitStack) -> None:
        """Start both backends, then the sidecar; `stack` will end them, the sidecar first."""
        self._session = await stack.enter_async_context(aiohttp.ClientSession())
        stack.push_async_callback(self._end_backends)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.start_backend("legacy"))
            group.create_task(self.start_backend("new"))
        self.environment |= {
            "TWINWRITE_LISTEN_PORT": "0",
            "TWINWRITE_ADMIN_PORT": "0",
            "TWINWRITE_BACKENDS_LEGACY_URL": self.backends["legacy"].fields()["url"],
            "TWINWRITE_BACKENDS_NEW_URL": self.backends["new"].fields()["url"],
            "TWINWRITE_JOURNAL_DIRECTORY": str(self.directory / "journal"),
        }
        command = [sys.executable, "-m", "proxy", "run", "-c", str(CONFIG)]
        self.sidecar = await self._start(command, "sidecar")
        stack.push_async_callback(self.sidecar.stop)

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"http://{self.sidecar.fields()['listen']}"

    @property
    def admin_url(self) -> str:
        """Where the operator looks."""
        return f"http://{self.sidecar.fields()['admin']}"

    @property
    def diffs_command(self) -> str:
        """The command that lists the differences of this run."""
        directory = self.environment["TWINWRITE_JOURNAL_DIRECTORY"]
        return f"TWINWRITE_JOURNAL_DIRECTORY={directory} twinwrite diffs list -c {CONFIG}"

    async def start_backend(self, side: str) -> None:
        """Start a backend; the second time on the same port and the same data as the first."""
        before = self.backends.get(side)
        port = before.fields()["url"].rpartition(":")[2] if before is not None else "0"
        data = str(self.directory / f"{side}.sqlite")
        module = [sys.executable, "-m", "proxy.demo.backend", side]
        self.backends[side] = await self._start([*module, "--port", port, "--data", data], side)

    async def status(self) -> Mapping[str, object]:
        """The sidecar's `/status`."""
        return await self._get(f"{self.admin_url}/status")

    async def dump(self, side: str) -> Mapping[str, object]:
        """All that a backend holds."""
        return await self._get(f"{self.backends[side].fields()['url']}/dump")

    async def cli(self, *arguments: str) -> object:
        """The JSON answer of `twinwrite ARGUMENTS --json -c demo.toml`; raises ChildEnded."""
        command = ("-m", "proxy", *arguments, "--json", "-c", str(CONFIG))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=PIPE, stderr=PIPE, env=self.environment
        )
        out, errors = await process.communicate()
        if process.returncode != 0:
            raise ChildEnded(f"twinwrite {' '.join(arguments)}: {errors.decode().strip()}")
        answer: object = json.loads(out)
        return answer

    async def _get(self, url: str) -> Mapping[str, object]:
        try:
            async with self._session.get(url) as reply:
                reply.raise_for_status()
                found = await reply.json()
        except aiohttp.ClientError as error:
            raise ChildEnded(f"{url}: {error}") from error
        assert isinstance(found, dict)
        return found

    async def _start(self, command: list[str], name: str) -> Child:
        log = self.directory / f"{name}.log"
        return await Child.start(command, environment=self.environment, log=log)

    async def _end_backends(self) -> None:
        await asyncio.gather(*(child.stop() for child in self.backends.values()))


class Performance:
    """The plot: write, kill the new backend, go on writing, bring it back, wait for the rest."""

    def __init__(self, scene: Scene, driver: Driver, options: Options) -> None:
        self.scene = scene
        self.driver = driver
        self.count = max(options.count, COUNT_MIN)
        self.shown = Progressing(self.count)
        self._answered = 0
        self._kill = asyncio.Event()
        self._restart = asyncio.Event()

    async def play(self) -> Report:
        """All of it; returns what was found. Raises ChildEnded when a process cannot be started."""
        self.shown.step(
            f"legacy, new and the sidecar are up: {self.count} requests to {self.scene.url}"
        )
        started = time.monotonic()
        with self.shown.bar:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.driver.drive(self.count, self._tick))
                absence = group.create_task(self._absence())
            seconds = time.monotonic() - started
            outage = await self._catch_up(*absence.result())
        return await self._report(outage, seconds)

    def _tick(self) -> None:
        self._answered += 1
        self.shown.tick()
        if self._answered >= self.count * KILL_AT:
            self._kill.set()
        if self._answered >= self.count * RESTART_AT:
            self._restart.set()

    async def _absence(self) -> tuple[float, float, int]:
        """Kill the new backend under load, start it again under load: from, until, rows owed."""
        await self._kill.wait()
        new = self.scene.backends["new"]
        await new.kill()
        gone = time.monotonic()
        self.shown.step(f"after {self._answered} requests: new is killed (SIGKILL {new.pid})")
        await self._restart.wait()
        owed = backlog(await self.scene.status())
        await self.scene.start_backend("new")
        back = time.monotonic()
        self.shown.step(f"after {self._answered} requests: new is back, {owed} writes are owed")
        return gone, back, owed

    async def _catch_up(self, gone: float, back: float, owed: int) -> Outage:
        caught_up = False
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS_MAX):
                while not caught_up:
                    left = backlog(await self.scene.status())
                    caught_up = left == 0
                    self.shown.left(left)
                    await asyncio.sleep(0 if caught_up else POLL_SECONDS)
        return Outage(
            seconds=back - gone,
            owed=owed,
            catch_up_seconds=time.monotonic() - back,
            caught_up=caught_up,
        )

    async def _report(self, outage: Outage, seconds: float) -> Report:
        status = await self.scene.status()
        record = self.driver.record()
        groups = await self._groups()
        legacy, new = await self.scene.dump("legacy"), await self.scene.dump("new")
        return Report(
            requests=record.requests,
            seconds=seconds,
            answers=report.answers(record.answers),
            accepted=sum(record.accepted.values()),
            mirrored=report.numbers(status, "intents").get("done", 0),
            outage=outage,
            state=report.compare_state(record.accepted, legacy, new),
            books=report.books(status),
            groups=groups,
            example=await self._example(groups),
            admin_url=self.scene.admin_url,
            diffs_command=self.scene.diffs_command,
        )

    async def _groups(self) -> list[dict[str, object]]:
        listed = await self.scene.cli("diffs", "list")
        assert isinstance(listed, list)
        return sorted(listed, key=lambda group: report.number(group, "count"), reverse=True)

    async def _example(self, groups: list[dict[str, object]]) -> dict[str, object] | None:
        if not groups:
            return None
        shown = await self.scene.cli("diffs", "show", str(groups[0]["sample"]))
        return shown if isinstance(shown, dict) else None


def backlog(status: Mapping[str, object]) -> int:
    """The rows owed to the secondary, out of `/status`."""
    return report.number(report.table(status, "backlog"), "rows")


async def demo(options: Options) -> int:
    """Run the demo and print its report on stdout.

    Returns the exit code: 0 when nothing was lost and all was caught up, else 1; 143 after SIGTERM.
    With `keep` everything goes on running until Ctrl-C. `count` is at least COUNT_MIN.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    terminated = asyncio.Event()

    def terminate() -> None:
        terminated.set()
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await _demo(options)
    except (ChildEnded, ExceptionGroup) as error:
        sys.stderr.write(f"twinwrite: error: {_reason(error)}\n")
        return 1
    except asyncio.CancelledError:
        if not terminated.is_set():
            raise
        return TERMINATED
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _reason(error: Exception) -> ChildEnded:
    """The first process that could not be used; anything else in a group is a bug and is raised."""
    if isinstance(error, ExceptionGroup):
        ended, others = error.split(ChildEnded)
        if others is not None or ended is None:
            raise error
        return _reason(ended.exceptions[0])
    assert isinstance(error, ChildEnded)
    return error


async def _demo(options: Options) -> int:
    with tempfile.TemporaryDirectory(prefix="twinwrite-demo-") as directory:
        async with AsyncExitStack() as stack:
            scene = Scene(Path(directory))
            await scene.open(stack)
            driver = await stack.enter_async_context(
                Driver(scene.url, seed=options.seed, workers=WORKERS)
            )
            found = await Performance(scene, driver, options).play()
            _tell(found, options)
            if options.keep:
                _tell_kept(scene, found)
                await asyncio.Event().wait()
    return 0 if found.good else 1


def _tell(found: Report, options: Options) -> None:
    if options.json:
        sys.stdout.write(report.as_json(found) + "\n")
        sys.stdout.flush()
        return
    console = Console()
    report.render(found, console)
    if not options.keep:
        console.print(HINT, highlight=False)


def _tell_kept(scene: Scene, found: Report) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"\nstatus       {found.admin_url}/status")
    console.print(f"metrics      {found.admin_url}/metrics")
    console.print(f"clients      {scene.url}/orders")
    console.print(f"differences  {found.diffs_command}")
    console.print(f"logs         {scene.directory}")
    console.print(f"to stop      Ctrl-C here, or: kill {os.getpid()}")
