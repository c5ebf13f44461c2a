"""Shows a run: text with Markdown tables, and JSON with every row."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from bench.bed import Choice
from bench.contestants import Contestant
from bench.machine import Machine
from bench.rounds import Plan, Row
from bench.summary import (
    RATIOS,
    Setting,
    Spread,
    failed,
    problems,
    ratio,
    selected,
    settings,
    spread,
)
from bench.tools import Pin

_MEASURES = ("requests/s", "CPU us", "user", "sys", "p50 us", "p99 us", "p99.9 us")
_COLUMNS = {False: (*_MEASURES, "owed"), True: (*_MEASURES, "late us")}

WIDTH = 240
PROBLEMS_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the benchmark, whole."""

    machine: Machine
    plan: Plan
    choice: Choice
    pin: Pin
    missing: tuple[str, ...]
    rows: list[Row]


def as_json(run: Run) -> dict[str, Any]:
    """Everything, as plain values."""
    rows, plan = run.rows, run.plan
    return {
        "machine": asdict(run.machine),
        "tools": {
            "load": run.choice.load,
            "backends": run.choice.backends,
            "pin": run.pin,
            "missing": run.missing,
        },
        "plan": {
            "contestants": {each.name: each.what for each in plan.contestants},
            "connections": plan.connections,
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "rate": plan.rate,
            "open_seconds": plan.open_seconds,
            "open_connections": plan.open_connections,
            "seed": plan.seed,
            "patience": plan.patience,
        },
        "rows": [row.plain() for row in rows],
        "ratios": [_ratio_json(rows, setting) for setting in settings(rows)],
        "problems": problems(rows),
        "ok": not failed(rows),
    }


def _ratio_json(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
    found = {each.name: ratio(rows, each, setting) for each in RATIOS}
    return {
        "connections": setting.connections,
        "rate": setting.rate,
        "ratios": {name: asdict(each) for name, each in found.items() if each is not None},
    }


def show(run: Run) -> None:
    """Print the run."""
    console = Console(width=WIDTH, highlight=False)
    for line in _heading(run):
        console.print(line, markup=False, soft_wrap=True)
    rows = run.rows
    for setting in settings(rows):
        console.print(f"\n{_title(setting, run)}\n", markup=False, soft_wrap=True)
        _print(console, _table(rows, run.plan.contestants, setting))
    console.print("\nRatios: median of the ratios of each round (smallest..largest)\n")
    _print(console, _ratios(rows))
    found = problems(rows)
    for line in found[:PROBLEMS_SHOWN_MAX]:
        console.print(f"doubtful: {line}", markup=False, soft_wrap=True)
    if len(found) > PROBLEMS_SHOWN_MAX:
        console.print(f"doubtful: and {len(found) - PROBLEMS_SHOWN_MAX} more, see --json")


def _print(console: Console, table: Table) -> None:
    """A table without the blank lines that its box begins and ends with."""
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        if line.strip():
            console.print(line.rstrip(), markup=False, soft_wrap=True)


def _heading(run: Run) -> list[str]:
    machine, plan, rows = run.machine, run.plan, run.rows
    lines = [
        f"{machine.date}; twinwrite {machine.twinwrite}; {machine.python}, uvloop {machine.uvloop}; "
        f"{machine.kernel}",
        f"{machine.cores} cores of {machine.processor}, {machine.memory_gib:.0f} GiB; journal on "
        f"{machine.filesystem}, fdatasync of 4 KiB {machine.sync_us:.0f} us",
        f"load: {_tool(run.choice.load, machine)}; backends: {_tool(run.choice.backends, machine)}; "
        f"pin: {run.pin}; {plan.rounds} rounds of {plan.seconds:g} s, seed {plan.seed}",
        f"others on this machine meanwhile: {median(row.elsewhere for row in rows):.2f} cores (at most "
        f"{max(row.elsewhere for row in rows):.2f}); the host: {max(row.stolen for row in rows):.2f}; "
        f"load average at the start {machine.load_average:.2f}; repeated for that: "
        f"{sum(row.tries - 1 for row in rows)} of {len(rows)} measurements",
    ]
    if run.missing:
        lines.append(f"missing here, our own used instead: {', '.join(run.missing)}")
    return lines


def _tool(name: str, machine: Machine) -> str:
    known = {"wrk": machine.wrk, "nginx": machine.nginx}
    return known.get(name, "our own (Python, uvloop)")


def _title(setting: Setting, run: Run) -> str:
    if not setting.rate:
        return f"Closed loop, {setting.connections} connection(s)"
    return (
        f"Open loop, {setting.rate:g} requests/s for {run.plan.open_seconds:g} s on up to "
        f"{setting.connections} connections, latency from the moment a request is due"
    )


def _table(rows: Sequence[Row], contestants: Sequence[Contestant], setting: Setting) -> Table:
    table = Table(box=MARKDOWN)
    table.add_column("contestant")
    for name in _COLUMNS[bool(setting.rate)]:
        table.add_column(name, justify="right")
    for contestant in contestants:
        own = selected(rows, contestant.name, setting)
        if own:
            table.add_row(contestant.name, *_cells(own, bool(setting.rate)))
    return table


def _cells(rows: Sequence[Row], is_open: bool) -> list[str]:
    narrow = (spread(rows, field) for field in ("user_us", "system_us"))
    last = spread(rows, "late_p99_us" if is_open else "owed")
    return [
        *(_shown(spread(rows, field)) for field in ("requests_per_second", "cpu_us")),
        *(f"{each.median:.1f}" if each else "" for each in narrow),
        *(_shown(spread(rows, field)) for field in ("p50_us", "p99_us", "p999_us")),
        f"{last.median:.0f}" if last else "",
    ]


def _shown(found: Spread | None) -> str:
    if found is None:
        return ""
    digits = 0 if found.median >= 100 else 1 if found.median >= 10 else 2
    low, high = (f"{each:.{digits}f}" for each in (found.low, found.high))
    return (
        f"{found.median:.{digits}f} ({low}..{high})"
        if low != high
        else f"{found.median:.{digits}f}"
    )


def _ratios(rows: Sequence[Row]) -> Table:
    columns = settings(rows)
    table = Table(box=MARKDOWN)
    table.add_column("ratio")
    for setting in columns:
        table.add_column(setting.name, justify="right")
    for each in RATIOS:
        found = [ratio(rows, each, setting) for setting in columns]
        if any(found):
            table.add_row(each.name, *(_shown(one) for one in found))
    return table
