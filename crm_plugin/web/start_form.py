"""What starts a journey, as a form made from the registry of triggers; with it its goal, who leaves early, who comes in again."""

from __future__ import annotations

from typing import Any

from flask_babel import gettext as _

from crm_plugin.errors import CrmError, InvalidInput, RuleError
from crm_plugin.rules.trigger_kinds import Kind, Param
from crm_plugin.rules.triggers import KINDS
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps.flow import AUDIENCE, EACH, EVERY_DAYS, NEVER, ONCE
from crm_plugin.web.forms import Form, as_whole
from crm_plugin.web.i18n import explained
from crm_plugin.web.rule_help import rule_error
from crm_plugin.web.titles import chinese

_GOES_ON = ("goal", "exit", "reentry", "every_days")


def types() -> list[tuple[str, str]]:
    """Every type of trigger with what it is called."""
    return [(kind.type, _in_words(kind.label)) for kind in KINDS.values()]


def help_of(kind: Kind) -> str:
    """What a type does."""
    return _in_words(kind.help)


def fields(kind: Kind) -> list[tuple[str, str, list[tuple[str, str]], Param]]:
    """The fields of a type: name, label, choices (empty for what is typed), parameter."""
    found = []
    for param in kind.params:
        choices = [(value, _in_words(label)) for value, label in param.choices]
        if choices and param.usual is None and not param.needed:
            choices = [("", str(_("none"))), *choices]
        label = _in_words(param.label)
        found.append((f"p-{param.name}", label[:1].upper() + label[1:], choices, param))
    return found


def filled(journey: Journey, kind: Kind) -> Form:
    """The form of a journey; of another type than its own with what is usual there."""
    own = journey.trigger.type == kind.type
    values: dict[str, Any] = {"type": kind.type}
    for param in kind.params:
        told = param.usual
        if own:
            told = journey.trigger.days if param.name == "days" else journey.trigger.more.get(param.name, param.usual)
        values[f"p-{param.name}"] = "" if told is None else str(told)
    flow = journey.flow
    return Form(
        {
            **values,
            "goal": flow.goal_text,
            "exit": flow.exit,
            "reentry": flow.reentry,
            "every_days": str(flow.every_days or ""),
        }
    )


def posted(kind: Kind) -> Form:
    """What was sent."""
    names = [f"p-{param.name}" for param in kind.params]
    return Form.posted(defaults=dict.fromkeys((*names, *_GOES_ON, "type"), ""))


def read(form: Form, kind: Kind, journey: Journey) -> dict[str, Any]:
    """The journey's document with what the form asks for; what cannot be is for its reading to refuse."""
    trigger: dict[str, Any] = {"type": kind.type}
    for param in kind.params:
        told = form.text(f"p-{param.name}")
        if told:
            trigger[param.name] = _value(told, param)
    document = {name: value for name, value in journey.as_dict().items() if name != "enabled"} | {"trigger": trigger}
    if not journey.flow.steps:
        return document
    for name in ("goal", "exit", "reentry"):
        document.pop(name, None)
    if form.text("goal"):
        document["goal"] = form.text("goal").replace("\r\n", "\n")
    if form.text("exit") != AUDIENCE:
        document["exit"] = form.text("exit")
    if form.text("reentry") == EVERY_DAYS:
        document["reentry"] = {EVERY_DAYS: _whole(form.text("every_days"))}
    elif form.text("reentry") != EACH:
        document["reentry"] = form.text("reentry")
    return document


def _value(told: str, param: Param) -> Any:
    return _whole(told) if param.low is not None else told


def _whole(told: str) -> Any:
    """A whole number where it is one; else as it was written, for the document's reading to refuse."""
    number = as_whole(told)
    return told if number is None else number


def refuse(form: Form, error: CrmError) -> None:
    """Put what is wrong at its field."""
    if isinstance(error, RuleError) and error.path.startswith("goal"):
        form.errors["goal"] = rule_error(error)
        return
    field = error.field if isinstance(error, InvalidInput) else ""
    place = {"reentry": "every_days", "trigger": "type"}.get(field, field)
    named = f"p-{place}" if f"p-{place}" in form.values else place if place in form.values else ""
    form.errors[named] = explained(error)


def exits() -> list[tuple[str, str]]:
    """Who leaves before the end."""
    return [(AUDIENCE, str(_("whoever is no longer meant"))), (NEVER, str(_("nobody")))]


def reentries() -> list[tuple[str, str]]:
    """Who comes in again."""
    return [
        (EACH, str(_("each time it comes about"))),
        (ONCE, str(_("never a second time"))),
        (EVERY_DAYS, str(_("not again for some days"))),
    ]


def _in_words(text: Any) -> str:
    return str(text.in_language("zh" if chinese() else "en"))
