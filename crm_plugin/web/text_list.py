"""The texts of a journey, channel by channel: which languages there are, what is missing, what is still the recipe's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from crm_plugin.errors import CrmError
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journey import CHANNELS, Journey
from crm_plugin.touchpoints.locales import choose_locale
from crm_plugin.touchpoints.recipes import shipped_texts
from crm_plugin.touchpoints.render import Text
from crm_plugin.touchpoints.templates import preview
from crm_plugin.touchpoints.texts import same, texts
from crm_plugin.web import languages
from crm_plugin.web.labels import channel_name


@dataclass(frozen=True, slots=True)
class Written:
    """One text; `own` when it is not, or no longer, the recipe's."""

    locale: str
    language: str
    first_words: str
    own: bool


@dataclass(frozen=True, slots=True)
class Channel:
    """The texts of one channel. `used` says whether the journey speaks through it; `more` are languages that could be added."""

    key: str
    name: Any
    used: bool
    texts: tuple[Written, ...]
    more: tuple[tuple[str, str], ...]
    # The text a new language begins with a copy of.
    source: str


def channels_of(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> list[Channel]:
    """The channels the journey uses, in its order, then those that only have texts."""
    there = texts(connection, shop.shop_id, journey.template_key)
    written = {text.channel for text in there}
    keys = [*journey.channels, *(key for key in CHANNELS if key in written and key not in journey.channels)]
    shown = [(text, first_words(connection, shop, text, now)) for text in there]
    return [_channel(key, journey, shop, [one for one in shown if one[0].channel == key]) for key in keys]


def recipe_text(key: str, channel: str, locale: str) -> Text | None:
    """The recipe's own text; None where no recipe has one."""
    found = shipped_texts(key)
    return next((text for text in found if text.channel == channel and text.locale == locale), None)


def first_words(connection: Connection, shop: Shop, text: Text, now: datetime) -> str:
    """What tells a text apart in a list: how it begins for a made-up member; as it was written when it cannot be shown."""
    try:
        made = preview(connection, shop, text, None, now)
        told = made.subject or made.text
    except CrmError:
        told = text.subject or text.body_text
    told = " ".join(told.split())
    return told if len(told) <= 90 else f"{told[:89]}…"


def _channel(key: str, journey: Journey, shop: Shop, there: list[tuple[Text, str]]) -> Channel:
    taken = {text.locale for text, _begins in there}
    return Channel(
        key=key,
        name=channel_name(key),
        used=key in journey.channels,
        texts=tuple(_written(text, begins) for text, begins in there),
        more=tuple(one for one in languages.choices("") if one[0] not in taken),
        source=choose_locale(shop.locale, taken, "en"),
    )


def _written(text: Text, begins: str) -> Written:
    recipe = recipe_text(text.template_key, text.channel, text.locale)
    return Written(text.locale, languages.name(text.locale), begins, not same(text, recipe))
