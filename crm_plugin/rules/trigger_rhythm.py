"""Triggers that go by a rhythm: a member's own pause between orders, and how long a product lasts (`rules/cadences.py` counts both)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from crm_plugin.clock import day_number
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rules.spec import Text
from crm_plugin.rules.trigger_days import counted
from crm_plugin.rules.trigger_kinds import ORDER, PAUSE, Arrival, Kind, Match, Param, Source, Trigger, whole, words
from crm_plugin.rules.trigger_members import KNOWN_BEFORE
from crm_plugin.rules.trigger_orders import COUNTED, OF_FACTS
from crm_plugin.store.members import HAS_PACE, PACE

LATE_BY, REPLENISHMENT = "late_by", "replenishment"
# The types that cadences are counted for, and how the occasion of the second begins.
COUNTED_FOR = frozenset({LATE_BY, REPLENISHMENT})
REFILL = "refill"
# A rhythm of one's own takes so many orders over so many days; whoever has fewer is held against the shop's. Without the days, an order
# that was placed in three parts would be a rhythm of hours.
OWN_ORDERS, OWN_DAYS = 3, 14
# Nobody is missed as if they bought more often than this: an absence of three days is none that anybody asks after.
SHORTEST_DAYS = 7
_PACE = (
    PACE.replace("last_order_on", "f.last_order_on")
    .replace("first_order_on", "f.first_order_on")
    .replace("orders_count", "f.orders_count")
)
_HAS_PACE = (
    HAS_PACE.replace("orders_count", "f.orders_count")
    .replace("last_order_on", "f.last_order_on")
    .replace("first_order_on", "f.first_order_on")
)
# Whose pace is a rhythm of their own, beside `HAS_PACE`.
OWN_RHYTHM = f"orders_count >= {OWN_ORDERS} AND last_order_on - first_order_on >= {OWN_DAYS}"
_OWN = f"f.orders_count >= {OWN_ORDERS} AND {_HAS_PACE} AND f.last_order_on - f.first_order_on >= {OWN_DAYS}"
_POOLED = "(SELECT c.milli_days FROM cadences AS c WHERE c.shop_id = :shop_id AND c.kind = 'orders' AND c.name = '')"


def _times(value: Any) -> float:
    """How many times the rhythm, from 1 to 20."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= 20:
        raise InvalidInput(
            phrase("`times` must be a number from 1 to 20, not %(value)r.", value=value),
            field="times",
            hint=phrase("1.5 is one and a half times the pause that is usual."),
        )
    return float(value)


