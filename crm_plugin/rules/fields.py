"""The catalogue of fields: one row each. Checker, SQL, sentences, pages and docs are made from it.

To add a field: one row here, one line in `evaluate.FIELDS`, and the property test compares the two.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import ColumnElement, func

from crm_plugin.clock import day_number
from crm_plugin.errors import RuleTypeError, UnknownField
from crm_plugin.phrases import phrase
from crm_plugin.rules.nodes import Field, Place, Value
from crm_plugin.rules.operands import Average, DaysSince, Flag, Operand, Truth, Whole, Words
from crm_plugin.store.tenants import Shop


class Scope(Protocol):
    """What a field's SQL may stand on; `sql.py` has one that joins for all members and one for the member at hand."""

    shop: Shop
    as_of: date

    def member(self, name: str) -> ColumnElement[Any]:
        """A column of the member."""

    def fact(self, name: str) -> ColumnElement[int]:
        """A column of the facts, 0 for a member without any."""

    def fact_day(self, name: str) -> ColumnElement[date]:
        """A day of the facts, NULL when it never came."""

    def tier(self) -> ColumnElement[str]:
        """Key of the level held, empty for none."""

    def orders_within(self, days: int) -> tuple[ColumnElement[int], ColumnElement[int]]:
        """Count and sum (minor units) of the orders of the window."""

    def refunds_within(self, days: int) -> tuple[ColumnElement[int], ColumnElement[int]]:
        """Count and sum (minor units) of the refunds of the window."""

    def tagged(self, tag: str) -> Truth: ...

    def bought(self, sku: str | None, title: str | None, days: int | None) -> Truth: ...

    def consents(self, channel: str) -> Truth: ...


class Kind(StrEnum):
    """What values a field has."""

    NUMBER = "number"
    TEXT = "text"
    FLAG = "flag"


class Unit(StrEnum):
    """What a number counts."""

    COUNT = "count"
    MONEY = "money"
    DAYS = "days"
    MONTH = "month"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Text:
    """The same in the languages of the product."""

    en: str
    zh: str

    def in_language(self, lang: str) -> str:
        """Chinese for any `zh…`, else English."""
        return self.zh if lang.lower().startswith("zh") else self.en


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a field. A positional one may be written without its name and must be given."""

    key: str
    type: type[str] | type[int]
    label: Text
    positional: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One row of the catalogue. `label` names a value ("whose …"); for a flag it says a fact ("who …"), `without` its opposite."""

    key: str
    kind: Kind
    label: Text
    help: Text
    reads: tuple[str, ...]
    sql: Callable[[Scope, Field], Operand]
    unit: Unit = Unit.NONE
    parameters: tuple[Parameter, ...] = ()
    without: Text = Text("", "")
    between: tuple[int, int] | None = None
    # A text that no member can have would make `!=` match everyone, so it is refused: expression, and what to write.
    form: tuple[str, str] | None = None
    # At least one of these arguments has to be there.
    needs_one_of: tuple[str, ...] = ()

    def parameter(self, key: str) -> Parameter | None:
        """The parameter of that name."""
        return next((one for one in self.parameters if one.key == key), None)

    @property
    def positional(self) -> tuple[Parameter, ...]:
        """The parameters that may be written without a name."""
        return tuple(one for one in self.parameters if one.positional)


def field_named(key: str, place: Place) -> FieldSpec:
    """The catalogue's row. Raises: UnknownField with the nearest names."""
    spec = FIELDS.get(key)
    if spec is None:
        raise UnknownField(phrase("There is no field %(key)r.", key=key), hint=nearest(key, FIELDS), **at(place))
    return spec


def nearest(word: str, known: Iterable[str]) -> str:
    """A question with the names that look alike, or all names there are."""
    names = list(known)
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    if close:
        return phrase("Did you mean %(name)s?", name=close[0])
    return phrase("There are: %(names)s.", names=names) if names else ""


def at(place: Place) -> dict[str, Any]:
    """A place as the errors take it."""
    return {"line": place.line, "column": place.column, "path": place.path}


