"""`twinwrite demo`: its options; the run itself is in tests/system/test_demo.py."""

from click.testing import CliRunner

from proxy.__main__ import main


def test_too_few_requests_for_an_outage_are_refused() -> None:
    result = CliRunner().invoke(main, ["demo", "--count", "3"])

    assert result.exit_code == 2
    assert "--count" in result.stderr


def test_it_offers_keep_seed_and_json() -> None:
    result = CliRunner().invoke(main, ["demo", "--help"])

    assert all(option in result.output for option in ("--keep", "--seed", "--json", "--count"))
