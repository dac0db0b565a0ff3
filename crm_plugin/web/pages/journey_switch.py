"""Switching a journey on or off, after what that would do was shown."""

from __future__ import annotations

from datetime import date, datetime

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.clock import local_day
from crm_plugin.errors import CrmError
from crm_plugin.store import audit
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints import publishing
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.outlook import waiting
from crm_plugin.web import formats, labels
from crm_plugin.web.before_going import before_going
from crm_plugin.web.forms import Form
from crm_plugin.web.languages import sentences
from crm_plugin.web.pages import bp, go
from crm_plugin.web.rehearsal import rehearse
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.titles import named


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


def _now() -> datetime:
    return site().runtime.clock.now()


def _today(shop: Shop) -> date:
    return local_day(_now(), shop.timezone)
