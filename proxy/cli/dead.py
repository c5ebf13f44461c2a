"""`twinwrite dead`: the writes that cannot be delivered without a person."""

import json
import os
from pathlib import Path

import click

from proxy.cli.letters import (
    as_document,
    base64,
    form,
    formed,
    print_letter,
    raw,
    the_letter,
    whole,
)
from proxy.cli.options import (
    config_option,
    configured,
    fail,
    journal_directory,
    json_option,
)
from proxy.cli.selection import (
    id_argument,
    list_options,
    only_of,
    out_of_order_option,
    print_selected,
    route_option,
    selected,
)
from proxy.cli.sidecar import act, print_done
from proxy.control.config import Config
from proxy.store import reader
from rules.fate import State
from rules.framing import with_line, without
from rules.message import Request

IDS_MAX = 1000
"""Of one request to the sidecar."""

_DEAD = (State.DEAD,)

ids_argument = click.argument("ids", type=int, nargs=-1, metavar="ID...")


@click.group()
def dead() -> None:
    """Look at dead letters, and decide what becomes of them.

    list, show and export read the journal's file; the others ask the running sidecar.

    \b
    Examples:
      twinwrite dead list -c twinwrite.toml
      twinwrite dead show 17
      twinwrite dead retry 17
      twinwrite dead edit 17
      twinwrite dead waive 17 --by ada --reason "cancelled by the customer"
    """


@dead.command("list")
@config_option
@json_option
@list_options
@click.option("--reason", default="", help="Only with this in their reason.")
def list_letters(
    config_path: str, as_json: bool, route: str, limit: int, **only: str | float
) -> None:
    """List dead letters, newest first.

    \b
    Examples:
      twinwrite dead list --reason s_rejected --older-than 3600
      twinwrite dead list --lane order:17 --json
    """
    found = selected(journal_directory(config_path), _DEAD, route, limit, only_of(**only))
    print_selected(found, as_json=as_json)


@dead.command()
@config_option
@json_option
@id_argument
def show(config_path: str, as_json: bool, intent_id: int) -> None:
    """Show one dead letter in full: the request (not redacted), the reason, and what waits behind it.

    \b
    Examples:
      twinwrite dead show 17
      twinwrite dead show 17 --json | jq .request.body
    """
    config = configured(config_path)
    print_letter(config, the_letter(config, intent_id, State.DEAD), as_json=as_json)


@dead.command()
@config_option
@json_option
@ids_argument
@click.option("--all", "every", is_flag=True, help="All of them (with --route: all of the route).")
@route_option
@out_of_order_option
def retry(config_path: str, as_json: bool, ids: tuple[int, ...], **options: str | bool) -> None:
    """Send dead letters again: from their places in their lanes, if they still hold them.

    \b
    Examples:
      twinwrite dead retry 17 18
      twinwrite dead retry --all --route "change order"
      twinwrite dead retry 19 --out-of-order
    """
    every, route = bool(options["every"]), str(options["route"])
    if bool(ids) is every or (route and not every):
        raise click.UsageError("give ids, or --all (with --route)")
    config = configured(config_path)
    if every:
        found = selected(Path(config.journal.directory), _DEAD, route)
        ids = tuple(sorted(each["id"] for each in found))
    told = _acted(config, "/dead/retry", ids, out_of_order=options["out_of_order"])
    raise SystemExit(not print_done(told, as_json=as_json))


@dead.command()
@config_option
@json_option
@ids_argument
@click.option("--by", required=True, help="Who gives them up.")
@click.option("--reason", required=True, help="Why.")
def waive(config_path: str, as_json: bool, ids: tuple[int, ...], by: str, reason: str) -> None:
    """Give dead letters up: the secondary never gets them, and their lanes go on. The ledger keeps who and why.

    \b
    Example:
      twinwrite dead waive 17 --by ada --reason "cancelled by the customer"
    """
    if not ids:
        raise click.UsageError("give ids")
    told = _acted(configured(config_path), "/dead/waive", ids, by=by, reason=reason)
    raise SystemExit(not print_done(told, as_json=as_json))


