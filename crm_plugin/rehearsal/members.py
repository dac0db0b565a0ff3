"""What single members get in a rehearsal: messages, and the steps that they take in journeys of several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from crm_plugin.clock import local_day, zone
from crm_plugin.rehearsal.ask import Ask
from crm_plugin.store import enrolment_events, enrolments, touchpoint_contents, touchpoints
from crm_plugin.store.tenants import Shop


@dataclass(frozen=True, slots=True)
class Contact:
    """What one member would get, or would not and why; `text` as it would be read."""

    member_id: int
    at: datetime
    due_on: date
    journey: str
    occasion: str
    channel: str
    state: str
    reason: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What happens to one member inside a journey of several steps, as `enrolment_events` keeps it; `occasion` is the trigger's."""

    member_id: int
    at: datetime
    journey: str
    occasion: str
    what: str
    step: str
    to_step: str
    reason: str
    detail: str


def contacts(connection: Connection, shop: Shop, ask: Ask) -> Iterator[Contact]:
    """What the members that were asked for get, and what they do not."""
    if not ask.member_ids:
        return
    t, c = touchpoints.c, touchpoint_contents.c
    begin, end = ask.span(shop)
    at = func.coalesce(t.accepted_at, t.due_at)
    query = (
        select(touchpoints, c.subject, c.body_text)
        .outerjoin_from(
            touchpoints, touchpoint_contents, (c.shop_id == t.shop_id) & (c.touchpoint_id == t.touchpoint_id)
        )
        .where(t.shop_id == shop.shop_id, t.member_id.in_(ask.member_ids), at >= begin, at < end)
        .order_by(at, t.touchpoint_id)
    )
    if ask.only:
        query = query.where(t.journey_key == ask.only)
    for row in connection.execute(query):
        yield _contact(shop, row)


def _contact(shop: Shop, row: Row[Any]) -> Contact:
    at = (row.accepted_at or row.due_at).astimezone(zone(shop.timezone))
    return Contact(
        member_id=row.member_id,
        at=at,
        due_on=local_day(row.due_at, shop.timezone),
        journey=row.journey_key,
        occasion=row.occasion,
        channel=row.channel,
        state=row.state,
        reason=row.reason,
        subject=row.subject or "",
        text=row.body_text or "",
    )


def taken(connection: Connection, shop: Shop, ask: Ask) -> Iterator[Taken]:
    """The steps of the members that were asked for, in the order in which they are taken."""
    if not ask.member_ids:
        return
    e, v = enrolments.c, enrolment_events.c
    begin, end = ask.span(shop)
    query = (
        select(enrolment_events, e.member_id, e.journey_key, e.cause)
        .join_from(enrolment_events, enrolments, (e.shop_id == v.shop_id) & (e.enrolment_id == v.enrolment_id))
        .where(v.shop_id == shop.shop_id, e.member_id.in_(ask.member_ids), v.at >= begin, v.at < end)
        .order_by(v.at, v.enrolment_id, v.seq)
    )
    if ask.only:
        query = query.where(e.journey_key == ask.only)
    for row in connection.execute(query):
        yield Taken(
            member_id=row.member_id,
            at=row.at.astimezone(zone(shop.timezone)),
            journey=row.journey_key,
            occasion=row.cause,
            what=row.what,
            step=row.step_key,
            to_step=row.to_step,
            reason=row.reason,
            detail=row.detail,
        )
