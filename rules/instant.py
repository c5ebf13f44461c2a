"""Points in time as replies spell them: RFC 3339, RFC 9110 dates, and seconds since 1970 in four units.

Law: what is not certainly a point in time is None; a time without a zone is taken as UTC.
"""

import re
from collections.abc import Mapping
from decimal import Decimal

TEXT_CHARACTERS_MAX = 64
"""Longer texts are no points in time."""

_NUMBER_MAX = 10**20
_NANOSECONDS, _MICROSECONDS, _MILLISECONDS = 10**17, 10**14, 10**11
_MONTHS: Mapping[str, int] = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,12}))?)?"
_FORMS = (
    # RFC 3339 5.6, and what ISO 8601 lets through beside it: no zone, no seconds, a date alone
    re.compile(
        r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
        rf"(?:[Tt ]{_CLOCK} ?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?",
        re.ASCII,
    ),
    # RFC 9110 5.6.7: IMF-fixdate and the obsolete one of RFC 850; RFC 5322 has numeric zones
    re.compile(
        r"(?:[A-Za-z]{3,9}, ?)?(?P<day>\d\d?)[ -](?P<month>[A-Za-z]{3})[ -](?P<year>\d{4}|\d\d) "
        rf"{_CLOCK} (?P<zone>GMT|UTC?|Z|[+-]\d{{4}})",
        re.ASCII,
    ),
    # RFC 9110 5.6.7: asctime
    re.compile(
        r"[A-Za-z]{3} (?P<month>[A-Za-z]{3}) (?P<day>[ \d]\d) "
        rf"{_CLOCK} (?P<year>\d{{4}})(?P<zone>)",
        re.ASCII,
    ),
)
_EPOCH = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,12})?")


def instant(value: object) -> float | None:
    """Seconds since 1970-01-01T00:00:00Z, or None where the value is no point in time.

    A number counts seconds below 1e11, milliseconds below 1e14, microseconds below 1e17, else
    nanoseconds: each unit ends some 1,100 years after the epoch.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        return _since_epoch(float(value) if isinstance(value, Decimal) else value)
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX:
        return None
    text = value.strip(" ")
    if _EPOCH.fullmatch(text):
        return _since_epoch(float(text) if "." in text else int(text))
    for form in _FORMS:
        found = form.fullmatch(text)
        if found is not None:
            return _seconds(found)
    return None


def _since_epoch(number: float) -> float | None:
    size = abs(number)
    if not size < _NUMBER_MAX:  # a NaN is not, either
        return None
    for least, unit in ((_NANOSECONDS, 1e9), (_MICROSECONDS, 1e6), (_MILLISECONDS, 1e3)):
        if size >= least:
            return number / unit
    return float(number)


def _seconds(found: re.Match[str]) -> float | None:
    name, year, day = found["month"], int(found["year"]), int(found["day"])
    month = int(name) if name.isdigit() else _MONTHS.get(name.lower(), 0)
    if len(found["year"]) == 2:
        year += 2000 if year < 70 else 1900
    hour, minute, second = (int(found[each] or 0) for each in ("hour", "minute", "second"))
    zone = _zone(found["zone"] or "Z")
    if not 1 <= month <= 12 or not 1 <= day <= _days_of(year, month) or zone is None:
        return None
    if hour > 24 or minute > 59 or second > 60:  # 60 is a leap second
        return None
    fraction = float(f"0.{found['fraction'] or 0}")
    if hour == 24 and (
        minute or second or fraction
    ):  # 24:00 is the end of a day, nothing is after it
        return None
    return _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second + fraction - zone


def _zone(text: str) -> int | None:
    """The offset from UTC in seconds."""
    if text[0] not in "+-":
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        return None
    return (hours * 3600 + minutes * 60) * (-1 if text[0] == "-" else 1)


def _days_of(year: int, month: int) -> int:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return _DAYS[month - 1] - (month == 2 and not leap)


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar: years begin in March, leap days are last."""
    year -= month <= 2
    months = (month + 9) % 12
    return (
        365 * year + year // 4 - year // 100 + year // 400 + (153 * months + 2) // 5 + day - 719_469
    )
