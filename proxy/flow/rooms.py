"""What the foreground works with: every room that a write goes through."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.control.log import Log
from proxy.control.owed import Journal as JournalSettings
from proxy.control.ports import Listen
from proxy.control.tally import Tally
from proxy.fiber import Fibers
from proxy.flow.capacity import Capacity
from proxy.flow.delivery import Delivery
from proxy.flow.exit import Exit
from proxy.flow.gaps import Gaps
from proxy.flow.guard import Guard
from proxy.flow.shadow import Shadow
from proxy.flow.turnstile import Turnstile
from proxy.flow.unknown import Unknown
from proxy.store.journal import Journal
from proxy.wire.body import Memory
from proxy.wire.pool import Pool
from rules.message import Side

SHADOWED_PLACES = 16
"""So many such bodies at once: 64 MiB; further ones are spooled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What the foreground works with. `hop` is the loop guard's line."""

    listen: Listen
    journal: Journal
    capacity: Capacity
    gaps: Gaps
    journal_settings: JournalSettings
    delivery: Delivery
    guard: Guard
    shadow: Shadow
    turnstile: Turnstile
    unknown: Unknown
    pools: dict[Side, Pool]
    exits: Mapping[Side, Exit]
    tally: Tally
    fibers: Fibers
    log: Log
    hop: bytes
    memory: Memory = field(default_factory=lambda: Memory(SHADOWED_PLACES))
    at_once: int = field(init=False)
    """The longest body that needs no spool."""

    def __post_init__(self) -> None:
        at_once = min(self.listen.spool_memory_bytes_max, self.listen.body_bytes_max)
        object.__setattr__(self, "at_once", at_once)
