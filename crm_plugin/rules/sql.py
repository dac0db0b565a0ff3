"""A rule as one SQL statement with bound parameters.

For all members (`select_members`) everything a rule reads is joined once, already aggregated by member: windows come from the
index range of their days, never from a look into the orders for each member. For the members at hand (`condition`) it is the other way
round: a caller who already has the few that are due asks for these alone, by their key.

SQL's own three values are the rule's: what is unknown matches neither a condition nor its opposite.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Subquery,
    and_,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)

from crm_plugin.rules.fields import FIELDS, Scope
from crm_plugin.rules.nodes import And, Compare, Everyone, Field, Holds, Membership, Node, Not, Or
from crm_plugin.rules.operands import Flag, Operand, Truth
from crm_plugin.store import (
    member_consents,
    member_facts,
    member_tags,
    member_tiers,
    members,
    order_lines,
    orders,
    refunds,
)
from crm_plugin.store.tenants import Shop

# The one tier programme there is in this form of the language, and the topic that marketing consent is asked for.
PROGRAM_KEY = "main"
MARKETING = "marketing"
ACTIVE = "active"


def select_members(shop: Shop, node: Node, as_of: date, *, live: bool = True) -> Select[int]:
    """The members of this shop for whom the rule is true, one column `member_id`; `live` leaves out those deleted."""
    scope = JoinedScope(shop, as_of)
    holds = truth(scope, node)
    query = select(members.c.member_id).select_from(scope.source).where(members.c.shop_id == shop.shop_id, holds)
    return query.where(members.c.state == ACTIVE) if live else query


def condition(shop: Shop, node: Node, as_of: date, member_id_column: ColumnElement[int]) -> Truth:
    """The rule as a condition on a member's id, for use inside another select; answered by key for each member at hand."""
    scope = SingleScope(shop, as_of)
    holds = truth(scope, node)
    same = and_(scope.member("shop_id") == shop.shop_id, scope.member("member_id") == member_id_column)
    return exists(select(literal(1)).select_from(scope.source).where(same, holds))


def truth(scope: Scope, node: Node) -> Truth:
    """A tree as a condition on the scope's row. A node of no known kind raises, for nothing may be left out in silence."""
    if isinstance(node, And):
        return and_(*(truth(scope, item) for item in node.items)) if node.items else false()
    if isinstance(node, Or):
        return or_(*(truth(scope, item) for item in node.items)) if node.items else false()
    if isinstance(node, Not):
        return not_(truth(scope, node.item))
    if isinstance(node, Compare):
        return operand(scope, node.field).compare(node.op, node.value)
    if isinstance(node, Membership):
        asked = operand(scope, node.field)
        found = or_(*(asked.compare("==", value) for value in node.values)) if node.values else false()
        return not_(found) if node.negated else found
    if isinstance(node, Holds):
        flag = operand(scope, node.field)
        assert isinstance(flag, Flag)
        return flag.expression
    if isinstance(node, Everyone):
        return true()
    raise TypeError(f"no SQL for {type(node).__name__}")


def operand(scope: Scope, field: Field) -> Operand:
    """What a field stands for in this scope."""
    return FIELDS[field.key].sql(scope, field)


class _ByKey:
    """What both scopes share: the member, the facts and the tier, joined by key when they are asked for."""

    def __init__(self, shop: Shop, as_of: date, members_from: FromClause) -> None:
        self.shop = shop
        self.as_of = as_of
        self._members = members_from
        self._source: FromClause = members_from
        self._joined: dict[object, Any] = {}

    def member(self, name: str) -> ColumnElement[Any]:
        column: ColumnElement[Any] = self._members.c[name]
        return column

    @property
    def source(self) -> FromClause:
        """Everything that was asked for, joined; complete once all conditions are built."""
        return self._source

    def fact(self, name: str) -> ColumnElement[int]:
        return func.coalesce(self._facts().c[name], 0)

    def fact_day(self, name: str) -> ColumnElement[date]:
        day: ColumnElement[date] = self._facts().c[name]
        return day

    def tier(self) -> ColumnElement[str]:
        held = self._joined.get("tier")
        if held is None:
            held = self._joined["tier"] = member_tiers.alias("rule_tiers")
            self._join(held, held.c.program_key == PROGRAM_KEY)
        return func.coalesce(held.c.level_key, "")

    def _facts(self) -> FromClause:
        facts: FromClause | None = self._joined.get("facts")
        if facts is None:
            facts = self._joined["facts"] = member_facts.alias("rule_facts")
            self._join(facts)
        return facts

    def _join(self, other: FromClause, *more: Truth) -> None:
        """Outer join by the member's key; tables name the shop themselves, aggregates are the shop's already."""
        same = [other.c.member_id == self._members.c.member_id, *more]
        if "shop_id" in other.c:
            same.insert(0, other.c.shop_id == self.shop.shop_id)
        self._source = self._source.outerjoin(other, and_(*same))

    def _window(self, day: ColumnElement[date], days: int) -> Truth:
        """The last `days` local days, `as_of` being the last of them."""
        return day.between(self.as_of - timedelta(days=days - 1), self.as_of)

    def _lines(self, sku: str | None, title: str | None, days: int | None) -> Select[Any]:
        """One row: an order line of an order that counts, of this product."""
        same_order = and_(orders.c.shop_id == order_lines.c.shop_id, orders.c.order_id == order_lines.c.order_id)
        query = (
            select(orders.c.member_id)
            .select_from(order_lines.join(orders, same_order))
            .where(order_lines.c.shop_id == self.shop.shop_id, orders.c.counts, order_lines.c.quantity > 0)
        )
        if sku is not None:
            query = query.where(order_lines.c.sku == sku)
        if title is not None:
            query = query.where(order_lines.c.title == title)
        return query if days is None else query.where(self._window(orders.c.placed_on, days))


