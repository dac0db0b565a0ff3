"""Levels in the store: whether they are written there, how far that is, what the store refused; a part of the page of tiers."""

from __future__ import annotations

from typing import Any

from flask import flash, g, request
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.errors import CrmError
from crm_plugin.jobs import levels
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import writeback_switch
from crm_plugin.web import formats
from crm_plugin.web.i18n import explained
from crm_plugin.web.pages import bp, go
from crm_plugin.web.site import site, the_shop

JOB = "write_levels"


def told(connection: Connection, shop: Shop) -> dict[str, Any]:
    """What the part of the page shows."""
    standing = writeback_switch.standing(connection, shop)
    now = site().runtime.clock.now()
    rests = standing.resting_until is not None and now < standing.resting_until
    return {
        "store": standing,
        "store_rests": standing.resting_until if rests and not standing.stopped else None,
        "store_holders": 0 if standing.enabled else writeback_switch.holders(connection, shop.shop_id),
        "platform": storefront_class(shop.platform).label,
        "store_has_grades": storefront_class(shop.platform).most_grades > 0,
    }


@bp.post("/s/<shop>/tiers/store")
def tiers_store() -> Response:
    """Switch it on or off, or try again what was refused."""
    shop, act = the_shop(), request.form.get("do", "")
    runtime = site().runtime
    try:
        if act == "retry":
            again = writeback_switch.try_again(runtime.db, shop, runtime.clock.now())
            flash(_tried(again), "good")
        elif act in ("on", "off"):
            levels.switch(runtime, shop, on=act == "on", actor=g.actor)
            flash(
                _("Switched on. The levels are being written into your store; you do not have to wait here.")
                if act == "on"
                else _("Switched off. What was written stays in your store."),
                "good",
            )
    except CrmError as error:
        flash(explained(error), "bad")
    else:
        if act != "off":
            site().queue.enqueue(JOB, shop.shop_id)
    return go("tiers", _anchor="store")


def _tried(count: int) -> str:
    if not count:
        return str(_("Your store is asked again now."))
    text = ngettext(
        "%(count)s level is tried again now.",
        "%(count)s levels are tried again now.",
        count,
        count=formats.number(count),
    )
    return str(text)
