"""Journeys that speak to the same member on the same day of one occasion, such as two birthday greetings: told at publishing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, literal, select

from crm_plugin.clock import local_day
from crm_plugin.errors import RuleError
from crm_plugin.phrases import phrase
from crm_plugin.rules.sql import ACTIVE
from crm_plugin.rules.triggers import params_of
from crm_plugin.store import members
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.audience import meant
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.recipes import recipes
from crm_plugin.touchpoints.steps.document import Step
from crm_plugin.touchpoints.steps.kinds import minutes_of

_DAY = 24 * 60


def doubled(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> list[str]:
    """A sentence for each other journey that is on and speaks on a day on which this one does, to somebody whom both mean."""
    own = speaks_on(journey)
    found: list[str] = []
    for other in all_journeys(connection, shop.shop_id):
        if other.key == journey.key or not other.enabled:
            continue
        if frozenset((other.key, journey.key)) in _instead() and other.trigger.type != journey.trigger.type:
            found.append(
                phrase("The journey %(other)s is on and says the same: only one of the two should be.", other=other.key)
            )
            continue
        if _occasion(other) != _occasion(journey):
            continue
        if (days := own & speaks_on(other)) and _share_members(connection, shop, journey, other, now):
            told = [f"{day:+d}" if day else "0" for day in sorted(days)]
            found.append(
                phrase(
                    "The journey %(other)s is on and speaks to the same members on the same occasion, on the same day "
                    "(days from it: %(days)s).",
                    other=other.key,
                    days=told,
                )
            )
    return found


@cache
def _instead() -> frozenset[frozenset[str]]:
    """Recipes of which one takes the place of the other."""
    return frozenset(frozenset((one.key, one.replaces)) for one in recipes() if one.replaces)


def speaks_on(journey: Journey) -> frozenset[int]:
    """Days from the occasion on which it speaks for certain; what waits for an event or a weekday may come on any, and is left out."""
    if not journey.flow.steps:
        return frozenset({journey.trigger.days})
    return frozenset(_days(journey.flow.steps, journey.trigger.days * _DAY))


def _days(steps: Sequence[Step], minutes: int | None) -> Iterator[int]:
    """The days on which the messages of these steps leave; None is a time that is not known."""
    at = minutes
    for step in steps:
        if step.kind == "send" and at is not None:
            yield at // _DAY
        if step.kind == "wait":
            at = _after(step, at)
        for inner in step.lists.values():
            yield from _days(inner, at)
        if any(one.kind == "wait" for inner in step.lists.values() for one in inner):
            # Whoever comes out of the lists did not all wait as long.
            at = None


def _after(step: Step, at: int | None) -> int | None:
    until = step.told.get("until", {})
    if "occasion" in until:
        return int(until["occasion"]) * _DAY
    if until or "event" in step.told or at is None:
        return None
    return at + minutes_of(step.told)


def _occasion(journey: Journey) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What it speaks of: its trigger without the days."""
    told = {name: str(value) for name, value in params_of(journey.trigger).items() if name != "days"}
    return journey.trigger.type, tuple(sorted(told.items()))


def _share_members(connection: Connection, shop: Shop, one: Journey, other: Journey, now: datetime) -> bool:
    """Whether both mean some member; an audience that cannot be asked means nobody."""
    m = members.alias("m").c
    as_of = local_day(now, shop.timezone)
    try:
        both = [meant(connection, shop, journey, as_of, m.member_id) for journey in (one, other)]
    except RuleError:
        return False
    query = select(literal(1)).where(m.shop_id == shop.shop_id, m.state == ACTIVE, *both).limit(1)
    return connection.execute(query).first() is not None