def in_order(spec: FieldSpec, args: dict[str, Value], place: Place) -> tuple[tuple[str, Value], ...]:
    """The arguments in the catalogue's order. Raises: RuleTypeError for a name the field does not take."""
    for name in args:
        if spec.parameter(name) is None:
            known = [one.key for one in spec.parameters]
            hint = nearest(name, known) if known else phrase("Write %(written)s.", written=spec.key)
            raise RuleTypeError(
                phrase("%(key)s takes no argument %(name)r.", key=spec.key, name=name), hint=hint, **at(place)
            )
    return tuple((one.key, args[one.key]) for one in spec.parameters if one.key in args)


def _days(field: Field) -> int | None:
    days = field.arg("days")
    return int(days) if isinstance(days, int) else None


def _text(field: Field, name: str) -> str | None:
    value = field.arg(name)
    return None if value is None else str(value)


def _orders(scope: Scope, field: Field) -> Operand:
    days = _days(field)
    return Whole(scope.fact("orders_count") if days is None else scope.orders_within(days)[0])


def _spent(scope: Scope, field: Field) -> Operand:
    days = _days(field)
    if days is None:
        return Whole(scope.fact("spent_minor"), scope.shop.currency)
    return Whole(scope.orders_within(days)[1] - scope.refunds_within(days)[1], scope.shop.currency)


def _refunds(scope: Scope, field: Field) -> Operand:
    days = _days(field)
    return Whole(scope.fact("refunds_count") if days is None else scope.refunds_within(days)[0])


def _since_fact(column: str) -> Callable[[Scope, Field], Operand]:
    return lambda scope, _field: DaysSince(scope.fact_day(column), day_number(scope.as_of))


def _since_joined(scope: Scope, _field: Field) -> Operand:
    return DaysSince(scope.member("joined_on"), day_number(scope.as_of))


def _average(scope: Scope, _field: Field) -> Operand:
    # An order in a currency without a rate is in no sum, so it is in no mean either.
    count = scope.fact("orders_count") - scope.fact("unconverted_orders")
    return Average(scope.fact("gross_minor"), count, scope.shop.currency)


def _told(column: str) -> Callable[[Scope, Field], Operand]:
    return lambda scope, _field: Words(func.nullif(scope.member(column), ""))


