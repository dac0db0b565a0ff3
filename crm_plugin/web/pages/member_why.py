"""Why a journey did not take a member in: asked for one journey, since it is on or on one day, and answered from stored rows."""

from __future__ import annotations

from datetime import date

from flask import render_template, request
from flask_babel import gettext as _

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.rules.called import called
from crm_plugin.store.members import names_of
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.outside import require_day
from crm_plugin.touchpoints.why import why
from crm_plugin.web import labels
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import in_words
from crm_plugin.web.pages import bp
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.titles import named
from crm_plugin.web.why import conditions_of


@bp.get("/s/<shop>/members/<int:member_id>/why")
def members_why(member_id: int) -> str | tuple[str, int]:
    """The form, and the answer once a journey was chosen. Raises: NotFound."""
    shop, runtime = the_shop(), site().runtime
    form = Form({"journey": request.args.get("journey", ""), "on": request.args.get("on", "").strip()})
    on = _day(form)
    with runtime.db.read() as connection:
        name = names_of(connection, shop.shop_id, [member_id]).get(member_id)
        if name is None:
            raise NotFound(_("There is no such member any more."), hint=_("Look for them under Members."))
        journeys = all_journeys(connection, shop.shop_id)
        asked = form.text("journey") in {one.key for one in journeys} and not form.failed
        told = why(connection, shop, member_id, form.text("journey"), runtime.clock.now(), on) if asked else None
        by = called(connection, shop)
    page = render_template(
        "members_why.html",
        form=form,
        member_id=member_id,
        name=name,
        journeys=[(one.key, named(one.title, one.key)) for one in journeys],
        told=told,
        labels=labels,
        reasons=[]
        if told is None
        else [(in_words(one.text), conditions_of(one.rule, one.explained, by)) for one in told.outside],
    )
    return (page, 422) if form.failed else page


def _day(form: Form) -> date | None:
    try:
        return require_day(date.fromisoformat(form.text("on"))) if form.text("on") else None
    except InvalidInput as error:
        form.refuse(error)
    except ValueError:
        form.errors["on"] = _("This is no day. An example: 2026-11-24.")
    return None
