"""`twinwrite check`: is this file valid, and what does it come to?

Law: the same reading as `twinwrite run`, with the same environment; nothing is opened but the file
and the certificates that it names.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict

import click

from proxy.cli.options import print_json
from proxy.control.config import Config, ConfigError, effective, load
from proxy.control.keys import plain

EXIT_INVALID = 2
"""The exit code of a configuration with problems."""


@click.command()
@click.argument("file", type=click.Path(), envvar="TWINWRITE_CONFIG")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def check(file: str, *, as_json: bool) -> None:
    """Check a configuration FILE, with the TWINWRITE_* variables of this environment.

    Prints every setting in force and where it comes from: default, file or environment. Warnings
    and problems go to standard error. Exits with 0 if the file is valid, with 2 if it is not.

    \b
    Examples:
      twinwrite check config.toml
      TWINWRITE_STAGE=shadow twinwrite check config.toml
      twinwrite check config.toml --json | jq .effective.listen
    """
    try:
        config = load(file, os.environ)
    except ConfigError as error:
        if as_json:
            _print_json([asdict(problem) for problem in error.problems], (), {})
        else:
            click.echo(str(error), err=True)
        raise SystemExit(EXIT_INVALID) from None
    if as_json:
        _print_json([], config.warnings, plain(config))
    else:
        _print_text(file, config)


def _print_text(file: str, config: Config) -> None:
    click.echo(effective(config), nl=False)
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{file} is valid; {len(config.warnings)} warning(s)", err=True)


def _print_json(problems: list[dict[str, str]], warnings: Sequence[str], tree: object) -> None:
    print_json({"ok": not problems, "problems": problems, "warnings": warnings, "effective": tree})
