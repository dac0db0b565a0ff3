"""Triggers that orders tell of."""

from __future__ import annotations

from crm_plugin.rules.spec import Text
from crm_plugin.rules.trigger_days import counted, pauses
from crm_plugin.rules.trigger_kinds import ORDER, PAUSE, Arrival, Kind, Source, Trigger, whole
from crm_plugin.rules.trigger_members import KNOWN_BEFORE

LAPSE, POST_PURCHASE = "lapse", "post_purchase"
SINCE = Text("days since", "之后的天数")

# How facts and orders hang on the member; the shop twice, so that the index of either is led by it.
OF_FACTS = "m.shop_id = f.shop_id AND m.member_id = f.member_id AND f.shop_id = :shop_id"
OF_ORDERS = "m.shop_id = o.shop_id AND m.member_id = o.member_id AND o.shop_id = :shop_id"
# An order that comes, is paid, or changes hands or its day.
ORDERED = Arrival("o.first_seen_at", "ix_orders_seen")
COUNTED = Arrival("f.changed_at", "ix_member_facts_changed")
OF_THE_ORDER = "'order:' || CAST(o.order_id AS TEXT)"


def _lapse(_trigger: Trigger) -> Source:
    return Source(
        "f.last_order_on",
        "ix_member_facts_last_order",
        "member_facts AS f",
        hangs=OF_FACTS,
        late=(COUNTED, KNOWN_BEFORE),
    )


def _post_purchase(_trigger: Trigger) -> Source:
    return Source(
        "o.placed_on",
        "ix_orders_placed",
        "orders AS o",
        hangs=OF_ORDERS,
        holds="o.counts",
        occasion=OF_THE_ORDER,
        order_id="o.order_id",
        late=(ORDERED, KNOWN_BEFORE),
    )


KINDS = (
    Kind(
        LAPSE,
        Text("Time since the last order", "距上次下单"),
        Text("a member's last order", "会员上次下单"),
        Text("Days since a member's last order, if no other came since.", "会员上次下单后若干天没有再下单。"),
        Text("`lapse:` and the day of the last order: once for each pause", "`lapse:` 加上次下单日：每次沉默一次"),
        (whole("days", 1, 3650, 60, SINCE),),
        _lapse,
        pauses,
        once=(PAUSE,),
        awaits_orders=True,
    ),
    Kind(
        POST_PURCHASE,
        Text("After an order", "下单之后"),
        Text("an order", "下单"),
        Text("Days after an order was placed, at the time of day.", "下单后若干天，在设定的时刻。"),
        Text("`order:` and the order", "`order:` 加订单"),
        (whole("days", 0, 730, 14, SINCE),),
        _post_purchase,
        counted,
        about_order=True,
        transactional=True,
        once=(ORDER,),
        awaits_payment=True,
    ),
)
