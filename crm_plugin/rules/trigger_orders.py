"""Triggers that orders tell of: pauses, steps of an order, what was bought, money given back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rules.spec import Text
from crm_plugin.rules.trigger_days import counted, pauses
from crm_plugin.rules.trigger_kinds import (
    MEMBER,
    MINUTES,
    ORDER,
    PAUSE,
    Arrival,
    Kind,
    Param,
    Source,
    Trigger,
    whole,
    words,
)
from crm_plugin.rules.trigger_members import KNOWN_BEFORE

LAPSE, POST_PURCHASE, BOUGHT = "lapse", "post_purchase", "bought"
SINCE = Text("days since", "之后的天数")

# How facts and orders hang on the member; the shop twice, so that the index of either is led by it.
OF_FACTS = "m.shop_id = f.shop_id AND m.member_id = f.member_id AND f.shop_id = :shop_id"
OF_ORDERS = "m.shop_id = o.shop_id AND m.member_id = o.member_id AND o.shop_id = :shop_id"
# An order that comes, is paid, or changes hands or its day.
ORDERED = Arrival("o.first_seen_at", "ix_orders_seen")
COUNTED = Arrival("f.changed_at", "ix_member_facts_changed")
OF_THE_ORDER = "'order:' || CAST(o.order_id AS TEXT)"
_KEPT_ORDER = "o.counts AND o.status <> 'refunded'"
_ONCE_AN_ORDER = Text("`order:` and the order", "`order:` 加订单")


def _lapse(_trigger: Trigger) -> Source:
    return Source(
        "f.last_order_on",
        "ix_member_facts_last_order",
        "member_facts AS f",
        hangs=OF_FACTS,
        late=(COUNTED, KNOWN_BEFORE),
    )


def _orders(holds: str, **binds: Any) -> Source:
    return Source(
        "o.placed_on",
        "ix_orders_placed",
        "orders AS o",
        hangs=OF_ORDERS,
        holds=holds,
        occasion=OF_THE_ORDER,
        occasion_on="o.placed_on",
        order_id="o.order_id",
        at="o.placed_at",
        seen=ORDERED,
        late=(ORDERED, KNOWN_BEFORE),
        binds=binds,
    )


def _post_purchase(_trigger: Trigger) -> Source:
    return _orders("o.counts")


def _placed(_trigger: Trigger) -> Source:
    return _orders(_KEPT_ORDER)


def _step(step: str) -> Callable[[Trigger], Source]:
    """A step that an order came to, each with a row of its own."""
    seen = Arrival("e.seen_at", "ix_order_events_seen")

    def source(_trigger: Trigger) -> Source:
        return Source(
            "e.happened_on",
            "ix_order_events_day",
            "order_events AS e CROSS JOIN orders AS o",
            of_member="orders AS o CROSS JOIN order_events AS e",
            hangs=OF_ORDERS,
            holds=f"{_KEPT_ORDER} AND e.shop_id = :shop_id AND e.order_id = o.order_id AND e.kind = '{step}'",
            occasion=OF_THE_ORDER,
            occasion_on="e.happened_on",
            order_id="o.order_id",
            at="e.at",
            seen=seen,
            late=(seen, KNOWN_BEFORE),
        )

    return source


def _first(_trigger: Trigger) -> Source:
    """The one order of whoever has ordered once: their first day is their last, which has an index."""
    return Source(
        "f.last_order_on",
        "ix_member_facts_last_order",
        "member_facts AS f CROSS JOIN orders AS o",
        hangs=OF_FACTS,
        holds="f.orders_count = 1 AND o.shop_id = :shop_id AND o.member_id = f.member_id AND o.placed_on = f.last_order_on "
        f"AND {_KEPT_ORDER}",
        occasion=OF_THE_ORDER,
        order_id="o.order_id",
        late=(COUNTED, KNOWN_BEFORE),
    )


# A product is told by the store's own id, else by its code (as in `rules/rows.py`).
_IN_CATEGORY = (
    "EXISTS (SELECT 1 FROM products AS p WHERE p.shop_id = l.shop_id AND p.category = :p_category AND "
    "CASE WHEN l.product_external_id <> '' THEN p.external_id = l.product_external_id ELSE p.sku = l.sku AND l.sku <> '' END)"
)
_NAMED = {"sku": "l.sku = :p_sku", "title": "l.title = :p_title", "category": _IN_CATEGORY}


def _bought(trigger: Trigger) -> Source:
    told = {name: trigger.more[name] for name in _NAMED if name in trigger.more}
    named = " AND ".join(_NAMED[name] for name in told)
    line = f"SELECT 1 FROM order_lines AS l WHERE l.shop_id = o.shop_id AND l.order_id = o.order_id AND l.quantity > 0 AND {named}"  # noqa: S608
    # With a limit it is asked of the orders of the day; PostgreSQL would begin an EXISTS at the product, of which a shop sells ever more.
    return _orders(
        f"{_KEPT_ORDER} AND ({line} LIMIT 1) IS NOT NULL", **{f"p_{name}": value for name, value in told.items()}
    )


def _names_a_product(trigger: Trigger) -> None:
    if not any(name in trigger.more for name in _NAMED):
        raise InvalidInput(
            phrase("%(kind)s has to say which product.", kind=BOUGHT),
            field="sku",
            hint=phrase("Name at least one of: %(names)s.", names=list(_NAMED)),
        )


def _refund(_trigger: Trigger) -> Source:
    seen = Arrival("r.first_seen_at", "ix_refunds_seen")
    return Source(
        "r.refunded_on",
        "ix_refunds_day",
        "refunds AS r",
        hangs="m.shop_id = r.shop_id AND m.member_id = r.member_id AND r.shop_id = :shop_id",
        holds="r.order_id IS NOT NULL AND r.amount_minor > 0",
        occasion="'refund:' || CAST(r.refund_id AS TEXT)",
        occasion_on="r.refunded_on",
        order_id="r.order_id",
        at="r.refunded_at",
        seen=seen,
        late=(seen, KNOWN_BEFORE),
    )


def _of_order(kind: str, label: Text, event: Text, told: Text, source: Callable[[Trigger], Source], usual: int) -> Kind:
    """A type that speaks of a step of an order, at once or days later, also without marketing consent."""
    return Kind(
        kind,
        label,
        event,
        told,
        _ONCE_AN_ORDER,
        (whole("days", 0, 365, usual, SINCE), MINUTES),
        source,
        counted,
        about_order=True,
        transactional=True,
        once=(ORDER,),
        rechecked=True,
    )


_WHICH: tuple[Param, ...] = (
    words("sku", Text("product code", "商品编码")),
    words("category", Text("product category", "商品类别")),
    words("title", Text("product title", "商品名称")),
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
        _ONCE_AN_ORDER,
        (whole("days", 0, 730, 14, SINCE),),
        _post_purchase,
        counted,
        about_order=True,
        transactional=True,
        once=(ORDER,),
        awaits_payment=True,
    ),
    _of_order(
        "order_placed",
        Text("Order placed", "已下单"),
        Text("an order was placed", "下单"),
        Text("At once when an order is placed, minutes or days later.", "下单后立即，或若干分钟、若干天后。"),
        _placed,
        0,
    ),
    _of_order(
        "order_paid",
        Text("Order paid", "已付款"),
        Text("an order was paid", "付款"),
        Text("At once when an order is paid, minutes or days later.", "付款后立即，或若干分钟、若干天后。"),
        _step("paid"),
        0,
    ),
    _of_order(
        "order_shipped",
        Text("Order shipped", "已发货"),
        Text("an order was shipped", "发货"),
        Text("At once when an order is shipped, minutes or days later.", "发货后立即，或若干分钟、若干天后。"),
        _step("shipped"),
        0,
    ),
    _of_order(
        "order_delivered",
        Text("Order delivered", "已送达"),
        Text("an order was delivered", "订单送达"),
        Text("At once when an order is delivered, minutes or days later.", "订单送达后立即，或若干分钟、若干天后。"),
        _step("delivered"),
        7,
    ),
    Kind(
        "first_order",
        Text("First order, towards the second", "首单之后，促成复购"),
        Text("a member's first order", "会员首次下单"),
        Text(
            "Days after a member's first order, while no second has come; once for each member.",
            "会员首次下单后若干天，尚未第二次下单；每位会员只一次。",
        ),
        Text("`order:` and the first order; a member once ever", "`order:` 加首单；每位会员一生一次"),
        (whole("days", 1, 730, 30, SINCE),),
        _first,
        counted,
        about_order=True,
        once=(ORDER, MEMBER),
        awaits_orders=True,
        rechecked=True,
    ),
    Kind(
        BOUGHT,
        Text("Product or category bought", "购买了某商品或类别"),
        Text("a product was bought", "购买商品"),
        Text(
            "At once, minutes or days after an order with a product: of a code, a category, a title, or all that is named.",
            "订单含有指定编码、类别或名称的商品后立即，或若干分钟、若干天后。",
        ),
        _ONCE_AN_ORDER,
        (whole("days", 0, 730, 14, SINCE), MINUTES, *_WHICH),
        _bought,
        counted,
        about_order=True,
        once=(ORDER,),
        awaits_payment=True,
        rechecked=True,
        check=_names_a_product,
    ),
    Kind(
        "refund",
        Text("Refund", "退款"),
        Text("a refund", "退款"),
        Text(
            "At once when money of an order is given back, minutes or days later.",
            "订单退款后立即，或若干分钟、若干天后。",
        ),
        Text("`refund:` and the refund", "`refund:` 加退款"),
        (whole("days", 0, 365, 0, SINCE), MINUTES),
        _refund,
        counted,
        about_order=True,
        transactional=True,
        once=(ORDER,),
        rechecked=True,
    ),
)
