"""Journeys as the merchant sees them: read, check, save, switch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.phrases import phrase
from crm_plugin.rules import compile_rule
from crm_plugin.rules.book import resolved
from crm_plugin.rules.document import from_json
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.triggers import Trigger, kind_of, params_of, read_time, read_trigger
from crm_plugin.store import journey_versions, journeys, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import texts
from crm_plugin.touchpoints.states import WAITING, Reason, State
from crm_plugin.touchpoints.steps import checks
from crm_plugin.touchpoints.steps.document import allot
from crm_plugin.touchpoints.steps.ending import OFF as OFF_REASON
from crm_plugin.touchpoints.steps.ending import end_all
from crm_plugin.touchpoints.steps.flow import NAMES as FLOW_NAMES
from crm_plugin.touchpoints.steps.flow import WITHOUT_STEPS, Flow, flow_of, read_flow, voice_of

CHANNELS = ("email", "sms", "inapp", "note")
KINDS = ("marketing", "transactional")
# The topic that stands for all promotional messages.
MARKETING = "marketing"
# What a journey can be. Whoever is inside stays while it is paused; off and archived take back what waits.
DRAFT, ON, PAUSED, OFF, ARCHIVED = "draft", "on", "paused", "off", "archived"
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,63}")
LONGEST_VALIDITY = 60
# Where a member's messages are limited, 9 goes before 1.
PRIORITIES, USUAL_PRIORITY = (1, 9), 5
# More than this held out, and the journey would hardly be one.
MOST_HELD_OUT = 50
_MOST_MINOR = 10**15


@dataclass(frozen=True, slots=True)
class Journey:
    """One journey, typed. `audience` None is everyone; `planned_through` is how far it has been planned."""

    key: str
    title: dict[str, str]
    trigger: Trigger
    audience_text: str
    audience: Node | None
    channels: tuple[str, ...]
    template_key: str
    topic: str
    kind: str
    send_at: time
    validity_days: int
    priority: int
    value_minor: int | None
    holdout_pct: int
    enabled: bool
    enabled_at: datetime | None
    planned_through: datetime | None
    version: int
    updated_at: datetime
    flow: Flow = WITHOUT_STEPS
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
    def voices(self) -> tuple[Journey, ...]:
        """The journey as it speaks in each of its steps that send; as it is where it has no steps."""
        if not self.flow.steps:
            return (self,)
        return tuple(replace(self, **voice_of(step, self)) for step in self.flow.sends)

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


@dataclass(frozen=True, slots=True)
class Draft:
    """A journey as typed, checked but not saved; `enabled` None leaves the switch where it is."""

    key: str
    title: dict[str, str]
    trigger: Trigger
    audience_text: str
    audience: dict[str, Any] | None
    channels: tuple[str, ...]
    template_key: str
    topic: str = MARKETING
    kind: str = "marketing"
    send_at: str = "10:00"
    validity_days: int = 3
    priority: int = USUAL_PRIORITY
    value_minor: int | None = None
    holdout_pct: int = 0
    enabled: bool | None = None
    flow: Flow = WITHOUT_STEPS

    @property
    def voices(self) -> tuple[Draft, ...]:
        """As `Journey.voices`."""
        if not self.flow.steps:
            return (self,)
        return tuple(replace(self, **voice_of(step, self)) for step in self.flow.sends)


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
    unknown = set(told) - _FIELDS
    if unknown:
        raise InvalidInput(
            phrase("A journey has no %(unknown)s.", unknown=sorted(unknown)),
            field=key,
            hint=phrase("It has: %(names)s.", names=sorted(_FIELDS)),
        )
    trigger = told.get("trigger")
    if not isinstance(trigger, Mapping) or "type" not in trigger:
        raise InvalidInput(
            phrase("The journey %(key)s has no trigger.", key=key),
            field="trigger",
            hint=phrase("An example: %(rule)s.", rule="{type: birthday, days: 0}"),
        )
    flow = read_flow(told)
    channels = told.get("channels") or list(flow.channels) or ([] if not flow.steps else ["email"])
    if not isinstance(channels, (list, tuple)) or not channels or any(name not in CHANNELS for name in channels):
        raise InvalidInput(
            phrase("The journey %(key)s needs channels.", key=key),
            field="channels",
            hint=phrase("Out of: %(names)s.", names=list(CHANNELS)),
        )
    read = read_trigger(str(trigger["type"]), {name: value for name, value in trigger.items() if name != "type"})
    if "note" in channels and not kind_of(read).about_order:
        raise InvalidInput(
            phrase("A note hangs on an order, so only a journey after a purchase can use it."),
            field="channels",
            hint=phrase("Take out note."),
        )
    kind = str(told.get("kind", "marketing"))
    if kind not in KINDS:
        raise InvalidInput(
            phrase("`kind` is %(kind)r.", kind=kind),
            field="kind",
            hint=phrase("Use one of: %(names)s.", names=list(KINDS)),
        )
    if {kind, *(step.told.get("kind", kind) for step in flow.sends)} - set(kinds_of(read)):
        raise InvalidInput(
            phrase(
                "Only what follows a purchase can be about the member's own order; all else is marketing and needs a yes."
            ),
            field="kind",
            hint=phrase("Use marketing."),
        )
    validity = told.get("validity_days", 3)
    if isinstance(validity, bool) or not isinstance(validity, int) or not 1 <= validity <= LONGEST_VALIDITY:
        raise InvalidInput(
            phrase(
                "`validity_days` must be a whole number from 1 to %(most)s.",
                most=LONGEST_VALIDITY,
            ),
            field="validity_days",
        )
    topic = str(told.get("topic", MARKETING))
    _check_key(topic, "topic", phrase("%(topic)r cannot be a topic.", topic=topic))
    template_key = str(told.get("template") or (flow.sends[0].told["template"] if flow.sends else key))
    _check_key(template_key, "template", phrase("%(key)r cannot be a template's key.", key=template_key))
    audience = str(told.get("audience") or "").strip()
    title = told.get("title") or {"en": key}
    enabled = told.get("enabled")
    if enabled is not None and not isinstance(enabled, bool):
        raise InvalidInput(
            phrase("`enabled` is %(enabled)r.", enabled=enabled), field="enabled", hint=phrase("Use true or false.")
        )
    return Draft(
        key=key,
        title={str(k): str(v) for k, v in title.items()} if isinstance(title, Mapping) else {"en": str(title)},
        trigger=read,
        audience_text=audience,
        audience=compile_rule(audience).json if audience else None,
        channels=tuple(dict.fromkeys(channels)),
        template_key=template_key,
        topic=topic,
        kind=kind,
        send_at=read_time(str(told.get("send_at", "10:00"))).strftime("%H:%M"),
        validity_days=validity,
        priority=_whole(told, "priority", *PRIORITIES, USUAL_PRIORITY),
        value_minor=None if told.get("value_minor") is None else _whole(told, "value_minor", 0, _MOST_MINOR, 0),
        holdout_pct=_holdout(told, kind),
        enabled=enabled,
        flow=flow,
    )


def _check_key(value: str, field: str, problem: str) -> None:
    if not _KEY.fullmatch(value):
        raise InvalidInput(problem, field=field, hint=phrase("Small letters, digits, _ and -."))


def _whole(told: Mapping[str, Any], name: str, low: int, high: int, usual: int) -> int:
    value = told.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(
            phrase(
                "`%(name)s` must be a whole number from %(low)s to %(high)s, not %(value)r.",
                name=name,
                low=low,
                high=high,
                value=value,
            ),
            field=name,
        )
    return value


def _holdout(told: Mapping[str, Any], kind: str) -> int:
    pct = _whole(told, "holdout_pct", 0, MOST_HELD_OUT, 0)
    if pct and kind != "marketing":
        raise InvalidInput(
            phrase("What is about a member's own order goes to all: nobody can be held out of it."),
            field="holdout_pct",
            hint=phrase("Write 0."),
        )
    return pct


def kinds_of(trigger: Trigger) -> tuple[str, ...]:
    """What a journey with this trigger can be: only about an order can someone be written to who did not agree."""
    return KINDS if kind_of(trigger).transactional else KINDS[:1]


def all_journeys(connection: Connection, shop_id: int) -> list[Journey]:
    """The shop's journeys by key."""
    query = select(journeys).where(journeys.c.shop_id == shop_id).order_by(journeys.c.journey_key)
    return [_journey(row) for row in connection.execute(query)]


