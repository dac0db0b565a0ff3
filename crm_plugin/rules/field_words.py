"""A field and its values in words, in English or Simplified Chinese: what it is, which products or messages, over which days."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from crm_plugin.rules.called import UNNAMED, Called
from crm_plugin.rules.catalogue.common import BETWEEN, CHANNEL_NAMES
from crm_plugin.rules.fields import FIELDS, Kind, Text, Unit
from crm_plugin.rules.nodes import Field, Value
from crm_plugin.rules.windows import PROGRAM, TIER, window_of

# Fields whose value is the key of a level.
_OF_LEVELS = frozenset({"tier", "tier_next"})
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def field_words(field: Field, lang: str, by: Called = UNNAMED) -> str:
    """A field with its arguments and its span of days."""
    return name_of(field, lang.lower().startswith("zh"), by)


def value_words(field: Field, value: Value, lang: str, by: Called = UNNAMED) -> str:
    """A field's value as `words` says it, texts in quotes."""
    return value_of(field, value, lang.lower().startswith("zh"), by)


def name_of(field: Field, chinese: bool, by: Called) -> str:
    """A field with its arguments and its span of days."""
    label = filled(FIELDS[field.key].label, field, chinese, by)
    span = span_of(field, chinese)
    if chinese:
        return f"{span}{label}" if span else label
    return f"{label} {span}" if span else label


def filled(template: Text, field: Field, chinese: bool, by: Called) -> str:
    """A label with the arguments in their places."""
    text = template.zh if chinese else template.en
    if "{" in text:
        text = text.format(
            tag=field.arg("tag"),
            name=field.arg("name"),
            event=field.arg("event"),
            segment=by.segment(str(field.arg("segment"))),
            channel=channel_words(field, chinese),
            topic=topic_words(field, chinese),
            product=product_words(field, chinese),
            messages=message_words(field, chinese, by),
        )
    program = field.arg("program")
    if program is not None and program != PROGRAM:
        name = by.program(str(program), chinese)
        if FIELDS[field.key].kind is Kind.FLAG or field.key == "tier_ends_in":
            # What ends in a verb has no "of".
            text = f"在“{name}”中{text}" if chinese else f"{text} in “{name}”"
        else:
            text = f"“{name}”{text}" if chinese else f"{text} of “{name}”"
    within = field.arg("within")
    if within is not None:
        text = f"{within} 天内{text}" if chinese else f"{text} within {'a day' if within == 1 else _days(int(within))}"
    return text


def channel_words(field: Field, chinese: bool) -> str:
    """A field's channel; empty for none."""
    channel = CHANNEL_NAMES.get(str(field.arg("channel")))
    return "" if channel is None else channel.zh if chinese else channel.en


def topic_words(field: Field, chinese: bool) -> str:
    """What a consent is about."""
    topic = field.arg("topic")
    if topic is None or topic == "marketing":
        return "营销信息" if chinese else "marketing"
    return f"“{topic}”信息" if chinese else f"“{topic}”"


def message_words(field: Field, chinese: bool, by: Called = UNNAMED) -> str:
    """Which messages are meant; empty for all."""
    channel, journey = channel_words(field, chinese), by.journey(str(field.arg("journey") or ""), chinese)
    if chinese:
        parts = ([f"渠道：{channel}"] if channel else []) + ([f"旅程：“{journey}”"] if journey else [])
        return f"（{'，'.join(parts)}）" if parts else ""
    return (f" by {channel}" if channel else "") + (f" from the journey “{journey}”" if journey else "")


def product_words(field: Field, chinese: bool) -> str:
    """The product that a field asks for, by whatever it is named."""
    title, sku = field.arg("title"), field.arg("sku")
    product, category = field.arg("product"), field.arg("category")
    if field.arg("skus") is not None or field.arg("categories") is not None:
        return _products(field, chinese)
    named = "" if title is None else f"“{title}”"
    if chinese:
        of = "" if category is None else f"“{category}”类"
        coded = "" if sku is None else f"（编码 {sku}）"
        numbered = "" if product is None else f"（编号 {product}）"
        return f"{of}商品{named}{coded}{numbered}"
    what = "the product" if any(one is not None for one in (title, sku, product)) else "anything"
    coded = "" if sku is None else f"(code {sku})"
    numbered = "" if product is None else f"(id {product})"
    of = "" if category is None else f"in “{category}”"
    return " ".join(part for part in (what, named, coded, numbered, of) if part)


