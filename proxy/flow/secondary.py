"""One try at the secondary: translate, send, judge. Used for what is owed and for what is only shadowed.

Law: it decides nothing and changes no state; what it found out is one `Tried` value.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import thread_time
from typing import TypeVar

from msgspec import Struct, structs

from proxy.control.tally import Tally
from proxy.flow.exit import Exit
from proxy.flow.identities import Identities
from proxy.flow.passing import Drain, Passing
from proxy.store.batch import StoreError
from proxy.wire.body import in_memory
from proxy.wire.pool import Exchange, Pool
from rules.checksum import Whole
from rules.coding import Unreadable
from rules.compare import Comparison, Verdict, VerdictKind, Wholes, agree, answers, compare
from rules.framing import field, with_line
from rules.identity import (
    Key,
    Pair,
    harvest,
    parts_of,
    rebuilt,
    same,
    translate,
    wanted,
)
from rules.message import OTHER, Failure, Outcome, Reply, Request, Role, Side
from rules.repeat import IDEMPOTENCY_KEY, KEY_LINE
from rules.route import Route, captures
from rules.source import Parts

Done = TypeVar("Done")

APART_BYTES_MIN = 16_384
"""Bodies beyond this are translated in a thread."""

UNEQUAL_BYTES_MIN = 4096
"""Two unequal bodies beyond this are parsed and compared there: as arrays of digits, 4 KiB take up to 6 ms."""

COSTLY_BYTES_MIN = 512
"""The same where rules may try elements two by two, or expressions."""

_NO_REPLY = Verdict(kind=VerdictKind.NOT_COMPARABLE, reason="no_primary_reply")
_DEFECT = Verdict(kind=VerdictKind.ERROR, reason="defect")
_SECONDARY = Role.SECONDARY
_NOTHING: Mapping[Key, str] = {}
_TOO_LARGE = "body_too_large"

REPLY_BYTES_MAX = 65536
"""What is kept of a reply that is not compared: enough for a dead letter's last word."""


class Job(Struct, frozen=True, kw_only=True, gc=False):
    """A write for the secondary. `key` is the Idempotency-Key to mint: the same at every try.

    `may_be_keyed`: False is sure that the request has none of the client's; else its head is looked into.
    `passing`: what the reply will have been, where it is truncated and still measured.
    """

    route: Route
    primary: Side
    request: Request
    reply: Reply
    key: str
    may_be_keyed: bool = True
    passing: Awaitable[Whole | None] | None = None


class Prepared(Struct, frozen=True, gc=False):
    """A request as the secondary must see it, and the identities that were put in."""

    request: Request
    found: Mapping[Key, str]


class Missing(Struct, frozen=True, gc=False):
    """The identity without which the request cannot be sent."""

    key: Key


class Untranslatable(Struct, frozen=True, gc=False):
    """What the request needs for the other side cannot be told: it must not be sent as it is."""

    reason: str


class Tried(Struct, frozen=True, kw_only=True, gc=False):
    """What came of a try. `verdict` is None when there is nothing to compare.

    `open`: it is not there yet; `Secondary.complete` waits for it. `passing`: the rest of the outcome's body.
    """

    request: Request
    outcome: Outcome
    verdict: Verdict | None = None
    pairs: tuple[Pair, ...] = ()
    open: bool = False
    passing: Passing | None = None


class _Deaf:
    """A Hearer, so that the rest of a long reply waits for who measures it."""

    def interim(self, status: int, head: bytes) -> None:
        """Nobody wants to know."""


_DEAF = _Deaf()


