"""A sidecar as a process of its own, its memory, and a backend that counts bytes and keeps none."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.system.harness import Sidecar, start_sidecar, write_config

MIB = 1 << 20
BLOCK = bytes(range(256)) * 256  # 64 KiB

CONFIG = """
stage = "dual_legacy_primary"
[listen]
port = 0
body_bytes_max = 209715200
drain_timeout_ms = 300
{listen}
[admin]
port = 0
[backends.legacy]
url = "http://127.0.0.1:{legacy}"
[backends.new]
url = "http://127.0.0.1:{new}"
[journal]
directory = "{directory}/data"
[breaker]
enabled = false
[[routes]]
name = "relayed"
path = "/relay/{{rest...}}"
mirror = "never"
"""

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_SIZE = re.compile(rb"/down/([0-9]+)")


def digest_of(size: int) -> str:
    """The digest of `size` bytes of blocks."""
    found = hashlib.sha256()
    for _ in range(size // len(BLOCK)):
        found.update(BLOCK)
    return found.hexdigest()


class Counter:
    """A backend: what is uploaded it digests, under /down/N it sends N bytes; `pace` is bytes per second."""

    def __init__(self) -> None:
        self.digests: list[str] = []
        self.arrived = 0
        self.left = 0
        self.pace = 0
        self.port = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._take(reader, head)
                await self._answer(writer, head)
        writer.close()

    async def _take(self, reader: asyncio.StreamReader, head: bytes) -> None:
        measured = _LENGTH.search(head)
        left = int(measured[1]) if measured else 0
        found = hashlib.sha256()
        while left:
            piece = await reader.read(min(left, 16384 if self.pace else 262144))
            if not piece:
                raise ConnectionResetError
            found.update(piece)
            left -= len(piece)
            self.arrived += len(piece)
            if self.pace:
                await asyncio.sleep(len(piece) / self.pace)
        self.digests.append(found.hexdigest())

    async def _answer(self, writer: asyncio.StreamWriter, head: bytes) -> None:
        asked = _SIZE.search(head)
        size = int(asked[1]) if asked else 0
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(BLOCK)):
            writer.write(BLOCK)
            await writer.drain()
            self.left += len(BLOCK)


@asynccontextmanager
async def between_counters(
    directory: Path, listen: str = ""
) -> AsyncIterator[tuple[Sidecar, Counter, Counter]]:
    """A sidecar process between two counters, in this order: sidecar, legacy, new."""
    pair = Counter(), Counter()
    servers = []
    for counter in pair:
        server = await asyncio.start_server(counter.connected, "127.0.0.1", 0, limit=262144)
        counter.port = server.sockets[0].getsockname()[1]
        servers.append(server)
    text = CONFIG.format(legacy=pair[0].port, new=pair[1].port, directory=directory, listen=listen)
    sidecar = await start_sidecar(write_config(directory, text))
    try:
        yield sidecar, *pair
    finally:
        await sidecar.child.stop()
        for server in servers:
            server.close()


class Memory:
    """The growth of a process's resident memory, peaks included, since this was made."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        (self._process / "clear_refs").write_text("5")  # proc(5): the peak starts anew
        self._before = self._read("VmRSS")

    def grown(self) -> int:
        """Bytes."""
        return self._read("VmHWM") - self._before

    def _read(self, name: str) -> int:
        found = re.search(
            rf"^{name}:\s+(\d+) kB$", (self._process / "status").read_text(), re.MULTILINE
        )
        assert found is not None
        return int(found[1]) * 1024
