"""What comparing two replies costs, beside DeepDiff and jsondiff: `python -m bench.compare`.

Law: everybody starts from the same bytes, in the same rounds, in an order drawn anew for each round, in a process
whose memory is tuned as the sidecar's; a contestant that counts other differences than there are is an error.
"""

import json
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter

import click
import jsondiff
from deepdiff import DeepDiff

from bench import machine
from proxy import memory
from rules.compare import Comparison, VerdictKind, agree, answers, compare
from rules.message import Reply
from rules.same import NONE

SIZES: Mapping[str, int] = {"200 B": 200, "4 KiB": 4096, "256 KiB": 262_144}
TARGET_RATIO = 50.0
"""DeepDiff must take so many times longer on every pair (issue 5)."""

JSONDIFF_BYTES_MAX = 32_768
"""Longer arrays take jsondiff minutes: it is quadratic (1 s at 32 KiB)."""

PROBE_SECONDS = 0.02
"""A measurement is repeated until it takes this long, so that the clock does not matter."""

_HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: %b\r\nContent-Type: application/json\r\n"
    b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
)
_LIMITS = Comparison(body_bytes_max=2**20)
_JUDGED = (VerdictKind.MATCH, VerdictKind.MISMATCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two replies. `differences`: how many a diff of them finds."""

    size: str
    primary: Reply
    secondary: Reply
    differences: int

    @property
    def name(self) -> str:
        """What a row calls it."""
        return f"{self.size}, {'one difference' if self.differences else 'equal'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row: microseconds of one comparison, by round, and the ratio to ours within each round."""

    pair: str
    contestant: str
    us: tuple[float, ...]
    ratios: tuple[float, ...]


def pairs(spaced: bool) -> Iterator[Pair]:
    """The pairs of each size; `spaced` is JSON as Python's json writes it, else the shortest."""
    for size, least in SIZES.items():
        document = _document(least, spaced)
        body = _spelled(document, spaced)
        copy = bytes(bytearray(body))
        yield Pair(
            size=size,
            primary=_reply(body, b"legacy"),
            secondary=_reply(copy, b"new"),
            differences=0,
        )
        rows = document["rows"]
        rows[len(rows) // 2]["updated_at"] = "2026-01-01T00:00:01Z"
        changed = _spelled(document, spaced)
        yield Pair(
            size=size,
            primary=_reply(body, b"legacy"),
            secondary=_reply(changed, b"new"),
            differences=1,
        )


def twinwrite(pair: Pair) -> int:
    """What a delivery does with two replies: the fast path, and where that is no answer the long way."""
    verdict = agree(pair.primary, pair.secondary, _LIMITS)
    if verdict is None:
        ours, theirs = answers(pair.primary, pair.secondary, _LIMITS)
        verdict = compare(ours, theirs, _LIMITS, NONE)
    assert verdict.kind in _JUDGED
    return len(verdict.differences)


def deepdiff(pair: Pair) -> int:
    """DeepDiff of the parsed bodies."""
    found = DeepDiff(json.loads(pair.primary.body), json.loads(pair.secondary.body))
    return sum(len(each) for each in found.values())


def json_diff(pair: Pair) -> int:
    """jsondiff of the parsed bodies: it says whether, not how many."""
    return int(bool(jsondiff.diff(json.loads(pair.primary.body), json.loads(pair.secondary.body))))


CONTESTANTS: Mapping[str, Callable[[Pair], int]] = {
    "twinwrite": twinwrite,
    "deepdiff": deepdiff,
    "jsondiff": json_diff,
}


def _takes_part(name: str, pair: Pair) -> bool:
    return name != "jsondiff" or len(pair.primary.body) <= JSONDIFF_BYTES_MAX


def measure(pair: Pair, rounds: int, chance: random.Random) -> list[Measured]:
    """All contestants on one pair, interleaved. Raises ClickException if one finds something else."""
    works = {
        name: partial(work, pair) for name, work in CONTESTANTS.items() if _takes_part(name, pair)
    }
    for name, work in works.items():
        if work() != pair.differences:
            raise click.ClickException(f"{name} is wrong about {pair.name}")
    repeats = {name: _repeats(work) for name, work in works.items()}
    us: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name in chance.sample(list(works), len(works)):
            us[name].append(_timed(works[name], repeats[name]))
    return [
        Measured(
            pair=pair.name,
            contestant=name,
            us=tuple(found),
            ratios=tuple(them / ours for them, ours in zip(found, us["twinwrite"], strict=True)),
        )
        for name, found in us.items()
    ]


def _document(least: int, spaced: bool) -> dict[str, list[dict[str, object]]]:
    """A document as shops have them, of at least so many bytes."""
    document: dict[str, list[dict[str, object]]] = {"rows": []}
    row_bytes = 0
    while len(document["rows"]) < 1 or row_bytes < least:
        at = len(document["rows"])
        row: dict[str, object] = {
            "id": at, "name": f"item {at}", "price": at * 1.25, "active": at % 3 == 0, "note": None,
            "tags": ["a", f"t{at % 7}"], "owner": {"id": f"u-{at % 50}"},
            "updated_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        document["rows"].append(row)
        row_bytes += len(_spelled(row, spaced)) + 1
    return document


def _spelled(document: object, spaced: bool) -> bytes:
    return json.dumps(document, separators=None if spaced else (",", ":")).encode()


def _reply(body: bytes, server: bytes) -> Reply:
    """Two servers never send quite the same head."""
    return Reply(200, _HEAD % server, body)


def _repeats(work: Callable[[], object]) -> int:
    repeats = 1
    while _timed(work, repeats) * repeats < PROBE_SECONDS * 1e6:
        repeats *= 2
    return repeats


def _timed(work: Callable[[], object], repeats: int) -> float:
    """Microseconds of one run."""
    started = perf_counter()
    for _ in range(repeats):
        work()
    return (perf_counter() - started) / repeats * 1e6


def table(rows: list[Measured]) -> str:
    """The rows as Markdown: medians, and the spread (lowest to highest) over the rounds."""
    lines = ["| replies | contestant | us | spread | times twinwrite |", "|---|---|---|---|---|"]
    for row in rows:
        spread = f"{_short(min(row.us))} to {_short(max(row.us))}"
        ratio = f"{statistics.median(row.ratios):.3g}"
        middle = _short(statistics.median(row.us))
        lines.append(f"| {row.pair} | {row.contestant} | {middle} | {spread} | {ratio} |")
    return "\n".join(lines)


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def missed(rows: list[Measured]) -> list[str]:
    """The pairs on which DeepDiff is not TARGET_RATIO times slower."""
    return [
        f"{row.pair}: {statistics.median(row.ratios):.1f} times, at least {TARGET_RATIO:g} wanted"
        for row in rows
        if row.contestant == "deepdiff" and statistics.median(row.ratios) < TARGET_RATIO
    ]


@click.command(help="Measure what comparing two replies costs, beside DeepDiff and jsondiff.")
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1, 1000))
@click.option("--seed", default=1, show_default=True, help="Chooses the order within the rounds.")
@click.option("--spaced", is_flag=True, help="JSON with blanks, as Python's json writes it.")
@click.option("--json", "as_json", is_flag=True, help="Print every row as JSON.")
def main(rounds: int, seed: int, spaced: bool, as_json: bool) -> None:
    """Run the benchmark; see --help."""
    memory.tune()
    chance = random.Random(seed)
    rows = []
    for pair in pairs(spaced):
        click.echo(f"measuring {pair.name}", err=True)
        rows += measure(pair, rounds, chance)
    short = missed(rows)
    if as_json:
        found = {"rows": [asdict(row) for row in rows], "missed": short, "cores": machine.cores()}
        click.echo(json.dumps(found, indent=1))
    else:
        click.echo(table(rows))
        click.echo(
            "\n".join(
                ["", *short]
                if short
                else ["", f"target: {TARGET_RATIO:g} times on every pair: met"]
            )
        )
    sys.exit(bool(short))


if __name__ == "__main__":
    main()
