"""The benchmark's command line: `python -m bench`, `make bench`."""

import asyncio
import json
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import machine, report
from bench.bed import Bed, Choice, missing
from bench.contestants import CONTESTANTS
from bench.load import CONNECTIONS_MAX
from bench.report import Run
from bench.rounds import Plan, Row, measure
from bench.summary import Setting
from bench.tools import Cores, Pin, ToolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line; `quick` is applied already."""

    scenarios: tuple[str, ...]
    rounds: int
    seconds: float
    connections: tuple[int, ...]
    loops: str
    rate: float
    open_seconds: float
    open_connections: int
    load: str
    backends: str
    pin: str | None
    directory: Path | None
    seed: int
    patience: float
    json_file: Path | None


QUICK: dict[str, Any] = {"rounds": 3, "seconds": 1.0, "connections": (1, 64), "open_seconds": 2.0}
"""What --quick sets, unless it is given as well."""

_EXAMPLES = """
\b
Examples:
  python -m bench                                 everything; about a quarter of an hour
  python -m bench --quick                         a first look; about two minutes
  python -m bench --scenario relay --scenario dual --connections 64
  python -m bench --loop open --rate 300          latency at a fixed rate, no coordinated omission
  python -m bench --load own --backends own       what a machine with only Python can do
  python -m bench --pin one --json result.json
"""

_NAMES = [each.name for each in CONTESTANTS]


@click.command(
    epilog="The scenarios: " + "; ".join(f"{each.name}: {each.what}" for each in CONTESTANTS),
    help="Measure what a mirrored write costs, side by side, in interleaved rounds.\n" + _EXAMPLES,
)
@click.option(
    "--scenario", "scenarios", multiple=True, type=click.Choice(_NAMES), help="Only these."
)
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1, 1000))
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.1, 600),
    help="Length of a closed-loop measurement; wrk rounds it up to whole seconds.",
)
@click.option(
    "--connections",
    multiple=True,
    default=(1, 32, 64),
    show_default=True,
    type=click.IntRange(1, CONNECTIONS_MAX),
    help="Of the closed loop; may be repeated.",
)
@click.option(
    "--loop",
    "loops",
    default="both",
    show_default=True,
    type=click.Choice(["closed", "open", "both"]),
)
@click.option(
    "--rate",
    default=500.0,
    show_default=True,
    type=click.FloatRange(1, 20_000),
    help="Requests per second of the open loop.",
)
@click.option(
    "--open-seconds",
    default=6.0,
    show_default=True,
    type=click.FloatRange(0.1, 600),
    help="Length of an open-loop measurement.",
)
@click.option(
    "--open-connections", default=64, show_default=True, type=click.IntRange(1, CONNECTIONS_MAX)
)
@click.option(
    "--load",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "wrk", "own"]),
    help="Load generator of the closed loop; auto: wrk if it is installed.",
)
@click.option(
    "--backends",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "nginx", "own"]),
    help="auto: nginx if it is installed.",
)
@click.option(
    "--pin",
    default=None,
    type=click.Choice([str(each) for each in Pin]),
    help="one: all on one core. split: the proxy alone on its core. none: no pinning. "
    "Default: split, with one core one.",
)
@click.option(
    "--directory",
    default=None,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the journals go, on a real disk; default: a temporary directory.",
)
@click.option(
    "--patience",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 600),
    help="Seconds to wait, before each measurement, for others to leave the machine alone; "
    "one that they disturbed is repeated.",
)
@click.option("--seed", default=1, show_default=True, help="Chooses the order within the rounds.")
@click.option("--quick", is_flag=True, help="3 rounds of 1 s, 1 and 64 connections.")
@click.option(
    "--json",
    "json_file",
    default=None,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write every row to FILE.",
    metavar="FILE",
)
@click.pass_context
def main(context: click.Context, /, quick: bool, **given: Any) -> None:  # noqa: ANN401 - see Options
    """Run the benchmark; see --help."""
    if quick:
        default = click.core.ParameterSource.DEFAULT
        left = {name for name in QUICK if context.get_parameter_source(name) is default}
        given |= {name: value for name, value in QUICK.items() if name in left}
    options = Options(**given)
    try:
        run = asyncio.run(_run(options))
    except ToolError as error:
        raise click.ClickException(str(error)) from error
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise click.Abort from None
    report.show(run)
    found = report.as_json(run)
    if options.json_file is not None:
        options.json_file.write_text(json.dumps(found, indent=1) + "\n")
    if not found["ok"]:
        raise click.ClickException("requests failed, or writes were left owed: see above")


async def _run(options: Options) -> Run:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    plan = _plan(options)
    if not plan.runs:
        raise ToolError("nothing to measure: none of these scenarios has an open loop")
    pin = Pin(options.pin or ("split" if machine.cores() > 1 else "one"))
    absent = missing()
    choice = Choice(
        load=_chosen(options.load, "wrk", absent),
        backends=_chosen(options.backends, "nginx", absent),
        cores=Cores.of(pin),
    )
    parent = options.directory or machine.disk()
    with tempfile.TemporaryDirectory(
        prefix="twinwrite-bench-", dir=parent, ignore_cleanup_errors=True
    ) as name:
        facts = machine.describe(Path(name))
        async with Bed.made(Path(name), choice) as bed:
            with _progress(plan) as told:
                rows = await measure(bed, plan, told)
    return Run(machine=facts, plan=plan, choice=choice, pin=pin, missing=absent, rows=rows)


def _chosen(wanted: str, tool: str, absent: tuple[str, ...]) -> str:
    if wanted == tool and tool in absent:
        raise ToolError(f"{tool} is not installed; leave it to auto, or choose own")
    if wanted == "auto":
        return "own" if tool in absent else tool
    return wanted


def _plan(options: Options) -> Plan:
    wanted = options.scenarios or _NAMES
    is_open, is_closed = (options.loops in (each, "both") for each in ("open", "closed"))
    return Plan(
        contestants=tuple(each for each in CONTESTANTS if each.name in wanted),
        connections=tuple(dict.fromkeys(options.connections)) if is_closed else (),
        rounds=options.rounds,
        seconds=options.seconds,
        rate=options.rate if is_open else 0.0,
        open_seconds=options.open_seconds,
        open_connections=options.open_connections,
        seed=options.seed,
        patience=options.patience,
    )


@contextmanager
def _progress(plan: Plan) -> Iterator[Callable[[Row], None]]:
    """A bar on a terminal, else one line per round; on standard error."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as bar:
        task = bar.add_task("round 1", total=plan.runs)
        done = 0

        def told(row: Row) -> None:
            nonlocal done
            done += 1
            name = Setting(rate=row.rate, connections=row.connections).name
            bar.update(
                task,
                advance=1,
                description=f"round {row.round}/{plan.rounds}, {row.contestant} {name}",
            )
            if not console.is_terminal and done % (plan.runs // plan.rounds) == 0:
                click.echo(f"round {row.round}/{plan.rounds} done", err=True)

        yield told


if __name__ == "__main__":
    main()
