"""Why a member did or did not get something from a journey: what happened and what comes next, from stored rows, months later."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, select

from crm_plugin.clock import is_known_zone, zone
from crm_plugin.errors import NotFound
from crm_plugin.phrases import phrase
from crm_plugin.store import enrolment_events, enrolments, members, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journeys import get
from crm_plugin.touchpoints.outside import Outside, outside
from crm_plugin.touchpoints.states import WAITING
from crm_plugin.touchpoints.steps import ending
from crm_plugin.touchpoints.versions import versions


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened to an enrolment: when, at which step, where it led, and why."""

    at: datetime
    what: str
    step_key: str
    to_step: str
    due_at: datetime
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Message:
    """One touchpoint and what became of it."""

    touchpoint_id: int
    step: int
    # Empty where the journey has no steps.
    step_key: str
    occasion: str
    state: str
    reason: str
    channel: str
    due_at: datetime
    next_try_at: datetime | None
    valid_until: datetime


@dataclass(frozen=True, slots=True)
class Stay:
    """One enrolment: since when, on which version, where, what comes next and when, or how it ended."""

    enrolment_id: int
    occasion: str
    cause: str
    version: int
    state: str
    step_key: str
    phase: str
    next_at: datetime | None
    end_reason: str
    enrolled_at: datetime
    ended_at: datetime | None
    happenings: tuple[Happening, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """All that is stored of one member in one journey."""

    journey: Journey
    member_id: int
    zone: str
    shop_zone: str
    stays: tuple[Stay, ...]
    messages: tuple[Message, ...]
    # Why they did not come in: since it is on, where they never did, or on the day that was asked for.
    outside: tuple[Outside, ...] = ()

    @property
    def inside(self) -> bool:
        """Whether the member is in it now."""
        return any(stay.state == ending.ACTIVE for stay in self.stays)

    def as_dict(self) -> dict[str, Any]:
        """For machines; every instant in the member's zone and in the shop's."""
        return {
            "journey": self.journey.key,
            "status": self.journey.status,
            "member_id": str(self.member_id),
            "inside": self.inside,
            "enrolments": [self._stay(one) for one in self.stays],
            "messages": [
                {
                    "id": str(one.touchpoint_id),
                    **{
                        name: getattr(one, name)
                        for name in ("step", "step_key", "occasion", "state", "reason", "channel")
                    },
                    "due": self.both(one.due_at),
                    "next": self.both(one.next_try_at),
                    "valid_until": self.both(one.valid_until),
                }
                for one in self.messages
            ],
            "outside": [{**one.as_dict(), "due": self.both(one.due_at)} for one in self.outside],
        }

    def _stay(self, one: Stay) -> dict[str, Any]:
        names = ("occasion", "cause", "version", "state", "step_key", "phase", "end_reason")
        return {
            "id": str(one.enrolment_id),
            **{name: getattr(one, name) for name in names},
            "next": self.both(one.next_at),
            "since": self.both(one.enrolled_at),
            "ended": self.both(one.ended_at),
            "happened": [
                {
                    **{name: getattr(event, name) for name in ("what", "step_key", "to_step", "reason", "detail")},
                    "at": self.both(event.at),
                    "due": self.both(event.due_at),
                }
                for event in one.happenings
            ],
        }

    def both(self, at: datetime | None) -> dict[str, str] | None:
        """An instant as the member's clock and the shop's say it."""
        if at is None:
            return None
        return {"member": _local(at, self.zone), "shop": _local(at, self.shop_zone)}


def _local(at: datetime, name: str) -> str:
    try:
        return at.astimezone(zone(name)).isoformat(timespec="minutes")
    except ValueError:
        return at.isoformat(timespec="minutes")


def why(connection: Connection, shop: Shop, member_id: int, key: str, now: datetime, on: date | None = None) -> Why:
    """What a journey did with a member, and why it did not take them in on a day (the shop's). Raises: NotFound."""
    journey = get(connection, shop.shop_id, key)
    m = members.c
    own_zone = connection.execute(select(m.zone).where(m.shop_id == shop.shop_id, m.member_id == member_id)).scalar()
    if own_zone is None:
        raise NotFound(phrase("There is no member %(member_id)s in this shop.", member_id=member_id))
    t = touchpoints.c
    spoken = (t.shop_id == shop.shop_id, t.member_id == member_id, t.journey_key == key)
    sent = connection.execute(select(touchpoints).where(*spoken).order_by(t.due_at, t.touchpoint_id))
    # A step keeps its number over all versions.
    steps = {
        number: step
        for one in versions(connection, shop.shop_id, journey).values()
        for step, number in one.numbers.items()
    }
    inside = tuple(stay for _key, stay in reversed(stays(connection, shop, member_id, key)))
    told = tuple(_message(row, steps.get(row.step, "")) for row in sent)
    never = not inside and not told
    kept_out = outside(connection, shop, journey, member_id, now, on) if on is not None or never else ()
    # One that this machine does not know is given another at the next round.
    own_zone = own_zone if is_known_zone(own_zone) else shop.timezone
    return Why(journey, member_id, own_zone, shop.timezone, inside, told, kept_out)


def stays(
    connection: Connection, shop: Shop, member_id: int, key: str = "", limit: int | None = None
) -> list[tuple[str, Stay]]:
    """A member's enrolments in one journey or all, the newest first: (journey, stay); two statements."""
    e, v = enrolments.c, enrolment_events.c
    query = select(enrolments).where(e.shop_id == shop.shop_id, e.member_id == member_id)
    if key:
        query = query.where(e.journey_key == key)
    rows = connection.execute(query.order_by(e.enrolled_at.desc(), e.enrolment_id.desc()).limit(limit)).all()
    told: dict[int, list[Happening]] = defaultdict(list)
    events = select(enrolment_events).where(
        v.shop_id == shop.shop_id, v.enrolment_id.in_([row.enrolment_id for row in rows])
    )
    for row in connection.execute(events.order_by(v.enrolment_id, v.seq)):
        happened = (row.at, row.what, row.step_key, row.to_step, row.due_at, row.reason, row.detail)
        told[row.enrolment_id].append(Happening(*happened))
    return [(row.journey_key, _stay_of(row, told[row.enrolment_id])) for row in rows]


def _stay_of(row: Any, told: list[Happening]) -> Stay:
    inside = row.state == ending.ACTIVE
    return Stay(
        row.enrolment_id,
        row.occasion,
        row.cause,
        row.version,
        row.state,
        row.step_key,
        row.phase,
        row.due_at if inside and row.phase != ending.SENT else None,
        row.end_reason,
        row.enrolled_at,
        row.ended_at,
        tuple(told),
    )


def _message(row: Any, step_key: str) -> Message:
    waits = row.state in [state.value for state in WAITING]
    return Message(
        row.touchpoint_id,
        row.step,
        step_key,
        row.occasion,
        row.state,
        row.reason,
        row.channel,
        row.due_at,
        row.next_try_at if waits else None,
        row.valid_until,
    )
