"""`twinwrite demo`: the main job on two sample backends."""

import asyncio
import sys

import click

from proxy.cli.options import json_option
from proxy.demo.run import COUNT, COUNT_MIN, Options
from proxy.demo.run import demo as run_demo


@click.command()
@json_option
@click.option(
    "--count",
    default=COUNT,
    show_default=True,
    type=click.IntRange(COUNT_MIN),
    help="Requests to send.",
)
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same requests.")
@click.option("--keep", is_flag=True, help="Leave everything running, and say where to look.")
def demo(as_json: bool, count: int, seed: int, keep: bool) -> None:
    """Run two sample backends and a sidecar, write through it, stop the new backend in the middle, report.

    \b
    Examples:
      twinwrite demo
      twinwrite demo --count 5000 --keep
    """
    sys.exit(asyncio.run(run_demo(Options(count=count, seed=seed, keep=keep, json=as_json))))
