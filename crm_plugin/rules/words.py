"""A rule as one sentence, in English or Simplified Chinese, made from the catalogues."""

from __future__ import annotations

from decimal import Decimal

from crm_plugin.rules.fields import FIELDS, Kind, Text
from crm_plugin.rules.nodes import And, Compare, Everyone, Field, Holds, Leaf, Membership, Node, Not, Or, Value
from crm_plugin.rules.operators import OPERATORS

_CHANNELS = {"email": Text("e-mail", "邮件"), "sms": Text("SMS", "短信"), "inapp": Text("in-app message", "站内消息")}
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def words(node: Node, lang: str) -> str:
    """The rule as a sentence without a full stop: "members whose … and who …". Any language but Chinese gives English."""
    chinese = lang.lower().startswith("zh")
    if isinstance(node, Everyone):
        return "所有会员" if chinese else "all members"
    said = _say(node, chinese, negated=False)
    if chinese:
        return f"{said} 的会员" if said[-1].isdigit() else f"{said}的会员"
    return f"members {said}"


def leaf_words(leaf: Leaf | Not, lang: str) -> str:
    """One condition alone, or its opposite, as `words` says it inside its sentence."""
    return _say(leaf, lang.lower().startswith("zh"), negated=False)


def _say(node: Node, chinese: bool, *, negated: bool) -> str:
    if isinstance(node, Not):
        return _say(node.item, chinese, negated=not negated)
    if isinstance(node, And | Or):
        # De Morgan's laws hold for unknown too, so "not" can go inside, where it reads well.
        together = isinstance(node, And) != negated
        if chinese:
            joint = "，并且" if together else "，或者"
        else:
            joint = " and " if together else " or "
        return joint.join(_part(item, chinese, negated) for item in node.items)
    if isinstance(node, Holds):
        return _flag(node.field, chinese, negated)
    if isinstance(node, Everyone):
        if chinese:
            return "不存在" if negated else "不限"
        return "who are nobody" if negated else "whoever they are"
    if isinstance(node, Compare):
        operator = OPERATORS[OPERATORS[node.op].negated if negated else node.op]
        phrase = operator.zh if chinese else operator.en
        return _whose(node.field, phrase, _value(node.field, node.value, chinese), chinese)
    assert isinstance(node, Membership)
    values = _list([_value(node.field, value, chinese) for value in node.values], chinese)
    excluded = node.negated != negated
    if chinese:
        return _whose(node.field, "不为" if excluded else "为", values, chinese)
    return _whose(node.field, "is not" if excluded else "is", values, chinese)


def _part(item: Node, chinese: bool, negated: bool) -> str:
    said = _say(item, chinese, negated=negated)
    inner = item
    while isinstance(inner, Not):
        inner = inner.item
    if not isinstance(inner, And | Or):
        return said
    return f"（{said}）" if chinese else f"({said})"


def _whose(field: Field, phrase: str, value: str, chinese: bool) -> str:
    name, days = FIELDS[field.key].label, field.arg("days")
    if chinese:
        window = "" if days is None else f"近 {days} 天"
        return f"{window}{name.zh}{phrase}{_spaced(value)}"
    window = "" if days is None else f" {_last(days)}"
    return f"whose {name.en}{window} {phrase} {value}"


def _flag(field: Field, chinese: bool, negated: bool) -> str:
    spec = FIELDS[field.key]
    template = spec.without if negated else spec.label
    said = (template.zh if chinese else template.en).format(
        tag=field.arg("tag"), channel=_channel(field, chinese), product=_product(field, chinese)
    )
    days = field.arg("days")
    if chinese:
        return said if days is None else f"近 {days} 天{said}"
    return f"who {said}" if days is None else f"who {said} {_last(days)}"


def _channel(field: Field, chinese: bool) -> str:
    channel = _CHANNELS.get(str(field.arg("channel")))
    return "" if channel is None else channel.zh if chinese else channel.en


def _product(field: Field, chinese: bool) -> str:
    sku, title = field.arg("sku"), field.arg("title")
    named = "" if title is None else f"“{title}”"
    coded = "" if sku is None else f"（编码 {sku}）" if chinese else f"(code {sku})"
    if chinese:
        return f"商品{named}{coded}"
    return " ".join(part for part in ("the product", named, coded) if part)


def _value(field: Field, value: Value, chinese: bool) -> str:
    spec = FIELDS[field.key]
    if spec.kind is Kind.TEXT:
        if value == "":
            return "无" if chinese else "none"
        return f"“{value}”"
    if field.key == "birthday_month" and isinstance(value, int):
        return f"{value} 月" if chinese else _MONTHS[value - 1]
    return f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"


def _list(values: list[str], chinese: bool) -> str:
    if chinese:
        return "、".join(values[:-1]) + ("或" if len(values) > 1 else "") + values[-1]
    return ", ".join(values[:-1]) + (" or " if len(values) > 1 else "") + values[-1]


def _last(days: Value) -> str:
    return "in the last day" if days == 1 else f"in the last {days} days"


def _spaced(value: str) -> str:
    # Figures stand apart from Chinese characters, quoted words do not.
    return f" {value}" if value[0].isdigit() or value[0] == "-" else value
