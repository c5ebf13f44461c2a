"""Which differences look like noise: fields that differ in nearly every comparison, with values of a known make.

Law: it only suggests; a person accepts. A difference that is always the same is no noise, and what looks like
nothing known is named without a rule.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from rules.difference import Class
from rules.instant import instant
from rules.tolerance import RuleKind, number

SAMPLES_MIN = 3
"""Pairs of values from which a make is told."""

OWN_PERCENT_MIN = 50
"""In so many reads of a hundred the primary must differ from itself for that alone to be noise."""

PATH_CHARACTERS_MAX = 500
"""What is kept of a path: names of fields come from the backends and have no bound."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')  # RFC 9110 8.8.3
_ALPHABETS = (("0-9a-f", "hexadecimal"), ("0-9A-F", "hexadecimal"), ("A-Za-z0-9_=/+-", "random"))
_TOKEN_CHARACTERS_MIN = 8
_MASKED = "redacted:"
_EPOCHS = (946_684_800.0, 4_102_444_800.0)  # the years 2000 to 2100: other numbers are no times
_SECONDS = (1, 2, 5, 10, 30, 60, 300, 900, 3600, 7200)
_SHARES = (0.0001, 0.001, 0.01)


class Look(StrEnum):
    """What the values of a field look like."""

    TIME = "time"
    UUID = "uuid"
    ETAG = "etag"
    COUNTER = "counter"
    NUMBER = "number"  # numbers close to each other
    TOKEN = "token"  # noqa: S105 - a word, no secret
    MASKED = "masked"
    ORDER = "order"
    CONSTANT = "constant"  # the same two values every time
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was seen of a field: it differed in `differed` of `compared` comparisons of its route.

    `path` is that of its group: "/body/...", "/header/..." or "/status". `pairs` are samples as
    (primary, secondary), each short JSON, in the order of time; `paths` are their own. In `own` of `own_compared` reads
    two replies of the primary differed there, too (`[compare] baseline_percent`).
    """

    route: str
    path: str
    kind: str
    differed: int
    compared: int
    pairs: Sequence[tuple[str, str]]
    paths: Sequence[str] = ()
    own: int = 0
    own_compared: int = 0

    @property
    def percent(self) -> float:
        """In how many of a hundred comparisons it differed."""
        return min(100.0 * self.differed / self.compared, 100.0) if self.compared else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A field that always differs; `rule` would take the difference away. None: look at it first.

    `keys` are further keys of the rule, by name.
    """

    observed: Observed
    look: Look
    rule: RuleKind | None
    why: str
    keys: tuple[tuple[str, str | float], ...] = ()


def suggest(
    observed: Iterable[Observed], percent_min: float, compared_min: int
) -> tuple[Suggestion, ...]:
    """Of each field that differs in at least `percent_min` % of at least `compared_min` comparisons."""
    return tuple(
        _certain(_with_baseline(_suggestion(each)))
        for each in observed
        if each.compared >= compared_min and each.percent >= percent_min and _may_be_noise(each)
    )


def snippet(suggestion: Suggestion, *, everywhere: bool) -> str:
    """The rule as TOML, with the reason above it; comments alone where there is none to suggest.

    `everywhere`: below `[compare]`, for a route that the config does not name.
    """
    seen = suggestion.observed
    lines = [
        f"# route {json.dumps(seen.route)}, {_toml(seen.path)}: differed in {seen.differed} of"
        f" {seen.compared} comparisons ({seen.percent:.0f} %)",
        f"# {suggestion.why}",
    ]
    if suggestion.rule is None:
        return "\n".join(lines) + "\n"
    place, _, below = seen.path[1:].partition("/")
    keys: list[tuple[str, str | float | list[str]]] = [("kind", str(suggestion.rule))]
    keys.append(("headers", [below]) if place == "header" else ("paths", [f"/{below}"]))
    lines.append("[[compare.rules]]" if everywhere else "[[routes.rules]]")
    lines += [f"{name} = {_toml(value)}" for name, value in (*keys, *suggestion.keys)]
    return "\n".join(lines) + "\n"


