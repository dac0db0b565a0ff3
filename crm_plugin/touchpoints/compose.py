"""From a claimed touchpoint to the message that leaves: choose the language, set the scene, render."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Row

from crm_plugin.errors import NoTemplate
from crm_plugin.phrases import phrase
from crm_plugin.records import Message
from crm_plugin.rules.trigger_rhythm import REFILL
from crm_plugin.store.members import full_name
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import questions, tokens
from crm_plugin.touchpoints.batch import Batch, Subject
from crm_plugin.touchpoints.journey import WEBHOOK, Journey
from crm_plugin.touchpoints.locales import choose_locale
from crm_plugin.touchpoints.policy import Policy
from crm_plugin.touchpoints.reach import CONSENT_CHANNEL
from crm_plugin.touchpoints.render import CALLED, Rendered, names_in, render
from crm_plugin.touchpoints.scene import (
    CouponView,
    JourneyView,
    LineView,
    MemberView,
    OrderView,
    Scene,
    ShopView,
    TierView,
    full_years,
    pieces,
)
from crm_plugin.touchpoints.steps.document import walk
from crm_plugin.touchpoints.steps.kinds import CALL_EVENT, TOLD


def key_of(row: Row[Any]) -> str:
    """The touchpoint's key as one text, stable over retries."""
    return f"{row.journey_key}:{row.member_id}:{row.step}:{row.occasion}"


def compose(
    row: Row[Any], batch: Batch, shop: Shop, policy: Policy, box: SecretBox, public_url: str
) -> tuple[Message, Rendered]:
    """The message of a touchpoint that the gate let through. Raises: RenderError, NoTemplate."""
    journey = batch.journey_of(row)
    assert journey is not None
    if row.channel == WEBHOOK:
        return _call(row, batch, journey)
    member = batch.members[row.member_id]
    texts = batch.texts.get((journey.template_key, row.channel), {})
    locale = choose_locale(member.locale, texts, shop.locale)
    if not locale:
        raise NoTemplate(
            phrase(
                "There is no %(channel)s text for %(key)s.",
                channel=CALLED.get(row.channel, row.channel),
                key=journey.key,
            ),
            template=journey.template_key,
            hint=phrase("Write one under Journeys."),
        )
    link = _unsubscribe_link(row, journey, box, public_url)
    marketing = journey.kind == "marketing"
    scene = scene_of(row, batch, shop, policy, locale, days=journey.trigger.days, marketing=marketing, link=link)
    if public_url and "answers" in names_in(texts[locale]):
        scene = replace(scene, answers=questions.view(_answering(row, box, public_url), locale))
    made = render(texts[locale], scene, policy.brand)
    order = batch.orders.get(row.subject_order_id)
    message = Message(
        channel=row.channel,
        to=row.address,
        touchpoint_key=key_of(row),
        text=made.text,
        subject=made.subject,
        html=made.html,
        to_name=full_name(member.first_name, member.last_name),
        locale=locale,
        sender_name=policy.sender_name,
        unsubscribe_url=link if row.channel == "email" else "",
        url=made.url or (policy.cta_url if row.channel == "inapp" else ""),
        expires_at=row.valid_until,
        member_external_id=member.external_id or "",
        order_external_id=order.external_id if order is not None else "",
        marketing=marketing,
    )
    return message, made


def _call(row: Row[Any], batch: Batch, journey: Journey) -> tuple[Message, Rendered]:
    """What another system is told of a member who came to the step; by ids alone, for it has what it needs to know."""
    member, order = batch.members[row.member_id], batch.orders.get(row.subject_order_id or 0)
    step = next(one for one in walk(journey.flow.steps) if one.key == journey.step_key)
    known = {
        "occasion": batch.occasion_of(row),
        "member": {"id": str(row.member_id), "external_id": member.external_id or ""},
        "order": None if order is None else order.external_id,
        "coupon": batch.coupons.get((row.journey_key, row.member_id, row.occasion)),
    }
    told = {
        "event": step.told.get("event", CALL_EVENT),
        "journey": journey.key,
        "version": row.journey_version,
        "step": journey.step_key,
        **{name: known[name] for name in TOLD if name in step.told.get("fields", TOLD)},
        "body": step.told["body"],
    }
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    message = Message(WEBHOOK, step.told["url"], key_of(row), text, marketing=False, expires_at=row.valid_until)
    return message, Rendered("", step.told["url"], text)


