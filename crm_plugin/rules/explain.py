"""Why a member matches a rule or not: every condition with the member's value and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, and_, select

from crm_plugin.errors import NotFound
from crm_plugin.money import to_major, to_minor
from crm_plugin.phrases import phrase
from crm_plugin.rules.evaluate import Found, GivenRefund, PlacedOrder, Snapshot, Truth, evaluate, value_of
from crm_plugin.rules.fields import FIELDS, Unit
from crm_plugin.rules.nodes import Everyone, Leaf, Node, Value, leaves
from crm_plugin.rules.parse import to_text
from crm_plugin.rules.sql import MARKETING, PROGRAM_KEY
from crm_plugin.store import (
    member_consents,
    member_tags,
    member_tiers,
    members,
    order_lines,
    orders,
    refunds,
)
from crm_plugin.store.tenants import Shop


@dataclass(frozen=True, slots=True)
class ExplainedLeaf:
    """One condition: as text and as node (for `words`), the member's value (None is unknown), and whether it holds."""

    text: str
    node: Leaf
    value: Value | bool | None
    truth: Truth


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer; a truth of None is unknown, and matches no more than False."""

    truth: Truth
    leaves: tuple[ExplainedLeaf, ...]

    @property
    def matches(self) -> bool:
        return self.truth is True

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: amounts as text, for JSON has no decimals."""
        return {
            "matches": self.matches,
            "truth": self.truth,
            "conditions": [
                {
                    "text": leaf.text,
                    "value": str(leaf.value) if isinstance(leaf.value, Decimal) else leaf.value,
                    "truth": leaf.truth,
                }
                for leaf in self.leaves
            ],
        }


def explain(connection: Connection, shop: Shop, node: Node, member_id: int, as_of: date) -> Explanation:
    """Each condition's value and truth for one member. Raises: NotFound when the shop has no such member."""
    return explain_from(snapshot_of(connection, shop, member_id), node, as_of)


def explain_from(snapshot: Snapshot, node: Node, as_of: date) -> Explanation:
    """The same for a member already read: several rules of one member need one reading."""
    found = tuple(
        ExplainedLeaf(to_text(leaf), leaf, _value(leaf, snapshot, as_of), evaluate(leaf, snapshot, as_of))
        for leaf in dict.fromkeys(leaves(node))
    )
    return Explanation(evaluate(node, snapshot, as_of), found)


def _value(leaf: Leaf, snapshot: Snapshot, as_of: date) -> Value | bool | None:
    if isinstance(leaf, Everyone):
        return True
    money = FIELDS[leaf.field.key].unit is Unit.MONEY
    return shown(value_of(leaf.field, snapshot, as_of), snapshot.currency if money else "")


def shown(found: Found, currency: str) -> Value | bool | None:
    """A value as people read it: an amount of `currency` rounded to its minor unit, else a whole number."""
    if not isinstance(found, Fraction):
        return found
    if not currency:
        return int(found)
    return to_major(to_minor(Decimal(found.numerator) / Decimal(found.denominator), currency), currency)


def snapshot_of(connection: Connection, shop: Shop, member_id: int) -> Snapshot:
    """Everything rules can ask about one member, read by key. Raises: NotFound."""
    me = (members.c.shop_id == shop.shop_id, members.c.member_id == member_id)
    member = connection.execute(select(members).where(*me)).first()
    if member is None:
        raise NotFound(phrase("There is no such member in this shop."))
    columns = member_tiers.c
    tier = select(columns.level_key).where(
        columns.shop_id == shop.shop_id, columns.program_key == PROGRAM_KEY, columns.member_id == member_id
    )
    tags = select(member_tags.c.tag).where(member_tags.c.shop_id == shop.shop_id, member_tags.c.member_id == member_id)
    said = member_consents.c
    agreed = select(said.channel).where(
        said.shop_id == shop.shop_id, said.member_id == member_id, said.topic == MARKETING, said.state == "granted"
    )
    return Snapshot(
        currency=shop.currency,
        country=member.country,
        locale=member.locale,
        birth_md=member.birth_md,
        joined_on=member.joined_on,
        tier=connection.execute(tier).scalar() or "",
        orders=_orders(connection, shop, member_id),
        refunds=_refunds(connection, shop, member_id),
        tags=frozenset(connection.execute(tags).scalars()),
        consents=frozenset(connection.execute(agreed).scalars()),
    )


def _orders(connection: Connection, shop: Shop, member_id: int) -> tuple[PlacedOrder, ...]:
    o, line = orders.c, order_lines.c
    same_order = and_(line.shop_id == o.shop_id, line.order_id == o.order_id, line.quantity > 0)
    query = (
        select(o.order_id, o.placed_on, o.base_minor, line.sku, line.title)
        .select_from(orders.outerjoin(order_lines, same_order))
        .where(o.shop_id == shop.shop_id, o.member_id == member_id, o.counts)
    )
    placed: dict[int, tuple[date, int | None]] = {}
    products: dict[int, list[tuple[str, str]]] = {}
    for order_id, placed_on, base_minor, sku, title in connection.execute(query):
        placed[order_id] = (placed_on, base_minor)
        if sku is not None:
            products.setdefault(order_id, []).append((sku, title))
    return tuple(PlacedOrder(day, minor, tuple(products.get(key, ()))) for key, (day, minor) in placed.items())


def _refunds(connection: Connection, shop: Shop, member_id: int) -> tuple[GivenRefund, ...]:
    r = refunds.c
    query = select(r.refunded_on, r.base_minor).where(r.shop_id == shop.shop_id, r.member_id == member_id, r.counts)
    return tuple(GivenRefund(day, minor) for day, minor in connection.execute(query))
