"""What the verbs share: one clear line and an exit code for what is wrong."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from proxy.__main__ import main
from proxy.cli.options import configured, fail, journal_directory, print_json

MINIMAL = (
    '[backends.legacy]\nurl = "http://127.0.0.1:1"\n[backends.new]\nurl = "http://127.0.0.1:2"\n'
)


def test_a_failure_is_one_line_on_standard_error_and_exit_code_1() -> None:
    result = CliRunner().invoke(click.command()(lambda: fail("the disk is gone")))

    assert result.exit_code == 1
    assert result.stderr == "twinwrite: error: the disk is gone\n"


def test_every_problem_of_a_config_is_a_line_and_the_exit_code_is_2(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(MINIMAL + '[listen]\nport = "x"\ncolour = 1\n')
    result = CliRunner().invoke(main, ["run", "-c", str(file)])

    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("twinwrite: error: ") for line in lines)
    assert any("listen.port" in line and "integer" in line for line in lines)
    assert any("listen.colour" in line for line in lines)


def test_the_config_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "good.toml"
    file.write_text(MINIMAL)
    monkeypatch.setenv("TWINWRITE_JOURNAL_DIRECTORY", str(tmp_path / "elsewhere"))

    assert configured(str(file)).journal.directory == str(tmp_path / "elsewhere")
    assert journal_directory(str(file)) == tmp_path / "elsewhere"


def test_json_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1, None]})

    assert json.loads(capsys.readouterr().out) == {"a": [1, None]}


@pytest.mark.parametrize("verb", ["run", "check", "status", "diffs", "intents", "demo"])
def test_every_verb_helps_with_an_example(verb: str) -> None:
    result = CliRunner().invoke(main, [verb, "--help"])

    assert result.exit_code == 0
    assert f"twinwrite {verb}" in result.output
