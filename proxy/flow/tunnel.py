"""A request that asks for a tunnel: by Upgrade (RFC 9110 7.8), as WebSocket does, or by CONNECT (9.3.6).

Law: the primary alone decides. If it agrees, bytes pass both ways and nobody looks at them; any other
reply is a reply. The secondary never hears of it: what a tunnel carries cannot be mirrored.
"""

from proxy.control.tally import Tally
from proxy.flow.relay import Streamed
from proxy.wire.downstream import Downstream
from proxy.wire.tunnel import open_tunnel
from rules.framing import ReplyHead


class Asking(Streamed):
    """The Receiver of such a request."""

    __slots__ = ("_idle_s", "_tally")

    def __init__(self, client: Downstream, tally: Tally, idle_s: float) -> None:
        super().__init__(client, None, begun=False)
        self._idle_s = idle_s
        self._tally = tally

    def agreed(self, head: ReplyHead, data: bytes) -> None:
        """Part of Asker."""
        assert self.connection is not None
        self._tally.tunnels += 1
        open_tunnel(self._client, self.connection, head.head, data, self._idle_s)
