"""Puts the tables of a run into the files that carry them.

A file says where, and which of the two texts:

    <!-- bench: short -->
    ... replaced ...
    <!-- bench: end -->
"""

import re
from collections.abc import Mapping
from pathlib import Path

_PLACE = re.compile(r"<!-- bench: (\w+) -->\n.*?<!-- bench: end -->", re.DOTALL)


def filled(text: str, tables: Mapping[str, str]) -> str:
    """The text with every place filled; raises KeyError for a name that is none of the tables'."""

    def place(found: re.Match[str]) -> str:
        return _placed(found[1], tables[found[1]])

    return _PLACE.sub(place, text)


def write(path: Path, tables: Mapping[str, str]) -> None:
    """Fill the places of a file; a file that is new, or has none, becomes all tables."""
    text = path.read_text() if path.exists() else ""
    if not _PLACE.search(text):
        text = "\n".join(_placed(name, "") + "\n" for name in tables)
    path.write_text(filled(text, tables))


def _placed(name: str, table: str) -> str:
    return f"<!-- bench: {name} -->\n{table}<!-- bench: end -->"
