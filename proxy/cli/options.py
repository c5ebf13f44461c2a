"""What the verbs share: where the config is, how errors end the command, how JSON is printed.

Exit codes: 0 done, 1 it could not be done, 2 the command line or the config is wrong.
"""

import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from proxy.control.config import Config, ConfigError, load

DEFAULT_CONFIG = "twinwrite.toml"

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    envvar="TWINWRITE_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    metavar="FILE",
    help="The TOML file; also TWINWRITE_CONFIG.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one clear line on standard error."""
    click.echo(f"twinwrite: error: {message}", err=True)
    sys.exit(code)


def configured(path: str, *, files: bool = False) -> Config:
    """The config at a path; all of its problems end the command. `files`: those of its certificates too."""
    try:
        return load(path, os.environ, files=files)
    except ConfigError as error:
        for line in str(error).splitlines():
            click.echo(f"twinwrite: error: {line}", err=True)
        sys.exit(2)


def journal_directory(path: str) -> Path:
    """Where the journal of the config at a path lies."""
    return Path(configured(path).journal.directory)


def print_json(document: object) -> None:
    """Print a document for programs."""
    click.echo(json.dumps(document, indent=2, default=str))
