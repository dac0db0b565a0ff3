"""What windows are summed over: orders, refunds, order lines, messages. One `Rows` is one FROM with its member, its day and its sums."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Numeric,
    Text,
    and_,
    case,
    cast,
    distinct,
    exists,
    func,
    literal,
    or_,
    select,
    type_coerce,
)

from crm_plugin.rules.dialects import portion
from crm_plugin.rules.operands import Truth
from crm_plugin.store import (
    delivery_events,
    member_consents,
    member_events,
    member_tags,
    members,
    order_lines,
    orders,
    products,
    refunds,
    segment_members,
    suppressions,
    touchpoints,
)

MARKETING = "marketing"


@dataclass(frozen=True, slots=True)
class Rows:
    """`key` tells two of them apart. `day` is a column of day numbers, `instant` one of microseconds; None where rows have no day.

    `sums` are aggregates by name; those in `none` stay NULL without a row, all others are then 0.
    """

    key: Hashable
    source: FromClause
    shop_id: ColumnElement[int]
    member_id: ColumnElement[int]
    where: tuple[Truth, ...]
    sums: Mapping[str, ColumnElement[Any]]
    day: ColumnElement[int] | None = None
    instant: ColumnElement[int] | None = None
    none: frozenset[str] = frozenset()


def _share(part: ColumnElement[int], currency: str) -> ColumnElement[int]:
    """A part of an order in the shop's currency, as `sync.values.share` has it: in proportion, rounded half up away from zero."""
    o = orders.c
    # NUMERIC is exact on PostgreSQL, and whole numbers stay whole on SQLite; the remainder is taken off before dividing.
    down = 2 * func.abs(cast(o.total_minor, Numeric))
    up = 2 * func.abs(cast(part, Numeric) * o.base_minor) + func.abs(o.total_minor)
    sign = func.sign(part) * func.sign(o.base_minor) * func.sign(o.total_minor)
    rounded = cast(sign * ((up - up % down) / down), BigInteger)
    return case((or_(o.currency == currency, part == 0), part), (o.total_minor == 0, 0), else_=rounded)


@lru_cache(maxsize=32)
def orders_of(currency: str) -> Rows:
    """Orders that count; money in the shop's currency, where there is a rate. Every round asks for it, so it is made once."""
    o = orders.c
    rated = o.base_minor.is_not(None)
    day = type_coerce(o.placed_on, Integer)
    sums = {
        "count": func.count(),
        "gross": func.sum(o.base_minor),
        "unconverted": func.count() - func.count(o.base_minor),
        "items": func.sum(o.items_milli),
        "discount": func.sum(case((rated, _share(o.discount_minor, currency)))),
        "cost": func.sum(case((rated, _share(func.coalesce(o.cost_minor, 0), currency)))),
        "tax": func.sum(case((rated, _share(o.tax_minor, currency)))),
        "shipping": func.sum(case((rated, _share(o.shipping_minor, currency)))),
        "coupons": func.count(case((type_coerce(o.coupon_codes, Text) != literal("[]", Text), 1))),
        "first_on": func.min(day),
        "last_on": func.max(day),
    }
    none = frozenset({"first_on", "last_on"})
    return Rows("orders", orders, o.shop_id, o.member_id, (o.counts,), sums, day, none=none)


def refunds_given() -> Rows:
    """Refunds of orders that count, on their own day."""
    r = refunds.c
    sums = {"count": func.count(), "minor": func.sum(r.base_minor)}
    return Rows("refunds", refunds, r.shop_id, r.member_id, (r.counts,), sums, type_coerce(r.refunded_on, Integer))


def lines_bought(
    currency: str,
    *,
    sku: str | None = None,
    title: str | None = None,
    product: str | None = None,
    category: str | None = None,
) -> Rows:
    """Lines with a quantity above zero of orders that count, of the products named; of all where none is."""
    line = order_lines.c
    where: list[Truth] = [] if sku is None else [line.sku == sku]
    where += [] if title is None else [line.title == title]
    where += [] if product is None else [line.product_external_id == product]
    where += [] if category is None else [_in_category(category)]
    return _lines(("lines", sku, title, product, category), currency, where)


def lines_among(currency: str, skus: Sequence[str], categories: Sequence[str]) -> Rows:
    """The same of products that have one of these codes or are in one of these categories."""
    return _lines(("among", tuple(skus), tuple(categories)), currency, [_either(skus, categories)])


def refunds_among(currency: str, skus: Sequence[str], categories: Sequence[str]) -> Rows:
    """Refunds that count of orders that count; `minor` is what falls on those lines, each having its share of the order's refunds."""
    r, o, line = refunds.c, orders.c, order_lines.c
    source = refunds.join(orders, and_(o.shop_id == r.shop_id, o.order_id == r.order_id, o.member_id == r.member_id))
    # One row: an order's lines among those named.
    named = (
        select(func.sum(_share(line.total_minor, currency)))
        .where(line.shop_id == o.shop_id, line.order_id == o.order_id, line.quantity > 0, _either(skus, categories))
        .correlate(orders)
        .scalar_subquery()
    )
    sums = {"minor": func.sum(portion(r.base_minor, named, o.base_minor))}
    key = ("refunds among", tuple(skus), tuple(categories))
    return Rows(key, source, r.shop_id, r.member_id, (r.counts, o.counts), sums, type_coerce(r.refunded_on, Integer))


