"""The demo's own parts; the whole of it runs in tests/system/test_demo.py."""

import tomllib
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from proxy.demo.child import ChildEnded
from proxy.demo.run import CONFIG, Scene, _reason, backlog


def test_the_backlog_is_read_from_the_status() -> None:
    assert backlog({"backlog": {"rows": 3, "bytes": 100}}) == 3
    assert backlog({}) == 0


def test_the_demo_configuration_mirrors_and_hides_no_seeded_bug() -> None:
    config = tomllib.loads(CONFIG.read_text())
    assert config["stage"] == "dual_legacy_primary"
    hidden = config["compare"]["ignore"]
    assert not {"/total", "/status", "/note", "/phone"} & set(hidden)
    creates = [r for r in config["routes"] if r.get("harvest")]
    assert all(route["ordering"] == "none" for route in creates)
    used = {kind for r in config["routes"] for kind in r.get("translate", {}).values()}
    assert used == {harvest["kind"] for route in creates for harvest in route["harvest"]}


def test_the_reason_in_a_group_is_told_and_a_bug_is_raised() -> None:
    ended = ChildEnded("new ended")
    assert _reason(ExceptionGroup("", [ExceptionGroup("", [ended])])) is ended
    with pytest.raises(ExceptionGroup):
        _reason(ExceptionGroup("", [ended, ValueError("bug")]))


async def test_a_backend_comes_back_on_its_port_with_its_data(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(scene._end_backends)
        await scene.start_backend("new")
        first = scene.backends["new"]
        await first.kill()
        await scene.start_backend("new")
        second = scene.backends["new"]
        assert second.pid != first.pid
        assert second.fields() == first.fields()
    assert not second.running