def get(connection: Connection, shop_id: int, key: str) -> Journey:
    """One journey. Raises: NotFound listing those there are."""
    return _one(connection, shop_id, key, select(journeys))


def hold(connection: Connection, shop_id: int, key: str) -> Journey:
    """The same, held to the end of the transaction: a round that plans it and somebody who ends it wait for one another.

    Whoever changes what its touchpoints and enrolments are asks by this first, and judges by what it gives. Raises: NotFound.
    """
    return _one(connection, shop_id, key, select(journeys).with_for_update())


def _one(connection: Connection, shop_id: int, key: str, query: Select[Any]) -> Journey:
    row = connection.execute(query.where(_mine(shop_id, key))).first()
    if row is None:
        keys = select(journeys.c.journey_key).where(journeys.c.shop_id == shop_id).order_by(journeys.c.journey_key)
        known = ", ".join(connection.execute(keys).scalars())
        raise NotFound(
            phrase("There is no journey %(key)r.", key=key),
            hint=phrase("There are: %(names)s.", names=known) if known else "",
        )
    return _journey(row)


def save(connection: Connection, shop: Shop, draft: Draft, now: datetime, *, actor: str = "") -> Journey:
    """Publish a draft as the next version. A changed text or number never sends anything again: what was planned keeps its key."""
    present = connection.execute(select(journeys).where(_mine(shop.shop_id, draft.key)).with_for_update()).first()
    row: dict[str, Any] = {
        "title": draft.title,
        "trigger": draft.trigger.type,
        "trigger_params": params_of(draft.trigger),
        "audience_text": draft.audience_text,
        "audience": draft.audience,
        "channels": list(draft.channels),
        "template_key": draft.template_key,
        "topic": draft.topic,
        "kind": draft.kind,
        "send_at": draft.send_at,
        "validity_days": draft.validity_days,
        **draft.flow.columns(),
        "priority": draft.priority,
        "value_minor": draft.value_minor,
        "holdout_pct": draft.holdout_pct,
    }
    if present is None:
        connection.execute(
            journeys.insert().values(shop_id=shop.shop_id, journey_key=draft.key, version=1, updated_at=now, **row)
        )
    else:
        edited = {name for name, value in row.items() if getattr(present, name) != value}
        if edited & _WHEN and present.planned_through is not None:
            row["planned_through"] = _looked_at_anew(present, draft, now)
        if edited:
            connection.execute(
                update(journeys)
                .where(_mine(shop.shop_id, draft.key))
                .values(**row, version=present.version + 1, updated_at=now)
            )
    if present is None or edited:
        _keep_version(connection, shop.shop_id, get(connection, shop.shop_id, draft.key), now, actor)
    if draft.enabled is not None:
        switch(connection, shop, draft.key, draft.enabled, now)
    saved = get(connection, shop.shop_id, draft.key)
    if saved.enabled and present is not None and present.enabled:
        # It goes on running with what was just changed.
        _require(connection, shop, saved, now)
    return saved


