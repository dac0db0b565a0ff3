"""How long things last until they are bought again, counted once a day: a product by all its members, a pause between orders by all.

The median of what was seen, never of one member alone. What was bought on one day is one purchase; a pause after it is shared by its
pieces. A product with fewer than `PAIRS` pauses borrows from its category, then from the shop; one that nobody bought again lasts for
ever. From it follows for each member and product the day on which the last purchase runs out (`refills`), made anew for those whose
orders changed and for products whose cadence did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, text

from crm_plugin.clock import day_number, local_day
from crm_plugin.rules.trigger_rhythm import OWN_RHYTHM, SHORTEST_DAYS
from crm_plugin.store import bulk, cadences, members
from crm_plugin.store.base import to_micros
from crm_plugin.store.members import HAS_PACE, PACE, lock
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop

# Fewer pauses than this say nothing by themselves.
PAIRS = 5
# Purchases further back than this are no guide to what is bought today.
DAYS = 730
SKU, CATEGORY, SHOP, ORDERS = "sku", "category", "shop", "orders"
_OVERLAP = timedelta(hours=6)
# A cadence that moves by less than this part is left as it is, for every purchase of the product would have to be written anew.
_PART = 10

# How many members, and products, one transaction goes through: whoever else wants to write does not wait for the whole shop.
_MEMBERS = 5000
_PRODUCTS = 50

# Less than a thousandth of a piece is a slip of whoever sold it, and whatever lasts longer than a century lasts a century.
_CENTURY = 36_500
_AMONG = "AND o.member_id > :low AND o.member_id <= :high"
_BOUGHT = (
    "SELECT o.member_id, l.sku, o.placed_on AS day, SUM(l.quantity) AS pieces, MAX(o.order_id) AS order_id FROM orders AS o "
    "JOIN order_lines AS l ON l.shop_id = o.shop_id AND l.order_id = o.order_id WHERE o.shop_id = :shop_id AND o.counts "
    "AND o.status <> 'refunded' AND o.member_id IS NOT NULL AND o.placed_on >= :since AND l.sku <> '' AND l.quantity >= 0.001 {where} "
    "GROUP BY o.member_id, l.sku, o.placed_on"
)
# Hundredths of a day are enough, and so the many pauses of a large shop come as few rows.
_PAUSES = (
    f"WITH bought AS ({_BOUGHT.format(where=_AMONG)}), gaps AS (SELECT sku, (LEAD(day) OVER (PARTITION BY member_id, sku "  # noqa: S608
    "ORDER BY day) - day) * 100 / pieces AS gap FROM bought) "
    "SELECT sku, CAST(ROUND(gap) AS INTEGER) AS gap, COUNT(*) AS seen FROM gaps WHERE gap IS NOT NULL GROUP BY sku, 2"
)
_FILLED = (
    "INSERT INTO refills (shop_id, member_id, sku, order_id, bought_on, quantity, expected_on, changed_at) "  # noqa: S608
    f"WITH bought AS ({_BOUGHT}), latest AS (SELECT bought.*, ROW_NUMBER() OVER (PARTITION BY member_id, sku ORDER BY day DESC) AS place "
    "FROM bought) SELECT :shop_id, b.member_id, b.sku, b.order_id, b.day, b.pieces, "
    f"b.day + CASE WHEN b.pieces * c.milli_days > {_CENTURY}000 THEN {_CENTURY} "
    "ELSE CAST(ROUND(b.pieces * c.milli_days / 1000.0) AS INTEGER) END, :at FROM latest AS b JOIN cadences AS c ON c.shop_id = :shop_id "
    "AND c.kind = 'sku' AND c.name = b.sku WHERE b.place = 1"
)
_CHANGED = (
    "SELECT f.member_id FROM member_facts AS f WHERE f.shop_id = :shop_id AND f.member_id > :low AND f.member_id <= :high "
    "AND f.changed_at > :after"
)
_COLUMNS = ("shop_id", "kind", "name", "milli_days", "pairs", "counted_at")


@dataclass(frozen=True, slots=True)
class Counted:
    """What a count found: products with a cadence, those of them whose cadence is another now, and refills written."""

    products: int
    changed: int
    refills: int

    def as_dict(self) -> dict[str, int]:
        return {"products": self.products, "changed": self.changed, "refills": self.refills}


@dataclass(frozen=True, slots=True)
class _Work:
    """What one count goes by."""

    db: Database
    shop: Shop
    now: datetime

    @property
    def binds(self) -> dict[str, Any]:
        since = day_number(local_day(self.now, self.shop.timezone)) - DAYS
        return {"shop_id": self.shop.shop_id, "since": since, "at": to_micros(self.now)}


def count(db: Database, shop: Shop, now: datetime) -> Counted:
    """Count anew, a few members and then a few products at a time, each in a transaction of its own.

    Killed in between, the next count does what is left: a product's cadence is written with what follows from it, and `counted_at` moves
    when all members were gone through.
    """
    work = _Work(db, shop, now)
    with db.read() as connection:
        before, counted_at = _kept(connection, shop.shop_id), _counted_at(connection, shop.shop_id)
    seen, refills = _through_members(work, counted_at, refill=bool(before))
    with db.read() as connection:
        medians, pooled = _medians(connection, shop, seen), _pooled(connection, shop.shop_id)
    wanted = _steady(medians, before)
    changed = sorted(name for name in wanted.keys() | before.keys() if wanted.get(name) != before.get(name))
    for start in range(0, len(changed), _PRODUCTS):
        refills += _write_products(work, changed[start : start + _PRODUCTS], wanted)
    _close(work, pooled)
    return Counted(len(wanted), len(changed), refills)


def _through_members(work: _Work, counted_at: int, *, refill: bool) -> tuple[dict[str, Counter[int]], int]:
    """How often each pause of a product was seen, in hundredths of a day; and how much runs out anew for members whose orders changed."""
    seen: dict[str, Counter[int]] = {}
    written, low = 0, -1
    after = counted_at - _OVERLAP // timedelta(microseconds=1)
    m = members.c
    while True:
        some = select(m.member_id).where(m.shop_id == work.shop.shop_id, m.member_id > low).order_by(m.member_id)
        with work.db.read() as connection:
            high = connection.execute(select(func.max(some.limit(_MEMBERS).subquery().c.member_id))).scalar()
            if high is None:
                return seen, written
            binds = {**work.binds, "low": low, "high": high, "after": after}
            for row in connection.execute(text(_PAUSES), binds):
                seen.setdefault(row.sku, Counter())[int(row.gap)] += row.seen
            moved = refill and connection.execute(text(f"{_CHANGED} LIMIT 1"), binds).first() is not None
        if moved:
            with work.db.write() as connection:
                lock(connection, work.shop.shop_id)
                forget = f"DELETE FROM refills WHERE shop_id = :shop_id AND member_id IN ({_CHANGED})"  # noqa: S608
                connection.execute(text(forget), binds)
                filled = _FILLED.format(where=f"{_AMONG} AND o.member_id IN ({_CHANGED})")
                written += connection.execute(text(filled), binds).rowcount
        low = high


def _write_products(work: _Work, names: Sequence[str], wanted: Mapping[str, tuple[int, int]]) -> int:
    """Write the cadences of these products, and anew what runs out when for everybody who bought them."""
    c, shop_id = cadences.c, work.shop.shop_id
    some = {f"n{place}": name for place, name in enumerate(names)}
    among = f"({', '.join(f':{name}' for name in some)})"
    rows = [(shop_id, SKU, name, *wanted[name], to_micros(work.now)) for name in names if name in wanted]
    with work.db.write() as connection:
        lock(connection, shop_id)
        connection.execute(cadences.delete().where(c.shop_id == shop_id, c.kind == SKU, c.name.in_(names)))
        bulk.insert_rows(connection, cadences, _COLUMNS, rows)
        connection.execute(
            text(f"DELETE FROM refills WHERE shop_id = :shop_id AND sku IN {among}"),  # noqa: S608
            {"shop_id": shop_id, **some},
        )
        filled = _FILLED.format(where=f"AND l.sku IN {among}")
        return int(connection.execute(text(filled), {**work.binds, **some}).rowcount)


def _close(work: _Work, pooled: tuple[int | None, int]) -> None:
    """Keep the usual pause between orders, and that all was counted now."""
    c, shop_id, at = cadences.c, work.shop.shop_id, to_micros(work.now)
    with work.db.write() as connection:
        connection.execute(cadences.delete().where(c.shop_id == shop_id, c.kind != SKU))
        connection.execute(cadences.update().where(c.shop_id == shop_id).values(counted_at=work.now))
        if pooled[0] is not None:
            bulk.insert_rows(connection, cadences, _COLUMNS, [(shop_id, ORDERS, "", *pooled, at)])


def _kept(connection: Connection, shop_id: int) -> dict[str, tuple[int, int]]:
    c = cadences.c
    query = cadences.select().where(c.shop_id == shop_id, c.kind == SKU)
    return {row.name: (row.milli_days, row.pairs) for row in connection.execute(query)}


def _counted_at(connection: Connection, shop_id: int) -> int:
    found = text("SELECT MAX(counted_at) FROM cadences WHERE shop_id = :shop_id").bindparams(shop_id=shop_id)
    return int(connection.execute(found).scalar() or 0)


def _medians(connection: Connection, shop: Shop, seen: Mapping[str, Counter[int]]) -> dict[str, tuple[int, int]]:
    """Product → thousandths of a day for a piece, and of how many pauses it is the median."""
    category_of = {
        row.sku: row.category
        for row in connection.execute(
            text(
                "SELECT sku, MAX(category) AS category FROM products WHERE shop_id = :shop_id AND sku <> '' GROUP BY sku"
            ).bindparams(shop_id=shop.shop_id)
        )
    }
    whole: Counter[int] = Counter()
    of_category: dict[str, Counter[int]] = {}
    for sku, gaps in seen.items():
        whole.update(gaps)
        if category := category_of.get(sku, ""):
            of_category.setdefault(category, Counter()).update(gaps)
    found: dict[str, tuple[int, int]] = {}
    for sku, own in seen.items():
        for gaps in (own, of_category.get(category_of.get(sku, ""), Counter()), whole):
            if gaps.total() >= PAIRS:
                found[sku] = (_median(gaps) * 10, gaps.total())
                break
    return found


def _median(gaps: Mapping[int, int]) -> int:
    """The lower median of values with how often each was seen."""
    half, passed = (sum(gaps.values()) + 1) // 2, 0
    for value in sorted(gaps):
        passed += gaps[value]
        if passed >= half:
            return max(1, value)
    raise ValueError("there is no median of nothing")


def _steady(found: Mapping[str, tuple[int, int]], before: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """The cadences found, those that hardly moved as they were."""
    kept: dict[str, tuple[int, int]] = {}
    for name, one in found.items():
        old = before.get(name)
        kept[name] = old if old is not None and abs(one[0] - old[0]) * _PART <= old[0] else one
    return kept


def _pooled(connection: Connection, shop_id: int) -> tuple[int | None, int]:
    """The usual pause between orders: the median over members with a rhythm of their own, a week at least."""
    sql = (
        f"SELECT {PACE} AS days, COUNT(*) AS seen FROM member_facts WHERE shop_id = :shop_id AND {HAS_PACE} "  # noqa: S608
        f"AND {OWN_RHYTHM} GROUP BY 1"
    )
    gaps = Counter({int(row.days): row.seen for row in connection.execute(text(sql).bindparams(shop_id=shop_id))})
    return (max(_median(gaps), SHORTEST_DAYS) * 1000, gaps.total()) if gaps.total() >= PAIRS else (None, gaps.total())
