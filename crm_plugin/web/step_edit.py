"""Changing the list of a journey's steps: one found, put in, put in another's place, moved, taken out; all on a copy."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask_babel import gettext as _

from crm_plugin.errors import CrmError, InvalidInput, NotFound, RuleError
from crm_plugin.touchpoints import documents
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps.document import walk
from crm_plugin.web.i18n import explained

Steps = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step goes: after another, or first in one of its lists; with neither, at the very beginning."""

    after: str = ""
    into: str = ""
    arm: str = ""


def steps_of(journey: Journey) -> Steps:
    """A copy of the steps; the one message of a journey without steps as its only step."""
    if journey.flow.steps:
        return copy.deepcopy([step.as_dict() for step in journey.flow.steps])
    return [{"key": "message", "send": {"template": journey.template_key, "channels": list(journey.channels)}}]


def document_of(journey: Journey, steps: Steps) -> dict[str, Any]:
    """The journey's document with these steps."""
    told = {name: value for name, value in journey.as_dict().items() if name not in ("enabled", "channels", "template")}
    return {**told, "steps": steps}


def lists_of(step: Mapping[str, Any]) -> dict[str, Steps]:
    """The lists inside a step, by then and else or by arm."""
    if "split" in step:
        return dict(step.get("arms") or {})
    return {name: step[name] for name in ("then", "else") if step.get(name)}


def find(steps: Steps, key: str) -> tuple[Steps, int]:
    """The list that a step stands in, and its place there. Raises: NotFound."""
    for listed in _every(steps):
        for number, step in enumerate(listed):
            if step["key"] == key:
                return listed, number
    raise NotFound(_("There is no such step any more."))


def _every(steps: Steps) -> Iterator[Steps]:
    yield steps
    for step in steps:
        for inner in lists_of(step).values():
            yield from _every(inner)


def insert(steps: Steps, place: Place, step: dict[str, Any]) -> None:
    """Put a step in. Raises: NotFound."""
    if place.after:
        listed, number = find(steps, place.after)
        listed.insert(number + 1, step)
    elif place.into:
        listed, number = find(steps, place.into)
        home = listed[number].setdefault("arms", {}) if "split" in listed[number] else listed[number]
        home.setdefault(place.arm, []).insert(0, step)
    else:
        steps.insert(0, step)


def replace(steps: Steps, key: str, kind: str, told: Any) -> None:
    """Give a step other parameters. Raises: NotFound; InvalidInput for an arm that is gone while steps are in it."""
    listed, number = find(steps, key)
    step = listed[number]
    if kind == "split":
        step["arms"] = _arms(step, told)
    step[kind] = told


def _arms(step: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Steps]:
    """What is in the arms as they are called now. As many gone as new ones were renamed, each to the one in its place."""
    inner: dict[str, Steps] = dict(step.get("arms") or {})
    gone, new = [arm for arm in step["split"] if arm not in told], [arm for arm in told if arm not in step["split"]]
    names = dict(zip(gone, new, strict=True)) if len(gone) == len(new) else {}
    for arm in gone:
        if inner.get(arm) and arm not in names:
            raise InvalidInput(
                _("There are steps in “%(arm)s”.", arm=arm),
                field=f"steps.{step['key']}",
                hint=_("Take them out first, or leave it in the list."),
            )
    return {names.get(arm, arm): listed for arm, listed in inner.items() if arm in told or arm in names}


def move(steps: Steps, key: str, by: int) -> None:
    """Up or down within its list. Raises: NotFound."""
    listed, number = find(steps, key)
    to = min(max(number + by, 0), len(listed) - 1)
    listed.insert(to, listed.pop(number))


def remove(steps: Steps, key: str) -> None:
    """Take a step out, with all that is inside it. Raises: NotFound."""
    listed, number = find(steps, key)
    del listed[number]


def free_key(journey: Journey, kind: str) -> str:
    """A key for a new step of a kind that no step of the journey has."""
    taken = {step.key for step in walk(journey.flow.steps)} | {"message"}
    return next(key for number in range(1, 1000) if (key := f"{kind}-{number}") not in taken)


def as_text(steps: Steps) -> str:
    """The steps as they are written in a file."""
    return documents.write(steps)


def from_text(text: str) -> Any:
    """The steps out of a text. Raises: InvalidInput with the line."""
    try:
        return documents.read(text, "steps")
    except InvalidInput as error:
        told = _("This cannot be read. Check the spaces at the beginning of lines, colons and quotes.")
        raise InvalidInput(told, field="text", line=error.line) from error


def in_text(error: CrmError, text: str) -> str:
    """What is wrong, with the line of the text that it stands in where that is known."""
    line = error.line if isinstance(error, InvalidInput) else 0
    place = error.path if isinstance(error, RuleError) else getattr(error, "field", "")
    parts = place.partition(":")[0].split(".")
    if not line and parts[0] == "steps" and len(parts) > 1:
        line = _line_of(text, parts[1])
    told = explained(error)
    return str(_("Line %(line)s: %(what)s", line=line, what=told)) if line else told


def _line_of(text: str, key: str) -> int:
    named = re.compile(rf"\bkey:\s*[\"']?{re.escape(key)}[\"']?\s*(,|\}}|$|#)")
    return next((number for number, one in enumerate(text.split("\n"), 1) if named.search(one.rstrip())), 0)
