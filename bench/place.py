"""Where a benchmark that runs by itself keeps its files, and where its results go: the options, and what follows.

Law: journals lie on a real disk, in a directory that is gone when the run is over.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from bench import machine

directory_option = click.option(
    "--directory",
    default=Path(),
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where journals go, on a real disk; default: here.",
)
json_option = click.option(
    "--json",
    "json_file",
    default=None,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write every measurement to FILE.",
)


@contextmanager
def on_disk(parent: Path, name: str) -> Iterator[tuple[Path, machine.Machine]]:
    """A directory of a run's own, and the facts of its machine. Raises ClickException where it would be in memory."""
    with tempfile.TemporaryDirectory(prefix=f"twinwrite-{name}-", dir=parent) as found:
        facts = machine.describe(Path(found))
        if facts.filesystem in machine.NOT_A_DISK:
            raise click.ClickException(f"{parent} is in memory ({facts.filesystem})")
        yield Path(found), facts


def write(file: Path | None, document: Mapping[str, object]) -> None:
    """Write the results, if there is a file for them."""
    if file is not None:
        file.write_text(json.dumps(document, indent=1) + "\n")
