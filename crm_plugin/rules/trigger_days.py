"""Which stored days a local day that is due matches: days kept each year, and days counted from something that happened."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import date, timedelta

from crm_plugin.birthdays import BEFORE, kept_on
from crm_plugin.calendars import festival
from crm_plugin.clock import day_number
from crm_plugin.rules.trigger_kinds import Match, Trigger


def birthdays(trigger: Trigger, day: date) -> Iterator[Match]:
    """Solar and lunar ones, each in the year of its own calendar (`crm_plugin/birthdays.py`).

    The year alone is the occasion: a birthday that is corrected later is not kept twice in one year.
    """
    that = day - timedelta(days=trigger.days)
    for number, year in kept_on(that, leap_day(trigger)):
        yield number, str(year), day_number(that)


def leap_day(trigger: Trigger) -> str:
    """On which side a birthday trigger keeps 29 February in years that have none."""
    return trigger.get("leap_day") or BEFORE


def counted(trigger: Trigger, day: date) -> Iterator[Match]:
    """Days since something that each row tells, which is the occasion."""
    that = day_number(day - timedelta(days=trigger.days))
    yield that, "", that


def pauses(trigger: Trigger, day: date) -> Iterator[Match]:
    """Days since the last order: once for each pause."""
    that = day - timedelta(days=trigger.days)
    yield day_number(that), f"lapse:{that.isoformat()}", day_number(that)


def anniversaries(trigger: Trigger, day: date) -> Iterator[Match]:
    """The days of all years that are kept on this one; 29 February on the 28th in other years. Once for each year."""
    that = day - timedelta(days=trigger.days)
    kept = [that.month * 100 + that.day]
    if (that.month, that.day) == (2, 28) and not calendar.isleap(that.year):
        kept.append(229)
    for year in range(_FIRST_YEAR, that.year):
        for number in kept:
            if number != 229 or calendar.isleap(year):
                yield day_number(date(year, number // 100, number % 100)), str(that.year), day_number(that)


def everybody(trigger: Trigger, day: date) -> Iterator[Match]:
    """A day of the calendar that is kept for all: each year, in one year, or a festival."""
    that = day - timedelta(days=trigger.days)
    told, key = trigger.get("date"), trigger.get("festival")
    if key is not None:
        if festival(key, that.year) == that:
            yield 0, str(that.year), day_number(that)
    elif len(told) > len("12-24"):
        if told == that.isoformat():
            yield 0, f"date:{told}", day_number(that)
    elif month_day_in(that.year, told) == that:
        yield 0, str(that.year), day_number(that)


def next_day(trigger: Trigger, today: date) -> date | None:
    """The next day, `today` among them, on which a journey about a day that is kept for all speaks; None when it never will again."""
    told, key, days = trigger.get("date"), trigger.get("festival"), timedelta(days=trigger.days)
    years = range(today.year - 1, today.year + 3)
    if key is not None:
        kept = [festival(key, year) for year in years]
    elif len(told) > len("12-24"):
        kept = [date.fromisoformat(told)]
    else:
        kept = [month_day_in(year, told) for year in years]
    return min((day + days for day in kept if day is not None and day + days >= today), default=None)


def month_day_in(year: int, told: str) -> date:
    """A day such as 12-24 in a year; 29 February is the 28th where there is none."""
    month, day = (int(part) for part in told.split("-"))
    if (month, day) == (2, 29) and not calendar.isleap(year):
        day = 28
    return date(year, month, day)


def one_day(trigger: Trigger, day: date) -> Iterator[Match]:
    """The day of a campaign; one that begins at once has none."""
    told = trigger.get("at")
    if told and told[:10] == day.isoformat():
        yield 0, "campaign", day_number(day)


def ends(trigger: Trigger, day: date) -> Iterator[Match]:
    """The day on which something ends."""
    that = day - timedelta(days=trigger.days)
    yield day_number(that), f"tier_end:{that.isoformat()}", day_number(that)


# No store had members by then.
_FIRST_YEAR = 1980
