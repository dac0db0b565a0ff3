"""The list of journeys: what runs and what it will do, what speaks to each stage of a customer's life, and what can be added."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext
from werkzeug.wrappers import Response

from crm_plugin.errors import CrmError
from crm_plugin.rules.called import Called, called
from crm_plugin.store import audit
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.lifecycle import READY, STAGES, covering
from crm_plugin.touchpoints.outlook import Outlook, outlook, recent
from crm_plugin.touchpoints.recipes import Recipe, install_one, recipe
from crm_plugin.touchpoints.senders import available
from crm_plugin.web import formats, journey_words, labels
from crm_plugin.web.i18n import explained, in_words
from crm_plugin.web.languages import sentences
from crm_plugin.web.pages import bp, go
from crm_plugin.web.rehearsal import AHEAD, LATELY, stamp
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.titles import named


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
