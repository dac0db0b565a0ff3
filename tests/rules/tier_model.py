"""One member's way through a tier programme, told day by day in plain Python: the second opinion on the pass.

It reads the policy's document itself and counts the orders itself. A day on which nobody looked is gone through by what holds on the
day that is looked at, and only where a term tells when something ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

ONE = timedelta(days=1)


@dataclass
class Model:
    """What the member holds and has passed; orders are a day with an amount."""

    document: Mapping[str, Any]
    joined_on: date | None
    level: int = -1
    since: date | None = None
    ends: date | None = None
    grace_ends: date | None = None
    in_grace: bool = False
    held: set[int] = field(default_factory=set)
    passed: set[int] = field(default_factory=set)
    rewards: list[int] = field(default_factory=list)
    looked: date | None = None
    begun_before: date | None = None

    @property
    def levels(self) -> Sequence[Mapping[str, Any]]:
        return self.document["levels"]  # type: ignore[no-any-return]

    def look(self, today: date, orders: Sequence[tuple[date, int]]) -> None:
        """The pass of one day."""
        self.begun_before = self.since
        missed = self.looked + ONE if self.looked is not None and self.looked < today else today
        while missed <= today:
            self._day(missed, today, orders)
            missed += ONE
        self.looked = today

    def _day(self, day: date, today: date, orders: Sequence[tuple[date, int]]) -> None:
        if day == today:
            reached = [one for one in range(self.level + 1, len(self.levels)) if self._earns(one, today, orders)]
            before = [one for one in range(len(self.levels)) if self._earned_last_year(one, today, orders)]
            if self.looked is None and max(before, default=-1) > max(reached, default=-1):
                self._up(before[-1], date(today.year - 1, 12, 31), today)
                if self.ends is not None and self.ends < today:
                    self._renew(today)
                return
            if reached:
                self._up(reached[-1], today, today)
                return
        if self.level < 0 or (self.ends is None and day < today):
            return
        if self.ends is not None and day <= self.ends:
            return
        if self._keeps(self.level, today, orders) or self.document.get("descent") == "never":
            self._renew(day)
            return
        if self.ends is None and self.begun_before == self.since == today:
            return
        if self.ends is None:
            self.ends = day - ONE
            self.grace_ends = self.ends + timedelta(days=self.document.get("grace_days", 0))
        assert self.grace_ends is not None
        if day <= self.grace_ends:
            self.in_grace = True
        else:
            self._fall(day, today, orders)

    def _earned_last_year(self, level: int, today: date, orders: Sequence[tuple[date, int]]) -> bool:
        last = [one for one in orders if one[0].year == today.year - 1]
        return self.document["window"] == "calendar_year" and self._sum(last) >= self.levels[level]["entry"] * 100

    def _up(self, level: int, begins: date, today: date) -> None:
        first_time = self.looked is None
        for one in range(level + 1):
            if one > self.level and one not in self.passed and not first_time and self.levels[one].get("reward"):
                self.rewards.append(one)
            self.passed.add(one)
        self._begin(level, begins, today)

    def _begin(self, level: int, begins: date, today: date) -> None:
        self.held |= {self.level, level}
        self.level, self.since, self.in_grace = level, today, False
        self.ends = self._end_of(begins)
        self._promise()

    def _renew(self, day: date) -> None:
        self.in_grace = False
        if self.ends is None or self._end_of(day) is None:
            self.ends = self._end_of(day)
        else:
            while self.ends < day:
                year_on = self.document.get("term") == "end_of_next_year"
                last = self.ends
                self.ends = date(last.year + 1, 12, 31) if year_on else self._end_of(last + ONE)
                assert self.ends is not None
        self._promise()

    def _promise(self) -> None:
        self.grace_ends = None
        if self.ends is not None:
            self.grace_ends = self.ends + timedelta(days=self.document.get("grace_days", 0))

    def _fall(self, day: date, today: date, orders: Sequence[tuple[date, int]]) -> None:
        self.passed |= set(range(self.level + 1))
        lower = range(self.level - 1, -1, -1)
        if self.document.get("descent") != "one_step":
            lower = [one for one in lower if self._keeps(one, today, orders)]  # type: ignore[assignment]
        if not lower:
            self.held.add(self.level)
            self.level, self.since, self.ends, self.grace_ends, self.in_grace = -1, None, None, None, False
            return
        self._begin(lower[0], day, today)

    def _end_of(self, begins: date) -> date | None:
        term = self.document.get("term", "none")
        if self.document.get("descent") == "never" or term == "none":
            return None
        if isinstance(term, Mapping):
            return begins + timedelta(days=term["days"] - 1)
        return date(begins.year + (1 if term == "end_of_next_year" else 0), 12, 31)

    def _earns(self, level: int, today: date, orders: Sequence[tuple[date, int]]) -> bool:
        told = self.levels[level]
        bar = told.get("reentry", told["entry"]) if level in self.held else told["entry"]
        return self._reached(bar, today, orders)

    def _keeps(self, level: int, today: date, orders: Sequence[tuple[date, int]]) -> bool:
        told = self.levels[level]
        bar = told.get("keep", told["entry"])
        if self._reached(bar, today, orders):
            return True
        if self.document["window"] != "calendar_year":
            return False
        last = [one for one in orders if one[0].year == today.year - 1]
        return self._sum(last) >= bar * 100

    def _reached(self, bar: int, today: date, orders: Sequence[tuple[date, int]]) -> bool:
        window = self.document["window"]
        begins = date.min
        if isinstance(window, Mapping):
            begins = today - timedelta(days=window["days"] - 1)
        elif window == "calendar_year":
            begins = date(today.year, 1, 1)
        elif window == "since_joining":
            if self.joined_on is None:
                return False
            begins = self.joined_on
        # All there ever was is kept as one sum, whatever the day.
        until = date.max if window == "lifetime" else today
        return self._sum([one for one in orders if begins <= one[0] <= until]) >= bar * 100

    def _sum(self, orders: Sequence[tuple[date, int]]) -> int:
        return sum(minor for _, minor in orders) if self.document["measure"] == "spent" else 100 * len(orders)
