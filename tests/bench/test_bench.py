"""The benchmark: every scenario gives plausible rows; how rows become numbers; nothing outlives a run.

Nothing here asserts how long anything takes.
"""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import sample, wrk
from bench.backend import message_end
from bench.contestants import CONTESTANTS
from bench.load import percentile
from bench.rounds import Row
from bench.summary import Ratio, Setting, Spread, failed, problems, ratio
from bench.tools import Cores, Pin, ToolError, run

ROOT = Path(__file__).parent.parent.parent
NAMES = {each.name for each in CONTESTANTS}
IN_OPEN_LOOP = {each.name for each in CONTESTANTS if each.in_open_loop}
TINY = ("--rounds", "1", "--seconds", "0.2", "--connections", "2", "--open-seconds", "0.3")
OURS = ("--load", "own", "--backends", "own", "--pin", "none", "--rate", "100")
SECONDS_MAX = 180.0

Json = dict[str, Any]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """One tiny run of everything, with nothing but Python."""
    file = tmp_path_factory.mktemp("bench") / "result.json"
    command = (*(sys.executable, "-m", "bench", *TINY, *OURS), "--json", str(file))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.returncode == 0, done.stdout + done.stderr
    found: Json = json.loads(file.read_text())
    return {**found, "printed": done.stdout}


@pytest.mark.system
def test_every_scenario_is_measured_in_both_loops(result: Json) -> None:
    assert {row["contestant"] for row in result["rows"] if not row["rate"]} == NAMES
    assert {row["contestant"] for row in result["rows"] if row["rate"]} == IN_OPEN_LOOP


@pytest.mark.system
def test_every_request_is_answered_with_2xx(result: Json) -> None:
    assert result["ok"]
    assert all(row["requests"] > 0 and not row["errors"] for row in result["rows"])


@pytest.mark.system
def test_latencies_are_ordered_and_a_proxy_uses_cpu_and_memory(result: Json) -> None:
    for row in result["rows"]:
        assert 0 < row["p50_us"] <= row["p99_us"] <= row["p999_us"], row
        assert (row["memory_mib"] > 0) == (row["contestant"] != "direct"), row
    busiest = {row["contestant"]: row["cpu_us"] for row in result["rows"] if not row["rate"]}
    assert busiest.pop("direct") == 0
    assert all(busiest.values())


@pytest.mark.system
def test_only_a_hung_side_leaves_writes_owed_and_opens_the_breaker(result: Json) -> None:
    for row in result["rows"]:
        if row["contestant"].startswith("hung"):
            assert row["owed"] > 0, row
        else:
            assert row["settled"], row
        if row["contestant"] == "hung":
            assert row["breaker"] in ("open", "half_open"), row
        elif row["contestant"] == "hung_breaker_off":
            assert row["breaker"] not in ("open", "half_open"), row


@pytest.mark.system
def test_the_report_names_the_tools_the_machine_and_the_ratios(result: Json) -> None:
    printed = result["printed"]
    assert "load: our own" in printed
    assert "backends: our own" in printed
    assert result["machine"]["kernel"] in printed
    assert "CPU: dual / relay" in printed
    assert result["ratios"][0]["ratios"]["p99: hung / dual"]["median"] > 0


@pytest.mark.system
def test_an_interrupted_run_leaves_no_process_behind(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "bench", *TINY, *OURS, "--directory", str(tmp_path))
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        while not list(tmp_path.glob("*/sidecar-*/journal")) and process.poll() is None:
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS_MAX)
    assert process.returncode == 1, errors
    assert not list(tmp_path.iterdir())
    assert not list(_processes_naming(str(tmp_path)))


def _processes_naming(text: str) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            yield line


@pytest.mark.system
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--scenario", "direct", "--loop", "open"), "nothing to measure"),
        (("--scenario", "nobody"), "nobody"),
        (("--rounds", "0"), "--rounds"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused_in_one_line(
    options: tuple[str, ...], told: str
) -> None:
    command = (sys.executable, "-m", "bench", *options)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_requests_are_256_different_ones_with_512_bytes_of_json() -> None:
    made = sample.requests("127.0.0.1:1")
    assert len(set(made)) == sample.ENTITIES
    for each in made:
        body = each.partition(b"\r\n\r\n")[2]
        assert len(body) == sample.BODY_BYTES
        assert json.loads(body)["items"] == 3
        assert message_end(each) == len(each)


def test_the_reply_has_about_200_bytes_and_ends_where_it_should() -> None:
    assert 180 <= len(sample.REPLY_BODY) <= 230
    assert message_end(sample.REPLY) == len(sample.REPLY)
    assert message_end(sample.REPLY[:-1]) is None
    assert message_end(b"HTTP/1.1 200 OK\r\n") is None


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(each) for each in range(1, 101)]
    assert [percentile(values, part) for part in (0.5, 0.99, 0.999)] == [50, 99, 100]
    assert percentile([], 0.5) == 0
    assert percentile([7.0], 0.01) == 7