def _keep_version(connection: Connection, shop_id: int, journey: Journey, now: datetime, actor: str) -> None:
    """Keep a journey as it stands as the version that it says it is. Numbers of steps go on where the newest version stopped."""
    columns = journey_versions.c
    newest = (
        select(columns.numbers)
        .where(columns.shop_id == shop_id, columns.journey_key == journey.key)
        .order_by(columns.version.desc())
        .limit(1)
    )
    document = {name: value for name, value in journey.as_dict().items() if name != "enabled"}
    connection.execute(
        insert(journey_versions).values(
            shop_id=shop_id,
            journey_key=journey.key,
            version=journey.version,
            document=document,
            numbers=allot(journey.flow.steps, connection.execute(newest).scalar() or {}),
            actor=actor,
            published_at=now,
        )
    )


# What decides on which day and at what time a journey speaks.
_WHEN = frozenset({"trigger", "trigger_params", "send_at", "validity_days"})


def _looked_at_anew(present: Row[Any], draft: Draft, now: datetime) -> datetime:
    """The mark of a journey whose days or time were edited, so far back that what is still worth reading is planned after all."""
    oldest = now - timedelta(days=draft.validity_days)
    back: datetime = min(present.planned_through, max(oldest, present.enabled_at or now))
    return back


def switch(connection: Connection, shop: Shop, key: str, on: bool, now: datetime) -> Journey:
    """Switch on (from now on, nothing of the past is caught up) or off (what waits is cancelled).

    Raises: NotFound, InvalidInput when one of its channels has no text, or one that cannot be rendered for this trigger, RuleError when its
    audience asks for what is gone.
    """
    journey = hold(connection, shop.shop_id, key)
    if journey.enabled == on:
        return journey
    values: dict[str, Any] = {"enabled": on, "updated_at": now}
    if on and journey.archived_at is not None:
        raise InvalidInput(
            phrase("The journey %(key)s is archived.", key=key), field="journey", hint=phrase("Publish it again.")
        )
    if on:
        _require(connection, shop, journey, now)
        if journey.audience is not None:
            resolved(connection, shop.shop_id, journey.audience)
        if asked := kind_of(journey.trigger).rule(journey.trigger):
            resolved(connection, shop.shop_id, compile_rule(asked).node)
        values |= {"enabled_at": now, "planned_through": now}
    else:
        columns = touchpoints.c
        connection.execute(
            update(touchpoints)
            .where(
                columns.shop_id == shop.shop_id,
                columns.journey_key == key,
                columns.state.in_([state.value for state in WAITING]),
            )
            .values(state=State.CANCELLED.value, reason=Reason.JOURNEY_OFF.value, settled_at=now, updated_at=now)
        )
        end_all(connection, shop.shop_id, key, OFF_REASON, now)
        values["paused_at"] = None
    connection.execute(update(journeys).where(_mine(shop.shop_id, key)).values(**values))
    return get(connection, shop.shop_id, key)


