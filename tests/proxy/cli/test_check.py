"""`twinwrite check`, as a user meets it."""

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.check import check

GOOD = """
stage = "shadow"
[backends]
legacy.url = "http://legacy:8001"
new.url = "http://new:8002"
"""
BAD = 'stage = "dual"\n[listen]\nprot = 1\n' + GOOD.replace('stage = "shadow"\n', "")


def run(content: str, folder: Path, *options: str, **environment: str) -> Result:
    file = folder / "f.toml"
    file.write_text(content)
    return CliRunner().invoke(check, [str(file), *options], env=dict(environment))


def test_a_valid_file_prints_every_setting_and_exits_with_0(tmp_path: Path) -> None:
    result = run(GOOD, tmp_path, TWINWRITE_LISTEN_PORT="7001")
    assert result.exit_code == 0
    shown = tomllib.loads(result.stdout)
    assert shown["listen"]["port"] == 7001
    assert shown["stage"] == "shadow"
    assert "port = 7001  # environment\n" in result.stdout
    assert result.stderr.splitlines() == [
        'warning: stage = "shadow": writes are not journaled; one that fails is not sent again',
        f"{tmp_path / 'f.toml'} is valid; 1 warning(s)",
    ]


def test_problems_come_one_per_line_and_exit_with_2(tmp_path: Path) -> None:
    result = run(BAD, tmp_path)
    assert result.exit_code == 2
    assert result.stdout == ""
    file = tmp_path / "f.toml"
    assert result.stderr.splitlines() == [
        f'{file}: stage = "dual": must be one of legacy_only, shadow, dual_legacy_primary,'
        " dual_new_primary, new_only",
        f"{file}: listen.prot: unknown key; did you mean port?",
    ]


def test_json_of_a_valid_file(tmp_path: Path) -> None:
    result = run(GOOD, tmp_path, "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert set(report) == {"ok", "problems", "warnings", "effective"}
    assert report["ok"] is True
    assert report["problems"] == []
    assert len(report["warnings"]) == 1
    assert report["effective"]["backends"]["new"]["url"] == "http://new:8002"
    assert report["effective"]["categories"]["critical"]["checksum"] == "sha256"
    assert report["effective"]["routes"] == []


def test_json_of_an_invalid_file(tmp_path: Path) -> None:
    result = run(BAD, tmp_path, "--json")
    assert result.exit_code == 2
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert report["effective"] == {}
    assert report["problems"][1] == {
        "source": str(tmp_path / "f.toml"),
        "key": "listen.prot",
        "value": "",
        "allowed": "unknown key; did you mean port?",
    }


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text(GOOD)
    result = CliRunner().invoke(check, [], env={"TWINWRITE_CONFIG": str(file)})
    assert result.exit_code == 0


def test_a_missing_file_is_a_problem_like_any_other(tmp_path: Path) -> None:
    result = CliRunner().invoke(check, [str(tmp_path / "none.toml")])
    assert result.exit_code == 2
    assert result.stderr == f"{tmp_path / 'none.toml'}: cannot be read: No such file or directory\n"


def test_the_help_shows_an_example() -> None:
    result = CliRunner().invoke(check, ["--help"])
    assert result.exit_code == 0
    assert "twinwrite check config.toml" in result.stdout
    assert "--json" in result.stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_secret_is_printed(tmp_path: Path, options: list[str]) -> None:
    content = GOOD.replace("http://new", "http://ann:hunter2@new") + '[admin]\ntoken = "hunter2"\n'
    result = run(content, tmp_path, *options)
    assert result.exit_code == 2
    assert "hunter2" not in result.output
