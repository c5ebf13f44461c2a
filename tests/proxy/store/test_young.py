"""Young intents: through every move from the log to a row, or to a count, none is lost or counted twice."""

from pathlib import Path

import pytest

from tests.proxy.store.model import lived


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_and_whenever_it_is_killed_a_journal_keeps_what_it_promised(
    tmp_path: Path, seed: int
) -> None:
    await lived(tmp_path / "lives", seed)
