"""The bench of the sidecar's own path, tiny and without its clock: everybody does its work, or is told."""

import asyncio
import io
import json
import math
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench import machine
from bench.path import (
    DIFFERENCES,
    Difference,
    Interval,
    Verdict,
    added,
    added_us,
    answers,
    interval,
    judged,
    main,
    table,
)
from bench.socketless import Loop
from bench.turns import CONTESTANTS, Contestant, Plan, Turn, order, up
from proxy.control.log import Log

NAMES = [each.name for each in CONTESTANTS]
ROUNDS = 2
TINY = ("--rounds", str(ROUNDS), "--requests", "40", "--turn", "10", "--warm", "20")

Json = dict[str, Any]


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=machine.disk()) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def result(directory: Path) -> Result:
    return CliRunner().invoke(
        main, [*TINY, "--directory", str(directory), "--json", str(directory / "turns.json")]
    )


@pytest.fixture(scope="module")
def told(result: Result, directory: Path) -> Json:
    assert result.exit_code == 0, result.output
    found: Json = json.loads((directory / "turns.json").read_text())
    return found


def made(costs: dict[str, list[float]]) -> list[Turn]:
    """Two short turns for each contestant in each round, 1 us apart, and a long one that costs twice as much."""
    return [
        Turn(
            round=at, number=number, contestant=name, requests=10, cpu_us=cpu_us, loop_us=cost / 2
        )
        for name, by_round in costs.items()
        for at, cost in enumerate(by_round, 1)
        for number, cpu_us in ((1, cost - 0.5), (0, cost * 2), (1, cost + 0.5))
    ]  # fmt: skip


def test_everybody_has_a_long_turn_in_each_round_and_short_ones_beside_others(told: Json) -> None:
    found = Counter((each["round"], each["number"], each["contestant"]) for each in told["turns"])
    rounds = range(1, ROUNDS + 1)
    assert found == {(at, 0, name): 1 for at in rounds for name in NAMES} | {
        (at, number, name): 2 for at in rounds for number in (1, 2) for name in NAMES if name != "relay"
    }  # fmt: skip
    assert all(each["requests"] == (10 if each["number"] else 40) for each in told["turns"])
    assert all(each["cpu_us"] > 0 and each["loop_us"] > 0 for each in told["turns"])


def test_the_report_has_everybody_and_every_answer(result: Result, told: Json) -> None:
    lines = result.output.splitlines()
    assert [line.split("`")[1] for line in lines if line.startswith("| `")] == NAMES
    assert len(told["answers"]) == len(DIFFERENCES)
    assert set(told["answers"]) <= set(lines)


def test_nothing_is_left_on_the_disk(told: Json, directory: Path) -> None:
    assert told["machine"]["filesystem"] not in machine.NOT_A_DISK
    assert [each.name for each in directory.iterdir()] == ["turns.json"]


@pytest.mark.parametrize("contestant", CONTESTANTS[:5], ids=lambda each: each.name)
def test_who_did_not_do_its_work_is_told(contestant: Contestant, tmp_path: Path) -> None:
    plan = Plan(
        rounds=1, requests=2, turn=1, connections=3, warm=1, directory=tmp_path, seed=1, json_file=None
    )  # fmt: skip

    async def work() -> tuple[list[str], list[str]]:
        async with up(contestant, plan, tmp_path, Log(io.StringIO())) as one:
            await one.work(10)
            return list(one.wrong(10)), list(one.wrong(11))

    with asyncio.Runner(loop_factory=Loop) as runner:
        right, wrong = runner.run(work())
    assert right == []
    assert wrong[:2] == [
        "10 were answered with 200; others: []",
        "the legacy side got 10, not 11",
    ]
    assert len(wrong) == 2 + contestant.mirrors + contestant.compares


def test_the_short_turns_of_a_stage_go_there_and_back() -> None:
    found = list(order(random.Random(1), 3))
    assert found != list(order(random.Random(2), 3))
    stages = [{name.split("_")[0] for _, name in turns} for turns in found]
    assert all(stage in stages for stage in ({"dual"}, {"shadow"}))
    for turns in found:
        for number in (1, 2, 3):
            names = [name for at, name in turns if at == number]
            assert set(Counter(names).values()) == {2}
            assert names == names[::-1]


@pytest.mark.parametrize(  # as in any table of it: of 21 values the 6th and the 16th
    ("count", "low", "high"),
    [(1, -math.inf, math.inf), (5, -math.inf, math.inf), (6, 0, 5), (9, 1, 7), (21, 5, 15)],
)
def test_an_interval_is_that_of_the_sign_test(count: int, low: float, high: float) -> None:
    values = [float(value) for value in range(count)]
    found = interval(random.Random(1).sample(values, count))
    assert found == Interval(median=(count - 1) / 2, low=low, high=high)


def test_what_is_added_is_told_pass_by_pass() -> None:
    found = made(
        {"dual": [*[102.0] * 2, *[204.0] * 3, 330.0], "dual_plain": [*[100.0] * 2, *[200.0] * 3, 300.0]}
    )  # fmt: skip
    difference = Difference(over="dual", under="dual_plain", what="it adds", limit=0.05)
    assert added(found, difference, "cpu_us").median == pytest.approx(0.02)
    assert added(found, difference, "loop_us").high == pytest.approx(0.1)
    assert added_us(found, difference) == Interval(median=4.0, low=2.0, high=30.0)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.03, Verdict.MET),
        (0.031, 0.04, Verdict.MISSED),
        (0.02, 0.04, Verdict.UNDECIDED),
    ],
)
def test_a_target_is_judged_by_the_interval(low: float, high: float, verdict: Verdict) -> None:
    assert judged(Interval(median=0.0, low=low, high=high), 0.03) is verdict


def test_medians_and_answers_read_as_sentences() -> None:
    found = made({name: [100.0 + place] * 6 for place, name in enumerate(NAMES)})
    assert table(found)[2] == "| `relay` | 200.0 (200.0..200.0) | 50.0 (50.0..50.0) |"
    assert answers(found)[1] == (
        "comparing adds to a dual write: -1.0 (-1.0..-1.0) %, -1.0 (-1.0..-1.0) us; "
        "of the loop's thread -1.0 (-1.0..-1.0) %; at most 5% wanted: met"
    )


def test_its_help_says_what_it_is() -> None:
    assert "no sockets" in CliRunner().invoke(main, ["--help"]).output
