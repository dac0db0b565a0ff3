"""Writing one page of records in the transaction of the caller: what has not changed is skipped, facts move by delta.

Twice, late and out of order are normal: a record with the fingerprint that is stored changes nothing, one older than what is stored
is left out, and the caller may hand in the same page again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from crm_plugin.ids import new_ids
from crm_plugin.money import share
from crm_plugin.records import (
    MemberRecord,
    OrderRecord,
    OrderStatus,
    Page,
    Stream,
)
from crm_plugin.store import bulk, order_lines, orders
from crm_plugin.store.base import to_json, to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import drift
from crm_plugin.sync.checkouts import drafts, write_checkouts
from crm_plugin.sync.costs import settle
from crm_plugin.sync.facts import FactsDelta, OrderPart
from crm_plugin.sync.identity import MemberBook
from crm_plugin.sync.member_rows import Member
from crm_plugin.sync.order_steps import Steps
from crm_plugin.sync.products import write_products
from crm_plugin.sync.refunds import RefundRows, Refunds
from crm_plugin.sync.turn import lock
from crm_plugin.sync.values import Days, Money, attributes_json, fingerprint, micros
from crm_plugin.sync.written import Written, is_older, latest


def write_page(connection: Connection, shop: Shop, page: Page, now: datetime) -> Written:
    """Write all records of a page. Raises: nothing of its own; the transaction is the caller's to keep or undo."""
    lock(connection, shop.shop_id)
    if page.stream is Stream.MEMBERS:
        return write_members(connection, shop, page.records, now)  # type: ignore[arg-type]
    if page.stream is Stream.ORDERS:
        return _Orders(connection, shop, now).write(page.records)  # type: ignore[arg-type]
    if page.stream is Stream.REFUNDS:
        return Refunds(connection, shop, now).write(page.records)  # type: ignore[arg-type]
    if page.stream is Stream.CHECKOUTS:
        return write_checkouts(connection, shop, page.records, now)  # type: ignore[arg-type]
    return write_products(connection, shop, page.records, now)  # type: ignore[arg-type]


def write_members(connection: Connection, shop: Shop, records: Sequence[MemberRecord], now: datetime) -> Written:
    """Accounts, with their identities, tags and consents."""
    newest = latest(records)
    book = MemberBook(connection, shop, now)
    book.load_accounts(newest)
    for record in newest:
        book.take_account(record)
    book.write()
    drift.take(connection, shop.shop_id, newest, now)
    return book.counts


ORDER_COLUMNS = (
    "shop_id",
    "order_id",
    "external_id",
    "number",
    "member_id",
    "status",
    "platform_status",
    "counts",
    "currency",
    "total_minor",
    "base_minor",
    "tax_minor",
    "shipping_minor",
    "discount_minor",
    "cost_minor",
    "items_milli",
    "placed_at",
    "placed_on",
    "paid_at",
    "shipped_at",
    "delivered_at",
    "updated_at",
    "coupon_codes",
    "attributes",
    "first_seen_at",
    "fingerprint",
)
_UPDATED = (*ORDER_COLUMNS[3:], "shop_id", "order_id")
LINE_COLUMNS = (
    "shop_id",
    "order_id",
    "line_no",
    "sku",
    "product_external_id",
    "title",
    "quantity",
    "total_minor",
    "cost_minor",
)
_STORED = (
    "SELECT external_id, fingerprint, updated_at, order_id, member_id, counts, base_minor, items_milli, discount_minor, "
    "cost_minor, placed_at, placed_on, currency, total_minor, first_seen_at FROM orders WHERE shop_id = ? AND external_id IN ({marks})"
)

# As stored: whether an order counts is a number there, and the drivers take numbers quicker than truths.
_STATES = {status: (status.value, int(status.counts)) for status in OrderStatus}


