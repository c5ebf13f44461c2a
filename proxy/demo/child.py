"""One process that the demo started: its ready line, its log, its end.

Law: a child is ended by its own process id and nothing else; whoever starts one stops it, also when
interrupted. Its output is always read, so it never waits for a full pipe.
"""

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

READY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 15.0
LINE_BYTES_MAX = 1 << 20
LINES_TOLD_MAX = 5


class ChildEnded(Exception):
    """A child ended, or stayed silent, before it was ready; the text holds its last lines."""


def ready_event(line: str) -> bool:
    """Whether a line of output is the JSON event `ready`."""
    try:
        found = json.loads(line)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("event") == "ready"


class Child:
    """A started process. Use `Child.start`; then `ready` holds the line that said it serves."""

    def __init__(self, name: str, process: Process, log: IO[str]) -> None:
        self.name = name
        self.ready = ""
        self.pid = process.pid
        self._process = process
        self._log = log
        self._last: deque[str] = deque(maxlen=LINES_TOLD_MAX)
        self._serving = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        ready: Callable[[str], bool] = ready_event,
    ) -> Self:
        """Start a process in its own session and wait for its ready line; raises ChildEnded.

        Output of both streams goes to `log` (appended), whose stem is the child's name.
        """
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            env=dict(environment),
            start_new_session=True,
            limit=LINE_BYTES_MAX,
        )
        child = cls(log.stem, process, log.open("a", buffering=1, encoding="utf-8"))
        try:
            await child._until_ready(ready)
        except BaseException:
            await child.kill()
            raise
        return child

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.returncode is None

    def fields(self) -> dict[str, str]:
        """The texts of a JSON ready line, such as `listen`, `admin`, `url`."""
        found = json.loads(self.ready)
        return {name: value for name, value in found.items() if isinstance(value, str)}

    async def stop(self) -> int:
        """SIGTERM, after STOP_SECONDS_MAX SIGKILL; returns the exit code (negative: a signal)."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                return await self._ended()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """SIGKILL; returns when the process is gone."""
        with suppress(ProcessLookupError):
            self._process.kill()
        return await self._ended()

    async def _ended(self) -> int:
        code = await self._process.wait()
        if self._reader is not None:
            await self._reader
        self._log.close()
        return code

    async def _until_ready(self, ready: Callable[[str], bool]) -> None:
        self._reader = asyncio.create_task(self._read(ready))
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                await self._serving.wait()
        except TimeoutError:
            raise ChildEnded(f"{self.name} did not become ready: {self._told()}") from None
        if not self.ready:
            raise ChildEnded(f"{self.name} ended before it was ready: {self._told()}")

    async def _read(self, ready: Callable[[str], bool]) -> None:
        """Read to the end of the output; the first ready line, or the end, sets `_serving`."""
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            self._log.write(line + "\n")  # a whole line at once: whoever reads the log sees it
            self._last.append(line)
            if not self.ready and ready(line):
                self.ready = line
                self._serving.set()
        self._serving.set()

    def _told(self) -> str:
        return " | ".join(self._last) or "it said nothing"
