"""Records that a store no longer has: what is left of them to write, so that they stop counting and nobody is written to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from sqlalchemy import Connection, select

from crm_plugin.records import (
    CheckoutRecord,
    MemberRecord,
    OrderRecord,
    OrderStatus,
    ProductRecord,
    Record,
    RefundRecord,
    Stream,
)
from crm_plugin.store import members, orders, products, refunds


def gone(connection: Connection, shop_id: int, stream: Stream, ids: Iterable[str], now: datetime) -> Iterator[Record]:
    """A deleted record for each of these, and for variants of products that are; of others that are not known here there is none."""
    names = sorted(set(ids))
    if stream is Stream.MEMBERS:
        own = (members.c.shop_id == shop_id, members.c.external_id.in_(names))
        known = connection.execute(select(members.c.external_id).where(*own)).scalars()
        yield from (MemberRecord(external_id=name, deleted=True) for name in known)
    elif stream is Stream.PRODUCTS:
        p = products.c
        variants = select(p.external_id).where(p.shop_id == shop_id, p.parent_external_id.in_(names))
        wanted = {*names, *connection.execute(variants).scalars()}
        yield from (ProductRecord(external_id=name, deleted=True) for name in sorted(wanted))
    elif stream is Stream.CHECKOUTS:
        yield from (CheckoutRecord(external_id=name, started_at=now, deleted=True) for name in names)
    elif stream is Stream.ORDERS:
        yield from _orders(connection, shop_id, names)
    else:
        yield from _refunds(connection, shop_id, names)


def _orders(connection: Connection, shop_id: int, names: list[str]) -> Iterator[OrderRecord]:
    """As they were last known, so that the order's own figures stay to be seen."""
    o = orders.c
    for row in connection.execute(select(orders).where(o.shop_id == shop_id, o.external_id.in_(names))):
        yield OrderRecord(
            external_id=row.external_id,
            number=row.number,
            status=OrderStatus.TRASH,
            platform_status=row.platform_status,
            currency=row.currency,
            total_minor=row.total_minor,
            tax_minor=row.tax_minor,
            shipping_minor=row.shipping_minor,
            discount_minor=row.discount_minor,
            cost_minor=row.cost_minor,
            placed_at=row.placed_at,
            paid_at=row.paid_at,
            shipped_at=row.shipped_at,
            delivered_at=row.delivered_at,
            coupon_codes=tuple(row.coupon_codes),
            attributes=row.attributes,
            deleted=True,
        )


def _refunds(connection: Connection, shop_id: int, names: list[str]) -> Iterator[RefundRecord]:
    r = refunds.c
    for row in connection.execute(select(refunds).where(r.shop_id == shop_id, r.external_id.in_(names))):
        yield RefundRecord(
            external_id=row.external_id,
            amount_minor=row.amount_minor,
            currency=row.currency,
            order_external_id=row.order_external_id,
            refunded_at=row.refunded_at,
            deleted=True,
        )
