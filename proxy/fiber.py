"""Coroutines without tasks: what carries one write through is run by the callbacks that it waits for.

Law: a fiber runs at once, in the call that resumes it, until it waits again; it fails loudly or not at
all. A task costs 2.1 us to start and 1.4 us at each wake-up, a turn of the loop each time
(performance.md section 4); a fiber 0.3 us and no turn.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from proxy.control.log import Log

T = TypeVar("T")


class Slot(Generic[T]):
    """One value that comes later, for one fiber (or task) that waits for it. The first value counts.

    `told`: what is called when the value is there; None while nobody waits, and after.
    """

    __slots__ = ("_asyncio_future_blocking", "_cancelled", "_value", "done", "told")

    def __init__(self) -> None:
        self.done = False
        self.told: Callable[[], None] | None = None
        self._asyncio_future_blocking = False
        self._cancelled = False  # the task that waits for it is to end
        self._value: T

    def resolve(self, value: T) -> None:
        """Hand over the value: who waits goes on now, before this returns."""
        if self.done:
            return
        self._value = value
        self.done = True
        told = self.told
        if told is not None:
            self.told = None
            told()

    def result(self) -> T:
        """The value, once `done`; raises CancelledError in a task that was cancelled meanwhile."""
        if self._cancelled:
            self._cancelled = False
            raise asyncio.CancelledError
        assert self.done
        return self._value

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done:
            self._asyncio_future_blocking = True
            yield self
        return self._value

    # What a task of asyncio asks of what it waits for (asyncio.Future's protocol).

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Part of the future protocol."""
        return asyncio.get_running_loop()

    def add_done_callback(
        self, told: Callable[[Any], None], *, context: contextvars.Context | None = None
    ) -> None:
        """Part of the future protocol: a task is woken by its loop."""
        loop = self.get_loop()
        if self.done:
            loop.call_soon(partial(told, self), context=context)
        else:
            self.told = partial(_call_soon, loop, partial(told, self), context)

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - asyncio's name
        """Part of the future protocol: wakes the task that waits, to be cancelled; the value may still come."""
        told, self.told = self.told, None
        if told is None:
            return False
        self._cancelled = True
        told()
        return True


def _call_soon(
    loop: asyncio.AbstractEventLoop, told: Callable[[], None], context: contextvars.Context | None
) -> None:
    loop.call_soon(told, context=context)


class _Fiber:
    """One coroutine under way."""

    __slots__ = ("_coroutine", "_fibers", "_waits")

    def __init__(self, coroutine: Coroutine[Any, None, None], fibers: "Fibers") -> None:
        self._coroutine = coroutine
        self._fibers = fibers
        self._waits: Any = None

    def step(self) -> None:
        """Go on until it waits again, or ends."""
        try:
            waits = self._coroutine.send(None)
        except StopIteration:
            self._fibers.ended(self, None)
        except asyncio.CancelledError:
            self._fibers.ended(self, None)
        except Exception as error:  # noqa: BLE001 - told, and logged there
            self._fibers.ended(self, error)
        else:
            if isinstance(waits, Slot):
                self._waits = waits
                waits.told = self.step
            else:
                self._wait(waits)

    def _wait(self, waits: Any) -> None:  # noqa: ANN401 - a Slot, a future, or None
        if waits is None:  # asyncio.sleep(0)
            waits = Slot()
            self._fibers.loop.call_soon(waits.resolve, None)
        self._waits = waits
        if isinstance(waits, Slot):
            waits.told = self.step
        else:
            waits._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's own protocol, as a task does
            waits.add_done_callback(self._woken)

    def _woken(self, future: object) -> None:
        if future is self._waits:  # else it was done, and cancelled before it could tell
            self.step()

    def leave(self) -> None:
        """Do not go on, whatever is told."""
        if isinstance(self._waits, Slot):
            self._waits.told = None

    def cancel(self) -> None:
        """End it where it waits: at once, or when the future that it waits for is cancelled."""
        waits, self._waits = self._waits, None
        if isinstance(waits, Slot):
            waits.told = None
        elif waits.cancel():
            self._waits = waits
            return
        try:
            waits = self._coroutine.throw(asyncio.CancelledError())
        except (StopIteration, asyncio.CancelledError):
            self._fibers.ended(self, None)
        except Exception as error:  # noqa: BLE001 - told, and logged there
            self._fibers.ended(self, error)
        else:  # it has something to finish
            self._wait(waits)


class Fibers:
    """Starts fibers and holds them until they end: none is lost, none fails unseen.

    A fiber that fails is a bug; it is logged with its traceback, and the others go on.
    """

    def __init__(self, log: Log) -> None:
        self.loop = asyncio.get_running_loop()
        self._log = log
        self._fibers: set[_Fiber] = set()
        self._empty: asyncio.Event | None = None  # while somebody drains

    def __len__(self) -> int:
        return len(self._fibers)

    def start(self, work: Coroutine[Any, None, None]) -> None:
        """Run `work`, now, until it waits; then whenever what it waits for is there."""
        fiber = _Fiber(work, self)
        self._fibers.add(fiber)
        fiber.step()

    async def drain(self, timeout_s: float) -> int:
        """Wait for all of them, for so long at the most; how many are left."""
        if self._fibers:
            self._empty = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._empty.wait()
            self._empty = None
        return len(self._fibers)

    async def cancel(self) -> None:
        """Cancel what is left, and wait for it to end."""
        fibers = list(self._fibers)
        for fiber in fibers:  # or the end of one would let the next one begin
            fiber.leave()
        for fiber in fibers:
            fiber.cancel()
        while self._fibers:
            await self.drain(1.0)

    def ended(self, fiber: _Fiber, error: Exception | None) -> None:
        """For a fiber: it is over."""
        self._fibers.discard(fiber)
        if error is not None:
            self._log.failure("task_failed", error)
        if self._empty is not None and not self._fibers:
            self._empty.set()
