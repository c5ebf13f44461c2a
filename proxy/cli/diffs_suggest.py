"""`twinwrite diffs suggest`: fields that always differ, each with a rule to be put into the TOML file, or not."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from proxy.cli.chosen import filters, reading
from proxy.cli.options import config_option, configured, json_option, print_json
from proxy.store import ledger_reader as reader
from proxy.store.ledger_reader import Chosen
from rules.noise import Observed, Suggestion, snippet, suggest

DAY_S = 86_400.0
GROUPS_MAX = 500
"""Groups that are looked at: the most frequent ones."""


@click.command("suggest")
@config_option
@json_option
@filters("route", "path", "since", "until")
@click.option(
    "--percent", default=95.0, show_default=True, type=click.FloatRange(1, 100),
    help="Fields that differ in at least this share of the comparisons of their route.",
)  # fmt: skip
@click.option(
    "--at-least", default=50, show_default=True, type=click.IntRange(1),
    help="Routes with at least so many comparisons.",
)  # fmt: skip
def suggest_rules(
    config_path: str, as_json: bool, chosen: Chosen, percent: float, at_least: int
) -> None:
    """Suggest rules for fields that always differ and look like noise, from what the last day told.

    \b
    Nothing is changed: read each one, and put what you agree with into the TOML file.
    Examples:
      twinwrite diffs suggest
      twinwrite diffs suggest --since 2h --percent 90 --at-least 20
      twinwrite diffs suggest --json | jq '.[].toml'
    """
    config = configured(config_path)
    if chosen.since is None:
        chosen = replace(chosen, since=(chosen.until or time.time()) - DAY_S)
    with reading():
        observed = _observed(Path(config.journal.directory), chosen, (percent, at_least))
    found = suggest(observed, percent, at_least)
    named = {route.name for route in config.routes}
    if as_json:
        print_json([_document(each, named) for each in found])
        return
    for each in found:
        click.echo(snippet(each, everywhere=each.observed.route not in named))
    if not found:
        click.echo(f"# no field differs in {percent:g} % of {at_least} comparisons or more")
    elif any(each.rule for each in found):
        click.echo("# [[routes.rules]] stands below the [[routes]] of that name")


def _observed(directory: Path, chosen: Chosen, bounds: tuple[float, int]) -> list[Observed]:
    """What the ledger knows of the fields that may be meant: samples are read of these alone."""
    compared = reader.compared(directory, chosen)
    own = reader.baseline(directory, chosen)
    percent, at_least = bounds
    found = []
    for group in reader.groups(directory, chosen, GROUPS_MAX):
        count = compared.get(group["route"], 0)
        if count < at_least or 100 * group["count"] < percent * count:
            continue
        samples = reader.members(directory, group)
        seen = Observed(
            route=group["route"], path=group["path"], kind=group["kind"], differed=group["count"],
            compared=count, pairs=[(each["primary"], each["secondary"]) for each in samples],
            paths=[each["path"] for each in samples],
            own=own.get((group["route"], group["path"], group["kind"]), 0),
            own_compared=own.get((group["route"], "", ""), 0),
        )  # fmt: skip
        found.append(seen)
    return found


def _document(suggestion: Suggestion, named: set[str]) -> dict[str, Any]:
    seen = suggestion.observed
    return {
        **{name: value for name, value in asdict(seen).items() if name not in ("pairs", "paths")},
        "percent": round(seen.percent, 2),
        "look": suggestion.look,
        "rule": suggestion.rule,
        "why": suggestion.why,
        "toml": snippet(suggestion, everywhere=seen.route not in named),
    }
