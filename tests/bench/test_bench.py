"""The benchmark, run for real but tiny; nothing outlives a run. How rows become numbers.

Nothing here asserts how long anything takes.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import sample, wrk
from bench.backend import Backend, Count, message_end
from bench.bed import missing
from bench.load import Requests, percentile
from bench.summary import Ratio, Spread, failed, problems, ratio
from bench.tools import Cores, Pin, ToolError, free_port, run
from tests.bench.made import SETTING, row

ROOT = Path(__file__).parent.parent.parent
PEERS = {"nginx_mirror_best": "nginx", "envoy_mirror": "envoy"}
PRESENT = {name for name, tool in PEERS.items() if tool not in missing()}
NAMES = {"direct", "shadow", "dual"} | PRESENT
RUNS = {"mirror": NAMES, "hung": {"hung"}}
TINY = ("--rounds", "1", "--seconds", "0.1", "--open-seconds", "0.3", "--rate", "100")
OURS = ("--load", "own", "--backends", "own", "--pin", "none", "--connections", "64")
SECONDS_MAX = 180.0

Json = dict[str, Any]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """Tiny runs of two scenes, at the same time, with the peers that are installed: scene -> JSON."""
    directory = tmp_path_factory.mktemp("bench")
    started = {scene: _started(scene, names, directory) for scene, names in RUNS.items()}
    found = {}
    for scene, process in started.items():
        printed, errors = process.communicate(timeout=SECONDS_MAX)
        assert process.returncode == 0, printed + errors
        result = json.loads((directory / f"{scene}.json").read_text())
        tables = (directory / f"{scene}.md").read_text()
        found[scene] = {**result, "printed": printed, "tables": tables}
    return found


def _started(scene: str, names: set[str], directory: Path) -> subprocess.Popen[str]:
    who = ("--scene", scene, *(f"--contestant={name}" for name in sorted(names)))
    files = (f"--json={directory / scene}.json", f"--markdown={directory / scene}.md")
    command = (sys.executable, "-m", "bench", *who, *TINY, *OURS, *files)
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _rows(result: Json) -> list[Json]:
    return [each for found in result.values() for each in found["rows"]]


@pytest.mark.system
def test_everybody_is_measured_at_full_speed_or_at_a_rate(result: Json) -> None:
    for scene, names in RUNS.items():
        assert {each["contestant"] for each in result[scene]["rows"]} == names
        assert all((each["rate"] > 0) == (scene == "hung") for each in result[scene]["rows"])


@pytest.mark.system
def test_every_request_is_answered_with_2xx(result: Json) -> None:
    assert all(each["ok"] for each in result.values())
    assert all(each["requests"] > 0 and not each["errors"] for each in _rows(result))


@pytest.mark.system
def test_the_backends_count_what_the_mirrors_passed_on(result: Json) -> None:
    assert all(each["mirrored"] for each in _rows(result))
    passed_on = {each["contestant"]: each["passed_on"] for each in result["mirror"]["rows"]}
    assert passed_on.pop("direct") < 0.5
    assert all(each > 0.99 for each in passed_on.values())


@pytest.mark.system
def test_latencies_are_ordered_and_a_proxy_uses_cpu_and_memory(result: Json) -> None:
    for each in _rows(result):
        assert 0 < each["p50_us"] <= each["p99_us"] <= each["p999_us"], each
        assert (each["memory_mib"] > 0) == (each["contestant"] != "direct"), each
    busiest = {each["contestant"]: each["cpu_us"] for each in result["mirror"]["rows"]}
    assert busiest.pop("direct") == 0
    assert all(busiest.values())
    fresh = result["mirror"]["idle"]
    assert {each["contestant"] for each in fresh} == NAMES - {"direct"}
    assert all(each["memory_mib"] > 1 for each in fresh)


@pytest.mark.system
def test_only_a_hung_side_leaves_writes_owed_and_opens_the_breaker(result: Json) -> None:
    assert all(each["settled"] for each in result["mirror"]["rows"])
    for each in result["hung"]["rows"]:
        assert each["owed"] > 0, each
        assert each["breaker"] in ("open", "half_open"), each


@pytest.mark.system
def test_the_report_names_the_tools_the_machine_the_ratios_and_the_targets(result: Json) -> None:
    found = result["mirror"]
    printed = found["printed"]
    assert "Load: our own" in printed
    assert "backends: our own" in printed
    assert found["machine"]["kernel"] in printed
    assert "x Envoy mirror" in printed
    assert "p99: hung / dual" in printed
    assert all(f"{tool} (" in printed for tool in found["tools"]["missing"])
    ratios = found["ratios"][0]["ratios"]
    assert ("shadow x Envoy mirror" in ratios) == ("envoy_mirror" in PRESENT)
    assert {each["verdict"] for each in found["targets"]} <= {"met", "missed", "not measured"}


@pytest.mark.system
def test_the_tables_that_the_readmes_carry_are_written(result: Json) -> None:
    for found in result.values():
        assert "<!-- bench: short -->" in found["tables"]
        assert found["printed"].split("\n")[0] in found["tables"]


@pytest.mark.system
def test_an_interrupted_run_leaves_no_process_behind(tmp_path: Path) -> None:
    who = ("--scene", "hung", "--contestant", "dual")
    command = (sys.executable, "-m", "bench", *who, *OURS, "--directory", str(tmp_path))
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
        (("--contestant", "direct", "--scene", "hung"), "nothing to measure"),
        (("--contestant", "nobody"), "nobody"),
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


def test_long_requests_are_fewer_and_as_long_as_asked() -> None:
    made = sample.requests("127.0.0.1:1", 1 << 20)
    assert len(made) == 16
    assert {len(each.partition(b"\r\n\r\n")[2]) for each in made} == {1 << 20}


class _Transport(asyncio.Transport):
    """Counts what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("piece", [1, 100, 1000, 5000])
