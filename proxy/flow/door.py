"""Where every request comes in: loop guard, plan, limits; then a relay or a write.

Law: it decides by values only (`rules.route.plan`), in one look at one policy.
"""

from collections.abc import Callable

from proxy.flow.relay import Relay
from proxy.flow.write import Rooms, Write
from proxy.wire.downstream import Downstream, Sink
from rules.framing import Refusal, RequestHead, with_line
from rules.route import Plan, Policy, plan
from rules.stage import Mirror


class Door:
    """Called with every request head. `policy` is read once per request."""

    def __init__(self, rooms: Rooms, policy: Callable[[], Policy]) -> None:
        self._rooms = rooms
        self._policy = policy
        self._instance = rooms.hop.split()[-1]  # by its value: proxies rewrite the case of names

    def __call__(self, client: Downstream, head: RequestHead) -> Sink | Refusal:
        rooms = self._rooms
        if self._instance in head.head:
            return Refusal(508, "this request has been through this sidecar already")
        policy = self._policy()
        chosen = plan(head, policy)
        if chosen.mirror is not Mirror.NONE:
            return self._limit(head, chosen) or Write(client, head, chosen, policy, rooms)
        if chosen.skip is not None:
            rooms.tally.skip(chosen.skip)
        else:
            rooms.tally.relayed += 1
        sent = with_line(head.head, rooms.hop)
        return Relay(client, rooms.pools[chosen.primary], head, sent, rooms.fibers)

    def _limit(self, head: RequestHead, chosen: Plan) -> Refusal | None:
        """Why a write cannot be taken now, before any of it was sent anywhere."""
        rooms = self._rooms
        tally, settings = rooms.tally, rooms.journal_settings
        if head.length > rooms.listen.body_bytes_max:
            return Refusal(413, f"the body is longer than {rooms.listen.body_bytes_max} bytes")
        if tally.in_flight >= rooms.listen.in_flight_max:
            return Refusal(503, "too many writes in flight")
        if chosen.mirror is Mirror.JOURNAL and (
            len(rooms.delivery) >= settings.backlog_rows_max
            or tally.backlog_bytes >= settings.backlog_bytes_max
        ):
            return Refusal(503, "the backlog is at its limit; nothing was sent")
        return None