def _number(value: Any) -> float:
    """The same as a form tells it."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _times(value)
    return _times(value)


def _late(trigger: Trigger) -> Source:
    """The day on which a member is late by their own rhythm: the last order and so many times the pause between orders, rounded up."""
    milli = round((trigger.get("times") or _TIMES.usual) * 1000)
    own = f"({milli} * (CASE WHEN {{pace}} < {SHORTEST_DAYS} THEN {SHORTEST_DAYS} ELSE {{pace}} END) + 999) / 1000"
    pooled = f"({milli} * {_POOLED} + 999999) / 1000000"
    day = (
        f"(f.last_order_on + CASE WHEN {_OWN} THEN {own.format(pace=_PACE)} WHEN f.orders_count > 0 THEN {pooled} END)"
    )
    # Each step asks the index for the next rhythm that somebody has; for each the last orders in question are one short range.
    paces = (
        f"WITH RECURSIVE paces(days) AS (SELECT min({_PACE}) FROM member_facts AS f WHERE f.shop_id = :shop_id AND {_HAS_PACE} "  # noqa: S608
        f"UNION ALL SELECT (SELECT min({_PACE}) FROM member_facts AS f WHERE f.shop_id = :shop_id AND {_HAS_PACE} "
        f"AND {_PACE} > paces.days) FROM paces WHERE paces.days IS NOT NULL) "
    )
    of_own = (
        "SELECT f.member_id, days.match FROM paces CROSS JOIN days CROSS JOIN member_facts AS f{pace_index} "  # noqa: S608
        f"WHERE f.shop_id = :shop_id AND {_OWN} AND {_PACE} = paces.days "
        f"AND f.last_order_on = days.match - {own.format(pace='paces.days')}"
    )
    of_others = (
        "SELECT f.member_id, days.match FROM days CROSS JOIN member_facts AS f{day_index} WHERE f.shop_id = :shop_id "  # noqa: S608
        f"AND f.last_order_on = days.match - {pooled} AND NOT ({_OWN})"
    )
    return Source(
        day,
        "ix_member_facts_pace",
        "member_facts AS f",
        hangs=OF_FACTS,
        holds="f.last_order_on IS NOT NULL",
        found=f"{paces}{of_own} UNION ALL {of_others}",
        found_by={"pace_index": "ix_member_facts_pace", "day_index": "ix_member_facts_last_order"},
        # The same beginning as of a fixed number of days: one pause is one, whichever way it is measured.
        occasion="'lapse:' || CAST(f.last_order_on AS TEXT)",
        occasion_on="f.last_order_on",
        late=(COUNTED, KNOWN_BEFORE),
    )


def _on_day(_trigger: Trigger, day: date) -> Iterator[Match]:
    yield day_number(day), "", day_number(day)


_NAMED = {
    # Not by the index of products: the day's are fewer than all that a product was ever sold.
    "sku": "r.sku || '' = :p_sku",
    "category": (
        "(SELECT 1 FROM products AS p WHERE p.shop_id = r.shop_id AND p.sku = r.sku AND p.category = :p_category LIMIT 1) IS NOT NULL"
    ),
}
# The purchase still counts, and it was not followed by another of the same product.
_STILL = (
    "(SELECT 1 FROM orders AS o WHERE o.shop_id = r.shop_id AND o.order_id = r.order_id AND o.member_id = r.member_id AND o.counts "
    "AND o.status <> 'refunded' LIMIT 1) IS NOT NULL AND (SELECT 1 FROM orders AS o JOIN order_lines AS l ON l.shop_id = o.shop_id "
    "AND l.order_id = o.order_id WHERE o.shop_id = r.shop_id AND o.member_id = r.member_id AND o.placed_on > r.bought_on AND o.counts "
    "AND l.sku = r.sku AND l.quantity > 0 LIMIT 1) IS NULL"
)


def _refill(trigger: Trigger) -> Source:
    """The day a member's last purchase of a product runs out."""
    told = {name: trigger.more[name] for name in _NAMED if name in trigger.more}
    # What lasts three days is not running low on the day it was bought.
    lasts = f"r.expected_on - r.bought_on >= {max(1, 2 * _lead(trigger))}"
    seen = Arrival("r.changed_at", "ix_refills_changed")
    return Source(
        "r.expected_on",
        "ix_refills_expected",
        "refills AS r",
        hangs="m.shop_id = r.shop_id AND m.member_id = r.member_id AND r.shop_id = :shop_id",
        holds=" AND ".join([lasts, _STILL, *(_NAMED[name] for name in told)]),
        occasion=f"'{REFILL}:' || CAST(r.order_id AS TEXT) || ':' || r.sku",
        occasion_on="r.expected_on",
        order_id="r.order_id",
        late=(seen, KNOWN_BEFORE),
        binds={f"p_{name}": value for name, value in told.items()},
    )


def _ahead(trigger: Trigger, day: date) -> Iterator[Match]:
    """So many days before it runs out."""
    return counted(Trigger(trigger.type, -_lead(trigger)), day)


def _lead(trigger: Trigger) -> int:
    return int(trigger.more.get(_LEAD.name, _LEAD.usual))


_TIMES = Param("times", Text("times the member's own rhythm", "自身节奏的倍数"), "1 … 20", _number, 1.5)
_LEAD = whole("lead_days", 0, 60, 3, Text("days before it runs out", "用完前的天数"))

KINDS = (
    Kind(
        LATE_BY,
        Text("Late by their own rhythm", "超出自身购买节奏"),
        Text("being late", "超期"),
        Text(
            "When the time since the last order is so many times the member's own mean pause between orders; until the third order, and "
            "while all lie within two weeks, it is the usual pause of the shop's members. A pause under a week counts as a week.",
            "距上次下单达到会员自身平均购买间隔的若干倍；第三单之前，或所有订单都在两周之内时，按本店会员的常见间隔。间隔不足一周按一周计。",
        ),
        Text("`lapse:` and the day of the last order: once for each pause", "`lapse:` 加上次下单日：每次沉默一次"),
        (_TIMES,),
        _late,
        _on_day,
        once=(PAUSE,),
        awaits_orders=True,
        rechecked=True,
    ),
    Kind(
        REPLENISHMENT,
        Text("Product runs out", "商品即将用完"),
        Text("a product runs out", "商品用完"),
        Text(
            "Days before what a member bought last of a product runs out, by how long the product lasts: the median pause between two "
            "purchases of it, for each piece, of all members; of its category, then of the shop, while fewer than five are known. Never "
            "for what nobody bought again, nor for what lasts less than twice these days; gone once the member bought it again.",
            "会员上次购买的商品用完前若干天。用完时间按该商品所有会员两次购买之间每件间隔的中位数；不足五次时用其类别、再用全店的。"
            "无人复购的商品，以及可用时间不足提前天数两倍的商品不触发；会员已再次购买则取消。",
        ),
        Text("`refill:`, the order and the product", "`refill:`、订单和商品"),
        (
            _LEAD,
            words("sku", Text("product code", "商品编码")),
            words("category", Text("product category", "商品类别")),
        ),
        _refill,
        _ahead,
        about_order=True,
        once=(ORDER,),
        awaits_orders=True,
        rechecked=True,
    ),
)
