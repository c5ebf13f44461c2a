"""Where every request comes in: loop guard, plan, limits; then a relay or a write.

Law: it decides by values only (`rules.route.plan`), in one look at one policy.
"""

from collections.abc import Callable

from proxy.flow.baseline import Baseline
from proxy.flow.relay import Relay
from proxy.flow.rooms import Rooms
from proxy.flow.tunnel import Asking
from proxy.flow.write import GAPS, Write
from proxy.wire.downstream import Downstream
from proxy.wire.sink import Sink
from rules.forwarded import Forwarding, forwarded
from rules.framing import Refusal, RequestHead, with_line
from rules.message import Framing
from rules.outbound import VIA
from rules.route import Plan, Policy, Skip, plan
from rules.stage import DUTIES, Mirror
from rules.trace import FLAGS, NUMBER_BITS, traced
from rules.upgrade import forwarded_once_more

_NONE, _JOURNAL = Mirror.NONE, Mirror.JOURNAL
_CHUNKED = Framing.CHUNKED
_FOR_US = frozenset(
    ("CONNECT", "OPTIONS", "TRACE")
)  # methods that say something to whoever passes them on


class Door:
    """Called with every request head. `policy` is read once per request; `chance` gives random bits."""

    def __init__(
        self,
        rooms: Rooms,
        policy: Callable[[], Policy],
        chance: Callable[[int], int],
        baseline: Baseline | None = None,
    ) -> None:
        self._baseline = baseline
        self._rooms = rooms
        self._policy = policy
        self._chance = chance
        self._flags = FLAGS[rooms.listen.trace]
        self._forwarding = rooms.listen.forwarded
        self._forwards = self._forwarding is not Forwarding.PRESERVE
        self._instance = rooms.hop.split()[-1]  # others may have added theirs to the line

    def __call__(self, client: Downstream, head: RequestHead) -> Sink | Refusal:
        rooms = self._rooms
        sent = self._announced(client, head)
        if head.noted and self._instance in sent:
            return Refusal(508, "this request has been through this sidecar already")
        if head.method in _FOR_US:
            passed = self._passed(head.method, sent)
            if isinstance(passed, Refusal):
                return passed
            client.sent_head = sent = passed
        policy = self._policy()
        chosen = plan(head, policy)
        way = rooms.exits[chosen.primary]
        if way.maps and not way.knows(sent):
            return Refusal(403, "the primary has no credential for this one; nothing was sent")
        barred = self._barred(head, chosen)
        if barred is None and chosen.mirror is not _NONE:
            return Write(client, head, chosen, policy, rooms)
        if isinstance(barred, Refusal):
            return barred
        if barred is None:
            rooms.tally.relayed += 1
        elif not self._may_stream(chosen, barred, head):
            write = Write(client, head, chosen, policy, rooms)
            write.gap = barred
            return write
        return self._relay(client, head, chosen, way.head(sent))

    def _may_stream(self, chosen: Plan, reason: Skip, head: RequestHead) -> bool:
        """Count a write that goes to the primary only; False: it begins a gap, which is to be on disk before."""
        rooms, route = self._rooms, chosen.route
        if rooms.unknown.lanes and reason is not Skip.ROUTE:
            rooms.unknown.passed(route.entity or route.name, route.name)
        if reason in GAPS and DUTIES[chosen.stage].mirror is _JOURNAL:
            category = chosen.category.name
            if not rooms.gaps.is_open(category, reason):
                if head.length <= rooms.at_once and head.framing is not _CHUNKED:
                    return False
                # A long body streams: a disk that takes nothing could not keep it until the gap has begun.
                rooms.fibers.start(rooms.gaps.begin(category, reason))
            rooms.gaps.note(category, reason)
        rooms.tally.skip(reason)
        return True

    def _relay(self, client: Downstream, head: RequestHead, chosen: Plan, sent: bytes) -> Relay:
        rooms = self._rooms
        if self._baseline is not None:
            self._baseline.offer(chosen, head, sent)
        if head.asks:
            sent = with_line(sent, head.asks)
        relay = Relay(client, rooms.pools[chosen.primary], head, sent, rooms.fibers)
        if head.tunnel:
            idle_s = rooms.listen.tunnel_idle_timeout_ms / 1000
            relay.receiver = Asking(client, rooms.tally, idle_s, head.asks)
        return relay

    def _passed(self, method: str, sent: bytes) -> bytes | Refusal:
        """The head of a method that says something to whoever passes it on."""
        if method == "TRACE":  # RFC 9110 9.3.8; its reply shows the head that a side got
            return Refusal(405, "TRACE is not passed on: it would show what only a side may see")
        if method == "CONNECT":
            no = Refusal(501, "CONNECT is not passed on: listen.connect is false")
            return sent if self._rooms.listen.connect else no
        return forwarded_once_more(sent) or Refusal(204, "Max-Forwards is 0")

    def _announced(self, client: Downstream, head: RequestHead) -> bytes:
        """The head with what both sides and every replay get beside the client's bytes: put on once, and
        journaled. The client's connection remembers it."""
        sent = head.head
        if self._forwards:
            client.peer = client.peer or _peer(client)
            sent = forwarded(sent, head.host, client.peer, self._forwarding)
        number = self._chance(NUMBER_BITS)
        sent = traced(sent, VIA[head.minor], number, self._flags, noted=head.noted)
        client.sent_head = sent
        return sent

    def _barred(self, head: RequestHead, chosen: Plan) -> Refusal | Skip | None:
        """Why a write is not mirrored, before any of it was sent anywhere; None: it is, or it is a read."""
        if chosen.mirror is _NONE:
            return chosen.skip
        rooms = self._rooms
        tally = rooms.tally
        if head.length > rooms.listen.body_bytes_max:
            return Refusal(413, f"the body is longer than {rooms.listen.body_bytes_max} bytes")
        if tally.in_flight >= rooms.listen.in_flight_max:
            return Refusal(503, "too many writes in flight")
        if chosen.mirror is _JOURNAL and (rooms.capacity.hinders or rooms.capacity.at_limit()):
            return rooms.capacity.barred()
        return None


def _peer(client: Downstream) -> tuple[str, str]:
    """The client's address, "" for one behind a Unix domain socket, and how it spoke to us."""
    address = client.transport.get_extra_info("peername")
    scheme = "https" if client.transport.get_extra_info("sslcontext") else "http"
    return address[0].partition("%")[0] if isinstance(address, tuple) else "", scheme
