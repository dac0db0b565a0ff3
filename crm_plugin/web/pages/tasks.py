"""Tasks: whom to call today, and what came of it."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from crm_plugin.clock import local_day
from crm_plugin.errors import CrmError
from crm_plugin.rules.called import called
from crm_plugin.store import audit
from crm_plugin.touchpoints.steps import duties
from crm_plugin.touchpoints.steps.ending import BY_JOURNEY
from crm_plugin.web.i18n import explained
from crm_plugin.web.pages import bp, go
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.step_words import ENDINGS
from crm_plugin.web.titles import chinese, who

MOST = 200
LATELY = timedelta(days=30)


@bp.get("/s/<shop>/tasks")
def tasks() -> str:
    """What is open, the most urgent first, and what was done lately."""
    return _page()


@bp.post("/s/<shop>/tasks/<int:task_id>")
def tasks_done(task_id: int) -> Response | tuple[str, int]:
    """Say what came of one."""
    outcome, now = request.form.get("outcome", "").strip(), _now()
    try:
        with site().runtime.db.write() as connection:
            duties.finish(connection, the_shop(), task_id, outcome, g.actor, now)
            detail = {"task": str(task_id), "outcome": outcome}
            audit.note(connection, the_shop().shop_id, g.actor, "task.done", detail, now)
    except CrmError as error:
        return _page(task_id, outcome, explained(error)), 422
    flash(_("Done."), "good")
    return go("tasks", **({"due": "today"} if request.form.get("due") == "today" else {}))


def _page(wrong: int = 0, outcome: str = "", error: str = "") -> str:
    shop, today = the_shop(), _today()
    due = request.values.get("due", "")
    with site().runtime.db.read() as connection:
        every = duties.open_tasks(connection, shop, today if due == "today" else None, MOST + 1)
        done = duties.done_tasks(connection, shop, _now() - LATELY)
        by = called(connection, shop)
    parts = [
        (_("Overdue"), [one for one in every[:MOST] if one.due_on < today]),
        (_("Today"), [one for one in every[:MOST] if one.due_on == today]),
        (_("Later"), [one for one in every[:MOST] if one.due_on > today]),
    ]
    there = {one.task_id for one in every}
    return render_template(
        "tasks.html",
        parts=[(title, listed) for title, listed in parts if listed],
        urgent=sum(one.due_on <= today for one in every),
        more=len(every) > MOST,
        done=done,
        due=due,
        wrong=wrong,
        outcome=outcome,
        error=error,
        gone=error if wrong not in there else "",
        journey_name=lambda key: by.journey(key, chinese()),
        came=_came,
        who=lambda actor: "" if actor == BY_JOURNEY else who(actor),
    )


def _came(one: duties.Task) -> str:
    """What came of a task, in words; of one that the journey closed, why."""
    return str(ENDINGS.get(one.outcome, one.outcome)) if one.done_by == BY_JOURNEY else one.outcome


def _now() -> datetime:
    return site().runtime.clock.now()


def _today() -> date:
    return local_day(_now(), the_shop().timezone)
