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
from crm_plugin.touchpoints.prefilled import Common, Prefilled, prefilled
from crm_plugin.touchpoints.reach import CONSENT_CHANNEL
from crm_plugin.touchpoints.render import CALLED, Rendered, names_in, render
from crm_plugin.touchpoints.scene import (
    NO_ANSWERS,
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

# Compiling a text for one journey costs as much as it spares with about a hundred messages; it is kept for later rounds.
ENOUGH = 50


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
    words = _words(row, journey, batch, shop, policy)
    link = _unsubscribe_link(row, journey, box, public_url)
    made = _rendered(row, words, batch, shop, policy, box, public_url, link)
    order = batch.orders.get(row.subject_order_id)
    message = Message(
        channel=row.channel,
        to=row.address,
        touchpoint_key=key_of(row),
        text=made.text,
        subject=made.subject,
        html=made.html,
        to_name=full_name(member.first_name, member.last_name),
        locale=made.locale,
        sender_name=policy.sender_name,
        unsubscribe_url=link if row.channel == "email" else "",
        url=made.url or (policy.cta_url if row.channel == "inapp" else ""),
        expires_at=row.valid_until,
        member_external_id=member.external_id or "",
        order_external_id=order.external_id if order is not None else "",
        marketing=words.common.marketing,
    )
    return message, made


def _rendered(
    row: Row[Any],
    words: Prefilled,
    batch: Batch,
    shop: Shop,
    policy: Policy,
    box: SecretBox,
    public_url: str,
    link: str,
) -> Rendered:
    """The text for its reader, of whom only what it asks for is looked up. Raises: RenderError."""
    common, answers = words.common, NO_ANSWERS
    if public_url and "answers" in words.asked:
        answers = questions.view(_answering(row, box, public_url), common.locale)
    if words.parts:
        told = {name: _TOLD[name](row, batch, shop, common.locale) for name in words.asked if name in _TOLD}
        if (made := words.fill({**told, "answers": answers, "unsubscribe_url": link})) is not None:
            return made
    days, marketing = common.days, common.marketing
    scene = scene_of(row, batch, shop, policy, common.locale, days=days, marketing=marketing, link=link)
    return render(words.text, replace(scene, answers=answers), policy.brand)


def _words(row: Row[Any], journey: Journey, batch: Batch, shop: Shop, policy: Policy) -> Prefilled:
    """The journey's text in the language nearest to the member's; looked for once in a batch. Raises: NoTemplate."""
    wanted = batch.members[row.member_id].locale
    place = (journey.name, row.channel, wanted)
    if place not in batch.words:
        texts = batch.texts.get((journey.template_key, row.channel), {})
        locale = choose_locale(wanted, texts, shop.locale)
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
        marketing = journey.kind == "marketing"
        common = _common(journey.key, shop, policy, locale, journey.trigger.days, marketing)
        if len(batch.members) < ENOUGH:
            batch.words[place] = Prefilled(texts[locale], common, names_in(texts[locale]))
        else:
            batch.words[place] = prefilled(texts[locale], common, policy.brand)
    return batch.words[place]


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
    common = _common(row.journey_key, shop, policy, locale, days, marketing)
    told = {name: tell(row, batch, shop, locale) for name, tell in _TOLD.items()}
    return Scene(**common.names(), **told, unsubscribe_url=link)


def _common(key: str, shop: Shop, policy: Policy, locale: str, days: int, marketing: bool) -> Common:
    view = ShopView(shop.title, shop.url, policy.address, shop.currency)
    return Common(view, JourneyView(key), locale, days, marketing, policy.cta_url)


def _member(row: Subject, batch: Batch, shop: Shop, locale: str) -> MemberView:
    member, facts = batch.members[row.member_id], batch.facts.get(row.member_id)
    last_on = facts.last_order_on if facts else None
    return MemberView(
        member.first_name,
        member.last_name,
        member.email,
        batch.levels[batch.program_of(row)].held_by(row.member_id, locale),
        facts.orders_count if facts else 0,
        facts.spent_minor if facts else 0,
        shop.currency,
        locale,
        days_since_order=(batch.today - last_on).days if last_on else None,
        joined_on=member.joined_on,
        years=full_years(member.joined_on, row.occasion_on),
    )


def _order(row: Subject, batch: Batch, _shop: Shop, locale: str) -> OrderView | None:
    order = batch.orders.get(row.subject_order_id or 0)
    if order is None:
        return None
    lines = tuple(_line(line, batch) for line in batch.lines[order.order_id])
    told = (order.attributes.get(name) for name in ("tracking_number", "tracking_carrier", "tracking_url"))
    parcel = (one if isinstance(one, str) else "" for one in told)
    return OrderView(order.number, order.placed_on, lines, order.total_minor, order.currency, locale, *parcel)


def _line(line: Row[Any], batch: Batch) -> LineView:
    return LineView(line.title, pieces(line.quantity), batch.pages.get(line.product_external_id, ""))


def _coupon(row: Subject, batch: Batch, _shop: Shop, _locale: str) -> CouponView | None:
    code = batch.coupons.get((row.journey_key, row.member_id, getattr(row, "occasion", "")))
    return CouponView(code, batch.coupon_ends.get(code)) if code else None


def _product(row: Subject, batch: Batch, _shop: Shop, _locale: str) -> LineView | None:
    """What runs out, where the message is about that; else what the order was about most: its dearest line that has a name."""
    order = batch.orders.get(row.subject_order_id or 0)
    if order is None:
        return None
    lines = batch.lines[order.order_id]
    kind, _, rest = batch.occasion_of(row).partition(":")
    if kind == REFILL:
        found = next((line for line in lines if line.sku == rest.partition(":")[2]), None)
    else:
        # Of several that cost as much the first.
        found = max((line for line in lines if line.title), key=lambda line: line.total_minor, default=None)
    return None if found is None else _line(found, batch)


def _tier(row: Subject, batch: Batch, shop: Shop, locale: str) -> TierView:
    return batch.levels[batch.program_of(row)].view(row.member_id, shop.currency, locale)


# What a text may know of its reader, by name, and how it is found.
_TOLD: dict[str, Callable[[Any, Batch, Shop, str], Any]] = {
    "member": _member,
    "occasion": lambda row, _batch, _shop, _locale: row.occasion_on,
    "order": _order,
    "product": _product,
    "tier": _tier,
    "event": lambda row, batch, shop, locale: batch.subjects.event(batch.occasion_of(row), shop, locale),
    "checkout": lambda row, batch, shop, locale: batch.subjects.checkout(batch.occasion_of(row), shop, locale),
    "gift": lambda row, batch, _shop, _locale: batch.subjects.gift(batch.occasion_of(row), row.occasion_on),
    "coupon": _coupon,
}
