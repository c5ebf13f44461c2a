"""Points in time: every spelling of one second, zones and units, and what is no point in time."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.instant import instant

AT = 784_111_777.0  # 1994-11-06T08:49:37Z, the example of RFC 9110 5.6.7


@pytest.mark.parametrize(
    "value",
    [
        "1994-11-06T08:49:37Z",
        "1994-11-06t08:49:37z",
        "1994-11-06 08:49:37",
        "1994-11-06T08:49:37",
        "1994-11-06T08:49:37.000Z",
        "1994-11-06T08:49:37,0+00:00",
        "1994-11-06T10:49:37+02:00",
        "1994-11-06T00:49:37-0800",
        "1994-11-06T09:49:37+01",
        "1994-11-06 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "6 Nov 1994 10:49:37 +0200",
        " 1994-11-06T08:49:37Z ",
        784_111_777,
        784_111_777.0,
        784_111_777_000,
        784_111_777_000_000,
        784_111_777_000_000_000,
        "784111777",
        "784111777.000",
        "784111777000",
    ],
)
def test_all_spellings_of_one_second_are_one_instant(value: object) -> None:
    assert instant(value) == AT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01", 0.0),
        ("1969-12-31T23:59:59.5Z", -0.5),
        ("2000-02-29T00:00Z", 951_782_400.0),
        ("2016-12-31T23:59:60Z", 1_483_228_800.0),
        ("2026-01-01T24:00:00Z", 1_767_312_000.0),
        ("2024-02-29", 1_709_164_800.0),
        (Decimal("1700000000.123456789"), 1_700_000_000.123456789),
        ("Thu, 01 Jan 70 00:00:00 GMT", 0.0),
        (-1, -1.0),
        (0.5, 0.5),
    ],
)
def test_other_instants(value: object, seconds: float) -> None:
    assert instant(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None, True, [], {}, "", "x", "2026-13-01", "2026-00-01", "2026-01-32T00:00:00Z", "2026-1-1",
        "2023-02-29", "1900-02-29", "2026-04-31", "2026-01-01T24:30:00Z", "2026-01-01T24:00:00.5Z",
        "2026-01-01T25:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:00+99:00",
        "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 EST", "12:00", 1e30, 10**400,
        float("nan"), float("inf"), "9" * 30, "1" * 1000,
        "\u0662\u0660\u0662\u0666-01-01", "1994-11-06T08:49:37Z\n",
    ],
)  # fmt: skip
def test_all_else_is_no_instant(value: object) -> None:
    assert instant(value) is None


MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001 - the zone is drawn, too
ZONES = st.integers(-720, 720).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=100, deadline=None, database=None)
@given(moment=MOMENTS, zone=ZONES)
def test_it_agrees_with_the_standard_library(moment: datetime, zone: timezone) -> None:
    aware = moment.replace(tzinfo=zone)
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    assert instant(aware.isoformat()) == pytest.approx(expected, abs=1e-4)
    if moment.year >= 1000:
        assert instant(format_datetime(aware)) == pytest.approx(expected, abs=1)
