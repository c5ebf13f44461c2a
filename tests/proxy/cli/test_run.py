"""`twinwrite run`: what ends it at the start is one line, and an exit code that is not 0."""

import socket
from pathlib import Path

from click.testing import CliRunner

from proxy.__main__ import main
from tests.proxy.test_app import config_text


def test_a_taken_port_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        file = tmp_path / "twinwrite.toml"
        file.write_text(config_text(tmp_path / "data", taken.getsockname()[1]))
        result = CliRunner().invoke(main, ["run", "-c", str(file)])

    assert result.exit_code == 1
    assert result.stderr.startswith("twinwrite: error: cannot listen on 127.0.0.1:")
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["run", "-c", str(tmp_path / "none.toml")])

    assert result.exit_code == 2
    assert "none.toml" in result.stderr
    assert len(result.stderr.splitlines()) == 1
