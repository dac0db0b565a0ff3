"""Planning: one INSERT … SELECT for each journey, from the slots that have fallen due since it was planned last.

Two ways lead to a touchpoint. What falls due between the journey's watermark and now is found by the index of its trigger. What arrives
late (a birthday typed in today, an order synced hours after it was placed or paid, a member who turns out to live further east) is found
by when its row changed, and planned while its window is open. Both end in the unique key (journey, member, step, occasion), so planning
again, twice at once, or after an outage doubles nothing. What one person was told for another occasion, or another person for this order,
`once.py` keeps from being told again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Subquery, and_, case, func, literal_column, or_, select
from sqlalchemy.exc import DBAPIError

from crm_plugin.clock import local_day
from crm_plugin.errors import CrmError, RuleError
from crm_plugin.store.base import from_micros
from crm_plugin.store.members import lock
from crm_plugin.store.session import Database, again, is_away
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import senders, statement
from crm_plugin.touchpoints.audience import meant, problem_of, resolved_of, rule_of
from crm_plugin.touchpoints.due import between
from crm_plugin.touchpoints.idle import (
    Looked,
    asked_of,
    due_of,
    hold_as_read,
    is_behind,
    look_ahead,
    move_marks,
    pass_idle,
)
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journeys import all_journeys, hold, readable
from crm_plugin.touchpoints.statement import Terms
from crm_plugin.touchpoints.states import Reason, State
from crm_plugin.touchpoints.steps import document
from crm_plugin.touchpoints.steps.enrol import anybody_came_in, begin, came_in
from crm_plugin.touchpoints.versions import with_steps, writes_members

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class PlanReport:
    """What one round planned: journey → state → how many; and of those that stand still, why."""

    journeys: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def total(self, state: State) -> int:
        """How many over all journeys came out in this state."""
        return sum(counts.get(state.value, 0) for counts in self.journeys.values())

    def as_dict(self) -> dict[str, Any]:
        states = {state.value: self.total(state) for state in (State.PLANNED, State.SKIPPED, State.MISSED)}
        return {**states, "journeys": self.journeys, "problems": self.problems}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a journey will plan on one day (in the shop's zone), as things stand now."""

    journey_key: str
    on: date
    planned: int
    skipped: int

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "on": self.on.isoformat()}


def plan_shop(db: Database, shop: Shop, now: datetime) -> PlanReport:
    """Plan all that has fallen due. Each journey is one transaction, watermark and rows together: one planner at a time, and by what the
    journey is by then.

    A journey that goes wrong, cannot be read, or has a version with somebody inside that cannot, is told in the report and stops no other.
    Raises: DBAPIError when the database is away.
    """
    report = PlanReport()
    with db.read() as connection:
        known, report.problems = readable(connection, shop.shop_id)
        stepped = with_steps(connection, shop.shop_id)
        running, looked = [journey for journey in known if journey.runs], Looked()
        if several := [journey for journey in running if journey.key in stepped]:
            look_ahead(connection, shop, several, now, looked)
    idle = pass_idle(db, shop, [one for one in running if one.key not in stepped], now, report.problems, looked)
    for journey in running:
        if journey.key in idle:
            continue
        try:
            counts = again(partial(_plan_alone, db, shop, journey, stepped, now, looked))
        except RuleError as error:
            # Its mark stays where it is: mended, it plans what has fallen due since and is still worth reading.
            report.problems[journey.key] = error.message
            continue
        except Exception as error:
            if isinstance(error, DBAPIError) and is_away(error):
                # No other journey can be planned either.
                raise
            # One journey must not stop the others.
            _log.exception("planning journey %s of %s", journey.key, shop.name)
            report.problems[journey.key] = (
                error.message if isinstance(error, CrmError) else f"{type(error).__name__}: {error}"[:500]
            )
            continue
        if counts:
            report.journeys[journey.key] = counts
    return report


def _plan_alone(
    db: Database, shop: Shop, read: Journey, stepped: Mapping[str, frozenset[str]], now: datetime, looked: Looked
) -> dict[str, int]:
    """Plan one journey in a transaction of its own, as it is by then; answers what came of it."""
    with db.write() as connection:
        kinds = stepped.get(read.key, frozenset())
        if kinds:
            # Before the journey: so does whoever writes members and journeys, or the two would stand against one another.
            begin(connection, shop.shop_id, writes=writes_members(kinds))
        held = _held(connection, shop, read, now)
        if not held.runs:
            return {}
        if not (kinds or held.flow.steps):
            return _plan_journey(connection, shop, held, now, looked)
        published = kinds.union(document.kinds(held.flow.steps))
        if writes_members(published) and not writes_members(kinds):
            # Published since the round looked.
            lock(connection, shop.shop_id)
        return _plan_steps(connection, shop, held, published, now, looked)


def _held(connection: Connection, shop: Shop, read: Journey, now: datetime) -> Journey:
    """A journey that a round read, as it is by now, held and with its mark moved; that comes to nothing where planning it goes wrong."""
    if is_behind(read, now) and hold_as_read(connection, shop, read, now):
        return read
    held = hold(connection, shop.shop_id, read.key)
    if held.runs and is_behind(held, now):
        move_marks(connection, shop, [held], now)
    return held


