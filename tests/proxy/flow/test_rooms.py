"""The rooms of the foreground: what they derive."""

from pathlib import Path

import pytest

from tests.proxy.flow.foreground import sidecar


@pytest.mark.parametrize(("memory", "body", "at_once"), [(10, 100, 10), (100, 10, 10)])
async def test_what_needs_no_spool_is_within_both_limits(
    tmp_path: Path, memory: int, body: int, at_once: int
) -> None:
    limits = {"LISTEN_SPOOL_MEMORY_BYTES_MAX": str(memory), "LISTEN_BODY_BYTES_MAX": str(body)}
    async with sidecar(tmp_path, **limits) as s:
        assert s.app.clients.door._rooms.at_once == at_once  # type: ignore[attr-defined]
