"""From a verdict to the ledger: counted always, kept when the replies do not agree, redacted before it leaves.

Law: a ledger that is full or broken costs evidence, never a write.
"""

from proxy.control.tally import Tally
from proxy.flow.secondary import Job, Tried
from proxy.store.ledger import Ledger, Sample
from rules.compare import Verdict, VerdictKind
from rules.evidence import evidence
from rules.redact import Redaction, redact_paths

PENDING_MAX = 10_000
"""Operations that may wait for the ledger's disk; beyond it evidence is dropped, and counted."""


_AGREE = frozenset((VerdictKind.MATCH, VerdictKind.IGNORED))


class Evidence:
    """Takes what came of each try."""

    def __init__(self, ledger: Ledger | None, redaction: Redaction, tally: Tally) -> None:
        self._ledger = ledger
        self._redaction = redaction
        self._tally = tally

    def record(self, intent: int | None, job: Job, tried: Tried, category: str) -> None:
        """Count and keep a verdict; a try without one leaves no trace here."""
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
        if verdict.kind in _AGREE:
            return
        shown = redact_paths(verdict.differences, self._redaction)
        wanted = ledger.group(route, category, shown)
        if len(ledger.writer) > PENDING_MAX:
            self._tally.ledger_dropped += 1
        elif wanted or ledger.takes(verdict.kind):
            ledger.keep(self._sample(intent, job, tried, category), wanted)

    def not_compared(self, route: str, category: str, verdict: Verdict) -> None:
        """A write that was not sent, so that there is nothing to compare: counted."""
        self._tally.verdicts[verdict.kind] += 1
        if self._ledger is not None:
            self._ledger.count(route, category, verdict)

    def baseline(self, route: str, verdict: Verdict) -> None:
        """Two replies of the primary to the same read: where they differ is noise."""
        if self._ledger is not None:
            shown = redact_paths(verdict.differences, self._redaction)
            self._ledger.baseline(route, shown)

    def event(self, event: str, **details: str) -> None:
        """Something that an operator will want to find later."""
        if self._ledger is not None:
            self._ledger.event(event, details)

    def _sample(self, intent: int | None, job: Job, tried: Tried, category: str) -> Sample:
        redaction, request = self._redaction, job.request
        assert tried.verdict is not None
        primary = (job.primary, job.reply)
        secondary = (job.primary.other, tried.outcome)
        kept = evidence(request, primary, secondary, tried.verdict.differences, redaction)
        return Sample(
            intent=intent,
            route=job.route.name,
            category=category,
            method=request.method,
            target=kept.target,
            verdict=tried.verdict,
            differences=kept.differences,
            evidence=kept.document,
        )
