"""Repeated requests: which `Idempotency-Key` a request carries, and whether it is the same request again.

Source: draft-ietf-httpapi-idempotency-key-header-07, sections 2.4 (fingerprint) and 2.6.
"""

import hashlib
from collections.abc import Iterable

import xxhash

from rules.framing import field

IDEMPOTENCY_KEY = "Idempotency-Key"
"""The header's name."""

KEY_LINE = f"\r\n{IDEMPOTENCY_KEY.lower()}:".encode()
"""How its line begins in a head in lower case: `KEY_LINE in head.lower()` is all that other requests pay."""


def key_of(head: bytes) -> str:
    """The value of the key as it is on the wire, quotes included; "" where there is none."""
    return field(head, IDEMPOTENCY_KEY) or ""


def mark_of(head: bytes) -> bytes:
    """16 bytes of BLAKE2b that stand for the key (which may be as long as a head); b"" where there is none."""
    key = key_of(head)
    return hashlib.blake2b(key.encode("latin-1"), digest_size=16).digest() if key else b""


def fingerprint(method: str, target: str, payload: Iterable[bytes]) -> bytes:
    """16 bytes of xxh3_128 of method, raw target and payload (without chunk lines), piece by piece.

    Content-Type is not in it: the payload tells what the write is, and a client whose library
    changes the spelling (`; charset=utf-8`) between two tries asks for the same thing.
    """
    state = xxhash.xxh3_128(f"{method} {target}\n".encode("latin-1"))
    for piece in payload:
        state.update(piece)
    return state.digest()
