"""What we keep counted per member, changed by delta in the transaction of the order that changes it.

A delta is added by one upsert per member; only when the order that was a member's first or last goes away are these dates asked from the
orders again. `recount` is the second opinion: the same figures from the orders and refunds alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from crm_plugin.money import share
from crm_plugin.store import bulk, member_facts, orders, refunds
from crm_plugin.store.base import from_micros, to_micros
from crm_plugin.store.program import copy_beside_facts
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.sync.turn import lock
from crm_plugin.sync.values import Days, Money

_SUMS = (
    "orders_count",
    "refunds_count",
    "items_milli",
    "gross_minor",
    "refunded_minor",
    "spent_minor",
    "discount_minor",
    "cost_minor",
    "unconverted_orders",
)
_DATES = ("first_order_at", "last_order_at", "first_order_on", "last_order_on")
COLUMNS = ("shop_id", "member_id", *_SUMS, *_DATES, "changed_at")


def _earlier(column: str, comparison: str) -> str:
    return (
        f"{column} = CASE WHEN excluded.{column} IS NULL THEN member_facts.{column} "
        f"WHEN member_facts.{column} IS NULL OR excluded.{column} {comparison} member_facts.{column} "
        f"THEN excluded.{column} ELSE member_facts.{column} END"
    )


_ADD = ", ".join(
    [
        *(f"{name} = member_facts.{name} + excluded.{name}" for name in _SUMS),
        _earlier("first_order_at", "<"),
        _earlier("first_order_on", "<"),
        _earlier("last_order_at", ">"),
        _earlier("last_order_on", ">"),
        "changed_at = excluded.changed_at",
    ]
)


class OrderPart(NamedTuple):
    """What one order adds to its member; amounts in the shop's currency, None when there is no rate."""

    member_id: int | None
    counts: bool
    base_minor: int | None
    items_milli: int
    discount_minor: int
    cost_minor: int
    placed_at: int
    placed_on: int


class RefundPart(NamedTuple):
    """What one refund takes from its member."""

    member_id: int | None
    counts: bool
    base_minor: int | None


class FactsDelta:
    """Collects the changes of one page and writes them once."""

    def __init__(self) -> None:
        # Per member: the nine sums, then first_at, last_at, first_on, last_on.
        self._changes: dict[int, list[Any]] = {}
        # Per member: dates (instants and days apart) at which a counted order no longer stands.
        self._left: defaultdict[int, set[tuple[str, int]]] = defaultdict(set)

    def _of(self, member_id: int) -> list[Any]:
        change = self._changes.get(member_id)
        if change is None:
            change = self._changes[member_id] = [0, 0, 0, 0, 0, 0, 0, 0, 0, None, None, None, None]
        return change

    def add_order(self, part: OrderPart) -> None:
        """A counted order came or counts again."""
        member_id, counts, base, items, discount, cost, at, on = part
        if member_id is None or not counts:
            return
        if base is not None and member_id not in self._changes:
            # So it is with most members of a page.
            self._changes[member_id] = [1, 0, items, base, 0, base, discount, cost, 0, at, at, on, on]
            return
        change = self._of(member_id)
        self._sum(change, part, 1)
        if change[9] is None:
            change[9:] = at, at, on, on
            return
        change[9] = min(change[9], at)
        change[10] = max(change[10], at)
        change[11] = min(change[11], on)
        change[12] = max(change[12], on)

    def remove_order(self, part: OrderPart) -> None:
        """A counted order went, or is about to be added in another form."""
        if part.member_id is None or not part.counts:
            return
        self._sum(self._of(part.member_id), part, -1)
        self._left[part.member_id] |= {("at", part.placed_at), ("on", part.placed_on)}

    def replace_order(self, old: OrderPart | None, new: OrderPart) -> None:
        """An order came (no old) or changed: where member, date and counting stay, only the sums move."""
        if old is None:
            self.add_order(new)
            return
        if old == new:
            # Lines, coupons or times differ, on which rules depend too.
            if new.member_id is not None and new.counts:
                self._of(new.member_id)
            return
        same_place = old.member_id == new.member_id and old.counts == new.counts and old.placed_at == new.placed_at
        if same_place and old.placed_on == new.placed_on:
            if new.member_id is not None and new.counts:
                change = self._of(new.member_id)
                self._sum(change, old, -1)
                self._sum(change, new, 1)
            return
        self.remove_order(old)
        self.add_order(new)

    @staticmethod
    def _sum(change: list[Any], part: OrderPart, sign: int) -> None:
        change[0] += sign
        change[2] += sign * part.items_milli
        if part.base_minor is None:
            change[8] += sign
            return
        change[3] += sign * part.base_minor
        change[5] += sign * part.base_minor
        change[6] += sign * part.discount_minor
        change[7] += sign * part.cost_minor

    def replace_refund(self, old: RefundPart | None, new: RefundPart | None) -> None:
        """A refund came (no old), changed, or went (no new)."""
        if old == new:
            # Its day may differ.
            if new is not None and new.member_id is not None and new.counts:
                self._of(new.member_id)
            return
        for part, sign in ((old, -1), (new, 1)):
            if part is None or part.member_id is None or not part.counts:
                continue
            change = self._of(part.member_id)
            change[1] += sign
            amount = part.base_minor or 0
            change[4] += sign * amount
            change[5] -= sign * amount

    def write(self, connection: Connection, shop_id: int, now: datetime) -> None:
        """Add everything collected to the stored facts, and start anew."""
        at = to_micros(now)
        rows = [(shop_id, member_id, *change, at) for member_id, change in self._changes.items()]
        # In the order of the key: fewer index pages are touched, and two writers cannot lock each other out.
        rows.sort()
        bulk.upsert_rows(connection, member_facts, COLUMNS, ("shop_id", "member_id"), _ADD, rows)
        recount_dates(connection, shop_id, self._at_the_edge(connection, shop_id))
        self._changes.clear()
        self._left.clear()

    def _at_the_edge(self, connection: Connection, shop_id: int) -> list[int]:
        """Members whose stored first or last date is one that an order has left."""
        columns = "member_id, first_order_at, last_order_at, first_order_on, last_order_on"
        sql = f"SELECT {columns} FROM member_facts WHERE shop_id = ? AND member_id IN ({{marks}})"  # noqa: S608
        found = []
        for member_id, first_at, last_at, first_on, last_on in bulk.select_in(connection, sql, (shop_id,), self._left):
            edges = {("at", first_at), ("at", last_at), ("on", first_on), ("on", last_on)}
            if edges & self._left[member_id]:
                found.append(member_id)
        return found