def test_a_backend_answers_once_per_request_however_it_is_cut(piece: int) -> None:
    sent = b"".join(sample.requests("127.0.0.1:1")[:3]) + b"GET / HTTP/1.1\r\n\r\n"
    count = Count()
    backend, transport = Backend(0.0, sample.REPLY, count), _Transport()
    backend.connection_made(transport)
    for at in range(0, len(sent), piece):
        backend.data_received(sent[at : at + piece])
    assert transport.written == sample.REPLY * 4
    backend.data_received(b"GET /count HTTP/1.1\r\n\r\n")
    assert transport.written.endswith(b"requests 4")


def test_a_backend_that_hangs_never_answers() -> None:
    backend, transport = Backend(None, sample.REPLY, Count()), _Transport()
    backend.connection_made(transport)
    backend.data_received(sample.request(0, "127.0.0.1:1"))
    assert transport.written == b""


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
    script = wrk.script(Requests("127.0.0.1:1"))
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
        row("relay", 1, cpu_us=10.0),
        row("dual", 1, cpu_us=20.0),
        row("relay", 2, cpu_us=100.0),
        row("dual", 2, cpu_us=300.0),
        row("dual", 3, cpu_us=1.0),  # its partner is missing: no ratio
        row("direct", 1, cpu_us=0.0),
    ]
    wanted = Ratio(over="dual", under="relay", field="cpu_us")
    assert ratio(rows, wanted, SETTING) == Spread(median=2.5, low=2.0, high=3.0)
    assert ratio(rows, wanted, replace(SETTING, scene="other")) is None
    assert ratio(rows, Ratio(over="direct", under="relay", field="cpu_us"), SETTING) is None


def test_what_makes_a_run_doubtful_is_said() -> None:
    assert problems([row("dual", 1)]) == []
    assert not failed([row("dual", 1)])
    assert failed([row("relay", 1), row("dual", 1, settled=False)])
    assert failed([row("dual", 1, requests=0)])
    assert "status 503" in problems([row("dual", 1, errors={"status 503": 1})])[0]
    assert "quiet" in problems([row("dual", 1, settled=False)])[0]
    assert "0.500" in problems([row("dual", 1, mirrored=False, passed_on=0.5)])[0]
    assert failed([row("dual", 1, mirrored=False)])
    assert "schedstat" in problems([row("dual", 1, clocks_agree=False)])[0]
    assert "breaker" in problems([row("dual", 1, breaker="open")])[0]
    assert problems([row("hung", 1, breaker="open")]) == []
    assert "others" in problems([row("dual", 1, elsewhere=1.0)])[0]
    assert "late" in problems([row("dual", 1, rate=10.0, late_p99_us=1e6)])[0]


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


def test_a_port_is_never_given_twice() -> None:
    assert len({free_port() for _ in range(50)}) == 50