class Secondary:
    """Sends to whichever side is secondary for the job."""

    def __init__(
        self,
        pools: dict[Side, Pool],
        identities: Identities,
        tally: Tally,
        exits: Mapping[Side, Exit],
        pending_max: int = 1000,
    ) -> None:
        self._pools = pools
        self._exits = exits
        self._identities = identities
        self._tally = tally
        self._comparing = 0
        self._pending_max = pending_max
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "compare")

    def ready(self, job: Job) -> Prepared | None:
        """The request as it is, where nothing is to be put in; None: ask `prepare`."""
        if job.route.translations or self._exits[OTHER[job.primary]].maps:
            return None
        return Prepared(job.request, _NOTHING)

    async def prepare(self, job: Job) -> Prepared | Missing | Untranslatable:
        """Translate the request for the secondary. Raises OSError when its spool file cannot be read."""
        if not self._exits[OTHER[job.primary]].knows(job.request.head):
            return Untranslatable("credential_unknown")
        if not job.route.translations:
            return Prepared(job.request, {})
        try:
            if job.request.spool is None or not job.route.reads_body:
                return await self._translate(job, job.request, _parts(job.request, job.route))
            request = await self._apart(in_memory, job.request)
            parts = await self._apart(_parts, request, job.route)
            return await self._translate(job, request, parts)
        except Unreadable as error:
            return Untranslatable(str(error))

    async def _translate(self, job: Job, request: Request, parts: Parts) -> Prepared | Missing:
        translations = job.route.translations
        large = len(parts.payload) > APART_BYTES_MIN
        keys = (
            await self._apart(wanted, translations, parts) if large else wanted(translations, parts)
        )
        found = await self._identities.find(job.primary, keys)
        for key in keys:
            if key not in found:
                return Missing(key)
        if not large:
            return Prepared(rebuilt(request, translate(translations, parts, found)), found)
        changed = await self._apart(translate, translations, parts, found)
        return Prepared(await self._apart(rebuilt, request, changed), found)

    async def send(self, job: Job, prepared: Prepared) -> Tried:
        """Send a prepared request, and judge the two replies. Once it is sent, nothing here fails."""
        request, comparison = prepared.request, job.route.comparison
        limit = REPLY_BYTES_MAX if comparison is None else comparison.body_bytes_max
        head = self._exits[OTHER[job.primary]].head(request.head)
        if not (job.may_be_keyed and KEY_LINE in head.lower()):
            head = with_line(head, f"{IDEMPOTENCY_KEY}: {job.key}".encode())
        hearer = None if comparison is None else _DEAF
        exchange = self._pools[OTHER[job.primary]].ask(request, head, limit, hearer)
        outcome = await exchange
        self._tally.outcome(_SECONDARY, outcome)
        if isinstance(outcome, Failure):
            return Tried(request=request, outcome=outcome)
        passing = None
        if outcome.truncated and comparison is not None:
            passing = _drained(exchange, outcome, comparison)
        pairs = harvest(job.route.harvests, job.reply, outcome) if job.route.harvests else ()
        if pairs:
            with suppress(StoreError):  # then a contradiction is seen by the table, not counted
                await self._identities.recall(pairs, job.primary)
        verdict = None if comparison is None else agree(job.reply, outcome, comparison)
        if verdict is None:
            verdict = await self._judge(job, outcome, pairs, prepared.found)
            if verdict is not None and _is_open(job, outcome, verdict):
                return Tried(
                    request=request, outcome=outcome, pairs=pairs, open=True, passing=passing
                )
        if verdict is not None:
            self._tally.judged(job.route.name, job.route.category, verdict)
        return Tried(request=request, outcome=outcome, pairs=pairs, verdict=verdict)

    async def complete(self, job: Job, prepared: Prepared, tried: Tried) -> Tried:
        """An open try with its verdict: once what is too long to be kept has passed on both sides, however slowly
        the client takes its reply.
        """
        outcome, passing = tried.outcome, tried.passing
        assert isinstance(outcome, Reply)
        ours, theirs = None, None if passing is None else await passing
        if job.passing is not None and (passing is None or theirs is not None):
            ours = await job.passing
        verdict = await self._judge(job, outcome, tried.pairs, prepared.found, (ours, theirs))
        assert verdict is not None
        self._tally.judged(job.route.name, job.route.category, verdict)
        return structs.replace(tried, verdict=verdict, open=False, passing=None)

    async def _judge(
        self,
        job: Job,
        outcome: Reply,
        pairs: tuple[Pair, ...],
        found: Mapping[Key, str],
        wholes: Wholes = (None, None),
    ) -> Verdict | None:
        """Small bodies at once; larger ones in the one thread for it, or skipped when it is far behind.

        A comparison that fails is a defect of ours: it costs its verdict, never the write.
        """
        if job.route.comparison is None:
            return None
        apart = _takes_long(job.reply, outcome, costly=job.route.comparison.costly)
        if apart and self._comparing >= self._pending_max:
            return Verdict(kind=VerdictKind.SKIPPED, reason="pending_max")
        self._comparing += apart
        try:
            if apart:
                verdict, seconds = await self._apart(_timed, job, outcome, pairs, found, wholes)
            else:
                verdict, seconds = _timed(job, outcome, pairs, found, wholes)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told and counted
            context = {"message": "a comparison failed", "exception": error}
            self._loop.call_exception_handler(context)
            return _DEFECT
        finally:
            self._comparing -= apart
        self._tally.compared += 1
        self._tally.compare_seconds += seconds
        return verdict

    def close(self) -> None:
        """Give up what is still to be compared."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _apart(self, work: Callable[..., Done], *arguments: object) -> Done:
        """Run what takes long away from the loop."""
        return await self._loop.run_in_executor(self._thread, partial(work, *arguments))


def _takes_long(primary: Reply, secondary: Reply, *, costly: bool) -> bool:
    """Whether bodies are large, or may be once they are decoded; equal ones never are."""
    if primary.body == secondary.body:
        return False
    limit = COSTLY_BYTES_MIN if costly else UNEQUAL_BYTES_MIN
    if len(primary.body) + len(secondary.body) > limit:
        return True
    return any(field(reply.head, "content-encoding") for reply in (primary, secondary))


def _drained(exchange: Exchange, reply: Reply, comparison: Comparison) -> Passing:
    """What measures the rest of a long reply, which is read and dropped."""
    assert exchange.connection is not None
    passing = Passing(comparison.checksum, reply.framing, reply.body)
    exchange.pass_on(Drain(passing, exchange.connection), streamed=False)
    return passing


def _is_open(job: Job, outcome: Reply, verdict: Verdict) -> bool:
    """Whether nothing but the length of a body that is still measured stands against a verdict."""
    if verdict.reason != _TOO_LARGE or verdict.kind is not VerdictKind.NOT_COMPARABLE:
        return False
    return job.passing is not None if job.reply.truncated else outcome.truncated


def _parts(request: Request, route: Route) -> Parts:
    return parts_of(request, captures(route, request.target) or {})


def _timed(
    job: Job, outcome: Reply, pairs: tuple[Pair, ...], found: Mapping[Key, str], wholes: Wholes
) -> tuple[Verdict | None, float]:
    """What `judge` says, and the CPU seconds that it took."""
    started = thread_time()
    verdict = judge(job, outcome, pairs, found, wholes)
    return verdict, thread_time() - started


def judge(
    job: Job, outcome: Reply, pairs: tuple[Pair, ...], found: Mapping[Key, str], wholes: Wholes
) -> Verdict | None:
    """The verdict on the two replies; identities that are pairs count as equal.

    Where the primary's reply was never heard (`rules.probe.NO_REPLY`) there is nothing to compare with.
    """
    comparison = job.route.comparison
    if comparison is None:
        return None
    if not job.reply.status:
        return _NO_REPLY
    known = same((*job.route.harvests, *job.route.translations), pairs, found)
    ours, theirs = answers(job.reply, outcome, comparison, wholes)
    return compare(ours, theirs, comparison, known)
