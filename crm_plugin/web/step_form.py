"""One step as a form: what is shown in its fields, and what they ask for; the journey's own reading finds what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask_babel import gettext as _

from crm_plugin.errors import CrmError, InvalidInput, RuleError
from crm_plugin.touchpoints.journey import CHANNELS
from crm_plugin.touchpoints.steps.kinds import CALL_EVENT, TOLD
from crm_plugin.web.forms import Form, as_whole
from crm_plugin.web.rule_help import rule_error
from crm_plugin.web.titles import CHINESE, ENGLISH, in_language, retitled

# What has a form; all else is written as text.
FORMS = ("send", "wait", "branch", "split", "coupon", "tag", "tier", "task", "webhook", "end")
PLACES = tuple(f"channel-{number}" for number in range(1, len(CHANNELS) + 1))
# What a call may tell, each a box of its own.
PARTS = tuple(f"tell-{name}" for name in TOLD)
SPAN, HOUR, WEEKDAY, OCCASION, EVENT = "span", "hour", "weekday", "occasion", "event"
_EMPTY: dict[str, dict[str, str]] = {
    "send": {"template": "", "validity_days": "", **dict.fromkeys(PLACES, ""), "channel-1": "email"},
    "wait": {
        "mode": SPAN,
        "days": "3",
        "hours": "",
        "minutes": "",
        "at": "10:00",
        "weekday": "tue",
        "occasion": "0",
        "event": "order_placed",
        "within_days": "7",
    },
    "branch": {"rule": ""},
    "split": {"arms": "a 50\nb 50"},
    "coupon": {"pool": ""},
    "tag": {"add": "", "remove": ""},
    "tier": {"level": "", "reason": "", "until_days": "", "invite": ""},
    "task": {"en": "", "zh": "", "due_days": "0", "owner": ""},
    "webhook": {"url": "", "event": CALL_EVENT, "body": "", "validity_days": "", **dict.fromkeys(PARTS, "1")},
    "end": {},
}


def posted(kind: str) -> Form:
    """What was sent; every field of the kind is there."""
    return Form.posted(defaults=dict.fromkeys(_EMPTY[kind], ""))


def empty(kind: str) -> Form:
    """The form of a new step."""
    return Form(dict(_EMPTY[kind]))


def filled(kind: str, told: Mapping[str, Any]) -> Form:
    """The form of a step that is there."""
    return Form({**dict.fromkeys(_EMPTY[kind], ""), **_FILL.get(kind, lambda _told: {})(told)})


def _fill_send(told: Mapping[str, Any]) -> dict[str, str]:
    places = dict(zip(PLACES, told["channels"], strict=False))
    return {"template": told["template"], "validity_days": str(told.get("validity_days", "")), **places}


def _fill_wait(told: Mapping[str, Any]) -> dict[str, str]:
    if "event" in told:
        return {"mode": EVENT, "event": told["event"], "within_days": str(told["within_days"])}
    until = told.get("until")
    if until is None:
        return {"mode": SPAN, **{name: str(told[name]) for name in ("days", "hours", "minutes") if name in told}}
    if "weekday" in until:
        return {"mode": WEEKDAY, "weekday": until["weekday"], "at": until["at"]}
    if "occasion" in until:
        return {"mode": OCCASION, "occasion": str(until["occasion"]), "at": until["at"]}
    return {"mode": HOUR, "at": until["at"]}


def _fill_task(told: Mapping[str, Any]) -> dict[str, str]:
    names = {name: in_language(told["title"], locale) for name, locale in (("en", ENGLISH), ("zh", CHINESE))}
    return {**names, "due_days": str(told["due_days"]), "owner": told["owner"]}


def _fill_webhook(told: Mapping[str, Any]) -> dict[str, str]:
    named = told.get("fields", TOLD)
    return {
        "url": told["url"],
        "event": told.get("event", CALL_EVENT),
        "body": "\n".join(f"{name}: {_as_line(value)}" for name, value in told["body"].items()),
        "validity_days": str(told.get("validity_days", "")),
        **{f"tell-{name}": "1" if name in named else "" for name in TOLD},
    }


def _as_line(value: Any) -> str:
    """A value on a line of its own; what is no text as JSON, and a text that would be read as that too."""
    return value if isinstance(value, str) and _value(value) == value else json.dumps(value, ensure_ascii=False)


def _value(told: str) -> Any:
    try:
        return json.loads(told)
    except ValueError:
        return told


_FILL: dict[str, Any] = {
    "send": _fill_send,
    "wait": _fill_wait,
    "branch": lambda told: {"rule": told["rule"]},
    "split": lambda told: {"arms": "\n".join(f"{name} {share}" for name, share in told["arms"].items())},
    "coupon": lambda told: {"pool": told["pool"]},
    "tag": lambda told: {name: ", ".join(told.get(name, ())) for name in ("add", "remove")},
    "tier": lambda told: {
        "level": f"{told['program']}/{told['level']}",
        "reason": told.get("reason", ""),
        "until_days": str(told.get("until_days", "")),
        "invite": "1" if told.get("invite") else "",
    },
    "task": _fill_task,
    "webhook": _fill_webhook,
}


def read(kind: str, form: Form, before: Mapping[str, Any]) -> Any:
    """What the form asks for, as a document writes it; what it has no field for stays as `before` had it."""
    return _READ[kind](form, before)


def _number(form: Form, name: str) -> Any:
    """A whole number where it is one; else as it was written, for the document's reading to refuse."""
    return _whole(form.text(name))


