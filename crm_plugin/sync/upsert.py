"""Writing one page of records in the transaction of the caller: what has not changed is skipped, facts move by delta.

Twice, late and out of order are normal: a record with the fingerprint that is stored changes nothing, one older than what is stored
is left out, and the caller may hand in the same page again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from crm_plugin.ids import new_ids
from crm_plugin.records import (
    MemberRecord,
    OrderRecord,
    OrderStatus,
    Page,
    ProductRecord,
    RefundRecord,
    Stream,
)
from crm_plugin.store import bulk, order_lines, orders, products, refunds
from crm_plugin.store.base import to_json, to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.facts import FactsDelta, OrderPart, RefundPart
from crm_plugin.sync.identity import Member, MemberBook
from crm_plugin.sync.values import Days, Money, fingerprint, micros, share

R = TypeVar("R", MemberRecord, OrderRecord, RefundRecord, ProductRecord)


@dataclass(slots=True)
class Written:
    """What became of the records of one page, or of several added up; `lines` and `refunds` are rows written."""

    new: int = 0
    changed: int = 0
    same: int = 0
    stale: int = 0
    removed: int = 0
    lines: int = 0
    refunds: int = 0

    @property
    def rows(self) -> int:
        """How many rows were touched; 0 when the store already said all this."""
        return self.new + self.changed + self.removed + self.lines + self.refunds

    def add(self, other: Written) -> None:
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def write_page(connection: Connection, shop: Shop, page: Page, now: datetime) -> Written:
    """Write all records of a page. Raises: nothing of its own; the transaction is the caller's to keep or undo."""
    lock(connection, shop.shop_id)
    if page.stream is Stream.MEMBERS:
        return write_members(connection, shop, page.records, now)  # type: ignore[arg-type]
    if page.stream is Stream.ORDERS:
        return _Orders(connection, shop, now).write(page.records)  # type: ignore[arg-type]
    if page.stream is Stream.REFUNDS:
        return _Refunds(connection, shop, now).write(page.records)  # type: ignore[arg-type]
    return write_products(connection, shop, page.records)  # type: ignore[arg-type]


def lock(connection: Connection, shop_id: int) -> None:
    """One writer of a shop's members and orders at a time, until the end of the transaction. SQLite has but one writer anyway."""
    if connection.dialect.name == "postgresql":
        bulk.execute(connection, "SELECT pg_advisory_xact_lock(?)", (shop_id,))


