"""A request that asks for a tunnel: by Upgrade (RFC 9110 7.8), as WebSocket does, or by CONNECT (9.3.6).

Law: the primary alone decides. If it agrees, bytes pass both ways and nobody looks at them; a switch to
what was not asked for is none, and any other reply is a reply. The secondary never hears of it: what a
tunnel carries cannot be mirrored.
"""

from proxy.control.tally import Tally
from proxy.flow.relay import Streamed
from proxy.wire.downstream import Downstream
from proxy.wire.tunnel import open_tunnel
from rules.framing import ReplyHead
from rules.message import Cause, Failure
from rules.upgrade import is_asked_for


class Asking(Streamed):
    """The Receiver of such a request."""

    __slots__ = ("_asks", "_idle_s", "_tally")

    def __init__(self, client: Downstream, tally: Tally, idle_s: float, asks: bytes) -> None:
        """`asks`: the field lines that ask for it; those of a CONNECT do not matter."""
        super().__init__(client, None, begun=False)
        self._asks = asks
        self._idle_s = idle_s
        self._tally = tally

    def agreed(self, head: ReplyHead, data: bytes) -> None:
        """Part of Asker."""
        assert self.connection is not None
        if head.status == 101 and not is_asked_for(self._asks, head.head):
            self.connection.abandon()
            detail = "it switched to a protocol that nobody asked for"
            self.failed(Failure(cause=Cause.BROKEN_REPLY, sent=True, detail=detail))
            return
        self._tally.tunnels += 1
        open_tunnel(self._client, self.connection, head.head, data, self._idle_s)
