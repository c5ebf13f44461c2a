"""Metrics: the declared table is what a scrape shows, and the law holds on it."""

from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.control.metrics import DECLARED, LATENCY, Metrics, Reading
from proxy.control.tally import Tally
from rules.compare import Verdict, VerdictKind
from rules.fate import State
from rules.message import Reply, Role
from rules.route import Skip
from tests.proxy.world import world

READING = Reading(
    requests=3, refused=1, connections=2, backlog_rows=4, oldest_seconds=5.5,
    breakers={"default": ("open", "too slow")}, commits=6, commit_seconds=0.5, fullness=0.25,
    level="full", dead_holding=1,
    reasons=(),
    gaps=[{"reason": "backlog", "writes": 4}, {"reason": "backlog", "writes": 5}],
)  # fmt: skip


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(tally: Tally) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return samples(Metrics(tally, lambda: READING).exposition().decode())


def test_every_declared_metric_is_shown() -> None:
    tally = Tally()
    tally.outcome(Role.PRIMARY, Reply(status=200, head=b"", latency_s=0.003))
    tally.judged("r", "default", Verdict(kind=VerdictKind.IGNORED, reason="", ignored=("/at",)))
    shown = {name for name, _ in scraped(tally)}

    assert {f"twinwrite_{declared.name}" for declared in DECLARED} <= shown
    assert f"twinwrite_{LATENCY.name}_bucket" in shown


@pytest.mark.parametrize("state", State)
def test_every_state_is_counted_under_its_word(state: State) -> None:
    tally = Tally()
    tally.states[state] = 7

    assert scraped(tally)["twinwrite_intents", (("state", state),)] == 7


def test_latencies_are_cumulative_buckets() -> None:
    tally = Tally()
    for seconds in (0.0005, 0.003, 99.0):
        tally.outcome(Role.SECONDARY, Reply(status=200, head=b"", latency_s=seconds))
    found = scraped(tally)
    name, role = "twinwrite_latency_seconds_bucket", ("role", "secondary")

    assert found[name, (("le", "0.001"), role)] == 1
    assert found[name, (("le", "0.005"), role)] == 2
    assert found[name, (("le", "+Inf"), role)] == 3


def test_a_breaker_shows_the_state_it_is_in() -> None:
    found = scraped(Tally())

    assert found["twinwrite_breaker_state", (("category", "default"), ("state", "open"))] == 1


def test_agreement_is_shown_once_something_was_comparable() -> None:
    tally = Tally()
    tally.judged("r", "debug", Verdict(kind=VerdictKind.SKIPPED, reason=""))
    assert not [name for name, _ in scraped(tally) if "agreement" in name]
    for kind in (VerdictKind.MATCH, VerdictKind.IGNORED, VerdictKind.MISMATCH, VerdictKind.MATCH):
        tally.judged("r", "debug", Verdict(kind=kind, reason="", ignored=("/at",)))
    found = scraped(tally)
    assert found["twinwrite_agreement_ratio", (("category", "debug"),)] == 0.75
    assert found["twinwrite_rule_uses_total", (("route", "r"), ("rule", "/at"))] == 4


async def test_the_law_holds_on_a_scrape_of_a_running_sidecar(tmp_path: Path) -> None:
    routes = '[[routes]]\nname = "unmirrored"\npath = "/quiet"\nmirror = "never"'
    async with world(tmp_path, routes) as w, aiohttp.ClientSession() as session:
        w.legacy.answers["/refused"] = (422, {})
        w.legacy.answers["/broken"] = (500, {})
        for path in ("/a", "/quiet", "/refused", "/broken"):
            async with session.post(w.url + path, data=b"x"):
                pass
        await w.delivered()
        async with session.get(f"{w.admin}/metrics") as reply:
            found = samples(await reply.text())

        intents = sum(found["twinwrite_intents", (("state", state),)] for state in State)
        skips = sum(found["twinwrite_writes_skipped_total", (("reason", skip),)] for skip in Skip)
        assert found["twinwrite_writes_accepted_total", ()] == 4 == intents + skips
        assert found["twinwrite_intents", (("state", "unknown"),)] == 1
        assert found["twinwrite_intents", (("state", "p_rejected"),)] == 1
