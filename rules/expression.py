"""Regular expressions whose cost is known before they run: of `re`, what cannot blow up.

Law: an expression is refused when it is loaded, never found too slow when it is used. With k choices
(repeats of no fixed number, optional parts, alternatives) on n characters, backtracking tries at most
(n + 1)^k ways; what would be more than STEPS_MAX is not tried at all.
"""

import re
from dataclasses import dataclass

STEPS_MAX = 100_000
"""Ways that may be tried on one value: some 2 ms at the worst; 1e5 characters for one choice, 316 for two."""

_CLASS = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)
_REPEAT = re.compile(r"(?:[*+?]|\{(?P<low>\d*)(?P<comma>,?)(?P<high>\d*)\})[?+]?")
_GROUP = re.compile(r"\((?:\?(?::|>|P<\w+>|[aimsu]+\)|(?P<other>.)))?", re.DOTALL)
_REPEATS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression, and the number of its choices."""

    pattern: re.Pattern[str]
    choices: int

    def steps(self, text: str) -> int:
        """The most ways that can be tried on a text."""
        return int((len(text) + 1) ** self.choices)

    def matches(self, text: str) -> bool:
        """Whether all of the text matches; False where that would take more than STEPS_MAX."""
        return self.steps(text) <= STEPS_MAX and self.pattern.fullmatch(text) is not None


def compile_expression(text: str) -> Expression:
    """Compile an expression. Raises ValueError, with a message for the person who wrote it."""
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"must be a regular expression: {error}") from None
    return Expression(pattern, _Scan(text).choices())


class _Scan:
    """One pass over an expression that `re` accepts."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def choices(self) -> int:
        """The choices up to the end of this group, or of the text."""
        total = latest = 0
        while self.at < len(self.text) and self.text[self.at] != ")":
            repeat = _REPEAT.match(self.text, self.at)
            if repeat is not None and self.at:
                self.at = repeat.end()
                total += _repeated(latest, repeat) - latest
                latest = 0
            elif self.text[self.at] == "|":
                self.at += 1
                total, latest = total + 1, 0
            else:
                latest = self.atom()
                total += latest
        return total

    def atom(self) -> int:
        """The choices in one character, class or group."""
        start = self.text[self.at]
        if start == "(":
            return self.group()
        found = _CLASS.match(self.text, self.at) if start == "[" else None
        if found is not None:
            self.at = found.end()
        elif start == "\\":
            if self.text[self.at + 1] in "123456789":
                raise ValueError("must do without references to groups: they cannot be bounded")
            self.at += 2
        else:
            self.at += 1
        return 0

    def group(self) -> int:
        found = _GROUP.match(self.text, self.at)
        assert found is not None
        if found["other"] is not None:
            raise ValueError(
                "must do without looking around: only (?:...), (?>...), (?P<name>...) and (?i)"
            )
        self.at = found.end()
        if found[0].endswith(")"):  # flags
            return 0
        inner = self.choices()
        self.at += 1
        return inner


def _repeated(inner: int, repeat: re.Match[str]) -> int:
    """The choices of something with so many choices in it, repeated."""
    if repeat[0][0] == "?":
        return inner + 1
    fixed = repeat["low"] and not repeat["comma"]
    if fixed:
        return inner * min(int(repeat["low"]), _REPEATS_MAX)
    if inner:
        raise ValueError("must not repeat a group that has a repeat or a choice in it")
    return 1
