"""What the sidecar's own code costs per request, and what comparing adds: `python -m bench.path`.

Law: in one process without sockets (`bench.socketless`), contestant by contestant (`bench.turns`); journals, ledgers,
threads and the disk are real. A difference is formed within each pass, of turns of some milliseconds, and told with
its interval: nothing longer tells it from noise on a machine whose speed changes twofold within a second.
"""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import median
from typing import Any

import click

from bench.place import directory_option, json_option, on_disk, write
from bench.socketless import Loop
from bench.turns import CONTESTANTS, Plan, Turn, measure

CERTAINTY = 0.95
"""How probable it is, at least, that an interval contains the median (`interval`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A question: by how much `over` costs more than `under`. `limit`: the target, a part of 1, if there is one."""

    over: str
    under: str
    what: str
    limit: float = math.inf


DIFFERENCES = (
    Difference(over="shadow", under="shadow_plain", what="comparing adds to a shadowed write", limit=0.03),
    Difference(over="dual", under="dual_plain", what="comparing adds to a dual write", limit=0.05),
    Difference(over="dual_again", under="dual", what="two contestants that are the same differ by"),
)  # fmt: skip
"""Limits: issues 3 and 5."""


class Verdict(StrEnum):
    """What became of a target."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided: the limit lies within the interval"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A median, and between which values it lies with CERTAINTY."""

    median: float
    low: float
    high: float

    def told(self, digits: int, factor: float = 1.0) -> str:
        """As "1.9 (1.2..2.6)"."""
        middle, low, high = (
            f"{each * factor:.{digits}f}" for each in (self.median, self.low, self.high)
        )
        return f"{middle} ({low}..{high})"


def interval(values: Sequence[float]) -> Interval:
    """The median, and the two order statistics of the sign test around it: whatever the distribution, a value is as
    probably above the true median as below. Fewer than 6 values say nothing with CERTAINTY: from -inf to inf."""
    ordered, count = sorted(values), len(values)
    outside, beyond = 0, 2 * 0.5**count  # how probably the true one lies beyond the next two
    while beyond <= 1 - CERTAINTY:
        outside += 1
        beyond += 2 * math.comb(count, outside) * 0.5**count
    low, high = (ordered[outside - 1], ordered[-outside]) if outside else (-math.inf, math.inf)
    return Interval(median=median(ordered), low=low, high=high)


def costs(turns: Sequence[Turn], name: str, field: str, *, is_long: bool) -> list[float]:
    """A field of a contestant's long turns, round by round; or of its short ones, the two of a pass together."""
    found: dict[tuple[int, int], list[float]] = {}
    for each in turns:
        if each.contestant == name and is_long is not bool(each.number):
            found.setdefault((each.round, each.number), []).append(getattr(each, field))
    return [sum(found[at]) / len(found[at]) for at in sorted(found)]


def added(turns: Sequence[Turn], difference: Difference, field: str) -> Interval:
    """How much more `over` costs than `under`, as a part of it, pass by pass."""
    pairs = _pairs(turns, difference, field)
    return interval([over / under - 1 for over, under in pairs])


def added_us(turns: Sequence[Turn], difference: Difference) -> Interval:
    """The same in microseconds."""
    return interval([over - under for over, under in _pairs(turns, difference, "cpu_us")])


def _pairs(
    turns: Sequence[Turn], difference: Difference, field: str
) -> Iterator[tuple[float, float]]:
    names = (difference.over, difference.under)
    over, under = (costs(turns, name, field, is_long=False) for name in names)
    return zip(over, under, strict=True)


def judged(found: Interval, limit: float) -> Verdict:
    """Whether it is at most `limit`."""
    if found.high <= limit:
        return Verdict.MET
    return Verdict.MISSED if found.low > limit else Verdict.UNDECIDED


def table(turns: Sequence[Turn]) -> list[str]:
    """CPU per request as Markdown: the median of the rounds, the smallest and the largest."""
    lines = ["| contestant | CPU us | the loop's thread, us |", "|---|---|---|"]
    for each in CONTESTANTS:
        cells = [
            _spread(costs(turns, each.name, field, is_long=True)) for field in ("cpu_us", "loop_us")
        ]
        lines.append(f"| `{each.name}` | {' | '.join(cells)} |")
    return lines


def _spread(found: Sequence[float]) -> str:
    return f"{median(found):.1f} ({min(found):.1f}..{max(found):.1f})"


def answers(turns: Sequence[Turn]) -> list[str]:
    """Each difference, its interval, and what became of its target."""
    lines = []
    for each in DIFFERENCES:
        found = added(turns, each, "cpu_us")
        line = (
            f"{each.what}: {found.told(1, 100)} %, {added_us(turns, each).told(1)} us; "
            f"of the loop's thread {added(turns, each, 'loop_us').told(1, 100)} %"
        )
        if each.limit < math.inf:
            line += f"; at most {each.limit:.0%} wanted: {judged(found, each.limit)}"
        lines.append(line)
    return lines


@click.command(
    help="Measure what the sidecar's own code costs per request, and what comparing adds: no sockets."
)
@click.option("--rounds", default=21, show_default=True, type=click.IntRange(1, 1000))
@click.option(
    "--requests",
    default=4000,
    show_default=True,
    type=click.IntRange(2),
    help="To each contestant in each round: in a long turn, and once more in short ones.",
)
@click.option(
    "--turn",
    default=64,
    show_default=True,
    type=click.IntRange(1),
    help="Requests of a short turn: the shorter it is, the more alike the machine is to two that follow each other.",
)
@click.option("--connections", default=32, show_default=True, type=click.IntRange(1, 1000))
@click.option(
    "--warm",
    default=50_000,
    show_default=True,
    type=click.IntRange(1),
    help="Requests to each before the first round; so many fill 64 MiB of log: from then on it removes as much as "
    "it writes.",
)
@directory_option
@click.option("--seed", default=1, show_default=True, help="Chooses the order within the rounds.")
@json_option
def main(**given: Any) -> None:  # noqa: ANN401 - see Plan
    """Run the benchmark; see --help."""
    plan = Plan(**given)
    with (
        on_disk(plan.directory, "path") as (directory, facts),
        asyncio.Runner(loop_factory=Loop) as runner,
    ):
        turns = runner.run(measure(directory, plan))
    told = answers(turns)
    click.echo("\n".join([*table(turns), "", *told]))
    measured = {"turns": [asdict(each) for each in turns], "answers": told}
    write(plan.json_file, {"machine": asdict(facts), **measured})


if __name__ == "__main__":
    main()
