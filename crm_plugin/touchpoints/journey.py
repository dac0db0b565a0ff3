"""A journey, typed: what a saved one and one that was only told say alike, and what is each one's own."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime, time
from typing import Any, Self

from crm_plugin.rules.document import from_json
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.triggers import Trigger, kind_of, params_of, read_time
from crm_plugin.touchpoints.steps.flow import WITHOUT_STEPS, Flow, voice_of

CHANNELS = ("email", "sms", "inapp", "note")
# No channel to the member: what a system of the shop is told. Its address is the step's own, and its row says so by this word.
WEBHOOK = "webhook"
KINDS = ("marketing", "transactional")
# The topic that stands for all promotional messages.
MARKETING = "marketing"
# What a journey can be. Whoever is inside stays while it is paused; off and archived take back what waits.
DRAFT, ON, PAUSED, OFF, ARCHIVED = "draft", "on", "paused", "off", "archived"
LONGEST_VALIDITY = 60
# Where a member's messages are limited, 9 goes before 1.
PRIORITIES, USUAL_PRIORITY = (1, 9), 5
# More than this held out, and the journey would hardly be one.
MOST_HELD_OUT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What a journey says whether it is saved or not. The audience is a rule's text, "" for everyone."""

    key: str
    title: dict[str, str]
    trigger: Trigger
    audience_text: str
    channels: tuple[str, ...]
    template_key: str
    topic: str
    kind: str
    validity_days: int
    priority: int
    value_minor: int | None
    holdout_pct: int
    flow: Flow = WITHOUT_STEPS

    @property
    def voices(self) -> tuple[Self, ...]:
        """The journey as it speaks in each of its steps that send; as it is where it has no steps."""
        if not self.flow.steps:
            return (self,)
        return tuple(replace(self, **voice_of(step, self)) for step in self.flow.sends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft(_Terms):
    """A journey as told, checked but not saved: its audience as JSON, its time as HH:MM; `enabled` None leaves the switch where it is."""

    audience: dict[str, Any] | None
    send_at: str
    enabled: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey(_Terms):
    """One journey as it is saved. `audience` None is everyone; `planned_through` is how far it has been planned."""

    audience: Node | None
    send_at: time
    enabled: bool
    enabled_at: datetime | None
    planned_through: datetime | None
    version: int
    updated_at: datetime
    paused_at: datetime | None = None
    archived_at: datetime | None = None
    # A document that was saved and is not published yet.
    draft: dict[str, Any] | None = None
    # The number of the step that it speaks in; 0 is the send of a journey without steps.
    step: int = 0
    step_key: str = ""

    @property
    def status(self) -> str:
        """archived, paused, on, draft (never published, or never switched on) or off."""
        if self.archived_at is not None:
            return ARCHIVED
        if not self.enabled:
            return DRAFT if self.enabled_at is None else OFF
        return ON if self.paused_at is None else PAUSED

    @property
    def name(self) -> str:
        """What tells it from other versions and steps: the key of a journey without steps, which has but one voice."""
        return f"{self.key}@{self.version}.{self.step}" if self.step else self.key

    @property
    def runs(self) -> bool:
        """Whether it plans: it is on, and not paused."""
        return self.enabled and self.paused_at is None

    def as_dict(self) -> dict[str, Any]:
        """As a programme file writes it."""
        told = {
            "key": self.key,
            "title": dict(self.title),
            "trigger": {"type": self.trigger.type, **params_of(self.trigger)},
            "audience": self.audience_text,
            "channels": list(self.channels),
            "template": self.template_key,
            "topic": self.topic,
            "kind": self.kind,
            "send_at": self.send_at.strftime("%H:%M"),
            "validity_days": self.validity_days,
            # Said where they are not as usual.
            **({} if self.priority == USUAL_PRIORITY else {"priority": self.priority}),
            **({} if self.value_minor is None else {"value_minor": self.value_minor}),
            **({} if self.holdout_pct == 0 else {"holdout_pct": self.holdout_pct}),
            "enabled": self.enabled,
            **self.flow.as_dict(),
        }
        if self.flow.steps:
            # They are the steps'.
            del told["channels"], told["template"]
        return told


# What a draft keeps in another form than a journey, or leaves as it is.
_OTHERWISE = frozenset({"audience", "send_at", "enabled"})


def as_drafted(journey: Journey, draft: Draft) -> Journey:
    """The journey as a draft has it, on or off as it is."""
    told: dict[str, Any] = {one.name: getattr(draft, one.name) for one in fields(Draft) if one.name not in _OTHERWISE}
    told["audience"] = None if draft.audience is None else from_json(draft.audience)
    return replace(journey, send_at=read_time(draft.send_at), **told)


def kinds_of(trigger: Trigger) -> tuple[str, ...]:
    """What a journey with this trigger can be: only about an order can someone be written to who did not agree."""
    return KINDS if kind_of(trigger).transactional else KINDS[:1]
