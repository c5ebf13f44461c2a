"""The simulation: whole sidecars in virtual time, thousands of seeds, and five bugs that it must find.

    SEED=123 pytest tests/simulation -k one_seed      one seed again, with what its trace says of what broke
    python -m tests.simulation.campaign 123           the same with its whole trace
    SEED=123 SEEDS=20000 pytest tests/simulation -k many_seeds      a longer campaign, from that seed on
    python -m tests.simulation.campaign 123 5000      so many, with every law that is broken, once each

A run is told by its seed alone: same code, same seed, same trace. Each takes some 20 ms of one core.
"""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.simulation.campaign import many, memory, one
from tests.simulation.laws import Violation, render
from tests.simulation.plants import PLANTS
from tests.simulation.world import Plant

SEED = int(os.environ.get("SEED", "1"))
SEEDS = int(os.environ.get("SEEDS", "2000"))
"""So many runs: some 20 ms of one core each."""

PARTS = 10
"""In so many tests: each tells where it stands, and none is taken for one that hangs."""

SECONDS_MAX = 600.0
"""A machine that needs longer for them is not one to test on."""

FOUND_WITHIN = 300
"""Each planted bug is found by at least one of so many seeds: the rarest by one in 30."""


def digest(seed: int) -> str:
    """What a run did, in 64 letters."""
    with memory() as directory:
        return sha256("\n".join(render(one(seed, directory))).encode()).hexdigest()


def test_one_seed() -> None:
    with memory() as directory:
        one(SEED, directory)


def test_some_seeds_keep_the_laws() -> None:
    assert many(1, 60.0, 40) == 40


@pytest.mark.system
@pytest.mark.parametrize("part", range(PARTS))
def test_many_seeds_keep_the_laws(part: int) -> None:
    count = SEEDS // PARTS
    assert many(SEED + part * count, SECONDS_MAX, count) == count


def test_a_seed_does_the_same_again_whatever_the_hashes() -> None:
    here = [digest(seed) for seed in (3, 12)]
    assert here == [digest(seed) for seed in (3, 12)]
    code = "import sys; from tests.simulation.test_simulation import digest; print(digest(3), digest(12))"
    there = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": "7"}, check=True,
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert there.stdout.split() == here


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name.replace(" ", "_"))
def test_a_planted_bug_is_found(plant: Plant) -> None:
    with pytest.raises(Violation) as found:
        many(1, 60.0, FOUND_WITHIN, plant)
    again, law = found.value.seed, found.value.law
    with pytest.raises(Violation) as once_more, memory() as directory:
        one(again, directory, plant)
    assert once_more.value.law == law
    assert once_more.value.trace == found.value.trace
    with memory() as directory:
        one(again, directory)  # without it, all is well
