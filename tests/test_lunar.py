"""The lunisolar calendar against the sky, against two libraries that have it from elsewhere, and against itself."""

from __future__ import annotations

from collections.abc import Callable, Container
from datetime import date, datetime, timedelta

import pytest
from borax.calendars.lunardate import LunarDate
from cnlunar import Lunar
from hypothesis import given
from hypothesis import strategies as st

from crm_plugin import lunar
from crm_plugin.lunar import LunarDay, from_solar, kept_in, leap_month, month_days, to_solar
from tests import lunar_sky

FIRST, LAST = date(1900, 1, 31), date(2101, 1, 28)
DAYS = st.dates(FIRST, LAST)
YEARS = st.integers(lunar.FIRST_YEAR, lunar.LAST_YEAR)

# What was printed before 1929 and is not what the formulas give: the moon (1906) or the sun was minutes from midnight in Beijing.
PRINTED = {
    1906: {(3, False): (date(1906, 3, 25), 30), (4, False): (date(1906, 4, 24), 29)},
    1917: {(2, True): (date(1917, 3, 23), 29), (3, False): (date(1917, 4, 21), 30)},
    1922: {(5, True): (date(1922, 6, 25), 29), (6, False): (date(1922, 7, 24), 30)},
}

# Where a library begins a month on the other side of midnight: these new moons lie within two minutes of it. We follow the rules of
# GB/T 33661-2017 with the present forecast of the Earth's turning; the libraries do not agree with each other either.
BORAX = {2089: (date(2089, 9, 4), date(2089, 10, 3))}
CNLUNAR = {2057: (date(2057, 9, 28), date(2057, 10, 27)), 2097: (date(2097, 8, 7), date(2097, 9, 5))}


def _table(year: int) -> dict[tuple[int, bool], tuple[date, int]]:
    names = [(month, leap) for month in range(1, 13) for leap in (False, True) if not leap or leap_month(year) == month]
    return {name: (to_solar(year, name[0], 1, name[1]), month_days(year, *name)) for name in names}


def test_table_is_what_the_sky_gives() -> None:
    sky = lunar_sky.calendar(1900, 2100)
    assert len(sky) == 201
    for year, months in sky.items():
        expected = {(month, leap): (begins, days) for month, leap, begins, days in months}
        if year in PRINTED:
            changed = PRINTED[year]
            begun = {begins for begins, _ in changed.values()}
            # The printed months stand in for those that lie where they do.
            low, high = min(begun), max(begun)
            expected = {name: row for name, row in expected.items() if not low <= row[0] <= high} | changed
        assert _table(year) == expected, year


def _borax(day: date) -> LunarDay:
    found = LunarDate.from_solar(day)
    return LunarDay(found.year, found.month, found.day, bool(found.leap))


def _cnlunar(day: date) -> LunarDay:
    found = Lunar(datetime(day.year, day.month, day.day, 12))
    return LunarDay(found.lunarYear, found.lunarMonth, found.lunarDay, found.isLunarLeapMonth)


@pytest.mark.parametrize(
    ("first", "last", "oracle", "differs", "days"),
    [
        pytest.param(FIRST, date(2100, 12, 31), _borax, BORAX, range(1, 31), id="borax"),
        # It is slow; where a month begins and ends is told by these.
        pytest.param(date(1901, 2, 19), date(2100, 2, 8), _cnlunar, CNLUNAR, (1, 2, 29, 30), id="cnlunar"),
    ],
)
@pytest.mark.slow
def test_every_month_is_what_another_library_gives(
    first: date,
    last: date,
    oracle: Callable[[date], LunarDay],
    differs: dict[int, tuple[date, date]],
    days: Container[int],
) -> None:
    asked = [
        day
        for number in range((last - first).days + 1)
        if from_solar(day := first + timedelta(days=number)).day in days
    ]
    expected = [day for day in asked if any(low <= day <= high for low, high in differs.values())]
    assert [day for day in asked if oracle(day) != from_solar(day)] == expected


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(1901, 2, 19), LunarDay(1901, 1, 1)),
        (date(1916, 2, 3), LunarDay(1916, 1, 1)),
        (date(1978, 9, 17), LunarDay(1978, 8, 15)),
        (date(2023, 3, 22), LunarDay(2023, 2, 1, True)),
        (date(2026, 2, 16), LunarDay(2025, 12, 29)),
        (date(2026, 2, 17), LunarDay(2026, 1, 1)),
        (date(2033, 12, 22), LunarDay(2033, 11, 1, True)),
        (date(2057, 9, 29), LunarDay(2057, 9, 1)),
        (date(2089, 9, 4), LunarDay(2089, 8, 1)),
        (date(2097, 8, 8), LunarDay(2097, 7, 1)),
        (LAST, LunarDay(2100, 12, 29)),
    ],
    ids=str,
)
def test_known_days(day: date, expected: LunarDay) -> None:
    assert from_solar(day) == expected
    assert to_solar(*expected) == day


