"""`twinwrite unknown`: the writes that the primary may or may not have applied."""

import click

from proxy.cli.letters import print_letter, the_letter
from proxy.cli.options import config_option, configured, journal_directory, json_option
from proxy.cli.selection import (
    id_argument,
    list_options,
    only_of,
    out_of_order_option,
    print_selected,
    selected,
)
from proxy.cli.sidecar import act, print_done
from rules.fate import State


@click.group()
def unknown() -> None:
    """Look at writes of unknown outcome, and settle them.

    They settle by themselves when the client sends the same Idempotency-Key again, or where the route
    has `reask` or `probe`. What is left is for a person who has looked at the primary.

    \b
    Examples:
      twinwrite unknown list -c twinwrite.toml
      twinwrite unknown show 17
      twinwrite unknown settle 17 --applied --by ada --reason "order 17 has the new address"
    """


@unknown.command("list")
@config_option
@json_option
@list_options
def list_unknown(
    config_path: str, as_json: bool, route: str, limit: int, **only: str | float
) -> None:
    """List unknown writes, newest first.

    \b
    Example:
      twinwrite unknown list --older-than 60 --json
    """
    directory = journal_directory(config_path)
    found = selected(directory, (State.UNKNOWN,), route, limit, only_of(**only))
    print_selected(found, as_json=as_json)


@unknown.command()
@config_option
@json_option
@id_argument
def show(config_path: str, as_json: bool, intent_id: int) -> None:
    """Show one unknown write in full: the request (not redacted), and why nothing is known.

    \b
    Example:
      twinwrite unknown show 17
    """
    config = configured(config_path)
    print_letter(config, the_letter(config, intent_id, State.UNKNOWN), as_json=as_json)


@unknown.command()
@config_option
@json_option
@id_argument
@click.option("--applied", "outcome", flag_value="applied", help="The primary has it: send it on.")
@click.option("--rejected", "outcome", flag_value="rejected", help="The primary does not have it.")
@click.option("--waive", "outcome", flag_value="waive", help="It does not matter: forget it.")
@click.option("--by", required=True, help="Who says so.")
@click.option("--reason", required=True, help="How they know.")
@out_of_order_option
def settle(config_path: str, as_json: bool, intent_id: int, **options: object) -> None:
    """Say what became of an unknown write. Applied, it goes to the secondary, at the end of its lanes.

    \b
    Examples:
      twinwrite unknown settle 17 --applied --by ada --reason "order 17 has the new address"
      twinwrite unknown settle 18 --rejected --by ada --reason "not in the table"
    """
    if not options["outcome"]:
        raise click.UsageError("give --applied, --rejected or --waive")
    told = act(configured(config_path), "/unknown/settle", {"ids": [intent_id], **options})
    raise SystemExit(not print_done(told, as_json=as_json))
