"""From a verdict to the ledger: counted always, kept when the replies do not agree, redacted before it leaves.

Law: a ledger that is full or broken costs evidence, never a write; so does a defect in here.
"""

from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from proxy.control.log import Log
from proxy.control.tally import Tally
from proxy.fiber import Fibers
from proxy.flow.secondary import Job, Tried
from proxy.store.ledger import PENDING_MAX, Ledger, Sample
from rules.compare import Verdict, VerdictKind
from rules.difference import Difference
from rules.evidence import Kept, evidence
from rules.framing import field
from rules.message import OTHER, Failure
from rules.redact import Redaction, redact_paths

APART_BYTES_MIN = 4096
"""Messages that are longer together are redacted in a thread: some 0.35 ms for each KiB of JSON."""

APART_MAX = 32
"""So many may wait for that thread, each with its bodies; beyond it evidence is dropped, and counted."""

_AGREE = frozenset((VerdictKind.MATCH, VerdictKind.IGNORED))


class Evidence:
    """Takes what came of each try."""

    def __init__(
        self, ledger: Ledger | None, redaction: Redaction, tally: Tally, fibers: Fibers, log: Log
    ) -> None:
        self._ledger = ledger
        self._redaction = redaction
        self._tally = tally
        self._fibers = fibers
        self._log = log
        self._told: set[type[Exception]] = set()
        self._apart = 0
        self._thread = ThreadPoolExecutor(1, "evidence")

    @property
    def fails(self) -> bool:
        """Whether what is compared leaves no trace now."""
        return self._ledger is None or self._ledger.writer.failing

    def record(self, intent: int | None, job: Job, tried: Tried, category: str) -> None:
        """Count and keep a verdict; a try without one leaves no trace here. Long messages are kept later."""
        verdict = tried.verdict
        if verdict is None:
            return
        self._tally.verdicts[verdict.kind] += 1
        ledger = self._ledger
        if ledger is None:
            self._tally.ledger_dropped += 1
            return
        route = job.route.name
        ledger.count(route, category, verdict)
        if verdict.ignored:
            ledger.used(route, verdict.ignored)
        if verdict.kind not in _AGREE:
            self._start(self._differing(ledger, intent, job, tried, category))

    def not_compared(self, route: str, category: str, verdict: Verdict) -> None:
        """A write that was not sent, so that there is nothing to compare: counted."""
        self._tally.verdicts[verdict.kind] += 1
        if self._ledger is not None:
            self._ledger.count(route, category, verdict)

    def baseline(self, job: Job, tried: Tried) -> None:
        """Two replies of the primary to the same read: where they differ is noise."""
        if self._ledger is not None:
            self._start(self._noisy(self._ledger, job, tried))

    def event(self, event: str, **details: str) -> None:
        """Something that an operator will want to find later."""
        if self._ledger is not None:
            self._ledger.event(event, details)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._fibers.start(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Whatever fails in here is logged, once of its kind, and counted."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the law
            self._tally.ledger_dropped += 1
            if type(error) not in self._told:
                self._told.add(type(error))
                self._log.failure("evidence_failed", error)

    async def _differing(
        self, ledger: Ledger, intent: int | None, job: Job, tried: Tried, category: str
    ) -> None:
        """Add it to its groups, and keep a sample where one is wanted."""
        verdict, route = tried.verdict, job.route.name
        assert verdict is not None
        found = await self._shown(ledger, job, tried)
        if found is None:
            return
        shown, kept = found
        wanted = ledger.group(route, category, shown)
        if len(ledger.writer) > PENDING_MAX:
            self._tally.ledger_dropped += 1
        elif wanted or ledger.takes(verdict.kind):
            kept = kept or await self._redacted(job, tried)
            if kept is not None:
                ledger.keep(_sample(intent, job, verdict, category, kept), wanted)

    async def _noisy(self, ledger: Ledger, job: Job, tried: Tried) -> None:
        found = await self._shown(ledger, job, tried)
        if found is not None:
            ledger.baseline(job.route.name, found[0])

    async def _shown(
        self, ledger: Ledger, job: Job, tried: Tried
    ) -> tuple[tuple[Difference, ...], Kept | None] | None:
        """The differences as groups may show them, and what was redacted for it; None when that was dropped."""
        assert tried.verdict is not None
        shown = redact_paths(tried.verdict.differences, self._redaction)
        if ledger.knows(job.route.name, shown):
            return shown, None
        # A path may repeat what is hidden by its name elsewhere: it is redacted with its message.
        kept = await self._redacted(job, tried)
        return None if kept is None else (kept.differences, kept)

    async def _redacted(self, job: Job, tried: Tried) -> Kept | None:
        """What may be kept; None, and counted, when too many wait for their turn."""
        if not _is_long(job, tried):
            return _kept(job, tried, self._redaction)
        if self._apart >= APART_MAX:
            self._tally.ledger_dropped += 1
            return None
        self._apart += 1
        try:
            return await self._fibers.loop.run_in_executor(
                self._thread, _kept, job, tried, self._redaction
            )
        finally:
            self._apart -= 1


def _is_long(job: Job, tried: Tried) -> bool:
    """Whether redaction may take long: what is compressed may be long once it is decoded."""
    outcome = () if isinstance(tried.outcome, Failure) else (tried.outcome,)
    messages = (job.request, job.reply, *outcome)
    body_bytes = 0 if job.request.spool else job.request.body_bytes  # of a file nothing is kept
    body_bytes += sum(len(each.body) for each in messages[1:])
    if sum(len(each.head) for each in messages) + body_bytes > APART_BYTES_MIN:
        return True
    return any(field(each.head, "content-encoding") for each in messages)


def _kept(job: Job, tried: Tried, redaction: Redaction) -> Kept:
    assert tried.verdict is not None
    primary, secondary = (job.primary, job.reply), (OTHER[job.primary], tried.outcome)
    return evidence(job.request, primary, secondary, tried.verdict.differences, redaction)


def _sample(intent: int | None, job: Job, verdict: Verdict, category: str, kept: Kept) -> Sample:
    return Sample(
        intent=intent,
        route=job.route.name,
        category=category,
        method=job.request.method,
        target=kept.target,
        verdict=verdict,
        differences=kept.differences,
        evidence=kept.document,
    )