def _unsubscribe_link(row: Row[Any], journey: Journey, box: SecretBox, public_url: str) -> str:
    if journey.kind != "marketing" or not public_url or row.channel == "inapp":
        return ""
    about = tokens.Unsubscribe(
        row.shop_id, row.member_id, CONSENT_CHANNEL[row.channel], journey.topic, row.touchpoint_id
    )
    return f"{public_url}/u/{tokens.unsubscribe(box, about)}"


def _answering(row: Row[Any], box: SecretBox, public_url: str) -> Callable[[str, str], str]:
    def link(question: str, answer: str) -> str:
        told = tokens.Answered(row.shop_id, row.member_id, question, answer, row.touchpoint_id)
        return f"{public_url}/a/{tokens.answer(box, told)}"

    return link


def scene_of(
    row: Subject,
    batch: Batch,
    shop: Shop,
    policy: Policy,
    locale: str,
    *,
    days: int = 0,
    marketing: bool = True,
    link: str = "",
) -> Scene:
    """What a text may know when it speaks of this touchpoint; `days` is the trigger's, `link` the way to unsubscribe."""
    tier = batch.levels[batch.program_of(row)].view(row.member_id, shop.currency, locale)
    order, occasion = _order(row, batch, locale), batch.occasion_of(row)
    return Scene(
        member=_member(row, batch, shop, tier, locale),
        shop=ShopView(shop.title, shop.url, policy.address, shop.currency),
        journey=JourneyView(row.journey_key),
        locale=locale,
        occasion=row.occasion_on,
        days=days,
        order=order,
        product=_product(row, batch, order),
        event=batch.subjects.event(occasion, shop, locale),
        checkout=batch.subjects.checkout(occasion, shop, locale),
        gift=batch.subjects.gift(occasion, row.occasion_on),
        coupon=_coupon(row, batch),
        tier=tier,
        marketing=marketing,
        unsubscribe_url=link,
        cta_url=policy.cta_url,
    )


def _member(row: Subject, batch: Batch, shop: Shop, tier: TierView, locale: str) -> MemberView:
    member, facts = batch.members[row.member_id], batch.facts.get(row.member_id)
    last_on = facts.last_order_on if facts else None
    return MemberView(
        member.first_name,
        member.last_name,
        member.email,
        tier.title,
        facts.orders_count if facts else 0,
        facts.spent_minor if facts else 0,
        shop.currency,
        locale,
        days_since_order=(batch.today - last_on).days if last_on else None,
        joined_on=member.joined_on,
        years=full_years(member.joined_on, row.occasion_on),
    )


def _order(row: Subject, batch: Batch, locale: str) -> OrderView | None:
    order = batch.orders.get(row.subject_order_id or 0)
    if order is None:
        return None
    lines = tuple(
        LineView(
            line.title,
            pieces(line.quantity),
            batch.pages.get(line.product_external_id, ""),
        )
        for line in batch.lines[order.order_id]
    )
    told = (order.attributes.get(name) for name in ("tracking_number", "tracking_carrier", "tracking_url"))
    parcel = (one if isinstance(one, str) else "" for one in told)
    return OrderView(order.number, order.placed_on, lines, order.total_minor, order.currency, locale, *parcel)


def _coupon(row: Subject, batch: Batch) -> CouponView | None:
    code = batch.coupons.get((row.journey_key, row.member_id, getattr(row, "occasion", "")))
    return CouponView(code) if code else None


def _product(row: Subject, batch: Batch, order: OrderView | None) -> LineView | None:
    """What runs out, where the message is about that; else what the order was about most: its dearest line that has a name."""
    lines = batch.lines.get(row.subject_order_id or 0, [])
    kind, _, rest = batch.occasion_of(row).partition(":")
    if order is not None and kind == REFILL:
        return next(
            (order.lines[place] for place, line in enumerate(lines) if line.sku == rest.partition(":")[2]), None
        )
    if order is None:
        return None
    named = [(line.total_minor, -place) for place, line in enumerate(lines) if line.title]
    return order.lines[-max(named)[1]] if named else None
