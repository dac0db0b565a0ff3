"""What members will read: the text of one channel in one language, shown as a real member gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.clock import local_day
from crm_plugin.errors import CrmError, NotFound
from crm_plugin.store import audit
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints import senders, templates, testing
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.locales import choose_locale
from crm_plugin.touchpoints.publishing import edited
from crm_plugin.touchpoints.render import PARTS, Text
from crm_plugin.touchpoints.settings import read_locale
from crm_plugin.touchpoints.steps.flow import voice_of
from crm_plugin.touchpoints.texts import get_text, put, same, texts, tidied
from crm_plugin.web import languages, text_form
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import explained, in_words
from crm_plugin.web.labels import channel_name
from crm_plugin.web.pages import bp, go
from crm_plugin.web.security import MESSAGE_POLICY
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.text_list import recipe_text
from crm_plugin.web.titles import named

_AT = "/s/<shop>/journeys/<key>/texts/<channel>"


@bp.get(f"{_AT}/new")
def journeys_text_new(key: str, channel: str) -> Response:
    """To the editor of another language, which begins with a copy."""
    try:
        locale = read_locale(request.args.get("locale", ""))
    except CrmError as error:
        flash(explained(error), "bad")
        return go("journeys_one", key=key)
    return go("journeys_text", key=key, channel=channel, locale=locale, copy=request.args.get("copy", ""))


@bp.get(f"{_AT}/<locale>")
def journeys_text(key: str, channel: str, locale: str) -> str:
    """The editor."""
    with site().runtime.db.read() as connection:
        journey = _journey(connection, key, channel)
        form = text_form.filled(_begun(connection, journey, channel, locale))
        form.values["member"] = request.args.get("member", "")
        return _page(connection, journey, channel, locale, form)


@bp.post(f"{_AT}/<locale>")
def journeys_text_change(key: str, channel: str, locale: str) -> Response | str | tuple[str, int]:
    """One of the editor's buttons."""
    act, form = request.form.get("do", "preview"), text_form.posted()
    with site().runtime.db.read() as connection:
        journey = _journey(connection, key, channel)
        recipe = recipe_text(journey.template_key, channel, locale)
        if act == "recipe" and recipe is not None:
            form.values |= text_form.filled(recipe).values | {"member": form.text("member")}
            return _page(
                connection, journey, channel, locale, form, told=_("This is the recipe's own text. Save it to use it.")
            )
        if act not in ("save", "test", "remove"):
            return _page(connection, journey, channel, locale, form)
    acts: Mapping[str, object] = {"save": _save, "test": _test, "remove": _remove}
    try:
        return acts[act](journey, channel, locale, form)  # type: ignore[operator,no-any-return]
    except CrmError as error:
        text_form.refuse(form, error)
    with site().runtime.db.read() as connection:
        return _page(connection, journey, channel, locale, form), 422


@bp.post(f"{_AT}/<locale>/preview")
def journeys_text_preview(key: str, channel: str, locale: str) -> str:
    """The message, while the text is being written."""
    shop, form = the_shop(), text_form.posted()
    with site().runtime.db.read() as connection:
        journey = _journey(connection, key, channel)
        reader = text_form.reader_of(connection, shop, journey, form, _today(shop), locale)
        text = text_form.read(form, journey.template_key, channel, locale)
        shown = text_form.show(connection, shop, text, reader, _now())
    return render_template("_journeys_text_preview.html", channel=channel, reader=reader, shown=shown)


@bp.route(f"{_AT}/<locale>/mail", methods=["GET", "POST"])
def journeys_mail(key: str, channel: str, locale: str) -> Response:
    """The mail as a document of its own, for the frame: the text as it was sent here, else the one that is saved."""
    shop = the_shop()
    with site().runtime.db.read() as connection:
        journey = _journey(connection, key, channel)
        if request.method == "POST":
            form = text_form.posted()
        else:
            form = text_form.filled(_begun(connection, journey, channel, locale))
            form.values["member"] = request.args.get("member", "")
        reader = text_form.reader_of(connection, shop, journey, form, _today(shop), locale)
        text = text_form.read(form, journey.template_key, channel, locale)
        shown = text_form.show(connection, shop, text, reader, _now())
    html = shown.made.html if shown.made is not None else ""
    if not html:
        html = render_template("journeys_no_mail.html", problem=shown.problem)
    return Response(html, mimetype="text/html", headers={"Content-Security-Policy": MESSAGE_POLICY})


def _save(journey: Journey, channel: str, locale: str, form: Form) -> Response:
    runtime, shop = site().runtime, the_shop()
    with runtime.db.read() as connection:
        text = templates.checked(connection, shop, text_form.read(form, journey.template_key, channel, locale))
    with runtime.db.write() as connection:
        before = get_text(connection, shop.shop_id, journey.template_key, channel, text.locale)
        saved = put(connection, shop.shop_id, text, runtime.clock.now())
        if before is None or saved.version != before.version:
            _note(connection, "text.saved", journey, channel, saved.locale, version=saved.version)
    with runtime.db.read() as connection:
        reader = text_form.reader_of(connection, shop, journey, form, _today(shop), locale)
        warnings = text_form.show(connection, shop, saved, reader, _now()).warnings
    flash(_("Saved. Whoever has had this message does not get it again; the next ones read it like this."), "good")
    for warning in warnings:
        flash(in_words(warning), "warn")
    return go("journeys_text", key=journey.key, channel=channel, locale=saved.locale, member=form.text("member"))


