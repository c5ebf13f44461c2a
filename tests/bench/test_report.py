"""What is printed, and what the READMEs carry."""

from pathlib import Path

import pytest

from bench import carried
from bench.bed import Choice
from bench.machine import Machine
from bench.options import Options, choice, plan
from bench.report import Run, as_json, full, markdown, short
from bench.rounds import Measured
from bench.scenes import BESIDE, CLEAN
from bench.tools import Pin, ToolError
from tests.bench.made import idle, row

OPTIONS = Options(
    scenes=(), contestants=(), connections=(), pin=None, rounds=1, seconds=1.0, rate=500.0,
    open_seconds=1.0, quick=False, load="auto", backends="auto", directory=None, seed=1, patience=0.0,
    json_file=None, markdown_files=(),
)  # fmt: skip
MACHINE = Machine(
    date="2026-01-01 00:00 UTC", processor="a processor", cores=2, memory_gib=4.0, kernel="Linux 6",
    python="CPython 3.11", uvloop="0.23", twinwrite="0.1.0", wrk="wrk 4", nginx="nginx/1", envoy="missing",
    filesystem="ext4", sync_us=200.0, load_average=0.1,
)  # fmt: skip
ENVOY = {"envoy": "pip install"}


def _run() -> Run:
    rows = [
        row("direct", 1, setting=CLEAN, cpu_us=0.0),
        row("shadow", 1, setting=CLEAN, cpu_us=30.0),
        row("nginx_mirror_tuned", 1, setting=CLEAN, cpu_us=50.0),
        row("shadow", 1, setting=BESIDE, cpu_us=31.0),
    ]
    return Run(
        machine=MACHINE,
        command="python -m bench",
        plan=plan(OPTIONS, ENVOY, 2),
        choice=Choice(load="wrk", backends="nginx"),
        missing=ENVOY,
        measured=Measured(rows=rows, idle=[idle("shadow", 1, 52.0)]),
    )


def test_a_table_is_aligned_markdown() -> None:
    assert markdown(("name", "n"), [("a", "1"), ("longer", "234")]) == [
        "| name   |   n |",
        "|--------|----:|",
        "| a      |   1 |",
        "| longer | 234 |",
    ]


def test_the_full_report_has_ratios_targets_and_what_is_missing() -> None:
    text = full(_run())
    assert "Missing here: envoy (pip install)" in text
    assert "0.60" in next(line for line in text.splitlines() if line.startswith("| `shadow`"))
    assert "not measured: envoy is not installed" in text
    assert "nginx 1; Envoy missing" in text


def test_the_short_report_has_the_headline_and_the_targets() -> None:
    text = short(_run())
    shadow = next(line for line in text.splitlines() if line.startswith("| `shadow`"))
    assert [cell.strip() for cell in shadow.split("|")][2:4] == ["30.0", "0.60"]
    assert "CPU: shadow / nginx_mirror_tuned" in text
    assert "envoy (pip install)" in text


def test_json_has_the_targets_and_the_ratios() -> None:
    found = as_json(_run())
    ratios = next(each for each in found["ratios"] if each["setting"]["connections"] == 32)
    assert ratios["ratios"]["shadow x nginx tuned"]["median"] == pytest.approx(0.6)
    assert not [name for name in ratios["ratios"] if name.startswith("direct")]
    verdicts = {each["name"]: each["verdict"] for each in found["targets"]}
    assert verdicts["CPU: shadow / nginx_mirror_tuned"] == "met"
    assert verdicts["CPU: shadow / envoy_mirror"] == "not measured"


def test_without_a_tool_its_contestants_are_left_out_and_asking_for_one_is_refused() -> None:
    assert not [name for name in plan(OPTIONS, ENVOY, 2).contestants if name.startswith("envoy")]
    with pytest.raises(ToolError, match="envoy is not installed"):
        plan(_with(contestants=("envoy_relay",)), ENVOY, 2)
    assert choice(OPTIONS, {"wrk": ""}) == Choice(load="own", backends="nginx")
    with pytest.raises(ToolError, match="nginx is not installed"):
        choice(_with(backends="nginx"), {"nginx": ""})


def test_a_machine_with_one_core_measures_all_on_it() -> None:
    assert {each.pin for each in plan(OPTIONS, {}, 1).settings} == {Pin.ONE}
    pinned = plan(_with(pin="none"), {}, 2).settings
    assert {each.pin for each in pinned} == {Pin.NONE}
    assert len(pinned) == len(set(pinned))


def test_quick_leaves_out_what_no_target_reads() -> None:
    names = {each.name for each in plan(_with(quick=True), {}, 2).settings}
    assert "mirror, c=1, one core" not in names
    assert {CLEAN.name, BESIDE.name} <= names


def _with(**changed: object) -> Options:
    fields = {name: getattr(OPTIONS, name) for name in Options.__slots__}
    return Options(**{**fields, **changed})


def test_the_tables_go_between_the_markers_of_a_file_and_again(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- bench: short -->\nold\n<!-- bench: end -->\nafter\n")
    for table in ("one\n", "two\n"):
        carried.write(path, {"short": table, "full": "all\n"})
        marked = f"<!-- bench: short -->\n{table}<!-- bench: end -->"
        assert path.read_text() == f"before\n{marked}\nafter\n"


def test_a_new_file_gets_every_table(tmp_path: Path) -> None:
    path = tmp_path / "new.md"
    carried.write(path, {"short": "one\n", "full": "all\n"})
    text = path.read_text()
    assert text.index("one") < text.index("<!-- bench: full -->") < text.index("all")
