"""The outbox: what was planned and what became of it, page by page. What a merchant may do about one message stands in `acts.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, select

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.store import (
    attempts,
    delivery_events,
    journeys,
    members,
    touchpoint_contents,
    touchpoints,
)
from crm_plugin.store.members import full_name
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.acts import (
    ACTS,
    cancel,
    failed_reasons,
    not_found,
    send_again,
    send_again_all,
    settle,
    settle_all,
)
from crm_plugin.touchpoints.caps import exempt
from crm_plugin.touchpoints.states import Reason, State
from crm_plugin.touchpoints.versions import Voices, voices

__all__ = [
    "ACTS",
    "Attempt",
    "Content",
    "Detail",
    "Entry",
    "Event",
    "cancel",
    "counts",
    "entries",
    "failed_reasons",
    "reasons",
    "send_again",
    "send_again_all",
    "settle",
    "settle_all",
    "show",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One touchpoint with who it is for and what it is about; `subject` is empty before it was rendered."""

    touchpoint_id: int
    state: str
    reason: str
    reason_detail: str
    journey_key: str
    journey_title: Mapping[str, str]
    member_id: int
    member_name: str
    member_email: str
    member_external_id: str
    channel: str
    adapter: str
    address: str
    subject: str
    occasion: str
    occasion_on: date
    due_at: datetime
    next_try_at: datetime
    valid_until: datetime
    planned_at: datetime
    accepted_at: datetime | None
    settled_at: datetime | None
    updated_at: datetime
    attempts: int
    # About the member's own order, or told to another program: no marketing consent, limit or open case concerns it.
    exempt: bool

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: ids as text, for JavaScript rounds such long numbers."""
        return {**asdict(self), "touchpoint_id": str(self.touchpoint_id), "member_id": str(self.member_id)}


@dataclass(frozen=True, slots=True)
class Content:
    """The message as it was rendered last."""

    locale: str
    subject: str
    text: str
    html: str
    url: str
    rendered_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to a provider; an empty outcome means it is under way, or that its end was never learned."""

    number: int
    adapter: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    error_code: str
    error: str
    parts: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a provider told us about it; `machine`: a mail system did it, no person."""

    kind: str
    at: datetime
    received_at: datetime
    adapter: str
    reason: str
    raw: Mapping[str, Any]
    machine: bool = False


@dataclass(frozen=True, slots=True)
class Detail:
    """One touchpoint in full; what was tried and what came back stand in the order it happened."""

    entry: Entry
    content: Content | None
    attempts: tuple[Attempt, ...]
    events: tuple[Event, ...]

    @property
    def acts(self) -> tuple[str, ...]:
        """What the merchant may do now: send_again, settle, cancel."""
        return tuple(act for act, states in ACTS.items() if self.entry.state in states)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "entry": self.entry.as_dict(), "acts": list(self.acts)}


def entries(
    connection: Connection,
    shop_id: int,
    *,
    state: str = "",
    reason: str = "",
    journey: str = "",
    member_id: int | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Entry]:
    """Touchpoints, the newest planned first. `before` is the id of the last one of the page before.

    Raises: InvalidInput for a state or reason that does not exist, NotFound for such a journey.
    """
    t = touchpoints.c
    query = _entries(shop_id)
    if state:
        query = query.where(t.state == _known(state, State, "state"))
    if reason:
        # Said twice for the planner: only so does it know that the index of those with a reason will do.
        query = query.where(t.reason == _known(reason, Reason, "reason"), t.reason != "")
    if journey:
        query = query.where(t.journey_key == journey_store.get(connection, shop_id, journey).key)
    if member_id is not None:
        query = query.where(t.member_id == member_id)
    if before is not None:
        query = query.where(t.touchpoint_id < before)
    # Of one member there are few: they are found by the member and then sorted, never by a walk over all messages.
    newest = t.touchpoint_id if member_id is None else t.touchpoint_id + 0
    rows = connection.execute(query.order_by(newest.desc()).limit(limit))
    found = rows.all()
    spoken = voices(connection, shop_id, found)
    return [_entry(row, spoken) for row in found]


def counts(connection: Connection, shop_id: int) -> dict[str, int]:
    """How many touchpoints are in each state; states without any are left out."""
    columns = touchpoints.c
    query = select(columns.state, func.count()).where(columns.shop_id == shop_id).group_by(columns.state)
    return {state: number for state, number in connection.execute(query)}  # noqa: C416


def reasons(connection: Connection, shop_id: int) -> dict[str, int]:
    """How many touchpoints have each reason; those without one are left out."""
    columns = touchpoints.c
    query = select(columns.reason, func.count()).where(columns.shop_id == shop_id, columns.reason != "")
    return {reason: number for reason, number in connection.execute(query.group_by(columns.reason))}  # noqa: C416


def show(connection: Connection, shop_id: int, touchpoint_id: int) -> Detail:
    """One touchpoint with its message, its attempts and its delivery events. Raises: NotFound."""
    row = connection.execute(_entries(shop_id).where(touchpoints.c.touchpoint_id == touchpoint_id)).first()
    if row is None:
        raise not_found(touchpoint_id)
    of_it = {table: and_(table.c.shop_id == shop_id, table.c.touchpoint_id == touchpoint_id) for table in _PARTS}
    made = connection.execute(select(touchpoint_contents).where(of_it[touchpoint_contents])).first()
    tried = connection.execute(select(attempts).where(of_it[attempts]).order_by(attempts.c.attempt_no))
    told = connection.execute(
        select(delivery_events)
        .where(of_it[delivery_events])
        .order_by(delivery_events.c.at, delivery_events.c.received_at, delivery_events.c.event_id)
    )
    return Detail(
        entry=_entry(row, voices(connection, shop_id, [row])),
        content=None if made is None else _content(made),
        attempts=tuple(
            Attempt(r.attempt_no, r.adapter, r.started_at, r.finished_at, r.outcome, r.error_code, r.error, r.parts)
            for r in tried
        ),
        events=tuple(Event(r.kind, r.at, r.received_at, r.adapter, r.reason, r.raw, r.machine) for r in told),
    )


_PARTS = (touchpoint_contents, attempts, delivery_events)


def _entries(shop_id: int) -> Select[Any]:
    """One row: a touchpoint with its member, its journey and the subject of its message."""
    t, m, j, c = touchpoints.c, members.c, journeys.c, touchpoint_contents.c
    return (
        select(touchpoints, m.first_name, m.last_name, m.email, m.external_id, j.title, c.subject)
        .select_from(touchpoints)
        .join(members, and_(m.shop_id == t.shop_id, m.member_id == t.member_id))
        .outerjoin(journeys, and_(j.shop_id == t.shop_id, j.journey_key == t.journey_key))
        .outerjoin(touchpoint_contents, and_(c.shop_id == t.shop_id, c.touchpoint_id == t.touchpoint_id))
        .where(t.shop_id == shop_id)
    )


def _entry(row: Row[Any], spoken: Voices) -> Entry:
    return Entry(
        touchpoint_id=row.touchpoint_id,
        state=row.state,
        reason=row.reason,
        reason_detail=row.reason_detail,
        journey_key=row.journey_key,
        journey_title=row.title or {},
        member_id=row.member_id,
        member_name=full_name(row.first_name, row.last_name),
        member_email=row.email,
        member_external_id=row.external_id or "",
        channel=row.channel,
        adapter=row.adapter,
        address=row.address,
        subject=row.subject or "",
        occasion=row.occasion,
        occasion_on=row.occasion_on,
        due_at=row.due_at,
        next_try_at=row.next_try_at,
        valid_until=row.valid_until,
        planned_at=row.planned_at,
        accepted_at=row.accepted_at,
        settled_at=row.settled_at,
        updated_at=row.updated_at,
        attempts=row.attempts,
        exempt=exempt(spoken.of(row)),
    )


def _content(row: Row[Any]) -> Content:
    return Content(row.locale, row.subject, row.body_text, row.body_html, row.url, row.rendered_at)


_FIELDS = {"state": phrase("state"), "reason": phrase("reason")}


def _known(told: str, words: type[State] | type[Reason], field: str) -> str:
    if told not in [word.value for word in words]:
        raise InvalidInput(
            phrase("There is no %(field)s %(told)r.", field=_FIELDS[field], told=told),
            field=field,
            hint=phrase("There are: %(names)s.", names=[word.value for word in words]),
        )
    return told
