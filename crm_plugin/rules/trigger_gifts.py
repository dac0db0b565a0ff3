"""Triggers about what a member left with the shop: a day and a person to be reminded of, a checkout that was not finished."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from crm_plugin.birthdays import BEFORE, kept_on
from crm_plugin.clock import day_number
from crm_plugin.rules.spec import Text
from crm_plugin.rules.trigger_days import counted
from crm_plugin.rules.trigger_kinds import MINUTES, Arrival, Kind, Match, Source, Trigger, whole
from crm_plugin.rules.trigger_members import KNOWN_BEFORE

GIFT, CHECKOUT = "gift_reminder", "abandoned_checkout"


def _date(_trigger: Trigger) -> Source:
    seen = Arrival("d.recorded_at", "ix_member_dates_recorded")
    return Source(
        "d.month_day",
        "ix_member_dates_day",
        "member_dates AS d",
        hangs="m.shop_id = d.shop_id AND m.member_id = d.member_id AND d.shop_id = :shop_id",
        occasion="'date:' || CAST(d.date_id AS TEXT) || ':' || cal.occasion",
        order_id="CAST(NULL AS BIGINT)",
        late=(seen, KNOWN_BEFORE),
    )


def _kept(trigger: Trigger, day: date) -> Iterator[Match]:
    """Days of the year as birthdays are kept, lunar ones too; the year is part of the occasion."""
    that = day - timedelta(days=trigger.days)
    for number, year in kept_on(that, BEFORE):
        yield number, str(year), day_number(that)


def _checkout(_trigger: Trigger) -> Source:
    """A checkout that was left, and no order by the member since it was begun."""
    seen = Arrival("k.seen_at", "ix_checkouts_seen", where="k.completed_at IS NULL")
    return Source(
        "k.touched_on",
        "ix_checkouts_day",
        "checkouts AS k",
        hangs="m.shop_id = k.shop_id AND m.member_id = k.member_id AND k.shop_id = :shop_id",
        holds=(
            "k.completed_at IS NULL AND (SELECT 1 FROM orders AS o WHERE o.shop_id = k.shop_id AND o.member_id = k.member_id "
            "AND o.placed_on >= k.touched_on - 60 AND o.placed_at >= k.started_at AND o.status NOT IN ('failed', 'draft', 'trash') "
            "LIMIT 1) IS NULL"
        ),
        occasion="'checkout:' || CAST(k.checkout_id AS TEXT)",
        occasion_on="k.touched_on",
        at="k.touched_at",
        seen=seen,
        late=(seen, KNOWN_BEFORE),
    )


KINDS = (
    Kind(
        GIFT,
        Text("Gift reminder", "送礼提醒"),
        Text("the day of a person a member named", "会员所记某人的日子"),
        Text(
            "Days before a day of the year that a member asked to be reminded of, with the person it belongs to.",
            "会员要求提醒的日子（及对应的人）之前若干天，每年一次。",
        ),
        Text("`date:`, the reminder and the year", "`date:`、提醒和年份"),
        (whole("days", -60, -1, -14, Text("days before (below zero)", "提前的天数（负数）")),),
        _date,
        _kept,
        announces=True,
    ),
    Kind(
        CHECKOUT,
        Text("Abandoned checkout", "未完成的结账"),
        Text("a checkout was left", "离开结账页"),
        Text(
            "Minutes after a member was last seen at a checkout, or days later, while it is not finished and no order came since.",
            "会员最后一次停留在结账页后若干分钟或若干天，尚未完成且此后没有下单。",
        ),
        Text("`checkout:` and the checkout", "`checkout:` 加结账"),
        (
            whole("days", 0, 30, 0, Text("days since", "之后的天数")),
            whole("minutes", 0, MINUTES.high or 0, 60, MINUTES.label),
        ),
        _checkout,
        counted,
        rechecked=True,
        awaits_orders=True,
    ),
)
