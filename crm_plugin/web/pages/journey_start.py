"""What starts a journey: any type of trigger with what it takes, the goal, who leaves early, who comes in again."""

from __future__ import annotations

from datetime import datetime

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.errors import CrmError, NotFound
from crm_plugin.rules.called import called
from crm_plugin.rules.trigger_kinds import Kind
from crm_plugin.rules.triggers import KINDS
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.publishing import edited
from crm_plugin.web import journey_words, start_form
from crm_plugin.web.forms import Form
from crm_plugin.web.journey_edit import keep, mark_in
from crm_plugin.web.pages import bp, go
from crm_plugin.web.rule_help import field_help
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.titles import named

_AT = "/s/<shop>/journeys/<key>/start"


@bp.get(_AT)
def journeys_start(key: str) -> str:
    """The form, for the type that is chosen."""
    with site().runtime.db.read() as connection:
        journey = _get(connection, key)
        shown = edited(journey)
        kind = _kind(request.args.get("type", shown.trigger.type))
        return _page(connection, journey, kind, start_form.filled(shown, kind))


@bp.post(_AT)
def journeys_started(key: str) -> Response | tuple[str, int]:
    """Keep it."""
    kind = _kind(request.form.get("type", ""))
    form = start_form.posted(kind)
    with site().runtime.db.read() as connection:
        journey = _get(connection, key)
    try:
        with site().runtime.db.write() as connection:
            told = start_form.read(form, kind, edited(journey))
            keep(connection, the_shop(), journey, told, _now(), g.actor, filled_from=request.form.get("mark", ""))
    except CrmError as error:
        start_form.refuse(form, error)
        with site().runtime.db.read() as connection:
            journey = _get(connection, key)
            form.values["mark"] = mark_in(form, journey, error)
            return _page(connection, journey, kind, form), 422
    flash(_("Saved as a draft.") if journey.enabled and journey.flow.steps else _("Saved."), "good")
    return go("journeys_one", key=key)


def _page(connection: Connection, journey: Journey, kind: Kind, form: Form) -> str:
    shown = edited(journey)
    return render_template(
        "journeys_start.html",
        journey=journey,
        mark=mark_in(form, journey),
        name=named(shown.title, journey.key),
        present=journey_words.when(shown.trigger, called(connection, the_shop())),
        kind=kind,
        types=start_form.types(),
        help=start_form.help_of(kind),
        trigger_fields=start_form.fields(kind),
        staged=bool(shown.flow.steps),
        exits=start_form.exits(),
        reentries=start_form.reentries(),
        form=form,
        fields=field_help(),
    )


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise NotFound(_("There is no such trigger."))
    return KINDS[name]


def _get(connection: Connection, key: str) -> Journey:
    return store.get(connection, the_shop().shop_id, key)


def _now() -> datetime:
    return site().runtime.clock.now()
