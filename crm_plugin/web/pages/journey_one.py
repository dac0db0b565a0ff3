"""The editor of one journey: what it says to whom and when, what it would do, and what is held back of it."""

from __future__ import annotations

from datetime import datetime

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.errors import CrmError, InvalidInput
from crm_plugin.rules.triggers import kind_of
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints import radius
from crm_plugin.touchpoints.journey import Draft, Journey, as_drafted
from crm_plugin.touchpoints.outlook import recent
from crm_plugin.touchpoints.publishing import edited
from crm_plugin.web import formats, journey_form, journey_words, labels
from crm_plugin.web.forms import Form
from crm_plugin.web.held_words import held_of
from crm_plugin.web.journey_edit import keep, mark_in
from crm_plugin.web.journey_look import look
from crm_plugin.web.pages import bp, go
from crm_plugin.web.rehearsal import LATELY, rehearse
from crm_plugin.web.rule_help import field_help
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.text_list import channels_of
from crm_plugin.web.titles import named


@bp.get("/s/<shop>/journeys/<key>")
def journeys_one(key: str) -> str | Response:
    """One journey: its editor, its texts or steps, what it will do; from the texts of a step the way leads to that step."""
    if "." in key:
        journey_key, _dot, step = key.partition(".")
        return go("journeys_one", key=journey_key, _anchor=f"s-{step}")
    with site().runtime.db.read() as connection:
        journey = store.get(connection, the_shop().shop_id, key)
        return _one(connection, journey, journey_form.filled(edited(journey)))


@bp.post("/s/<shop>/journeys/<key>")
def journeys_save(key: str) -> Response | tuple[str, int] | str:
    """Look at a changed journey, or save it."""
    runtime, shop, form = site().runtime, the_shop(), Form.posted()
    with runtime.db.read() as connection:
        journey = store.get(connection, shop.shop_id, key)
        draft = journey_form.read(connection, shop, form, edited(journey))
        if draft is not None and request.form.get("do") == "preview":
            return _one(connection, journey, form)
    if draft is not None:
        try:
            _save(shop, journey, draft)
        except CrmError as error:
            journey_form.refuse(form, error)
            with runtime.db.read() as connection:
                form.values["mark"] = mark_in(form, store.get(connection, shop.shop_id, key), error)
    if form.failed or draft is None:
        with runtime.db.read() as connection:
            return _one(connection, journey, form), 422
    flash(_("Saved."), "good")
    return go("journeys_one", key=key)


@bp.post("/s/<shop>/journeys/<key>/preview")
def journeys_preview(key: str) -> str | tuple[str, int]:
    """What the journey would do, while the form is being filled in."""
    shop, form = the_shop(), Form.posted()
    with site().runtime.db.read() as connection:
        journey = store.get(connection, shop.shop_id, key)
        draft = journey_form.read(connection, shop, form, edited(journey))
        if draft is None:
            return render_template(
                "_journeys_preview.html", labels=labels, seen=None, wrong=list(form.errors.values())
            ), 422
        seen = rehearse(connection, shop, as_drafted(journey, draft), _now(), site().public_url)
    return render_template("_journeys_preview.html", labels=labels, seen=seen, wrong=[], journey=journey)


@bp.post("/s/<shop>/journeys/<key>/release")
def journeys_release(key: str) -> Response | tuple[str, int]:
    """Let go what is held back of a journey; above a size its number has to be typed."""
    runtime, shop, form = site().runtime, the_shop(), Form.posted(defaults={"confirm": ""})
    try:
        with runtime.db.write() as connection:
            count = radius.release(connection, shop, key, _now(), g.actor, form.text("confirm"))
    except InvalidInput as error:
        form.refuse(error)
        with runtime.db.read() as connection:
            journey = store.get(connection, shop.shop_id, key)
            return _one(connection, journey, journey_form.filled(edited(journey)), form), 422
    told = ngettext("%(count)s message goes out.", "%(count)s messages go out.", count, count=formats.number(count))
    flash(told, "good")
    return go("journeys_one", key=key)


def _save(shop: Shop, journey: Journey, draft: Draft) -> None:
    runtime, told = site().runtime, as_drafted(edited(journey), draft).as_dict()
    with runtime.db.write() as connection:
        keep(connection, shop, journey, told, _now(), g.actor, filled_from=request.form.get("mark", ""))


def _one(connection: Connection, journey: Journey, form: Form, release_form: Form | None = None) -> str:
    """The page around a form, which may differ from what is saved."""
    shop, kept = the_shop(), edited(journey)
    trial = Form(dict(form.values))
    draft = journey_form.read(connection, shop, trial, kept)
    shown = kept if draft is None else as_drafted(kept, draft)
    # Those of a journey of several steps are the steps'.
    places = [] if kept.flow.steps else journey_form.places_of(kept)
    options = {name: journey_form.channel_options(kept, name == "channel-1") for name in places}
    did = recent(connection, shop.shop_id, _now() - LATELY).get(journey.key, {})
    return render_template(
        "journeys_one.html",
        labels=labels,
        journey=journey,
        mark=mark_in(form, journey),
        held=held_of(connection, shop, journey.key),
        release_form=release_form or Form({"confirm": ""}),
        shown=kept,
        name=named(kept.title, journey.key),
        form=form,
        options=options,
        has_days=journey_form.has_days(kept.trigger),
        signed=journey_form.is_signed(kept.trigger),
        about=journey_words.about(kept.trigger),
        fields_of_trigger=journey_form.trigger_fields(kept.trigger),
        about_orders=kind_of(kept.trigger).transactional,
        seen=None if draft is None else rehearse(connection, shop, shown, _now(), site().public_url),
        wrong=list(trial.errors.values()),
        did=journey_words.became(did),
        fields=field_help(),
        texts=[] if kept.flow.steps else channels_of(connection, shop, kept, _now()),
        **look(connection, shop, journey, kept, _now()),
    )


def _now() -> datetime:
    return site().runtime.clock.now()