def _remove(journey: Journey, channel: str, locale: str, _form: Form) -> Response:
    with site().runtime.db.write() as connection:
        templates.remove_text(connection, the_shop(), journey.template_key, channel, locale)
        _note(connection, "text.removed", journey, channel, locale)
    flash(_("The text in %(language)s was taken out.", language=languages.name(locale)), "good")
    return go("journeys_one", key=journey.key)


def _test(journey: Journey, channel: str, locale: str, form: Form) -> Response | str:
    """Send the text as it stands in the form, saved or not, to an address of the merchant."""
    runtime, shop, now = site().runtime, the_shop(), _now()
    with runtime.db.read() as connection:
        adapter = senders.available(connection, shop).get(channel, "")
        reader = text_form.reader_of(connection, shop, journey, form, _today(shop), locale)
        text = text_form.read(form, journey.template_key, channel, locale)
        made = templates.preview(connection, shop, text, reader.member_id, now)
        kept = get_text(connection, shop.shop_id, journey.template_key, channel, locale)
    if not adapter:
        raise NotFound(
            _("No sender that is set up and switched on could send it."), hint=_("See the senders under Connections.")
        )
    testing.send_text(runtime.db, runtime.box, shop, adapter, form.text("to"), made, now, site().public_url)
    with runtime.db.write() as connection:
        _note(connection, "text.test", journey, channel, locale, to=form.text("to"))
    told = _("Sent to %(address)s, as it stands here.", address=form.text("to"))
    if same(tidied(text), kept):
        flash(told, "good")
        return go("journeys_text", key=journey.key, channel=channel, locale=locale, member=form.text("member"))
    # What is typed and not saved would be lost on the way to another address.
    with runtime.db.read() as connection:
        return _page(connection, journey, channel, locale, form, told=told)


def _note(connection: Connection, action: str, journey: Journey, channel: str, locale: str, **more: object) -> None:
    detail = {
        "journey": journey.key.partition(".")[0],
        "template": journey.template_key,
        "channel": channel,
        "locale": locale,
        **more,
    }
    audit.note(connection, the_shop().shop_id, g.actor, action, detail, _now())


def _journey(connection: Connection, key: str, channel: str) -> Journey:
    """The journey; of `journey.step` as it speaks in that step. It keeps the key of the address, so that all links stay within."""
    if channel not in PARTS:
        raise NotFound(_("There is no such channel."))
    journey_key, _dot, step_key = key.partition(".")
    journey = edited(store.get(connection, the_shop().shop_id, journey_key))
    if not step_key:
        return journey
    step = next((one for one in journey.flow.sends if one.key == step_key), None)
    if step is None:
        raise NotFound(_("There is no such step any more."))
    return replace(journey, key=key, **voice_of(step, journey))


def _begun(connection: Connection, journey: Journey, channel: str, locale: str) -> Text:
    """The text that is saved; for a new one a copy of another, the recipe's, or nothing."""
    key, shop_id = journey.template_key, the_shop().shop_id
    source = request.args.get("copy", "")
    copied = get_text(connection, shop_id, key, channel, source) if source else None
    found = get_text(connection, shop_id, key, channel, locale) or copied or recipe_text(key, channel, locale)
    return found or Text(key, channel, locale)


def _page(connection: Connection, journey: Journey, channel: str, locale: str, form: Form, *, told: str = "") -> str:
    """The editor around a form."""
    shop = the_shop()
    reader = text_form.reader_of(connection, shop, journey, form, _today(shop), locale)
    text = text_form.read(form, journey.template_key, channel, locale)
    kept = get_text(connection, shop.shop_id, journey.template_key, channel, locale)
    recipe = recipe_text(journey.template_key, channel, locale)
    form.values["member"] = str(reader.member_id or "")
    return render_template(
        "journeys_text.html",
        journey=journey,
        name=named(journey.title, journey.key),
        channel=channel,
        channel_title=channel_name(channel),
        locale=locale,
        language=languages.name(locale),
        form=form,
        told=told,
        reader=reader,
        shown=text_form.show(connection, shop, text, reader, _now()),
        kept=kept,
        unsaved=not same(tidied(text), kept),
        recipe=recipe is not None and not same(tidied(text), recipe),
        variables=text_form.variables(journey),
        sender=senders.available(connection, shop).get(channel, ""),
        others=[
            one
            for one in templates.used_by(connection, shop.shop_id, journey.template_key)
            if one.key != journey.key.partition(".")[0]
        ],
        instead=_instead(connection, shop, journey, channel, locale),
        copied=request.args.get("copy", "") if kept is None else "",
    )


def _instead(connection: Connection, shop: Shop, journey: Journey, channel: str, locale: str) -> str:
    """The language that readers of this one would get if its text were taken out; empty when there is no other."""
    there = texts(connection, shop.shop_id, journey.template_key)
    left = {text.locale for text in there if text.channel == channel and text.locale != locale}
    chosen = choose_locale(locale, left, shop.locale)
    return languages.name(chosen) if chosen else ""


def _now() -> datetime:
    return site().runtime.clock.now()


def _today(shop: Shop) -> date:
    return local_day(_now(), shop.timezone)
