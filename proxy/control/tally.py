"""Every count there is, as plain integers: what the metrics show and the law is checked on.

Law: accepted = sum of intents by state + sum of skips by reason, at every moment.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

from rules.compare import Verdict, VerdictKind
from rules.fate import State
from rules.message import Failure, Outcome, Role
from rules.route import Skip

LATENCY_BOUNDS_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
"""Upper bounds of the latency buckets: Prometheus' own default ladder, from 1 ms to a long time-out."""


_CLASSES = tuple(f"{digit}xx" for digit in range(10))


class Histogram:
    """Counts of observations by bucket, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.total = 0.0


@dataclass(slots=True)
class Tally:
    """The counts of one sidecar. States include what earlier runs on the same journal left."""

    accepted: int = 0
    states: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    skips: dict[Skip, int] = field(default_factory=lambda: dict.fromkeys(Skip, 0))
    verdicts: dict[VerdictKind, int] = field(default_factory=lambda: dict.fromkeys(VerdictKind, 0))
    relayed: int = 0
    tunnels: int = 0
    in_flight: int = 0
    backlog_bytes: int = 0
    stuck_bytes: int = 0
    outcomes: dict[tuple[Role, str], int] = field(default_factory=dict)
    latencies: dict[Role, Histogram] = field(
        default_factory=lambda: {role: Histogram() for role in Role}
    )
    identity_conflicts: int = 0
    journal_errors: int = 0
    ledger_dropped: int = 0
    compared: int = 0
    compare_seconds: float = 0.0
    agreements: dict[str, dict[VerdictKind, int]] = field(default_factory=dict)
    rules: dict[tuple[str, str], int] = field(default_factory=dict)

    def judged(self, route: str, category: str, verdict: Verdict) -> None:
        """A verdict on two replies: by category, and what the rules of the route took away."""
        counts = self.agreements.get(category)
        if counts is None:
            counts = self.agreements[category] = dict.fromkeys(VerdictKind, 0)
        counts[verdict.kind] += 1
        for name in verdict.ignored:
            self.rules[route, name] = self.rules.get((route, name), 0) + 1

    def skip(self, reason: Skip) -> None:
        """An accepted write that has no intent."""
        self.accepted += 1
        self.skips[reason] += 1

    def outcome(self, role: Role, outcome: Outcome) -> None:
        """One call to a side: its status class or cause, and how long it took."""
        word = outcome.cause if isinstance(outcome, Failure) else _CLASSES[outcome.status // 100]
        try:  # it is there but for the first one of its kind
            self.outcomes[role, word] += 1
        except KeyError:
            self.outcomes[role, word] = 1
        latencies, latency_s = self.latencies[role], outcome.latency_s
        latencies.counts[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
        latencies.total += latency_s

    def holds(self) -> bool:
        """Whether the law holds."""
        return self.accepted == sum(self.states.values()) + sum(self.skips.values())
