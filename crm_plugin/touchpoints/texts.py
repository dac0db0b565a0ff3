"""Stored texts: finding them, keeping them, and whether a journey can speak with what there is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.store import templates
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.render import CALLED, PARTS, Text, check, render
from crm_plugin.touchpoints.scene import ShopView, sample_scenes

_PARTS = ("subject", "body_text", "body_html", "url")


def text_of(row: Row[Any]) -> Text:
    """A stored row as a text."""
    return Text(
        row.template_key, row.channel, row.locale, row.version, row.subject, row.body_text, row.body_html, row.url
    )


def texts(connection: Connection, shop_id: int, template_key: str | None = None) -> list[Text]:
    """The shop's texts (of one template, where it is named) by template, channel and locale."""
    columns = templates.c
    query = select(templates).where(columns.shop_id == shop_id)
    if template_key is not None:
        query = query.where(columns.template_key == template_key)
    rows = connection.execute(query)
    # Sorted here: the databases do not agree on the order of letters.
    return sorted(map(text_of, rows), key=lambda text: (text.template_key, text.channel, text.locale))


def get_text(connection: Connection, shop_id: int, key: str, channel: str, locale: str) -> Text | None:
    """One text, None when there is none."""
    row = connection.execute(select(templates).where(_at(shop_id, key, channel, locale))).first()
    return None if row is None else text_of(row)


def tidied(text: Text) -> Text:
    """The text with the parts its channel has, one kind of line end and nothing around: a form sent back unchanged changes nothing."""
    had = PARTS.get(text.channel, _PARTS)
    return replace(
        text,
        subject=text.subject.strip() if "subject" in had else "",
        body_text=_lines(text.body_text).strip("\n"),
        body_html=_lines(text.body_html).strip("\n") if "body_html" in had else "",
        url=text.url.strip() if "url" in had else "",
    )


def same(one: Text, other: Text | None) -> bool:
    """Whether two texts read alike, whatever their version."""
    return other is not None and all(getattr(one, name) == getattr(other, name) for name in _PARTS)


def put(connection: Connection, shop_id: int, text: Text, now: datetime) -> Text:
    """Keep a text that has been checked; the version moves only when something changed."""
    text = tidied(text)
    present = get_text(connection, shop_id, text.template_key, text.channel, text.locale)
    if present is not None and same(text, present):
        return present
    kept = replace(text, version=1 if present is None else present.version + 1)
    values: dict[str, Any] = {name: getattr(kept, name) for name in (*_PARTS, "version")}
    where = _at(shop_id, text.template_key, text.channel, text.locale)
    if present is not None:
        connection.execute(update(templates).where(where).values(**values, updated_at=now))
    else:
        add(connection, shop_id, [text], now)
    return kept


def add(connection: Connection, shop_id: int, new: Iterable[Text], now: datetime) -> None:
    """Keep checked texts where there are none yet, as their first versions."""
    rows = [
        {name: getattr(text, name) for name in ("template_key", "channel", "locale", *_PARTS)}
        | {"shop_id": shop_id, "version": 1, "updated_at": now}
        for text in map(tidied, new)
    ]
    if rows:
        connection.execute(templates.insert(), rows)


def drop(connection: Connection, shop_id: int, key: str, channel: str, locale: str) -> bool:
    """Forget a text; False when there was none."""
    return bool(connection.execute(templates.delete().where(_at(shop_id, key, channel, locale))).rowcount)


def check_text(shop: Shop, text: Text, *, with_order: bool, marketing: bool = False) -> None:
    """Refuse a text that could not be rendered for some member of this shop, or is marketing without a way out.

    Raises: InvalidInput.
    """
    policy = policy_of(shop)
    view = ShopView(shop.title, shop.url, policy.address, shop.currency)
    scenes = sample_scenes(policy, view, text.locale, with_order=with_order)
    check(text, scenes, policy.brand)
    if marketing and text.channel == "note":
        # A mail has the link in its frame and head, a phone its STOP, a card is the store's own; the store mails a note as it is.
        told = next(scene for scene in scenes if scene.marketing)
        if told.unsubscribe_url not in render(text, told, policy.brand).text:
            raise InvalidInput(
                phrase(
                    "The note %(key)s (%(locale)s) is marketing and has no way to stop it.",
                    key=text.template_key,
                    locale=text.locale,
                ),
                field="body_text",
                hint=phrase("Put {{ unsubscribe_url }} into it."),
            )


def require(shop: Shop, channels: Iterable[str], written: Iterable[Text], *, with_order: bool, marketing: bool) -> None:
    """Refuse a journey that would run without words: each channel needs a text, each text must do for the trigger and kind.

    Raises: InvalidInput.
    """
    wanted = list(channels)
    there = [text for text in written if text.channel in wanted]
    missing = [channel for channel in wanted if channel not in {text.channel for text in there}]
    if missing:
        raise InvalidInput(
            phrase("The journey has no text for %(channels)s.", channels=[CALLED[one] for one in missing]),
            field="channels",
            hint=phrase("Write one under Journeys, or take the channel out."),
        )
    for text in there:
        check_text(shop, text, with_order=with_order, marketing=marketing)


def _at(shop_id: int, key: str, channel: str, locale: str) -> Any:
    columns = templates.c
    return (
        (columns.shop_id == shop_id)
        & (columns.template_key == key)
        & (columns.channel == channel)
        & (columns.locale == locale)
    )


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
