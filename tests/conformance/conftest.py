"""One sidecar for all rows: each leaves it as it found it, or the next row gets a new one."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from tests.conformance.stand import Stand


@pytest.fixture(scope="session")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stand = Stand(runner, tmp_path_factory.mktemp("conformance"))
        yield stand
        stand.stop()
