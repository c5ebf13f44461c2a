"""`twinwrite intents`: the journaled writes that are not removed yet."""

from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from proxy.cli.options import config_option, fail, journal_directory, json_option, print_json
from proxy.store import reader
from proxy.store.batch import StoreError
from rules.fate import State


@click.command()
@config_option
@json_option
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State]),
    help="Only this state; may be repeated.",
)
@click.option("--route", default="", help="Only this route.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000))
def intents(
    config_path: str, as_json: bool, states: tuple[str, ...], route: str, limit: int
) -> None:
    """List intents, newest first. Works while the sidecar runs and when it does not.

    \b
    Examples:
      twinwrite intents -c twinwrite.toml --state dead --state unknown
      twinwrite intents --json --limit 1000
    """
    try:
        found = reader.intents(
            journal_directory(config_path), states=states, route=route, limit=limit
        )
    except StoreError as error:
        fail(str(error))
    if as_json:
        print_json(found)
        return
    table = Table(
        "id", "state", "route", "method", "target", "lanes", "received", "tries", "reason"
    )
    for row in found:
        received = datetime.fromtimestamp(row["received_at"], UTC).isoformat(timespec="seconds")
        table.add_row(
            str(row["id"]), row["state"], row["route"], row["method"], row["target"],
            " ".join(row["lanes"]), received, str(row["attempts"]), row["reason"],
        )  # fmt: skip
    Console().print(table)
