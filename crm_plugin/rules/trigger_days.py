"""Which stored days a local day that is due matches: days kept each year, and days counted from something that happened."""

from __future__ import annotations

import calendar as months
from collections.abc import Iterator
from datetime import date, timedelta

from crm_plugin.clock import day_number
from crm_plugin.rules.trigger_kinds import Match, Trigger


def birthdays(trigger: Trigger, day: date) -> Iterator[Match]:
    """29 February is kept on 28 February in other years; when only the month is known, the first of the month counts.

    The year alone is the occasion: a birthday that is corrected later is not kept twice in one year.
    """
    that = day - timedelta(days=trigger.days)
    for number in month_days(that):
        yield number, str(that.year), day_number(that)


def counted(trigger: Trigger, day: date) -> Iterator[Match]:
    """Days since something that each row tells, which is the occasion."""
    that = day_number(day - timedelta(days=trigger.days))
    yield that, "", that


def pauses(trigger: Trigger, day: date) -> Iterator[Match]:
    """Days since the last order: once for each pause."""
    that = day - timedelta(days=trigger.days)
    yield day_number(that), f"lapse:{that.isoformat()}", day_number(that)


def month_days(day: date) -> Iterator[int]:
    """The stored days of the year, month * 100 + day, that are kept on this day."""
    yield day.month * 100 + day.day
    if day.day == 1:
        yield day.month * 100
    if (day.month, day.day) == (2, 28) and not months.isleap(day.year):
        yield 229


def birthday_in(year: int, month_day: int) -> date:
    """The day a stored birthday is kept in that year."""
    month, day = divmod(month_day, 100)
    if (month, day) == (2, 29) and not months.isleap(year):
        day = 28
    return date(year, month, day or 1)
