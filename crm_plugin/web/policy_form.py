"""The policy of a tier programme as a form: what counts, the levels with their bars, how long each holds, from when on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import request
from flask_babel import gettext as _

from crm_plugin.rules.measure import CALENDAR_YEAR, LIFETIME, SINCE_JOINING, SUMS, Measure
from crm_plugin.rules.policy import (
    DAYS,
    END_OF_NEXT_YEAR,
    END_OF_YEAR,
    NEVER,
    NO_TERM,
    ONE_STEP,
    STRAIGHT,
    Bar,
    Policy,
    PolicyLevel,
)
from crm_plugin.web.forms import Form, as_whole
from crm_plugin.web.titles import CHINESE, ENGLISH, in_language

# How a level is reached; a measure of the merchant's own, told in the rule language.
BY_BAR, BY_RULE, BY_INVITATION = "bar", "rule", "invitation"
OWN = "own"
LEVEL_FIELDS = (
    "was", "key", "en", "zh", "how", "entry", "keep", "reentry", "rule", "keep_rule", "reentry_rule", "reward",
)  # fmt: skip
FIELDS = (
    "version", "en", "zh", "key", "measure", "own", "window", "window_days", "products", "categories", "shipping",
    "tax", "term", "term_days", "grace_days", "descent", "effective_on",
)  # fmt: skip
# More levels than any programme has.
MOST = 30
_BLANK = {**dict.fromkeys(LEVEL_FIELDS, ""), "how": BY_BAR}


def filled(policy: Policy, version: int, *, saved: bool = True) -> Form:
    """The form of a policy, `saved` or only proposed; `version` is the newest that is known while it is filled in."""
    return Form(
        {
            **_program(policy),
            "version": str(version),
            **_numbered([_row(one, saved=saved) for one in reversed(policy.levels)]),
        }
    )


def blank() -> Form:
    """The form of a programme that is not there yet: it counts what was spent, and has one level to begin with."""
    usual = {"measure": "spent", "window": LIFETIME, "term": NO_TERM, "descent": STRAIGHT, "version": "0"}
    return Form({**dict.fromkeys(FIELDS, ""), **usual, **_numbered([dict(_BLANK)])})


def posted() -> Form:
    """The form as it was sent."""
    told = {name: request.form.get(name, "").replace("\r\n", "\n").strip() for name in FIELDS}
    return Form({**told, **_numbered(_posted_rows())})


def changed(form: Form, act: str) -> Form:
    """The form after one of its own buttons; `retire` takes all levels out."""
    rows = [] if act == "retire" else _arranged(rows_of(form), act)
    return Form({**{name: form.text(name) for name in FIELDS}, **_numbered(rows)})


def rows_of(form: Form) -> list[dict[str, str]]:
    """The levels in a form, the highest first."""
    return [{name: form.text(f"{name}-{number}") for name in LEVEL_FIELDS} for number in range(form.values["rows"])]


def _posted_rows() -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    while len(rows) < MOST and f"rule-{len(rows)}" in request.form:
        told = {name: request.form.get(f"{name}-{len(rows)}", "") for name in LEVEL_FIELDS}
        rows.append({name: value.replace("\r\n", "\n").strip() for name, value in told.items()})
    return rows


def _arranged(rows: list[dict[str, str]], act: str) -> list[dict[str, str]]:
    """The rows after one of the form's own buttons: `up-1`, `down-0`, `remove-2`, `add`."""
    what, _sep, told = act.partition("-")
    place = as_whole(told)
    if what == "add":
        rows.insert(0, dict(_BLANK))
    elif what in ("up", "down", "remove") and place is not None and 0 <= place < len(rows):
        row = rows.pop(place)
        if what != "remove":
            rows.insert(max(place - 1, 0) if what == "up" else place + 1, row)
    return rows[:MOST]


