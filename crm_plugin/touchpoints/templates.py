"""The merchant's texts: read, checked, saved, taken away, and shown as one member would read them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, select

from crm_plugin.birthdays import BEFORE, kept_around
from crm_plugin.clock import local_day
from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.phrases import phrase
from crm_plugin.rules.book import check_key
from crm_plugin.rules.trigger_days import leap_day
from crm_plugin.rules.triggers import BIRTHDAY, LAPSE, kind_of
from crm_plugin.store import orders
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch as batches
from crm_plugin.touchpoints import questions, subjects
from crm_plugin.touchpoints.compose import scene_of
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.render import CALLED, Rendered, Text, check, render
from crm_plugin.touchpoints.scene import JourneyView, Scene, ShopView, sample_scenes
from crm_plugin.touchpoints.settings import read_locale
from crm_plugin.touchpoints.texts import check_text, drop, put, texts, tidied

# Stands in a preview where a message has the member's own link.
SAMPLE_LINK = "https://shop.example/u/sample"
SAMPLE_ANSWER = "https://shop.example/a/sample"


def used_by(connection: Connection, shop_id: int, template_key: str) -> list[Journey]:
    """The journeys that speak with a template, as they do in that step, those that are on first."""
    found = [
        voice
        for journey in all_journeys(connection, shop_id)
        for voice in journey.voices
        if voice.template_key == template_key
    ]
    return sorted(found, key=lambda journey: not journey.enabled)


def save_text(connection: Connection, shop: Shop, text: Text, now: datetime) -> Text:
    """Keep a text in place of what was there; the version moves only when something changed.

    It may speak of an order without asking whether there is one only where every journey that uses it follows a purchase.
    Raises: InvalidInput naming the part, the line and what to write instead; nothing is written then.
    """
    return put(connection, shop.shop_id, checked(connection, shop, text), now)


def checked(connection: Connection, shop: Shop, text: Text) -> Text:
    """The text as `put` may keep it. Nothing is written: who holds other writers off should not be rehearsing texts meanwhile.

    Raises: as `save_text`.
    """
    check_key(text.template_key, "template")
    text = tidied(replace(text, locale=read_locale(text.locale)))
    users = used_by(connection, shop.shop_id, text.template_key)
    marketing = any(journey.kind == "marketing" for journey in users)
    check_text(shop, text, with_order=follow_a_purchase(users), marketing=marketing)
    return text


def follow_a_purchase(users: list[Journey]) -> bool:
    """Whether each of these journeys has an order to speak of."""
    return all(kind_of(journey.trigger).about_order for journey in users)


def remove_text(connection: Connection, shop: Shop, key: str, channel: str, locale: str) -> None:
    """Forget a text. Raises: NotFound; InvalidInput when a journey that is on would be left without words."""
    there = [text for text in texts(connection, shop.shop_id, key) if text.channel == channel]
    if locale not in {text.locale for text in there}:
        raise NotFound(
            phrase(
                "There is no %(channel)s text of %(key)s in %(locale)s.",
                channel=CALLED.get(channel, channel),
                key=key,
                locale=locale,
            )
        )
    for journey in used_by(connection, shop.shop_id, key):
        if journey.enabled and channel in journey.channels and len(there) == 1:
            raise InvalidInput(
                phrase(
                    "The journey %(key)s is on and has no other %(channel)s text.",
                    key=journey.key,
                    channel=CALLED.get(channel, channel),
                ),
                field="locale",
                hint=phrase("Switch the journey off, take the channel out of it, or write another text first."),
            )
    drop(connection, shop.shop_id, key, channel, locale)


def preview(
    connection: Connection,
    shop: Shop,
    text: Text,
    member_id: int | None,
    now: datetime,
    journey: Journey | None = None,
) -> Rendered:
    """The text as one member would read it, saved or not; None is a made-up member of whom all is known.

    Said by that journey, else by the first that speaks with the template.

    Raises: InvalidInput for a text with a mistake, or a member without the order it speaks of; NotFound; RenderError for what
    this member does not have.
    """
    text = tidied(text)
    policy = policy_of(shop)
    check(text, [], policy.brand)
    journey = journey or next(iter(used_by(connection, shop.shop_id, text.template_key)), None)
    if member_id is None:
        scene = _sample(shop, text, journey)
    else:
        scene = _scene(connection, shop, text, journey, member_id, now)
    return render(text, scene, policy.brand)


@dataclass(frozen=True, slots=True)
class _Made:
    """A touchpoint that is only looked at."""

    journey_key: str
    member_id: int
    occasion_on: date
    subject_order_id: int | None = None
    address: str = ""
    # What was raised for the member, if the journey speaks of that.
    occasion: str = ""


def _sample(shop: Shop, text: Text, journey: Journey | None) -> Scene:
    policy = policy_of(shop)
    view = ShopView(shop.title, shop.url, policy.address, shop.currency)
    scene = sample_scenes(policy, view, text.locale, with_order=_speaks_of_orders(journey))[0]
    if journey is None:
        return scene
    marketing = journey.kind == "marketing"
    return replace(
        scene,
        journey=JourneyView(journey.key),
        days=journey.trigger.days,
        marketing=marketing,
        unsubscribe_url=SAMPLE_LINK if marketing else "",
    )


def _scene(
    connection: Connection, shop: Shop, text: Text, journey: Journey | None, member_id: int, now: datetime
) -> Scene:
    today = local_day(now, shop.timezone)
    made = _Made(journey.key if journey else "", member_id, today)
    if _speaks_of_orders(journey):
        made = replace(made, subject_order_id=_last_order(connection, shop.shop_id, member_id))
    if journey is not None and not kind_of(journey.trigger).about_order:
        event = str(journey.trigger.get("event") or "")
        found = subjects.newest(connection, shop.shop_id, member_id, journey.trigger.type, event)
        made = replace(made, occasion=found)
    known = batches.load(connection, shop, [made], now, [text])
    if member_id not in known.members:
        raise NotFound(phrase("That member is no longer here."))
    if journey is not None and kind_of(journey.trigger).about_order and made.subject_order_id is None:
        raise InvalidInput(
            phrase("This member has no order that the message could speak of."),
            field="member_id",
            hint=phrase("Choose a member who has ordered."),
        )
    days = journey.trigger.days if journey else 0
    made = replace(made, occasion_on=_occasion(journey, known, made, today - timedelta(days=days)))
    marketing = journey is None or journey.kind == "marketing"
    link = SAMPLE_LINK if marketing else ""
    scene = scene_of(made, known, shop, policy_of(shop), text.locale, days=days, marketing=marketing, link=link)
    return replace(scene, answers=questions.view(lambda _question, _answer: SAMPLE_ANSWER, text.locale))


def _speaks_of_orders(journey: Journey | None) -> bool:
    return journey is None or kind_of(journey.trigger).about_order


def _last_order(connection: Connection, shop_id: int, member_id: int) -> int | None:
    columns = orders.c
    query = (
        select(columns.order_id)
        .where(columns.shop_id == shop_id, columns.member_id == member_id, columns.counts)
        .order_by(columns.placed_at.desc(), columns.order_id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


def _occasion(journey: Journey | None, known: batches.Batch, made: _Made, usual: date) -> date:
    """The day the message would be about: of the order, the last order, the birthday, a reminder; else the one due today."""
    order = known.orders.get(made.subject_order_id or 0)
    if order is not None:
        placed_on: date = order.placed_on
        return placed_on
    facts = known.facts.get(made.member_id)
    if journey is not None and journey.trigger.type == LAPSE and facts is not None and facts.last_order_on:
        last_on: date = facts.last_order_on
        return last_on
    born = known.members[made.member_id].birth_md
    if journey is not None and journey.trigger.type == BIRTHDAY and born:
        return kept_around(usual, born, leap_day(journey.trigger))
    named = known.subjects.reminder(made.occasion)
    if named is not None:
        return kept_around(usual, named.month_day, BEFORE)
    return usual
