"""Whom a journey means, as a condition in the database.

An audience may ask for a segment, tier or journey that is gone, however that came to be. Then nobody is meant: its journey stands still
until the merchant mends it, and every other goes on.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import ColumnElement, Connection, true

from crm_plugin.errors import RuleError
from crm_plugin.rules import sql as rules_sql
from crm_plugin.rules.book import resolved
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journeys import Journey


def meant(
    connection: Connection, shop: Shop, journey: Journey, as_of: date, member_id: ColumnElement[int]
) -> ColumnElement[bool]:
    """Whether the journey means the member of that id. Raises: RuleError when its audience cannot be asked."""
    if journey.audience is None:
        return true()
    return rules_sql.condition(shop, resolved(connection, shop.shop_id, journey.audience), as_of, member_id)


def problem_of(connection: Connection, shop: Shop, journey: Journey) -> RuleError | None:
    """Why the journey's audience cannot be asked; None when it can."""
    try:
        if journey.audience is not None:
            resolved(connection, shop.shop_id, journey.audience)
    except RuleError as error:
        return error
    return None
