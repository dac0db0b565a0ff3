"""What a step can do: one row for each kind, with how its parameters are read and written and in which lists it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from crm_plugin.errors import InvalidInput, RuleError
from crm_plugin.phrases import phrase
from crm_plugin.rules import compile_rule
from crm_plugin.rules.triggers import read_time
from crm_plugin.touchpoints.steps.params import Params, mapping_of

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# What a wait can wait for, and the longest that anybody waits.
EVENTS = ("order_placed", "delivered", "opened", "clicked")
LONGEST_WAIT_DAYS = 365
# What another system is told of beside the step, unless it is to be told of less, and what such a call is named.
TOLD = ("occasion", "member", "order", "coupon")
CALL_EVENT = "journey.step"
CHANNELS = ("email", "sms", "inapp", "note")
_Read = Callable[[Any, str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of step. `read` takes what was told and the field to name in errors; `lists` names those it goes on in."""

    name: str
    read: _Read
    lists: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda _told: ()
    write: Callable[[Mapping[str, Any]], Any] = dict


def _send(told: Any, field: str) -> dict[str, Any]:
    params = Params(told, field, ("template", "channels", "topic", "kind", "validity_days"))
    found: dict[str, Any] = {"template": params.key("template"), "channels": params.words("channels", CHANNELS)}
    if "topic" in params:
        found["topic"] = params.key("topic")
    if "kind" in params:
        found["kind"] = params.one_of("kind", ("marketing", "transactional"))
    if "validity_days" in params:
        found["validity_days"] = params.number("validity_days", 1, 60)
    return found


def _wait(told: Any, field: str) -> dict[str, Any]:
    params = Params(told, field, ("days", "hours", "minutes", "until", "event", "within_days"))
    if "until" in params:
        params.alone("until")
        until = Params(params["until"], f"{field}.until", ("weekday", "at", "occasion"))
        found: dict[str, Any] = {"at": read_time(until.text("at")).strftime("%H:%M")}
        if "occasion" in until and "weekday" in until:
            until.refuse(
                phrase("A wait is until a weekday or until the day it is about."), phrase("Take out one of the two.")
            )
        if "occasion" in until:
            return {"until": {"occasion": until.number("occasion", -LONGEST_WAIT_DAYS, LONGEST_WAIT_DAYS), **found}}
        if "weekday" in until:
            found = {"weekday": until.one_of("weekday", WEEKDAYS), **found}
        return {"until": found}
    if "event" in params:
        params.alone("event", "within_days")
        return {
            "event": params.one_of("event", EVENTS),
            "within_days": params.number("within_days", 1, LONGEST_WAIT_DAYS),
        }
    parts = {name: params.number(name, 0, most) for name, most in _SPANS.items() if name in params}
    if "within_days" in params or not any(parts.values()):
        params.refuse(
            phrase("A wait says how long."), phrase("Such as {days: 3}, or {event: order_placed, within_days: 7}.")
        )
    if minutes_of(parts) > LONGEST_WAIT_DAYS * 24 * 60:
        params.refuse(phrase("Nobody waits longer than %(days)s days.", days=LONGEST_WAIT_DAYS))
    return parts


_SPANS = {"days": LONGEST_WAIT_DAYS, "hours": 8760, "minutes": 525_600}


def minutes_of(told: Mapping[str, Any]) -> int:
    """How long a wait of days, hours and minutes lasts."""
    days, hours, minutes = (int(told.get(name, 0)) for name in _SPANS)
    return (days * 24 + hours) * 60 + minutes


def _branch(told: Any, field: str) -> dict[str, Any]:
    if isinstance(told, str):
        told = {"rule": told}
    rule = Params(told, field, ("rule",)).text("rule").strip()
    try:
        compile_rule(rule)
    except RuleError as error:
        place = ": ".join(part for part in (field, error.path) if part)
        raise type(error)(error.message, line=error.line, column=error.column, path=place, hint=error.hint) from error
    return {"rule": rule}


