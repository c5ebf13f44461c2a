"""The benchmark's command line: `python -m bench`, `make bench`."""

import asyncio
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import carried, machine, report
from bench.bed import Bed, missing
from bench.check import check
from bench.contestants import CONTESTANTS
from bench.options import Options, choice, plan
from bench.place import json_option, write
from bench.report import Run
from bench.rounds import Plan, Row, measure
from bench.scenes import SCENES
from bench.tools import Pin, ToolError

QUICK: dict[str, Any] = {"rounds": 2, "seconds": 1.0, "open_seconds": 2.0}
"""What --quick sets, unless it is given as well; it also leaves out what no target reads."""

_EXAMPLES = """
\b
Examples:
  python -m bench                                  everything; about 25 minutes
  python -m bench --quick                          a first look; about four minutes
  python -m bench --scene mirror --contestant shadow --contestant envoy_mirror
  python -m bench --scene hung --open-seconds 60   p99 of a hung side, longer
  python -m bench --load own --backends own        what a machine with only Python can do
  python -m bench --json result.json --markdown README.md --markdown bench/README.md
"""

_NOT_TOLD = ("json_file", "markdown_files", "directory")
"""Options that say where, not what: the report's command leaves them out."""


def _table(rows: list[tuple[str, str]]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in rows)


@click.command(
    epilog=f"The scenes: {_table([(each.name, each.what) for each in SCENES])}.\n\n"
    f"The contestants: {_table([(each.name, each.what) for each in CONTESTANTS])}.",
    help="Measure what a mirrored write costs beside native mirrors, in interleaved rounds.\n"
    + _EXAMPLES,
)
@click.option(
    "--scene",
    "scenes",
    multiple=True,
    type=click.Choice([each.name for each in SCENES]),
    help="Only these.",
)
@click.option(
    "--contestant",
    "contestants",
    multiple=True,
    type=click.Choice([each.name for each in CONTESTANTS]),
    help="Only these.",
)
@click.option(
    "--connections",
    multiple=True,
    type=click.IntRange(1),
    help="Only settings with so many connections; may be repeated.",
)
@click.option(
    "--pin",
    default=None,
    type=click.Choice([str(each) for each in Pin]),
    help="one: all on one core. split: the proxy alone on its core. none: no pinning. "
    "Default: as each scene has it; targets are judged there only.",
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
@click.option("--quick", is_flag=True, help="2 rounds of 1 s, and only what a target reads.")
@json_option
@click.option(
    "--markdown",
    "markdown_files",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the tables to FILE: between its markers `<!-- bench: short -->` or "
    "`<!-- bench: full -->` and `<!-- bench: end -->`, as the READMEs have them. May be repeated.",
    metavar="FILE",
)
@click.pass_context
def main(context: click.Context, /, **given: Any) -> None:  # noqa: ANN401 - see Options
    """Run the benchmark; see --help."""
    if given["quick"]:
        default = click.core.ParameterSource.DEFAULT
        left = {name for name in QUICK if context.get_parameter_source(name) is default}
        given |= {name: value for name, value in QUICK.items() if name in left}
    options = Options(**given)
    try:
        run = asyncio.run(_run(options, _command(context)))
    except ToolError as error:
        raise click.ClickException(str(error)) from error
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise click.Abort from None
    tables = {"short": report.short(run), "full": report.full(run)}
    click.echo(tables["full"])
    for line in report.doubts(run):
        click.echo(line)
    for path in options.markdown_files:
        carried.write(path, tables)
    found = report.as_json(run)
    write(options.json_file, found)
    if not found["ok"]:
        raise click.ClickException(
            "requests failed, were not mirrored, or writes were left owed: see above"
        )


def _command(context: click.Context) -> str:
    """The command as it was given, without what says where results go."""
    words = ["python -m bench"]
    for each in context.command.params:
        assert each.name is not None
        given = click.core.ParameterSource.COMMANDLINE
        if context.get_parameter_source(each.name) is not given or each.name in _NOT_TOLD:
            continue
        value = context.params[each.name]
        if value is True:
            words.append(each.opts[0])
        else:
            many = value if isinstance(value, tuple) else (value,)
            words += [f"{each.opts[0]} {one}" for one in many]
    return " ".join(words)


async def _run(options: Options, command: str) -> Run:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    absent = missing()
    planned, chosen = plan(options, absent, machine.cores()), choice(options, absent)
    for tool, how in absent.items():
        click.echo(f"missing: {tool} ({how}); contestants that need it are left out", err=True)
    parent = options.directory or machine.disk()
    with tempfile.TemporaryDirectory(
        prefix="twinwrite-bench-", dir=parent, ignore_cleanup_errors=True
    ) as name:
        facts = machine.describe(Path(name))
        async with Bed.made(Path(name), chosen) as bed:
            for scene in planned.scenes:
                click.echo(f"checking that everybody does the work of {scene.name}", err=True)
                await check(bed, planned.present(scene), scene.body_bytes)
            with _progress(planned) as told:
                measured = await measure(bed, planned, told)
    return Run(
        machine=facts,
        command=command,
        plan=planned,
        choice=chosen,
        missing=absent,
        measured=measured,
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
            bar.update(
                task,
                advance=1,
                description=f"round {row.round}/{plan.rounds}, {row.contestant}, {row.setting.name}",
            )
            if not console.is_terminal and done % (plan.runs // plan.rounds) == 0:
                click.echo(f"round {row.round}/{plan.rounds} done", err=True)

        yield told


if __name__ == "__main__":
    main()
