"""What a journey is: published, paused, going on, put away; moving members to its newest version. Each says first what it would do."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.errors import CrmError, InvalidInput
from crm_plugin.rules.called import called
from crm_plugin.store import audit
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints import publishing
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.outlook import waiting
from crm_plugin.touchpoints.publishing import edited
from crm_plugin.touchpoints.steps import insiders, moving
from crm_plugin.touchpoints.versions import versions
from crm_plugin.web import formats, journey_words, labels
from crm_plugin.web.before_going import before_going
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import explained
from crm_plugin.web.journey_edit import is_staged
from crm_plugin.web.journey_look import standing
from crm_plugin.web.languages import sentences
from crm_plugin.web.pages import bp, go
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.step_texts import texts_of
from crm_plugin.web.step_words import Outline
from crm_plugin.web.titles import named

_AT = "/s/<shop>/journeys/<key>"


@bp.get(f"{_AT}/publish")
def journeys_publish(key: str) -> str:
    """What publishing would bring, or what it would refuse."""
    with site().runtime.db.read() as connection:
        return _publish_page(connection, _get(connection, key), Form({"most": "", "confirm": ""}))


@bp.post(f"{_AT}/publish")
def journeys_published(key: str) -> Response | tuple[str, int]:
    """Publish what was drafted, switch it on, and take in as many of those inside already as was said."""
    runtime, shop, now, form = site().runtime, the_shop(), _now(), Form.posted(defaults={"most": "", "confirm": ""})
    taken = 0
    try:
        most = form.whole("most") if form.text("most") else 0
        with runtime.db.write() as connection:
            typed = form.text("confirm")
            journey = publishing.publish(connection, shop, key, now, actor=g.actor, typed=typed)
            if form.text("most"):
                taken = publishing.take_in(connection, shop, journey, most, now, typed=typed)
            detail = {"journey": key, "version": journey.version, "taken_in": taken}
            audit.note(connection, shop.shop_id, g.actor, "journey.published", detail, now)
    except CrmError as error:
        form.refuse(error)
        with runtime.db.read() as connection:
            return _publish_page(connection, _get(connection, key), form), 422
    told = ngettext("%(count)s member was taken in.", "%(count)s members were taken in.", taken, count=_n(taken))
    flash(sentences([_("“%(journey)s” is on.", journey=_name(journey)), told if taken else ""]), "good")
    return go("journeys_one", key=key)


@bp.post(f"{_AT}/discard")
def journeys_discard(key: str) -> Response:
    """Forget the draft."""
    with site().runtime.db.write() as connection:
        publishing.discard(connection, the_shop(), key, _now())
        audit.note(connection, the_shop().shop_id, g.actor, "journey.discarded", {"journey": key}, _now())
    flash(_("What was not published is forgotten."), "good")
    return go("journeys_one", key=key)


@bp.post(f"{_AT}/pause")
def journeys_pause(key: str) -> Response:
    """Let it rest; nothing is lost by that, so it is not asked about."""
    try:
        with site().runtime.db.write() as connection:
            journey = publishing.pause(connection, the_shop(), key, _now())
            audit.note(connection, the_shop().shop_id, g.actor, "journey.paused", {"journey": key}, _now())
    except InvalidInput as error:
        flash(explained(error), "bad")
        return go("journeys_one", key=key)
    flash(_("“%(journey)s” is paused. What waits stays where it is.", journey=_name(journey)), "good")
    return go("journeys") if request.form.get("listed") else go("journeys_one", key=key)


@bp.get(f"{_AT}/resume")
def journeys_resume(key: str) -> str:
    """What became late in the pause: still valid, or missed."""
    with site().runtime.db.read() as connection:
        return _resume_page(connection, _get(connection, key))


@bp.post(f"{_AT}/resume")
def journeys_resumed(key: str) -> Response | tuple[str, int]:
    """Go on."""
    runtime, shop, now = site().runtime, the_shop(), _now()
    try:
        with runtime.db.write() as connection:
            journey, late = publishing.resume(connection, shop, key, now)
            detail = {"journey": key, **late.as_dict()}
            audit.note(connection, shop.shop_id, g.actor, "journey.resumed", detail, now)
    except CrmError as error:
        with runtime.db.read() as connection:
            return _resume_page(connection, _get(connection, key), explained(error)), 422
    flash(_("“%(journey)s” goes on.", journey=_name(journey)), "good")
    return go("journeys_one", key=key)


@bp.get(f"{_AT}/archive")
def journeys_archive(key: str) -> str:
    """What putting it away would end."""
    shop = the_shop()
    with site().runtime.db.read() as connection:
        journey = _get(connection, key)
        inside = sum(one.count for one in standing(connection, shop, journey))
        waits = waiting(connection, shop.shop_id, key)
    return render_template("journeys_archive.html", journey=journey, name=_name(journey), inside=inside, waiting=waits)


@bp.post(f"{_AT}/archive")
def journeys_archived(key: str) -> Response:
    """Put it away."""
    with site().runtime.db.write() as connection:
        journey, ended = publishing.archive(connection, the_shop(), key, _now())
        detail = {"journey": key, "ended": ended}
        audit.note(connection, the_shop().shop_id, g.actor, "journey.archived", detail, _now())
    flash(_("“%(journey)s” is archived.", journey=_name(journey)), "good")
    return go("journeys")


@bp.get(f"{_AT}/move")
def journeys_move(key: str) -> str:
    """Who would move to the newest version, and who would stay."""
    shop = the_shop()
    with site().runtime.db.read() as connection:
        journey = _get(connection, key)
        seen = moving.preview(connection, shop, key)
        known = versions(connection, shop.shop_id, journey, {journey.version, *(one.version for one in seen)})
        outline = Outline(
            called(connection, shop),
            texts_of(connection, shop, [step for one in known.values() for step in one.journey.flow.sends]).begins,
        )
    steps = {number: version.journey.flow.path for number, version in known.items()}
    rows = [(one, outline.text(steps[one.version][one.step_key].step)) for one in seen]
    moves = sum(one.count for one in seen if one.to_step)
    return render_template("journeys_move.html", journey=journey, name=_name(journey), rows=rows, moves=moves)


@bp.post(f"{_AT}/move")
def journeys_moved(key: str) -> Response:
    """Move them."""
    with site().runtime.db.write() as connection:
        moved, stay = moving.move(connection, the_shop(), key, _now())
        if moved:
            detail = {"journey": key, "members": moved}
            audit.note(connection, the_shop().shop_id, g.actor, "journey.moved", detail, _now())
    left = sum(one.count for one in stay)
    told = ngettext("%(count)s member was moved.", "%(count)s members were moved.", moved, count=_n(moved))
    stays = ngettext("%(count)s stays.", "%(count)s stay.", left, count=_n(left))
    flash(sentences([told, stays if left else ""]), "good")
    return go("journeys_one", key=key)


def _publish_page(connection: Connection, journey: Journey, form: Form) -> str:
    shop, shown = the_shop(), edited(journey)
    looked = before_going(connection, shop, shown, _now())
    by = called(connection, shop)
    return render_template(
        "journeys_publish.html",
        labels=labels,
        journey=journey,
        shown=shown,
        name=_name(shown),
        sentence=journey_words.sentence(shown, by),
        lines=Outline(by, texts_of(connection, shop, shown.flow.sends).begins).lines(shown.flow.steps),
        looked=looked,
        could=None if looked.faults else _could_come_in(connection, shop, shown),
        standing=standing(connection, shop, journey),
        form=form,
        staged=is_staged(journey),
    )


def _could_come_in(connection: Connection, shop: Shop, shown: Journey) -> int | None:
    """How many the audience holds already; None where taking them in makes no sense."""
    if not insiders.wanted(shown):
        return None
    return insiders.count(connection, shop, replace(shown, enabled=True, paused_at=None), _now())


def _resume_page(connection: Connection, journey: Journey, refused: str = "") -> str:
    late: Any = None
    try:
        late = publishing.late(connection, the_shop(), journey.key, _now())
    except CrmError as error:
        refused = refused or explained(error)
    return render_template("journeys_resume.html", journey=journey, name=_name(journey), late=late, refused=refused)


def _get(connection: Connection, key: str) -> Journey:
    return store.get(connection, the_shop().shop_id, key)


def _name(journey: Journey) -> str:
    return named(journey.title, journey.key)


def _n(count: int) -> str:
    return str(formats.number(count))


def _now() -> datetime:
    return site().runtime.clock.now()
