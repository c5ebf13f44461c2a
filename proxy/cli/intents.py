"""`twinwrite intents`: the journaled writes that are not removed yet."""

import click

from proxy.cli.dead import only_of
from proxy.cli.letters import print_table
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
@click.option("--lane", default="", help="Only of this lane.")
@click.option("--older-than", type=float, metavar="SECONDS", help="Only received before that.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000))
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
    directory = journal_directory(config_path)
    try:
        found = reader.intents(
            directory, states=states, route=route, limit=limit, only=only_of(**more)
        )
    except StoreError as error:
        fail(str(error))
    if as_json:
        print_json(found)
    else:
        print_table(found)
