"""What an order was before it was paid, sent, arrived or was refunded: it keeps its present state alone, but tells when each began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from crm_plugin.records import OrderStatus
from crm_plugin.store.bulk import execute, execute_in, select_in

# One row: a state that an order comes to, and the one it has until then. `stage` orders those of one instant.
LATER = "later_statuses"
DATES = "later_order_dates"
_AFTER_PAYING = tuple(
    status.value for status in OrderStatus if status.counts and status not in (OrderStatus.PENDING, OrderStatus.UNKNOWN)
)
_SENT = tuple(status.value for status in (OrderStatus.SHIPPED, OrderStatus.COMPLETED, OrderStatus.REFUNDED))
# What it is but for the refund.
_KEPT = f"CASE WHEN o.status = '{OrderStatus.REFUNDED}' THEN '{OrderStatus.COMPLETED}' ELSE o.status END"


def take_back(connection: Connection, shop_id: int, since: int, created: int) -> None:
    """Give each order the state it had at `since`, and note the states and dates to come.

    An order whose money went back is completed until the last of it did; one that was paid, sent or arrived after it came waits for that.
    """
    execute(
        connection,
        f"CREATE TABLE {LATER} (order_id INTEGER, stage INTEGER, before TEXT, status TEXT, comes_at INTEGER, "
        "PRIMARY KEY (order_id, stage))",
    )
    execute(connection, f"CREATE INDEX ix_{LATER} ON {LATER} (comes_at)")
    _note_dates(connection, shop_id, since, created)
    marks = ", ".join("?" * len(_AFTER_PAYING))
    stepped = f"(SELECT 1 FROM {DATES} AS d WHERE d.order_id = o.order_id AND d.comes_at > o.paid_at)"  # noqa: S608
    execute(
        connection,
        f"INSERT INTO {LATER} SELECT o.order_id, 0, ?, CASE WHEN {stepped} IS NULL THEN {_KEPT} ELSE ? END, o.paid_at FROM orders AS o "  # noqa: S608
        f"WHERE o.shop_id = ? AND o.paid_at > ? AND o.paid_at > o.first_seen_at AND o.status IN ({marks})",
        (OrderStatus.PENDING, OrderStatus.PAID, shop_id, since, *_AFTER_PAYING),
    )
    _note_steps(connection, shop_id)
    # As with all that happened before the shop was connected.
    came = f"CASE WHEN r.refunded_at < {created} THEN MIN(r.refunded_at, r.first_seen_at) ELSE r.first_seen_at END"
    execute(
        connection,
        f"INSERT INTO {LATER} SELECT o.order_id, 3, ?, o.status, MAX({came}) FROM orders AS o JOIN refunds AS r "  # noqa: S608
        "ON r.shop_id = o.shop_id AND r.order_id = o.order_id WHERE o.shop_id = ? AND o.status = ? "
        f"GROUP BY o.order_id HAVING MAX({came}) > ?",
        (OrderStatus.COMPLETED, shop_id, OrderStatus.REFUNDED, since),
    )
    first = (
        f"(SELECT l.before FROM {LATER} AS l WHERE l.order_id = orders.order_id ORDER BY l.comes_at, l.stage LIMIT 1)"  # noqa: S608
    )
    execute(
        connection,
        f"UPDATE orders SET status = {first} WHERE shop_id = ? AND order_id IN (SELECT order_id FROM {LATER})",  # noqa: S608
        (shop_id,),
    )


def _note_dates(connection: Connection, shop_id: int, since: int, created: int) -> None:
    """When orders were sent and arrived, of those that were told after the order itself; until then no date says so."""
    seen = f"CASE WHEN e.at < {created} THEN MIN(e.at, e.seen_at) ELSE e.seen_at END"
    execute(
        connection,
        f"CREATE TABLE {DATES} AS SELECT e.order_id, e.kind, e.at, {seen} AS comes_at FROM order_events AS e "  # noqa: S608
        "JOIN orders AS o ON o.shop_id = e.shop_id AND o.order_id = e.order_id "
        f"WHERE e.shop_id = ? AND e.kind IN ('shipped', 'delivered') AND {seen} > ? AND {seen} > o.first_seen_at",
        (shop_id, since),
    )
    execute(connection, f"CREATE INDEX ix_{DATES} ON {DATES} (order_id, kind)")
    execute(connection, f"CREATE INDEX ix_{DATES}_comes ON {DATES} (comes_at)")
    for kind in ("shipped", "delivered"):
        execute(
            connection,
            f"UPDATE orders SET {kind}_at = NULL WHERE shop_id = ? AND order_id IN (SELECT order_id FROM {DATES} WHERE kind = ?)",  # noqa: S608
            (shop_id, kind),
        )


def _note_steps(connection: Connection, shop_id: int) -> None:
    """Sent: until it arrives, if it has; arrived: what it is now."""
    marks = ", ".join("?" * len(_SENT))
    of = f"FROM {DATES} AS d JOIN orders AS o ON o.shop_id = ? AND o.order_id = d.order_id AND o.status IN ({marks}) "
    arrives = f"(SELECT 1 FROM {DATES} AS a WHERE a.order_id = d.order_id AND a.kind = 'delivered' AND a.comes_at > d.comes_at)"  # noqa: S608
    sent = "(SELECT 1 FROM order_events AS s WHERE s.shop_id = o.shop_id AND s.order_id = o.order_id AND s.kind = 'shipped')"
    own = (shop_id, *_SENT)
    execute(
        connection,
        f"INSERT INTO {LATER} SELECT d.order_id, 1, ?, CASE WHEN {arrives} IS NULL THEN {_KEPT} ELSE ? END, d.comes_at {of} "
        "WHERE d.kind = 'shipped'",
        (OrderStatus.PAID, OrderStatus.SHIPPED, *own),
    )
    execute(
        connection,
        f"INSERT INTO {LATER} SELECT d.order_id, 2, CASE WHEN {sent} IS NULL THEN ? ELSE ? END, {_KEPT}, d.comes_at {of} "
        "WHERE d.kind = 'delivered'",
        (OrderStatus.PAID, OrderStatus.SHIPPED, *own),
    )


def turn(connection: Connection, shop_id: int, low: int, high: int, columns: str) -> Sequence[tuple[Any, ...]]:
    """Bring the orders whose time has come to their next state; answers with these columns of them."""
    for kind in ("shipped", "delivered"):
        execute(
            connection,
            f"UPDATE orders SET {kind}_at = d.at FROM {DATES} AS d WHERE orders.shop_id = ? AND d.order_id = orders.order_id "  # noqa: S608
            "AND d.kind = ? AND d.comes_at > ? AND d.comes_at <= ?",
            (shop_id, kind, low, high),
        )
    sql = f"SELECT DISTINCT order_id FROM {LATER} WHERE comes_at > ? AND comes_at <= ?"  # noqa: S608
    ids = [row[0] for row in execute(connection, sql, (low, high))]
    if not ids:
        return ()
    now = (
        f"(SELECT l.status FROM {LATER} AS l WHERE l.order_id = orders.order_id AND l.comes_at <= ? "  # noqa: S608
        "ORDER BY l.comes_at DESC, l.stage DESC LIMIT 1)"
    )
    execute_in(
        connection,
        f"UPDATE orders SET status = {now} WHERE shop_id = ? AND order_id IN ({{marks}})",  # noqa: S608
        (high, shop_id),
        ids,
    )
    found = f"SELECT {columns} FROM orders WHERE shop_id = ? AND order_id IN ({{marks}})"  # noqa: S608
    return [tuple(row) for row in select_in(connection, found, (shop_id,), ids)]
