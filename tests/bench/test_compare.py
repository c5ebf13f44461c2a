"""The bench of comparing: its pairs are what they say, everybody is right about them, and ratios are by round."""

import random

import click
import pytest
from click.testing import CliRunner

from bench import compare
from bench.compare import CONTESTANTS, Measured, Pair, main, measure, missed, pairs, table

SMALL = [pair for spaced in (False, True) for pair in pairs(spaced) if pair.size != "256 KiB"]


@pytest.mark.parametrize("pair", SMALL, ids=lambda pair: pair.name)
def test_everybody_finds_what_there_is(pair: Pair) -> None:
    assert {work(pair) for work in CONTESTANTS.values()} == {pair.differences}


def test_bodies_are_of_the_size_that_they_are_named_for() -> None:
    for pair in pairs(spaced=False):
        least = compare.SIZES[pair.size]
        assert least <= len(pair.primary.body) < least + 300
        assert pair.primary.body is not pair.secondary.body
        assert (pair.primary.body == pair.secondary.body) is not bool(pair.differences)


def test_a_pair_is_measured_by_everybody_in_every_round() -> None:
    rows = measure(SMALL[1], 2, random.Random(1))
    assert [row.contestant for row in rows] == list(CONTESTANTS)
    assert all(len(row.us) == len(row.ratios) == 2 and min(row.us) > 0 for row in rows)
    assert rows[0].ratios == (1.0, 1.0)
    assert "| 200 B, one difference | deepdiff |" in table(rows)


def test_who_is_wrong_is_not_measured() -> None:
    pair = SMALL[0]
    wrong = Pair(size=pair.size, primary=pair.primary, secondary=pair.secondary, differences=1)
    with pytest.raises(
        click.ClickException, match="twinwrite is wrong about 200 B, one difference"
    ):
        measure(wrong, 1, random.Random(1))


@pytest.mark.parametrize(
    ("pair", "contestant", "ratio", "short"),
    [
        ("4 KiB, equal", "deepdiff", 49.0, True),
        ("4 KiB, equal", "deepdiff", 51.0, False),
        ("4 KiB, equal", "jsondiff", 2.0, False),
        ("4 KiB, one difference", "deepdiff", 49.0, True),
        ("4 KiB, one difference", "deepdiff", 51.0, False),
        ("4 KiB, one difference", "jsondiff", 2.0, False),
    ],
)
def test_the_target_is_for_every_pair_beside_deepdiff(
    pair: str, contestant: str, ratio: float, short: bool
) -> None:
    row = Measured(pair=pair, contestant=contestant, us=(1.0,), ratios=(ratio,))
    assert bool(missed([row])) is short


def test_its_help_says_what_it_is() -> None:
    assert "DeepDiff" in CliRunner().invoke(main, ["--help"]).output
