"""`twinwrite replay`: all that is owed goes to the secondary, by the running sidecar or by this command.

Law: one process delivers. A sidecar that runs is only watched; where none runs, this command takes the
journal, delivers without listening for clients, and ends.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from proxy.app import App, StartError
from proxy.cli.options import config_option, configured, fail, json_option, print_json
from proxy.cli.sidecar import status_of
from proxy.control.config import Config
from proxy.control.log import Log
from proxy.store import reader
from proxy.store.batch import StoreError
from rules.fate import OWED, State

Document = dict[str, Any]
Look = Callable[[], Awaitable[Document | None]]
"""The status of whoever delivers; None when it is gone."""

LOOK_S = 0.2
"""How often the progress is looked at."""

CLOSER_S = 2.0
"""How often the journal is read for what can move at all; the more is owed, the less often."""

ROWS_PER_SECOND = 20_000
"""So many owed rows make it a second later: reading 100,000 of them takes some 0.5 s."""

DELIVERED = "what was owed is delivered"
STUCK = "what is left cannot move by itself"


@click.command()
@config_option
@json_option
@click.option("--timeout-seconds", type=float, help="Give up after so long; default: never.")
@click.option("--dry-run", is_flag=True, help="Only say what is owed, by route and state.")
def replay(config_path: str, as_json: bool, timeout_seconds: float | None, dry_run: bool) -> None:
    """Deliver all that is owed, and wait until it is. Exit code 1: something is left, and what.

    Watches the sidecar that runs with this config; where none runs, it opens the journal itself,
    takes no requests, and ends when all is delivered that can be.

    \b
    Examples:
      twinwrite replay -c twinwrite.toml
      twinwrite replay --dry-run
      twinwrite replay --timeout-seconds 600 --json
    """
    config = configured(config_path, files=True)
    if dry_run:
        raise SystemExit(_print_owed(config, as_json=as_json))
    limit_s = float("inf") if timeout_seconds is None else timeout_seconds
    running = status_of(config) is not None
    follow = _watched if running else _delivered
    try:
        told = uvloop.run(follow(config, limit_s, quiet=as_json))
    except (StartError, StoreError) as error:
        fail(str(error))
    told = {"running": running, **told}
    left = {name: told[name] for name in ("owed", "dead") if told[name]}
    if as_json:
        print_json(told)
    else:
        click.echo(f"delivered {told['delivered']} in {told['seconds']:.1f} s, {told['ended']}")
    if left:
        shown = ", ".join(f"{count} {name}" for name, count in left.items())
        parked = f" ({told['parked']} parked)" if told["parked"] else ""
        click.echo(
            f"left: {shown}{parked}: see `twinwrite intents`, `twinwrite dead list`", err=True
        )
    raise SystemExit(bool(left))


async def _watched(config: Config, limit_s: float, *, quiet: bool) -> Document:
    async def look() -> Document | None:
        return await asyncio.to_thread(status_of, config)

    return await _follow(config, look, limit_s, quiet=quiet)


async def _delivered(config: Config, limit_s: float, *, quiet: bool) -> Document:
    with Path(os.devnull).open("w") as nowhere:  # noqa: ASYNC230 - it never blocks
        app = App(config, Log(nowhere))
        await app.start(listening=False)

        async def look() -> Document | None:
            return dict(app.status())

        try:
            return await _follow(config, look, limit_s, quiet=quiet)
        finally:
            await app.stop()


async def _follow(config: Config, look: Look, limit_s: float, *, quiet: bool) -> Document:
    """Look until what is owed now is delivered, nothing can move, or the time is up; what was seen last."""
    begun_at, started, ended = time.time(), time.monotonic(), ""
    now = await _seen(look)
    before, closer_at = now["intents"]["done"], started + CLOSER_S
    with _bar(quiet=quiet) as bar:
        task = bar.add_task("", total=None, left="")
        while True:
            delivered, rows = now["intents"]["done"] - before, now["backlog"]["rows"]
            bar.update(task, completed=delivered, total=delivered + rows, left=_left(now))
            ended = _ended(now)
            if not ended and time.monotonic() >= closer_at:
                ended = await asyncio.to_thread(_looked_closer, config, begun_at)
                closer_at = time.monotonic() + CLOSER_S + rows / ROWS_PER_SECOND
            if not ended and time.monotonic() - started >= limit_s:
                ended = "the time is up"
            if ended:
                break
            await asyncio.sleep(LOOK_S)
            now = await _seen(look)
    return {
        "delivered": delivered, "owed": 0 if ended == DELIVERED else rows,
        "parked": now["intents"]["parked"], "dead": now["intents"]["dead"],
        "seconds": round(time.monotonic() - started, 3), "ended": ended,
    }  # fmt: skip


async def _seen(look: Look) -> Document:
    now = await look()
    if now is None:
        fail("the sidecar has stopped: run the command again")
    return now


def _ended(now: Document) -> str:
    """Why there is nothing to wait for, as the status tells it; "" if there is."""
    if not now["backlog"]["rows"]:
        return "nothing is owed"
    return "the kill switch is on: nothing is sent" if now["kill_switch"] else ""


def _looked_closer(config: Config, begun_at: float) -> str:
    """The same as the journal tells it, of what was received before (Unix seconds): new writes keep coming."""
    directory = Path(config.journal.directory)
    found = [each for each in reader.standing(directory) if each["received_at"] < begun_at]
    owed = sum(each["state"] in OWED for each in found)
    if not owed:
        return DELIVERED
    blocks = config.delivery.on_dead == "block"
    return STUCK if reader.stuck(found, blocks=blocks) >= owed else ""


def _left(now: Document) -> str:
    states = now["intents"]
    return f"{states['parked']} parked, {states['dead']} dead"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.0f}/s")


def _bar(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("delivered"), BarColumn(), MofNCompleteColumn(),
        _Rate(), TimeRemainingColumn(), TextColumn("{task.fields[left]}"),
        console=Console(stderr=True), disable=quiet,
    )  # fmt: skip


def _print_owed(config: Config, *, as_json: bool) -> bool:
    """What is owed by route and state, and the dead letters; whether there is anything."""
    try:
        found = reader.standing(Path(config.journal.directory))
    except StoreError as error:
        fail(str(error))
    counts = Counter((each["route"], each["state"]) for each in found)
    owed = sum(each["state"] in OWED for each in found)
    stuck = reader.stuck(found, blocks=config.delivery.on_dead == "block")
    if as_json:
        rows = [
            {"route": route, "state": state, "count": count}
            for (route, state), count in sorted(counts.items())
        ]
        dead = sum(each["state"] == State.DEAD for each in found)
        print_json({"owed": owed, "dead": dead, "stuck": stuck, "by_route": rows})
    else:
        for (route, state), count in sorted(counts.items()):
            click.echo(f"{count:8} {state:10} {route}")
        click.echo(f"{owed} owed, {stuck} of them cannot move by themselves")
    return bool(found)