def _whole(told: str) -> Any:
    number = as_whole(told)
    return told if number is None else number


def _numbers(form: Form, *names: str) -> dict[str, Any]:
    return {name: _number(form, name) for name in names if form.text(name)}


def _send(form: Form, before: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: before[name] for name in ("topic", "kind") if name in before}
    channels = list(dict.fromkeys(form.text(name) for name in PLACES if form.text(name)))
    return {"template": form.text("template"), "channels": channels, **kept, **_numbers(form, "validity_days")}


def _wait(form: Form, _before: Mapping[str, Any]) -> dict[str, Any]:
    mode, at = form.text("mode"), form.text("at")[:5]
    if mode == EVENT:
        return {"event": form.text("event"), "within_days": _number(form, "within_days")}
    if mode == WEEKDAY:
        return {"until": {"weekday": form.text("weekday"), "at": at}}
    if mode == OCCASION:
        return {"until": {"occasion": _number(form, "occasion"), "at": at}}
    if mode == HOUR:
        return {"until": {"at": at}}
    return _numbers(form, "days", "hours", "minutes")


def _split(form: Form, _before: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in form.text("arms").splitlines():
        name, _space, share = line.replace(":", " ").replace("%", " ").strip().partition(" ")
        if name:
            found[name] = _whole(share.strip())
    return found


def _tag(form: Form, _before: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: form.text(name).replace("，", ",").split(",") for name in ("add", "remove")}
    found = {name: [tag.strip() for tag in tags if tag.strip()] for name, tags in told.items()}
    return {name: tags for name, tags in found.items() if tags}


def _tier(form: Form, _before: Mapping[str, Any]) -> dict[str, Any]:
    program, _slash, level = form.text("level").partition("/")
    told: dict[str, Any] = {"program": program, "level": level, **_numbers(form, "until_days")}
    return {**told, "invite": True} if form.text("invite") else {**told, "reason": form.text("reason")}


def _task(form: Form, before: Mapping[str, Any]) -> dict[str, Any]:
    title = retitled(before.get("title", {}), form.text("en"), form.text("zh"))
    owner = {"owner": form.text("owner")} if form.text("owner") else {}
    return {"title": title, "due_days": _number(form, "due_days") if form.text("due_days") else 0, **owner}


def _webhook(form: Form, _before: Mapping[str, Any]) -> dict[str, Any]:
    lines = [line.partition(":") for line in form.text("body").splitlines() if line.strip()]
    body = {name.strip(): _value(value.strip()) for name, _colon, value in lines}
    named = [name for name in TOLD if form.text(f"tell-{name}")]
    event = form.text("event")
    return {
        "url": form.text("url"),
        **({"event": event} if event and event != CALL_EVENT else {}),
        **({"fields": named} if len(named) < len(TOLD) else {}),
        **({"body": body} if body else {}),
        **_numbers(form, "validity_days"),
    }


_READ: dict[str, Any] = {
    "send": _send,
    "wait": _wait,
    "branch": lambda form, _before: {"rule": form.text("rule").replace("\r\n", "\n")},
    "split": _split,
    "coupon": lambda form, _before: {"pool": form.text("pool")},
    "tag": _tag,
    "tier": _tier,
    "task": _task,
    "webhook": _webhook,
    "end": lambda _form, _before: {},
}
# Where an error of the document stands whose own name is no field.
_AT = {"channels": "channel-1", "title": "en", "send_at": "at", "program": "level", "fields": "tell-occasion"}


def refuse(form: Form, kind: str, key: str, error: CrmError) -> None:
    """Put what is wrong at its field; what is wrong elsewhere in the journey at the whole form."""
    if isinstance(error, RuleError) and kind == "branch" and error.path.startswith(f"steps.{key}"):
        form.errors["rule"] = rule_error(error)
        return
    field = error.field if isinstance(error, InvalidInput) else ""
    name = field.rpartition(".")[2]
    place = _AT.get(name, name)
    if kind == "split" and field.startswith(f"steps.{key}"):
        place = "arms"
    elif kind == "wait" and field == f"steps.{key}":
        place = "days"
    elif kind == "tag" and field == f"steps.{key}":
        place = "add"
    elif kind == "task" and field == f"steps.{key}":
        place = "en"
    elif kind == "webhook" and field == f"steps.{key}":
        place = "url"
    elif not (field.startswith(f"steps.{key}.") or field == "send_at"):
        place = ""
    form.refuse(type(error)(error.message, field=place, hint=error.hint) if isinstance(error, InvalidInput) else error)


def modes() -> list[tuple[str, str]]:
    """What a wait can be."""
    return [
        (SPAN, str(_("for a time"))),
        (HOUR, str(_("until a time of day"))),
        (WEEKDAY, str(_("until a weekday"))),
        (OCCASION, str(_("until the day it is about"))),
        (EVENT, str(_("for something to happen"))),
    ]
