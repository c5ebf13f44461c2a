"""A sidecar between two keyed stores: how to start them, and what must hold between the two at the end."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from proxy.demo.child import Child
from tests.system.harness import get_json, start_program

HERE = Path(__file__).parent

CONFIG = """
stage = "dual_legacy_primary"
[listen]
port = 0
spool_memory_bytes_max = 16384
[admin]
port = 0
[backends.legacy]
url = "{legacy}"
[backends.new]
url = "{new}"
[journal]
directory = "{journal}"
{keys}
[delivery]
backoff_first_ms = 50
backoff_max_ms = 200
[breaker]
enabled = false
[[routes]]
name = "value"
path = "/k/{{key}}"
entity = "key"
entity_key = ["path:key"]
[[routes]]
name = "move"
path = "/move/{{from}}/{{to}}"
entity = "key"
entity_key = ["path:from", "path:to"]
"""

Entry = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Dump:
    """One store. `history`: by key, in order: ref, monotonic ns, Idempotency-Key."""

    values: dict[str, str]
    history: dict[str, list[Entry]]

    def refs(self, key: str) -> list[str]:
        """What was applied to a key, in order."""
        return [ref for ref, _, _ in self.history.get(key, [])]

    def times(self) -> dict[str, int]:
        """When each write was applied, the first time."""
        found: dict[str, int] = {}
        for entries in self.history.values():
            for ref, at, _ in entries:
                found[ref] = min(at, found.get(ref, at))
        return found

    def doubled(self) -> dict[str, list[str]]:
        """By key, the writes that were applied more than once."""
        counts = {key: Counter(self.refs(key)) for key in self.history}
        found = {k: [ref for ref, n in refs.items() if n > 1] for k, refs in counts.items()}
        return {key: refs for key, refs in found.items() if refs}


@dataclass(frozen=True, slots=True)
class Stores:
    """The two backends of one test."""

    legacy: Child
    new: Child

    def config(self, journal: Path, keys: str = "") -> str:
        """A sidecar's configuration; `keys` are further lines of `[journal]`."""
        urls = {side: getattr(self, side).fields()["url"] for side in ("legacy", "new")}
        return CONFIG.format(**urls, journal=journal, keys=keys)

    async def dumps(self) -> tuple[Dump, Dump]:
        """Legacy's and new's."""
        return await dump(self.legacy), await dump(self.new)

    async def set_sick(self, status: int) -> None:
        """From now on new answers every write with this status; 0: it is well."""
        async with aiohttp.ClientSession() as session:
            url = f"{self.new.fields()['url']}/sick/{status}"
            async with session.put(url) as reply:
                assert reply.status == 200


async def start_stores(directory: Path, stack: AsyncExitStack, *options: str) -> Stores:
    """Start both; new honours Idempotency-Keys. They end with the stack."""
    legacy = await start_store("legacy", directory, stack, *options, "--seed", "1")
    new = await start_store("new", directory, stack, *options, "--seed", "2", "--exact")
    return Stores(legacy, new)


async def start_store(side: str, directory: Path, stack: AsyncExitStack, *options: str) -> Child:
    command = [sys.executable, str(HERE / "keyed.py"), *options]
    child = await start_program(command, directory / f"{side}.log")
    stack.push_async_callback(child.stop)
    return child


async def dump(store: Child) -> Dump:
    found = await get_json(f"{store.fields()['url']}/dump")
    values, history = found["values"], found["history"]
    assert isinstance(values, dict)
    assert isinstance(history, dict)
    return Dump(values, {key: [tuple(e) for e in entries] for key, entries in history.items()})


async def start_writers(port: str, out: Path, *options: str) -> Child:
    """Start a process of writers; `stop` it, then `read_book(out)`."""
    command = [sys.executable, str(HERE / "writers.py"), "--port", port, "--out", str(out)]
    return await start_program([*command, *options], out.with_suffix(".log"))


def assert_same_order(legacy: Dump, new: Dump, only_legacy: Sequence[str] | set[str] = ()) -> None:
    """Every key got the same writes in the same order, but for `only_legacy`."""
    for key in legacy.history | new.history:
        expected = [ref for ref in legacy.refs(key) if ref not in only_legacy]
        assert new.refs(key) == expected, key
