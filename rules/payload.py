"""The digest of a replay payload: what is verified before each send from the journal."""

import xxhash


def digest(payload: bytes) -> bytes:
    """16 bytes of xxh3_128: 0.07 us at 200 B (storage.md); guards against damage, not against forgery."""
    return xxhash.xxh3_128_digest(payload)
