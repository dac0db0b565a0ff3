"""Quiet hours where the clocks change; the next day of a journey about a day that is the same for all."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import pytest

from crm_plugin.rules.trigger_days import next_day
from crm_plugin.rules.triggers import QuietHours, Trigger

BERLIN = "Europe/Berlin"


def _utc(month: int, day: int, hour: int, minute: int) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


# On 25 October 2026 it is 02:00 to 03:00 twice in Berlin: from 00:00 and from 01:00 UTC.
@pytest.mark.parametrize(
    ("at", "allowed"),
    [
        (_utc(10, 24, 22, 0), _utc(10, 25, 0, 30)),
        (_utc(10, 25, 0, 10), _utc(10, 25, 0, 30)),
        (_utc(10, 25, 0, 40), _utc(10, 25, 0, 40)),
        (_utc(10, 25, 1, 10), _utc(10, 25, 1, 30)),
        (_utc(10, 25, 1, 30), _utc(10, 25, 1, 30)),
    ],
    ids=["evening", "first 02:10", "first 02:40", "second 02:10", "second 02:30"],
)
def test_night_that_ends_in_the_repeated_hour(at: datetime, allowed: datetime) -> None:
    assert QuietHours(time(21), time(2, 30)).after(at, BERLIN) == allowed


def test_night_that_ends_in_the_skipped_hour_ends_after_it() -> None:
    quiet = QuietHours(time(21), time(2, 30))
    assert quiet.after(_utc(3, 29, 0, 10), BERLIN) == _utc(3, 29, 1, 30)
    assert quiet.after(_utc(3, 29, 1, 10), BERLIN) == _utc(3, 29, 1, 10)


@pytest.mark.parametrize(
    ("told", "days", "on"),
    [
        ({"festival": "double_eleven"}, -3, date(2027, 11, 8)),
        ({"date": "11-27"}, 0, date(2026, 11, 27)),
        ({"date": "12-31"}, 5, date(2027, 1, 5)),
        ({"date": "01-02"}, -10, date(2026, 12, 23)),
        ({"date": "2026-11-01"}, 0, None),
        ({"festival": "spring_festival"}, -7, date(2027, 1, 30)),
    ],
)
def test_the_next_day_on_which_it_speaks(told: dict[str, Any], days: int, on: date | None) -> None:
    assert next_day(Trigger("fixed_date", days, told), date(2026, 11, 27)) == on
