"""The Chinese lunisolar calendar: lunar days and the solar days they fall on, for the lunar years 1900 to 2100.

From 1929 the rules of GB/T 33661-2017 hold: in Beijing time (UTC+8) a month begins on the day of its new moon, the month with the winter
solstice is the eleventh, and where thirteen months lie between two solstices the first one without a major solar term is a leap month.
Before 1929 the days were those of Beijing's own mean time, and what was printed then is what people were born by: the table follows it in
1906, 1917 and 1922 as well, where the moon or the sun was minutes from midnight.

Three new moons to come are so near midnight that the turning of the Earth decides: 2057-09-29, 2089-09-04 and 2097-08-08 begin a month
here, as the present forecast of it says. Other tables may be one day off there, in that month alone.

A lunar year is named by the solar year in which it begins; its last weeks lie in the next one.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import date, timedelta
from functools import cache
from typing import NamedTuple

FIRST_YEAR, LAST_YEAR = 1900, 2100

# One number a year, from the lowest bit: thirteen bits say which of its months, in order, have 30 days and not 29; four bits name the month
# that a leap month follows (0: none); the rest is how many days after 1 January the lunar year begins.
_YEARS = (
    0x3D16D2,
    0x620752,
    0x4C0EA5,
    0x38B64A,
    0x5C064B,
    0x440A9B,
    0x309556,
    0x56056A,
    0x400B59,
    0x2A5752,  # 1900
    0x500752,
    0x3ADB25,
    0x600B25,
    0x480A4B,
    0x32B4AB,
    0x5802AD,
    0x42056B,
    0x2C4B69,
    0x520DA9,
    0x3EFD92,  # 1910
    0x640E92,
    0x4C0D25,
    0x36BA4D,
    0x5C0A56,
    0x4602B6,
    0x2E95B5,
    0x5606D4,
    0x400EA9,
    0x2C5E92,
    0x500E92,  # 1920
    0x3ACD26,
    0x5E052B,
    0x480A57,
    0x32B2B6,
    0x580B5A,
    0x4406D4,
    0x2E6EC9,
    0x520749,
    0x3CF693,
    0x620A93,  # 1930
    0x4C052B,
    0x34CA5B,
    0x5A0AAD,
    0x46056A,
    0x309B55,
    0x560BA4,
    0x400B49,
    0x2A5A93,
    0x500A95,
    0x38F52D,  # 1940
    0x5E0536,
    0x480AAD,
    0x34B5AA,
    0x5805B2,
    0x420DA5,
    0x2E7D4A,
    0x540D4A,
    0x3D0A95,
    0x600A97,
    0x4C0556,  # 1950
    0x36CAB5,
    0x5A0AD5,
    0x4606D2,
    0x308EA5,
    0x560EA5,
    0x40064A,
    0x286C97,
    0x4E0A9B,
    0x3AF55A,
    0x5E056A,  # 1960
    0x480B69,
    0x34B752,
    0x5A0B52,
    0x420B25,
    0x2C964B,
    0x520A4B,
    0x3D14AB,
    0x6002AD,
    0x4A056D,
    0x36CB69,  # 1970
    0x5C0DA9,
    0x460D92,
    0x309D25,
    0x560D25,
    0x415A4D,
    0x640A56,
    0x4E02B6,
    0x38C5B5,
    0x5E06D5,
    0x480EA9,  # 1980
    0x34BE92,
    0x5A0E92,
    0x440D26,
    0x2C6A56,
    0x500A57,
    0x3D14D6,
    0x62035A,
    0x4A06D5,
    0x36B6C9,
    0x5C0749,  # 1990
    0x460693,
    0x2E952B,
    0x54052B,
    0x3E0A5B,
    0x2A555A,
    0x4E056A,
    0x38FB55,
    0x600BA4,
    0x4A0B49,
    0x32BA93,  # 2000
    0x580A95,
    0x42052D,
    0x2C8AAD,
    0x500AB5,
    0x3D35AA,
    0x6205D2,
    0x4C0DA5,
    0x36DD4A,
    0x5C0D4A,
    0x460C95,  # 2010
    0x30952E,
    0x540556,
    0x3E0AB5,
    0x2A55B2,
    0x5006D2,
    0x38CEA5,
    0x5E0725,
    0x48064B,
    0x32AC97,
    0x560CAB,  # 2020
    0x42055A,
    0x2C6AD6,
    0x520B69,
    0x3D7752,
    0x620B52,
    0x4C0B25,
    0x36DA4B,
    0x5A0A4B,
    0x4404AB,
    0x2EA55B,  # 2030
    0x5405AD,
    0x3E0B6A,
    0x2A5B52,
    0x500D92,
    0x3AFD25,
    0x5E0D25,
    0x480A55,
    0x32B4AD,
    0x5804B6,
    0x4005B5,  # 2040
    0x2C6DAA,
    0x520EC9,
    0x3F1E92,
    0x620E92,
    0x4C0D26,
    0x36CA56,
    0x5A0A57,
    0x4404D6,
    0x2E86D5,
    0x540755,  # 2050
    0x400749,
    0x286E93,
    0x4E0693,
    0x38F52B,
    0x5E052B,
    0x460A5B,
    0x32B55A,
    0x58056A,
    0x420B65,
    0x2C974A,  # 2060
    0x520B4A,
    0x3D1A95,
    0x620A95,
    0x4A052D,
    0x34CAAD,
    0x5A0AB5,
    0x4605AA,
    0x2E8BA5,
    0x540DA5,
    0x400D4A,  # 2070
    0x2A7C95,
    0x4E0C96,
    0x38F94E,
    0x5E0556,
    0x480AB5,
    0x32B5B2,
    0x5806D2,
    0x420EA5,
    0x2E8E4A,
    0x50068B,  # 2080
    0x3B0C97,
    0x6004AB,
    0x4A055B,
    0x34CAD6,
    0x5A0B6A,
    0x460752,
    0x309725,
    0x540B25,
    0x3E0A8B,
    0x28549B,  # 2090
    0x4E04AB,  # 2100
)
_MONTH_BITS, _LEAP_BITS = 13, 4


class LunarDay(NamedTuple):
    """A day of the lunisolar calendar; `leap` when its month is the leap month that follows the month of that number."""

    year: int
    month: int
    day: int
    leap: bool = False


class _Month(NamedTuple):
    month: int
    leap: bool
    begins: date
    days: int


def new_year(year: int) -> date:
    """The first day of a lunar year. Raises: ValueError outside 1900 to 2100."""
    return _months(year)[0].begins


def leap_month(year: int) -> int:
    """The month that the leap month of this year follows; 0 when it has none. Raises: ValueError outside 1900 to 2100."""
    return next((one.month for one in _months(year) if one.leap), 0)


def month_days(year: int, month: int, leap: bool = False) -> int:
    """29 or 30. Raises: ValueError when the year has no such month."""
    return _month(year, month, leap).days


def to_solar(year: int, month: int, day: int, leap: bool = False) -> date:
    """The solar day of a lunar day. Raises: ValueError when there is no such day."""
    found = _month(year, month, leap)
    if not 1 <= day <= found.days:
        raise ValueError(f"month {_named(month, leap)} of lunar year {year} has {found.days} days, no day {day}")
    return found.begins + timedelta(days=day - 1)


def from_solar(day: date) -> LunarDay:
    """The lunar day of a solar day. Raises: ValueError before 1900-01-31 and after 2101-01-28."""
    year = day.year
    if year > LAST_YEAR or (year >= FIRST_YEAR and day < new_year(year)):
        year -= 1
    months = _months(year)
    found = months[bisect_right(months, day, key=lambda one: one.begins) - 1]
    number = (day - found.begins).days + 1
    if number > found.days:
        raise ValueError(f"{day} lies after the last lunar year that is known, {LAST_YEAR}")
    return LunarDay(year, found.month, number, found.leap)


def kept_in(year: int, month: int, day: int, leap: bool = False) -> date:
    """The solar day on which a lunar birthday is kept in a lunar year: each year has exactly one.

    Who was born in a leap month keeps it in that leap month where the year has it, else in the plain month of that number; a day 30 is the
    29th where the month has no more. Raises: ValueError for a month or a day that no year has.
    """
    if not (1 <= month <= 12 and 1 <= day <= 30):
        raise ValueError(f"no lunar year has a month {month} with a day {day}")
    found = _month(year, month, leap and leap_month(year) == month)
    return found.begins + timedelta(days=min(day, found.days) - 1)


@cache
def _months(year: int) -> tuple[_Month, ...]:
    """The months of a lunar year in order. Raises: ValueError outside the table."""
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"lunar year {year} is not known: the table runs from {FIRST_YEAR} to {LAST_YEAR}")
    number = _YEARS[year - FIRST_YEAR]
    leap = number >> _MONTH_BITS & ((1 << _LEAP_BITS) - 1)
    begins = date(year, 1, 1) + timedelta(days=number >> (_MONTH_BITS + _LEAP_BITS))
    names = [(month, False) for month in range(1, 13)]
    if leap:
        names.insert(leap, (leap, True))
    found = []
    for place, (month, is_leap) in enumerate(names):
        days = 29 + (number >> place & 1)
        found.append(_Month(month, is_leap, begins, days))
        begins += timedelta(days=days)
    return tuple(found)


def _month(year: int, month: int, leap: bool) -> _Month:
    for one in _months(year):
        if (one.month, one.leap) == (month, leap):
            return one
    raise ValueError(f"lunar year {year} has no month {_named(month, leap)}")


def _named(month: int, leap: bool) -> str:
    return f"leap {month}" if leap else str(month)