def recount_dates(connection: Connection, shop_id: int, member_ids: list[int]) -> None:
    """First and last order of these members, asked from the orders again (an index range a member)."""
    if not member_ids:
        return
    dates = ", ".join(
        f"{name} = (SELECT {function}(o.{source}) FROM orders o WHERE o.shop_id = member_facts.shop_id "  # noqa: S608
        "AND o.member_id = member_facts.member_id AND o.counts)"
        for name, function, source in (
            ("first_order_at", "min", "placed_at"),
            ("last_order_at", "max", "placed_at"),
            ("first_order_on", "min", "placed_on"),
            ("last_order_on", "max", "placed_on"),
        )
    )
    sql = f"UPDATE member_facts SET {dates} WHERE shop_id = ? AND member_id IN ({{marks}})"  # noqa: S608
    bulk.execute_in(connection, sql, (shop_id,), sorted(member_ids))


def move(connection: Connection, shop_id: int, source: int, target: int, now: datetime) -> None:
    """Add one member's facts to another's and remove them; for two members whose orders do not overlap."""
    names = ", ".join((*_SUMS, *_DATES))
    sql = f"SELECT {names} FROM member_facts WHERE shop_id = ? AND member_id = ?"  # noqa: S608
    row = bulk.execute(connection, sql, (shop_id, source)).first()
    if row is None:
        return
    bulk.upsert_rows(
        connection, member_facts, COLUMNS, ("shop_id", "member_id"), _ADD, [(shop_id, target, *row, to_micros(now))]
    )
    bulk.execute(connection, "DELETE FROM member_facts WHERE shop_id = ? AND member_id = ?", (shop_id, source))


# One row: what a member's facts come to when counted from the orders and refunds alone.
_RECOUNT = """
SELECT member_id, SUM(orders_count), SUM(refunds_count), SUM(items_milli), SUM(gross_minor), SUM(refunded_minor),
       SUM(gross_minor) - SUM(refunded_minor), SUM(discount_minor), SUM(cost_minor), SUM(unconverted_orders),
       MIN(first_order_at), MAX(last_order_at), MIN(first_order_on), MAX(last_order_on)
FROM (
    SELECT member_id, 1 AS orders_count, 0 AS refunds_count, items_milli, COALESCE(base_minor, 0) AS gross_minor,
           0 AS refunded_minor, CASE WHEN currency = ? THEN discount_minor ELSE 0 END AS discount_minor,
           CASE WHEN currency = ? THEN COALESCE(cost_minor, 0) ELSE 0 END AS cost_minor,
           CASE WHEN base_minor IS NULL THEN 1 ELSE 0 END AS unconverted_orders,
           placed_at AS first_order_at, placed_at AS last_order_at, placed_on AS first_order_on, placed_on AS last_order_on
    FROM orders WHERE shop_id = ? AND counts AND member_id IS NOT NULL
    UNION ALL
    SELECT member_id, 0, 1, 0, 0, COALESCE(base_minor, 0), 0, 0, 0, NULL, NULL, NULL, NULL
    FROM refunds WHERE shop_id = ? AND counts AND member_id IS NOT NULL
) AS parts GROUP BY member_id
"""


