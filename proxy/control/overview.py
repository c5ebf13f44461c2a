"""What a sidecar says of itself in one document: the same numbers as the metrics, under the same words."""

from collections.abc import Mapping
from typing import Any

from proxy.control.metrics import Reading
from proxy.control.tally import Tally
from rules.route import Policy
from rules.stage import DUTIES
from rules.tolerance import Rule, unused


def overview(reading: Reading, tally: Tally, policy: Policy) -> Mapping[str, Any]:
    """Stage, level, intents by state, backlog, gaps, breakers and verdicts."""
    return {
        "stage": policy.stage,
        "primary": DUTIES[policy.stage].primary,
        "level": reading.level,
        "reasons": reading.reasons,
        "kill_switch": policy.kill_switch,
        "accepted": tally.accepted,
        "intents": tally.states,
        "skipped": tally.skips,
        "in_flight": tally.in_flight,
        "backlog": {
            "rows": reading.backlog_rows,
            "bytes": tally.backlog_bytes,
            "oldest_seconds": round(reading.oldest_seconds, 3),
            "fullness": round(reading.fullness, 6),
        },
        "dead_holding": reading.dead_holding,
        "gaps": reading.gaps,
        "breakers": {
            name: {"state": state, "reason": reason}
            for name, (state, reason) in reading.breakers.items()
        },
        "verdicts": tally.verdicts,
        "rules_unused": [
            f"{route}: {rule}" if route else rule
            for route, rule in unused(_rules(policy), tally.rules)
        ],
    }


def _rules(policy: Policy) -> dict[str, tuple[Rule, ...]]:
    """The rules of each route that is compared."""
    return {
        route.name: route.comparison.rules
        for route in (*policy.routes, policy.fallback)
        if route.comparison is not None
    }
