"""Changing the steps of a journey: one by one with forms, or all of them as text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.errors import CrmError, NotFound
from crm_plugin.rules.called import Called, called
from crm_plugin.store import audit
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints import texts
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.publishing import edited
from crm_plugin.touchpoints.steps import duties
from crm_plugin.touchpoints.steps.document import Step, read_steps, walk
from crm_plugin.web import coupon_form, journey_form, labels, step_edit, step_form
from crm_plugin.web.forms import Form
from crm_plugin.web.journey_edit import keep, mark_in
from crm_plugin.web.pages import bp, go
from crm_plugin.web.rule_help import field_help
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.step_edit import Place, Steps
from crm_plugin.web.step_texts import texts_of
from crm_plugin.web.step_words import EVENTS, KINDS, TOLD, WEEKDAYS, Outline, arm_words
from crm_plugin.web.titles import chinese, named

_AT = "/s/<shop>/journeys/<key>/steps"


@bp.get(_AT)
def journeys_steps(key: str) -> str:
    """The outline with ways to change it, and the same as text."""
    with site().runtime.db.read() as connection:
        return _list(connection, _get(connection, key), Form())


@bp.post(f"{_AT}-text")
def journeys_steps_text(key: str) -> Response | tuple[str, int]:
    """All steps as text."""
    form = Form.posted(defaults={"text": ""})
    form.values["text"] = str(request.form.get("text", "")).replace("\r\n", "\n")
    with site().runtime.db.read() as connection:
        journey = _get(connection, key)
    try:
        _keep(journey, step_edit.from_text(form.text("text")) or [], form.text("mark"))
    except CrmError as error:
        form.errors["text"] = step_edit.in_text(error, form.text("text"))
        with site().runtime.db.read() as connection:
            journey = _get(connection, key)
            form.values["mark"] = mark_in(form, journey, error)
            return _list(connection, journey, form), 422
    return go("journeys_steps", key=key)


@bp.get(f"{_AT}-new")
def journeys_step_new(key: str) -> str:
    """Which kind of step, then its form."""
    with site().runtime.db.read() as connection:
        kind = request.args.get("kind", "")
        form = step_form.empty(kind) if kind in step_form.FORMS else Form()
        return _form(connection, _get(connection, key), "", kind, form)


@bp.post(f"{_AT}-new")
def journeys_step_added(key: str) -> Response | tuple[str, int]:
    """Put a new step in."""
    kind = _kind(request.args.get("kind", ""))
    with site().runtime.db.read() as connection:
        journey = _get(connection, key)
    form, steps, own = (
        step_form.posted(kind),
        step_edit.steps_of(edited(journey)),
        step_edit.free_key(edited(journey), kind),
    )
    try:
        step_edit.insert(steps, _place(), {"key": own, kind: step_form.read(kind, form, {})})
        _keep(journey, steps, form.text("mark"))
    except NotFound:
        raise
    except CrmError as error:
        return _refused(key, "", own, kind, form, error)
    return go("journeys_steps", key=key, _anchor=f"s-{own}")


@bp.get(f"{_AT}/<step>")
def journeys_step(key: str, step: str) -> str:
    """The form of one step."""
    with site().runtime.db.read() as connection:
        journey = _get(connection, key)
        found = _step(journey, step)
        return _form(connection, journey, step, found.kind, _filled(found))


@bp.post(f"{_AT}/<step>")
def journeys_step_changed(key: str, step: str) -> Response | tuple[str, int]:
    """Change one step, move it up or down, or take it out."""
    with site().runtime.db.read() as connection:
        journey = _get(connection, key)
    found, act = _step(journey, step), request.form.get("do", "save")
    steps, sent = step_edit.steps_of(edited(journey)), request.form.get("mark", "")
    if act in ("up", "down", "remove"):
        if act == "remove":
            step_edit.remove(steps, step)
        else:
            step_edit.move(steps, step, -1 if act == "up" else 1)
        try:
            _keep(journey, steps, sent)
        except CrmError as error:
            return _refused(key, step, step, found.kind, _filled(found), error)
        return go("journeys_steps", key=key, **({} if act == "remove" else {"_anchor": f"s-{step}"}))
    form = step_form.posted(_kind(found.kind))
    try:
        step_edit.replace(steps, step, found.kind, step_form.read(found.kind, form, found.told))
        _keep(journey, steps, sent)
    except CrmError as error:
        return _refused(key, step, step, found.kind, form, error)
    return go("journeys_steps", key=key, _anchor=f"s-{step}")


@bp.post(f"{_AT}/<step>/codes")
def journeys_step_codes(key: str, step: str) -> Response | tuple[str, int]:
    """Put codes into the pool that a step hands out of; those that are there stay as they are."""
    shop, form, now = the_shop(), Form.posted(defaults={"codes": ""}), _now()
    with site().runtime.db.read() as connection:
        found = _step(_get(connection, key), step)
    if found.kind != "coupon":
        raise NotFound(_("This step hands out no codes."))
    codes, pool = form.text("codes").splitlines(), found.told["pool"]
    if not any(code.strip() for code in codes):
        form.errors["codes"] = _("Write one code a line.")
    else:
        try:
            with site().runtime.db.write() as connection:
                loaded = duties.load_codes(connection, shop, pool, codes, now)
                detail = {"pool": pool, "codes": loaded.added}
                audit.note(connection, shop.shop_id, g.actor, "coupons.loaded", detail, now)
        except CrmError as error:
            form.refuse(error, "codes")
    if form.failed:
        with site().runtime.db.read() as connection:
            journey = _get(connection, key)
            shown = step_form.filled(found.kind, found.told)
            return _form(connection, journey, step, found.kind, shown, form), 422
    coupon_form.tell(loaded)
    return go("journeys_step", key=key, step=step)


def _keep(journey: Journey, steps: Any, filled_from: str = "") -> None:
    """Raises: InvalidInput, RuleError; nothing is written then."""
    told = step_edit.document_of(edited(journey), steps)
    with site().runtime.db.write() as connection:
        keep(connection, the_shop(), journey, told, _now(), g.actor, filled_from=filled_from)
    flash(_("Saved as a draft.") if journey.enabled else _("Saved."), "good")


def _refused(key: str, step: str, own: str, kind: str, form: Form, error: CrmError) -> tuple[str, int]:
    step_form.refuse(form, kind, own, error)
    with site().runtime.db.read() as connection:
        journey = _get(connection, key)
        form.values["mark"] = mark_in(form, journey, error)
        return _form(connection, journey, step, kind, form), 422


def _filled(found: Step) -> Form:
    """The form of a step as it is kept; empty for a kind that is changed as text."""
    return step_form.filled(found.kind, found.told) if found.kind in step_form.FORMS else Form()


def _list(connection: Connection, journey: Journey, form: Form) -> str:
    shop, shown = the_shop(), edited(journey)
    told = step_edit.steps_of(shown)
    steps = read_steps(told)
    begins = texts_of(connection, shop, [one for one in walk(steps) if one.kind == "send"]).begins
    if "text" not in form.values:
        form.values["text"] = step_edit.as_text(told)
    return render_template(
        "journeys_steps.html",
        journey=journey,
        mark=mark_in(form, journey),
        name=named(shown.title, journey.key),
        lines=Outline(called(connection, shop), begins).lines(steps),
        arm_words=arm_words,
        only_message=not shown.flow.steps,
        form=form,
    )


def _form(connection: Connection, journey: Journey, step: str, kind: str, form: Form, codes: Form | None = None) -> str:
    shop, shown, by = the_shop(), edited(journey), called(connection, the_shop())
    inner = [one for one in walk(read_steps(step_edit.steps_of(shown))) if step and one.key == step]
    return render_template(
        "journeys_step.html",
        labels=labels,
        journey=journey,
        mark=mark_in(form, journey),
        name=named(shown.title, journey.key),
        step=step,
        kind=kind,
        kinds=KINDS,
        forms=step_form.FORMS,
        form=form,
        codes=codes or Form({"codes": ""}),
        place={name: request.args[name] for name in ("after", "into", "arm") if request.args.get(name)},
        inside=sum(1 for one in inner for _one in walk([one])) - 1,
        fields=field_help() if kind == "branch" else [],
        **_choices(connection, shop, shown, by),
    )


def _choices(connection: Connection, shop: Shop, shown: Journey, by: Called) -> Mapping[str, Any]:
    """What the fields offer."""
    first = journey_form.channel_options(shown, True)
    levels = [(f"{program}/{key}", by.whole(program, key, chinese())) for program, key in by.levels]
    return {
        "channels": {
            name: first if name == "channel-1" else [("", _("no other")), *first]
            for name in step_form.PLACES[: len(first)]
        },
        "templates": sorted({one.template_key for one in texts.texts(connection, shop.shop_id)}),
        "pools": [(one.key, one.title, one.left) for one in duties.pools(connection, shop)],
        "levels": levels,
        "modes": step_form.modes(),
        "weekdays": list(WEEKDAYS.items()),
        "events": list(EVENTS.items()),
        "told_parts": list(TOLD.items()),
    }


def _step(journey: Journey, key: str) -> Step:
    steps: Steps = step_edit.steps_of(edited(journey))
    found = next((one for one in walk(read_steps(steps)) if one.key == key), None)
    if found is None:
        raise NotFound(_("There is no such step any more."))
    return found


def _kind(kind: str) -> str:
    if kind not in step_form.FORMS:
        raise NotFound(_("There is no such kind of step."))
    return kind


def _place() -> Place:
    return Place(*(request.args.get(name, "") for name in ("after", "into", "arm")))


def _get(connection: Connection, key: str) -> Journey:
    return store.get(connection, the_shop().shop_id, key)


def _now() -> datetime:
    return site().runtime.clock.now()