def _birthday_month(scope: Scope, _field: Field) -> Operand:
    return Whole(scope.member("birth_md") // 100)


def _tag(scope: Scope, field: Field) -> Operand:
    return Flag(scope.tagged(_text(field, "tag") or ""))


def _bought(scope: Scope, field: Field) -> Operand:
    return Flag(scope.bought(_text(field, "sku"), _text(field, "title"), _days(field)))


def _consents(scope: Scope, field: Field) -> Operand:
    return Flag(scope.consents(_text(field, "channel") or ""))


_DAYS = Parameter("days", int, Text("in the last … days", "最近多少天"))
_CHANNELS = ("email", "sms", "inapp")

FIELDS: dict[str, FieldSpec] = {
    row.key: row
    for row in (
        FieldSpec(
            "orders",
            Kind.NUMBER,
            Text("number of orders", "订单数"),
            Text(
                "Orders that count: not cancelled, failed, draft, test or in the trash. 0 when there is none.",
                "有效订单的数量（不含已取消、失败、草稿、测试和回收站中的订单）。没有订单时为 0。",
            ),
            ("member_facts", "orders"),
            _orders,
            Unit.COUNT,
            (_DAYS,),
        ),
        FieldSpec(
            "spent",
            Kind.NUMBER,
            Text("amount spent", "消费金额"),
            Text(
                "Orders less refunds, in the shop's currency; each counts on its own day. 0 when there is none.",
                "订单金额减去退款，按店铺币种计算，各按发生当天计入。没有时为 0。",
            ),
            ("member_facts", "orders", "refunds"),
            _spent,
            Unit.MONEY,
            (_DAYS,),
        ),
        FieldSpec(
            "refunds",
            Kind.NUMBER,
            Text("number of refunds", "退款次数"),
            Text("Refunds of orders that count. 0 when there is none.", "有效订单的退款次数。没有时为 0。"),
            ("member_facts", "refunds"),
            _refunds,
            Unit.COUNT,
            (_DAYS,),
        ),
        FieldSpec(
            "days_since_order",
            Kind.NUMBER,
            Text("number of days since the last order", "距上次下单的天数"),
            Text("0 on the day of the order. Unknown when there is no order.", "下单当天为 0。没有订单时为未知。"),
            ("member_facts",),
            _since_fact("last_order_on"),
            Unit.DAYS,
        ),
        FieldSpec(
            "days_since_first_order",
            Kind.NUMBER,
            Text("number of days since the first order", "距首次下单的天数"),
            Text("0 on the day of the order. Unknown when there is no order.", "下单当天为 0。没有订单时为未知。"),
            ("member_facts",),
            _since_fact("first_order_on"),
            Unit.DAYS,
        ),
        FieldSpec(
            "days_since_joined",
            Kind.NUMBER,
            Text("number of days since joining", "注册至今的天数"),
            Text("Unknown when the store does not tell.", "店铺未提供时为未知。"),
            ("members",),
            _since_joined,
            Unit.DAYS,
        ),
        FieldSpec(
            "average_order",
            Kind.NUMBER,
            Text("average order value", "平均订单金额"),
            Text(
                "Orders before refunds over their number, in the shop's currency. Unknown when there is no order.",
                "订单总额（未减退款）除以订单数，按店铺币种计算。没有订单时为未知。",
            ),
            ("member_facts",),
            _average,
            Unit.MONEY,
        ),
        FieldSpec(
            "tier",
            Kind.TEXT,
            Text("tier", "会员等级"),
            Text('Key of the level held now; "" is no level.', '当前等级的标识；"" 表示没有等级。'),
            ("member_tiers",),
            lambda scope, _field: Words(scope.tier()),
        ),
        FieldSpec(
            "country",
            Kind.TEXT,
            Text("country", "国家或地区"),
            Text(
                "Two letters of ISO 3166, such as GB. Unknown when empty.",
                "ISO 3166 两位字母代码，例如 CN。为空时为未知。",
            ),
            ("members",),
            _told("country"),
            form=("[A-Z]{2}", phrase('Write the two capital letters of ISO 3166, such as "GB".')),
        ),
        FieldSpec(
            "locale",
            Kind.TEXT,
            Text("language", "语言"),
            Text("Such as en or zh-CN. Unknown when empty.", "例如 en 或 zh-CN。为空时为未知。"),
            ("members",),
            _told("locale"),
        ),
        FieldSpec(
            "birthday_month",
            Kind.NUMBER,
            Text("month of birth", "生日月份"),
            Text("1 to 12. Unknown when no birthday is known.", "1 到 12。生日未知时为未知。"),
            ("members",),
            _birthday_month,
            Unit.MONTH,
            between=(1, 12),
        ),
        FieldSpec(
            "tag",
            Kind.FLAG,
            Text("have the tag “{tag}”", "有标签“{tag}”"),
            Text("Upper and lower case count.", "区分大小写。"),
            ("member_tags",),
            _tag,
            parameters=(Parameter("tag", str, Text("tag", "标签"), positional=True),),
            without=Text("do not have the tag “{tag}”", "没有标签“{tag}”"),
        ),
        FieldSpec(
            "bought",
            Kind.FLAG,
            Text("bought {product}", "购买过{product}"),
            Text(
                "In an order that counts, also when it was given back. Code and title must be the same, letter by letter.",
                "在有效订单中购买过，退货也算。编码和名称须完全一致。",
            ),
            ("orders", "order_lines"),
            _bought,
            parameters=(
                Parameter("sku", str, Text("product code", "商品编码")),
                Parameter("title", str, Text("product title", "商品名称")),
                _DAYS,
            ),
            without=Text("did not buy {product}", "没有购买过{product}"),
            needs_one_of=("sku", "title"),
        ),
        FieldSpec(
            "consents",
            Kind.FLAG,
            Text("agreed to marketing by {channel}", "同意接收{channel}营销信息"),
            Text(
                "Said yes, and nothing else since. False when nothing was ever said.",
                "明确同意且之后没有撤回。从未表态时为否。",
            ),
            ("member_consents",),
            _consents,
            parameters=(Parameter("channel", str, Text("channel", "渠道"), positional=True, choices=_CHANNELS),),
            without=Text("did not agree to marketing by {channel}", "没有同意接收{channel}营销信息"),
        ),
    )
}
