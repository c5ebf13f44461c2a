"""`twinwrite diffs export`: comparisons as CSV or NDJSON, one after the other, however many there are."""

import csv
import json
import sys
from datetime import UTC, datetime
from typing import IO, Any

import click

from proxy.cli.chosen import filters, reading
from proxy.cli.options import config_option, journal_directory, json_option, print_json
from proxy.store import ledger_reader as reader
from proxy.store.ledger_reader import Chosen

COLUMNS = ("id", "at", "intent", "route", "category", "verdict", "reason", "method", "target")
DIFFERENCE = ("path", "kind", "primary", "secondary")
"""Columns of CSV: those of a comparison, and of one of its differences."""


@click.command()
@config_option
@json_option
@filters("route", "category", "kind", "path", "verdict", "since", "until")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "ndjson"]),
    default="ndjson",
    show_default=True,
    help="csv: a line for each difference; ndjson: one for each comparison.",
)
@click.option(
    "--output", "-o", default="-", show_default=True, metavar="FILE", help="- is standard output."
)
def export(config_path: str, as_json: bool, chosen: Chosen, form: str, output: str) -> None:
    """Write the comparisons that are kept, oldest first; ndjson with request and both replies.

    \b
    With --json, when it is written to a file: how many there were, as JSON.
    Examples:
      twinwrite diffs export --format csv --since 1d -o differences.csv
      twinwrite diffs export --route orders | jq -c .differences
    """
    directory = journal_directory(config_path)
    with reading():
        found = reader.stream(directory, chosen, whole=form == "ndjson")
        if output == "-":
            _write(form, found, sys.stdout)
            return
        try:
            with click.open_file(output, "w", encoding="utf-8", atomic=True) as file:
                count = _write(form, found, file)
        except OSError as error:
            raise click.FileError(output, error.strerror) from error
    if as_json:
        print_json({"comparisons": count, "file": output})
    else:
        click.echo(f"{count} comparisons written to {output}")


def _write(form: str, found: reader.Documents, file: IO[str]) -> int:
    """How many there were."""
    return _write_csv(found, file) if form == "csv" else _write_ndjson(found, file)


def _write_ndjson(found: reader.Documents, file: IO[str]) -> int:
    count = 0
    for row in found:
        file.write(json.dumps(row | {"at": _iso(row)}, ensure_ascii=False) + "\n")
        count += 1
    return count


def _write_csv(found: reader.Documents, file: IO[str]) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*COLUMNS, *DIFFERENCE))
    count = 0
    for row in found:
        start = [_iso(row) if name == "at" else row[name] for name in COLUMNS]
        for each in row["differences"] or [{}]:
            writer.writerow((*start, *(each.get(name, "") for name in DIFFERENCE)))
        count += 1
    return count


def _iso(row: dict[str, Any]) -> str:
    return datetime.fromtimestamp(row["at"], UTC).isoformat(timespec="milliseconds")