def write_members(connection: Connection, shop: Shop, records: Sequence[MemberRecord], now: datetime) -> Written:
    """Accounts, with their identities, tags and consents."""
    latest = _latest(records)
    book = MemberBook(connection, shop, now)
    book.load_accounts(latest)
    for record in latest:
        book.take_account(record)
    book.write()
    counts = book.counts
    return Written(new=counts.new, changed=counts.changed, same=counts.same, stale=counts.stale, removed=counts.removed)


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
_UPDATED = (*(name for name in ORDER_COLUMNS[3:] if name != "first_seen_at"), "shop_id", "order_id")
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
REFUND_COLUMNS = (
    "shop_id",
    "refund_id",
    "external_id",
    "order_id",
    "order_external_id",
    "member_id",
    "currency",
    "amount_minor",
    "base_minor",
    "counts",
    "dated",
    "refunded_at",
    "refunded_on",
    "reason",
    "first_seen_at",
    "fingerprint",
)
_STORED = (
    "SELECT external_id, fingerprint, updated_at, order_id, member_id, counts, base_minor, items_milli, discount_minor, "
    "cost_minor, placed_at, placed_on, currency, total_minor FROM orders WHERE shop_id = ? AND external_id IN ({marks})"
)
_REFUND_STORED = (
    "SELECT external_id, fingerprint, refund_id, order_id, order_external_id, member_id, currency, amount_minor, base_minor, "
    "counts, dated, refunded_at, refunded_on, reason, first_seen_at FROM refunds WHERE shop_id = ? AND "
)


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
        self._refunds = _RefundRows(connection, shop, now, self._delta)
        self._new: list[tuple[Any, ...]] = []
        self._changed: list[tuple[Any, ...]] = []
        self._lines: list[tuple[Any, ...]] = []

    def write(self, records: Sequence[OrderRecord]) -> Written:
        written = Written()
        shop_id = self._shop.shop_id
        latest = _latest(records)
        stored = {
            row[0]: row
            for row in bulk.select_in(self._connection, _STORED, (shop_id,), (record.external_id for record in latest))
        }
        wanted: list[tuple[OrderRecord, str, Any]] = []
        for record in latest:
            mark = fingerprint(record)
            row = stored.get(record.external_id)
            if row is not None and row[1] == mark:
                written.same += 1
            elif (
                row is not None
                and record.updated_at
                and row[2] is not None
                and (micros(record.updated_at) or 0) < row[2]
            ):
                written.stale += 1
            elif record.deleted and row is None:
                written.same += 1
            else:
                wanted.append((record, mark, row))
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
            written.removed += record.deleted
            if not record.deleted:
                written.new += row is None
                written.changed += row is not None
        book.write()
        changed_ids = [row[3] for _, _, row in wanted if row is not None]
        self._write_rows(changed_ids)
        written.lines = len(self._lines)
        written.refunds = self._refunds.of_orders(placed)
        self._delta.write(self._connection, shop_id, self._now)
        return written

    def _take(self, record: OrderRecord, mark: str, row: Any, order_id: int, member: Member | None) -> bool:
        status = OrderStatus.TRASH if record.deleted else record.status
        member_id = None if member is None else member.member_id
        placed_at, placed_on = micros(record.placed_at), self._days.of(record.placed_at)
        base = self._money.base(record.total_minor, record.currency)
        home = record.currency == self._shop.currency
        cost = _cost(record)
        items = 0
        shop_id = self._shop.shop_id
        for number, line in enumerate(record.lines):
            items += round(line.quantity * 1000)
            self._lines.append(
                (
                    shop_id,
                    order_id,
                    number,
                    line.sku,
                    line.product_external_id,
                    line.title,
                    line.quantity,
                    line.total_minor,
                    line.cost_minor,
                )
            )
        values = (
            record.number,
            member_id,
            status.value,
            record.platform_status,
            status.counts,
            record.currency,
            record.total_minor,
            base,
            record.tax_minor,
            record.shipping_minor,
            record.discount_minor,
            cost,
            items,
            placed_at,
            placed_on,
            micros(record.paid_at),
            micros(record.shipped_at),
            micros(record.delivered_at),
            micros(record.updated_at),
            to_json(record.coupon_codes) if record.coupon_codes else "[]",
            to_json(record.attributes) if record.attributes else "{}",
        )
        if row is None:
            self._new.append((shop_id, order_id, record.external_id, *values, self._at, mark))
        else:
            self._changed.append((*values, mark, shop_id, order_id))
        new = OrderPart(
            member_id,
            status.counts,
            base,
            items,
            share(record.discount_minor, base, record.total_minor, home),
            share(cost or 0, base, record.total_minor, home),
            placed_at or 0,
            placed_on,
        )
        self._delta.replace_order(None if row is None else self._part_of(row), new)
        return status.counts

    def _part_of(self, row: Any) -> OrderPart:
        _, _, _, _, member_id, counts, base, items, discount, cost, placed_at, placed_on, currency, total = row
        home = currency == self._shop.currency
        return OrderPart(
            member_id,
            bool(counts),
            base,
            items,
            share(discount, base, total, home),
            share(cost or 0, base, total, home),
            placed_at,
            placed_on,
        )

    def _write_rows(self, changed_ids: list[int]) -> None:
        connection, shop_id = self._connection, self._shop.shop_id
        bulk.insert_rows(connection, orders, ORDER_COLUMNS, self._new)
        bulk.update_rows(connection, orders, _UPDATED, ("shop_id", "order_id"), self._changed)
        bulk.execute_in(
            connection, "DELETE FROM order_lines WHERE shop_id = ? AND order_id IN ({marks})", (shop_id,), changed_ids
        )
        bulk.insert_rows(connection, order_lines, LINE_COLUMNS, self._lines)