class JoinedScope(_ByKey):
    """For all members of a shop: each thing read is one outer join of rows already aggregated by member."""

    def __init__(self, shop: Shop, as_of: date) -> None:
        super().__init__(shop, as_of, members)

    def orders_within(self, days: int) -> tuple[ColumnElement[int], ColumnElement[int]]:
        return self._sums(("orders", days), orders, orders.c.placed_on, days)

    def refunds_within(self, days: int) -> tuple[ColumnElement[int], ColumnElement[int]]:
        return self._sums(("refunds", days), refunds, refunds.c.refunded_on, days)

    def tagged(self, tag: str) -> Truth:
        table = member_tags.c
        return self._among(("tag", tag), select(table.member_id).where(self._own(table), table.tag == tag))

    def bought(self, sku: str | None, title: str | None, days: int | None) -> Truth:
        lines = self._lines(sku, title, days).where(orders.c.member_id.is_not(None)).distinct()
        return self._among(("bought", sku, title, days), lines)

    def consents(self, channel: str) -> Truth:
        table = member_consents.c
        agreed = select(table.member_id).where(
            self._own(table), table.channel == channel, table.topic == MARKETING, table.state == "granted"
        )
        return self._among(("consents", channel), agreed)

    def _own(self, columns: Any) -> Truth:
        own: Truth = columns.shop_id == self.shop.shop_id
        return own

    def _sums(
        self, key: tuple[str, int], table: Any, day: ColumnElement[date], days: int
    ) -> tuple[ColumnElement[int], ColumnElement[int]]:
        sums: Subquery | None = self._joined.get(key)
        if sums is None:
            # One row: a member with something in the window.
            query = (
                select(table.c.member_id, func.count().label("how_many"), func.sum(table.c.base_minor).label("minor"))
                .where(self._own(table.c), table.c.counts, table.c.member_id.is_not(None), self._window(day, days))
                .group_by(table.c.member_id)
            )
            sums = self._joined[key] = query.subquery(f"{key[0]}_{days}")
            self._join(sums)
        return func.coalesce(sums.c.how_many, 0), func.coalesce(sums.c.minor, 0)

    def _among(self, key: tuple[object, ...], query: Select[Any]) -> Truth:
        found: Subquery | None = self._joined.get(key)
        if found is None:
            found = self._joined[key] = query.subquery(f"{key[0]}_{len(self._joined)}")
            self._join(found)
        return found.c.member_id.is_not(None)


class SingleScope(_ByKey):
    """For the member at hand: each thing read is looked up by that member's key."""

    def __init__(self, shop: Shop, as_of: date) -> None:
        super().__init__(shop, as_of, members.alias("rule_members"))

    def orders_within(self, days: int) -> tuple[ColumnElement[int], ColumnElement[int]]:
        return self._sums(orders, orders.c.placed_on, days)

    def refunds_within(self, days: int) -> tuple[ColumnElement[int], ColumnElement[int]]:
        return self._sums(refunds, refunds.c.refunded_on, days)

    def tagged(self, tag: str) -> Truth:
        table = member_tags.c
        return self._there(select(literal(1)).where(self._own(table), table.tag == tag))

    def bought(self, sku: str | None, title: str | None, days: int | None) -> Truth:
        return self._there(self._lines(sku, title, days).where(self._own(orders.c)))

    def consents(self, channel: str) -> Truth:
        table = member_consents.c
        agreed = and_(table.channel == channel, table.topic == MARKETING, table.state == "granted")
        return self._there(select(literal(1)).where(self._own(table), agreed))

    def _own(self, columns: Any) -> Truth:
        return and_(columns.shop_id == self.shop.shop_id, columns.member_id == self._members.c.member_id)

    def _there(self, query: Select[Any]) -> Truth:
        return exists(query.correlate(self._members))

    def _sums(self, table: Any, day: ColumnElement[date], days: int) -> tuple[ColumnElement[int], ColumnElement[int]]:
        span = (self._own(table.c), table.c.counts, self._window(day, days))
        how_many = select(func.count()).select_from(table).where(*span).correlate(self._members)
        minor = select(func.coalesce(func.sum(table.c.base_minor), 0)).where(*span).correlate(self._members)
        return how_many.scalar_subquery(), minor.scalar_subquery()
