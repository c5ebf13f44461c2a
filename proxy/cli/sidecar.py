"""How the verbs talk to the running sidecar: its status, and the actions of its admin port."""

import json
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import click

from proxy.cli.options import fail, print_json
from proxy.control.config import Config
from proxy.control.token import FILE, read

STATUS_TIMEOUT_S = 5.0

ACTION_TIMEOUT_S = 120.0
"""A thousand intents, each with a commit of its own, on a slow disk."""

Document = dict[str, Any]


def status_of(config: Config) -> Document | None:
    """What the running sidecar says of itself; None where none answers."""
    try:
        status, found = _asked(config, "GET", "/status", STATUS_TIMEOUT_S)
    except (OSError, HTTPException, ValueError):
        return None
    return found if status == 200 else None


def act(config: Config, path: str, document: Mapping[str, object]) -> Document:
    """Let the running sidecar do something, by the token beside its journal; an error ends the command."""
    where = Path(config.journal.directory) / FILE
    try:
        token = read(where.parent)
    except OSError as error:
        fail(f"{where}: {error.strerror}: a sidecar writes it when it starts; only it can do this")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        status, found = _asked(
            config, "POST", path, ACTION_TIMEOUT_S, (json.dumps(document), headers)
        )
    except (OSError, HTTPException, ValueError) as error:
        at = f"{config.admin.host}:{config.admin.port}"
        fail(f"no sidecar answers on the admin port {at}, and only it can do this: {error}")
    if status != 200:
        fail(f"the sidecar refused it ({status}): {found.get('detail', '')}")
    return found


def print_done(told: Document, *, as_json: bool) -> bool:
    """Show what came of an action on several intents; whether none was refused."""
    if as_json:
        print_json(told)
    else:
        for each in told["changed"]:
            click.echo(f"{each['id']}: {each['state']}")
        for each in told["unchanged"]:
            click.echo(f"{each['id']}: {each['state']}, as before")
    for each in told["refused"]:
        click.echo(f"twinwrite: error: {each['id']}: {each['detail']}", err=True)
    return not told["refused"]


def _asked(
    config: Config,
    method: str,
    path: str,
    timeout_s: float,
    sent: tuple[str, dict[str, str]] = ("", {}),
) -> tuple[int, Document]:
    """Status and JSON of a reply. Not urllib: that would take the token to a proxy of the environment."""
    connection = HTTPConnection(config.admin.host, config.admin.port, timeout=timeout_s)
    with closing(connection):
        connection.request(method, path, sent[0] or None, sent[1])
        reply = connection.getresponse()
        found: Document = json.loads(reply.read())
        return reply.status, found
