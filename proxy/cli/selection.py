"""Which intents a verb is about: the options that choose them, the journal asked for them, the list printed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from proxy.cli.letters import print_table
from proxy.cli.options import fail, print_json
from proxy.store import reader
from proxy.store.batch import StoreError
from rules.fate import State

Command = TypeVar("Command", bound=Callable[..., Any])

ALL = 1_000_000_000
"""A limit that is none."""

id_argument = click.argument("intent_id", type=int, metavar="ID")
route_option = click.option("--route", default="", help="Only this route.")
out_of_order_option = click.option(
    "--out-of-order", is_flag=True, help="Also what later writes of its lanes have overtaken."
)


def list_options(command: Command) -> Command:
    """The options of every list of intents: route, limit, and what `only_of` takes."""
    for option in reversed((
        route_option,
        click.option("--lane", default="", help="Only of this lane."),
        click.option("--older-than", type=float, metavar="SECONDS", help="Only received before that."),
        click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000)),
    )):  # fmt: skip
        command = option(command)
    return command


def only_of(
    *, lane: str | float = "", reason: str | float = "", older_than: str | float | None = None
) -> reader.Only:
    """The filters of a list, as the options give them; `older_than` in seconds."""
    if older_than is None:
        return reader.Only(lane=str(lane), reason=str(reason))
    before = time.time() - float(older_than)
    return reader.Only(lane=str(lane), reason=str(reason), before=before)


def selected(
    directory: Path,
    states: tuple[State, ...],
    route: str,
    limit: int = ALL,
    only: reader.Only = reader.EVERY,
) -> list[reader.Document]:
    """The latest intents in these states (none: in any), newest first; where they cannot be read the command ends."""
    try:
        return reader.intents(directory, states=states, route=route, limit=limit, only=only)
    except StoreError as error:
        fail(str(error))


def print_selected(found: list[reader.Document], *, as_json: bool) -> None:
    """A list of intents, for people or for programs."""
    if as_json:
        print_json(found)
    else:
        print_table(found)
