"""Five bugs, each put in by a class of the product that is a little wrong. The laws must find every one."""

from typing import cast

from msgpack import unpackb

from proxy.flow.delivery import Delivery
from proxy.flow.guard import Guard
from proxy.flow.lanes import Lanes
from proxy.flow.secondary import Job
from proxy.store.batch import After, Told
from proxy.store.intent import Intent
from proxy.store.record import SETTLED
from proxy.store.writer import Writer
from rules.message import Outcome, Reply, Request
from tests.simulation.seen import Watched
from tests.simulation.world import Plant


class Hasty(Writer):
    """Says that the primary's outcome is durable before it is: clients are answered before the commit."""

    def log(self, record: bytes, after: After = None) -> Told:
        told = super().log(record, after)
        if unpackb(record, use_list=False)[0] == SETTLED:
            told.resolve(None)
        return told


class Overtaken(Delivery):
    """Sends a write of several lanes when it is first in one of them."""

    def reserve(self, intent: Intent) -> None:
        if len(intent.lanes) > 1:
            intent.lanes = intent.lanes[:1]
        super().reserve(intent)


class Leaking(Guard):
    """Never hears of calls that failed: the lease of a probe that did does not come back."""

    def record(self, category: str, outcome: Outcome, primary_latency_s: float) -> None:
        probing = self.hold(category) == "breaker_half_open"
        if not (probing and not (isinstance(outcome, Reply) and outcome.status < 500)):
            super().record(category, outcome, primary_latency_s)


class Forgetful(Delivery):
    """Mints another Idempotency-Key after a restart."""

    def _job(self, intent: Intent, request: Request, reply: Reply) -> Job:
        job = super()._job(intent, request, reply)
        journal = cast("Watched", self._rooms.journal)
        key = f"{job.key}-{journal.life}"
        return Job(
            route=job.route, primary=job.primary, request=job.request, reply=job.reply, key=key
        )


class Asleep(Lanes[Intent]):
    """Lanes that tell only one when somebody leaves from several of them at once."""

    def leave(self, ticket: Intent, lanes: tuple[str, ...]) -> list[Intent]:
        freed = super().leave(ticket, lanes)
        return freed[:1] if len(lanes) > 1 else freed


class Drowsy(Delivery):
    """Has such lanes."""

    def resume(self, intents: list[Intent]) -> None:
        self._lanes = Asleep()  # nothing is in them yet
        super().resume(intents)


PLANTS = (
    Plant(name="settle before commit", writer=Hasty),
    Plant(name="lane overtake", delivery=Overtaken),
    Plant(name="lease leak", guard=Leaking),
    Plant(name="double send on restart", delivery=Forgetful),
    Plant(name="lost wake-up", delivery=Drowsy),
)
