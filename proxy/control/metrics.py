"""Every metric there is, read from the tally at the scrape: nothing is counted on the hot path for it.

Law: one table (`DECLARED`) names them all; labels are closed sets (states, reasons, categories,
roles), never a path or an id. docs/operations.md is held to the table by a test.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from proxy.control.tally import LATENCY_BOUNDS_S, Histogram, Tally
from rules.agreement import agreement
from rules.level import Level

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""The content type of an exposition."""

Samples = list[tuple[tuple[str, ...], float]]
Word = TypeVar("Word", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is not in the tally: taken anew for each scrape and each status."""

    requests: int
    refused: int
    connections: int
    backlog_rows: int
    oldest_seconds: float
    fullness: float
    level: str
    reasons: Sequence[str]  # why it is not full
    dead_holding: int
    gaps: Sequence[Mapping[str, Any]]  # as they are kept
    breakers: Mapping[str, tuple[str, str]]  # category -> (state, reason)
    commits: int
    commit_seconds: float


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric: its name without the prefix, what it tells, its labels, and where it is read."""

    name: str
    doc: str
    labels: tuple[str, ...]
    read: Callable[[Tally, Reading], Samples]


def _one(value: float) -> Samples:
    return [((), value)]


def _many(values: Mapping[Word, int]) -> Samples:
    return [((label,), value) for label, value in values.items()]


DECLARED: tuple[Declared, ...] = (
    Declared("requests_total", "Requests with a valid head.", (), lambda _, r: _one(r.requests)),
    Declared("refused_total", "Requests answered by Twinwrite itself.", (), lambda _, r: _one(r.refused)),
    Declared("relayed_total", "Reads relayed to the primary.", (), lambda t, _: _one(t.relayed)),
    Declared("tunnels_total", "Relayed requests that became a tunnel.", (), lambda t, _: _one(t.tunnels)),
    Declared("writes_accepted_total", "Accepted writes: intents plus skipped.", (), lambda t, _: _one(t.accepted)),
    Declared("intents", "Intents by state; earlier runs count, too.", ("state",), lambda t, _: _many(t.states)),
    Declared("writes_skipped_total", "Accepted writes without an intent.", ("reason",), lambda t, _: _many(t.skips)),
    Declared("writes_in_flight", "Mirrored writes that were not answered yet.", (), lambda t, _: _one(t.in_flight)),
    Declared("connections", "Open client connections.", (), lambda _, r: _one(r.connections)),
    Declared("backlog_rows", "Intents that are owed to the secondary.", (), lambda _, r: _one(r.backlog_rows)),
    Declared("backlog_bytes", "Their replay payloads.", (), lambda t, _: _one(t.backlog_bytes)),
    Declared("backlog_oldest_seconds", "Age of the oldest owed write.", (), lambda _, r: _one(r.oldest_seconds)),
    Declared("backlog_fullness", "Share of the nearest limit of the backlog.", (), lambda _, r: _one(r.fullness)),
    Declared("level", "1 for the level that the sidecar works at.", ("level",),
             lambda _, r: [((each,), float(each == r.level)) for each in Level]),
    Declared("dead_holding", "Dead letters that hold their lanes.", (), lambda _, r: _one(r.dead_holding)),
    Declared("gaps", "Intervals in which writes were not journaled, by reason.", ("reason",),
             lambda _, r: _many(Counter(each["reason"] for each in r.gaps))),
    Declared("gap_writes", "Writes in them.", ("reason",),
             lambda _, r: _many(sum((Counter({each["reason"]: each["writes"]}) for each in r.gaps), Counter()))),
    Declared("outcomes_total", "Calls to a side, by what came of them.", ("role", "outcome"),
             lambda t, _: [((role, word), count) for (role, word), count in t.outcomes.items()]),
    Declared("verdicts_total", "Comparisons, by verdict.", ("verdict",), lambda t, _: _many(t.verdicts)),
    Declared("agreement_ratio", "Comparable replies that agree, by category.", ("category",),
             lambda t, _: [((category,), share) for category, verdicts in t.agreements.items()
                           if (share := agreement(verdicts)) is not None]),
    Declared("rule_uses_total", "Differences that a rule took away.", ("route", "rule"),
             lambda t, _: [(labels, count) for labels, count in t.rules.items()]),
    Declared("compared_total", "Comparisons of replies that are not equal as they came.", (),
             lambda t, _: _one(t.compared)),
    Declared("compare_seconds_total", "CPU time spent in them.", (), lambda t, _: _one(t.compare_seconds)),
    Declared("breaker_state", "1 for the state that a category's breaker is in.", ("category", "state"),
             lambda _, r: [((category, state), 1) for category, (state, _reason) in r.breakers.items()]),
    Declared("identity_conflicts_total", "Pairs that contradicted a known identity.", (),
             lambda t, _: _one(t.identity_conflicts)),
    Declared("journal_errors_total", "Operations that the journal could not make durable.", (),
             lambda t, _: _one(t.journal_errors)),
    Declared("journal_commits_total", "Transactions of the journal.", (), lambda _, r: _one(r.commits)),
    Declared("journal_commit_seconds_total", "Time spent in them.", (), lambda _, r: _one(r.commit_seconds)),
    Declared("ledger_dropped_total", "Verdicts that the ledger did not take.", (), lambda t, _: _one(t.ledger_dropped)),
)  # fmt: skip
"""Every counter (`_total`) and gauge."""

LATENCY = Declared("latency_seconds", "Latency of calls to a side.", ("role",), lambda _, __: [])
"""The one histogram."""


class Metrics(Collector):
    """The registry of one sidecar."""

    def __init__(self, tally: Tally, read: Callable[[], Reading]) -> None:
        self._tally = tally
        self._read = read
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Part of Collector."""
        reading = self._read()
        for declared in DECLARED:
            family = CounterMetricFamily if declared.name.endswith("_total") else GaugeMetricFamily
            metric = family(f"twinwrite_{declared.name}", declared.doc, labels=declared.labels)
            for labels, value in declared.read(self._tally, reading):
                metric.add_metric(labels, value)
            yield metric
        latency = HistogramMetricFamily(
            f"twinwrite_{LATENCY.name}", LATENCY.doc, labels=LATENCY.labels
        )
        for role, histogram in self._tally.latencies.items():
            latency.add_metric((role,), _buckets(histogram), histogram.total)
        yield latency


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in LATENCY_BOUNDS_S), "+Inf"]
    counts, so_far = [], 0
    for count in histogram.counts:
        so_far += count
        counts.append(float(so_far))
    return list(zip(bounds, counts, strict=True))
