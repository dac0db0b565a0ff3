"""How long things last until they are bought again, counted once a day: a product by all its members, a pause between orders by all.

The median of what was seen, never of one member alone. What was bought on one day is one purchase; a pause after it is shared by its
pieces. A product with fewer than `PAIRS` pauses borrows from its category, then from the shop; one that nobody bought again lasts for
ever. From it follows for each member and product the day on which the last purchase runs out (`refills`), made anew for those whose
orders changed and for products whose cadence did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from crm_plugin.clock import day_number, local_day
from crm_plugin.rules.trigger_rhythm import OWN_ORDERS
from crm_plugin.store import bulk, cadences
from crm_plugin.store.base import to_micros
from crm_plugin.store.members import HAS_PACE, PACE
from crm_plugin.store.tenants import Shop

# Fewer pauses than this say nothing by themselves.
PAIRS = 5
# Purchases further back than this are no guide to what is bought today.
DAYS = 730
SKU, CATEGORY, SHOP, ORDERS = "sku", "category", "shop", "orders"
_OVERLAP = timedelta(hours=6)
# A cadence that moves by less than this part is left as it is, for every purchase of the product would have to be written anew.
_PART = 10

_BOUGHT = (
    "SELECT o.member_id, l.sku, o.placed_on AS day, SUM(l.quantity) AS pieces, MAX(o.order_id) AS order_id FROM orders AS o "
    "JOIN order_lines AS l ON l.shop_id = o.shop_id AND l.order_id = o.order_id {join} WHERE o.shop_id = :shop_id AND o.counts "
    "AND o.status <> 'refunded' AND o.member_id IS NOT NULL AND o.placed_on >= :since AND l.sku <> '' AND l.quantity > 0 {where} "
    "GROUP BY o.member_id, l.sku, o.placed_on"
)
# Hundredths of a day are enough, and so the many pauses of a large shop come as few rows.
_PAUSES = (
    f"WITH bought AS ({_BOUGHT.format(join='', where='')}), gaps AS (SELECT sku, (LEAD(day) OVER (PARTITION BY member_id, sku "  # noqa: S608
    "ORDER BY day) - day) * 100 / pieces AS gap FROM bought) "
    "SELECT sku, CAST(ROUND(gap) AS INTEGER) AS gap, COUNT(*) AS seen FROM gaps WHERE gap IS NOT NULL GROUP BY sku, 2 ORDER BY sku, 2"
)
_FILLED = (
    "INSERT INTO refills (shop_id, member_id, sku, order_id, bought_on, quantity, expected_on, changed_at) "  # noqa: S608
    f"WITH bought AS ({_BOUGHT}), latest AS (SELECT bought.*, ROW_NUMBER() OVER (PARTITION BY member_id, sku ORDER BY day DESC) AS place "
    "FROM bought) SELECT :shop_id, b.member_id, b.sku, b.order_id, b.day, b.pieces, "
    "b.day + CAST(ROUND(b.pieces * c.milli_days / 1000.0) AS INTEGER), :at FROM latest AS b JOIN cadences AS c ON c.shop_id = :shop_id "
    "AND c.kind = 'sku' AND c.name = b.sku WHERE b.place = 1"
)
_CHANGED = "SELECT f.member_id FROM member_facts AS f WHERE f.shop_id = :shop_id AND f.changed_at > :after"


@dataclass(frozen=True, slots=True)
class Counted:
    """What a count found: products with a cadence, those of them whose cadence is another now, and refills written."""

    products: int
    changed: int
    refills: int

    def as_dict(self) -> dict[str, int]:
        return {"products": self.products, "changed": self.changed, "refills": self.refills}


def count(connection: Connection, shop: Shop, now: datetime) -> Counted:
    """Count anew, in the caller's transaction. Products and pauses are gone through once; members only where their orders changed."""
    today = local_day(now, shop.timezone)
    before = _kept(connection, shop.shop_id)
    counted_at = _counted_at(connection, shop.shop_id)
    medians = _medians(connection, shop, today)
    wanted = _steady({name: one for (kind, name), one in medians.items() if kind == SKU}, before)
    changed = {name for name in wanted.keys() | before.keys() if wanted.get(name) != before.get(name)}
    rows: list[tuple[Any, ...]] = [
        (shop.shop_id, SKU, name, *one, to_micros(now)) for name, one in sorted(wanted.items())
    ]
    rows.append((shop.shop_id, ORDERS, "", *_pooled(connection, shop.shop_id), to_micros(now)))
    connection.execute(cadences.delete().where(cadences.c.shop_id == shop.shop_id))
    columns = ("shop_id", "kind", "name", "milli_days", "pairs", "counted_at")
    bulk.insert_rows(connection, cadences, columns, [row for row in rows if row[3] is not None])
    written = _refill(connection, shop, today, now, changed, counted_at)
    return Counted(len(wanted), len(changed), written)


