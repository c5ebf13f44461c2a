"""`twinwrite diffs list`, `search` and `rules`: what there is, what has certain words, which rules were of use."""

import json
import time
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.chosen import filters, moment, plain, reading
from proxy.cli.options import (
    config_option,
    configured,
    journal_directory,
    json_option,
    print_json,
)
from proxy.control.config import Config
from proxy.store import ledger_reader as reader
from proxy.store.ledger_reader import Chosen
from rules.tolerance import unused

POLL_S = 0.5
"""How often `--follow` looks for what is new."""

LIMIT = 50
SHOWN_CHARACTERS_MAX = 60
"""What one line shows of a value."""


@click.command("list")
@config_option
@json_option
@filters("route", "category", "kind", "path", "verdict", "since", "until")
@click.option("--follow", "-f", is_flag=True, help="Print new mismatches as they come, until ^C.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    help=f"So many at the most [{LIMIT}; followed: all].",
)
def list_groups(
    config_path: str, as_json: bool, chosen: Chosen, follow: bool, limit: int | None
) -> None:
    """List differences by route, path and class, most frequent first; the default of `twinwrite diffs`.

    \b
    count is the number of comparisons, within --since and --until by whole hours.
    Examples:
      twinwrite diffs list --since 2h --class missing
      twinwrite diffs list --path '/body/items/*/price' --json
      twinwrite diffs list --follow --route orders
    """
    directory = journal_directory(config_path)
    with reading():
        if follow:
            _follow(config_path, as_json, chosen, limit)
            return
        found = reader.groups(directory, chosen, limit or LIMIT)
    if as_json:
        print_json(found)
        return
    table = Table("route")
    table.add_column("path", overflow="fold", ratio=1)
    for name in ("class", "count", "last seen", "sample"):
        table.add_column(name, no_wrap=True)
    for row in found:
        number = "" if row["sample"] is None else str(row["sample"])
        table.add_row(
            row["route"], Text(plain(row["path"])), row["kind"], str(row["count"]),
            moment(row["last_at"])[:16], number,
        )  # fmt: skip
    Console().print(table)
    samples = [row["sample"] for row in found if row["sample"] is not None]
    if samples:
        click.echo(f"one of them side by side: twinwrite diffs show {samples[0]}")


def _follow(config_path: str, as_json: bool, chosen: Chosen, limit: int | None) -> None:
    directory, console = journal_directory(config_path), Console(soft_wrap=True)
    after, shown = reader.last_id(directory), 0
    try:
        while True:
            last = reader.last_id(directory)
            if last < after:  # another file
                after = 0
            for row in reader.stream(directory, chosen, after):
                last = max(last, row["id"])
                _print_line(console, row, as_json)
                shown += 1
                if shown == limit:
                    return
            after = last
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return


def _print_line(console: Console, row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(row))
    else:
        console.print(line(row))


def line(row: dict[str, Any]) -> Text:
    """A comparison in one line: when, which, and its first difference."""
    text = Text.assemble(
        (f"{moment(row['at'])} ", "dim"), (f"#{row['id']} ", "bold"), f"{row['route']} ",
        f"{row['method']} {plain(row['target'])} ", (f"{row['verdict']}: {row['reason']}", "yellow"),
    )  # fmt: skip
    differences = row["differences"]
    if differences:
        first = differences[0]
        text.append(f"  {plain(first['path'])} {first['kind']} ")
        text.append(_short(first["primary"]), "green")
        text.append(" / ")
        text.append(_short(first["secondary"]), "red")
    if len(differences) > 1:
        text.append(f"  and {len(differences) - 1} more")
    return text


def _short(text: str) -> str:
    shown = plain(text)
    return shown if len(shown) <= SHOWN_CHARACTERS_MAX else shown[: SHOWN_CHARACTERS_MAX - 1] + "…"


@click.command()
@config_option
@json_option
@filters("route", "category", "kind", "path", "verdict", "since", "until")
@click.option("--limit", default=LIMIT, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--bodies", is_flag=True, help="Look into request and replies, too: reads every row.")
@click.argument("words", nargs=-1, metavar="TEXT...")
def search(config_path: str, as_json: bool, chosen: Chosen, **given: Any) -> None:  # noqa: ANN401
    """List comparisons that have all these words, latest first: in route, reason, target, paths and values.

    \b
    Without TEXT: all that the filters choose.
    Examples:
      twinwrite diffs search c-20417
      twinwrite diffs search --path /body/total --since 1d
      twinwrite diffs search --verdict error timeout
      twinwrite diffs search --bodies 'ann@example.com'
    """
    with reading():
        found, read = reader.search(
            journal_directory(config_path), " ".join(given["words"]), chosen, given["limit"],
            bodies=given["bodies"],
        )  # fmt: skip
    if as_json:
        print_json(found)
    else:
        console = Console(soft_wrap=True)
        for row in found:
            console.print(line(row))
    if read and not given["bodies"]:
        click.echo(f"{read} rows are in no full-text index and were read through", err=True)


@click.command()
@config_option
@json_option
@filters("route", "since", "until")
def rules(config_path: str, as_json: bool, chosen: Chosen) -> None:
    """List how often each rule took a difference away, and the rules that never did.

    \b
    Examples:
      twinwrite diffs rules
      twinwrite diffs rules --since 7d --json
    """
    config = configured(config_path)
    with reading():
        found = reader.rules(journal_directory(config_path), chosen)
    idle = [
        {"route": route, "rule": rule, "count": 0, "last_hour": None}
        for route, rule in _unused(config, found)
        if chosen.route in ("", route)
    ]
    if as_json:
        print_json([*found, *idle])
        return
    table = Table("route", "rule", "comparisons", "last used")
    for row in (*found, *idle):
        last = "never" if row["last_hour"] is None else moment(row["last_hour"])[:13] + "h"
        table.add_row(row["route"] or "[compare]", Text(row["rule"]), str(row["count"]), last)
    Console().print(table)


def _unused(config: Config, found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    policy = config.policy
    declared = {
        route.name: route.comparison.rules for route in (*policy.routes, policy.fallback)
        if route.comparison is not None
    }  # fmt: skip
    uses = {(row["route"], row["rule"]): row["count"] for row in found}
    return list(unused(declared, uses))
