"""The tally: what is counted, and the law that it is checked on."""

import pytest

from proxy.control.tally import LATENCY_BOUNDS_S, Tally
from rules.compare import Verdict, VerdictKind
from rules.fate import State
from rules.message import Cause, Failure, Reply, Role
from rules.route import Skip


def test_every_state_reason_and_verdict_is_there_from_the_start() -> None:
    tally = Tally()
    assert tally.states == dict.fromkeys(State, 0)
    assert tally.skips == dict.fromkeys(Skip, 0)
    assert tally.verdicts == dict.fromkeys(VerdictKind, 0)
    assert set(tally.latencies) == set(Role)


@pytest.mark.parametrize("reason", Skip)
def test_a_skipped_write_is_accepted_under_its_reason(reason: Skip) -> None:
    tally = Tally()
    tally.skip(reason)
    assert (tally.accepted, tally.skips[reason]) == (1, 1)
    assert tally.holds()


def test_the_law_is_broken_by_a_write_that_is_nowhere_or_twice() -> None:
    tally = Tally()
    assert tally.holds()
    tally.accepted += 1
    assert not tally.holds()
    tally.states[State.DONE] += 1
    assert tally.holds()
    tally.skips[Skip.SAMPLE] += 1
    assert not tally.holds()


def test_outcomes_are_counted_by_role_and_by_status_class_or_cause() -> None:
    tally = Tally()
    tally.outcome(Role.PRIMARY, Reply(status=204, head=b"", latency_s=0.5))
    tally.outcome(Role.PRIMARY, Reply(status=201, head=b"", latency_s=0.5))
    tally.outcome(Role.PRIMARY, Reply(status=599, head=b""))
    tally.outcome(Role.SECONDARY, Failure(cause=Cause.RESET, sent=True, latency_s=0.5))
    assert tally.outcomes == {
        (Role.PRIMARY, "2xx"): 2, (Role.PRIMARY, "5xx"): 1, (Role.SECONDARY, "reset"): 1,
    }  # fmt: skip
    assert tally.latencies[Role.PRIMARY].total == 1.0
    assert sum(tally.latencies[Role.SECONDARY].counts) == 1


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.001, 0), (0.0011, 1), (0.25, 7), (30.0, 13), (30.1, 14), (1e9, 14)],
)
def test_a_latency_falls_into_the_first_bucket_that_holds_it(seconds: float, bucket: int) -> None:
    tally = Tally()
    tally.outcome(Role.PRIMARY, Reply(status=200, head=b"", latency_s=seconds))
    counts = tally.latencies[Role.PRIMARY].counts
    assert counts.index(1) == bucket
    assert len(counts) == len(LATENCY_BOUNDS_S) + 1
    assert list(LATENCY_BOUNDS_S) == sorted(set(LATENCY_BOUNDS_S))


def test_two_tallies_share_nothing() -> None:
    one, other = Tally(), Tally()
    one.skip(Skip.ROUTE)
    one.outcome(Role.PRIMARY, Reply(status=200, head=b"", latency_s=0.1))
    assert other.latencies[Role.PRIMARY].total == 0.0
    assert other.outcomes == {}
    assert other.skips[Skip.ROUTE] == 0


def test_verdicts_are_counted_by_category_and_rules_by_what_they_took() -> None:
    tally = Tally()
    for ignored in (("/at",), ("/at", "/id"), ()):
        kind = VerdictKind.IGNORED if ignored else VerdictKind.MATCH
        tally.judged("r", "debug", Verdict(kind=kind, reason="", ignored=ignored))
    assert tally.rules == {("r", "/at"): 2, ("r", "/id"): 1}
    assert {kind: n for kind, n in tally.agreements["debug"].items() if n} == {
        VerdictKind.IGNORED: 2,
        VerdictKind.MATCH: 1,
    }
