"""What the demo found: computed from what clients were answered and from what both sides hold.

Law: nothing in the report is assumed. `lost` counts answered writes that a side's history lacks,
the books are added up from the sidecar's own numbers, differences come from its ledger.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

Fields = Mapping[str, object]

NAMES_SHOWN_MAX = 5
SIDE_COLUMNS = 30  # of a terminal of 80, for each side's values


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The two sides' dumps laid side by side.

    `lost`: references answered 2xx that a history lacks; `doubled`: those applied more often than
    answered; `out_of_order`: entities whose histories differ in order; `differing`: field -> count.
    """

    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    out_of_order: tuple[str, ...]
    differing: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The sidecar's own numbers. Law: accepted = the sum of `intents` + the sum of `skipped`."""

    accepted: int
    intents: Mapping[str, int]
    skipped: Mapping[str, int]

    @property
    def balanced(self) -> bool:
        """Whether the law holds."""
        return self.accepted == sum(self.intents.values()) + sum(self.skipped.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """The new backend's absence: seconds, rows owed when it came back, seconds until none was."""

    seconds: float
    owed: int
    catch_up_seconds: float
    caught_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that the demo says; `groups` and `example` came from `twinwrite diffs --json`."""

    requests: int
    seconds: float
    answers: Mapping[str, int]
    accepted: int
    mirrored: int
    outage: Outage
    state: State
    books: Books
    groups: Sequence[Fields]
    example: Fields | None
    admin_url: str
    diffs_command: str

    @property
    def good(self) -> bool:
        """Nothing lost, everything caught up."""
        return not self.state.lost and self.outage.caught_up


def compare_state(accepted: Mapping[str, int], legacy: Fields, new: Fields) -> State:
    """Lay two `/dump`s side by side; `accepted` tells how often each reference was answered 2xx."""
    histories = [_history(legacy), _history(new)]
    counts = [Counter(mark for marks in side.values() for mark in marks) for side in histories]
    first, second = histories
    return State(
        lost=tuple(mark for mark, times in accepted.items() if _least(counts, mark) < times),
        doubled=tuple(mark for mark, times in accepted.items() if _most(counts, mark) > times),
        out_of_order=tuple(name for name, marks in first.items() if marks != second.get(name)),
        differing=dict(_differing(legacy, new)),
    )


def books(status: Fields) -> Books:
    """The numbers of the admin's `/status`."""
    return Books(
        accepted=number(status, "accepted"),
        intents=numbers(status, "intents"),
        skipped=numbers(status, "skipped"),
    )


def number(fields: Fields, name: str) -> int:
    """A whole number out of JSON; 0 when it is missing."""
    value = fields.get(name)
    return value if isinstance(value, int) else 0


def numbers(fields: Fields, name: str) -> dict[str, int]:
    """A table of whole numbers out of JSON."""
    return {key: count for key, count in table(fields, name).items() if isinstance(count, int)}


def table(fields: Fields, name: str) -> Fields:
    """A table out of JSON; empty when it is missing."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def answers(counted: Mapping[tuple[str, int], int]) -> dict[str, int]:
    """Answers by (method, status) as "METHOD status" -> count, sorted."""
    return {f"{method} {status}": n for (method, status), n in sorted(counted.items())}


def as_json(report: Report) -> str:
    """The whole report as one JSON document."""
    found = asdict(report)
    found["books"]["balanced"] = report.books.balanced
    found["state"]["lost_count"] = len(report.state.lost)
    return json.dumps({**found, "good": report.good}, indent=2)


def render(report: Report, console: Console) -> None:
    """Print the report for a person: numbers, differences, one example, where to look further."""
    console.print()
    console.print(_summary(report))
    console.print("\nwhere the replies differ", style="bold")
    console.print(_groups(report.groups))
    if report.example is not None:
        request = f"{report.example.get('method')} {report.example.get('target')}"
        console.print(f"\none of them, side by side: {request}", style="bold", highlight=False)
        console.print(_example(report.example))
    console.print(_state(report.state))


def _summary(report: Report) -> Table:
    outage, state, account = report.outage, report.state, report.books
    caught = f"{outage.seconds:.1f} s, {outage.owed} writes owed, "
    caught += "none left" if outage.caught_up else "NOT all delivered"
    caught += f" {outage.catch_up_seconds:.1f} s later"
    per_second = report.requests / report.seconds if report.seconds else 0.0
    others = {k: v for k, v in {**account.intents, **account.skipped}.items() if v}
    sums = " + ".join(f"{count} {word}" for word, count in others.items()) or "0"
    sign = "=" if account.balanced else "IS NOT"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_row("requests", f"{report.requests} in {report.seconds:.1f} s ({per_second:.0f}/s)")
    grid.add_row("writes answered 2xx", str(report.accepted))
    grid.add_row("mirrored", f"{report.mirrored} applied on both sides")
    grid.add_row("outage of new", caught)
    grid.add_row("lost", _verdict(state.lost))
    grid.add_row("applied twice", _verdict(state.doubled))
    grid.add_row("out of order", _verdict(state.out_of_order))
    grid.add_row("the books", f"{account.accepted} accepted {sign} {sums}")
    return grid


def _verdict(names: Sequence[str]) -> Text:
    if not names:
        return Text("0", style="green")
    shown = ", ".join(names[:NAMES_SHOWN_MAX]) + (", ..." if len(names) > NAMES_SHOWN_MAX else "")
    return Text(f"{len(names)}: {shown}", style="bold red")


def _groups(groups: Sequence[Fields]) -> Table:
    found = Table()
    for name in ("route", "field", "difference"):
        found.add_column(name)
    found.add_column("count", justify="right")
    for group in groups:
        found.add_row(*(str(group.get(name)) for name in ("route", "path", "kind", "count")))
    return found


def _example(shown: Fields) -> Table:
    """One verdict: the fields of both bodies side by side, those that differ marked."""
    found = Table()
    sides = [table(shown, role) for role in ("primary", "secondary")]
    found.add_column(no_wrap=True)
    for name in (str(side.get("side")) for side in sides):
        found.add_column(name, max_width=SIDE_COLUMNS, no_wrap=True)
    found.add_row("HTTP status", *(str(side.get("status")) for side in sides))
    bodies = [_body(side) for side in sides]
    differing = set(_differing_fields(shown))
    for name in dict.fromkeys([*bodies[0], *bodies[1]]):
        values = [json.dumps(body.get(name), ensure_ascii=False) for body in bodies]
        found.add_row(name, *values, style="bold red" if name in differing else "")
    return found


def _differing_fields(shown: Fields) -> Iterable[str]:
    """The top-level fields of the body that differ, out of paths such as `/body/items/0/price`."""
    listed = shown.get("differences")
    for row in listed if isinstance(listed, list) else []:
        tokens = str(row.get("path")).split("/")
        if tokens[1:2] == ["body"]:
            yield from tokens[2:3]


def _body(side: Fields) -> Fields:
    """A reply's body as a table, whether the ledger kept it as text or parsed."""
    body = side.get("body")
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return {"body": body}
    return body if isinstance(body, dict) else {"body": body}


def _state(state: State) -> Text:
    if not state.differing:
        return Text("\nBoth sides hold the same data.", style="green")
    fields = ", ".join(f"{name} ({count})" for name, count in sorted(state.differing.items()))
    return Text(f"\nRead back from both sides, these stored fields differ: {fields}.")


def _history(dump: Fields) -> dict[str, list[str]]:
    histories = table(dump, "history")
    return {
        entity: [str(entry["reference"]) for entry in entries]
        for entity, entries in histories.items()
        if isinstance(entries, list)
    }


def _least(counts: Iterable[Counter[str]], mark: str) -> int:
    return min(count[mark] for count in counts)


def _most(counts: Iterable[Counter[str]], mark: str) -> int:
    return max(count[mark] for count in counts)


def _differing(legacy: Fields, new: Fields) -> Counter[str]:
    """How often each stored field differs; an entity on one side only is `KIND (missing)`."""
    found: Counter[str] = Counter()
    for kind in ("customers", "orders"):
        first, second = table(legacy, kind), table(new, kind)
        for key in first.keys() | second.keys():
            if key not in first or key not in second:
                found[f"{kind} (missing)"] += 1
                continue
            one, other = table(first, key), table(second, key)
            changed = [
                name for name in one.keys() | other.keys() if one.get(name) != other.get(name)
            ]
            found.update(f"{kind}.{name}" for name in changed)
    return found
