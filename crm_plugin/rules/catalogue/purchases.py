"""What a member bought: counts and amounts in any window, and the rhythm of the orders."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import ColumnElement, case

from crm_plugin.clock import day_number
from crm_plugin.rules.catalogue.common import SPAN
from crm_plugin.rules.nodes import Field
from crm_plugin.rules.operands import DaysSince, Operand, Ratio, Whole
from crm_plugin.rules.rows import Rows, lines_bought, orders_of, refunds_given
from crm_plugin.rules.spec import ZERO, FieldSpec, Kind, Moves, Scope, Source, Text, Unit
from crm_plugin.rules.windows import window_of

_PURCHASES = (Source.PURCHASES,)
# The windows that begin at joining or at the tier depend on these too.
_WINDOWED = (Source.PURCHASES, Source.PROFILE, Source.TIERS)
_NO_ORDER = Text("Unknown when there is no order.", "没有订单时为未知。")


def in_orders(scope: Scope, field: Field, name: str, fact: str = "") -> ColumnElement[int]:
    """A sum over the orders of the field's window; over all of them from the facts, where they keep it."""
    window = window_of(field)
    if window is None and fact:
        return scope.fact(fact)
    return scope.total(orders_of(scope.shop.currency), name, window)


def in_refunds(scope: Scope, field: Field, name: str, fact: str) -> ColumnElement[int]:
    """The same over refunds."""
    window = window_of(field)
    return scope.fact(fact) if window is None else scope.total(refunds_given(), name, window)


def net(scope: Scope, field: Field) -> ColumnElement[int]:
    """Orders less refunds, in minor units."""
    if window_of(field) is None:
        return scope.fact("spent_minor")
    return in_orders(scope, field, "gross") - in_refunds(scope, field, "minor", "refunded_minor")


def _orders(scope: Scope, field: Field) -> Operand:
    return Whole(in_orders(scope, field, "count", "orders_count"))


def _gross(scope: Scope, field: Field) -> Operand:
    return Whole(in_orders(scope, field, "gross", "gross_minor"), scope.shop.currency)


def _spent(scope: Scope, field: Field) -> Operand:
    return Whole(net(scope, field), scope.shop.currency)


def _refunds(scope: Scope, field: Field) -> Operand:
    return Whole(in_refunds(scope, field, "count", "refunds_count"))


def _refunded(scope: Scope, field: Field) -> Operand:
    return Whole(in_refunds(scope, field, "minor", "refunded_minor"), scope.shop.currency)


def _profit(scope: Scope, field: Field) -> Operand:
    return Whole(net(scope, field) - in_orders(scope, field, "cost", "cost_minor"), scope.shop.currency)


def _discounts(scope: Scope, field: Field) -> Operand:
    return Whole(in_orders(scope, field, "discount", "discount_minor"), scope.shop.currency)


def _part(name: str) -> Callable[[Scope, Field], Operand]:
    """A part of the orders' amounts that the facts do not keep."""
    return lambda scope, field: Whole(in_orders(scope, field, name), scope.shop.currency)


def _items(scope: Scope, field: Field) -> Operand:
    return Whole(in_orders(scope, field, "items", "items_milli"), scale=1000)


def _rated(scope: Scope, field: Field) -> ColumnElement[int]:
    # An order in a currency without a rate is in no sum, so it is in no mean either.
    return in_orders(scope, field, "count", "orders_count") - in_orders(
        scope, field, "unconverted", "unconverted_orders"
    )


def _average(scope: Scope, field: Field) -> Operand:
    return Ratio(in_orders(scope, field, "gross", "gross_minor"), _rated(scope, field), scope.shop.currency)


def _return_rate(scope: Scope, field: Field) -> Operand:
    back = in_refunds(scope, field, "minor", "refunded_minor")
    return Ratio(back, in_orders(scope, field, "gross", "gross_minor"))


def _coupon_share(scope: Scope, field: Field) -> Operand:
    return Ratio(in_orders(scope, field, "coupons"), in_orders(scope, field, "count", "orders_count"))


def every_line(scope: Scope) -> Rows:
    """All lines of the shop's orders."""
    return lines_bought(scope.shop.currency)


def _products(scope: Scope, field: Field) -> Operand:
    return Whole(scope.total(every_line(scope), "products", window_of(field)))


def _since_fact(column: str) -> Callable[[Scope, Field], Operand]:
    return lambda scope, _field: DaysSince(scope.fact_day(column), day_number(scope.as_of))


