"""A journey as a form: days before or after instead of signs, channels by preference, the audience as a rule."""

from __future__ import annotations

from typing import Any

from flask_babel import gettext as _
from sqlalchemy import Connection

from crm_plugin.errors import CrmError, InvalidInput, RuleError
from crm_plugin.rules import compile_for
from crm_plugin.rules.trigger_kinds import Param, Trigger
from crm_plugin.rules.triggers import kind_of, read_time
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journey import (
    CHANNELS,
    LONGEST_VALIDITY,
    MOST_HELD_OUT,
    PRIORITIES,
    Draft,
    Journey,
    kinds_of,
)
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.web.forms import Form, as_whole
from crm_plugin.web.i18n import explained
from crm_plugin.web.labels import channel_name
from crm_plugin.web.rule_help import rule_error
from crm_plugin.web.titles import CHINESE, ENGLISH, chinese, in_language, retitled

BEFORE, AFTER = "before", "after"


def filled(journey: Journey) -> Form:
    """The form of a journey."""
    values: dict[str, Any] = {
        "en": in_language(journey.title, ENGLISH),
        "zh": in_language(journey.title, CHINESE),
        **{f"trigger-{param.name}": _told(journey.trigger, param) for param in others(journey.trigger)},
        "days": str(abs(journey.trigger.days)),
        "side": BEFORE if journey.trigger.days < 0 else AFTER,
        "send_at": journey.send_at.strftime("%H:%M"),
        "validity_days": str(journey.validity_days),
        "priority": str(journey.priority),
        "holdout_pct": str(journey.holdout_pct),
        "audience": journey.audience_text,
        "kind": journey.kind,
    }
    places = [*journey.channels, *[""] * len(CHANNELS)]
    values |= {name: places[place] for place, name in enumerate(places_of(journey))}
    return Form(values)


def _told(trigger: Trigger, param: Param) -> str:
    value = trigger.more.get(param.name, param.usual)
    return "" if value is None else str(value)


def usable(journey: Journey) -> list[str]:
    """The channels this journey could use: a note hangs on an order."""
    return [name for name in CHANNELS if name != "note" or kind_of(journey.trigger).about_order]


def places_of(journey: Journey) -> list[str]:
    """The names of the fields for channels, first choice first."""
    return [f"channel-{place}" for place in range(1, len(usable(journey)) + 1)]


def channel_options(journey: Journey, first: bool) -> list[tuple[str, Any]]:
    """What a field for a channel offers."""
    names = [(name, channel_name(name)) for name in usable(journey)]
    return names if first else [("", _("no other")), *names]


def read(connection: Connection, shop: Shop, form: Form, journey: Journey) -> Draft | None:
    """What the form asks for; None when something is wrong with it, which then stands at its field."""
    told = {
        **journey.as_dict(),
        "title": retitled(journey.title, form.text("en"), form.text("zh")),
        "trigger": {"type": journey.trigger.type, **_params(form, journey.trigger)},
        # Those of a journey of several steps are the steps'.
        **({} if journey.flow.steps else {"channels": _channels(form, journey)}),
        "audience": _audience(connection, shop, form),
        "kind": form.text("kind"),
        "send_at": _send_at(form),
        "validity_days": _number(form, "validity_days", 1, LONGEST_VALIDITY),
        # A form of before may not have them.
        **({"priority": _number(form, "priority", *PRIORITIES)} if "priority" in form.values else {}),
        **({"holdout_pct": _number(form, "holdout_pct", 0, MOST_HELD_OUT)} if "holdout_pct" in form.values else {}),
        "enabled": None,
    }
    if not (form.text("en") or form.text("zh")):
        form.errors["zh" if chinese() else "en"] = _("Give the journey a name.")
    if form.text("kind") not in kinds_of(journey.trigger):
        form.errors["kind"] = (
            _("Choose one of the two.")
            if len(kinds_of(journey.trigger)) > 1
            else _("This journey does not follow an order, so it is marketing.")
        )
    if form.failed:
        return None
    try:
        return read_draft(told)
    except CrmError as error:
        refuse(form, error)
        return None


def refuse(form: Form, error: CrmError) -> None:
    """Put an error of the product at its field."""
    if isinstance(error, InvalidInput) and error.field == "channels":
        form.errors["channel-1"] = explained(error)
    elif isinstance(error, InvalidInput) and f"trigger-{error.field}" in form.values:
        form.errors[f"trigger-{error.field}"] = explained(error)
    else:
        form.refuse(error)


# What a draft keeps in another form than a journey, and what is the journey's whatever is drafted.
_OTHERWISE = frozenset({"audience", "send_at", "enabled"})


def has_days(trigger: Trigger) -> bool:
    """Whether it counts days."""
    return "days" in kind_of(trigger).names


def is_signed(trigger: Trigger) -> bool:
    """Whether its days may lie before what it is about."""
    return has_days(trigger) and (kind_of(trigger).param("days").low or 0) < 0


def others(trigger: Trigger) -> list[Param]:
    """What it takes beside days; the field of each is its name behind `trigger-`."""
    return [param for param in kind_of(trigger).params if param.name != "days"]


def trigger_fields(trigger: Trigger) -> list[tuple[str, str, list[tuple[str, str]], str]]:
    """Those as fields: name, label, choices (empty for what is typed), type of input."""
    language = "zh" if chinese() else "en"
    return [
        (
            f"trigger-{param.name}",
            param.label.in_language(language),
            [(one, label.in_language(language)) for one, label in param.choices],
            "number" if param.low is not None else "text",
        )
        for param in others(trigger)
    ]


def _params(form: Form, trigger: Trigger) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for param in kind_of(trigger).params:
        if param.name == "days":
            low, high = param.low or 0, param.high or 0
            days = _number(form, "days", max(low, 0), max(high, -low))
            found["days"] = -days if is_signed(trigger) and form.text("side") == BEFORE else days
        elif param.low is not None and param.high is not None:
            found[param.name] = _number(form, f"trigger-{param.name}", param.low, param.high)
        elif told := form.text(f"trigger-{param.name}"):
            found[param.name] = told
    return found


def _number(form: Form, name: str, low: int, high: int) -> int:
    told = as_whole(form.text(name))
    if told is not None and low <= told <= high:
        return told
    form.errors[name] = _("Write a whole number from %(low)s to %(high)s.", low=low, high=high)
    return low


def _channels(form: Form, journey: Journey) -> list[str]:
    chosen = list(dict.fromkeys(form.text(name) for name in places_of(journey) if form.text(name)))
    if not chosen or any(name not in usable(journey) for name in chosen):
        form.errors["channel-1"] = _("Choose at least one channel.")
    return chosen


def _audience(connection: Connection, shop: Shop, form: Form) -> str:
    told = form.text("audience").replace("\r\n", "\n")
    if told:
        try:
            compile_for(connection, shop, told)
        except RuleError as error:
            form.errors["audience"] = rule_error(error)
    return told


def _send_at(form: Form) -> str:
    # A browser may add seconds.
    told = form.text("send_at")[:5]
    try:
        read_time(told)
    except InvalidInput:
        form.errors["send_at"] = _("Write a time of day, such as 09:30.")
    return told
