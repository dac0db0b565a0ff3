"""Taking in members whom the audience holds already when a journey is switched on: asked for, counted, and never more than was said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, literal_column, select, text

from crm_plugin.clock import day_number, local_day
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.audience import meant
from crm_plugin.touchpoints.confirming import CAMPAIGN
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journeys import hold
from crm_plugin.touchpoints.steps.ending import INSIDE
from crm_plugin.touchpoints.steps.enrol import begin, enrol
from crm_plugin.touchpoints.steps.moves import note_newcomers

MOST = 100_000


def count(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> int:
    """How many could be taken in: held by the audience, never in this journey, without a message of it. Raises: InvalidInput, RuleError."""
    found = _held(connection, shop, journey, now).subquery()
    return connection.execute(select(func.count()).select_from(found)).scalar_one()


def take_in(connection: Connection, shop: Shop, journey: Journey, most: int, now: datetime) -> int:
    """Take in at most so many of them, those known longest first; they stand at the first step now. Answers how many.

    Raises: InvalidInput, NotFound, RuleError.
    """
    if not 1 <= most <= MOST:
        raise InvalidInput(phrase("Say how many, from 1 to %(most)s.", most=MOST), field="most")
    journey = hold(connection, shop.shop_id, journey.key)
    chosen = _held(connection, shop, journey, now).order_by(literal_column("m.member_id")).limit(most)
    begin(connection, shop.shop_id)
    taken = enrol(connection, shop, journey, chosen, now)
    note_newcomers(connection, shop, journey.key, now)
    return taken


def wanted(journey: Journey) -> bool:
    """Whether taking in makes sense: in a journey of several steps with an audience. A campaign reaches all whom it means by itself."""
    return bool(journey.flow.steps) and journey.audience is not None and journey.trigger.type != CAMPAIGN


def _held(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> Select[Any]:
    if not journey.flow.steps or not journey.runs:
        raise InvalidInput(
            phrase("The journey %(key)s takes nobody in.", key=journey.key),
            field="journey",
            hint=phrase("Only one of several steps does, while it is on."),
        )
    if journey.trigger.type == CAMPAIGN:
        raise InvalidInput(
            phrase("The campaign %(key)s reaches all whom it means by itself.", key=journey.key),
            field="most",
            hint=phrase("Publish it without taking anybody in."),
        )
    if journey.audience is None:
        raise InvalidInput(
            phrase("The journey %(key)s means everyone.", key=journey.key),
            field="audience",
            hint=phrase("Give it an audience: taking in all members at once is nobody's intention."),
        )
    at, day = to_micros(now), day_number(local_day(now, shop.timezone))
    columns: tuple[Any, ...] = (
        literal_column("m.member_id").label("member_id"),
        literal_column(f"'{INSIDE}{day}'").label("occasion"),
        literal_column(str(day)).label("occasion_on"),
        literal_column("CAST(NULL AS BIGINT)").label("subject_order_id"),
        *(literal_column(f"CAST({at} AS BIGINT)").label(name) for name in ("due_at", "next_try_at", "valid_until")),
    )
    never = " AND ".join(
        f"(SELECT 1 FROM {table} AS been WHERE been.shop_id = m.shop_id AND been.member_id = m.member_id "  # noqa: S608
        "AND been.journey_key = :journey_key LIMIT 1) IS NULL"
        for table in ("enrolments", "touchpoints")
    )
    told = text(f"m.shop_id = :shop_id AND m.state = 'active' AND {never}")
    chosen: Select[Any] = select(*columns).select_from(text("members AS m"))
    chosen = chosen.where(told.bindparams(shop_id=shop.shop_id, journey_key=journey.key))
    return chosen.where(meant(connection, shop, journey, local_day(now, shop.timezone), literal_column("m.member_id")))
