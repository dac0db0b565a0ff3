"""Birthdays as stores write them: in which order day and month stand, and how certain that is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from crm_plugin.adapters.storefronts.lunar_birthdays import is_lunar, read_lunar

# What may be told of a store's dates: nothing, so that only what is certain is read, or which of day and month comes first.
CERTAIN, DAY_FIRST, MONTH_FIRST = "certain", "day first", "month first"
ORDERS = (CERTAIN, DAY_FIRST, MONTH_FIRST)
_YEAR_FIRST = re.compile(r"^(\d{4})(?:[-/.](\d{1,2})[-/.](\d{1,2})|(\d{2})(\d{2}))(?:[T ].*)?$")
_MONTH_DAY = re.compile(r"^(--)?(\d{1,2})-(\d{1,2})$")
_SLASHED = re.compile(r"^(\d{1,2})/(\d{1,2})$")
_YEAR_LAST = re.compile(r"^(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?:[T ].*)?$")


class Birthday(NamedTuple):
    """A birthday; the year, of its own calendar, is None where it is not told. `lunar` and `leap` as in `birthdays.py`."""

    year: int | None
    month: int
    day: int
    lunar: bool = False
    leap: bool = False


@dataclass(frozen=True, slots=True)
class Guess:
    """What the dates of a store tell of their order.

    `order` is the one that some of them prove and none contradicts, else `certain`; `unsure` counts the different ones that can be read
    either way, `day_first` and `month_first` those that prove one.
    """

    order: str
    unsure: int
    day_first: int
    month_first: int

    @property
    def has_to_be_told(self) -> bool:
        """Whether dates stay unread until somebody says which of day and month comes first."""
        return bool(self.unsure) and self.order == CERTAIN


def guess_order(texts: Iterable[str]) -> Guess:
    """In which order day and month stand in these dates."""
    told = {text.strip(): _pair(text.strip()) for text in texts}
    pairs = {text: pair for text, pair in told.items() if pair is not None}
    day_first = sum(first > 12 >= second for first, second in pairs.values())
    month_first = sum(second > 12 >= first for first, second in pairs.values())
    unsure = sum(max(pair) <= 12 and read_birthday(text) is None for text, pair in pairs.items())
    order = CERTAIN
    if day_first and not month_first:
        order = DAY_FIRST
    elif month_first and not day_first:
        order = MONTH_FIRST
    return Guess(order, unsure, day_first, month_first)


def read_birthday(text: str, order: str = CERTAIN) -> Birthday | None:
    """The birthday in this text, or None when it is not certain which day is meant.

    Taken are lunar ones that say so (`lunar:08-15`), year-month-day in any separator, month-day alone, and day-month-year. `05/06/1985` is
    read by nobody the same way, so slashes and dashes are taken only when one number is past twelve, or when `order` tells which comes
    first; with dots the day always does.
    """
    text = text.strip()
    if is_lunar(text):
        return read_lunar_birthday(text)
    if found := _YEAR_FIRST.match(text):
        return _placed(int(found[1]), int(found[2] or found[4]), int(found[3] or found[5]))
    if (found := _MONTH_DAY.match(text)) and (found[1] or order != DAY_FIRST):
        return _placed(0, int(found[2]), int(found[3]))
    pair = _pair(text)
    if pair is not None:
        year = _YEAR_LAST.match(text)
        return _in_order(int(year[4]) if year else 0, *pair, order)
    if found := _YEAR_LAST.match(text):
        return _placed(int(found[4]), int(found[3]), int(found[1]))
    return None


def read_lunar_birthday(text: str) -> Birthday | None:
    """The birthday of the Chinese lunisolar calendar in this text, which need not name the calendar; None when there is no such day."""
    found = read_lunar(text)
    if found is None:
        return None
    year = found.year if found.year and found.year <= datetime.now(UTC).year else None
    return Birthday(year, *found.birthday)


def born(birthday: Birthday | None) -> dict[str, Any]:
    """The birthday as fields of a MemberRecord."""
    if birthday is None:
        return {}
    return {
        "birth_year": birthday.year,
        "birth_month": birthday.month,
        "birth_day": birthday.day,
        "birth_lunar": birthday.lunar,
        "birth_leap": birthday.leap,
    }


def _pair(text: str) -> tuple[int, int] | None:
    """The two numbers of a date of which either could be the day; None where the form says which is."""
    if (found := _YEAR_LAST.match(text)) and found[2] != ".":
        return int(found[1]), int(found[3])
    if found := _SLASHED.match(text):
        return int(found[1]), int(found[2])
    if (found := _MONTH_DAY.match(text)) and not found[1]:
        return int(found[2]), int(found[3])
    return None


def _in_order(year: int, first: int, second: int, order: str) -> Birthday | None:
    if first > 12 or first == second:
        return _placed(year, second, first)
    if second > 12:
        return _placed(year, first, second)
    if order == DAY_FIRST:
        return _placed(year, second, first)
    return _placed(year, first, second) if order == MONTH_FIRST else None


def _placed(year: int, month: int, day: int) -> Birthday | None:
    try:
        # 2000 has a 29 February, which a birthday without a year may be.
        date(year or 2000, month, day)
    except ValueError:
        return None
    known = 1900 <= year <= datetime.now(UTC).year
    return Birthday(year if known else None, month, day)
