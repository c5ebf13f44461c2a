"""The background tasks: none is lost, none fails unseen.

Law: a task that fails is a bug; it is logged with its traceback, and the others go on.
"""

import asyncio
from collections.abc import Coroutine

from proxy.control.log import Log


class Tasks:
    """Holds tasks until they end."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn = asyncio.get_running_loop().create_task

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` in the background."""
        task = self._spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def drain(self, timeout_s: float) -> int:
        """Wait for all of them, for so long at the most; how many are left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        return len(self._tasks)

    async def cancel(self) -> None:
        """Cancel what is left, and wait for it to end."""
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.failure("task_failed", error)
