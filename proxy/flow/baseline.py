"""The primary against itself: a sample of its reads is asked twice more, behind the path, and what differs is noise.

Law: reads without a body only (GET, HEAD); bounded in number; no client waits, and nothing here fails one.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from proxy.fiber import Fibers
from proxy.flow.evidence import Evidence
from proxy.flow.secondary import Job, Tried
from proxy.wire.pool import Pool
from rules.compare import Comparison, Verdict, VerdictKind, answers, compare
from rules.framing import RequestHead
from rules.message import Framing, Reply, Request, Side
from rules.route import Plan
from rules.same import NONE

PENDING_MAX = 4
"""Reads at once; what comes meanwhile is not in the sample. Each takes one connection of the primary's."""

METHODS = frozenset(("GET", "HEAD"))
"""Safe, and without a meaning of their own for proxies (RFC 9110 9.2.1)."""

_TOLD = frozenset((VerdictKind.MATCH, VerdictKind.IGNORED, VerdictKind.MISMATCH))


class Baseline:
    """Is told of every read that is relayed. `percent`: so many of a hundred are asked again; `chance` gives 0 to 1."""

    def __init__(
        self,
        pools: Mapping[Side, Pool],
        evidence: Evidence,
        fibers: Fibers,
        percent: float,
        chance: Callable[[], float],
    ) -> None:
        self._pools = pools
        self._evidence = evidence
        self._fibers = fibers
        self._share = percent / 100
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._pending = 0

    def offer(self, plan: Plan, head: RequestHead, sent: bytes) -> None:
        """A request that is relayed to the primary under the head `sent`: one that counts as a write is let be."""
        comparison = plan.route.comparison
        if (
            head.method in METHODS
            and head.framing is Framing.NONE
            and not (plan.write or head.asks or head.tunnel)
            and comparison is not None
            and self._pending < PENDING_MAX
            and self._chance() < self._share
        ):
            request = Request(
                method=head.method, target=head.target, head=head.head, body=b"", body_bytes=0
            )
            self._pending += 1
            self._fibers.start(self._run(plan, comparison, request, sent))

    async def _run(self, plan: Plan, comparison: Comparison, request: Request, sent: bytes) -> None:
        try:
            pool, limit = self._pools[plan.primary], comparison.body_bytes_max
            first = await pool.ask(request, sent, limit)
            second = await pool.ask(request, sent, limit) if _is_good(first) else first
            if isinstance(first, Reply) and isinstance(second, Reply) and _is_good(second):
                work = partial(_judged, first, second, comparison)
                verdict = await self._loop.run_in_executor(None, work)
                if verdict.kind in _TOLD:
                    job = Job(
                        route=plan.route, primary=plan.primary, request=request, reply=first, key=""
                    )
                    tried = Tried(request=request, outcome=second, verdict=verdict)
                    self._evidence.baseline(job, tried)
        finally:
            self._pending -= 1


def _is_good(outcome: object) -> bool:
    """A reply that tells something: what was refused, moved or not found is no baseline."""
    return isinstance(outcome, Reply) and 200 <= outcome.status < 300


def _judged(first: Reply, second: Reply, comparison: Comparison) -> Verdict:
    ours, theirs = answers(first, second, comparison)
    return compare(ours, theirs, comparison, NONE)
