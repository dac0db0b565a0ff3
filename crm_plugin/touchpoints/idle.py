"""What a round asks before it plans a journey: whether anything is due at all. Where nothing is, its mark moves and that is all."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from crm_plugin.clock import is_known_zone
from crm_plugin.store.base import to_micros
from crm_plugin.store.members import calendar_of
from crm_plugin.store.session import Database, again, is_away
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import senders
from crm_plugin.touchpoints.arrived import Arrived
from crm_plugin.touchpoints.audience import problem_of
from crm_plugin.touchpoints.due import Asked, Late, Way, late_of, passes
from crm_plugin.touchpoints.journey import Journey

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Looked:
    """What a round has looked up for all its journeys: the zones that members live in, whether any birthday is lunar, what came, and by
    channel which adapter sends.

    Whoever comes after it has looked is found by the next round, which looks back behind the mark (`due.LATE_OVERLAP`).
    """

    calendar: tuple[frozenset[str], bool] | None = None
    came: dict[Late, bool] = field(default_factory=dict)
    senders: Mapping[str, str] | None = None


def pass_idle(
    db: Database, shop: Shop, running: Sequence[Journey], now: datetime, problems: dict[str, str], looked: Looked
) -> set[str]:
    """Move the marks of journeys for which no slot fell due and no row came, in one transaction; answers which these are.

    An audience that is gone is told of all the same, and keeps its journey's mark where it is. A journey that goes wrong here, and each of
    them where the database refuses, is left to be planned by itself. Raises: DBAPIError when the database is away.
    """
    try:
        return again(partial(_pass_idle, db, shop, running, now, problems, looked))
    except DBAPIError as error:
        if is_away(error):
            raise
        _log.exception("what is due of the journeys of %s", shop.name)
        return set()


def _pass_idle(
    db: Database, shop: Shop, running: Sequence[Journey], now: datetime, problems: dict[str, str], looked: Looked
) -> set[str]:
    waiting = [one for one in running if is_behind(one, now)]
    idle = {one.key for one in running} - {one.key for one in waiting}
    if not waiting:
        return idle
    moved: list[Journey] = []
    with db.write() as connection:
        arrived = Arrived(connection, shop.shop_id, looked.came)
        for journey in waiting:
            asked = asked_of(connection, shop, journey, looked)
            try:
                due = next(passes(asked, journey.enabled_at or now, journey.planned_through, now, arrived), None)
                problem = problem_of(connection, shop, journey) if due is None else None
            except SQLAlchemyError:
                raise
            except Exception:
                # It is planned by itself, and there it is told what is wrong with it.
                _log.exception("what is due of journey %s of %s", journey.key, shop.name)
                continue
            if due is not None:
                continue
            idle.add(journey.key)
            if problem is None:
                moved.append(journey)
            else:
                problems[journey.key] = problem.message
        move_marks(connection, shop, moved, now)
    return idle


def is_behind(journey: Journey, now: datetime) -> bool:
    """Whether anything can have fallen due that a journey which is on has not planned."""
    return journey.planned_through != now and journey.enabled_at is not None and journey.enabled_at < now


def look_ahead(connection: Connection, shop: Shop, running: Sequence[Journey], now: datetime, looked: Looked) -> None:
    """Ask at once for all of these what each would ask before it is planned: zones, senders, and whether anything came late."""
    looked.calendar, looked.senders = known_calendar(connection, shop), senders.available(connection, shop)
    lates: list[Late] = []
    for journey in running:
        if is_behind(journey, now):
            try:
                asked = asked_of(connection, shop, journey, looked)
                lates += late_of(asked, journey.enabled_at or now, journey.planned_through, now)
            except SQLAlchemyError:
                raise
            except Exception:
                # One must not stop the others: what is wrong with it is told when it is planned.
                _log.debug("what came late of journey %s of %s", journey.key, shop.name, exc_info=True)
    Arrived(connection, shop.shop_id, looked.came)(lates)


def due_of(
    connection: Connection,
    shop: Shop,
    journey: Journey,
    begun: datetime,
    mark: datetime | None,
    now: datetime,
    looked: Looked,
) -> Iterator[Way]:
    """By which ways a journey has something to plan now; those by which nothing came are left out."""
    asked = asked_of(connection, shop, journey, looked)
    return passes(asked, begun, mark, now, Arrived(connection, shop.shop_id, looked.came))


def move_marks(connection: Connection, shop: Shop, moved: Sequence[Journey], now: datetime) -> None:
    """Up to `now` all is planned, unless another round came further; a journey edited meanwhile keeps the mark that the edit gave it."""
    at = to_micros(now)
    rows = [
        {
            "shop_id": shop.shop_id,
            "journey_key": one.key,
            "version": one.version,
            "now": at,
            # A mark that lay ahead is taken back, if it is still the one that was read.
            "ahead": at if one.planned_through is None else max(at, to_micros(one.planned_through)),
        }
        for one in moved
    ]
    if rows:
        connection.execute(_MOVE, rows)


def hold_as_read(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> bool:
    """Hold a journey that `is_behind`, and move its mark; answers whether it still is what was read, or nothing is done."""
    told = {"shop_id": shop.shop_id, "journey_key": journey.key, "version": journey.version, "now": to_micros(now)}
    mark = None if journey.planned_through is None else to_micros(journey.planned_through)
    begun = None if journey.enabled_at is None else to_micros(journey.enabled_at)
    return bool(connection.execute(_MOVE_AS_READ, {**told, "mark": mark, "begun": begun}).rowcount)


_MOVE_AS_READ = text(
    "UPDATE journeys SET planned_through = :now WHERE shop_id = :shop_id AND journey_key = :journey_key AND version = :version "
    "AND enabled AND paused_at IS NULL AND enabled_at = :begun "
    "AND COALESCE(planned_through, -1) = COALESCE(CAST(:mark AS BIGINT), -1)"
)
_MOVE = text(
    "UPDATE journeys SET planned_through = :now WHERE shop_id = :shop_id AND journey_key = :journey_key AND version = :version "
    "AND (planned_through IS NULL OR planned_through < :now OR planned_through = :ahead)"
)


def asked_of(connection: Connection, shop: Shop, journey: Journey, looked: Looked | None = None) -> Asked:
    """The journey's occasions, in the zones that members live in."""
    looked = looked or Looked()
    if looked.calendar is None:
        looked.calendar = known_calendar(connection, shop)
    zones, lunar = looked.calendar
    return Asked(shop, journey, zones, connection.dialect.name == "sqlite", lunar=lunar)


def known_zones(connection: Connection, shop: Shop) -> frozenset[str]:
    """The zones that members live in; one that this machine does not know has no day, until `sync/zones.py` has replaced it."""
    return known_calendar(connection, shop)[0]


def known_calendar(connection: Connection, shop: Shop) -> tuple[frozenset[str], bool]:
    """The zones of `known_zones`, and whether any birthday is one of the lunar calendar."""
    zones, lunar = calendar_of(connection, shop.shop_id)
    return frozenset(name for name in zones if is_known_zone(name)), lunar
