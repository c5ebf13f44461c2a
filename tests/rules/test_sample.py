"""Sampling: exact ends, the right share, sticky, monotonic, and independent per salt."""

from itertools import pairwise
from math import nan

import pytest

from rules.sample import in_sample

KEYS = tuple(f"user/{number}" for number in range(100_000))
ODD = "\ud800"


def chosen(percent: float) -> set[str]:
    return {key for key in KEYS if in_sample(key, percent, "twinwrite")}


@pytest.mark.parametrize("percent", [0.0, -1.0, nan], ids=["zero", "negative", "no number"])
def test_nobody_is_in_at_nothing(percent: float) -> None:
    assert not any(in_sample(key, percent, "twinwrite") for key in KEYS[:10_000])


@pytest.mark.parametrize("percent", [100.0, 250.0], ids=["all", "more than all"])
def test_everybody_is_in_at_a_hundred(percent: float) -> None:
    assert all(in_sample(key, percent, "twinwrite") for key in KEYS[:10_000])


def test_raising_the_percent_only_adds_keys_and_gives_the_share_asked_for() -> None:
    percents = (0.1, 1.0, 30.0, 99.0)
    samples = [chosen(percent) for percent in percents]
    for smaller, larger in pairwise(samples):
        assert smaller < larger
    for percent, sample in zip(percents, samples, strict=True):
        share = percent / 100
        deviation = (len(KEYS) * share * (1 - share)) ** 0.5
        assert abs(len(sample) - len(KEYS) * share) < 5 * deviation


def test_another_salt_picks_independently() -> None:
    keys = KEYS[:20_000]
    both = [in_sample(key, 30.0, "one") and in_sample(key, 30.0, "two") for key in keys]
    assert abs(sum(both) - 1_800) < 200


@pytest.mark.parametrize(
    ("key", "percent", "inside"),
    [("user/1", 50.0, False), ("user/3", 50.0, False), ("user/4", 50.0, True)],
    ids=["first", "third", "fourth"],
)
def test_the_answer_is_the_same_in_every_process(key: str, percent: float, inside: bool) -> None:
    assert in_sample(key, percent, "twinwrite") is inside


def test_salt_and_key_do_not_run_into_each_other() -> None:
    split = [in_sample(f"b{n}", 50.0, "a") == in_sample(f"ab{n}", 50.0, "") for n in range(200)]
    assert 50 < sum(split) < 150


def test_text_that_is_no_utf8_is_sampled_too() -> None:
    assert in_sample(ODD, 50.0, ODD) in (True, False)
