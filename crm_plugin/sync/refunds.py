"""Refunds: listed by their orders without a day, told by their own stream with one; whichever comes first, one row each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from crm_plugin.ids import new_ids
from crm_plugin.records import OrderRecord, RefundRecord
from crm_plugin.store import bulk, refunds
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.facts import FactsDelta, RefundPart
from crm_plugin.sync.identity import MemberBook
from crm_plugin.sync.member_rows import Member
from crm_plugin.sync.values import Days, Money, fingerprint, micros
from crm_plugin.sync.written import Written, latest

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
    "SELECT external_id, fingerprint, refund_id, order_id, order_external_id, member_id, currency, amount_minor, base_minor, "
    "counts, dated, refunded_at, refunded_on, reason, first_seen_at FROM refunds WHERE shop_id = ? AND "
)


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


class RefundRows:
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

    def of_orders(self, told: Sequence[tuple[OrderRecord, int, Member | None, bool]], known: Set[str]) -> int:
        """Bring refunds in step with orders just written: theirs, those waiting for them, those they no longer list.

        Args: known: the platform's ids of those that were stored before.
        """
        # Only refunds that wait can be of an order never seen, and most of the time there are none.
        names = (record.external_id for record, *_ in told) if self._any_waiting() else known
        by_order: defaultdict[str, list[_Refund]] = defaultdict(list)
        for refund in self._read("order_external_id", names):
            by_order[refund.order_external_id].append(refund)
        listed = [refund.external_id for record, *_ in told for refund in record.refunds or ()]
        elsewhere = {refund.external_id: refund for refund in self._read("external_id", listed)}
        for record, order_id, member, counts in told:
            if not record.refunds and record.external_id not in by_order:
                continue
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
                    # One that another order of this page no longer lists keeps its row.
                    present = kept.pop(name, None) or self._present(name, elsewhere.get(name)) or self._stored[name]
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

    def _any_waiting(self) -> bool:
        sql = "SELECT 1 FROM refunds WHERE shop_id = ? AND order_id IS NULL LIMIT 1"
        return bulk.execute(self._connection, sql, (self._shop.shop_id,)).first() is not None

    def _read(self, column: str, values: Iterable[str]) -> list[_Refund]:
        sql = f"{_STORED}{column} IN ({{marks}})"
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


class Refunds:
    """One page of the refunds' own stream."""

    def __init__(self, connection: Connection, shop: Shop, now: datetime) -> None:
        self._connection = connection
        self._shop = shop
        self._now = now
        self._delta = FactsDelta()
        self._rows = RefundRows(connection, shop, now, self._delta)

    def write(self, records: Sequence[RefundRecord]) -> Written:
        written = Written()
        newest = latest(records)
        stored = self._rows.read(record.external_id for record in newest)
        wanted = []
        for record in newest:
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
