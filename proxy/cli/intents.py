"""`twinwrite intents`: the journaled writes that are not removed yet."""

import click

from proxy.cli.options import config_option, journal_directory, json_option
from proxy.cli.selection import list_options, only_of, print_selected, selected
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
@list_options
def intents(
    config_path: str, as_json: bool, states: tuple[str, ...], limit: int, **more: str
) -> None:
    """List intents, newest first. Works while the sidecar runs and when it does not.

    \b
    Examples:
      twinwrite intents -c twinwrite.toml --state dead --state unknown
      twinwrite intents --lane order:17
      twinwrite intents --state s_pending --older-than 600 --json --limit 1000
    """
    route = more.pop("route")
    chosen = tuple(map(State, states))
    found = selected(journal_directory(config_path), chosen, route, limit, only_of(**more))
    print_selected(found, as_json=as_json)
