"""What a line's goods cost, where the platform keeps no cost of the sale and tells only what a piece costs now.

It is taken when the order is first seen, as the order tells it, else as its product is known here, and kept from then on: what a piece
costs later is no news of an older sale. A line without a cost gets one when that becomes known, by a night within `WITHIN` of the order.
Where lines tell the cost of the sale but may lack it, only those that do go by their product.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.errors import ConfigError
from crm_plugin.records import OrderLineRecord, OrderRecord
from crm_plugin.store import bulk, order_lines, orders, products
from crm_plugin.store.tenants import Shop

# What a piece costs now says little of a sale that is longer ago.
WITHIN = timedelta(days=90)
_KEPT = (
    "SELECT o.external_id, l.product_external_id, l.sku, l.quantity, l.cost_minor FROM orders AS o "
    "JOIN order_lines AS l ON l.shop_id = o.shop_id AND l.order_id = o.order_id "
    "WHERE o.shop_id = ? AND l.cost_minor IS NOT NULL AND l.quantity > 0 AND o.external_id IN ({marks}) "
    "ORDER BY o.external_id, l.line_no DESC"
)
_KNOWN = (
    "SELECT external_id, currency, cost_minor FROM products "
    "WHERE shop_id = ? AND cost_minor IS NOT NULL AND external_id IN ({marks})"
)
# What a piece of something in an order cost: by the product, or by its code where the product is no longer named.
_Pieces = dict[tuple[str, str], float]


def settle(connection: Connection, shop: Shop, records: Sequence[OrderRecord]) -> Sequence[OrderRecord]:
    """The orders with the costs that hold. Of a platform that keeps the cost of a sale they are as they were told."""
    of_now, may_lack = _kind(shop)
    if not of_now and not (may_lack and any(_lacks(record) for record in records)):
        return records
    kept: dict[str, _Pieces] = {}
    names = {record.external_id for record in records if of_now or _lacks(record)}
    for name, product, sku, quantity, cost in bulk.select_in(connection, _KEPT, (shop.shop_id,), names):
        pieces = kept.setdefault(name, {})
        pieces[("product", product)] = pieces[("sku", sku)] = cost / quantity
    unknown = {line.product_external_id for record in records for line in record.lines if line.cost_minor is None}
    known = {
        (name, currency): float(cost)
        for name, currency, cost in bulk.select_in(connection, _KNOWN, (shop.shop_id,), unknown - {""})
    }
    return [_settled(record, kept.get(record.external_id, {}), known, of_now) for record in records]


def _kind(shop: Shop) -> tuple[bool, bool]:
    """Whether what lines cost is of now, and whether they may lack it."""
    try:
        cls = storefront_class(shop.platform)
    except ConfigError:
        # Its adapter is not installed here: what comes is taken as it is told.
        return False, False
    return cls.costs_are_of_now, cls.costs_may_lack


def _lacks(record: OrderRecord) -> bool:
    return any(line.cost_minor is None for line in record.lines)


def _settled(record: OrderRecord, kept: _Pieces, known: dict[tuple[str, str], float], of_now: bool) -> OrderRecord:
    lines = tuple(
        line
        if line.cost_minor is not None and not of_now
        else _line(line, kept, known.get((line.product_external_id, record.currency)))
        for line in record.lines
    )
    return record if lines == record.lines else msgspec.structs.replace(record, lines=lines)


def _line(line: OrderLineRecord, kept: _Pieces, known: float | None) -> OrderLineRecord:
    names = (("product", line.product_external_id), ("sku", line.sku))
    piece = next((kept[name] for name in names if name[1] and name in kept), None)
    if piece is None and line.cost_minor is None:
        piece = known
    return line if piece is None else msgspec.structs.replace(line, cost_minor=round(piece * line.quantity))


def become_known(connection: Connection, shop: Shop, now: datetime, most: int) -> list[str]:
    """Ids of orders of late with a line that has no cost, though its product has one by now."""
    if not any(_kind(shop)):
        return []
    o, line, p = orders.c, order_lines.c, products.c
    costs: Any = (
        select(o.external_id)
        .join(order_lines, (line.shop_id == o.shop_id) & (line.order_id == o.order_id))
        .join(products, (p.shop_id == line.shop_id) & (p.external_id == line.product_external_id))
        .where(o.shop_id == shop.shop_id, o.placed_on >= (now - WITHIN).date(), o.counts)
        .where(line.cost_minor.is_(None), p.cost_minor.is_not(None), p.currency == o.currency)
        .distinct()
        .order_by(o.external_id)
        .limit(most)
    )
    found: Iterable[str] = connection.execute(costs).scalars()
    return list(found)
