"""Which products a member bought: whether, how often, how many and for how much."""

from __future__ import annotations

from crm_plugin.rules.catalogue.common import BETWEEN, SPAN, text_of
from crm_plugin.rules.nodes import Field
from crm_plugin.rules.operands import Flag, Operand, Whole
from crm_plugin.rules.rows import Rows, lines_among, lines_bought, refunds_among
from crm_plugin.rules.spec import KNOWN, ZERO, FieldSpec, Kind, Moves, Parameter, Scope, Source, Text, Unit
from crm_plugin.rules.windows import window_of

_SOURCES = (Source.PURCHASES, Source.PROFILE, Source.TIERS)
_NAMED = ("sku", "title", "product", "category")
_PRODUCT = (
    Parameter("sku", str, Text("product code", "商品编码")),
    Parameter("title", str, Text("product title", "商品名称")),
    Parameter("product", str, Text("the store's id of the product", "店铺的商品编号")),
    Parameter("category", str, Text("product category", "商品类别")),
    *SPAN,
)
_HELP = Text(
    "In an order that counts, also when it was given back. Code, title, id and category must be the same, letter by letter.",
    "在有效订单中，退货也算。编码、名称、编号和类别须完全一致。",
)


def _lines(scope: Scope, field: Field) -> Rows:
    named = {name: text_of(field, name) for name in _NAMED}
    return lines_bought(scope.shop.currency, **named)


def _bought(scope: Scope, field: Field) -> Operand:
    return Flag(scope.among(_lines(scope, field), window_of(field)))


def _times(scope: Scope, field: Field) -> Operand:
    return Whole(scope.total(_lines(scope, field), "orders", window_of(field)))


def _pieces(scope: Scope, field: Field) -> Operand:
    return Whole(scope.total(_lines(scope, field), "items", window_of(field)), scale=1000)


def _amount(scope: Scope, field: Field) -> Operand:
    return Whole(scope.total(_lines(scope, field), "minor", window_of(field)), scope.shop.currency)


def _names(field: Field, name: str) -> tuple[str, ...]:
    told = text_of(field, name)
    return () if told is None else tuple(told.split(BETWEEN))


def _among(scope: Scope, field: Field) -> Operand:
    rows = lines_among(scope.shop.currency, _names(field, "skus"), _names(field, "categories"))
    return Whole(scope.total(rows, "minor", window_of(field)), scope.shop.currency)


def _refunded_among(scope: Scope, field: Field) -> Operand:
    rows = refunds_among(scope.shop.currency, _names(field, "skus"), _names(field, "categories"))
    return Whole(scope.total(rows, "minor", window_of(field)), scope.shop.currency)


_LISTED = (
    Parameter("skus", str, Text("product codes", "商品编码（多个）")),
    Parameter("categories", str, Text("product categories", "商品类别（多个）")),
    *SPAN,
)

ROWS = (
    FieldSpec(
        "bought",
        Kind.FLAG,
        Text("bought {product}", "购买过{product}"),
        _HELP,
        KNOWN,
        _SOURCES,
        _bought,
        parameters=_PRODUCT,
        without=Text("did not buy {product}", "没有购买过{product}"),
        needs_one_of=_NAMED,
        moves=Moves.WINDOW,
        example=('sku="A-100", days=365', ""),
    ),
    FieldSpec(
        "bought_times",
        Kind.NUMBER,
        Text("number of orders with {product}", "含{product}的订单数"),
        _HELP,
        ZERO,
        _SOURCES,
        _times,
        Unit.COUNT,
        _PRODUCT,
        needs_one_of=_NAMED,
        moves=Moves.WINDOW,
        example=('category="Coffee"', ">= 3"),
    ),
    FieldSpec(
        "bought_items",
        Kind.NUMBER,
        Text("number of pieces bought of {product}", "{product}的购买件数"),
        _HELP,
        ZERO,
        _SOURCES,
        _pieces,
        Unit.COUNT,
        _PRODUCT,
        needs_one_of=_NAMED,
        moves=Moves.WINDOW,
        example=('sku="A-100"', ">= 2"),
    ),
    FieldSpec(
        "bought_amount",
        Kind.NUMBER,
        Text("amount spent on {product}", "{product}的购买金额"),
        _HELP,
        ZERO,
        _SOURCES,
        _amount,
        Unit.MONEY,
        _PRODUCT,
        needs_one_of=_NAMED,
        moves=Moves.WINDOW,
        example=('title="Mug", days=365', ">= 20"),
    ),
    FieldSpec(
        "bought_among",
        Kind.NUMBER,
        Text("amount spent on {product}", "{product}的购买金额"),
        Text(
            "On products with one of these codes or in one of these categories, with ; between them; each line once.",
            "属于这些编码或这些类别之一的商品，用 ; 分隔；每行只计一次。",
        ),
        ZERO,
        _SOURCES,
        _among,
        Unit.MONEY,
        _LISTED,
        needs_one_of=("skus", "categories"),
        moves=Moves.WINDOW,
        example=('categories="Cards"', "< 50"),
    ),
    FieldSpec(
        "refunded_among",
        Kind.NUMBER,
        Text("amount refunded on {product}", "{product}的退款金额"),
        Text(
            "What was given back of an order falls on its lines in proportion, rounded down for each refund; each counts on its own day.",
            "订单的退款按比例分摊到各商品行，每笔退款向下取整，各按发生当天计入。",
        ),
        ZERO,
        _SOURCES,
        _refunded_among,
        Unit.MONEY,
        _LISTED,
        needs_one_of=("skus", "categories"),
        moves=Moves.WINDOW,
        example=('categories="Cards"', "< 50"),
    ),
)
