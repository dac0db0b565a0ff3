"""Birthdays as they are kept: the numbers they are stored as, solar and lunar, and the day on which each is kept in a year.

A stored birthday is one number, so that one index finds who has theirs on a day: month * 100 + day of the solar calendar; of the Chinese
lunisolar calendar 10000 more, and of a leap month there 30000 more. The day is 0 when only the month is known; its first day counts then.

- 29 February is kept on the day before or after (28 February or 1 March) in years that have none.
- A lunar birthday is kept once in each lunar year, which names its occasion: a solar year may hold none of it, or two. Who was born in a
  leap month keeps it in that leap month where the year has it, else in the plain month of that number; day 30 is the 29th where the month
  has no more (`lunar.py`).
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from crm_plugin import lunar

LUNAR, LEAP = 10_000, 30_000
BEFORE, AFTER = "before", "after"
_FEBRUARY_29 = 229


class Birthday(NamedTuple):
    """A birthday as it was told. `day` is 0 when only the month is known; `leap` is a lunar leap month."""

    month: int
    day: int
    lunar: bool = False
    leap: bool = False

    @property
    def month_and_day(self) -> str:
        """In figures, such as 07-21, leap-06-15, or 07 where only the month is known."""
        month = f"leap-{self.month:02}" if self.leap else f"{self.month:02}"
        return f"{month}-{self.day:02}" if self.day else month

    @property
    def number(self) -> int:
        """How it is stored."""
        return (LEAP if self.leap else LUNAR if self.lunar else 0) + self.month * 100 + self.day


class Passed(NamedTuple):
    """How far a day lies in its years: a birthday of a kind has been kept in the year when its number is at most the one given here.

    The lunar ones are None outside the calendar that is known.
    """

    year: int
    solar: int
    lunar_year: int | None
    lunar: int | None
    leap: int | None


def birthday_of(number: int) -> Birthday:
    """The birthday that a number stands for."""
    month, day = divmod(number % LUNAR, 100)
    return Birthday(month, day, number >= LUNAR, number >= LEAP)


def is_birthday(birthday: Birthday, year: int | None = None) -> bool:
    """Whether there is such a day: in that year (of its own calendar) where it is known, else in any."""
    month, day = birthday.month, birthday.day
    if not birthday.lunar:
        return 1 <= month <= 12 and 0 <= day <= calendar.monthrange(year or 2000, month)[1]
    if not (1 <= month <= 12 and 0 <= day <= 30):
        return False
    if year is None or not lunar.FIRST_YEAR <= year <= lunar.LAST_YEAR:
        return year is None
    if birthday.leap and lunar.leap_month(year) != month:
        return False
    return day <= lunar.month_days(year, month, birthday.leap)


def kept_on(day: date, leap_day: str = BEFORE) -> Iterator[tuple[int, int]]:
    """The stored birthdays that are kept on a day, each with the year that is its occasion: the solar or the lunar one."""
    for number in _solar(day, leap_day):
        yield number, day.year
    found = _lunar_day(day)
    if found is None:
        return
    days = [found.day, *([0] if found.day == 1 else []), *([30] if _ends(found) and found.day == 29 else [])]
    kinds = (LEAP,) if found.leap else (LUNAR, LEAP)
    if not found.leap and lunar.leap_month(found.year) == found.month:
        # Its own leap month comes later in this year.
        kinds = (LUNAR,)
    for kind in kinds:
        for number in days:
            yield kind + found.month * 100 + number, found.year


@lru_cache(maxsize=1024)
def is_kept_on(day: date, number: int, leap_day: str = BEFORE) -> bool:
    """Whether a stored birthday is kept on that day."""
    return any(one == number for one, _year in kept_on(day, leap_day))


def kept_in(year: int, number: int, leap_day: str = BEFORE) -> date:
    """The day a stored birthday is kept in a year of its own calendar. Raises: ValueError for a lunar year that is not known."""
    born = birthday_of(number)
    if born.lunar:
        return lunar.kept_in(year, born.month, born.day or 1, born.leap)
    if number == _FEBRUARY_29 and not calendar.isleap(year):
        return date(year, 2, 28) if leap_day == BEFORE else date(year, 3, 1)
    return date(year, born.month, born.day or 1)


def kept_around(day: date, number: int, leap_day: str = BEFORE) -> date:
    """The day it is kept in the year in which a day lies; a lunar one after 2101 on that day itself, for more is not known."""
    if number < LUNAR:
        return kept_in(day.year, number, leap_day)
    found = _lunar_day(day)
    return day if found is None else kept_in(found.year, number)


def passed(day: date) -> Passed:
    """How far a day lies in its solar and in its lunar year; 29 February is over with the next day of any year."""
    solar = day.month * 100 + day.day
    found = _lunar_day(day)
    if found is None:
        return Passed(day.year, solar, None, None, None)
    of_month = found.month * 100 + (30 if _ends(found) else found.day)
    if found.leap:
        # The plain month is over, all of it.
        return Passed(day.year, solar, found.year, LUNAR + found.month * 100 + 30, LEAP + of_month)
    later = lunar.leap_month(found.year) == found.month
    leap = LEAP + (found.month * 100 - 1 if later else of_month)
    return Passed(day.year, solar, found.year, LUNAR + of_month, leap)


def years_old(day: date, year: int, number: int | None) -> int | None:
    """Full years on a day, of who was born in a year of the birthday's own calendar; None before it.

    Without a birthday the year alone counts.
    """
    at, born = passed(day), number or 0
    this = at.lunar_year if born >= LUNAR else at.year
    if this is None or year > this:
        return None
    over = at.leap if born >= LEAP else at.lunar if born >= LUNAR else at.solar
    assert over is not None
    return this - year - (born > over)


def _solar(day: date, leap_day: str) -> Iterator[int]:
    yield day.month * 100 + day.day
    if day.day == 1:
        yield day.month * 100
    if not calendar.isleap(day.year) and (day.month, day.day) == ((2, 28) if leap_day == BEFORE else (3, 1)):
        yield _FEBRUARY_29


def _lunar_day(day: date) -> lunar.LunarDay | None:
    try:
        return lunar.from_solar(day)
    except ValueError:
        return None


def _ends(day: lunar.LunarDay) -> bool:
    """Whether it is the last of its month."""
    return day.day == lunar.month_days(day.year, day.month, day.leap)