@given(DAYS)
def test_there_and_back(day: date) -> None:
    found = from_solar(day)
    assert to_solar(*found) == day
    assert kept_in(*found) == day


def test_years_follow_one_another() -> None:
    for year in range(lunar.FIRST_YEAR, lunar.LAST_YEAR):
        table = _table(year)
        assert len(table) == 12 + bool(leap_month(year))
        assert lunar.new_year(year) + timedelta(days=sum(days for _, days in table.values())) == lunar.new_year(
            year + 1
        )
        # The winter solstice lies in the eleventh month, so the year begins between these.
        assert (1, 20) < (lunar.new_year(year).month, lunar.new_year(year).day) < (2, 22)


@given(YEARS, st.integers(1, 12), st.integers(1, 30), st.booleans())
def test_birthday_is_kept_once_in_each_lunar_year(year: int, month: int, day: int, leap: bool) -> None:
    kept = kept_in(year, month, day, leap)
    there = from_solar(kept)
    in_leap = leap and leap_month(year) == month
    assert there == LunarDay(year, month, min(day, month_days(year, month, in_leap)), in_leap)


def test_leap_birthday_is_kept_in_its_leap_month_where_there_is_one() -> None:
    assert kept_in(2020, 4, 12, True) == to_solar(2020, 4, 12, True) == date(2020, 6, 3)
    assert kept_in(2021, 4, 12, True) == to_solar(2021, 4, 12) == date(2021, 5, 23)
    # This year's leap month is another.
    assert kept_in(2023, 4, 12, True) == to_solar(2023, 4, 12)


def test_last_of_a_long_month_is_kept_on_the_last_of_a_short_one() -> None:
    assert (month_days(2025, 12), month_days(2029, 12)) == (29, 30)
    assert kept_in(2025, 12, 30) == date(2026, 2, 16) == to_solar(2025, 12, 29)
    assert kept_in(2029, 12, 30) == to_solar(2029, 12, 30) == date(2030, 2, 2)


def test_solar_years_with_no_such_birthday_and_with_two() -> None:
    """The first day of the twelfth month lies at the turn of the year, and slips over it."""
    days = [kept_in(year, 12, 1) for year in range(1990, 2010)]
    by_year = {year: sum(day.year == year for day in days) for year in range(1992, 2009)}
    assert set(by_year.values()) == {0, 1, 2}
    assert len(days) == len(set(days)) == 20


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: from_solar(FIRST - timedelta(days=1)), "1899 is not known"),
        (lambda: from_solar(LAST + timedelta(days=1)), "after the last lunar year"),
        (lambda: from_solar(date(2200, 1, 1)), "2199 is not known"),
        (lambda: to_solar(2026, 4, 1, True), "2026 has no month leap 4"),
        (lambda: to_solar(2025, 12, 30), "has 29 days, no day 30"),
        (lambda: to_solar(2025, 13, 1), "no month 13"),
        (lambda: month_days(2101, 1), "2101 is not known"),
        (lambda: kept_in(2026, 13, 1), "no lunar year has a month 13"),
        (lambda: kept_in(2026, 1, 31), "with a day 31"),
    ],
)
def test_what_is_not_there_is_said(call: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        call()
