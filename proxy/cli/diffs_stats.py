"""`twinwrite diffs stats`: mismatches by the hour, as a small chart; and verdicts in all."""

import time
from dataclasses import replace
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.chosen import filters, moment, reading
from proxy.cli.options import config_option, journal_directory, json_option, print_json
from proxy.store import ledger_reader as reader
from proxy.store.ledger_reader import Chosen

DAY_S = 86_400.0
HOUR_S = 3600
HOURS_MAX = 24 * 31
"""Hours without a comparison are shown up to so many; beyond it they are left out."""

BAR = 30
_EIGHTHS = " ▏▎▍▌▋▊▉"


@click.command()
@config_option
@json_option
@filters("route", "category", "kind", "path", "since", "until")
def stats(config_path: str, as_json: bool, chosen: Chosen) -> None:
    """Show by the hour in how many comparisons the sides differed; of the last day if nothing else is asked for.

    \b
    With --path or --class: in how many that difference was found.
    Examples:
      twinwrite diffs stats
      twinwrite diffs stats --since 7d --route orders
      twinwrite diffs stats --path /body/total --json
    """
    directory = journal_directory(config_path)
    if chosen.since is None:
        chosen = replace(chosen, since=(chosen.until or time.time()) - DAY_S)
    with reading():
        hours = reader.hours(directory, chosen)
        verdicts = reader.verdicts(directory, replace(chosen, kind="", path=""))
    if as_json:
        print_json({"hours": hours, "verdicts": verdicts})
        return
    console = Console(highlight=False)
    if not hours:
        console.print("no comparisons in this time")
        return
    most = max(row["found"] for row in hours)
    for row in _filled(hours):
        console.print(_line(row, most), soft_wrap=True)
    console.print(_table(verdicts))


def _filled(hours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The hours between the first and the last, also those without a comparison."""
    known = {row["hour"]: row for row in hours}
    first, last = hours[0]["hour"], hours[-1]["hour"]
    if (last - first) // HOUR_S >= HOURS_MAX:
        return hours
    every = range(first, last + 1, HOUR_S)
    return [known.get(hour) or {"hour": hour, "found": 0, "compared": 0} for hour in every]


def _line(row: dict[str, Any], most: int) -> Text:
    found, compared = row["found"], row["compared"]
    share = f"{100 * found / compared:6.2f} %" if compared else "        "
    line = Text(f"{moment(row['hour'])[:16]} ", "dim")
    line.append(f"{bar(found, most):{BAR}} ", "red")
    line.append(f"{found} of {compared} {share}".rstrip())
    return line


def bar(value: int, most: int) -> str:
    """A bar of BAR columns for `most`; something is always to be seen of what is not 0."""
    eighths = max(round(8 * BAR * value / most), 1) if value and most else 0
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _table(verdicts: list[dict[str, Any]]) -> Table:
    table = Table("route", "category", "verdict", "reason", "count")
    for row in verdicts:
        table.add_row(
            *(str(row[name]) for name in ("route", "category", "verdict", "reason", "count"))
        )
    return table
