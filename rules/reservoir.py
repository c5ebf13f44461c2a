"""Which of many are kept as samples: reservoir sampling (Vitter, 1985, algorithm R) without chance.

Law: the answer depends on name, number and size alone: a rerun keeps the same ones.
"""

from xxhash import xxh3_64_intdigest

WINDOW = 100
"""Beyond `size` times this many the reservoir forgets: each later one is taken with the chance of 1 in WINDOW, so
that samples stay young enough for retention by age to leave some."""


def slot(name: str, number: int, size: int) -> int | None:
    """The place, 0 to `size` - 1, that the `number`-th (from 1) of the group `name` takes; None: it is not kept.

    The first `size` fill the places; of up to `size` * WINDOW every one is kept with the same chance.
    """
    if number <= size:
        return number - 1
    span = min(number, size * WINDOW)
    found = xxh3_64_intdigest(f"{number}\0{name}".encode("utf-8", "surrogatepass")) % span
    return found if found < size else None
