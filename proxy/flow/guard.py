"""The breakers of the secondary, one per category: where `rules.breaker` values live.

Law: a breaker changes here and nowhere else; a change of state is told at once, to the ledger and to
what waits for it.
"""

from collections.abc import Callable

from rules.breaker import Breaker, Call, Limits, State, admit, record, release, retry_at, share
from rules.message import Failure, Outcome

Change = Callable[[str, Breaker], None]
"""Told of every new state: the category and its breaker."""


_CLOSED = State.CLOSED
_FLOWS = frozenset((State.CLOSED, State.DISABLED))


class Guard:
    """The breakers by category. `now` is a monotonic clock in seconds."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self._floor_s = limits.latency_floor_ms / 1000
        self._breakers: dict[str, Breaker] = {}
        self._runs: dict[
            str, list[float]
        ] = {}  # by category: calls that went well, and their seconds
        self._watchers: list[Change] = []

    def watch(self, change: Change) -> None:
        """Tell `change` of every new state from now on."""
        self._watchers.append(change)

    def breakers(self) -> dict[str, Breaker]:
        """Every breaker that has been asked so far, by category."""
        self.sweep()
        return dict(self._breakers)

    def admit(self, category: str) -> bool:
        """Whether a write of this category may go to the secondary now; end it with `record` or `release`."""
        known = self._breakers.get(category)
        if known is not None and known.state is _CLOSED:
            return True
        breaker, admitted = admit(self._breaker(category), self._limits, self._now())
        self._set(category, breaker)
        return admitted

    def record(self, category: str, outcome: Outcome, primary_latency_s: float) -> None:
        """Count the outcome of an admitted write: at once if it may trip the breaker, else by the next tick."""
        latency_s = outcome.latency_s
        failed = isinstance(outcome, Failure) or outcome.status >= 500 or outcome.status == 429
        if not failed and latency_s <= self._floor_s and primary_latency_s > 0:
            known = self._breakers.get(category)
            if known is not None and known.state is _CLOSED:
                run = self._runs.get(category)
                if run is None:
                    run = self._runs[category] = [0, 0.0, 0.0]
                run[0] += 1
                run[1] += latency_s
                run[2] += primary_latency_s
                return
        self._count(category)
        self._record(category, Call(failed, latency_s, primary_latency_s))

    def sweep(self) -> None:
        """Once per tick: count what went well."""
        for category in list(self._runs):
            self._count(category)

    def _count(self, category: str) -> None:
        run = self._runs.pop(category, None)
        if run is not None:
            count, seconds, primary_seconds = run
            self._record(category, Call(False, seconds, primary_seconds, int(count)))

    def _record(self, category: str, call: Call) -> None:
        self._set(category, record(self._breaker(category), self._limits, call, self._now()))

    def release(self, category: str) -> None:
        """An admitted write was not sent after all."""
        self._set(category, release(self._breaker(category), self._now()))

    def hold(self, category: str) -> str:
        """Why a write of this category is not sent at once, in one word; "" if it is."""
        state = self._breaker(category).state
        return "" if state in _FLOWS else f"breaker_{state}"

    def wait_s(self, category: str) -> float | None:
        """Seconds until an open breaker lets the first probe through; None when no time will change it."""
        at = retry_at(self._breaker(category), self._limits)
        return None if at is None else max(at - self._now(), 0.0)

    def share(self, category: str) -> float:
        """The share of the concurrency that this category may use: below 1 after an outage."""
        known = self._breakers.get(category)
        if known is not None and known.ramp_from is None:
            return 1.0
        return share(self._breaker(category), self._limits, self._now())

    def _breaker(self, category: str) -> Breaker:
        breaker = self._breakers.get(category)
        if breaker is None:
            breaker = self._breakers[category] = Breaker(since=self._now())
        return breaker

    def _set(self, category: str, breaker: Breaker) -> None:
        before = self._breakers[category]
        self._breakers[category] = breaker
        if before.state is not breaker.state:
            for change in self._watchers:
                change(category, breaker)