def _cost(record: OrderRecord) -> int | None:
    """Cost of goods: the order's own, else the sum of its lines when every line tells one."""
    if record.cost_minor is not None or not record.lines:
        return record.cost_minor
    costs = [line.cost_minor for line in record.lines]
    return sum(cost for cost in costs if cost is not None) if None not in costs else None


@dataclass(slots=True)
class _Refund:
    """A refund row by name."""

    external_id: str
    fingerprint: str
    refund_id: int
    order_id: int | None
    order_external_id: str
    member_id: int | None
    currency: str
    amount_minor: int
    base_minor: int | None
    counts: bool
    dated: bool
    refunded_at: int
    refunded_on: int
    reason: str
    first_seen_at: int

    def row(self, shop_id: int) -> tuple[Any, ...]:
        return (
            shop_id,
            self.refund_id,
            self.external_id,
            self.order_id,
            self.order_external_id,
            self.member_id,
            self.currency,
            self.amount_minor,
            self.base_minor,
            self.counts,
            self.dated,
            self.refunded_at,
            self.refunded_on,
            self.reason,
            self.first_seen_at,
            self.fingerprint,
        )

    @property
    def part(self) -> RefundPart:
        return RefundPart(self.member_id, self.counts, self.base_minor)


class _RefundRows:
    """Refund rows that are written together, whichever stream told of them."""

    def __init__(self, connection: Connection, shop: Shop, now: datetime, delta: FactsDelta) -> None:
        self._connection = connection
        self._shop = shop
        self._at = to_micros(now)
        self._now = now
        self._money = Money(shop)
        self._days = Days(shop)
        self._delta = delta
        # By platform id: the row as stored (None: not there), and what it becomes (None: it goes). One page may speak of a refund twice.
        self._stored: dict[str, _Refund | None] = {}
        self._final: dict[str, _Refund | None] = {}

    def of_orders(self, placed: Iterable[tuple[OrderRecord, int, Member | None, bool]]) -> int:
        """Bring refunds in step with orders just written: theirs, those waiting for them, those they no longer list."""
        told = list(placed)
        by_order: defaultdict[str, list[_Refund]] = defaultdict(list)
        for refund in self._read("order_external_id", (record.external_id for record, *_ in told)):
            by_order[refund.order_external_id].append(refund)
        listed = [refund.external_id for record, *_ in told for refund in record.refunds or ()]
        elsewhere = {refund.external_id: refund for refund in self._read("external_id", listed)}
        for record, order_id, member, counts in told:
            member_id = None if member is None else member.member_id
            kept = {}
            for refund in by_order.get(record.external_id, ()):
                present = self._present(refund.external_id, refund)
                if present is not None and present.order_external_id == record.external_id:
                    kept[refund.external_id] = present
            if record.refunds is not None:
                names = {refund.external_id for refund in record.refunds}
                for name in sorted(kept.keys() - names):
                    self._put(name, None)
                    del kept[name]
                for said in record.refunds:
                    name = said.external_id
                    present = kept.pop(name, None) or self._present(name, elsewhere.get(name))
                    self._take(said, present, order_id, record, member_id, counts)
            for present in kept.values():
                self._attach(present, order_id, member_id, counts)
        return self.flush()

    def take(
        self,
        said: RefundRecord,
        stored: _Refund | None,
        order_id: int | None,
        member_id: int | None,
        counts: bool,
        mark: str,
    ) -> None:
        """A refund from its own stream, which knows its day when it tells one."""
        at = said.refunded_at or said.updated_at
        instant = (micros(at) if at else stored.refunded_at if stored else self._at) or 0
        day = self._days.of(at) if at else stored.refunded_on if stored else self._days.of(self._now)
        self._put(
            said.external_id,
            _Refund(
                said.external_id,
                mark,
                stored.refund_id if stored else new_ids(1)[0],
                order_id,
                said.order_external_id or (stored.order_external_id if stored else ""),
                member_id,
                said.currency,
                said.amount_minor,
                self._money.base(said.amount_minor, said.currency),
                counts,
                said.refunded_at is not None or (stored is not None and stored.dated),
                instant,
                day,
                said.reason or (stored.reason if stored else ""),
                stored.first_seen_at if stored else self._at,
            ),
        )

    def drop(self, external_id: str) -> None:
        """A refund that was taken back."""
        self._put(external_id, None)

    def read(self, external_ids: Iterable[str]) -> dict[str, _Refund]:
        """Stored refunds by their platform id."""
        found = {refund.external_id: refund for refund in self._read("external_id", external_ids)}
        self._stored.update(found)
        return found

    def flush(self) -> int:
        """Write everything collected; answers how many rows."""
        connection, shop_id = self._connection, self._shop.shop_id
        new: list[_Refund] = []
        changed: list[_Refund] = []
        gone: list[int] = []
        for name, final in self._final.items():
            stored = self._stored.get(name)
            if final == stored:
                continue
            self._delta.replace_refund(stored.part if stored else None, final.part if final else None)
            if final is None:
                gone.append(stored.refund_id if stored else 0)
            elif stored is None:
                new.append(final)
            else:
                changed.append(final)
        bulk.insert_rows(connection, refunds, REFUND_COLUMNS, [refund.row(shop_id) for refund in new])
        columns = (*REFUND_COLUMNS[2:], "shop_id", "refund_id")
        rows = [(*refund.row(shop_id)[2:], shop_id, refund.refund_id) for refund in changed]
        bulk.update_rows(connection, refunds, columns, ("shop_id", "refund_id"), rows)
        bulk.execute_in(
            connection, "DELETE FROM refunds WHERE shop_id = ? AND refund_id IN ({marks})", (shop_id,), gone
        )
        self._stored, self._final = {}, {}
        return len(new) + len(changed) + len(gone)

    def _read(self, column: str, values: Iterable[str]) -> list[_Refund]:
        sql = f"{_REFUND_STORED}{column} IN ({{marks}})"
        wanted = [value for value in values if value]
        found = [_Refund(*row) for row in bulk.select_in(self._connection, sql, (self._shop.shop_id,), wanted)]
        for refund in found:
            refund.counts, refund.dated = bool(refund.counts), bool(refund.dated)
        return found

    def _take(
        self,
        said: RefundRecord,
        stored: _Refund | None,
        order_id: int,
        record: OrderRecord,
        member_id: int | None,
        counts: bool,
    ) -> None:
        """A refund as its order lists it: the day that the refunds' own stream told stays."""
        at = said.refunded_at or record.updated_at or record.placed_at
        dated = said.refunded_at is not None
        if stored is not None and stored.dated and not dated:
            instant, day, dated = stored.refunded_at, stored.refunded_on, True
        else:
            instant, day = micros(at) or 0, self._days.of(at)
        self._put(
            said.external_id,
            _Refund(
                said.external_id,
                stored.fingerprint if stored else "",
                stored.refund_id if stored else new_ids(1)[0],
                order_id,
                record.external_id,
                member_id,
                said.currency,
                said.amount_minor,
                self._money.base(said.amount_minor, said.currency),
                counts,
                dated,
                instant,
                day,
                said.reason or (stored.reason if stored else ""),
                stored.first_seen_at if stored else self._at,
            ),
        )

    def _attach(self, stored: _Refund, order_id: int, member_id: int | None, counts: bool) -> None:
        changed = _Refund(**{item.name: getattr(stored, item.name) for item in fields(stored)})
        changed.order_id, changed.counts = order_id, counts
        changed.member_id = stored.member_id if member_id is None else member_id
        self._put(changed.external_id, changed)

    def _present(self, external_id: str, stored: _Refund | None) -> _Refund | None:
        """The refund as it stands within this page."""
        self._stored.setdefault(external_id, stored)
        return self._final.get(external_id, stored)

    def _put(self, external_id: str, refund: _Refund | None) -> None:
        self._final[external_id] = refund