def _require(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> None:
    """Refuse what could not run. Raises: InvalidInput, RuleError."""
    if journey.flow.steps:
        checks.require(connection, shop, journey, now)
        return
    written = texts.texts(connection, shop.shop_id, journey.template_key)
    with_order, marketing = kind_of(journey.trigger).about_order, journey.kind == "marketing"
    texts.require(shop, journey.channels, written, with_order=with_order, marketing=marketing)


def counts(connection: Connection, shop_id: int) -> dict[str, dict[str, int]]:
    """Journey → state → how many touchpoints."""
    columns = touchpoints.c
    query = (
        select(columns.journey_key, columns.state, func.count())
        .where(columns.shop_id == shop_id)
        .group_by(columns.journey_key, columns.state)
    )
    found: dict[str, dict[str, int]] = {}
    for key, state, count in connection.execute(query):
        found.setdefault(key, {})[state] = count
    return found


def _mine(shop_id: int, key: str) -> Any:
    return (journeys.c.shop_id == shop_id) & (journeys.c.journey_key == key)


def _journey(row: Row[Any]) -> Journey:
    trigger = read_trigger(row.trigger, row.trigger_params)
    return Journey(
        key=row.journey_key,
        title=row.title,
        trigger=trigger,
        audience_text=row.audience_text,
        audience=from_json(row.audience) if row.audience is not None else None,
        channels=tuple(row.channels),
        template_key=row.template_key,
        topic=row.topic,
        # However it came to be kept, consent is not switched off by a row.
        kind=row.kind if row.kind in kinds_of(trigger) else KINDS[0],
        send_at=read_time(row.send_at),
        validity_days=row.validity_days,
        priority=row.priority,
        value_minor=row.value_minor,
        holdout_pct=row.holdout_pct,
        enabled=bool(row.enabled),
        enabled_at=row.enabled_at,
        planned_through=row.planned_through,
        version=row.version,
        updated_at=row.updated_at,
        flow=flow_of(row),
        paused_at=row.paused_at,
        archived_at=row.archived_at,
        draft=row.draft,
    )
