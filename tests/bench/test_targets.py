"""The promises: each can be judged, and is judged by the median."""

from typing import Any

import pytest

from bench import targets
from bench.contestants import CONTESTANTS
from bench.rounds import Idle, Measured, Row
from bench.scenes import BESIDE, CLEAN, SCENES
from bench.summary import Spread
from bench.targets import TARGETS, Judgement, Target, Verdict, judged
from tests.bench.made import idle, row

NAMES = {each.name for each in CONTESTANTS}


def _one(name: str, rows: list[Row], fresh: list[Idle] | None = None, **missing: str) -> Judgement:
    measured = Measured(rows=rows, idle=fresh or [])
    found: list[Any] = [each for each in judged(measured, missing) if each.target.name == name]
    assert len(found) == 1
    judgement: Judgement = found[0]
    return judgement


@pytest.mark.parametrize("target", TARGETS, ids=lambda each: f"{each.name} {each.setting.name}")
def test_a_default_run_measures_what_every_target_reads(target: Target) -> None:
    scene = next(each for each in SCENES if each.name == target.setting.scene)
    assert {target.over, target.under} - {""} <= set(scene.contestants)
    assert target.setting in scene.settings
    assert target.beside is None or target.beside in scene.settings


def test_every_contestant_of_a_scene_is_in_the_table_and_every_row_is_used() -> None:
    assert {name for scene in SCENES for name in scene.contestants} == NAMES
    assert len(NAMES) == len(CONTESTANTS)
    for scene in SCENES:
        assert {each.under for each in scene.columns} <= set(scene.contestants)
        assert all(each.scene == scene.name for each in scene.settings)


def test_a_target_is_judged_by_the_median_of_its_rounds_and_at_the_limit_it_is_met() -> None:
    rows = []
    for number, cpu in enumerate((60.0, 65.0, 90.0), start=1):
        rows.append(row("shadow", number, setting=CLEAN, cpu_us=cpu))
        rows.append(row("envoy_mirror", number, setting=CLEAN, cpu_us=100.0))
    found = judged(Measured(rows=rows, idle=[]), {})
    clean = next(each for each in found if each.target.name == "CPU: shadow / envoy_mirror")
    assert clean.verdict is Verdict.MET
    assert clean.measured == Spread(median=0.65, low=0.6, high=0.9)
    assert clean.beside is None


def test_a_target_that_is_not_reached_is_missed_and_the_other_setting_stands_beside() -> None:
    rows = [
        row("dual", 1, setting=CLEAN, cpu_us=300.0),
        row("nginx_mirror_tuned", 1, setting=CLEAN, cpu_us=100.0),
        row("dual", 1, setting=BESIDE, cpu_us=200.0),
        row("nginx_mirror_tuned", 1, setting=BESIDE, cpu_us=100.0),
    ]
    found = _one("CPU: dual / nginx_mirror_tuned", rows)
    assert found.verdict is Verdict.MISSED
    assert found.measured == Spread(median=3.0, low=3.0, high=3.0)
    assert found.beside == Spread(median=2.0, low=2.0, high=2.0)


def test_what_was_not_measured_is_not_met_and_says_why() -> None:
    found = _one("CPU: relay / envoy_relay", [], envoy="pip install")
    assert found.verdict is Verdict.NOT_MEASURED
    assert found.reason == "envoy is not installed"
    other = _one("CPU: dual / nginx_mirror", [], envoy="pip install")
    assert other.reason == "not part of this run"


def test_memory_is_judged_before_the_first_request() -> None:
    name = "idle memory, MiB: dual"
    fresh = [idle("dual", number, memory) for number, memory in enumerate((50.0, 61.0, 55.0))]
    found = _one(name, [], fresh)
    assert (found.verdict, found.measured) == (
        Verdict.MET,
        Spread(median=55.0, low=50.0, high=61.0),
    )
    assert _one(name, [], [idle("dual", 1, 60.5)]).verdict is Verdict.MISSED


def test_a_quick_run_measures_every_setting_that_a_target_reads() -> None:
    assert targets.settings() <= {each for scene in SCENES for each in scene.settings}
    assert {CLEAN, BESIDE} <= targets.settings()
