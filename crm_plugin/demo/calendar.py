"""When a shop of teas sells: it grows, it has its months and its weekdays, and the evening is its best hour."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from random import Random

from crm_plugin.clock import at_local

# In per cent of an ordinary month, January first; the winter's gifts and the week after the discounts are in it.
_MONTHS = (90, 105, 95, 90, 85, 80, 75, 80, 105, 100, 155, 190)
# Monday first.
_WEEKDAYS = (110, 100, 95, 95, 90, 95, 125)
# Share of each hour from seven in the morning on.
_FIRST_HOUR = 7
_HOURS = (2, 3, 5, 7, 8, 9, 8, 7, 7, 7, 8, 9, 10, 13, 12, 7)


class Calendar:
    """The days from `first` up to, but without, `until`; a day is its number counted from `first`. Zone: the shop's."""

    def __init__(self, first: date, until: date, zone: str) -> None:
        self.first = first
        self.until = until
        self.zone = zone
        self.days = (until - first).days
        weights = (self._weight(day) for day in range(self.days))
        self._sums = list(accumulate(weights))
        # Nothing in the shop's history is later than this.
        self.end = at_local(until, time(0), zone) - timedelta(minutes=1)

    def pick(self, rng: Random, low: int, high: int) -> int:
        """A day in [low, high], busy days more often."""
        before = self._sums[low - 1] if low else 0
        return bisect_left(self._sums, rng.randint(before + 1, self._sums[high]))

    def date(self, day: int) -> date:
        """The date of a day."""
        return self.first + timedelta(days=day)

    def order_time(self, rng: Random, day: int) -> datetime:
        """An instant between seven in the morning and eleven at night of that day."""
        hour = _FIRST_HOUR + rng.choices(range(len(_HOURS)), _HOURS)[0]
        return self.at(day, time(hour, rng.randrange(60), rng.randrange(60)))

    def at(self, day: int, clock: time) -> datetime:
        """The UTC instant of a wall-clock time on that day."""
        return at_local(self.date(day), clock, self.zone).astimezone(UTC)

    def _weight(self, day: int) -> int:
        on = self.date(day)
        growth = 60 + 90 * day // max(1, self.days)
        return growth * _MONTHS[on.month - 1] * _WEEKDAYS[on.weekday()]