def _split(told: Any, field: str) -> dict[str, Any]:
    arms = Params(told, field, ("arms",))["arms"] if isinstance(told, Mapping) and "arms" in told else told
    named = mapping_of(arms, field)
    params = Params(named, field, tuple(named))
    found = {str(name): params.number(name, 1, 100) for name in named}
    if len(found) < 2 or sum(found.values()) != 100:
        params.refuse(
            phrase("The arms come to %(sum)s %% together.", sum=sum(found.values())),
            phrase("Two or more arms that come to 100, such as {a: 45, b: 45, holdout: 10}."),
        )
    for name in found:
        params.check_key(name)
    return {"arms": found}


def _coupon(told: Any, field: str) -> dict[str, Any]:
    return {"pool": Params(told, field, ("pool",)).key("pool")}


def _tag(told: Any, field: str) -> dict[str, Any]:
    params = Params(told, field, ("add", "remove"))
    found = {name: params.words(name) for name in ("add", "remove") if name in params}
    if not any(found.values()):
        params.refuse(phrase("No tag is named."), phrase("Such as {add: [winback]}."))
    if both := sorted(set(found.get("add", ())) & set(found.get("remove", ()))):
        params.refuse(phrase("The tag %(tag)s is added and removed.", tag=both[0]))
    return found


def _tier(told: Any, field: str) -> dict[str, Any]:
    params = Params(told, field, ("program", "level", "reason", "until_days", "invite"))
    found: dict[str, Any] = {
        "program": params.key("program") if "program" in params else "main",
        "level": params.key("level"),
    }
    if "until_days" in params:
        found["until_days"] = params.number("until_days", 1, 3650)
    if params.flag("invite"):
        return {**found, "invite": True}
    if not params.get("reason", ""):
        params.refuse(phrase("Say why the level is fixed."), name="reason")
    return {**found, "reason": params.text("reason", 500)}


def _task(told: Any, field: str) -> dict[str, Any]:
    params = Params(told, field, ("title", "due_days", "owner"))
    title = params["title"]
    titles = {"en": title} if isinstance(title, str) else title
    if (
        not isinstance(titles, Mapping)
        or not titles
        or not all(isinstance(one, str) and one for one in titles.values())
    ):
        params.refuse(phrase("The task has no title."), phrase("{en: Call them, zh-CN: 打电话}"))
    assert isinstance(titles, Mapping)
    return {
        "title": {str(language): one for language, one in titles.items()},
        "due_days": params.number("due_days", 0, 365) if "due_days" in params else 0,
        "owner": params.text("owner", 200) if params.get("owner", "") else "",
    }


def _webhook(told: Any, field: str) -> dict[str, Any]:
    params = Params(told, field, ("url", "event", "fields", "body", "validity_days"))
    url = params.text("url", 2000)
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.password:
        params.refuse(phrase("%(url)r cannot be called.", url=url), phrase("Only addresses that begin with https://."))
    body = params.get("body", {})
    found: dict[str, Any] = {"url": url, "body": dict(mapping_of(body, f"{field}.body"))}
    if "event" in params:
        found["event"] = params.text("event")
    if "fields" in params:
        found["fields"] = params.words("fields", TOLD)
    if "validity_days" in params:
        found["validity_days"] = params.number("validity_days", 1, 60)
    return found


def _end(told: Any, field: str) -> dict[str, Any]:
    if told not in (None, True, {}):
        raise InvalidInput(phrase("An end has nothing to say."), field=field, hint=phrase("Write end: {}."))
    return {}


def _two(_told: Mapping[str, Any]) -> tuple[str, ...]:
    return ("then", "else")


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("send", _send),
        Kind("wait", _wait, lambda told: ("then", "else") if "event" in told else ()),
        Kind("branch", _branch, _two),
        Kind("split", _split, lambda told: tuple(told["arms"]), lambda told: dict(told["arms"])),
        Kind("coupon", _coupon),
        Kind("tag", _tag),
        Kind("tier", _tier),
        Kind("task", _task),
        Kind("webhook", _webhook),
        Kind("end", _end),
    )
}