class _Refunds:
    """One page of the refunds' own stream."""

    def __init__(self, connection: Connection, shop: Shop, now: datetime) -> None:
        self._connection = connection
        self._shop = shop
        self._now = now
        self._delta = FactsDelta()
        self._rows = _RefundRows(connection, shop, now, self._delta)

    def write(self, records: Sequence[RefundRecord]) -> Written:
        written = Written()
        latest = _latest(records)
        stored = self._rows.read(record.external_id for record in latest)
        wanted = []
        for record in latest:
            mark = fingerprint(record)
            row = stored.get(record.external_id)
            if (row is not None and row.fingerprint == mark) or (row is None and record.deleted):
                written.same += 1
            else:
                wanted.append((record, mark, row))
        if not wanted:
            return written
        orders_of = {
            external_id: (order_id, member_id, bool(counts))
            for external_id, order_id, member_id, counts in bulk.select_in(
                self._connection,
                "SELECT external_id, order_id, member_id, counts FROM orders WHERE shop_id = ? AND external_id IN ({marks})",
                (self._shop.shop_id,),
                {record.order_external_id for record, _, _ in wanted if record.order_external_id},
            )
        }
        book = MemberBook(self._connection, self._shop, self._now)
        book.load_for_orders((), others=(record.member_external_id for record, _, _ in wanted))
        for record, mark, row in wanted:
            if record.deleted and row is not None:
                self._rows.drop(record.external_id)
                written.removed += 1
                continue
            order_id, member_id, counts = orders_of.get(record.order_external_id, (None, None, True))
            if member_id is None:
                member = book.by_account(record.member_external_id)
                member_id = member.member_id if member is not None else row.member_id if row is not None else None
            self._rows.take(record, row, order_id, member_id, counts, mark)
            written.new += row is None
            written.changed += row is not None
        book.write()
        self._rows.flush()
        self._delta.write(self._connection, self._shop.shop_id, self._now)
        return written


