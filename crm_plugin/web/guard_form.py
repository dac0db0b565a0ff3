"""What keeps messages within bounds, as a form: how often, at what hours, open cases, and many at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_babel import gettext as _

from crm_plugin.errors import CrmError
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.settings import read_settings, told_settings
from crm_plugin.web.forms import Form, as_whole
from crm_plugin.web.i18n import explained

# The fields that hold whole numbers, by setting; the path within it follows.
_CAPS = (("day",), ("week",), ("channels", "sms", "day"), ("channels", "sms", "week"))
_NUMBERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "caps": _CAPS,
    "open_cases": (("complaint_days",), ("return_days",), ("late_parcel_days",)),
    "blast": (("above",), ("canary_pct",), ("hold_hours",), ("confirm_above",)),
}
_SHARES = ("complaints_pct", "bounces_pct")
_RESTS = ("sundays", "holidays")
FROM, UNTIL = "quiet.sms.from", "quiet.sms.to"


def filled(shop: Shop) -> Form:
    """The form with what holds now, said or usual."""
    decided = policy_of(shop)
    caps: dict[tuple[str, ...], Any] = dict.fromkeys(_CAPS, 0)
    for limit in decided.limits:
        span = "day" if limit.span.days == 1 else "week"
        caps[("channels", limit.channel, span) if limit.channel else (span,)] = limit.most
    texts = decided.rest.channels.get("sms")
    values: dict[str, Any] = {_name("caps", path): str(caps[path]) for path in _CAPS}
    for setting, held in (("open_cases", decided.cases), ("blast", decided.blast)):
        values |= {_name(setting, path): str(getattr(held, path[0])) for path in _NUMBERS[setting]}
    values |= {f"blast.{name}": format(getattr(decided.blast, name), "f") for name in _SHARES}
    values |= {f"quiet.{name}": getattr(decided.rest, name) for name in _RESTS}
    values[FROM] = texts.start.strftime("%H:%M") if texts else ""
    values[UNTIL] = texts.end.strftime("%H:%M") if texts else ""
    return Form(values)


def posted(shop: Shop) -> Form:
    """What was typed; a box that is not ticked is not sent and still is an answer."""
    form = Form.posted(defaults=dict.fromkeys(filled(shop).values, ""))
    for name in _RESTS:
        form.values[f"quiet.{name}"] = bool(form.values[f"quiet.{name}"])
    return form


def told(shop: Shop, form: Form) -> dict[str, Any] | None:
    """The settings out of a form; None when something is wrong with it, which then stands at its field. What it does not show stays."""
    present = told_settings(shop)
    found: dict[str, Any] = {}
    for setting, paths in _NUMBERS.items():
        # Limits are told whole, as those that hold; of the others what is not shown stays as it is.
        found[setting] = _copy(present.get(setting, {}))
        for path in paths:
            _put(found[setting], path, _whole(form, _name(setting, path)))
    found["blast"] |= {name: form.text(f"blast.{name}") or "0" for name in _SHARES}
    found["quiet_hours"] = _quiet(shop, present, form)
    if not form.failed:
        try:
            read_settings(found)
        except CrmError as error:
            refuse(form, error)
    return None if form.failed else found


def refuse(form: Form, error: CrmError) -> None:
    """Put an error of the product at its field."""
    if getattr(error, "field", "").startswith("quiet_hours"):
        form.errors[FROM] = explained(error)
    else:
        form.refuse(error)


def _quiet(shop: Shop, present: Mapping[str, Any], form: Form) -> dict[str, Any]:
    quiet = policy_of(shop).quiet
    usual = {"from": quiet.start.strftime("%H:%M"), "to": quiet.end.strftime("%H:%M")}
    kept: dict[str, Any] = {**usual, **_copy(present.get("quiet_hours", {}))}
    channels = {name: hours for name, hours in kept.pop("channels", {}).items() if name != "sms"}
    first, last = form.text(FROM)[:5], form.text(UNTIL)[:5]
    if first or last:
        if not (first and last):
            form.errors[FROM] = _("Write both times, such as 21:00 and 08:00.")
        channels["sms"] = {"from": first, "to": last}
    return {**kept, **{name: bool(form.values[f"quiet.{name}"]) for name in _RESTS}, "channels": channels}


def _name(setting: str, path: tuple[str, ...]) -> str:
    return ".".join((setting, *path))


def _whole(form: Form, name: str) -> int:
    typed = as_whole(form.text(name))
    if typed is not None and 0 <= typed < 10**9:
        return typed
    form.errors[name] = _("Write a whole number.")
    return 0


def _copy(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in told.items()}


def _put(into: dict[str, Any], path: tuple[str, ...], value: int) -> None:
    *way, last = path
    for name in way:
        into = into.setdefault(name, {})
    into[last] = value