def _pace(scope: Scope) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Days from the first to the last order, and the gaps between; no gap counts as none where all orders fell on one day."""
    span = scope.fact_day("last_order_on") - scope.fact_day("first_order_on")
    return span, case((span > 0, scope.fact("orders_count") - 1), else_=0)


def _mean_gap(scope: Scope, _field: Field) -> Operand:
    return Ratio(*_pace(scope), places=1)


def _late_by(scope: Scope, _field: Field) -> Operand:
    span, gaps = _pace(scope)
    days = day_number(scope.as_of) - scope.fact_day("last_order_on")
    return Ratio(days * gaps, case((gaps > 0, span), else_=0), places=1)


ROWS = (
    FieldSpec(
        "orders",
        Kind.NUMBER,
        Text("number of orders", "订单数"),
        Text(
            "Orders that count: not cancelled, failed, draft, test or in the trash.",
            "有效订单的数量（不含已取消、失败、草稿、测试和回收站中的订单）。",
        ),
        ZERO,
        _WINDOWED,
        _orders,
        Unit.COUNT,
        SPAN,
        moves=Moves.WINDOW,
        example=("days=365", ">= 2"),
    ),
    FieldSpec(
        "spent",
        Kind.NUMBER,
        Text("amount spent", "消费金额"),
        Text(
            "Orders less refunds, in the shop's currency; each counts on its own day.",
            "订单金额减去退款，按店铺币种计算，各按发生当天计入。",
        ),
        ZERO,
        _WINDOWED,
        _spent,
        Unit.MONEY,
        SPAN,
        moves=Moves.WINDOW,
        example=("days=365", ">= 100"),
    ),
    FieldSpec(
        "gross",
        Kind.NUMBER,
        Text("amount ordered", "订单总额"),
        Text("Orders before refunds, in the shop's currency.", "未减退款的订单金额，按店铺币种计算。"),
        ZERO,
        _WINDOWED,
        _gross,
        Unit.MONEY,
        SPAN,
        moves=Moves.WINDOW,
        example=("days=365", ">= 100"),
    ),
    FieldSpec(
        "profit",
        Kind.NUMBER,
        Text("profit", "利润"),
        Text(
            "Orders less refunds less the cost of goods, in the shop's currency; an order whose cost is not known counts without it.",
            "订单金额减去退款和商品成本，按店铺币种计算；成本未知的订单按零成本计入。",
        ),
        ZERO,
        _WINDOWED,
        _profit,
        Unit.MONEY,
        SPAN,
        moves=Moves.WINDOW,
        example=("days=365", ">= 50"),
    ),
    FieldSpec(
        "refunds",
        Kind.NUMBER,
        Text("number of refunds", "退款次数"),
        Text("Refunds of orders that count.", "有效订单的退款次数。"),
        ZERO,
        _WINDOWED,
        _refunds,
        Unit.COUNT,
        SPAN,
        moves=Moves.WINDOW,
        example=("days=90", "== 0"),
    ),
    FieldSpec(
        "refunded",
        Kind.NUMBER,
        Text("amount refunded", "退款金额"),
        Text("Money given back, in the shop's currency.", "退回的金额，按店铺币种计算。"),
        ZERO,
        _WINDOWED,
        _refunded,
        Unit.MONEY,
        SPAN,
        moves=Moves.WINDOW,
        example=("days=365", "> 100"),
    ),
    FieldSpec(
        "return_rate",
        Kind.NUMBER,
        Text("return rate", "退款率"),
        Text("Amount refunded over amount ordered: 1 is all of it.", "退款金额除以订单总额：1 表示全部退回。"),
        Text("Unknown when nothing was ordered.", "没有订单金额时为未知。"),
        _WINDOWED,
        _return_rate,
        Unit.SHARE,
        SPAN,
        moves=Moves.WINDOW,
        example=("", "< 0.3"),
    ),
    FieldSpec(
        "average_order",
        Kind.NUMBER,
        Text("average order value", "平均订单金额"),
        Text(
            "Orders before refunds over their number, in the shop's currency.",
            "订单总额（未减退款）除以订单数，按店铺币种计算。",
        ),
        _NO_ORDER,
        _WINDOWED,
        _average,
        Unit.MONEY,
        SPAN,
        moves=Moves.WINDOW,
        example=("", ">= 50"),
    ),
    FieldSpec(
        "items",
        Kind.NUMBER,
        Text("number of pieces bought", "购买件数"),
        Text("Pieces in orders that count, also those given back.", "有效订单中的商品件数，退货也算。"),
        ZERO,
        _WINDOWED,
        _items,
        Unit.COUNT,
        SPAN,
        moves=Moves.WINDOW,
        example=("days=365", ">= 10"),
    ),
    FieldSpec(
        "products",
        Kind.NUMBER,
        Text("number of different products bought", "购买的不同商品数"),
        Text(
            "Told apart by the store's own id, else by code, else by title.",
            "按店铺的商品编号区分，没有时按编码，再没有时按名称。",
        ),
        ZERO,
        _WINDOWED,
        _products,
        Unit.COUNT,
        SPAN,
        moves=Moves.WINDOW,
        example=("", ">= 3"),
    ),
    FieldSpec(
        "discounts",
        Kind.NUMBER,
        Text("amount of discounts", "优惠金额"),
        Text("Discounts on orders that count, in the shop's currency.", "有效订单的优惠金额，按店铺币种计算。"),
        ZERO,
        _WINDOWED,
        _discounts,
        Unit.MONEY,
        SPAN,
        moves=Moves.WINDOW,
        example=("days=365", "> 50"),
    ),
    FieldSpec(
        "shipping",
        Kind.NUMBER,
        Text("amount of shipping", "运费金额"),
        Text("Shipping in orders that count, in the shop's currency.", "有效订单的运费，按店铺币种计算。"),
        ZERO,
        _WINDOWED,
        _part("shipping"),
        Unit.MONEY,
        SPAN,
        moves=Moves.WINDOW,
        example=("days=365", "> 20"),
    ),
    FieldSpec(
        "tax",
        Kind.NUMBER,
        Text("amount of tax", "税额"),
        Text("Tax in orders that count, in the shop's currency.", "有效订单的税额，按店铺币种计算。"),
        ZERO,
        _WINDOWED,
        _part("tax"),
        Unit.MONEY,
        SPAN,
        moves=Moves.WINDOW,
        example=("days=365", "> 20"),
    ),
    FieldSpec(
        "coupon_share",
        Kind.NUMBER,
        Text("share of orders with a coupon", "使用优惠券的订单占比"),
        Text(
            "Orders with at least one coupon over all orders: 1 is every one.",
            "用了优惠券的订单占全部订单的比例：1 表示每单都用。",
        ),
        _NO_ORDER,
        _WINDOWED,
        _coupon_share,
        Unit.SHARE,
        SPAN,
        moves=Moves.WINDOW,
        example=("", "> 0.5"),
    ),
    FieldSpec(
        "days_since_order",
        Kind.NUMBER,
        Text("number of days since the last order", "距上次下单的天数"),
        Text("0 on the day of the order.", "下单当天为 0。"),
        _NO_ORDER,
        _PURCHASES,
        _since_fact("last_order_on"),
        Unit.DAYS,
        moves=Moves.DAILY,
        counts_from=("member_facts", "last_order_on"),
        example=("", ">= 90"),
    ),
    FieldSpec(
        "days_since_first_order",
        Kind.NUMBER,
        Text("number of days since the first order", "距首次下单的天数"),
        Text("0 on the day of the order.", "下单当天为 0。"),
        _NO_ORDER,
        _PURCHASES,
        _since_fact("first_order_on"),
        Unit.DAYS,
        moves=Moves.DAILY,
        counts_from=("member_facts", "first_order_on"),
        example=("", "<= 30"),
    ),
    FieldSpec(
        "mean_gap",
        Kind.NUMBER,
        Text("usual number of days between orders", "平均下单间隔天数"),
        Text(
            "Days from the first to the last order over the gaps between them: the member's own rhythm.",
            "首次到最近一次下单的天数除以间隔次数，即会员自己的节奏。",
        ),
        Text("Unknown before orders on two days.", "在不同日期下单少于两次时为未知。"),
        _PURCHASES,
        _mean_gap,
        Unit.DAYS,
        example=("", "<= 45"),
    ),
    FieldSpec(
        "late_by",
        Kind.NUMBER,
        Text("lateness against the own rhythm", "相对自身节奏的延迟倍数"),
        Text(
            "Days since the last order over the usual number of days between orders: 2 is twice as long as usual.",
            "距上次下单的天数除以平均下单间隔：2 表示已是平时的两倍。",
        ),
        Text("Unknown before orders on two days.", "在不同日期下单少于两次时为未知。"),
        _PURCHASES,
        _late_by,
        Unit.NONE,
        moves=Moves.OWN_PACE,
        example=("", ">= 2"),
    ),
)
