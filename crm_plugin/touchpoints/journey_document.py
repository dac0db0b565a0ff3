"""A journey's document, as a file or a form tells it: read into a draft, each thing that does not fit refused with its field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rules import compile_rule
from crm_plugin.rules.trigger_kinds import read_whole
from crm_plugin.rules.triggers import Trigger, kind_of, read_time, read_trigger
from crm_plugin.touchpoints.journey import (
    CHANNELS,
    KINDS,
    LONGEST_VALIDITY,
    MARKETING,
    MOST_HELD_OUT,
    PRIORITIES,
    USUAL_PRIORITY,
    Draft,
    kinds_of,
)
from crm_plugin.touchpoints.steps.flow import NAMES as FLOW_NAMES
from crm_plugin.touchpoints.steps.flow import Flow, read_flow

_KEY = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_MOST_MINOR = 10**15
_FIELDS = frozenset(
    {
        "key",
        "title",
        "trigger",
        "audience",
        "channels",
        "template",
        "topic",
        "kind",
        "send_at",
        "validity_days",
        "priority",
        "value_minor",
        "holdout_pct",
        "enabled",
        *FLOW_NAMES,
    }
)


def read_draft(told: Mapping[str, Any]) -> Draft:
    """Check a journey as a file or form tells it. Raises: InvalidInput, RuleError for its audience."""
    key = str(told.get("key", ""))
    _check_key(key, "key", phrase("%(key)r cannot be a journey's key.", key=key))
    _refuse_unknown(told, key)
    trigger = _trigger(told, key)
    flow = read_flow(told)
    channels = _channels(told, key, flow, trigger)
    kind = _kind(told, flow, trigger)
    topic = str(told.get("topic", MARKETING))
    _check_key(topic, "topic", phrase("%(topic)r cannot be a topic.", topic=topic))
    template_key = str(told.get("template") or (flow.sends[0].told["template"] if flow.sends else key))
    _check_key(template_key, "template", phrase("%(key)r cannot be a template's key.", key=template_key))
    audience = str(told.get("audience") or "").strip()
    return Draft(
        key=key,
        title=_title(told.get("title") or key),
        trigger=trigger,
        audience_text=audience,
        audience=compile_rule(audience).json if audience else None,
        channels=channels,
        template_key=template_key,
        topic=topic,
        kind=kind,
        send_at=read_time(str(told.get("send_at", "10:00"))).strftime("%H:%M"),
        validity_days=_whole(told, "validity_days", 1, LONGEST_VALIDITY, 3),
        priority=_whole(told, "priority", *PRIORITIES, USUAL_PRIORITY),
        value_minor=None if told.get("value_minor") is None else _whole(told, "value_minor", 0, _MOST_MINOR, 0),
        holdout_pct=_holdout(told, kind),
        enabled=_enabled(told),
        flow=flow,
    )


def _check_key(value: str, field: str, problem: str) -> None:
    if not _KEY.fullmatch(value):
        raise InvalidInput(problem, field=field, hint=phrase("Small letters, digits, _ and -."))


def _refuse_unknown(told: Mapping[str, Any], key: str) -> None:
    unknown = set(told) - _FIELDS
    if unknown:
        raise InvalidInput(
            phrase("A journey has no %(unknown)s.", unknown=sorted(unknown)),
            field=key,
            hint=phrase("It has: %(names)s.", names=sorted(_FIELDS)),
        )


def _trigger(told: Mapping[str, Any], key: str) -> Trigger:
    trigger = told.get("trigger")
    if not isinstance(trigger, Mapping) or "type" not in trigger:
        raise InvalidInput(
            phrase("The journey %(key)s has no trigger.", key=key),
            field="trigger",
            hint=phrase("An example: %(rule)s.", rule="{type: birthday, days: 0}"),
        )
    return read_trigger(str(trigger["type"]), {name: value for name, value in trigger.items() if name != "type"})


def _channels(told: Mapping[str, Any], key: str, flow: Flow, trigger: Trigger) -> tuple[str, ...]:
    """The channels by preference, each once; those of its steps where it has them, email where none of these sends."""
    channels = told.get("channels") or list(flow.channels) or ([] if not flow.steps else ["email"])
    if not isinstance(channels, (list, tuple)) or not channels or any(name not in CHANNELS for name in channels):
        raise InvalidInput(
            phrase("The journey %(key)s needs channels.", key=key),
            field="channels",
            hint=phrase("Out of: %(names)s.", names=list(CHANNELS)),
        )
    if "note" in channels and not kind_of(trigger).about_order:
        raise InvalidInput(
            phrase("A note hangs on an order, so only a journey after a purchase can use it."),
            field="channels",
            hint=phrase("Take out note."),
        )
    return tuple(dict.fromkeys(channels))


def _kind(told: Mapping[str, Any], flow: Flow, trigger: Trigger) -> str:
    kind = str(told.get("kind", "marketing"))
    if kind not in KINDS:
        raise InvalidInput(
            phrase("`kind` is %(kind)r.", kind=kind),
            field="kind",
            hint=phrase("Use one of: %(names)s.", names=list(KINDS)),
        )
    if {kind, *(step.told.get("kind", kind) for step in flow.sends)} - set(kinds_of(trigger)):
        raise InvalidInput(
            phrase(
                "Only what follows a purchase can be about the member's own order; all else is marketing and needs a yes."
            ),
            field="kind",
            hint=phrase("Use marketing."),
        )
    return kind


def _title(told: Any) -> dict[str, str]:
    """The title by language; what is no mapping is English."""
    return {str(k): str(v) for k, v in told.items()} if isinstance(told, Mapping) else {"en": str(told)}


def _enabled(told: Mapping[str, Any]) -> bool | None:
    enabled = told.get("enabled")
    if enabled is not None and not isinstance(enabled, bool):
        raise InvalidInput(
            phrase("`enabled` is %(enabled)r.", enabled=enabled), field="enabled", hint=phrase("Use true or false.")
        )
    return enabled


def _whole(told: Mapping[str, Any], name: str, low: int, high: int, usual: int) -> int:
    return read_whole(told.get(name, usual), name, low, high)


def _holdout(told: Mapping[str, Any], kind: str) -> int:
    pct = _whole(told, "holdout_pct", 0, MOST_HELD_OUT, 0)
    if pct and kind != "marketing":
        raise InvalidInput(
            phrase("What is about a member's own order goes to all: nobody can be held out of it."),
            field="holdout_pct",
            hint=phrase("Write 0."),
        )
    return pct