def _kept(connection: Connection, shop_id: int) -> dict[str, tuple[int, int]]:
    c = cadences.c
    query = cadences.select().where(c.shop_id == shop_id, c.kind == SKU)
    return {row.name: (row.milli_days, row.pairs) for row in connection.execute(query)}


def _counted_at(connection: Connection, shop_id: int) -> int:
    found = text("SELECT MAX(counted_at) FROM cadences WHERE shop_id = :shop_id").bindparams(shop_id=shop_id)
    return int(connection.execute(found).scalar() or 0)


def _medians(connection: Connection, shop: Shop, today: date) -> dict[tuple[str, str], tuple[int, int]]:
    """(kind, name) → thousandths of a day for a piece, and of how many pauses it is the median."""
    since = day_number(today) - DAYS
    seen: dict[str, Counter[int]] = {}
    for row in connection.execute(text(_PAUSES).bindparams(shop_id=shop.shop_id, since=since)):
        seen.setdefault(row.sku, Counter())[int(row.gap)] += row.seen
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
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for sku, own in seen.items():
        for gaps in (own, of_category.get(category_of.get(sku, ""), Counter()), whole):
            if gaps.total() >= PAIRS:
                found[SKU, sku] = (_median(gaps) * 10, gaps.total())
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
    """The usual pause between orders: the median over members with a rhythm of their own."""
    sql = (
        f"SELECT {PACE} AS days, COUNT(*) AS seen FROM member_facts WHERE shop_id = :shop_id AND {HAS_PACE} "  # noqa: S608
        f"AND orders_count >= {OWN_ORDERS} GROUP BY 1"
    )
    gaps = Counter({int(row.days): row.seen for row in connection.execute(text(sql).bindparams(shop_id=shop_id))})
    return (_median(gaps) * 1000, gaps.total()) if gaps.total() >= PAIRS else (None, gaps.total())


def _refill(
    connection: Connection, shop: Shop, today: date, now: datetime, changed: Collection[str], counted_at: int
) -> int:
    """Write what runs out when: for products whose cadence changed, and for members whose orders did."""
    own: dict[str, Any] = {"shop_id": shop.shop_id}
    values = {**own, "since": day_number(today) - DAYS, "at": to_micros(now)}
    written = 0
    names = sorted(changed)
    for start in range(0, len(names), 500):
        some = {f"n{place}": name for place, name in enumerate(names[start : start + 500])}
        among = f"({', '.join(f':{name}' for name in some)})"
        connection.execute(text(f"DELETE FROM refills WHERE shop_id = :shop_id AND sku IN {among}"), {**own, **some})  # noqa: S608
        filled = _FILLED.format(join="", where=f"AND l.sku IN {among}")
        written += connection.execute(text(filled), {**values, **some}).rowcount
    after = {"after": counted_at - _OVERLAP // timedelta(microseconds=1)}
    forget = f"DELETE FROM refills WHERE shop_id = :shop_id AND member_id IN ({_CHANGED})"  # noqa: S608
    connection.execute(text(forget), {**own, **after})
    filled = _FILLED.format(join="", where=f"AND o.member_id IN ({_CHANGED})")
    return written + connection.execute(text(filled), {**values, **after}).rowcount
