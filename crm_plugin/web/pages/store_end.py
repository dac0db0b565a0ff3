"""Connections: once more what was given up, what is gone from the store, the end of the connection, and the end of all that is kept."""

from __future__ import annotations

from flask import flash, g
from flask_babel import gettext as _
from flask_babel import ngettext
from werkzeug.wrappers import Response

from crm_plugin.errors import InvalidInput
from crm_plugin.store import audit, runs
from crm_plugin.sync import believed, heard, lifecycle
from crm_plugin.web.forms import Form
from crm_plugin.web.pages import bp, go
from crm_plugin.web.pages.connections import page
from crm_plugin.web.reading import FOLLOW, LEAVE, RECONCILE, takes_files
from crm_plugin.web.site import site, the_shop


@bp.post("/s/<shop>/connections/again")
def connections_again() -> Response:
    """Follow once more what the store told and was given up."""
    runtime, shop = site().runtime, the_shop()
    with runtime.db.write() as connection:
        count = heard.again(connection, shop, runtime.clock.now())
        audit.note(connection, shop.shop_id, g.actor, "store.again", {"events": count}, runtime.clock.now())
    site().queue.enqueue(FOLLOW, shop.shop_id)
    flash(ngettext("%(num)s change is tried once more.", "%(num)s changes are tried once more.", count), "good")
    return go("connections", _anchor="step")


@bp.post("/s/<shop>/connections/gone")
def connections_gone() -> Response | tuple[str, int]:
    """Believe that what the store no longer lists is gone, once how many that is was typed; then it is looked for."""
    runtime, shop, form = site().runtime, the_shop(), Form.posted()
    stream, now = form.text("stream"), runtime.clock.now()
    field = f"gone_{stream}"
    try:
        with runtime.db.write() as connection:
            compared = runs.last(connection, shop.shop_id, RECONCILE)
            believed.believe(connection, shop, compared, stream, form.text(field), g.actor, now)
    except InvalidInput as error:
        form.refuse(error, field if error.field == "count" else "")
        return page(gone_form=form), 422
    site().queue.enqueue(RECONCILE, shop.shop_id)
    flash(_("Each of them is asked for once more; what is gone there is taken out here."), "good")
    return go("connections", _anchor="step")


@bp.post("/s/<shop>/connections/disconnect")
def connections_disconnect() -> Response:
    """End the connection; what is known stays."""
    runtime, shop = site().runtime, the_shop()
    if shop.is_awake and not takes_files(shop):
        lifecycle.leave(runtime.db, shop, g.actor, runtime.clock.now())
        site().queue.enqueue(LEAVE, shop.shop_id)
    flash(_("Your store is disconnected. What is known stays here."), "good")
    return go("connections")


@bp.post("/s/<shop>/connections/erase")
def connections_erase() -> Response | tuple[str, int]:
    """Erase all that is kept of a shop, once its name was typed."""
    runtime, shop, form = site().runtime, the_shop(), Form.posted()
    if form.text("erase") != shop.name:
        form.errors["erase"] = _("Type the name exactly as it is shown.")
        return page(erase_form=form), 422
    if shop.is_awake and not takes_files(shop):
        form.errors["erase"] = _("Disconnect the store first.")
        return page(erase_form=form), 422
    lifecycle.leave(runtime.db, shop, g.actor, runtime.clock.now(), erase=True)
    site().queue.enqueue(LEAVE, shop.shop_id)
    flash(_("Everything that is kept of this shop is being erased."), "good")
    return go("connections")
