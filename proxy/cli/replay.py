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

STILL_S = 2.0
"""After so long without progress the journal tells whether there can be any."""


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
    """Look until nothing is owed, nothing can move, or the time is up; what was seen last."""
    started, ended = time.monotonic(), ""
    now = await _seen(look)
    before = now["intents"]["done"]
    moved_at, moved = started, (0, 0)
    with _bar(quiet=quiet) as bar:
        task = bar.add_task("", total=None, left="")
        while True:
            delivered, rows = now["intents"]["done"] - before, now["backlog"]["rows"]
            bar.update(task, completed=delivered, total=delivered + rows, left=_left(now))
            if (delivered, rows) != moved:
                moved_at, moved = time.monotonic(), (delivered, rows)
            ended = await _ended(config, now, still=time.monotonic() - moved_at >= STILL_S)
            if not ended and time.monotonic() - started >= limit_s:
                ended = "the time is up"
            if ended:
                break
            await asyncio.sleep(LOOK_S)
            now = await _seen(look)
    return {
        "delivered": delivered, "owed": rows, "parked": now["intents"]["parked"],
        "dead": now["intents"]["dead"], "seconds": round(time.monotonic() - started, 3),
        "ended": ended,
    }  # fmt: skip


async def _seen(look: Look) -> Document:
    now = await look()
    if now is None:
        fail("the sidecar has stopped: run the command again")
    return now


async def _ended(config: Config, now: Document, *, still: bool) -> str:
    """Why there is nothing to wait for; "" if there is."""
    rows = now["backlog"]["rows"]
    if not rows:
        return "nothing is owed"
    if now["kill_switch"]:
        return "the kill switch is on: nothing is sent"
    if not still:
        return ""
    blocks = config.delivery.on_dead == "block"
    found = await asyncio.to_thread(reader.standing, Path(config.journal.directory))
    return (
        "what is left cannot move by itself" if reader.stuck(found, blocks=blocks) >= rows else ""
    )


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
