"""How many messages of each journey are due, fell due and were expected, and what became of those sent: what the blast radius goes by.

Only what is bounded counts; each is asked for in one statement over all journeys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, func, literal_column, or_, select

from crm_plugin.clock import at_local, local_day
from crm_plugin.errors import RuleError
from crm_plugin.store import journey_forecasts, journey_waves, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.store.upserts import insert_into
from crm_plugin.touchpoints.caps import exempt
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.plan import forecast_journey
from crm_plugin.touchpoints.states import BY_INDEX, State
from crm_plugin.touchpoints.versions import Voices, voices
from crm_plugin.touchpoints.waves import RELEASED, Figures

_DAY = timedelta(days=1)
_BUSIEST_OF = timedelta(days=28)
# What tells of a touchpoint whether it is bounded.
_SPOKEN = (touchpoints.c.journey_key, touchpoints.c.journey_version, touchpoints.c.step)


def concerned(journey: Journey) -> bool:
    """Whether it sends anything that is bounded."""
    return not all(exempt(voice) for voice in journey.voices)


def due_by_journey(connection: Connection, shop_id: int, journeys: Voices, now: datetime) -> dict[str, int]:
    """Journey → how many bounded messages wait to leave now; none is not named."""
    t = touchpoints.c
    query = select(*_SPOKEN, func.count()).where(
        t.shop_id == shop_id, t.state.in_(BY_INDEX), t.next_try_at <= now, t.valid_until > now
    )
    return {key: told[0] for key, told in _sums(connection, shop_id, journeys, query).items()}


def figures_of(
    connection: Connection, shop: Shop, journeys: Voices, due: Mapping[str, int], now: datetime
) -> dict[str, Figures]:
    """The figures of every journey; `due` as `due_by_journey` tells it. What was sent before somebody let a journey go is not counted."""
    t, w, f = touchpoints.c, journey_waves.c, journey_forecasts.c
    today = local_day(now, shop.timezone)
    fell = select(*_SPOKEN, func.count()).where(
        t.shop_id == shop.shop_id, t.due_at >= at_local(today, time(), shop.timezone), t.due_at <= now
    )
    fallen = _sums(connection, shop.shop_id, journeys, fell)
    planned = select(f.journey_key, f.planned).where(f.shop_id == shop.shop_id, f.day == today)
    expected = {key: int(count) for key, count in connection.execute(planned)}
    since_release = or_(w.cause.is_(None), w.cause != RELEASED, t.accepted_at > w.since)
    became = {
        state: func.sum(case((t.state == state.value, 1), else_=0)) for state in (State.COMPLAINED, State.BOUNCED)
    }
    query = (
        select(*_SPOKEN, func.count(), became[State.COMPLAINED], became[State.BOUNCED])
        .select_from(touchpoints)
        .outerjoin(journey_waves, and_(w.shop_id == t.shop_id, w.journey_key == t.journey_key))
        .where(t.shop_id == shop.shop_id, t.accepted_at > now - _DAY, t.accepted_at.is_not(None), since_release)
    )
    sent = _sums(connection, shop.shop_id, journeys, query)
    return {
        key: Figures(due.get(key, 0), fallen.get(key, (0,))[0], expected.get(key), *sent.get(key, (0, 0, 0)))
        for key in journeys.journeys
    }


def note_forecasts(db: Database, shop: Shop, day: date) -> int:
    """Look up what each journey will plan on a day, before it begins: a day that brings far more is stopped. Answers how many are kept.

    Beside it stands the busiest day of the last four weeks, for what no calendar can foresee.
    """
    begins = at_local(day, time(), shop.timezone)
    ends = at_local(day + timedelta(days=1), time(), shop.timezone)
    with db.write() as connection:
        journeys = voices(connection, shop.shop_id, ())
        busiest = _busiest(connection, shop.shop_id, journeys, begins)
        kept = []
        for journey in journeys.journeys.values():
            # One that was switched on within a day has no day to be held against.
            if not journey.runs or not concerned(journey) or (journey.enabled_at or begins) > begins - _DAY:
                continue
            try:
                coming = forecast_journey(connection, shop, journey, begins, ends)
            except RuleError:
                continue
            planned = max(sum(one.planned + one.skipped for one in coming), busiest.get(journey.key, 0))
            kept.append({"shop_id": shop.shop_id, "journey_key": journey.key, "day": day, "planned": planned})
        f = journey_forecasts.c
        connection.execute(journey_forecasts.delete().where(f.shop_id == shop.shop_id, f.day <= day))
        if kept:
            # Another round may be noting the same day at this moment; both have looked at the same calendar.
            connection.execute(insert_into(connection, journey_forecasts).on_conflict_do_nothing(), kept)
    return len(kept)


def _busiest(connection: Connection, shop_id: int, journeys: Voices, before: datetime) -> dict[str, int]:
    t = touchpoints.c
    day: Any = literal_column("due_at / 86400000000").label("day")
    query = (
        select(*_SPOKEN, day, func.count().label("many"))
        .where(t.shop_id == shop_id, t.due_at > before - _BUSIEST_OF, t.due_at <= before)
        .group_by(*_SPOKEN, day)
    )
    daily: Counter[tuple[str, int]] = Counter()
    for row in _bounded(connection, shop_id, journeys, query):
        daily[row.journey_key, row.day] += row.many
    most: dict[str, int] = {}
    for (key, _), many in daily.items():
        most[key] = max(many, most.get(key, 0))
    return most


def _bounded(connection: Connection, shop_id: int, journeys: Voices, query: Select[Any]) -> list[Row[Any]]:
    """The rows of a query by `_SPOKEN` that are bounded."""
    rows = connection.execute(query).all()
    journeys.learn(connection, shop_id, rows)
    return [row for row in rows if not exempt(journeys.of(row))]


def _sums(connection: Connection, shop_id: int, journeys: Voices, query: Select[Any]) -> dict[str, tuple[int, ...]]:
    """Journey → the sums of what a query counts beside `_SPOKEN`, over what is bounded."""
    found: dict[str, tuple[int, ...]] = {}
    for row in _bounded(connection, shop_id, journeys, query.group_by(*_SPOKEN)):
        counts = tuple(int(value) for value in row[len(_SPOKEN) :])
        found[row.journey_key] = tuple(
            map(sum, zip(counts, found.get(row.journey_key, (0,) * len(counts)), strict=True))
        )
    return found
