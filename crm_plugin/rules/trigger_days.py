"""Which stored days a local day that is due matches: days kept each year, and days counted from something that happened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from crm_plugin.birthdays import BEFORE, kept_on
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
