"""The token of the admin port's actions: in a file beside the journal.

Law: who can read the journal may steer it, and nobody else.
"""

import os
import secrets
from pathlib import Path

FILE = "admin.token"
"""In the journal's directory, mode 0600."""

TOKEN_BYTES = 32
"""Random bytes, written URL-safe: 43 characters."""


def made(directory: Path) -> str:
    """The token of a journal's directory, made where there is none. Raises OSError."""
    try:
        opened = os.open(directory / FILE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        found = read(directory)
        if len(found) >= TOKEN_BYTES:
            return found
        (directory / FILE).unlink()  # a crash left it empty
        return made(directory)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with os.fdopen(opened, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return token


def read(directory: Path) -> str:
    """The token of a journal's directory. Raises OSError."""
    return (directory / FILE).read_text("ascii", "replace").strip()
