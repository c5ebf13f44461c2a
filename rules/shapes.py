"""What secrets look like where no name gives them away: card numbers, tokens, API keys, e-mail addresses, IBANs.

Law: the time is linear in the length of the text, whatever it holds: no expression can go back over more
than a few dozen characters. A number counts only with its check digits (Luhn, ISO 7064 mod 97).
"""

import base64
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from operator import itemgetter

from rules.expression import compile_expression

Span = tuple[int, int]
Finder = Callable[[str], Iterator[Span]]
"""Finds (start, end) of secrets in a text, in order, not overlapping."""

MARK = "redacted:"
"""How a masked value begins; 16 letters from a to p follow."""


class Shape(StrEnum):
    """A kind of secret that is known by its form; the words of `redact.patterns`."""

    CARD = "card"  # 12 to 19 digits in one run or in groups (ISO/IEC 7812-1), Luhn
    EMAIL = "email"
    IBAN = "iban"  # ISO 13616, in one run or in groups of four
    KEY = "key"  # keys that vendors mark by a prefix, and private keys in PEM
    TOKEN = "token"  # noqa: S105 - a word; JWT (RFC 7519) and other base64 of JSON; Bearer and Basic in running text


CHOICES_MAX = 2
"""Repeats of no fixed number, optional parts and alternatives of an expression from outside."""

_MASKED = re.compile(MARK + "[a-p]{16}")
_DIGITS = re.compile(r"[0-9]")
_CARD = re.compile(
    r"(?<![0-9])(?<![0-9]\.)(?=("
    r"[2-6][0-9]{11,18}"  # one run
    r"|[2-6][0-9]{3}([ -])[0-9]{4}\2[0-9]{4}\2[0-9]{1,4}(?:\2[0-9]{3})?"  # 4-4-4-4, or 4-4-4-4-3
    r"|3[0-9]{3}([ -])[0-9]{6}\3[0-9]{4,5}"  # 4-6-5, 4-6-4
    r")(?![0-9]))"
)
_DOUBLED = str.maketrans("0123456789", "0246813579")
_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[A-Za-z0-9]{11,30}(?![A-Za-z0-9])"
    r"|(?: [A-Za-z0-9]{4}){2,7}(?: [A-Za-z0-9]{1,4})?(?![A-Za-z0-9]))"
)
_DOMAIN = re.compile(r"@[\w-]++(?:\.[\w-]++)+")
_LOCAL = re.compile(r"[^\s\"'<>()\[\],;:\\@/?&=]{1,64}")
"""The local part, read backwards: at most 64 octets (RFC 5321 4.5.3.1.1)."""
_JWT = re.compile(
    r"eyJ[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]*+){0,3}(?![A-Za-z0-9+/=])"
)
_BASE64_JSON = re.compile(r"eyJ[A-Za-z0-9+/=_.-]*+")
_BASE64_JSON_MIN = 17
_CREDENTIAL = re.compile(r"[Bb](?:earer|EARER|asic|ASIC)[ \t:=]{1,4}([A-Za-z0-9+/=._~-]{8,}+)")
_BEARER_MIN = 20  # from here on it is no English word
_KEY = re.compile(
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{30,}+|github_pat_[A-Za-z0-9_]{22,}+|glpat-[A-Za-z0-9_-]{20,}+"
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}+|whsec_[A-Za-z0-9+/=]{16,}+"  # Stripe
    r"|sk-[A-Za-z0-9_-]{20,}+"  # OpenAI, Anthropic
    r"|xox[a-z]-[A-Za-z0-9-]{10,}+|xapp-[A-Za-z0-9-]{10,}+"  # Slack
    r"|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}+"  # Google
    r"|SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+"  # SendGrid
    r"|npm_[A-Za-z0-9]{30,}+|pypi-[A-Za-z0-9_-]{16,}+|hvs\.[A-Za-z0-9_-]{20,}+"
    r"|shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}|do[opr]_v1_[a-f0-9]{64}"
    r"|-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]{0,40}-----|\Z)"
)
"""As the vendors publish them for secret scanning."""
HINT = re.compile(
    r"@|[2-6][0-9]{3}[ -]?[0-9]{3}|[A-Za-z]{2}[0-9]{2} ?[A-Za-z0-9]{4}|eyJ|[Bb](?:earer|EARER|asic|ASIC)"
    r"|A[KSBC][IC]A|gh[pousr]_|github_pat_|glpat-|[srp]k[_-]|whsec_|xox[a-z]-|xapp-|AIza|ya29\.|SG\."
    r"|npm_|pypi-|hvs\.|shp[acs][tas]_|do[opr]_v1_|-----BEGIN "
)
"""A text without any of these has no secret of any shape."""
_IN_WORDS = ("sk-",)
"""Prefixes that end English words: they count only where no letter or digit stands before them."""


