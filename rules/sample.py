"""Which keys belong to a percentage: a keyed hash, so that the answer is sticky.

Law: the answer depends on key, percent and salt alone. It is the same in every sidecar, and a key
that is in at some percent is in at every higher percent.
"""

from xxhash import xxh3_64_intdigest

_SPAN = 2**64


def in_sample(key: str, percent: float, salt: str) -> bool:
    """Say whether `key` is among the `percent` (0 to 100) of keys that `salt` picks.

    0 and below (or no number) is nobody, 100 and above is everybody, exactly. Another salt picks
    other keys, independently. Never raises; lone surrogates in either text are fine.
    """
    if percent >= 100:
        return True
    if not percent > 0:
        return False
    # The NUL keeps ("ab", "c") and ("a", "bc") apart.
    mark = xxh3_64_intdigest(f"{salt}\0{key}".encode("utf-8", "surrogatepass"))
    return mark < percent / 100 * _SPAN