def _either(skus: Sequence[str], categories: Sequence[str]) -> Truth:
    return or_(order_lines.c.sku.in_(skus), *(_in_category(one) for one in categories))


def _lines(key: Hashable, currency: str, where: Sequence[Truth]) -> Rows:
    o, line = orders.c, order_lines.c
    source = order_lines.join(orders, and_(o.shop_id == line.shop_id, o.order_id == line.order_id))
    # A product is told by the store's own id, else by its code, else by its title.
    named = case(
        (line.product_external_id != "", literal("i") + line.product_external_id),
        (line.sku != "", literal("s") + line.sku),
        else_=literal("t") + line.title,
    )
    sums = {
        "orders": func.count(distinct(line.order_id)),
        "items": func.sum(cast(func.round(line.quantity * 1000), BigInteger)),
        "minor": func.sum(case((o.base_minor.is_not(None), _share(line.total_minor, currency)))),
        "products": func.count(distinct(named)),
    }
    own = (o.counts, line.quantity > 0, *where)
    return Rows(key, source, line.shop_id, o.member_id, own, sums, type_coerce(o.placed_on, Integer))


def _in_category(category: str) -> Truth:
    line, kept = order_lines.c, products.alias("sold")
    same = case(
        (line.product_external_id != "", kept.c.external_id == line.product_external_id),
        else_=and_(kept.c.sku == line.sku, line.sku != ""),
    )
    return exists().where(kept.c.shop_id == line.shop_id, kept.c.category == category, same)


# States of a message that was sent and did not come back.
ARRIVED = ("accepted", "delivered", "complained")
RECEIVED, OPENED, CLICKED, MACHINE_OPENED = "received", "opened", "clicked", "machine_opened"


def messages_of(what: str, channel: str | None, journey: str | None) -> Rows:
    """Messages that were sent and did not come back, or those of them that were opened or clicked, on the instant of just that."""
    t, event = touchpoints.c, delivery_events.c
    where: list[Truth] = [t.state.in_(ARRIVED)]
    where += [] if channel is None else [t.channel == channel]
    where += [] if journey is None else [t.journey_key == journey]
    key = ("messages", what, channel, journey)
    sums = {"count": func.count(distinct(t.touchpoint_id))}
    if what == RECEIVED:
        instant = type_coerce(t.accepted_at, BigInteger)
        return Rows(key, touchpoints, t.shop_id, t.member_id, tuple(where), sums, instant=instant)
    source = touchpoints.join(delivery_events, and_(event.shop_id == t.shop_id, event.touchpoint_id == t.touchpoint_id))
    where += [event.kind == (CLICKED if what == CLICKED else OPENED), event.machine == (what == MACHINE_OPENED)]
    instant = type_coerce(event.at, BigInteger)
    return Rows(key, source, t.shop_id, t.member_id, tuple(where), sums, instant=instant)


def events_of(kind: str) -> Rows:
    """What was raised of that kind and not withdrawn, on the day it is about."""
    e = member_events.c
    where = (e.kind == kind, e.withdrawn_at.is_(None))
    sums = {"count": func.count()}
    return Rows(("events", kind), member_events, e.shop_id, e.member_id, where, sums, type_coerce(e.on_day, Integer))


def tags_of(tag: str) -> Rows:
    """The member's tag of that name."""
    c = member_tags.c
    return Rows(("tag", tag), member_tags, c.shop_id, c.member_id, (c.tag == tag,), {})


def consent_of(channel: str, topic: str = MARKETING) -> Rows:
    """What the member said last of a channel and topic."""
    c = member_consents.c
    where = (c.channel == channel, c.topic == topic)
    sums = {"state": func.max(c.state)}
    return Rows(("consent", channel, topic), member_consents, c.shop_id, c.member_id, where, sums, none=frozenset(sums))


def suppressed_on(channel: str) -> Rows:
    """The entry that keeps messages from the member's own address."""
    c, m = suppressions.c, members.alias("suppressed_members")
    address = m.c.phone if channel == "sms" else m.c.email
    source = suppressions.join(m, and_(m.c.shop_id == c.shop_id, address == c.address, address != ""))
    return Rows(("suppressed", channel), source, c.shop_id, m.c.member_id, (c.channel == channel,), {})


def listed_in(segment: str) -> Rows:
    """The member's place in a saved segment's list, since a day."""
    c = segment_members.c
    sums = {"since_on": func.max(type_coerce(c.since_on, Integer))}
    where = (c.segment_key == segment,)
    return Rows(("listed", segment), segment_members, c.shop_id, c.member_id, where, sums, none=frozenset(sums))
