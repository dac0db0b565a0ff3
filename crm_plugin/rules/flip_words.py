"""The ways to another answer in words, in English or Chinese, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from crm_plugin.money import to_major
from crm_plugin.rules import alter
from crm_plugin.rules.alter import Change, Key
from crm_plugin.rules.called import UNNAMED, Called
from crm_plugin.rules.field_words import channel_words, day_words, message_words, product_words, topic_words
from crm_plugin.rules.fields import FIELDS, Text
from crm_plugin.rules.flip import Way
from crm_plugin.rules.nodes import Field, Not
from crm_plugin.rules.text import to_text
from crm_plugin.rules.turning import Turn
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.rules.words import leaf_words


@dataclass(frozen=True, slots=True)
class Manner:
    """How things are said: the language (any but Chinese is English), an amount of minor units, a day, what a shop calls its own."""

    lang: str
    money: Callable[[int], str]
    day: Callable[[date], str]
    by: Called

    @property
    def chinese(self) -> bool:
        return self.lang.lower().startswith("zh")

    def of(self, text: Text) -> str:
        return text.in_language(self.lang)


def manner(lang: str, currency: str, by: Called = UNNAMED) -> Manner:
    """Plain figures and days, as commands and files have them."""
    chinese = lang.lower().startswith("zh")

    def day(one: date) -> str:
        return f"{one.year} 年 {one.month} 月 {one.day} 日" if chinese else day_words(one)

    return Manner(lang, lambda minor: f"{to_major(minor, currency):,} {currency}", day, by)


# What happens, by the kind of a change's key: of one, and of several or of an amount.
_SAID: dict[str, tuple[Text, Text]] = {
    alter.ORDERS: (Text("one more order", "再下 1 单"), Text("{n} more orders", "再下 {n} 单")),
    alter.MINOR: (Text("{n} more in orders", "再消费 {n}"), Text("{n} more in orders", "再消费 {n}")),
    alter.PIECES: (Text("an order of one piece", "下单购买 1 件"), Text("an order of {n} pieces", "下单购买 {n} 件")),
    alter.KINDS: (
        Text("one product not bought before", "购买 1 种未买过的商品"),
        Text("{n} products not bought before", "购买 {n} 种未买过的商品"),
    ),
    alter.COUPONS: (
        Text("one order with a coupon", "用优惠券下 1 单"),
        Text("{n} orders with a coupon", "用优惠券下 {n} 单"),
    ),
    alter.DISCOUNT: (
        Text("an order with {n} of discounts", "下单并享受优惠 {n}"),
        Text("an order with {n} of discounts", "下单并享受优惠 {n}"),
    ),
    alter.TIMES: (Text("an order with {what}", "下单购买{what}"), Text("{n} orders with {what}", "购买{what} {n} 次")),
    alter.BOUGHT_PIECES: (
        Text("one piece of {what}", "购买{what} 1 件"),
        Text("{n} pieces of {what}", "购买{what} {n} 件"),
    ),
    alter.BOUGHT_MINOR: (Text("{n} spent on {what}", "购买{what} {n}"), Text("{n} spent on {what}", "购买{what} {n}")),
    alter.REFUNDS: (Text("one more refund", "再退款 1 次"), Text("{n} more refunds", "再退款 {n} 次")),
    alter.REFUNDED: (Text("{n} given back", "退款 {n}"), Text("{n} given back", "退款 {n}")),
}
_TOGETHER = (
    Text("{orders}, {amount} in all", "{orders}共 {amount}"),
    Text("one more order of {amount}", "再下 1 单 {amount}"),
)
_MESSAGES = {
    "received": (
        Text("one more message received", "再收到 1 条消息"),
        Text("{n} more messages received", "再收到 {n} 条消息"),
    ),
    "opened": (
        Text("one more message opened", "再打开 1 条消息"),
        Text("{n} more messages opened", "再打开 {n} 条消息"),
    ),
    "clicked": (
        Text("one more message clicked", "再点击 1 条消息"),
        Text("{n} more messages clicked", "再点击 {n} 条消息"),
    ),
    "machine_opened": (
        Text("one more message opened by a machine", "再有 1 条消息被机器打开"),
        Text("{n} more messages opened by a machine", "再有 {n} 条消息被机器打开"),
    ),
}
# Of a yes or no: what it is to become.
_SET: dict[str, tuple[Text, Text]] = {
    alter.TAG: (Text("the tag “{0}”", "加上标签“{0}”"), Text("the tag “{0}” taken away", "去掉标签“{0}”")),
    alter.LIST: (
        Text("being put into the segment “{0}”", "加入分群“{0}”"),
        Text("leaving the segment “{0}”", "移出分群“{0}”"),
    ),
    alter.ACCOUNT: (Text("an account in the store", "在店铺注册账户"), Text("", "")),
    alter.SUPPRESSED: (
        Text("the address blocked for {channel}", "地址被禁止发送{channel}"),
        Text("the address no longer blocked for {channel}", "地址不再被禁止发送{channel}"),
    ),
    alter.CONSENT: (
        Text("consent to {topic} by {channel}", "同意接收{channel}{topic}"),
        Text("consent to {topic} by {channel} withdrawn", "撤回对{channel}{topic}的同意"),
    ),
    alter.LEVEL: (Text("the tier “{value}”", "等级变为“{value}”"), Text("losing the tier", "失去等级")),
    alter.TEXT: (Text("{label} “{value}”", "{label}为“{value}”"), Text("", "")),
    alter.ATTRIBUTE: (Text("attribute “{0}” “{value}”", "属性“{0}”为“{value}”"), Text("", "")),
}
# What the member does is said first.
_ORDER = [*_SAID, alter.MESSAGES, *_SET]
_JOINT = Text(" and ", "，并且")
_BY_ITSELF = Text("by itself on {day}: {why}", "{day}自动改变：{why}")
_BY_ITSELF_ALONE = Text("by itself on {day}", "{day}自动改变")
_ENDS, _BEGINS = Text("{what}, by {day}", "在 {day}当天或之前{what}"), Text("{what}, from {day} on", "{day}起{what}")
_BETWEEN = Text("{what}, from {first} to {last}", "在 {first}至 {last}之间{what}")
_LEAVES = {
    "order": Text("the order of {day} leaves the span", "{day}的订单移出统计期"),
    "refund": Text("the refund of {day} leaves the span", "{day}的退款移出统计期"),
    "message": Text("the message of {day} leaves the span", "{day}的消息移出统计期"),
    "event": Text("the event of {day} leaves the span", "{day}的事件移出统计期"),
}


def way_words(way: Way, as_of: date, how: Manner) -> str:
    """One way as the end of a sentence: "one more order, by 9 June 2026"."""
    first = how.day(way.begins)
    if not way.change.settings:
        why = how.of(_JOINT).join(dict.fromkeys(one for turn in way.turned for one in _why(turn, how)))
        return how.of(_BY_ITSELF if why else _BY_ITSELF_ALONE).format(day=first, why=why)
    what = how.of(_JOINT).join(_parts(way.change, how))
    if way.ends is None:
        return what if way.begins == as_of else how.of(_BEGINS).format(what=what, day=first)
    last = how.day(way.ends)
    if way.begins == as_of:
        return how.of(_ENDS).format(what=what, day=last)
    return how.of(_BETWEEN).format(what=what, first=first, last=last)


def _why(turn: Turn, how: Manner) -> Iterator[str]:
    if turn.left:
        for kind, day in turn.left:
            yield how.of(_LEAVES[kind]).format(day=how.day(day))
    elif turn.truth is not None:
        told = leaf_words(turn.leaf if turn.truth else Not(turn.leaf), how.lang, how.by)
        yield told.removeprefix("whose ").removeprefix("who ")


def _parts(change: Change, how: Manner) -> Iterator[str]:
    settings = dict(sorted(change.settings.items(), key=lambda one: _ORDER.index(one[0][0])))
    if (alter.ORDERS,) in settings and (alter.MINOR,) in settings:
        number, amount = settings.pop((alter.ORDERS,)), how.money(int(settings.pop((alter.MINOR,))))
        several, one = _TOGETHER
        orders = how.of(_SAID[alter.ORDERS][1]).format(n=number)
        yield how.of(one if number == 1 else several).format(orders=orders, amount=amount)
    for key, value in settings.items():
        yield _part(key, value, how)


def _part(key: Key, value: Any, how: Manner) -> str:
    kind = key[0]
    if kind in _SAID:
        number = how.money(value) if kind in alter.AMOUNTS else f"{value:,}"
        what = product_words(Field("bought", key[1:]), how.chinese) if len(key) > 1 else ""
        return how.of(_SAID[kind][value != 1]).format(n=number, what=what)
    if kind == alter.MESSAGES:
        asked = Field(key[1], tuple(zip(("channel", "journey"), key[2:], strict=True)))
        return how.of(_MESSAGES[key[1]][value != 1]).format(n=value) + message_words(asked, how.chinese, how.by)
    channel, topic = "", ""
    if kind in (alter.SUPPRESSED, alter.CONSENT):
        asked = Field("consents", tuple(zip(("channel", "topic"), key[1:], strict=False)))
        channel, topic = channel_words(asked, how.chinese), topic_words(asked, how.chinese)
    label = how.of(FIELDS[key[1]].label) if kind == alter.TEXT else ""
    becomes, loses = _SET[kind]
    told = how.of(loses if value in (False, "", "withdrawn") else becomes)
    of, name = [str(one) for one in key[1:]], value
    if kind == alter.LEVEL:
        name = how.by.level(of[0], str(value), how.chinese)
    elif kind == alter.LIST:
        of = [how.by.segment(of[0])]
    said = told.format(*of, value=name, channel=channel, topic=topic, label=label)
    if kind == alter.LEVEL and key[1] != PROGRAM:
        program = how.by.program(of[0], how.chinese)
        return f"“{program}”{said}" if how.chinese else f"{said} of “{program}”"
    return said


def as_dict(way: Way, as_of: date, currency: str, by: Called = UNNAMED) -> dict[str, Any]:
    """For `--json`: amounts as text in the shop's currency; what it takes, or why it turns by itself, and when."""
    told: dict[str, Any] = {
        "by_itself": not way.change.settings,
        "from": way.begins.isoformat(),
        "until": None if way.ends is None else way.ends.isoformat(),
        "words": {lang: way_words(way, as_of, manner(lang, currency, by)) for lang in ("en", "zh")},
    }
    told["changes"] = [
        {
            "what": key[0],
            "of": _of(key),
            "value": str(to_major(int(value), currency)) if key[0] in alter.AMOUNTS else value,
        }
        for key, value in way.change.settings.items()
    ]
    told["because"] = [_because(turn) for turn in way.turned]
    return told


def _of(key: Key) -> list[Any]:
    return [list(one) if isinstance(one, tuple) else one for one in key[1:]]


def _because(turn: Turn) -> dict[str, Any]:
    left = [{"what": kind, "on": day.isoformat()} for kind, day in turn.left]
    return {"condition": to_text(turn.leaf), "truth": turn.truth, "left": left}
