"""How the verbs reach a sidecar, and what they say when they do not."""

import asyncio
from pathlib import Path

import pytest

from proxy.cli.options import configured
from proxy.cli.sidecar import act, print_done, status_of
from proxy.control.token import FILE
from tests.proxy.world import world


async def test_a_running_sidecar_tells_its_status_also_past_a_proxy_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with world(tmp_path) as w:
        found = await asyncio.to_thread(status_of, configured(str(w.config)))
    gone = await asyncio.to_thread(status_of, configured(str(w.config)))

    assert found is not None
    assert found["stage"] == "dual_legacy_primary"
    assert gone is None


async def test_another_token_is_refused_in_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with world(tmp_path) as w:
        (tmp_path / "data" / FILE).write_text("another")
        with pytest.raises(SystemExit):
            await asyncio.to_thread(act, configured(str(w.config)), "/dead/retry", {"ids": [1]})
    (tmp_path / "data" / FILE).unlink()
    with pytest.raises(SystemExit):
        await asyncio.to_thread(act, configured(str(w.config)), "/dead/retry", {"ids": [1]})

    refused, missing = capsys.readouterr().err.splitlines()
    assert "(401): the token in the journal's directory is needed" in refused
    assert "a sidecar writes it when it starts" in missing


@pytest.mark.parametrize("as_json", [True, False])
def test_what_was_refused_is_told_on_standard_error(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    told = {
        "changed": [{"id": 1, "state": "waived"}], "unchanged": [],
        "refused": [{"id": 2, "status": 404, "detail": "gone"}],
    }  # fmt: skip

    assert print_done(told, as_json=as_json) is False
    assert capsys.readouterr().err == "twinwrite: error: 2: gone\n"
