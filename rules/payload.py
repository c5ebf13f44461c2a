"""The digest of a replay payload: what is verified before each send from the journal."""

from collections.abc import Iterable

import xxhash


def digest(payload: bytes, rest: Iterable[bytes] = ()) -> bytes:
    """16 bytes of xxh3_128 of a payload and of what follows it, piece by piece (a spooled body).

    0.07 us at 200 B (storage.md); guards against damage, not against forgery.
    """
    state = xxhash.xxh3_128(payload)
    for piece in rest:
        state.update(piece)
    return state.digest()
