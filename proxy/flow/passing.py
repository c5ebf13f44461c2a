"""A reply that is longer than what is kept, measured while it passes: its length and its digest.

Law: nothing of it is kept, and nobody is slowed by it; what did not come to its end has no measure.
"""

from proxy.fiber import Slot
from proxy.wire.connection import Connection
from proxy.wire.framing import ChunkedReader
from rules.checksum import Checksum, Whole, running
from rules.compare import Comparison
from rules.framing import ReplyHead, is_event_stream
from rules.message import Failure, Framing, Reply

DRAINED_BYTES_MAX = 1 << 30
"""Nobody wants the secondary's reply but for its digest: beyond 1 GiB (140 Mbit/s for the whole of the default
`total_timeout_ms`) a new connection costs less than the rest."""


class Passing(Slot[Whole | None]):
    """What a reply's body was, once it has come to its end; None where it did not. For one who waits.

    `start` is what was kept of it. It and the pieces are framed as they were on the wire, and checked.
    """

    __slots__ = ("_digest", "_reader", "length")

    def __init__(self, checksum: Checksum, framing: Framing, start: bytes) -> None:
        Slot.__init__(self)
        self.length = 0
        self._digest = running(checksum)
        self._reader = ChunkedReader(decode=True) if framing is Framing.CHUNKED else None
        self.add(start, ended=False)

    def add(self, data: bytes, *, ended: bool) -> None:
        """The next piece."""
        if self._reader is not None:
            self._reader.take(data)
            data = self._reader.payload
        self._digest.update(data)
        self.length += len(data)
        if ended:
            self.resolve(Whole(self.length, self._digest.digest()))

    def broke(self) -> None:
        """The rest will not come, or is not wanted."""
        self.resolve(None)


class Drain:
    """A Receiver that measures the rest of a reply, which nobody else wants, up to `bytes_max`."""

    __slots__ = ("_bytes_max", "_connection", "_passing")

    def __init__(
        self, passing: Passing, connection: Connection, bytes_max: int = DRAINED_BYTES_MAX
    ) -> None:
        self._passing = passing
        self._connection = connection
        self._bytes_max = bytes_max

    def reply(self, head: ReplyHead, data: bytes, ended: bool) -> None:
        """Part of Receiver: it has come already."""

    def interim(self, status: int, head: bytes) -> None:
        """Part of Receiver: none follows the reply."""

    def data(self, data: bytes, ended: bool) -> None:
        """Part of Receiver."""
        self._passing.add(data, ended=ended)
        if not ended and self._passing.length > self._bytes_max:
            self._connection.abandon()
            self._passing.broke()

    def failed(self, failure: Failure) -> None:  # noqa: ARG002 - the write itself is told by the reply's status
        """Part of Receiver."""
        self._passing.broke()

    def writable(self, ready: bool) -> None:
        """Part of Receiver: a whole request waits in the transport."""


def passing_of(reply: Reply, comparison: Comparison | None) -> Passing | None:
    """What measures a truncated reply, if it is to be compared: an event stream is not, it has no end."""
    if comparison is None or is_event_stream(reply.head):
        return None
    return Passing(comparison.checksum, reply.framing, reply.body)
