"""When a rehearsal takes a round: only at instants at which something can have come, fallen due or waited long enough."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta

from sqlalchemy import func, select

from crm_plugin.clock import at_local, local_day
from crm_plugin.rehearsal.arrivals import Arrivals
from crm_plugin.rules.trigger_kinds import is_at_once, minutes_of
from crm_plugin.rules.triggers import kind_of
from crm_plugin.store import enrolments, touchpoints
from crm_plugin.store.base import from_micros, to_micros
from crm_plugin.store.bulk import execute
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.due import between
from crm_plugin.touchpoints.idle import asked_of, known_zones
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.states import BY_INDEX
from crm_plugin.touchpoints.steps import ending

_DAY = timedelta(days=1)
_SELDOM = timedelta(hours=6)
# How often the clock asks.
_MINUTE = timedelta(minutes=1)
# What a round may leave to the next: whoever waits for a message of theirs that was settled in it, and what a step did to tags and levels,
# of which another journey or a segment speaks.
_GOES_ON = (
    "SELECT 1 FROM enrolments AS e JOIN touchpoints AS t ON t.shop_id = e.shop_id AND t.journey_key = e.journey_key "
    "AND t.member_id = e.member_id AND t.occasion = e.occasion WHERE e.shop_id = ? AND e.state = 'active' AND e.phase = 'sent' "
    "AND t.settled_at = ? LIMIT 1",
    "SELECT 1 FROM members WHERE shop_id = ? AND touched_at = ? LIMIT 1",
    "SELECT 1 FROM tier_changes WHERE shop_id = ? AND changed_at = ? LIMIT 1",
)


class Ticks:
    """The instants of the rounds, one after the other."""

    def __init__(
        self,
        db: Database,
        shop: Shop,
        *,
        until: datetime,
        pause: timedelta,
        arrivals: Arrivals | None,
        outages: Sequence[tuple[datetime, datetime]] = (),
    ) -> None:
        self._db, self._shop, self._until = db, shop, until
        self._arrivals = arrivals if arrivals is not None and arrivals.are_few else None
        # Where nothing comes, or there is a round whenever something does, the rest is known beforehand.
        self._pause = pause if arrivals is not None and not arrivals.are_few else max(pause, _SELDOM)
        # Of the past minutes tell; of days to come six hours are near enough.
        self._is_fine = self._arrivals is not None
        self._outages = sorted(outages)
        self._due: list[datetime] = []
        with db.read() as connection:
            running = [one for one in all_journeys(connection, shop.shop_id) if one.enabled]
            self._hours = sorted({kind_of(one.trigger).time_of(one.trigger) or one.send_at for one in running})
        self._delayed = [one for one in running if is_at_once(kind_of(one.trigger), one.trigger)]
        self._delayed = [one for one in self._delayed if minutes_of(kind_of(one.trigger), one.trigger)]
        self._has_steps = any(one.flow.steps for one in running)

    def after(self, at: datetime) -> datetime | None:
        """The next instant; None once the span is over."""
        found = min(self._candidates(at))
        for begins, ends in self._outages:
            if begins <= found < ends:
                found = ends
        return found if found < self._until else None

    def _candidates(self, at: datetime) -> Iterable[datetime]:
        yield _floor(at, self._pause) + self._pause
        yield self._next_due(at)
        if (waits := self._next_try(at)) is not None:
            yield waits
        if self._is_fine:
            yield from self._soon(at)
        if self._arrivals is not None and (comes := self._arrivals.next_after(at)) is not None:
            yield comes

    def _soon(self, at: datetime) -> Iterator[datetime]:
        """When a journey speaks of what has happened some minutes ago, and when whoever got a message goes on after it."""
        with self._db.read() as connection:
            for journey in self._delayed:
                due = between(asked_of(connection, self._shop, journey), at, at + 2 * _DAY)
                first = None if due is None else connection.execute(select(func.min(due.subquery().c.due_at))).scalar()
                if first is not None:
                    yield from_micros(first)
            own = (self._shop.shop_id, to_micros(at))
            if self._has_steps and any(execute(connection, sql, own).first() for sql in _GOES_ON):
                yield at + _MINUTE

    def _next_try(self, at: datetime) -> datetime | None:
        """When the first of those that wait goes on: a message, or a member at a step."""
        t, e = touchpoints.c, enrolments.c
        shop_id = self._shop.shop_id
        waits = select(func.min(t.next_try_at)).where(t.shop_id == shop_id, t.state.in_(BY_INDEX), t.next_try_at > at)
        # Who waits for a message goes on when it is settled.
        stands = select(func.min(e.due_at)).where(
            e.shop_id == shop_id, e.state == ending.ACTIVE, e.phase != ending.SENT, e.due_at > at
        )
        with self._db.read() as connection:
            found = [connection.execute(query).scalar() for query in (waits, stands)]
        return min((one for one in found if one is not None), default=None)

    def _next_due(self, at: datetime) -> datetime:
        """The next local midnight of the shop, or the next hour at which a journey sends in one of the members' zones."""
        place = bisect_right(self._due, at)
        if place < len(self._due):
            return self._due[place]
        self._due = self._of_day(at)
        place = bisect_right(self._due, at)
        return self._due[place] if place < len(self._due) else self._until

    def _of_day(self, at: datetime) -> list[datetime]:
        """Those of two days from then on, whatever day it is in each zone."""
        last = at + 2 * _DAY
        with self._db.read() as connection:
            zones = known_zones(connection, self._shop)
        found: set[datetime] = set()
        home = local_day(at, self._shop.timezone)
        for ahead in range(-1, 4):
            day = home + ahead * _DAY
            found.add(at_local(day, time(), self._shop.timezone))
            for name in zones:
                found.update(at_local(day, hour, name) for hour in self._hours)
        return sorted(one for one in found if at < one <= last)


def _floor(at: datetime, step: timedelta) -> datetime:
    since = datetime(1970, 1, 1, tzinfo=UTC)
    return at - (at - since) % step
