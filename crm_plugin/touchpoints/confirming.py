"""Typing the number of people before many are written to or taken in at once: counted anew when it is done."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, literal_column, select, text

from crm_plugin.clock import local_day
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rules.sql import ACTIVE
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.audience import meant
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.policy import policy_of

CAMPAIGN = "campaign"
# By how much the number may have moved since it was typed, in hundredths of it.
ALMOST_PCT = 1
# Digits that a number of people may have; Python reads no number of thousands.
_LONGEST = 19


def people(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> int:
    """How many a one-off campaign means who have not had it; 0 for every other journey, which speaks to each on a day of their own.

    Raises: RuleError when the audience cannot be asked.
    """
    if journey.trigger.type != CAMPAIGN:
        return 0
    had = " AND ".join(
        f"NOT EXISTS (SELECT 1 FROM {table} AS had WHERE had.shop_id = m.shop_id AND had.member_id = m.member_id "  # noqa: S608
        "AND had.journey_key = :journey_key)"
        for table in ("touchpoints", "enrolments")
    )
    mine = text(f"m.shop_id = :shop_id AND m.state = '{ACTIVE}' AND {had}")
    query = select(func.count()).select_from(text("members AS m"))
    query = query.where(mine.bindparams(shop_id=shop.shop_id, journey_key=journey.key))
    as_of = local_day(now, shop.timezone)
    means = meant(connection, shop, journey, as_of, literal_column("m.member_id"))
    return connection.execute(query.where(means)).scalar_one()


def require(shop: Shop, count: int, typed: str) -> None:
    """Refuse so many people above the shop's `confirm_above` unless that number was typed, within a hundredth of it.

    Raises: InvalidInput that says what to type.
    """
    if not policy_of(shop).blast.asks(count):
        return
    told = typed.strip()
    number = int(told) if told.isascii() and told.isdigit() and len(told) <= _LONGEST else None
    if number is not None and abs(count - number) * 100 <= number * ALMOST_PCT:
        return
    message = phrase("This reaches %(count)s people at once.", count=count)
    if number is not None:
        message = phrase("This reaches %(count)s people at once, and not %(typed)s.", count=count, typed=number)
    raise InvalidInput(message, field="confirm", hint=phrase("Type %(count)s to go ahead.", count=count))
