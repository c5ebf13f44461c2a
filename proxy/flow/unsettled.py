"""One write that the primary may have applied, and what it takes to settle it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.control.log import Log
from proxy.control.tally import Tally
from proxy.fiber import Fibers
from proxy.flow.delivery import Delivery
from proxy.flow.exit import Exit
from proxy.flow.repeats import Claim
from proxy.flow.turnstile import Turnstile
from proxy.store.intent import Intent
from proxy.store.journal import Journal
from proxy.wire.pool import Pool
from rules.message import Side
from rules.route import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What settling works with. `hindered`: why an intent must not be sent under this config; "" if it may be.
    `journaled`: whether every write of its route goes through the journal now: else a later one could pass unseen.
    """

    journal: Journal
    delivery: Delivery
    turnstile: Turnstile
    pools: Mapping[Side, Pool]
    exits: Mapping[Side, Exit]
    tally: Tally
    fibers: Fibers
    log: Log
    route_of: Callable[[str], Route]
    hindered: Callable[[Intent], str]
    journaled: Callable[[Intent], bool]


@dataclass(slots=True, eq=False)
class Unsettled:
    """One unknown intent. `reached`: answers that settled nothing; `sent_at`: when the primary last got it.
    `asked`: the primary is asked about it at this moment."""

    intent: Intent
    sent_at: float
    claim: Claim | None = None
    asked: bool = False
    tries: int = 0
    reached: int = 0


class Overtaken(Exception):
    """A later write of its lanes has begun."""


class Asked(Exception):
    """The primary is asked about it at this moment: what a person knew may not be so any more."""
