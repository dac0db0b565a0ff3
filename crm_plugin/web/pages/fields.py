"""Fields: which of the keys that plugins keep in the store is the birthday, which is consent, which is the cost of a product."""

from __future__ import annotations

from typing import Any

from flask import abort, flash, g, render_template, request
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from crm_plugin.errors import CrmError
from crm_plugin.records import Stream
from crm_plugin.sync import anew, connect, fields
from crm_plugin.sync.fields import Found
from crm_plugin.web import field_form
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import explained
from crm_plugin.web.pages import bp, go
from crm_plugin.web.reading import SYNC, name_of
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.store_states import state_of


@bp.get("/s/<shop>/connections/fields")
def connections_fields() -> str:
    """What the store shows now, and what is read of it."""
    found, values = _asked()
    return _page(found, values, field_form.filled(the_shop(), found, values))


@bp.post("/s/<shop>/connections/fields")
def connections_fields_save() -> Response | tuple[str, int]:
    """Show how other keys would be read, or keep them and have the store read by them."""
    shop, form = the_shop(), Form.posted()
    found, values = _asked()
    unanswered = bool(found.refused) or not values
    if request.form.get("do") == "look" or unanswered:
        return _page(found, values, form), 422 if unanswered else 200
    told = field_form.told(shop, found, values, form)
    if form.failed:
        return _page(found, values, form), 422
    runtime = site().runtime
    fields.save(runtime.db, runtime.box, shop, told, runtime.clock.now(), g.actor)
    site().queue.enqueue(SYNC, shop.shop_id)
    flash(
        _(
            "Saved. Customers, orders and products are read once more by it, from the beginning; you do not have to wait."
        ),
        "good",
    )
    return go("connections")


def _asked() -> tuple[Found, dict[str, Any]]:
    """What the store answers, and the settings as they are kept; what it refused stands in what was found."""
    shop, runtime = the_shop(), site().runtime
    if not fields.can_show(shop):
        abort(404)
    if not shop.is_awake:
        # A store that is not connected is asked nothing; the page says so.
        return Found(), {}
    try:
        return fields.ask(runtime.db, runtime.box, shop), connect.credentials_of(runtime.db, runtime.box, shop)
    except CrmError as error:
        flash(explained(error), "bad")
        return Found(), {}


def _page(found: Found, values: dict[str, Any], form: Form) -> str:
    shop = the_shop()
    with site().runtime.db.read() as connection:
        waits = anew.is_asked(connection, shop.shop_id)
        store = state_of(connection, shop)
    return render_template(
        "connections_fields.html",
        form=form,
        store=store,
        parts=field_form.parts(shop, found, values, form),
        found=sorted(found.fields.values(), key=lambda one: (-one.count, one.key)),
        looked_at=[(name_of(stream.value), count) for stream, count in found.looked_at.items()],
        name_of=lambda stream: name_of(Stream(stream).value),
        refused=[explained(error) for error in found.refused],
        waits=waits,
        orders=field_form.orders(),
        proof=field_form.proof,
        samples=field_form.samples,
        says=[("yes", _("Yes")), ("no", _("No")), ("", _("Says nothing"))],
    )