class _Orders:
    """One page of orders."""

    def __init__(self, connection: Connection, shop: Shop, now: datetime) -> None:
        self._connection = connection
        self._shop = shop
        self._now = now
        self._at = to_micros(now)
        self._money = Money(shop)
        self._days = Days(shop)
        self._delta = FactsDelta()
        self._refunds = RefundRows(connection, shop, now, self._delta)
        self._new: list[tuple[Any, ...]] = []
        self._changed: list[tuple[Any, ...]] = []
        self._lines: list[tuple[Any, ...]] = []
        self._steps = Steps(shop, now)

    def write(self, records: Sequence[OrderRecord]) -> Written:
        written = Written()
        wanted = self._wanted(settle(self._connection, self._shop, latest(records)), written)
        if not wanted:
            return written
        book = MemberBook(self._connection, self._shop, self._now)
        book.load_for_orders(
            (record for record, _, _ in wanted), held=(row[4] for _, _, row in wanted if row is not None and row[4])
        )
        ids = iter(new_ids(sum(1 for _, _, row in wanted if row is None)))
        placed: list[tuple[OrderRecord, int, Member | None, bool]] = []
        for record, mark, row in wanted:
            member = book.for_order(record, row[4] if row is not None else None)
            order_id = next(ids) if row is None else row[3]
            counts = self._take(record, mark, row, order_id, member)
            placed.append((record, order_id, member, counts))
            if record.deleted:
                written.removed += 1
            elif row is None:
                written.new += 1
            else:
                written.changed += 1
        book.write()
        self._write_rows([row[3] for _, _, row in wanted if row is not None])
        self._steps.write(self._connection)
        written.lines = len(self._lines)
        known = {record.external_id for record, _, row in wanted if row is not None}
        drafts(self._connection, self._shop, (record for record, _, _ in wanted), known, self._now)
        written.refunds = self._refunds.of_orders(placed, known)
        self._delta.write(self._connection, self._shop.shop_id, self._now)
        return written

    def _wanted(self, records: Sequence[OrderRecord], written: Written) -> list[tuple[OrderRecord, str, Any]]:
        """The records that change something, with their fingerprint and the row as stored; the others are counted."""
        names = (record.external_id for record in records)
        stored = {row[0]: row for row in bulk.select_in(self._connection, _STORED, (self._shop.shop_id,), names)}
        wanted: list[tuple[OrderRecord, str, Any]] = []
        for record in records:
            mark = fingerprint(record)
            row = stored.get(record.external_id)
            if row is None:
                if record.deleted:
                    written.same += 1
                    continue
            elif row[1] == mark:
                written.same += 1
                continue
            elif is_older(record.updated_at, row[2]):
                written.stale += 1
                continue
            wanted.append((record, mark, row))
        return wanted

    def _take(self, record: OrderRecord, mark: str, row: Any, order_id: int, member: Member | None) -> bool:
        """Note what is to be written of an order; answers whether it counts."""
        status, counts = _STATES[OrderStatus.TRASH if record.deleted else record.status]
        member_id = None if member is None else member.member_id
        total, currency, discount = record.total_minor, record.currency, record.discount_minor
        placed_at, placed_on = micros(record.placed_at), self._days.of(record.placed_at)
        base = self._money.base(total, currency)
        items, cost = self._add_lines(record, order_id)
        values = (
            record.number,
            member_id,
            status,
            record.platform_status,
            counts,
            currency,
            total,
            base,
            record.tax_minor,
            record.shipping_minor,
            discount,
            cost,
            items,
            placed_at,
            placed_on,
            micros(record.paid_at),
            micros(record.shipped_at),
            micros(record.delivered_at),
            micros(record.updated_at),
            to_json(record.coupon_codes) if record.coupon_codes else "[]",
            attributes_json(record.attributes) if record.attributes else "{}",
        )
        shop_id = self._shop.shop_id
        if row is None:
            self._new.append((shop_id, order_id, record.external_id, *values, self._at, mark))
        else:
            # What is paid late, changes hands or moves to another day comes into view for planning as a new order does.
            moved = (counts and not row[5]) or member_id != row[4] or placed_on != row[11]
            self._changed.append((*values, self._at if moved else row[14], mark, shop_id, order_id))
        self._steps.take(record, order_id, is_new=row is None, moved=row is not None and member_id != row[4])
        home = self._shop.currency
        part = part_of(home, member_id, counts, base, items, discount, cost, placed_at or 0, placed_on, currency, total)
        if row is None:
            self._delta.add_order(part)
        else:
            self._delta.replace_order(part_of(home, *row[4:14]), part)
        return bool(counts)

    def _add_lines(self, record: OrderRecord, order_id: int) -> tuple[int, int | None]:
        """Note the order's lines; answers how many thousandths of a piece they are, and the order's cost of goods.

        The cost is the order's own, else the sum of its lines when every line tells one.
        """
        shop_id, note, items, sum_of_costs = self._shop.shop_id, self._lines.append, 0, 0
        known = bool(record.lines)
        for number, line in enumerate(record.lines):
            quantity, total, cost = line.quantity, line.total_minor, line.cost_minor
            items += round(quantity * 1000)
            if cost is None:
                known = False
            else:
                sum_of_costs += cost
            note((shop_id, order_id, number, line.sku, line.product_external_id, line.title, quantity, total, cost))
        return items, sum_of_costs if known and record.cost_minor is None else record.cost_minor

    def _write_rows(self, changed_ids: list[int]) -> None:
        connection, shop_id = self._connection, self._shop.shop_id
        bulk.insert_rows(connection, orders, ORDER_COLUMNS, self._new)
        bulk.update_rows(connection, orders, _UPDATED, ("shop_id", "order_id"), self._changed)
        bulk.execute_in(
            connection, "DELETE FROM order_lines WHERE shop_id = ? AND order_id IN ({marks})", (shop_id,), changed_ids
        )
        bulk.insert_rows(connection, order_lines, LINE_COLUMNS, self._lines)


def part_of(
    home: str,
    member_id: int | None,
    counts: int,
    base: int | None,
    items: int,
    discount: int,
    cost: int | None,
    placed_at: int,
    placed_on: int,
    currency: str,
    total: int,
) -> OrderPart:
    """What an order, new or as stored, adds to its member in a shop that counts in `home`."""
    if currency != home:
        discount, cost = share(discount, base, total), share(cost or 0, base, total)
    return OrderPart(member_id, bool(counts), base, items, discount, cost or 0, placed_at, placed_on)
