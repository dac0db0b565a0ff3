"""Whom a journey means, as a condition in the database: its audience, and what its trigger asks of the member.

An audience may ask for a segment, tier or journey that is gone, however that came to be. Then nobody is meant: its journey stands still
until the merchant mends it, and every other goes on.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache

from sqlalchemy import ColumnElement, Connection, true

from crm_plugin.errors import RuleError
from crm_plugin.rules import compile_rule
from crm_plugin.rules import sql as rules_sql
from crm_plugin.rules.book import resolved
from crm_plugin.rules.nodes import And, Node
from crm_plugin.rules.triggers import kind_of
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journey import Journey


def rule_of(journey: Journey) -> Node | None:
    """What must hold of a member; None when the journey is for everybody."""
    own = kind_of(journey.trigger).rule(journey.trigger)
    if not own:
        return journey.audience
    asked = compiled(own)
    return asked if journey.audience is None else And((asked, journey.audience))


def goal_of(journey: Journey) -> Node | None:
    """What a member has reached for whom a journey of several steps is over; None when it has no goal."""
    return compiled(journey.flow.goal_text) if journey.flow.goal_text else None


def meant(
    connection: Connection, shop: Shop, journey: Journey, as_of: date, member_id: ColumnElement[int]
) -> ColumnElement[bool]:
    """Whether the journey means the member of that id. Raises: RuleError when its audience cannot be asked."""
    return holds(shop, resolved_of(connection, shop, journey), as_of, member_id)


def resolved_of(connection: Connection, shop: Shop, journey: Journey) -> Node | None:
    """`rule_of` with all it names in its place. Raises: RuleError when its audience cannot be asked."""
    rule = rule_of(journey)
    return None if rule is None else resolved(connection, shop.shop_id, rule)


def holds(shop: Shop, rule: Node | None, as_of: date, member_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether such a rule holds of the member of that id; None holds of all."""
    return true() if rule is None else rules_sql.condition(shop, rule, as_of, member_id)


def arrived(
    connection: Connection, shop: Shop, journey: Journey, as_of: date, member_id: ColumnElement[int]
) -> ColumnElement[bool]:
    """Whether the member of that id has reached the goal of a journey that has one. Raises: RuleError when it cannot be asked."""
    goal = resolved(connection, shop.shop_id, compiled(journey.flow.goal_text))
    return rules_sql.condition(shop, goal, as_of, member_id)


def problem_of(connection: Connection, shop: Shop, journey: Journey) -> RuleError | None:
    """Why the journey's audience, or what its trigger asks, cannot be asked; None when it can."""
    try:
        resolved_of(connection, shop, journey)
    except RuleError as error:
        return error
    return None


@lru_cache(maxsize=256)
def compiled(text: str) -> Node:
    """The tree of a rule that has been checked before. Raises: RuleError."""
    return compile_rule(text).node