def masked(text: str, finders: tuple[Finder, ...], hide: Callable[[str], str]) -> str:
    """The text with all that `finders` find replaced by `hide` of it; what is masked stays as it is."""
    for finder in finders:
        spans = list(finder(text))
        if spans:
            text = _replaced(text, spans, hide)
    return text


def _replaced(text: str, spans: list[Span], hide: Callable[[str], str]) -> str:
    marks = [found.span() for found in _MASKED.finditer(text)] if MARK in text else []
    parts, at = [], 0
    for start, end in spans:
        before = bisect_right(marks, start, key=itemgetter(0))
        if start < at or (before and end <= marks[before - 1][1]):
            continue
        parts += [text[at:start], hide(text[start:end])]
        at = end
    return "".join([*parts, text[at:]])


def custom(expression: str) -> Finder:
    """The finder of a regular expression: its first group if it has one, else the whole match.

    Raises ValueError, with a message for the person who wrote it: for bad syntax, for what matches
    nothing at all, and for what can take more than polynomial time (`rules.expression`).
    """
    found = compile_expression(expression)
    compiled = found.pattern
    if compiled.fullmatch("") is not None:
        raise ValueError("must be a regular expression that does not match the empty text")
    if found.choices > CHOICES_MAX:
        raise ValueError(f"must be a regular expression with at most {CHOICES_MAX} choices")
    group = min(compiled.groups, 1)

    def find(text: str) -> Iterator[Span]:
        for found in compiled.finditer(text):
            if found.end(group) > found.start(group) >= 0:
                yield found.span(group)

    return find


def _cards(text: str) -> Iterator[Span]:
    end = 0
    for found in _CARD.finditer(text):
        start, whole = found.start(), found[1]
        for part in (whole, whole[:-4]) if len(whole) > 19 else (whole,):
            if start >= end and _luhn(part):
                end = start + len(part)
                yield start, end


def _luhn(text: str) -> bool:
    digits = text.replace(" ", "").replace("-", "")
    doubled = digits[-2::-2].translate(_DOUBLED)
    return len(digits) >= 12 and sum(map(int, digits[-1::-2] + doubled)) % 10 == 0


def _emails(text: str) -> Iterator[Span]:
    if "@" not in text:
        return
    end = 0
    for found in _DOMAIN.finditer(text):
        at = found.start()
        local = _LOCAL.match(text[max(at - 64, end) : at][::-1])
        if local is not None:
            end = found.end()
            yield at - len(local[0]), end


def _ibans(text: str) -> Iterator[Span]:
    for found in _IBAN.finditer(text):
        account = found[0]
        while len(account) >= 15:
            if _mod_97(account):
                yield found.start(), found.start() + len(account)
                break
            account = account.rpartition(" ")[0]  # the last group may be the next word


def _mod_97(account: str) -> bool:
    bare = account.replace(" ", "")
    return int("".join(str(int(letter, 36)) for letter in bare[4:] + bare[:4])) % 97 == 1


def _keys(text: str) -> Iterator[Span]:
    for found in _KEY.finditer(text):
        before = text[found.start() - 1 : found.start()] if found.start() else ""
        if not (before.isalnum() and found[0].startswith(_IN_WORDS)):
            yield found.span()


def _tokens(text: str) -> Iterator[Span]:
    yield from sorted([*_base64_json(text), *_credentials(text)])


def _base64_json(text: str) -> Iterator[Span]:
    at = text.find("eyJ")  # what `{"` is in base64
    while at >= 0:
        found = _JWT.match(text, at) or _BASE64_JSON.match(text, at)
        assert found is not None
        end = at + len(found[0].rstrip("."))
        if end - at >= _BASE64_JSON_MIN:
            yield at, end
        at = text.find("eyJ", found.end())


def _credentials(text: str) -> Iterator[Span]:
    for found in _CREDENTIAL.finditer(text):
        value = found[1]
        if found[0][0] in "Bb" and found[0][1] in "eE":
            plausible = len(value) >= _BEARER_MIN or _DIGITS.search(value) is not None
        else:
            plausible = _is_basic(value)
        if plausible:
            yield found.span(1)


def _is_basic(value: str) -> bool:
    """Whether this is user:password in base64 (RFC 7617)."""
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4))
    except ValueError:
        return False


FINDERS: Mapping[Shape, Finder] = {
    Shape.KEY: _keys,
    Shape.TOKEN: _tokens,
    Shape.EMAIL: _emails,
    Shape.IBAN: _ibans,
    Shape.CARD: _cards,
}
"""The finder of each shape, in the order in which they are asked."""
