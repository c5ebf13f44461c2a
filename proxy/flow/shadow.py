"""Shadowed writes: sent to the secondary after the primary applied them, compared, never owed.

Law: bounded in number; one too many, an open breaker or a missing identity is a verdict, not a wait.
"""

from collections.abc import Awaitable, Coroutine
from typing import Any

from proxy.flow.delivery import Delivery, Rooms
from proxy.flow.secondary import Job, Prepared
from proxy.store.batch import StoreError
from proxy.wire.body import discard
from rules.checksum import Whole
from rules.compare import Verdict, VerdictKind
from rules.message import Reply, Request
from rules.route import Plan

_SKIPPED = Verdict(kind=VerdictKind.SKIPPED, reason="not_sent")
_UNTRANSLATABLE = Verdict(kind=VerdictKind.NOT_COMPARABLE, reason="not_sent")


class Shadow:
    """What happens to a write at stage `shadow`."""

    def __init__(self, rooms: Rooms, delivery: Delivery, pending_max: int) -> None:
        self._delivery = delivery
        self._rooms = rooms
        self._pending = 0
        self._pending_max = pending_max
        self._sent = 0
        self._key = f"twinwrite-shadow-{rooms.journal.id}-{rooms.journal.now():.6f}"

    def write(
        self,
        plan: Plan,
        request: Request,
        reply: Reply,
        passing: Awaitable[Whole | None] | None = None,
        *,
        may_be_keyed: bool = True,
    ) -> Coroutine[Any, None, None] | None:
        """Take a write that the primary applied: what is to be run for it. Its spool file is removed at the end.

        `passing`: what the reply will have been, where it is truncated. `may_be_keyed` as in Job.
        """
        category = plan.category.name
        if self._pending >= self._pending_max or not self._rooms.guard.admit(category):
            self._rooms.evidence.not_compared(plan.route.name, category, _SKIPPED)
            discard(request)
            return None
        self._pending += 1
        self._sent += 1
        key = f"{self._key}-{self._sent}"
        job = Job(
            route=plan.route, primary=plan.primary, request=request, reply=reply, key=key,
            may_be_keyed=may_be_keyed, passing=passing,
        )  # fmt: skip
        return self._run(job, category)

    async def _run(self, job: Job, category: str) -> None:
        rooms = self._rooms
        leased = True
        try:
            prepared = rooms.secondary.ready(job) or await rooms.secondary.prepare(job)
            if not isinstance(prepared, Prepared):
                rooms.evidence.not_compared(job.route.name, category, _UNTRANSLATABLE)
                return
            tried = await rooms.secondary.send(job, prepared)
            leased = False
            rooms.guard.record(category, tried.outcome, job.reply.latency_s)
            if tried.pairs:
                self._delivery.learn(tried.pairs, job.primary)
            if tried.open:
                tried = await rooms.secondary.complete(job, prepared, tried)
            rooms.evidence.record(None, job, tried, category)
        except (StoreError, OSError):  # an identity, or its spool file, cannot be read
            rooms.tally.journal_errors += 1
            rooms.evidence.not_compared(job.route.name, category, _UNTRANSLATABLE)
        finally:
            if leased:
                rooms.guard.release(category)
            self._pending -= 1
            if job.request.spool:
                discard(job.request)
