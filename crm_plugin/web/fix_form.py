"""The form that fixes one member's level by hand, or fixes that there is none: what it offers and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from flask_babel import gettext as _

from crm_plugin.rules.called import Called
from crm_plugin.rules.policies import Kept, of_day
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.web.forms import Form
from crm_plugin.web.titles import level_name, named, program_name

FIELDS = {"level": "", "reason": "", "until": ""}
Choices = list[tuple[str, str]]


def choices(every: Mapping[str, Sequence[Kept]], by: Called, day: date) -> Choices:
    """Each level of each programme in force on that day, the highest first, and none of it, as `program/level`."""
    found: Choices = []
    for program, kept in every.items():
        levels = of_day(kept, day).policy.levels
        front = "" if program == PROGRAM else f"{program_name(by, program)}{_(': ')}"
        found += [(f"{program}/{one.key}", f"{front}{named(one.title, one.key)}") for one in reversed(levels)]
        found += [(f"{program}/", f"{front}{level_name(by, '')}")] if levels else []
    return [("", _("Choose a level")), *found] if found else []


def read(form: Form, offered: Choices) -> tuple[str, str, date | None]:
    """Programme, level (an empty one is none) and the last day (None is for good); what is wrong stands in the form then."""
    program, _sep, level = form.text("level").partition("/")
    if form.text("level") not in [value for value, _name in offered if value]:
        form.errors["level"] = _("Choose one of these.")
    if not form.text("reason"):
        form.errors["reason"] = _("Say in a few words why.")
    until = None
    try:
        until = date.fromisoformat(form.text("until")) if form.text("until") else None
    except ValueError:
        form.errors["until"] = _("Write the day as %(example)s.", example="2026-12-31")
    return program, level, until
