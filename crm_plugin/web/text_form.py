"""A text as a form, what is wrong with it at its field, and for whom it is shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from flask import request
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import Connection

from crm_plugin.adapters.channels.base import SmsSize, sms_size
from crm_plugin.analytics.members import MemberRow, search
from crm_plugin.errors import CrmError, InvalidInput
from crm_plugin.phrases import Phrase
from crm_plugin.rules.triggers import kind_of
from crm_plugin.store.members import names_of
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import lint, templates
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.outlook import newest_match
from crm_plugin.touchpoints.render import PARTS, Rendered, Text
from crm_plugin.web.forms import Form, as_whole
from crm_plugin.web.i18n import in_words
from crm_plugin.web.languages import sentences

# As many are offered when several members fit what was typed.
OFFERED = 6


@dataclass(frozen=True, slots=True)
class Reader:
    """The member a text is shown for; None is a made-up one. `others` fit what was typed too."""

    member_id: int | None
    name: str
    problem: str = ""
    others: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A text as its reader will see it, or why it cannot be shown; `warnings` say what is unwise in it."""

    made: Rendered | None
    problem: str = ""
    size: SmsSize | None = None
    warnings: tuple[str, ...] = ()


def filled(text: Text) -> Form:
    """The form of a text."""
    return Form({**text.parts(), "member": "", "who": "", "to": ""})


def read(form: Form, key: str, channel: str, locale: str) -> Text:
    """The text that the form holds; only the parts its channel has."""
    parts: dict[str, Any] = {name: form.text(name) for name in PARTS[channel]}
    return replace(Text(key, channel, locale), **parts)


def posted() -> Form:
    """The form as it was sent; a member who was picked out of several counts more than the one shown before."""
    form = Form.posted(defaults={"member": "", "who": "", "to": ""})
    if request.form.get("pick"):
        form.values |= {"member": request.form["pick"], "who": ""}
    return form


def refuse(form: Form, error: CrmError) -> None:
    """Put what is wrong with a text at its field, with the line."""
    field = getattr(error, "field", "")
    form.errors[field if field in form.values else ""] = said(error)


def said(error: CrmError) -> str:
    """What is wrong with a text, in as few words as it takes: its name says nothing new on its own page."""
    message = error.message
    if isinstance(message, Phrase) and "where" in message.values:
        told = str(in_words(message.values["what"]))
        told = f"{told[:1].upper()}{told[1:]}"
    else:
        told = str(in_words(message))
    told = sentences((told, in_words(error.hint)))
    line = error.line if isinstance(error, InvalidInput) else 0
    return str(_("Line %(line)s: %(what)s", line=line, what=told) if line else told)


def reader_of(connection: Connection, shop: Shop, journey: Journey, form: Form, as_of: date, locale: str) -> Reader:
    """Whom to show the text for: who was looked for, who was shown before, else the newest member it would go to in that language."""
    told = form.text("who")
    if told:
        found = search(connection, shop, text=told, limit=OFFERED)
        if not found:
            return Reader(None, "", _("Nobody is found by “%(text)s”.", text=told))
        return Reader(
            found[0].member_id, _called(found[0]), others=tuple((row.member_id, _called(row)) for row in found[1:])
        )
    member_id = as_whole(form.text("member"))
    if member_id is None:
        member_id = newest_match(connection, shop, journey, as_of, locale.split("-")[0].lower())
    if member_id is None:
        return Reader(None, "")
    known = names_of(connection, shop.shop_id, [member_id])
    return Reader(member_id, known[member_id]) if member_id in known else Reader(None, "")


def show(connection: Connection, shop: Shop, text: Text, reader: Reader, now: datetime) -> Shown:
    """The text as the reader will see it."""
    try:
        made = templates.preview(connection, shop, text, reader.member_id, now)
    except CrmError as error:
        return Shown(None, said(error))
    found = _warnings(connection, shop, text, made, reader, now)
    return Shown(made, "", sms_size(made.text) if text.channel == "sms" else None, found)


