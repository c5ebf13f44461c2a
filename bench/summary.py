"""Reduces rows to what is reported: medians with their spread, and ratios formed within a round.

Law: pure. A ratio is the median of the ratios of each round, so that what slows a whole round down
(another user of the machine) falls out of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.rounds import ELSEWHERE_MAX, Row
from bench.scenes import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A median, and the smallest and largest of what it is the median of."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        """The spread of some values; None of none."""
        found = list(values)
        return cls(median=median(found), low=min(found), high=max(found)) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One ratio of two contestants, of one field of `Row`."""

    over: str
    under: str
    field: str


def selected(rows: Sequence[Row], contestant: str, setting: Setting) -> list[Row]:
    """The rows of one contestant in one setting."""
    return [row for row in rows if (row.contestant, row.setting) == (contestant, setting)]


def spread(rows: Sequence[Row], field: str) -> Spread | None:
    """The spread of a field."""
    return Spread.of(getattr(row, field) for row in rows)


def ratio(rows: Sequence[Row], wanted: Ratio, setting: Setting) -> Spread | None:
    """The spread of a ratio over the rounds; None where one of the two was not measured, or has none
    of it (`direct` has no CPU)."""
    under = {row.round: getattr(row, wanted.field) for row in selected(rows, wanted.under, setting)}
    return Spread.of(
        getattr(row, wanted.field) / under[row.round]
        for row in selected(rows, wanted.over, setting)
        if under.get(row.round) and getattr(row, wanted.field)
    )


def problems(rows: Sequence[Row]) -> list[str]:
    """What makes a run doubtful: errors, work left, clocks that differ, a generator that was late."""
    found = []
    for row in rows:
        at = f"round {row.round}, {row.contestant}, {row.setting.name}"
        if row.errors or not row.requests:
            found.append(f"{at}: {row.requests} requests, errors: {row.errors}")
        if not row.settled:
            found.append(f"{at}: did not become quiet")
        if not row.mirrored:
            found.append(f"{at}: passed on {row.passed_on:.3f} of the requests to the new side")
        if not row.clocks_agree:
            found.append(f"{at}: stat and schedstat tell different CPU times")
        if row.breaker and not row.contestant.startswith("hung"):
            found.append(f"{at}: the breaker was {row.breaker}")
        if row.elsewhere > ELSEWHERE_MAX:
            found.append(f"{at}: others used {row.elsewhere:.2f} cores meanwhile")
        if row.rate and row.late_p99_us > row.p50_us:
            found.append(f"{at}: the generator itself was late (p99 {row.late_p99_us:.0f} us)")
    return found


def failed(rows: Sequence[Row]) -> bool:
    """Whether a request was not answered with 2xx or not mirrored, or what was left owed not delivered."""
    return any(
        row.errors or not row.requests or not row.settled or not row.mirrored for row in rows
    )