@dead.command()
@config_option
@json_option
@id_argument
@click.option("--target", help="Another request target.")
@click.option(
    "--set-header", "headers", multiple=True, metavar="'NAME: VALUE'", help="May be repeated."
)
@click.option(
    "--body-file", type=click.File("rb"), help="The file of another body; - is standard input."
)
@click.option("--by", envvar="USER", default="unknown", show_default="$USER", help="Who edits it.")
@out_of_order_option
def edit(config_path: str, as_json: bool, intent_id: int, **options: object) -> None:
    """Change the request of a dead letter, then send it: in $EDITOR, or by the options. The change is durable.

    \b
    Examples:
      twinwrite dead edit 17
      twinwrite dead edit 17 --body-file fixed.json --set-header "Content-Type: application/json"
      twinwrite dead edit 17 --target /orders/9 --by ada
    """
    config = configured(config_path)
    request = whole(the_letter(config, intent_id, State.DEAD))
    target, headers, file = options["target"], options["headers"], options["body_file"]
    if target or headers or file:
        assert isinstance(headers, tuple)
        head = _head(request, str(target or ""), headers)
        body = None if file is None else file.read()  # type: ignore[attr-defined]
    else:
        text = click.edit(form(request), extension=".http")
        if text is None:
            fail("not saved: nothing has changed")
        head, body = formed(text, request)
    document: dict[str, object] = {
        "id": intent_id, "head": head, "by": options["by"], "out_of_order": options["out_of_order"],
    }  # fmt: skip
    if body is not None:
        document["body"] = base64(body)
    raise SystemExit(not print_done(act(config, "/dead/edit", document), as_json=as_json))


@dead.command()
@config_option
@route_option
@click.option("--ndjson", metavar="FILE", help="One JSON object per line; - is standard output.")
@click.option("--http", "folder", metavar="DIRECTORY", help="One raw request per file, ID.http.")
def export(config_path: str, route: str, ndjson: str | None, folder: str | None) -> None:
    """Write dead letters to files that only you may read. Nothing is redacted: they hold credentials.

    \b
    Examples:
      twinwrite dead export --ndjson dead.ndjson
      twinwrite dead export --http dead/ --route "change order"
    """
    if (ndjson is None) is (folder is None):
        raise click.UsageError("give --ndjson or --http")
    config = configured(config_path)
    count = 0
    try:
        for row in reversed(selected(Path(config.journal.directory), _DEAD, route)):
            letter = the_letter(config, row["id"], State.DEAD)
            request = whole(letter)
            if folder is not None:
                Path(folder).mkdir(mode=0o700, exist_ok=True)
                _write(Path(folder) / f"{row['id']}.http", raw(request))
            else:
                line = json.dumps({"intent": row, "request": as_document(request)}) + "\n"
                _add(str(ndjson), line, first=not count)
            count += 1
    except OSError as error:
        fail(f"{error.filename or folder or ndjson}: {error.strerror}")
    click.echo(f"exported {count} dead letter(s), not redacted", err=True)


def _acted(config: Config, path: str, ids: tuple[int, ...], **more: object) -> reader.Document:
    """Act on any number of intents."""
    told: reader.Document = {"changed": [], "unchanged": [], "refused": []}
    for at in range(0, len(ids), IDS_MAX):
        some = act(config, path, {"ids": list(ids[at : at + IDS_MAX]), **more})
        for name, rows in some.items():
            told[name] += rows
    return told


def _head(request: Request, target: str, headers: tuple[str, ...]) -> str:
    """The head with another target and these headers; each replaces all of its name."""
    method, before, rest = request.head.split(b" ", 2)
    head = b" ".join((method, target.encode("latin-1", "replace") or before, rest))
    for line in headers:
        name, colon, _ = line.partition(":")
        if not colon:
            raise click.UsageError(f"--set-header {line!r}: must be 'NAME: VALUE'")
        head = with_line(
            without(head, (name.lower().encode("latin-1", "replace"),)),
            line.encode("latin-1", "replace"),
        )
    return head.decode("latin-1")


def _write(path: Path, data: bytes) -> None:
    opened = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(opened, "wb") as file:
        os.fchmod(opened, 0o600)
        file.write(data)


def _add(path: str, line: str, *, first: bool) -> None:
    if path == "-":
        click.echo(line, nl=False)
    elif first:
        _write(Path(path), line.encode())
    else:
        with Path(path).open("ab") as file:
            file.write(line.encode())