def _numbered(rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    values: dict[str, Any] = {"rows": len(rows)}
    for number, row in enumerate(rows):
        values |= {f"{name}-{number}": value for name, value in row.items()}
    return values


def _program(policy: Policy) -> dict[str, str]:
    day = policy.effective_on
    return {
        "en": in_language(policy.title, ENGLISH),
        "zh": in_language(policy.title, CHINESE),
        "key": policy.program,
        **_measured(policy.measure),
        "term": policy.term,
        "term_days": _number(policy.term_days),
        "grace_days": _number(policy.grace_days),
        "descent": policy.descent,
        "effective_on": day.isoformat() if day else "",
    }


def _measured(measure: Measure | None) -> dict[str, str]:
    told = measure or Measure("")
    known = measure is None or told.what in SUMS
    return {
        "measure": told.what if known else OWN,
        "own": "" if known else told.what,
        "window": DAYS if told.days is not None else told.window,
        "window_days": _number(told.days),
        "products": "\n".join(told.excluded.products),
        "categories": "\n".join(told.excluded.categories),
        "shipping": "1" if told.excluded.shipping else "",
        "tax": "1" if told.excluded.tax else "",
    }


def _row(level: PolicyLevel, *, saved: bool) -> dict[str, str]:
    return {
        "was": level.key if saved else "",
        "key": level.key,
        "en": in_language(level.title, ENGLISH),
        "zh": in_language(level.title, CHINESE),
        "how": BY_INVITATION if level.invitation else BY_RULE if level.rule else BY_BAR,
        "entry": _bar(level.entry),
        "keep": _bar(level.keep),
        "reentry": _bar(level.reentry),
        "rule": level.rule,
        "keep_rule": level.keep_rule,
        "reentry_rule": level.reentry_rule,
        "reward": level.reward,
    }


def _bar(bar: Bar | None) -> str:
    return "" if bar is None else format(bar, "f") if not isinstance(bar, int) else str(bar)


def _number(days: int | None) -> str:
    return str(days) if days else ""


def labels() -> dict[str, str]:
    """What the fields of no level are called, where something can be wrong with them."""
    return {
        "en": _("Name of the programme in English"),
        "zh": _("Name of the programme in Chinese"),
        "key": _("Key"),
        "measure": _("What is counted"),
        "own": _("The figure"),
        "window": _("Since when"),
        "window_days": _("How many days"),
        "products": _("What does not count"),
        "descent": _("Whoever no longer reaches it goes down"),
        "term": _("A level once reached holds"),
        "term_days": _("For how many days"),
        "grace_days": _("Days of grace"),
        "effective_on": _("Takes effect on"),
    }


def choices() -> dict[str, list[tuple[str, Any]]]:
    """What the form offers, field by field."""
    return {
        "measure": [
            ("spent", _("Amount spent, less what was given back")),
            ("gross", _("Amount ordered, given back or not")),
            ("orders", _("Number of orders")),
            ("profit", _("Profit")),
            (OWN, _("A figure of your own")),
            ("", _("Nothing: each level has a rule")),
        ],
        "window": [
            (LIFETIME, _("Ever")),
            (DAYS, _("In the last days")),
            (CALENDAR_YEAR, _("In the calendar year")),
            (SINCE_JOINING, _("Since they joined")),
        ],
        "how": [
            (BY_BAR, _("By reaching a figure")),
            (BY_RULE, _("By a rule")),
            (BY_INVITATION, _("By invitation only")),
        ],
        "term": [
            (NO_TERM, _("As long as it is kept")),
            (DAYS, _("For a number of days")),
            (END_OF_YEAR, _("Through the end of the year")),
            (END_OF_NEXT_YEAR, _("Through the end of the next year")),
        ],
        "descent": [
            (STRAIGHT, _("Straight to the level that is still kept")),
            (ONE_STEP, _("One level at a time")),
            (NEVER, _("Never")),
        ],
    }


def measure_words(policy: Policy) -> str:
    """What counts in a programme, such as: Number of orders, in the last 365 days."""
    measure = policy.measure
    if measure is None:
        return str(_("By rules"))
    offered = choices()
    what = str(dict(offered["measure"]).get(measure.what, measure.what))
    if measure.days is not None:
        return str(_("%(what)s in the last %(days)s days", what=what, days=measure.days))
    if measure.window == LIFETIME:
        return what
    return f"{what}{_(', ')}{str(dict(offered['window'])[measure.window]).lower()}"
