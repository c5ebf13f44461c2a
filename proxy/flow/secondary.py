"""One try at the secondary: translate, send, judge. Used for what is owed and for what is only shadowed.

Law: it decides nothing and changes no state; what it found out is one `Tried` value.
"""

from collections.abc import Mapping

from msgspec import Struct

from proxy.control.tally import Tally
from proxy.flow.identities import Identities
from proxy.wire.body import in_memory
from proxy.wire.pool import Pool
from rules.compare import Answer, Verdict, compare
from rules.framing import field, joined, with_line
from rules.identity import (
    Key,
    Pair,
    harvest,
    payload_of,
    rebuilt,
    translate,
    wanted,
)
from rules.message import Failure, Outcome, Reply, Request, Role, Side
from rules.route import Route, captures, reads_body
from rules.source import Parts

IDEMPOTENCY_KEY = "Idempotency-Key"
"""draft-ietf-httpapi-idempotency-key-header: passed on; where it is absent one is minted."""

READ_HEADERS = ("content-type", "content-encoding")
"""What the comparison needs to read a body, beside the headers that it compares."""

REPLY_BYTES_MAX = 65536
"""What is kept of a reply that is not compared: enough for a dead letter's last word."""


class Job(Struct, frozen=True, kw_only=True, gc=False):
    """A write for the secondary. `key` is the Idempotency-Key to mint: the same at every try."""

    route: Route
    primary: Side
    request: Request
    reply: Reply
    key: str


class Prepared(Struct, frozen=True, gc=False):
    """A request as the secondary must see it, and the identities that were put in."""

    request: Request
    found: Mapping[Key, str]


class Missing(Struct, frozen=True, gc=False):
    """The identity without which the request cannot be sent."""

    key: Key


class Tried(Struct, frozen=True, kw_only=True, gc=False):
    """What came of a try. `verdict` is None when there is nothing to compare."""

    request: Request
    outcome: Outcome
    verdict: Verdict | None = None
    pairs: tuple[Pair, ...] = ()


class Secondary:
    """Sends to whichever side is secondary for the job."""

    def __init__(
        self, pools: dict[Side, Pool], identities: Identities, tally: Tally, hop: bytes
    ) -> None:
        self._pools = pools
        self._identities = identities
        self._tally = tally
        self._hop = hop

    async def prepare(self, job: Job) -> Prepared | Missing:
        """Translate the request for the secondary."""
        route, request = job.route, job.request
        if not route.translations:
            return Prepared(request, {})
        if reads_body(route):
            request = in_memory(request)
        parts = Parts(
            target=request.target,
            head=request.head,
            payload=payload_of(request),
            captures=captures(route, request.target),
        )
        keys = wanted(route.translations, parts)
        found = await self._identities.find(job.primary, keys)
        for key in keys:
            if key not in found:
                return Missing(key)
        return Prepared(rebuilt(request, translate(route.translations, parts, found)), found)

    async def send(self, job: Job, prepared: Prepared) -> Tried:
        """Send a prepared request, and judge the two replies."""
        request, comparison = prepared.request, job.route.comparison
        limit = REPLY_BYTES_MAX if comparison is None else comparison.body_bytes_max
        head = with_line(request.head, self._hop)
        if field(head, IDEMPOTENCY_KEY) is None:
            head = with_line(head, f"{IDEMPOTENCY_KEY}: {job.key}".encode())
        outcome = await self._pools[job.primary.other].send(request, head, limit)
        self._tally.outcome(Role.SECONDARY, word(outcome), outcome.latency_s)
        if isinstance(outcome, Failure):
            return Tried(request=request, outcome=outcome)
        pairs = harvest(job.route.harvests, job.reply, outcome)
        await self._identities.recall(pairs, job.primary)
        return Tried(
            request=request,
            outcome=outcome,
            pairs=pairs,
            verdict=judge(job, outcome, pairs, prepared.found),
        )


def judge(
    job: Job, outcome: Reply, pairs: tuple[Pair, ...], found: Mapping[Key, str]
) -> Verdict | None:
    """The verdict on the two replies; identities that are pairs count as equal."""
    if job.route.comparison is None:
        return None
    same = {(pair.primary, pair.secondary) for pair in pairs}
    same.update((key[1], value) for key, value in found.items())
    comparison = job.route.comparison
    names = (*READ_HEADERS, *comparison.headers)
    return compare(answer(job.reply, names), answer(outcome, names), comparison, frozenset(same))


def answer(reply: Reply, names: tuple[str, ...]) -> Answer:
    """A reply as the comparison sees it: of its headers these only."""
    return Answer(
        status=reply.status,
        headers=joined(reply.head, names),
        body=payload_of(reply),
        truncated=reply.truncated,
    )


def word(outcome: Outcome) -> str:
    """The metric label of an outcome: the status class, or the cause."""
    return str(outcome.cause) if isinstance(outcome, Failure) else f"{outcome.status // 100}xx"
