"""The share of verdicts that agree, and the thresholds of the match modes."""

import pytest

from rules.agreement import AGREEMENT_MIN, agreement, agrees
from rules.compare import Match, VerdictKind

K = VerdictKind


@pytest.mark.parametrize(
    ("verdicts", "share"),
    [
        ({}, None),
        ({K.SKIPPED: 5, K.NOT_COMPARABLE: 5, K.ERROR: 5}, None),
        ({K.MATCH: 1}, 1.0),
        ({K.MISMATCH: 1}, 0.0),
        ({K.MATCH: 2, K.IGNORED: 1, K.MISMATCH: 1, K.SKIPPED: 9}, 0.75),
    ],
)
def test_only_comparable_verdicts_have_a_share(
    verdicts: dict[VerdictKind, int], share: float | None
) -> None:
    assert agreement(verdicts) == share


@pytest.mark.parametrize("match", Match)
def test_a_mode_has_its_threshold(match: Match) -> None:
    least = round(AGREEMENT_MIN[match] * 100)
    assert agrees({K.MATCH: least, K.MISMATCH: 100 - least}, match, 100) is True
    if least < 100:
        assert agrees({K.MATCH: least - 1, K.MISMATCH: 101 - least}, match, 100) is False
    assert agrees({K.MATCH: 99}, match, 100) is None
    assert agrees({}, match, 0) is None


def test_stricter_modes_have_higher_thresholds() -> None:
    assert AGREEMENT_MIN == {Match.EXACT: 1.0, Match.SEMANTIC: 0.95, Match.PRESENCE: 0.9}