PRODUCT_COLUMNS = (
    "shop_id",
    "product_id",
    "external_id",
    "sku",
    "title",
    "category",
    "url",
    "image_url",
    "currency",
    "price_minor",
    "cost_minor",
    "updated_at",
    "fingerprint",
)


def write_products(connection: Connection, shop: Shop, records: Sequence[ProductRecord]) -> Written:
    """Products and variants; one that is gone at the platform goes here too."""
    written = Written()
    latest = _latest(records)
    sql = "SELECT external_id, fingerprint, updated_at, product_id FROM products WHERE shop_id = ? AND external_id IN ({marks})"
    stored = {row[0]: row for row in bulk.select_in(connection, sql, (shop.shop_id,), (r.external_id for r in latest))}
    new, changed, gone = [], [], []
    for record in latest:
        mark = fingerprint(record)
        row = stored.get(record.external_id)
        if record.deleted:
            if row is not None:
                gone.append(row[3])
            continue
        if row is not None and row[1] == mark:
            written.same += 1
            continue
        if row is not None and record.updated_at and row[2] is not None and (micros(record.updated_at) or 0) < row[2]:
            written.stale += 1
            continue
        values = (
            record.external_id,
            record.sku,
            record.title,
            record.category,
            record.url,
            record.image_url,
            record.currency,
            record.price_minor,
            record.cost_minor,
            micros(record.updated_at),
            mark,
        )
        if row is None:
            new.append((shop.shop_id, new_ids(1)[0], *values))
        else:
            changed.append((*values, shop.shop_id, row[3]))
    bulk.insert_rows(connection, products, PRODUCT_COLUMNS, new)
    columns = (*PRODUCT_COLUMNS[2:], "shop_id", "product_id")
    bulk.update_rows(connection, products, columns, ("shop_id", "product_id"), changed)
    bulk.execute_in(
        connection, "DELETE FROM products WHERE shop_id = ? AND product_id IN ({marks})", (shop.shop_id,), gone
    )
    written.new, written.changed, written.removed = len(new), len(changed), len(gone)
    return written


def _latest(records: Sequence[R]) -> list[R]:
    """The records without repeats within the page: of two with one id the newer, of two as new the later."""
    found: dict[str, R] = {}
    for record in records:
        before = found.get(record.external_id)
        if before is not None and before.updated_at and record.updated_at and record.updated_at < before.updated_at:
            continue
        found[record.external_id] = record
    return list(found.values())
