"""One member's story, newest first: joined, ordered, got money back, moved between tiers or stayed, was written to, said yes or no."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from heapq import merge
from itertools import islice
from typing import Any, ClassVar

from sqlalchemy import Column, Connection, Select, and_, func, select

from crm_plugin.records import OrderStatus
from crm_plugin.rules.sql import PROGRAM_KEY
from crm_plugin.store import (
    consents,
    journeys,
    order_lines,
    orders,
    refunds,
    tier_changes,
    tier_terms,
    touchpoint_contents,
    touchpoints,
)

# Still to come; what a touchpoint's other states mean is settled or under way.
_WAITING = ("planned", "retry_wait")
# Orders that were never meant to be seen by the customer.
_UNSEEN = (OrderStatus.DRAFT.value, OrderStatus.TRASH.value, OrderStatus.TEST.value)


@dataclass(frozen=True, slots=True)
class Joined:
    """The store's account was made."""

    kind: ClassVar[str] = "joined"
    at: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an order, in the order's currency."""

    title: str
    sku: str
    quantity: float
    total_minor: int


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order; `counts` is False for one that was cancelled or failed."""

    kind: ClassVar[str] = "order"
    at: datetime
    order_id: int
    number: str
    status: str
    counts: bool
    total_minor: int
    currency: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Refunded:
    """Money given back; the number is that of the order, empty when it is not known."""

    kind: ClassVar[str] = "refund"
    at: datetime
    refund_id: int
    order_number: str
    amount_minor: int
    currency: str
    reason: str


@dataclass(frozen=True, slots=True)
class TierChanged:
    """A change of level; an empty key is no level. `reason` holds the rules and values that decided, as `tier_changes` keeps them."""

    kind: ClassVar[str] = "tier"
    at: datetime
    from_level: str
    to_level: str
    as_of: date
    reason: Mapping[str, Any]
    program: str = PROGRAM_KEY


@dataclass(frozen=True, slots=True)
class TermChanged:
    """What happened to a level but a change of it: `what` is renewed, grace, invited and so on, as `tier_terms` keeps it."""

    kind: ClassVar[str] = "term"
    at: datetime
    level: str
    what: str
    as_of: date
    reason: Mapping[str, Any]
    program: str = PROGRAM_KEY


@dataclass(frozen=True, slots=True)
class Contacted:
    """A touchpoint and what became of it; for one that waits `at` is when it is to leave."""

    kind: ClassVar[str] = "touchpoint"
    at: datetime
    touchpoint_id: int
    journey_key: str
    journey_title: Mapping[str, str]
    channel: str
    state: str
    reason: str
    reason_detail: str
    subject: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Said:
    """A statement of consent."""

    kind: ClassVar[str] = "consent"
    at: datetime
    channel: str
    topic: str
    state: str
    source: str
    wording: str


Event = Joined | Ordered | Refunded | TierChanged | TermChanged | Contacted | Said


def event_dict(event: Event) -> dict[str, Any]:
    """For `--json`: the kind first, ids as text, for JavaScript rounds such long numbers."""
    values = {key: str(value) if key.endswith("_id") else value for key, value in asdict(event).items()}
    return {"kind": event.kind, **values}


def timeline(
    connection: Connection, shop_id: int, member_id: int, joined_at: datetime | None, limit: int
) -> tuple[Event, ...]:
    """The newest `limit` events; what still waits is in `upcoming`."""
    told: list[Iterable[Event]] = [
        [Joined(joined_at)] if joined_at is not None else [],
        _ordered(connection, shop_id, member_id, limit),
        _refunded(connection, shop_id, member_id, limit),
        _moved(connection, shop_id, member_id, limit),
        _stayed(connection, shop_id, member_id, limit),
        _contacted(connection, shop_id, member_id, limit),
        said(connection, shop_id, member_id, limit),
    ]
    return tuple(islice(merge(*told, key=lambda event: event.at, reverse=True), limit))


def upcoming(connection: Connection, shop_id: int, member_id: int, limit: int) -> tuple[Contacted, ...]:
    """The touchpoints that still wait, the next first."""
    t = touchpoints.c
    query = _contacts(shop_id, member_id).where(t.state.in_(_WAITING)).order_by(t.next_try_at, t.touchpoint_id)
    return tuple(_contact(row, row.next_try_at) for row in connection.execute(query.limit(limit)))


def said(connection: Connection, shop_id: int, member_id: int, limit: int) -> list[Said]:
    """The newest statements of consent."""
    c = consents.c
    told = (c.at, c.channel, c.topic, c.state, c.source, c.wording)
    return [Said(*row) for row in _newest(connection, shop_id, member_id, limit, c.consent_id, *told)]


def _ordered(connection: Connection, shop_id: int, member_id: int, limit: int) -> list[Ordered]:
    o, line = orders.c, order_lines.c
    query = select(orders).where(o.shop_id == shop_id, o.member_id == member_id, o.status.not_in(_UNSEEN))
    placed = connection.execute(query.order_by(o.placed_at.desc(), o.order_id.desc()).limit(limit)).all()
    lines: dict[int, list[Line]] = {row.order_id: [] for row in placed}
    of_these = select(order_lines).where(line.shop_id == shop_id, line.order_id.in_(sorted(lines)))
    for row in connection.execute(of_these.order_by(line.order_id, line.line_no)):
        lines[row.order_id].append(Line(row.title, row.sku, row.quantity, row.total_minor))
    return [
        Ordered(
            row.placed_at,
            row.order_id,
            row.number or row.external_id,
            row.status,
            bool(row.counts),
            row.total_minor,
            row.currency,
            tuple(lines[row.order_id]),
        )
        for row in placed
    ]


def _refunded(connection: Connection, shop_id: int, member_id: int, limit: int) -> list[Refunded]:
    r, o = refunds.c, orders.c
    number = func.coalesce(func.nullif(o.number, ""), o.external_id, r.order_external_id).label("order_number")
    query = (
        select(r.refunded_at, r.refund_id, number, r.amount_minor, r.currency, r.reason)
        .select_from(refunds.outerjoin(orders, and_(o.shop_id == r.shop_id, o.order_id == r.order_id)))
        .where(r.shop_id == shop_id, r.member_id == member_id, r.counts)
        .order_by(r.refunded_at.desc(), r.refund_id.desc())
        .limit(limit)
    )
    return [Refunded(*row) for row in connection.execute(query)]


def _moved(connection: Connection, shop_id: int, member_id: int, limit: int) -> list[TierChanged]:
    c = tier_changes.c
    told = (c.changed_at, c.from_level, c.to_level, c.as_of, c.reason, c.program_key)
    return [TierChanged(*row) for row in _newest(connection, shop_id, member_id, limit, c.change_id, *told)]


def _stayed(connection: Connection, shop_id: int, member_id: int, limit: int) -> list[TermChanged]:
    c = tier_terms.c
    told = (c.at, c.level_key, c.kind, c.as_of, c.detail, c.program_key)
    return [TermChanged(*row) for row in _newest(connection, shop_id, member_id, limit, c.event_id, *told)]


def _newest(
    connection: Connection,
    shop_id: int,
    member_id: int,
    limit: int,
    key: Column[Any],
    at: Column[Any],
    *told: Column[Any],
) -> Sequence[Any]:
    """The member's newest rows of the table that `key` is the id of: when, and what is told."""
    own = key.table.c
    query = select(at, *told).where(own.shop_id == shop_id, own.member_id == member_id)
    return connection.execute(query.order_by(at.desc(), key.desc()).limit(limit)).all()


