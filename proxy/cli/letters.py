"""Intents as people read them: a table, one in full, and the text form of a request that an editor opens."""

import os
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.options import fail, print_json
from proxy.control.config import Config
from proxy.control.encryption import EncryptionError, cipher_of
from proxy.store import reader
from proxy.store.batch import StoreError
from proxy.wire.body import in_memory
from rules.fate import State
from rules.framing import fields, without
from rules.identity import payload_of
from rules.message import Request

Document = dict[str, Any]

SHOWN_CHARACTERS_MAX = 4096
SHOWN_BYTES_MAX = 256
"""How much of a body is shown: as text, or in hex where it is none."""

_FRAMING = (b"content-length", b"transfer-encoding", b"trailer")


def print_table(found: list[Document]) -> None:
    """Intents, one per line; lanes and reason on lines of their own where they are long."""
    table = Table("id", "state", "route", "request", "lanes", "received", "tries", "reason")
    for row in found:
        received = datetime.fromtimestamp(row["received_at"], UTC).isoformat(timespec="seconds")
        table.add_row(
            str(row["id"]), row["state"], row["route"], Text(f"{row['method']} {row['target']}"),
            Text("\n".join(row["lanes"])), received, str(row["attempts"]), Text(readable(row)),
        )  # fmt: skip
    Console().print(table)


def readable(intent: Document) -> str:
    """Why an intent is in its state, with the status that was its cause."""
    reason = str(intent["reason"])
    if intent["state"] == State.DEAD and intent["secondary_status"]:
        reason += f" ({intent['secondary_status']})"
    if intent["state"] == State.UNKNOWN and intent["primary_status"]:
        reason = f"{reason} ({intent['primary_status']})".strip()
    return reason + (", overtaken" if intent["overtaken"] and intent["lanes"] else "")


def the_letter(config: Config, intent_id: int, state: State) -> reader.Letter:
    """One intent in full, which must be in this state; else the command ends."""
    try:
        cipher = cipher_of(config.journal, os.environ)
        found = reader.letter(Path(config.journal.directory), intent_id, cipher)
    except (StoreError, EncryptionError) as error:
        fail(str(error))
    if found is None:
        fail(f"no intent {intent_id} in the journal: `twinwrite {state} list` names them")
    if found.intent["state"] != state:
        fail(f"intent {intent_id} is {found.intent['state']}, not {state}")
    return found


def whole(letter: reader.Letter) -> Request:
    """Its request with the body in memory; else the command ends."""
    intent_id = letter.intent["id"]
    if letter.request is None:
        fail(f"the request of intent {intent_id} cannot be read: {letter.trouble}")
    try:
        return in_memory(letter.request)
    except OSError as error:
        fail(f"the body of intent {intent_id} cannot be read: {error}")


def print_letter(config: Config, letter: reader.Letter, *, as_json: bool) -> None:
    """One intent in full. Nothing is redacted."""
    intent = letter.intent
    document: Document = {"intent": intent, "trouble": letter.trouble, "request": None}
    if letter.request is not None:
        document["request"] = as_document(whole(letter))
    if intent["state"] == State.DEAD:
        blocks = config.delivery.on_dead == "block"
        document["holds_lane"] = blocks and bool(intent["lanes"]) and not intent["overtaken"]
        directory = Path(config.journal.directory)
        document["waiting_behind"] = (
            reader.waiting_behind(directory, intent) if document["holds_lane"] else 0
        )
    if as_json:
        print_json(document)
        return
    table = Table(show_header=False)
    for name in ("id", "state", "route", "category", "primary_side", "attempts", "sequence"):
        table.add_row(name, str(intent[name]))
    table.add_row("reason", Text(readable(intent)))
    table.add_row("lanes", Text("\n".join(intent["lanes"]) or "none"))
    for name in ("holds_lane", "waiting_behind"):
        if name in document:
            table.add_row(name.replace("_", " "), str(document[name]).lower())
    Console().print(table)
    if letter.request is None:
        click.echo(f"its request cannot be read: {letter.trouble}")
    else:
        request = whole(letter)
        click.echo(_lines(request.head) + "\n" + _body(payload_of(request)))


def as_document(request: Request) -> Document:
    """A request (in memory) as JSON: its body as text, or in base64."""
    payload = payload_of(request)
    found: Document = {
        "method": request.method, "target": request.target,
        "headers": [list(each) for each in fields(request.head)], "body": _text(payload),
    }  # fmt: skip
    return found if found["body"] is not None else found | {"body_base64": base64(payload)}


def raw(request: Request) -> bytes:
    """A request (in memory) as it would be on the wire with a Content-Length."""
    payload = payload_of(request)
    head = without(request.head, _FRAMING)[:-2]
    length = b"Content-Length: %d\r\n" % len(payload) if payload else b""
    return b"".join((head, length, b"\r\n", payload))


def base64(data: bytes) -> str:
    """Bytes for a JSON document."""
    return b64encode(data).decode()


# the text form

_HELP = "# Save to send it again, leave without saving to change nothing. Content-Length is set for you.\n"
_NO_TEXT = "# Its body is no text: it stays as it is (--body-file gives another one).\n"


def form(request: Request) -> str:
    """A request (in memory) as text: remarks, head without framing, an empty line, the body if it is text."""
    body = _text(payload_of(request))
    head = _lines(without(request.head, _FRAMING))
    return _HELP + (_NO_TEXT if body is None else "") + head + "\n" + (body or "")


def formed(text: str, request: Request) -> tuple[str, bytes | None]:
    """Head and body that the edited form of a request says; None: the body stays. An editor's last newline is not
    taken for the body's.
    """
    lines = text.splitlines(keepends=True)
    while lines and lines[0].startswith("#"):
        del lines[0]
    head, _, body = "".join(lines).replace("\r\n", "\n").partition("\n\n")
    before = _text(payload_of(request))
    if before is not None and body.endswith("\n") and not before.endswith("\n"):
        body = body[:-1]
    if before is not None and before.replace("\r\n", "\n") == body:
        body = before
    return head.strip("\n").replace(
        "\n", "\r\n"
    ) + "\r\n\r\n", None if before is None else body.encode()


def _lines(head: bytes) -> str:
    return head.decode("latin-1").replace("\r\n", "\n").rstrip("\n") + "\n"


def _text(payload: bytes) -> str | None:
    try:
        found = payload.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in found else found


def _body(payload: bytes) -> str:
    text = _text(payload)
    if text is None:
        shown = payload[:SHOWN_BYTES_MAX].hex(" ", 2)
        return f"{len(payload)} bytes that are no text, they begin: {shown}"
    more = len(text) - SHOWN_CHARACTERS_MAX
    return text[:SHOWN_CHARACTERS_MAX] + (f"\n... and {more} characters more" if more > 0 else "")