def _plan_journey(
    connection: Connection, shop: Shop, journey: Journey, now: datetime, looked: Looked, *, had_steps: bool = False
) -> dict[str, int]:
    if not is_behind(journey, now):
        return {}
    begun, mark = journey.enabled_at or now, journey.planned_through
    # Asked once for all ways, and also while nothing is due: an audience that is gone is told of.
    rule, today = resolved_of(connection, shop, journey), local_day(now, shop.timezone)
    terms = Terms(shop, journey, _channels(connection, shop, journey), rule, today if rule else None, had_steps)
    counts: dict[str, int] = {}
    for way in due_of(connection, shop, journey, begun, mark, now, looked):
        statement.write_way(connection, terms, way, now, counts)
    return counts


def _plan_steps(
    connection: Connection, shop: Shop, journey: Journey, kinds: frozenset[str], now: datetime, looked: Looked
) -> dict[str, int]:
    """The same for a journey in which somebody may be inside."""
    counts = {} if journey.flow.steps else _plan_journey(connection, shop, journey, now, looked, had_steps=True)
    if (problem := problem_of(connection, shop, journey)) is not None:
        raise problem
    begun, mark = journey.enabled_at or now, journey.planned_through
    comes = journey.flow.steps and is_behind(journey, now)
    ways = due_of(connection, shop, journey, begun, mark, now, looked) if comes else iter(())
    due = [way.select() for way in ways]

    def insert(voice: Journey, base: Select[Any]) -> Sequence[Row[Any]]:
        if rule_of(voice) is not None:
            # Kept with its reason: without a row nobody could say why the step said nothing.
            base = base.add_columns(_means(connection, shop, voice, now).label(statement.MEANT))
        if looked.senders is None:
            looked.senders = senders.available(connection, shop)
        return statement.write_step(connection, Terms(shop, voice, _found(looked.senders, voice)), base, now, counts)

    # Most shops begin with journeys of one message, and load none of the steps.
    from crm_plugin.touchpoints.steps import engine

    if taken := engine.run(connection, shop, journey, kinds, due, now, insert):
        counts["enrolled"] = taken
    return counts


def forecast(connection: Connection, shop: Shop, since: datetime, until: datetime) -> list[Forecast]:
    """What the journeys that run will plan between two instants, if nothing changes; those with steps, whom they will take in."""
    found: list[Forecast] = []
    for journey in all_journeys(connection, shop.shop_id):
        if journey.runs and problem_of(connection, shop, journey) is None:
            found += forecast_journey(connection, shop, journey, since, until)
    return sorted(found, key=lambda one: (one.on, one.journey_key))


def forecast_journey(
    connection: Connection, shop: Shop, journey: Journey, since: datetime, until: datetime
) -> list[Forecast]:
    """The same for one journey, also while it is off: what switching it on would bring."""
    judged = coming(connection, shop, journey, since, until)
    if judged is None:
        return []
    query = select(judged.c.due_at, judged.c.state, func.count()).group_by(judged.c.due_at, judged.c.state)
    days: dict[date, list[int]] = {}
    for due_at, state, count in connection.execute(query):
        days.setdefault(day_of(shop, due_at), [0, 0])[state != State.PLANNED.value] += count
    return [Forecast(journey.key, day, planned, skipped) for day, (planned, skipped) in days.items()]


def coming(connection: Connection, shop: Shop, journey: Journey, since: datetime, until: datetime) -> Subquery | None:
    """One row: a member and an occasion due between two instants, judged as things stand now; None when no day can fall due.

    What the journey has dealt with already, before its trigger was changed, it does not say again: that is a reason too.
    Raises: RuleError when its audience cannot be asked.
    """
    due = between(asked_of(connection, shop, journey), since, until)
    if due is None:
        return None
    due = due.where(_means(connection, shop, journey, since))
    found = statement.judged(Terms(shop, journey, _channels(connection, shop, journey)), due, since).subquery("judged")
    been = and_(anybody_came_in(shop, journey), came_in(shop, journey, found) == 1)
    told = or_(statement.known(shop, journey, found) == 1, been)
    own = [column for column in found.c if column.name not in ("reason", "state")]
    reason = case((told, Reason.DEALT_WITH.value), else_=found.c.reason).label("reason")
    state = case((told, State.SKIPPED.value), else_=found.c.state).label("state")
    return select(*own, reason, state).subquery("coming")


def day_of(shop: Shop, stored: int) -> date:
    """The day of a stored instant in the shop's zone."""
    return local_day(from_micros(stored), shop.timezone)


def _channels(connection: Connection, shop: Shop, journey: Journey) -> tuple[tuple[str, str], ...]:
    """(channel, adapter) in the journey's order, those that have a sender."""
    return _found(senders.available(connection, shop), journey)


def _found(there: Mapping[str, str], journey: Journey) -> tuple[tuple[str, str], ...]:
    return tuple((channel, there[channel]) for channel in journey.channels if channel in there)


def _means(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> ColumnElement[bool]:
    """That the journey means the member `m`. Raises: RuleError when its audience cannot be asked."""
    return meant(connection, shop, journey, local_day(now, shop.timezone), literal_column("m.member_id"))
