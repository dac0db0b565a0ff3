"""What is still to come: a waiting message as it would be sent now, and what the days ahead bring to one member."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from crm_plugin.clock import from_day_number, is_known_zone
from crm_plugin.errors import NotFound, RenderError
from crm_plugin.phrases import phrase
from crm_plugin.store import enrolments, touchpoints
from crm_plugin.store.base import from_micros
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch as batches
from crm_plugin.touchpoints import senders
from crm_plugin.touchpoints.batch import Batch
from crm_plugin.touchpoints.compose import compose
from crm_plugin.touchpoints.due import Asked, between
from crm_plugin.touchpoints.gate import Verdict, address_of, judge
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.policy import Policy, policy_of
from crm_plugin.touchpoints.relevance import said_before
from crm_plugin.touchpoints.render import Rendered
from crm_plugin.touchpoints.states import Reason, State

# Further ahead nobody asks, and much will have changed.
DAYS = 90


@dataclass(frozen=True, slots=True)
class Preview:
    """A message as it would be now. `problem` says why it cannot be rendered; the verdict, whether it would go out now."""

    message: Rendered | None
    problem: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Expected:
    """One message that a member will get if nothing changes; with a reason, one that will be held back."""

    journey_key: str
    journey_title: Mapping[str, str]
    occasion_on: date
    at: datetime
    channel: str
    reason: str
    # They come into a journey of several steps then: what it sends, and when, depends on its steps.
    comes_in: bool = False


def preview(
    connection: Connection, shop: Shop, box: SecretBox, public_url: str, touchpoint_id: int, now: datetime
) -> Preview:
    """A touchpoint rendered as if it left now; nothing is written. Raises: NotFound."""
    columns = touchpoints.c
    row = connection.execute(
        select(touchpoints).where(columns.shop_id == shop.shop_id, columns.touchpoint_id == touchpoint_id)
    ).first()
    if row is None:
        raise NotFound(phrase("There is no message %(touchpoint_id)s in this shop.", touchpoint_id=touchpoint_id))
    known = batches.load(connection, shop, [row], now)
    policy = policy_of(shop)
    verdict = judge(row, known, policy, now)
    if row.journey_key not in known.journeys or not row.channel:
        return Preview(None, "", verdict)
    try:
        _message, made = compose(row, known, shop, policy, box, public_url)
    except RenderError as error:
        return Preview(None, str(error), verdict)
    return Preview(made, "", verdict)


def expected(connection: Connection, shop: Shop, member_id: int, now: datetime, days: int = DAYS) -> list[Expected]:
    """What the journeys that run will plan for one member in the days ahead, the next first.

    Judged as things stand now, by the guards that are asked again when it is sent. Raises: NotFound.
    """
    nothing = _Occasion("", member_id, now.date(), None, "", now, now, now)
    known = batches.load(connection, shop, [nothing], now)
    if member_id not in known.members:
        raise NotFound(phrase("There is no member %(member_id)s in this shop.", member_id=member_id))
    policy = policy_of(shop)
    running = [journey for journey in known.journeys.values() if journey.runs]
    until = now + timedelta(days=days)
    fresh = [
        one
        for journey in running
        for one in _occasions(connection, shop, journey, known.members[member_id].zone, member_id, now, until)
    ]
    member, there = known.members[member_id], senders.available(connection, shop)
    reachable = [
        replace(one, address=address_of(channel, member, there.get(channel, "")))
        for one in fresh
        for channel in known.journeys[one.journey_key].channels
    ]
    known = batches.load(connection, shop, reachable, now)
    found = [_judged(one, known, policy, there) for one in fresh if _is_planned(one, known)]
    return sorted(found, key=lambda one: (one.at, one.journey_key))


@dataclass(frozen=True, slots=True)
class _Occasion:
    """A touchpoint that is not planned yet; the guards read it as they read a row."""

    journey_key: str
    member_id: int
    occasion_on: date
    subject_order_id: int | None
    occasion: str
    due_at: datetime
    next_try_at: datetime
    valid_until: datetime
    channel: str = ""
    adapter: str = ""
    address: str = ""
    # None yet: whatever is planned already goes before it.
    touchpoint_id: int = 0


def _occasions(
    connection: Connection, shop: Shop, journey: Journey, zone: str, member_id: int, now: datetime, until: datetime
) -> Iterator[_Occasion]:
    """What falls due between two instants and has no touchpoint yet: what the planner finds, for one member."""
    zones = frozenset({zone}) if is_known_zone(zone) else frozenset()
    found = between(Asked(shop, journey, zones, connection.dialect.name == "sqlite", member_id), now, until)
    if found is None:
        return
    planned = _planned(connection, shop, journey, member_id)
    for row in connection.execute(found):
        if row.occasion not in planned:
            yield _Occasion(
                journey.key,
                member_id,
                from_day_number(row.occasion_on),
                row.subject_order_id,
                row.occasion,
                from_micros(row.due_at),
                from_micros(row.next_try_at),
                from_micros(row.valid_until),
            )


def _planned(connection: Connection, shop: Shop, journey: Journey, member_id: int) -> set[str]:
    t = touchpoints.c
    query = select(t.occasion).where(
        t.shop_id == shop.shop_id, t.journey_key == journey.key, t.member_id == member_id, t.step == 0
    )
    e = enrolments.c
    inside = select(e.cause).where(e.shop_id == shop.shop_id, e.member_id == member_id, e.journey_key == journey.key)
    return {*connection.execute(query).scalars(), *connection.execute(inside).scalars()}


def _is_planned(one: _Occasion, known: Batch) -> bool:
    """Whether the planner makes a touchpoint of it: for the audience, and for what has not been said."""
    wanted = known.in_audience.get(one.journey_key)
    if wanted is not None and one.member_id not in wanted:
        return False
    return not said_before(one, known.journeys[one.journey_key], known)  # type: ignore[arg-type]


def _judged(one: _Occasion, known: Batch, policy: Policy, there: Mapping[str, str]) -> Expected:
    """The first channel of the journey that is open, or why none is: in the planner's order of reasons."""
    journey = known.journeys[one.journey_key]
    refused: set[str] = set()
    for channel in journey.channels:
        if channel not in there:
            continue
        adapter = there[channel]
        address = address_of(channel, known.members[one.member_id], adapter)
        row: Any = replace(one, channel=channel, adapter=adapter, address=address)
        verdict: Any = judge(row, known, policy, one.next_try_at)
        if verdict.open or verdict.state is State.PLANNED:
            # What the planner sets for all of a zone the guards put off for this member: the law of their place, a day of rest, a snooze.
            later = verdict.again_at if verdict.reason in (Reason.QUIET_HOURS, Reason.MEMBER_DIAL) else None
            return _expected(replace(one, next_try_at=later or one.next_try_at), journey, channel, "")
        refused.add(str(verdict.reason))
    order = (Reason.SUPPRESSED, Reason.NO_CONSENT, Reason.NO_ADDRESS)
    first = next((reason for reason in order if reason in refused), min(refused, default=Reason.NO_SENDER))
    return _expected(one, journey, "", str(first))


def _expected(one: _Occasion, journey: Journey, channel: str, reason: str) -> Expected:
    return Expected(
        one.journey_key, journey.title, one.occasion_on, one.next_try_at, channel, reason, bool(journey.flow.steps)
    )
