"""What the project promises about its cost, and whether a run keeps it: one table.

Law: pure. A target is judged by the median; one whose contestants were not measured is not met.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bench.contestants import CONTESTANTS
from bench.rounds import Measured
from bench.scenes import BESIDE, CLEAN, HUNG, SLOW, UPLOAD, Setting
from bench.summary import Ratio, Spread, ratio

MEMORY = "idle memory, MiB"


class Verdict(StrEnum):
    """What became of a target."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A ratio, paired by round, that shall be at most `limit` in a setting.

    `beside`: another setting where the same ratio is of interest. Without `under` it is not a ratio
    but resident memory of `over` in MiB, before the first request.
    """

    over: str
    under: str = ""
    what: str = "CPU"
    field: str = "cpu_us"
    limit: float
    setting: Setting
    beside: Setting | None = None

    @property
    def name(self) -> str:
        """How a report calls it."""
        return (
            f"{self.what}: {self.over} / {self.under}" if self.under else f"{MEMORY}: {self.over}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A target and what was measured; `reason` says why nothing was."""

    target: Target
    verdict: Verdict
    measured: Spread | None = None
    beside: Spread | None = None
    reason: str = ""


def _cpu(over: str, under: str, limit: float) -> Target:
    return Target(over=over, under=under, limit=limit, setting=CLEAN, beside=BESIDE)


def _latency(over: str, under: str, what: str, limit: float, setting: Setting) -> Target:
    return Target(
        over=over, under=under, what=what, field=f"{what}_us", limit=limit, setting=setting
    )


TARGETS: tuple[Target, ...] = (
    _cpu("relay", "envoy_relay", 0.80),
    _cpu("shadow", "envoy_mirror", 0.65),
    _cpu("shadow", "nginx_mirror", 0.65),
    _cpu("shadow", "nginx_mirror_tuned", 0.65),
    _cpu("shadow", "nginx_mirror_best", 1.40),
    _cpu("dual", "envoy_mirror", 1.00),
    _cpu("dual", "nginx_mirror", 1.00),
    _cpu("dual", "nginx_mirror_tuned", 1.00),
    _cpu("shadow", "shadow_plain", 1.03),
    _latency("shadow", "relay", "p50", 1.04, SLOW[0]),
    _latency("shadow", "relay", "p50", 1.08, SLOW[1]),
    _latency("dual", "relay", "p50", 1.20, SLOW[0]),
    _latency("dual", "relay", "p50", 1.20, SLOW[1]),
    _latency("hung", "dual", "p99", 1.10, HUNG),
    _latency("hung_breaker_off", "dual", "p99", 1.10, HUNG),
    Target(over="shadow", under="envoy_mirror", limit=0.85, setting=UPLOAD),
    Target(over="dual", limit=60.0, setting=CLEAN),
)
"""The promises."""


def settings() -> frozenset[Setting]:
    """Every setting that a target reads."""
    found = {each.setting for each in TARGETS} | {each.beside for each in TARGETS}
    return frozenset(each for each in found if each is not None)


def judged(measured: Measured, missing: Mapping[str, str]) -> list[Judgement]:
    """Every target; `missing` are the tools that this machine does not have."""
    return [_judged(each, measured, missing) for each in TARGETS]


def _judged(target: Target, measured: Measured, missing: Mapping[str, str]) -> Judgement:
    found = _found(target, target.setting, measured)
    if found is None:
        reason = _reason(target, missing)
        return Judgement(target=target, verdict=Verdict.NOT_MEASURED, reason=reason)
    return Judgement(
        target=target,
        verdict=Verdict.MET if found.median <= target.limit else Verdict.MISSED,
        measured=found,
        beside=_found(target, target.beside, measured) if target.beside is not None else None,
    )


def _found(target: Target, setting: Setting, measured: Measured) -> Spread | None:
    if not target.under:
        return Spread.of(
            each.memory_mib for each in measured.idle if each.contestant == target.over
        )
    wanted = Ratio(over=target.over, under=target.under, field=target.field)
    return ratio(measured.rows, wanted, setting)


def _reason(target: Target, missing: Mapping[str, str]) -> str:
    needs = {each.name: each.needs for each in CONTESTANTS}
    for name in (target.over, target.under):
        tool = needs.get(name)
        if tool in missing:
            return f"{tool} is not installed"
    return "not part of this run"