def _toml(value: str | float | list[str]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(sign: str) -> str:
    """Nothing that a terminal would obey."""
    return sign if sign.isprintable() else f"\\U{ord(sign):08X}"


def _may_be_noise(observed: Observed) -> bool:
    """A status is none, nor is a field that one side lacks."""
    return observed.kind in (Class.VALUE, Class.TYPE, Class.ORDER) and observed.path.startswith(
        ("/body/", "/header/")
    )


def _suggestion(seen: Observed) -> Suggestion:
    if seen.kind == Class.ORDER:
        why = "the same elements in another order each time"
        return Suggestion(observed=seen, look=Look.ORDER, rule=RuleKind.UNORDERED, why=why)
    pairs = [(_value(one), _value(other)) for one, other in seen.pairs]
    for makes in (_constant, _masked, _uuid, _time, _etag, _counter, _number, _token):
        found = makes(seen, pairs)
        if found is not None:
            return found
    why = "looks like nothing known: see samples of it before you ignore it"
    return Suggestion(observed=seen, look=Look.UNKNOWN, rule=None, why=why)


def _with_baseline(found: Suggestion) -> Suggestion:
    """What the primary's own replies do not agree in is noise, whatever it looks like."""
    seen = found.observed
    if not seen.own or seen.own_compared < SAMPLES_MIN:
        return found
    why = f"{found.why}; two replies of the primary differ there in {seen.own} of {seen.own_compared} reads"
    rule = found.rule
    if rule is None and 100 * seen.own >= OWN_PERCENT_MIN * seen.own_compared:
        rule = RuleKind.PRESENCE
    return replace(found, rule=rule, why=why)


def _certain(found: Suggestion) -> Suggestion:
    """No rule where its path would be another one, or would name more than what was seen."""
    why = _unclear(found.observed) if found.rule else ""
    return replace(found, rule=None, why=f"{found.why}; {why}", keys=()) if why else found


def _unclear(seen: Observed) -> str:
    """What speaks against the path of a group as a pattern. In it `*` stands for numbers and UUIDs: they are
    indexes of an array for certain only where there is a first one.
    """
    if len(seen.path) >= PATH_CHARACTERS_MAX:
        return "its path is cut off: write the rule by hand"
    if _MASKED in seen.path or any("*" in path for path in seen.paths):
        return "its path has names that no rule can name: write it by hand"
    own = [path.split("/") for path in seen.paths]
    for at, step in enumerate(seen.path.split("/")):
        if step == "*" and not any(path[at : at + 1] == ["0"] for path in own):
            return "members named by a number or a UUID, as it seems: a rule would take their neighbours, too"
    return ""


_Pairs = list[tuple[object, object]]


def _all(pairs: _Pairs) -> list[object]:
    return [value for pair in pairs for value in pair]


def _texts(pairs: _Pairs) -> list[str]:
    """All values, when all of them are texts."""
    values = _all(pairs)
    texts = [value for value in values if isinstance(value, str)]
    return texts if len(texts) == len(values) else []


def _constant(seen: Observed, pairs: _Pairs) -> Suggestion | None:
    if len(pairs) < SAMPLES_MIN:
        why = f"too few samples to tell: {len(pairs)}"
        return Suggestion(observed=seen, look=Look.UNKNOWN, rule=None, why=why)
    if len({repr(pair) for pair in pairs}) > 1:
        return None
    why = "the same two values every time: a difference to explain, no noise"
    return Suggestion(observed=seen, look=Look.CONSTANT, rule=None, why=why)


def _masked(seen: Observed, pairs: _Pairs) -> Suggestion | None:
    texts = _texts(pairs)
    if not texts or not all(_MASKED in text for text in texts):
        return None
    why = "masked, another value each time: presence is all that can be compared"
    return Suggestion(observed=seen, look=Look.MASKED, rule=RuleKind.PRESENCE, why=why)


def _uuid(seen: Observed, pairs: _Pairs) -> Suggestion | None:
    texts = _texts(pairs)
    if not texts or not all(_UUID.fullmatch(text) for text in texts):
        return None
    why = "a UUID that each side makes; if requests carry it, harvest it as an identity instead"
    return Suggestion(observed=seen, look=Look.UUID, rule=RuleKind.PRESENCE, why=why)


def _time(seen: Observed, pairs: _Pairs) -> Suggestion | None:
    times = [(instant(one), instant(other)) for one, other in pairs]
    known = [(one, other) for one, other in times if one is not None and other is not None]
    low, high = _EPOCHS
    if len(known) < len(pairs) or not all(low <= at <= high for pair in known for at in pair):
        return None
    apart = max(abs(one - other) for one, other in known)
    within = next((bound for bound in _SECONDS if bound >= 2 * apart), None)
    why = f"a time, at the most {apart:.3g} s apart"
    if within is None:
        return Suggestion(observed=seen, look=Look.TIME, rule=RuleKind.PRESENCE, why=why)
    keys = (("within_seconds", within),)
    return Suggestion(observed=seen, look=Look.TIME, rule=RuleKind.TIME, why=why, keys=keys)


def _etag(seen: Observed, pairs: _Pairs) -> Suggestion | None:
    texts = _texts(pairs)
    named = seen.path.lower().endswith("/etag")
    if not texts or not (named or all(_ETAG.fullmatch(text) for text in texts)):
        return None
    why = "an entity tag: each side makes its own"
    return Suggestion(observed=seen, look=Look.ETAG, rule=RuleKind.PRESENCE, why=why)


def _counter(seen: Observed, pairs: _Pairs) -> Suggestion | None:
    for side in (0, 1):
        numbers = [number(pair[side]) for pair in pairs]
        whole = [each for each in numbers if each is not None and each.is_integer()]
        if len(whole) < len(pairs) or not all(one < other for one, other in pairwise(whole)):
            return None
    why = (
        "a number that grows on each side; if requests carry it, harvest it as an identity instead"
    )
    return Suggestion(observed=seen, look=Look.COUNTER, rule=RuleKind.PRESENCE, why=why)


def _number(seen: Observed, pairs: _Pairs) -> Suggestion | None:
    numbers = [(number(one), number(other)) for one, other in pairs]
    known = [(one, other) for one, other in numbers if one is not None and other is not None]
    if len(known) < len(pairs):
        return None
    apart = max(abs(one - other) / (max(abs(one), abs(other)) or 1.0) for one, other in known)
    share = next((bound for bound in _SHARES if bound >= apart), None)
    if share is None:
        return None
    why = f"numbers, at the most {100 * apart:.2g} % apart"
    keys = (("relative", share),)
    return Suggestion(observed=seen, look=Look.NUMBER, rule=RuleKind.NUMBER, why=why, keys=keys)


def _token(seen: Observed, pairs: _Pairs) -> Suggestion | None:
    texts = _texts(pairs)
    lengths = {len(text) for text in texts}
    if not texts or min(lengths) < _TOKEN_CHARACTERS_MIN or len(set(texts)) < len(texts):
        return None
    if not all(any(character.isdigit() for character in text) for text in texts):
        return None
    for alphabet, make in _ALPHABETS:
        if all(re.fullmatch(f"[{alphabet}]+", text) for text in texts):
            low, high = min(lengths), max(lengths)
            expression = f"[{alphabet}]{{{low if low == high else f'{low},{high}'}}}"
            why = f"a {make} text, another one each time"
            keys = (("regex", expression),)
            return Suggestion(
                observed=seen, look=Look.TOKEN, rule=RuleKind.REGEX, why=why, keys=keys
            )
    return None


def _value(text: str) -> object:
    """A value of a difference: short JSON, or what redaction or a limit left of it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