# One row: a counted order in another currency; its discount and cost are converted outside SQL, where whole numbers never overflow.
_FOREIGN = """
SELECT member_id, discount_minor, COALESCE(cost_minor, 0), base_minor, total_minor
FROM orders WHERE shop_id = ? AND counts AND member_id IS NOT NULL AND currency <> ? AND base_minor IS NOT NULL
"""


def counted(connection: Connection, shop: Shop) -> dict[int, tuple[Any, ...]]:
    """Per member the sums and dates (order of `COLUMNS`) from the orders and refunds alone."""
    home = shop.currency
    rows = bulk.execute(connection, _RECOUNT, (home, home, shop.shop_id, shop.shop_id))
    found = {row[0]: [_whole(value) for value in row[1:]] for row in rows}
    for member_id, discount, cost, base, total in bulk.execute(connection, _FOREIGN, (shop.shop_id, home)):
        found[member_id][6] += share(discount, base, total)
        found[member_id][7] += share(cost, base, total)
    return {member_id: tuple(row) for member_id, row in found.items()}


def stored(connection: Connection, shop_id: int) -> dict[int, tuple[Any, ...]]:
    """Per member the sums and dates as kept; members without anything counted are left out."""
    names = ", ".join((*_SUMS, *_DATES))
    rows = bulk.execute(connection, f"SELECT member_id, {names} FROM member_facts WHERE shop_id = ?", (shop_id,))  # noqa: S608
    kept = {row[0]: tuple(row[1:]) for row in rows}
    return {member_id: row for member_id, row in kept.items() if any(row)}


@dataclass(frozen=True, slots=True)
class Difference:
    """A member whose kept facts are not what the orders give."""

    member_id: int
    kept: tuple[Any, ...] | None
    counted: tuple[Any, ...] | None


def recount(connection: Connection, shop_id: int) -> list[Difference]:
    """Compare every member's facts with a full recount; an empty list is what always must come."""
    kept = stored(connection, shop_id)
    fresh = {m: row for m, row in counted(connection, shop_by_id(connection, shop_id)).items() if any(row)}
    return [
        Difference(member_id, kept.get(member_id), fresh.get(member_id))
        for member_id in sorted(kept.keys() | fresh.keys())
        if kept.get(member_id) != fresh.get(member_id)
    ]


def rebuild(connection: Connection, shop: Shop, now: datetime) -> int:
    """After a change of the shop's zone or exchange rates: days and base amounts anew, then all facts; answers how many rows."""
    lock(connection, shop.shop_id)
    _place_again(connection, shop)
    fresh = counted(connection, shop)
    bulk.execute(connection, "DELETE FROM member_facts WHERE shop_id = ?", (shop.shop_id,))
    at = to_micros(now)
    rows = [(shop.shop_id, member_id, *row, at) for member_id, row in sorted(fresh.items())]
    bulk.insert_rows(connection, member_facts, COLUMNS, rows)
    copy_beside_facts(connection, shop.shop_id, at)
    return len(rows)


_BATCH = 5000


def _place_again(connection: Connection, shop: Shop) -> None:
    money, days = Money(shop), Days(shop)
    for table, key, at, amount, on in (
        (orders, "order_id", "placed_at", "total_minor", "placed_on"),
        (refunds, "refund_id", "refunded_at", "amount_minor", "refunded_on"),
    ):
        last = 0
        while True:
            found = bulk.execute(
                connection,
                f"SELECT {key}, {at}, {amount}, currency, base_minor, {on} FROM {table.name} "  # noqa: S608
                f"WHERE shop_id = ? AND {key} > ? ORDER BY {key} LIMIT {_BATCH}",
                (shop.shop_id, last),
            ).all()
            if not found:
                break
            last = found[-1][0]
            moved = []
            for row_id, moment, minor, currency, base, day in found:
                new_base, new_day = money.base(minor, currency), days.of(from_micros(moment))
                if (new_base, new_day) != (base, day):
                    moved.append((new_base, new_day, shop.shop_id, row_id))
            bulk.update_rows(connection, table, ("base_minor", on, "shop_id", key), ("shop_id", key), moved)


def _whole(value: Any) -> Any:
    # PostgreSQL answers SUM of bigint as numeric.
    return value if value is None else int(value)
