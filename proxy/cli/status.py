"""`twinwrite status`: what the running sidecar says of itself, or what its journal says when it does not run."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from proxy.cli.options import config_option, configured, fail, json_option, print_json
from proxy.cli.sidecar import status_of
from proxy.store import reader
from proxy.store.batch import StoreError


@click.command()
@config_option
@json_option
@click.option(
    "--healthy", is_flag=True, help="Print nothing; exit code 0 if the sidecar answers, else 1."
)
def status(config_path: str, as_json: bool, healthy: bool) -> None:
    """Show stage, intents by state, backlog, breakers and verdicts.

    \b
    Examples:
      twinwrite status -c twinwrite.toml
      twinwrite status --json | jq .backlog
      twinwrite status --healthy || echo down
    """
    config = configured(config_path)
    if healthy:
        sys.exit(status_of(config) is None)
    told = status_of(config)
    if told is None:
        found = _from_journal(Path(config.journal.directory), config.policy.stage)
    else:
        found = {"running": True, **told}
    if as_json:
        print_json(found)
    else:
        _show(found)


def _from_journal(directory: Path, stage: str) -> dict[str, Any]:
    try:
        counts = reader.states(directory)
    except StoreError as error:
        fail(f"no sidecar answers on the admin port, and {error}")
    return {"running": False, "stage": stage, "intents": counts}


def _show(found: dict[str, Any]) -> None:
    console = Console()
    running = "running" if found["running"] else "not running: this is what its journal says"
    console.print(f"[bold]{running}[/], stage [bold]{found['stage']}[/]")
    if "level" in found:
        why = "".join(f"; {reason}" for reason in found["reasons"])
        console.print(f"level [bold]{found['level']}[/]{why}")
    for name in ("intents", "skipped", "backlog", "verdicts"):
        rows = {word: count for word, count in found.get(name, {}).items() if count}
        if rows:
            console.print(_table(name, rows))
    for category, breaker in found.get("breakers", {}).items():
        console.print(f"breaker {category}: [bold]{breaker['state']}[/] {breaker['reason']}")
    for gap in found.get("gaps", ()):
        console.print(
            f"gap {gap['id']}: {gap['writes']} writes of {gap['category'] or 'any category'} are not at the"
            f" secondary ({gap['reason']})"
        )
    for state in ("dead", "unknown"):
        if found["intents"].get(state):
            console.print(f"{found['intents'][state]} {state}: see `twinwrite {state} list`")
    if "accepted" in found:
        console.print(f"accepted writes: {found['accepted']}")


def _table(name: str, rows: dict[str, Any]) -> Table:
    table = Table(name, "", show_header=True)
    for word, count in rows.items():
        table.add_row(word, str(count))
    return table