def test_wrk_sends_the_same_bytes_and_its_answer_is_read() -> None:
    script = wrk.script("127.0.0.1:1")
    assert script.count("POST /orders/") == sample.ENTITIES
    line = (
        'BENCH {"requests": 10, "microseconds": 2000000, "p50": 5, "p99": 9, "p999": 11, '
        '"errors": {"connect": 0, "read": 0, "write": 0, "status": 3, "timeout": 0}}'
    )
    load = wrk.parsed(f"Running 2s test\n{line}\n")
    assert (load.requests, load.seconds, load.p99_us) == (10, 2.0, 9)
    assert load.errors == {"status": 3}
    with pytest.raises(ToolError):
        wrk.parsed("unable to connect")


def test_a_ratio_is_formed_within_each_round() -> None:
    rows = [
        _row("relay", 1, cpu_us=10.0),
        _row("dual", 1, cpu_us=20.0),
        _row("relay", 2, cpu_us=100.0),
        _row("dual", 2, cpu_us=300.0),
        _row("dual", 3, cpu_us=1.0),  # its partner is missing: no ratio
    ]
    wanted = Ratio(name="", over="dual", under="relay", field="cpu_us")
    setting = Setting(rate=0.0, connections=2)
    assert ratio(rows, wanted, setting) == Spread(median=2.5, low=2.0, high=3.0)
    assert ratio(rows, wanted, Setting(rate=0.0, connections=3)) is None


def test_what_makes_a_run_doubtful_is_said() -> None:
    assert problems([_row("dual", 1)]) == []
    assert not failed([_row("dual", 1)])
    assert failed([_row("relay", 1), _row("dual", 1, settled=False)])
    assert failed([_row("dual", 1, requests=0)])
    assert "status 503" in problems([_row("dual", 1, errors={"status 503": 1})])[0]
    assert "quiet" in problems([_row("dual", 1, settled=False)])[0]
    assert "schedstat" in problems([_row("dual", 1, clocks_agree=False)])[0]
    assert "breaker" in problems([_row("dual", 1, breaker="open")])[0]
    assert problems([_row("hung", 1, breaker="open")]) == []
    assert "others" in problems([_row("dual", 1, elsewhere=1.0)])[0]
    assert "late" in problems([_row("dual", 1, rate=10.0, late_p99_us=1e6)])[0]


def test_a_program_that_fails_or_hangs_is_an_error_and_ends() -> None:
    with pytest.raises(ToolError, match="exit code 3: no"):
        asyncio.run(
            run((sys.executable, "-c", "import sys; print('no', file=sys.stderr); sys.exit(3)"), 60)
        )
    with pytest.raises(ToolError, match="did not end"):
        asyncio.run(run((sys.executable, "-c", "import signal; signal.pause()"), 0.5))


def test_pinning_gives_the_proxy_its_core() -> None:
    every = os.sched_getaffinity(0)
    assert Cores.of(Pin.NONE).proxy == every
    one = Cores.of(Pin.ONE)
    assert one.proxy == one.rest
    assert len(one.proxy) == 1
    if len(every) > 1:
        split = Cores.of(Pin.SPLIT)
        assert split.proxy | split.rest == every
        assert not split.proxy & split.rest


def _row(contestant: str, number: int, **fields: Any) -> Row:  # noqa: ANN401 - any field of Row
    plain = Row(
        round=number, contestant=contestant, connections=2, rate=0.0, requests=100, seconds=1.0,
        requests_per_second=100.0, cpu_us=10.0, user_us=6.0, system_us=4.0, p50_us=100.0, p99_us=200.0,
        p999_us=300.0, late_p99_us=0.0, errors={}, owed=0, breaker="", memory_mib=40.0, settled=True,
        clocks_agree=True, elsewhere=0.0, stolen=0.0,
    )  # fmt: skip
    return dataclasses.replace(plain, **fields)
