"""Many seeds: `python -m tests.simulation.campaign FIRST COUNT`, or one with its whole trace: `... SEED`."""

import gc
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.simulation.laws import Violation, render
from tests.simulation.scenario import Run
from tests.simulation.world import Plant

COLLECT_EVERY = 50
"""Lives that ended are cycles; collecting them one by one would take a tenth of the time."""


@contextmanager
def memory() -> Iterator[Path]:
    """A directory in memory, where there is such a file system."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        yield Path(name)


def one(seed: int, directory: Path, plant: Plant | None = None) -> Run:
    """The run of a seed, over; raises Violation."""
    run = Run(seed, directory, plant or Plant())
    run.go()
    return run


def many(first: int, seconds: float, count: int, plant: Plant | None = None) -> int:
    """Runs seeds until the time or the count is up; how many. Raises the first Violation."""
    ends, done = time.monotonic() + seconds, 0
    gc.disable()
    try:
        with memory() as directory:
            while done < count and time.monotonic() < ends:
                one(first + done, directory, plant)
                done += 1
                if done % COLLECT_EVERY == 0:
                    gc.collect()
    finally:
        gc.enable()
    return done


def main(first: int, count: int) -> None:
    """For the command line: every law that is broken, once."""
    found: dict[str, list[int]] = {}
    started = time.monotonic()
    gc.disable()
    with memory() as directory:
        for seed in range(first, first + count):
            try:
                one(seed, directory)
            except Violation as violation:
                kind = "".join(c for c in violation.law if not c.isdigit())[:60]
                if kind not in found:
                    print(violation, "\n")
                found.setdefault(kind, []).append(seed)
            if seed % COLLECT_EVERY == 0:
                gc.collect()
    print(f"{count} seeds in {time.monotonic() - started:.1f} s")
    for kind, seeds in found.items():
        print(len(seeds), kind, seeds[:12])


def alone(seed: int) -> None:
    """For the command line: one seed with its whole trace, whatever comes of it."""
    law, trace = "no law is broken", list[str]()
    with memory() as directory:
        try:
            trace = render(one(seed, directory))
        except Violation as violation:
            law, trace = violation.law, violation.trace
    print("\n".join([*trace, law]))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(int(sys.argv[1]), int(sys.argv[2]))
    else:
        alone(int(sys.argv[1]))
