"""Journeys: what runs, what it will do, and switching it on or off; the editor of one journey."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.clock import local_day
from crm_plugin.errors import CrmError, InvalidInput
from crm_plugin.rules.called import Called, called
from crm_plugin.rules.triggers import kind_of
from crm_plugin.store import audit
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints import publishing, radius
from crm_plugin.touchpoints.journey import Draft, Journey, as_drafted
from crm_plugin.touchpoints.lifecycle import READY, STAGES, covering
from crm_plugin.touchpoints.outlook import Outlook, outlook, recent, waiting
from crm_plugin.touchpoints.publishing import edited
from crm_plugin.touchpoints.recipes import Recipe, install_one, recipe
from crm_plugin.touchpoints.senders import available
from crm_plugin.web import formats, journey_form, journey_words, labels
from crm_plugin.web.before_going import before_going
from crm_plugin.web.forms import Form
from crm_plugin.web.held_words import held_of
from crm_plugin.web.i18n import explained, in_words
from crm_plugin.web.journey_edit import keep, mark_in
from crm_plugin.web.journey_look import look
from crm_plugin.web.languages import sentences
from crm_plugin.web.pages import bp, go
from crm_plugin.web.rehearsal import AHEAD, rehearse, stamp
from crm_plugin.web.rule_help import field_help
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.text_list import channels_of
from crm_plugin.web.titles import named

LATELY = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Card:
    """One journey as the list shows it: a sentence, what it did lately, what it will do where it runs; `missing` as its outlook has it."""

    journey: Journey
    name: str
    sentence: str
    did: dict[str, int]
    coming: Outlook | None
    missing: tuple[str, ...]


@bp.get("/s/<shop>/journeys")
def journeys() -> str:
    """The list."""
    here, shop, now = site(), the_shop(), _now()
    with here.runtime.db.read() as connection:
        did = recent(connection, shop.shop_id, now - LATELY)
        there = store.all_journeys(connection, shop.shop_id)
        by = called(connection, shop)
        running = [journey for journey in there if journey.runs]
        coming = here.kept.get(
            ("journeys", shop.shop_id),
            stamp(connection, shop, now),
            lambda: {one.key: outlook(connection, shop, one, now, now + AHEAD) for one in running},
        )
        senders = available(connection, shop)
    cards = [_card(journey, did.get(journey.key, {}), by, coming.get(journey.key), senders) for journey in there]
    return render_template(
        "journeys.html",
        labels=labels,
        cards=sorted(cards, key=lambda card: not card.journey.enabled),
        lede=_lede(cards),
        **_life(there),
    )


@bp.post("/s/<shop>/journeys/add")
def journeys_add() -> Response:
    """Add one recipe, switched off."""
    runtime, shop, key = site().runtime, the_shop(), request.form.get("recipe", "")
    try:
        with runtime.db.write() as connection:
            now = runtime.clock.now()
            install_one(connection, shop, key, now)
            audit.note(connection, shop.shop_id, g.actor, "journey.added", {"journey": key}, now)
    except CrmError as error:
        flash(explained(error), "bad")
        return go("journeys")
    name = named(recipe(key).title, key)
    flash(_("“%(journey)s” was added, switched off. Read its texts before you switch it on.", journey=name), "good")
    return go("journeys_one", key=key)


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


@bp.get("/s/<shop>/journeys/<key>/switch")
def journeys_switch(key: str) -> str:
    """What switching would do."""
    with site().runtime.db.read() as connection:
        return _switch_page(connection, store.get(connection, the_shop().shop_id, key), Form({"confirm": ""}))


@bp.post("/s/<shop>/journeys/<key>/switch")
def journeys_switched(key: str) -> Response | tuple[str, int]:
    """Switch on or off."""
    runtime, shop, now, form = site().runtime, the_shop(), _now(), Form.posted(defaults={"confirm": ""})
    on = request.form.get("on") == "1"
    try:
        with runtime.db.write() as connection:
            before = store.get(connection, shop.shop_id, key)
            lost = 0 if on else waiting(connection, shop.shop_id, key)
            if on:
                publishing.switch_on(connection, shop, key, now, typed=form.text("confirm"))
            else:
                store.switch(connection, shop, key, False, now)
            if before.enabled != on:
                detail = {"journey": key} if on else {"journey": key, "cancelled": lost}
                audit.note(connection, shop.shop_id, g.actor, "journey.on" if on else "journey.off", detail, now)
    except CrmError as error:
        form.refuse(error)
        with runtime.db.read() as connection:
            return _switch_page(connection, store.get(connection, shop.shop_id, key), form), 422
    name = named(before.title, key)
    if on:
        flash(_("“%(journey)s” is on.", journey=name), "good")
    else:
        told = ngettext(
            "%(count)s waiting message was cancelled.",
            "%(count)s waiting messages were cancelled.",
            lost,
            count=formats.number(lost),
        )
        flash(sentences([_("“%(journey)s” is off.", journey=name), told if lost else ""]), "good")
    return go("journeys")


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


def _switch_page(connection: Connection, journey: Journey, form: Form) -> str:
    shop = the_shop()
    looked = before_going(connection, shop, journey, _now())
    if looked.faults:
        # They say the same, each with the way to where it is mended.
        form.errors.pop("", None)
    return render_template(
        "journeys_switch.html",
        labels=labels,
        journey=journey,
        name=named(journey.title, journey.key),
        seen=rehearse(connection, shop, journey, _now(), site().public_url),
        today=_today(shop),
        waiting=waiting(connection, shop.shop_id, journey.key),
        form=form,
        looked=looked,
    )


def _card(
    journey: Journey, states: dict[str, int], by: Called, coming: Outlook | None, senders: Collection[str]
) -> Card:
    return Card(
        journey,
        named(journey.title, journey.key),
        journey_words.sentence(journey, by),
        journey_words.became(states),
        coming,
        tuple(channel for channel in journey.channels if channel not in senders),
    )


def _lede(cards: Iterable[Card]) -> str:
    """What runs, and what it brings."""
    running = [(card.journey, card.coming) for card in cards if card.coming is not None]
    if not running:
        return str(_("No journey is on, so nothing goes out by itself."))
    count = sum(coming.planned for journey, coming in running if not journey.flow.steps)
    come_in = sum(coming.planned for journey, coming in running if journey.flow.steps)
    on = ngettext("%(num)s journey is on.", "%(num)s journeys are on.", len(running))
    ahead = ngettext(
        "%(count)s message goes out in the next 7 days.",
        "%(count)s messages go out in the next 7 days.",
        count,
        count=formats.number(count),
    )
    inside = ngettext(
        "%(count)s member comes into a journey of several steps.",
        "%(count)s members come into journeys of several steps.",
        come_in,
        count=formats.number(come_in),
    )
    if not (count or come_in):
        ahead = _("Nothing goes out in the next 7 days.")
    return sentences([on, ahead if count or not come_in else "", inside if come_in else ""])


def _life(there: Sequence[Journey]) -> dict[str, Any]:
    """The stages of a customer's life with what speaks to each, and the recipes that could be added."""
    stages = covering(there)
    ready = [
        one.recipe
        for one in {means.recipe.key: means for stage in stages for means in stage.means}.values()
        if one.state == READY
    ]
    return {
        "stages": stages,
        "spoken_to": sum(stage.covered for stage in stages),
        "recipes": ready,
        "recipe_words": _recipe_words,
    }


def _recipe_words(one: Recipe) -> dict[str, Any]:
    """What a recipe is called and does, the stages it speaks to, and the one it should not run beside."""
    instead = named(recipe(one.replaces).title, one.replaces) if one.replaces else ""
    titles = [in_words(stage.title) for stage in STAGES if stage.key in one.stages]
    return {
        "name": named(one.title, one.key),
        "description": named(one.description),
        "stages": titles,
        "instead": instead,
    }


def _now() -> datetime:
    return site().runtime.clock.now()


def _today(shop: Shop) -> date:
    return local_day(_now(), shop.timezone)
