"""`twinwrite diffs`: what the comparison found. Groups, one difference side by side, the request as curl."""

from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.options import (
    config_option,
    configured,
    fail,
    journal_directory,
    json_option,
    print_json,
)
from proxy.store import ledger_reader as reader
from proxy.store.batch import StoreError
from rules.evidence import curl as curl_command
from rules.message import Side


@click.group()
def diffs() -> None:
    """Read the differences between the two sides.

    \b
    Examples:
      twinwrite diffs list -c twinwrite.toml
      twinwrite diffs show 17
      twinwrite diffs curl 17
    """


@diffs.command("list")
@config_option
@json_option
@click.option("--route", default="", help="Only this route.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000))
def list_groups(config_path: str, as_json: bool, route: str, limit: int) -> None:
    """List differences by route, path and kind, most frequent first."""
    try:
        found = reader.groups(journal_directory(config_path), route=route, limit=limit)
    except StoreError as error:
        fail(str(error))
    if as_json:
        print_json(found)
        return
    table = Table("route", "path", "kind", "count", "sample")
    for row in found:
        table.add_row(row["route"], row["path"], row["kind"], str(row["count"]), str(row["sample"]))
    Console().print(table)
    if found:
        click.echo(f"one of them side by side: twinwrite diffs show {found[0]['sample']}")


@diffs.command()
@config_option
@json_option
@click.argument("identifier", type=int, metavar="ID")
def show(config_path: str, as_json: bool, identifier: int) -> None:
    """Show one comparison: the request, and where the two replies differ, side by side."""
    found = _sample(config_path, identifier)
    if as_json:
        print_json(found)
        return
    console = Console()
    console.print(
        f"[bold]{found['method']} {found['target']}[/]  route {found['route']}  {found['verdict']}"
    )
    primary, secondary = found["primary"], found["secondary"]
    table = Table(
        "path", "kind", f"primary ({primary['side']})", f"secondary ({secondary['side']})"
    )
    for each in found["differences"]:
        table.add_row(
            each["path"],
            each["kind"],
            Text(each["primary"], "green"),
            Text(each["secondary"], "red"),
        )
    console.print(table)
    bodies = Table(
        f"{primary['side']}: {primary['status']}", f"{secondary['side']}: {secondary['status']}"
    )
    bodies.add_row(Text(primary["body"]), Text(secondary["body"]))
    console.print(bodies)


@diffs.command()
@config_option
@json_option
@click.argument("identifier", type=int, metavar="ID")
@click.option(
    "--side", type=click.Choice([side.value for side in Side]), default="new", show_default=True
)
def curl(config_path: str, as_json: bool, identifier: int, side: str) -> None:
    """Print the request of one comparison as a curl command (redacted values stay redacted)."""
    found = _sample(config_path, identifier)
    url = configured(config_path).backends[Side(side)].url
    command = curl_command(found["request"], url)
    if as_json:
        print_json({"command": command})
    else:
        click.echo(command)


def _sample(config_path: str, identifier: int) -> dict[str, Any]:
    try:
        found = reader.sample(journal_directory(config_path), identifier)
    except StoreError as error:
        fail(str(error))
    if found is None:
        fail(f"no comparison {identifier} in the ledger: `twinwrite diffs list` names samples")
    return found