def _warnings(
    connection: Connection, shop: Shop, text: Text, made: Rendered, reader: Reader, now: datetime
) -> tuple[str, ...]:
    """What is unwise where marketing says it, though a journey that is no marketing may speak with the same text."""
    used = templates.used_by(connection, shop.shop_id, text.template_key)
    speaker = next((one for one in used if one.kind == "marketing"), None)
    if speaker is not None and speaker is not used[0]:
        try:
            made = templates.preview(connection, shop, text, reader.member_id, now, speaker)
        except CrmError:
            # It cannot be said to this member by that journey, which its own page tells.
            return ()
    return tuple(lint.warnings(text.channel, made, marketing=speaker is not None, link=templates.SAMPLE_LINK))


def _called(row: MemberRow) -> str:
    name = row.name or row.email or row.phone or f"#{row.external_id or row.member_id}"
    return f"{name} ({row.email})" if row.name and row.email else name


_HELP: tuple[tuple[str, Any], ...] = (
    ("member.first_name", _l("First name; empty when it is not known")),
    ("member.last_name", _l("Last name; empty when it is not known")),
    ("member.name", _l("Whole name, or a friendly word when it is not known")),
    ("member.email", _l("E-mail address")),
    ("member.tier_title", _l("Name of the level held; empty without one")),
    ("member.orders", _l("Number of orders")),
    ("member.spent", _l("All that was spent, as money")),
    ("member.days_since_order", _l("Days since the last order; none without an order")),
    ("member.joined_on | date", _l("The day of joining; none when it is not known")),
    ("member.years", _l("Full years since joining; 0 when it is not known")),
    ("tier.title", _l("Name of the level held; empty without one")),
    ("tier.next_title", _l("Name of the next level; empty at the top")),
    ("tier.missing", _l("What is missing to the next level, as money, orders or a number; empty when it is not known")),
    ("tier.ends_on | date", _l("The last day of the level; none where it has no end")),
    ("shop.title", _l("Your shop's name")),
    ("shop.url", _l("Your shop's address on the web")),
    ("shop.address", _l("Your postal address")),
    ("shop.currency", _l("Your currency, such as EUR")),
    ('occasion | date("day")', _l("The day it is about: the birthday, the last order, the order")),
    ("days", _l("The number of days of this journey; below zero before a birthday")),
    ("order.number", _l("Number of the order")),
    ("order.placed_on | date", _l("Day of the order")),
    ("order.total", _l("Amount of the order, as money")),
    (
        "order.lines",
        _l("What was ordered: {% for line in order.lines %}{{ line.quantity }} × {{ line.title }}{% endfor %}"),
    ),
    ("product.title", _l("What the order is about most: its dearest product; none without one")),
    ("product.url", _l("Where the store shows that product; empty when it is not known")),
    ("event.points", _l("Points that an event tells of, such as those that expire")),
    ("event.expires_on | date", _l("The day on which what an event tells of expires")),
    ("event.amount", _l("The amount that an event tells of, as money")),
    ("checkout.url", _l("The way back into a checkout that was not finished")),
    (
        "checkout.lines",
        _l("What was put into it: {% for line in checkout.lines %}{{ line.quantity }} × {{ line.title }}{% endfor %}"),
    ),
    ("gift.person", _l("Whom the member asked to be reminded of")),
    ('gift.on | date("day")', _l("The day the member asked to be reminded of")),
    ("coupon.code", _l("The code that this member was given on the way; none without one")),
    ("coupon.expires_on | date", _l("The last day of that code; none where it has no end")),
    (
        "answers.why_left",
        _l(
            "Why they left, to be answered with one click: "
            "{% for answer in answers.why_left %}{{ answer.title }}: {{ answer.url }}{% endfor %}"
        ),
    ),
    (
        "answers.invitation",
        _l(
            "Yes or no to an invitation: {% for answer in answers.invitation %}{{ answer.title }}: {{ answer.url }}{% endfor %}"
        ),
    ),
    ("cta_url", _l("Where a button leads; empty when there is nowhere to lead")),
    ("marketing", _l("Whether it is marketing, which must say how to stop it")),
    ("unsubscribe_url", _l("The member's own link to stop; empty when there is none")),
    ("locale", _l("The language of this text")),
    ("journey.key", _l("Key of the journey")),
)


def variables(journey: Journey) -> list[tuple[str, Any]]:
    """What this journey's texts may use, each with what it holds."""
    follows = kind_of(journey.trigger).about_order
    return [(name, told) for name, told in _HELP if follows or not name.startswith(("order.", "product."))]
