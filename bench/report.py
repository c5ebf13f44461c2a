"""Shows a run: Markdown for people, JSON with every row.

Law: `full` is what is printed and what bench/README.md carries, `short` what README.md carries; both
come from the run alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.bed import Choice
from bench.machine import Machine
from bench.rounds import ELSEWHERE_MAX, Idle, Measured, Plan, Row
from bench.scenes import BESIDE, CLEAN, Column, Scene, Setting
from bench.summary import Ratio, Spread, failed, problems, ratio, selected, spread
from bench.targets import Judgement, judged

_CLOSED = ("requests/s", "CPU us", "user", "sys", "p50 us", "p99 us")
_OPEN = (*_CLOSED, "p99.9 us", "late us")
_SHORT_RATIOS = ("x nginx tuned", "x Envoy mirror")

PROBLEMS_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the benchmark, whole. `missing`: tools that are not here, and how to install them."""

    machine: Machine
    command: str
    plan: Plan
    choice: Choice
    missing: dict[str, str]
    measured: Measured

    @property
    def rows(self) -> list[Row]:
        """Every measurement."""
        return self.measured.rows


def as_json(run: Run) -> dict[str, Any]:
    """Everything, as plain values."""
    plan = run.plan
    return {
        "machine": asdict(run.machine),
        "command": run.command,
        "tools": {**asdict(run.choice), "missing": run.missing},
        "plan": {
            "scenes": {each.name: each.what for each in plan.scenes},
            "contestants": {each.name: each.what for each in plan.contestants.values()},
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "rate": plan.rate,
            "open_seconds": plan.open_seconds,
            "seed": plan.seed,
            "patience": plan.patience,
        },
        "rows": [row.plain() for row in run.rows],
        "idle": [asdict(each) for each in run.measured.idle],
        "ratios": [
            _ratios_json(run, scene, each) for scene in plan.scenes for each in scene.settings
        ],
        "targets": [_target_json(each) for each in judged(run.measured, run.missing)],
        "problems": problems(run.rows),
        "ok": not failed(run.rows),
    }


def _ratios_json(run: Run, scene: Scene, setting: Setting) -> dict[str, Any]:
    found = {
        f"{each.name} {column.title}": _ratio(run, each.name, column, setting)
        for column in scene.columns
        for each in run.plan.present(scene)
    }
    ratios = {name: asdict(each) for name, each in found.items() if each is not None}
    return {"setting": asdict(setting), "ratios": ratios}


def _target_json(judgement: Judgement) -> dict[str, Any]:
    return {"name": judgement.target.name, **asdict(judgement)}


def full(run: Run) -> str:
    """The whole report."""
    lines = _heading(run)
    for scene in run.plan.scenes:
        for setting in scene.settings:
            lines += ["", f"**{_title(run, scene, setting)}**", "", *_table(run, scene, setting)]
    lines += ["", "**Before the first request**", "", *_idle(run)]
    lines += ["", f"**Targets**: {_tally(run)}", "", *_targets(run)]
    return "\n".join(lines) + "\n"


def short(run: Run) -> str:
    """The headline: CPU, rate and latency of everybody, and the targets."""
    machine, plan = run.machine, run.plan
    titles = ("512-byte JSON write", "CPU us", *_SHORT_RATIOS, "p50 us", "p99 us")
    beside = ("CPU us, split", "requests/s, split")
    rows = [
        _short_row(run, scene, each.name)
        for scene in plan.scenes
        if scene.name == CLEAN.scene
        for each in plan.present(scene)
    ]
    return "\n".join(
        (
            f"{machine.date}, {machine.cores} cores of {machine.processor}, twinwrite {machine.twinwrite}, "
            f"`{run.command}`; medians of {plan.rounds} round(s). 32 connections with everything on one core; "
            f"split: the proxy alone on its core, 64 connections.{_missing(run)}{_disturbed(run)}",
            "",
            *markdown((*titles, *beside), rows),
            "",
            f"Targets, ratios paired by round: {_tally(run)}.",
            "",
            *_targets(run),
            "",
        )
    )


