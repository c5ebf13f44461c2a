"""Five bugs, each put in by a class of the product that is a little wrong. The laws must find every one."""

from typing import Any

from msgpack import unpackb

from proxy.flow.delivery import Delivery
from proxy.flow.guard import Guard
from proxy.flow.secondary import Job
from proxy.store.batch import After, Told
from proxy.store.intent import Intent
from proxy.store.record import SETTLED
from proxy.store.writer import Writer
from rules.message import Outcome, Reply, Request
from tests.simulation.world import Life, Plant


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
        life = getattr(self._rooms.journal, "life").number
        key = f"{job.key}-{life}"
        return Job(
            route=job.route, primary=job.primary, request=job.request, reply=job.reply, key=key
        )


class Asleep:
    """Lanes that tell nobody when somebody leaves from several of them at once."""

    def __init__(self, lanes: Any) -> None:
        self._lanes = lanes

    def leave(self, ticket: Any, names: tuple[str, ...]) -> list[Any]:
        freed: list[Any] = self._lanes.leave(ticket, names)
        return freed[:1] if len(names) > 1 else freed

    def __len__(self) -> int:
        return len(self._lanes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lanes, name)


def _asleep(life: Life) -> None:
    life.delivery._lanes = Asleep(life.delivery._lanes)  # type: ignore[assignment]


PLANTS = (
    Plant(name="settle before commit", writer=Hasty),
    Plant(name="lane overtake", delivery=Overtaken),
    Plant(name="lease leak", guard=Leaking),
    Plant(name="double send on restart", delivery=Forgetful),
    Plant(name="lost wake-up", built=_asleep),
)
