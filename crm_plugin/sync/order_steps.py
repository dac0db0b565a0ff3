"""When orders were paid, shipped and delivered, as rows that journeys find: written with the order, for what is not long ago."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from crm_plugin.records import OrderRecord, OrderStatus
from crm_plugin.store import bulk, order_events
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.values import Days, micros

PAID, SHIPPED, DELIVERED = "paid", "shipped", "delivered"
# A journey waits a year at most after a step, and speaks two months late at most.
_KEPT = timedelta(days=430)
_COLUMNS = ("shop_id", "order_id", "kind", "at", "happened_on", "seen_at")
# A step that is told again keeps when it was first seen, unless its day is another one.
_SETS = (
    "at = excluded.at, happened_on = excluded.happened_on, seen_at = CASE WHEN order_events.happened_on <> excluded.happened_on "
    "THEN excluded.seen_at ELSE order_events.seen_at END"
)


class Steps:
    """The steps of a page of orders."""

    def __init__(self, shop: Shop, now: datetime) -> None:
        self._shop_id = shop.shop_id
        self._days = Days(shop)
        self._at = to_micros(now)
        self._oldest = now - _KEPT
        self._rows: list[tuple[Any, ...]] = []
        self._moved: list[int] = []
        self._without: dict[str, list[int]] = {PAID: [], SHIPPED: [], DELIVERED: []}

    def take(self, record: OrderRecord, order_id: int, *, is_new: bool, moved: bool) -> None:
        """Note the steps that an order tells; an order that changes hands comes into view anew with all of them."""
        if moved:
            self._moved.append(order_id)
        if record.placed_at < self._oldest:
            return
        for kind, at in _steps(record):
            if at is not None and at >= self._oldest:
                row = (self._shop_id, order_id, kind, micros(at), self._days.of(at), self._at)
                self._rows.append(row)
            elif not is_new:
                self._without[kind].append(order_id)

    def write(self, connection: Connection) -> None:
        """Write them; what an order no longer tells goes."""
        sql = "DELETE FROM order_events WHERE shop_id = ? AND order_id IN ({marks})"
        if self._moved:
            bulk.execute_in(connection, sql, (self._shop_id,), self._moved)
        for kind, order_ids in self._without.items():
            if order_ids:
                bulk.execute_in(
                    connection,
                    "DELETE FROM order_events WHERE shop_id = ? AND kind = ? AND order_id IN ({marks})",
                    (self._shop_id, kind),
                    order_ids,
                )
        bulk.upsert_rows(connection, order_events, _COLUMNS, _COLUMNS[:3], _SETS, self._rows)


def _steps(record: OrderRecord) -> tuple[tuple[str, datetime | None], ...]:
    """What a store does not date by itself happened, as far as is known, when the order was placed; a shipping then is not known."""
    paid = record.paid_at
    if paid is None and record.status in (OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.COMPLETED):
        paid = record.placed_at
    return ((PAID, paid), (SHIPPED, record.shipped_at), (DELIVERED, record.delivered_at))