def _contacted(connection: Connection, shop_id: int, member_id: int, limit: int) -> list[Contacted]:
    t = touchpoints.c
    at = func.coalesce(t.accepted_at, t.settled_at, t.updated_at)
    query = _contacts(shop_id, member_id).where(t.state.not_in(_WAITING)).order_by(at.desc(), t.touchpoint_id.desc())
    return [
        _contact(row, row.accepted_at or row.settled_at or row.updated_at)
        for row in connection.execute(query.limit(limit))
    ]


def _contacts(shop_id: int, member_id: int) -> Select[Any]:
    """One row: a touchpoint of the member with its journey's title and its subject."""
    t, j, c = touchpoints.c, journeys.c, touchpoint_contents.c
    return (
        select(touchpoints, j.title, c.subject)
        .select_from(touchpoints)
        .outerjoin(journeys, and_(j.shop_id == t.shop_id, j.journey_key == t.journey_key))
        .outerjoin(touchpoint_contents, and_(c.shop_id == t.shop_id, c.touchpoint_id == t.touchpoint_id))
        .where(t.shop_id == shop_id, t.member_id == member_id)
    )


def _contact(row: Any, at: datetime) -> Contacted:
    return Contacted(
        at=at,
        touchpoint_id=row.touchpoint_id,
        journey_key=row.journey_key,
        journey_title=row.title or {},
        channel=row.channel,
        state=row.state,
        reason=row.reason,
        reason_detail=row.reason_detail,
        subject=row.subject or "",
        due_at=row.due_at,
    )
