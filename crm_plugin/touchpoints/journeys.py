"""The journeys of a shop as they are stored: read, saved as their next version, switched on and off."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from crm_plugin.errors import CrmError, InvalidInput, NotFound
from crm_plugin.phrases import phrase
from crm_plugin.rules import compile_rule
from crm_plugin.rules.book import resolved
from crm_plugin.rules.document import from_json
from crm_plugin.rules.triggers import kind_of, params_of, read_time, read_trigger
from crm_plugin.store import journey_versions, journeys, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import texts
from crm_plugin.touchpoints.journey import KINDS, Draft, Journey, kinds_of
from crm_plugin.touchpoints.states import WAITING, Reason, State
from crm_plugin.touchpoints.steps.document import allot, kinds
from crm_plugin.touchpoints.steps.ending import OFF as OFF_REASON
from crm_plugin.touchpoints.steps.ending import end_all
from crm_plugin.touchpoints.steps.flow import flow_of

_log = logging.getLogger(__name__)


def all_journeys(connection: Connection, shop_id: int) -> list[Journey]:
    """The shop's journeys by key, without those that cannot be read."""
    return readable(connection, shop_id)[0]


# What a row raises that this program did not write, or no longer knows.
_UNREADABLE = (CrmError, LookupError, TypeError, ValueError)


def readable(connection: Connection, shop_id: int) -> tuple[list[Journey], dict[str, str]]:
    """The shop's journeys by key; and of those that are on and cannot be read, which the log tells of, why not."""
    j = journeys.c
    mine = select(journeys).where(j.shop_id == shop_id).order_by(j.journey_key)
    try:
        return [_journey(row) for row in connection.execute(mine).all()], {}
    except _UNREADABLE:
        found: list[Journey] = []
        problems: dict[str, str] = {}
    for key, enabled in connection.execute(mine.with_only_columns(j.journey_key, j.enabled)).all():
        try:
            found.append(get(connection, shop_id, key))
        except _UNREADABLE as error:
            _log.warning("journey %s in shop %s: %s", key, shop_id, error)
            if enabled:
                problems[key] = error.message if isinstance(error, CrmError) else f"{type(error).__name__}: {error}"
    return found, problems


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
    row = _columns(draft)
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
        switch(connection, shop, draft.key, draft.enabled, now, by_file=True)
    saved = get(connection, shop.shop_id, draft.key)
    if saved.enabled and present is not None and present.enabled:
        # It goes on running with what was just changed.
        _require(connection, shop, saved, now)
    return saved


def _columns(draft: Draft) -> dict[str, Any]:
    """What a draft says, as `journeys` keeps it."""
    return {
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
            kinds=kinds(journey.flow.steps),
        )
    )


# What decides on which day and at what time a journey speaks.
_WHEN = frozenset({"trigger", "trigger_params", "send_at", "validity_days"})


def _looked_at_anew(present: Row[Any], draft: Draft, now: datetime) -> datetime:
    """The mark of a journey whose days or time were edited, so far back that what is still worth reading is planned after all."""
    oldest = now - timedelta(days=draft.validity_days)
    back: datetime = min(present.planned_through, max(oldest, present.enabled_at or now))
    return back


def switch(connection: Connection, shop: Shop, key: str, on: bool, now: datetime, *, by_file: bool = False) -> Journey:
    """Switch on (from now on, nothing of the past is caught up) or off (what waits is cancelled).

    `by_file`: the one message of a journey without steps may be written in fewer languages on one channel than on another, and its senders
    may come later; until then it is skipped as `no_sender`.

    Raises: NotFound, InvalidInput or RuleError naming the place of what it lacks to run (`steps/checks.py`).
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
        require = _require if by_file else _require_all
        require(connection, shop, journey, now)
        if journey.audience is not None:
            resolved(connection, shop.shop_id, journey.audience)
        if asked := kind_of(journey.trigger).rule(journey.trigger):
            resolved(connection, shop.shop_id, compile_rule(asked).node)
        values |= {"enabled_at": now, "planned_through": now}
    else:
        _cancel_waiting(connection, shop.shop_id, key, now)
        end_all(connection, shop.shop_id, key, OFF_REASON, now)
        values["paused_at"] = None
    connection.execute(update(journeys).where(_mine(shop.shop_id, key)).values(**values))
    return get(connection, shop.shop_id, key)


def _cancel_waiting(connection: Connection, shop_id: int, key: str, now: datetime) -> None:
    columns = touchpoints.c
    connection.execute(
        update(touchpoints)
        .where(
            columns.shop_id == shop_id,
            columns.journey_key == key,
            columns.state.in_([state.value for state in WAITING]),
        )
        .values(state=State.CANCELLED.value, reason=Reason.JOURNEY_OFF.value, settled_at=now, updated_at=now)
    )


def _require(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> None:
    """Refuse what could not run; of a journey without steps what has no words. Raises: InvalidInput, RuleError."""
    if journey.flow.steps:
        _require_all(connection, shop, journey, now)
        return
    written = texts.texts(connection, shop.shop_id, journey.template_key)
    with_order, marketing = kind_of(journey.trigger).about_order, journey.kind == "marketing"
    texts.require(shop, journey.channels, written, with_order=with_order, marketing=marketing)


def _require_all(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> None:
    # What looks it over knows senders and levels, which whoever only reads journeys need not load.
    from crm_plugin.touchpoints.steps import checks

    checks.require(connection, shop, journey, now)


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