def _products(field: Field, chinese: bool) -> str:
    """Products told by lists of codes and categories."""
    skus, categories = (str(field.arg(name) or "").split(BETWEEN) for name in ("skus", "categories"))
    coded, of = listed(skus, chinese), listed([f"“{one}”" for one in categories], chinese)
    if chinese:
        parts = ([f"编码 {coded} 的商品"] if skus != [""] else []) + ([f"{of}类商品"] if categories != [""] else [])
        return "或".join(parts)
    parts = ([f"products with code {coded}"] if skus != [""] else []) + ([f"in {of}"] if categories != [""] else [])
    return " or ".join(parts) if skus != [""] else f"products {parts[0]}"


_ANCHORS = {
    "first_order": Text("the first order", "首次下单"),
    "joined": Text("joining", "注册"),
    "tier": Text("the tier was reached", "达到当前等级"),
    "year": Text("1 January", "今年 1 月 1 日"),
    "month": Text("the first of the month", "本月 1 日"),
}


def span_of(field: Field, chinese: bool) -> str:
    """The window of a field; empty for all there ever was."""
    window = window_of(field)
    if window is None:
        return ""
    if window.since:
        anchor = _ANCHORS[window.since].in_language("zh" if chinese else "en")
        if window.days is None:
            return f"自{anchor}以来的" if chinese else f"since {anchor}"
        if chinese:
            return f"自{anchor}起 {window.days} 天内的"
        begins = "the day the tier was reached" if window.since == TIER else anchor
        return f"in the first {_days(window.days)} from {begins} on"
    if window.days is not None:
        return f"近 {window.days} 天" if chinese else f"in the last {_days(window.days)}"
    if chinese:
        first = "" if window.from_day is None else f"{window.from_day.isoformat()} 起"
        last = "" if window.to_day is None else f"至 {window.to_day.isoformat()} "
        return f"{first}{last}".strip() + "的"
    return " ".join(
        part
        for part in (
            "" if window.from_day is None else f"from {day_words(window.from_day)}",
            "" if window.to_day is None else f"up to {day_words(window.to_day)}",
        )
        if part
    )


def _days(days: int) -> str:
    return "day" if days == 1 else f"{days} days"


def day_words(day: date) -> str:
    """A day in English."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def value_of(field: Field, value: Value, chinese: bool, by: Called) -> str:
    """A field's value: texts in quotes, amounts as the shop writes them."""
    spec = FIELDS[field.key]
    if spec.kind is Kind.TEXT:
        if value == "":
            return "无" if chinese else "none"
        return f"“{text_words(field, str(value), chinese, by)}”"
    if field.key == "birthday_month" and isinstance(value, int):
        return f"{value} 月" if chinese else _MONTHS[value - 1]
    assert not isinstance(value, str)
    return by.amount(figure(value)) if spec.unit is Unit.MONEY else figure(value)


def text_words(field: Field, text: str, chinese: bool, by: Called) -> str:
    """A field's text as it is called: a level by its name."""
    return by.level(str(field.arg("program") or PROGRAM), text, chinese) if field.key in _OF_LEVELS else text


def figure(value: int | Decimal) -> str:
    """A number with commas between thousands."""
    return f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"


def listed(values: list[str], chinese: bool) -> str:
    """One or more values, "or" before the last."""
    if chinese:
        return "、".join(values[:-1]) + ("或" if len(values) > 1 else "") + values[-1]
    return ", ".join(values[:-1]) + (" or " if len(values) > 1 else "") + values[-1]


def spaced(value: str) -> str:
    """What follows Chinese characters: figures stand apart from them, quoted words do not."""
    return f" {value}" if value[0].isdigit() or value[0] == "-" else value
