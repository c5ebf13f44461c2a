"""How far the verdicts of a category agree: what the thresholds of the match modes are held against.

Law: a threshold never hides a difference. Of one comparison a single difference is a mismatch in every
mode; of many comparisons so large a share must agree.
"""

from collections.abc import Mapping

from rules.compare import Match, VerdictKind

AGREEMENT_MIN: Mapping[Match, float] = {
    Match.EXACT: 1.0,
    Match.SEMANTIC: 0.95,
    Match.PRESENCE: 0.90,
}
"""The share of comparable verdicts that must agree (requirements.md, E6)."""


def agreement(verdicts: Mapping[VerdictKind, int]) -> float | None:
    """The share of `match` and `ignored` among those and `mismatch`; None before there is one.

    What was not comparable, skipped or failed says nothing about the replies, and counts for nothing.
    """
    agreed = verdicts.get(VerdictKind.MATCH, 0) + verdicts.get(VerdictKind.IGNORED, 0)
    comparable = agreed + verdicts.get(VerdictKind.MISMATCH, 0)
    return agreed / comparable if comparable else None


def agrees(verdicts: Mapping[VerdictKind, int], match: Match, samples_min: int) -> bool | None:
    """Whether the share reaches the threshold of a mode; None while there are fewer than `samples_min`."""
    kinds = (VerdictKind.MATCH, VerdictKind.IGNORED, VerdictKind.MISMATCH)
    share = agreement(verdicts)
    if share is None or sum(verdicts.get(kind, 0) for kind in kinds) < samples_min:
        return None
    return share >= AGREEMENT_MIN[match]
