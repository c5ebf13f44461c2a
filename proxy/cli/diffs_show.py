"""`twinwrite diffs show` and `curl`: one comparison, both replies side by side; its request as a command."""

import json
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from proxy.cli.chosen import moment, plain, reading
from proxy.cli.options import (
    config_option,
    configured,
    fail,
    journal_directory,
    json_option,
    print_json,
)
from proxy.cli.side_by_side import aligned, columns, shortened
from proxy.store import ledger_reader as reader
from rules.evidence import curl as curl_command
from rules.message import Side


@click.command()
@config_option
@json_option
@click.option("--full", is_flag=True, help="Show lines that are equal, too.")
@click.argument("identifier", type=int, metavar="ID")
def show(config_path: str, as_json: bool, full: bool, identifier: int) -> None:
    """Show one comparison: where the two replies differ, and both side by side.

    \b
    Lines: | differ, < only at the primary, > only at the secondary.
    Examples:
      twinwrite diffs show 17
      twinwrite diffs show 17 --full | less
      twinwrite diffs show 17 --json | jq .differences
    """
    found = _sample(config_path, identifier)
    if as_json:
        print_json(found)
        return
    console = Console(highlight=False)
    _print_head(console, found)
    primary, secondary = found["primary"], found["secondary"]
    _print_columns(console, [("|", *_titles(primary, secondary))])
    for each in found["differences"]:
        console.print(Text(f"{plain(each['path'])}  {each['kind']}", "bold"), soft_wrap=True)
        mark = {"missing": "<", "extra": ">"}.get(each["kind"], "|")
        _print_columns(console, [(mark, each["primary"], each["secondary"])])
    console.rule("replies")
    pairs = list(aligned(_lines(primary), _lines(secondary)))
    _print_columns(console, pairs if full else list(shortened(pairs)))


def _print_head(console: Console, found: dict[str, Any]) -> None:
    head = Text.assemble(
        (f"{found['method']} {plain(found['target'])}", "bold"),
        f"\nroute {found['route']}, category {found['category']}, ",
        (f"{found['verdict']}: {found['reason']}", "yellow"),
        f"\n{moment(found['at'])} UTC, ",
        "shadow" if found["intent"] is None else f"intent {found['intent']}",
    )
    console.print(head, soft_wrap=True)
    console.rule("differences")


def _print_columns(console: Console, pairs: list[tuple[str, str, str]]) -> None:
    for line in columns(pairs, console.width):
        console.print(line, soft_wrap=True)


def _titles(primary: dict[str, Any], secondary: dict[str, Any]) -> tuple[str, str]:
    return f"primary ({primary['side']})", f"secondary ({secondary['side']})"


def _lines(reply: dict[str, Any]) -> list[str]:
    """A reply as lines: status or what went wrong, headers by name, and the body, JSON by key."""
    if reply.get("failure"):
        return [f"no reply: {reply['failure']}"]
    headers = sorted(f"{name}: {value}" for name, value in reply["headers"])
    return [str(reply["status"]), *headers, "", *_body(reply["body"])]


def _body(text: str) -> list[str]:
    try:
        document = json.loads(text)
        if isinstance(document, dict | list):
            text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):  # no JSON, cut off, or deeper than is fit to be seen
        pass
    return text.splitlines()


@click.command()
@config_option
@json_option
@click.argument("identifier", type=int, metavar="ID")
@click.option(
    "--side", type=click.Choice([side.value for side in Side]), default="new", show_default=True
)
def curl(config_path: str, as_json: bool, identifier: int, side: str) -> None:
    """Print the request of one comparison as a curl command (redacted values stay redacted).

    \b
    Examples:
      twinwrite diffs curl 17
      twinwrite diffs curl 17 --side legacy | sh
    """
    found = _sample(config_path, identifier)
    url = configured(config_path).backends[Side(side)].url
    command = curl_command(found["request"], url)
    if as_json:
        print_json({"command": command})
    else:
        click.echo(command)


def _sample(config_path: str, identifier: int) -> dict[str, Any]:
    with reading():
        found = reader.sample(journal_directory(config_path), identifier)
    if found is None:
        fail(f"no comparison {identifier} in the ledger: `twinwrite diffs list` names samples")
    return found