def doubts(run: Run) -> list[str]:
    """What makes the run doubtful, for people."""
    found = problems(run.rows)
    lines = [f"doubtful: {each}" for each in found[:PROBLEMS_SHOWN_MAX]]
    if len(found) > PROBLEMS_SHOWN_MAX:
        lines.append(f"doubtful: and {len(found) - PROBLEMS_SHOWN_MAX} more, see --json")
    return lines


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, its columns aligned; the first to the left, the others to the right."""
    widths = [max(len(row[at]) for row in (titles, *rows)) for at in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = ("-" * width + (":" if at else "-") for at, width in enumerate(widths))
    return [line(titles), f"|-{'|-'.join(rule)}|", *(line(row) for row in rows)]


def _heading(run: Run) -> list[str]:
    machine, plan, rows = run.machine, run.plan, run.rows
    known = {"wrk": machine.wrk, "nginx": machine.nginx, "own": "our own (Python, uvloop)"}
    return [
        f"{machine.date}; `{run.command}`; twinwrite {machine.twinwrite}; {machine.python}, "
        f"uvloop {machine.uvloop}; nginx {machine.nginx.removeprefix('nginx/')}; Envoy {machine.envoy}; "
        f"{machine.kernel}.",
        f"{machine.cores} cores of {machine.processor}, {machine.memory_gib:.0f} GiB; journal on "
        f"{machine.filesystem}, fdatasync of 4 KiB {machine.sync_us:.0f} us.",
        f"Load: {known[run.choice.load]}; backends: {known[run.choice.backends]}; {plan.rounds} rounds of "
        f"{plan.seconds:g} s, seed {plan.seed}. Before the first round every mirror was seen to pass on "
        "each request once and unchanged, and everybody but nginx's to keep its connections.",
        f"Others on this machine meanwhile: {median(row.elsewhere for row in rows):.2f} cores (at most "
        f"{max(row.elsewhere for row in rows):.2f}); the host: {max(row.stolen for row in rows):.2f}; "
        f"load average at the start {machine.load_average:.2f}; repeated for that: "
        f"{sum(row.tries - 1 for row in rows)} of {len(rows)} measurements.{_missing(run)}{_disturbed(run)}",
    ]


def _missing(run: Run) -> str:
    if not run.missing:
        return ""
    tools = (f"{tool} ({how})" for tool, how in run.missing.items())
    return f" **Missing here: {', '.join(tools)}; what needs it is not in the tables.**"


def _disturbed(run: Run) -> str:
    others = median(row.elsewhere for row in run.rows)
    if others <= ELSEWHERE_MAX:
        return ""
    return (
        f" **Others kept {others:.1f} cores busy meanwhile: good for a look, not for conclusions.**"
    )


def _title(run: Run, scene: Scene, setting: Setting) -> str:
    plan = run.plan
    if setting.is_open:
        load = (
            f"{plan.rate:g} requests/s for {plan.open_seconds:g} s on up to {setting.connections} "
            "connections, latency from the moment a request is due"
        )
    else:
        load = f"closed loop, {setting.connections} connection(s)"
    return f"{setting.name}: {scene.what}; {load}"


def _table(run: Run, scene: Scene, setting: Setting) -> list[str]:
    titles = (*(_OPEN if setting.is_open else _CLOSED), *(each.title for each in scene.columns))
    rows = []
    for each in run.plan.present(scene):
        own = selected(run.rows, each.name, setting)
        ratios = (_ratio(run, each.name, column, setting) for column in scene.columns)
        if own:
            cells = (*_cells(own, setting), *(_middle(one, 2) for one in ratios))
            rows.append((f"`{each.name}`", *cells))
    return markdown(("contestant", *titles), rows)


def _cells(rows: Sequence[Row], setting: Setting) -> list[str]:
    wide = [_shown(spread(rows, field)) for field in ("requests_per_second", "cpu_us")]
    wide += [_middle(spread(rows, field), 1) for field in ("user_us", "system_us")]
    wide += [_shown(spread(rows, field)) for field in ("p50_us", "p99_us")]
    if setting.is_open:
        wide += [_shown(spread(rows, "p999_us")), _middle(spread(rows, "late_p99_us"), 0)]
    return wide


def _short_row(run: Run, scene: Scene, name: str) -> tuple[str, ...]:
    clean, beside = (selected(run.rows, name, each) for each in (CLEAN, BESIDE))
    ratios = {
        column.title: _middle(_ratio(run, name, column, CLEAN), 2) for column in scene.columns
    }
    return (
        f"`{name}`",
        _middle(spread(clean, "cpu_us"), 1),
        *(ratios[title] for title in _SHORT_RATIOS),
        *(_middle(spread(clean, field), 0) for field in ("p50_us", "p99_us")),
        _middle(spread(beside, "cpu_us"), 1),
        _middle(spread(beside, "requests_per_second"), 0),
    )


def _idle(run: Run) -> list[str]:
    titles = ("contestant", "resident MiB", "after load MiB", "CPU ms per second")
    rows = []
    for name in run.plan.contestants:
        own: list[Idle] = [each for each in run.measured.idle if each.contestant == name]
        if own:
            loaded = Spread.of(row.memory_mib for row in run.rows if row.contestant == name)
            memory = Spread.of(each.memory_mib for each in own)
            used = Spread.of(each.cpu_ms for each in own)
            rows.append((f"`{name}`", _shown(memory), _shown(loaded), _middle(used, 2)))
    return markdown(titles, rows)


def _targets(run: Run) -> list[str]:
    titles = ("target", "at most", "where", "measured", "verdict", "split, c=64")
    return markdown(titles, [_target_row(each) for each in judged(run.measured, run.missing)])


def _target_row(judgement: Judgement) -> tuple[str, ...]:
    target = judgement.target
    verdict = judgement.verdict.value
    return (
        target.name,
        f"{target.limit:.2f}" if target.under else f"{target.limit:.0f}",
        target.setting.name if target.under else "just started",
        _shown(judgement.measured),
        f"{verdict}: {judgement.reason}" if judgement.reason else verdict,
        _shown(judgement.beside),
    )


def _tally(run: Run) -> str:
    found = [each.verdict.value for each in judged(run.measured, run.missing)]
    return ", ".join(f"{found.count(each)} {each}" for each in dict.fromkeys(sorted(found)))


def _ratio(run: Run, name: str, column: Column, setting: Setting) -> Spread | None:
    wanted = Ratio(over=name, under=column.under, field=column.field)
    return ratio(run.rows, wanted, setting)


def _shown(found: Spread | None) -> str:
    if found is None:
        return ""
    digits = 0 if found.median >= 100 else 1 if found.median >= 10 else 2
    low, high = (f"{each:.{digits}f}" for each in (found.low, found.high))
    text = f"{found.median:.{digits}f}"
    return f"{text} ({low}..{high})" if low != high else text


def _middle(found: Spread | None, digits: int) -> str:
    return "" if found is None else f"{found.median:.{digits}f}"
