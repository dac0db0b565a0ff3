"""What an order was before it was paid or refunded: an order keeps its present state alone, but tells when that began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from crm_plugin.records import OrderStatus
from crm_plugin.store.bulk import execute, execute_in, select_in

LATER = "later_statuses"
_AFTER_PAYING = tuple(
    status.value for status in OrderStatus if status.counts and status not in (OrderStatus.PENDING, OrderStatus.UNKNOWN)
)


def take_back(connection: Connection, shop_id: int, since: int, created: int) -> None:
    """Orders refunded after `since` are completed until their last refund came; those paid after it (and after they came) wait for it."""
    execute(connection, f"CREATE TABLE {LATER} (order_id INTEGER PRIMARY KEY, status TEXT, comes_at INTEGER)")
    execute(connection, f"CREATE INDEX ix_{LATER} ON {LATER} (comes_at)")
    # As with all that happened before the shop was connected.
    came = f"CASE WHEN r.refunded_at < {created} THEN MIN(r.refunded_at, r.first_seen_at) ELSE r.first_seen_at END"
    execute(
        connection,
        f"INSERT INTO {LATER} SELECT o.order_id, o.status, MAX({came}) FROM orders AS o JOIN refunds AS r "  # noqa: S608
        "ON r.shop_id = o.shop_id AND r.order_id = o.order_id WHERE o.shop_id = ? AND o.status = ? "
        f"GROUP BY o.order_id HAVING MAX({came}) > ?",
        (shop_id, OrderStatus.REFUNDED.value, since),
    )
    _set(connection, shop_id, OrderStatus.COMPLETED)
    marks = ", ".join("?" * len(_AFTER_PAYING))
    execute(
        connection,
        f"INSERT OR IGNORE INTO {LATER} SELECT order_id, status, paid_at FROM orders "  # noqa: S608
        f"WHERE shop_id = ? AND paid_at > ? AND paid_at > first_seen_at AND status IN ({marks})",
        (shop_id, since, *_AFTER_PAYING),
    )
    _set(connection, shop_id, OrderStatus.PENDING)


def _set(connection: Connection, shop_id: int, status: OrderStatus) -> None:
    """Those noted that still say what they say now."""
    execute(
        connection,
        f"UPDATE orders SET status = ? WHERE shop_id = ? AND (order_id, status) IN (SELECT order_id, status FROM {LATER})",  # noqa: S608
        (status.value, shop_id),
    )


def turn(connection: Connection, shop_id: int, low: int, high: int, columns: str) -> Sequence[tuple[Any, ...]]:
    """Give the orders whose time has come the state they have now; answers with these columns of them."""
    sql = f"SELECT order_id FROM {LATER} WHERE comes_at > ? AND comes_at <= ?"  # noqa: S608
    ids = [row[0] for row in execute(connection, sql, (low, high))]
    if not ids:
        return ()
    now = f"(SELECT l.status FROM {LATER} AS l WHERE l.order_id = orders.order_id)"  # noqa: S608
    execute_in(
        connection,
        f"UPDATE orders SET status = {now} WHERE shop_id = ? AND order_id IN ({{marks}})",  # noqa: S608
        (shop_id,),
        ids,
    )
    found = f"SELECT {columns} FROM orders WHERE shop_id = ? AND order_id IN ({{marks}})"  # noqa: S608
    return [tuple(row) for row in select_in(connection, found, (shop_id,), ids)]
