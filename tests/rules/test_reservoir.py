"""Reservoirs: the first ones fill them, all of a stretch have the same chance, a rerun keeps the same."""

from collections import Counter

from rules.reservoir import WINDOW, slot


def kept(name: str, count: int, size: int) -> dict[int, int]:
    """Slot -> number of the one that is in it after so many."""
    found: dict[int, int] = {}
    for number in range(1, count + 1):
        place = slot(name, number, size)
        if place is not None:
            found[place] = number
    return found


def test_the_first_ones_fill_the_reservoir() -> None:
    assert kept("orders", 5, 8) == {0: 1, 1: 2, 2: 3, 3: 4, 4: 5}


def test_a_rerun_keeps_the_same_ones() -> None:
    assert kept("orders", 5000, 8) == kept("orders", 5000, 8)
    assert kept("orders", 5000, 8) != kept("notes", 5000, 8)


def test_every_one_of_a_stretch_has_the_same_chance() -> None:
    tenths: Counter[int] = Counter()
    for name in range(500):
        tenths.update((number - 1) // 10 for number in kept(f"group {name}", 100, 4).values())
    expected = 500 * 4 / 10
    assert sum(tenths.values()) == 2000
    assert all(abs(tenths[tenth] - expected) < 60 for tenth in range(10))  # 4 standard deviations


def test_what_is_kept_of_a_long_stretch_is_young() -> None:
    size, count = 8, 100_000
    numbers = kept("orders", count, size).values()
    assert len(numbers) == size
    assert min(numbers) > count - size * WINDOW * 15


def test_any_name_will_do() -> None:
    assert slot("\ud800", 100, 1) in (None, 0)
