"""A gap in the journal's file: written again it is the same one."""

from pathlib import Path

from proxy.store.gap import Gap
from tests.proxy.samples import opened, written


async def test_a_gap_is_kept_and_grows(tmp_path: Path) -> None:
    gap = Gap(1, "default", "backlog", 1.0, 2.0, 3)
    async with opened(tmp_path) as journal:
        _ = journal.gaps.keep(gap)
        gap.last_at, gap.writes = 9.0, 4
        _ = journal.gaps.keep(gap)
        await written(journal)
    async with opened(tmp_path) as journal:
        assert await journal.gaps.all() == [gap]
