"""What a journey would do in the days ahead, saved or not: said before anything is switched."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from babel.dates import format_skeleton
from flask_babel import get_locale
from sqlalchemy import Connection

from crm_plugin.analytics.members import count as count_members
from crm_plugin.clock import local_day, zone
from crm_plugin.rules import count as count_rule
from crm_plugin.rules.called import called
from crm_plugin.rules.trigger_days import next_day
from crm_plugin.rules.trigger_members import FIXED_DATE
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.outlook import Outlook, outlook
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.senders import available
from crm_plugin.web import journey_words

AHEAD = timedelta(days=7)
# What a journey did is counted over so many days, which its pages name.
LATELY = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Day:
    """One of the days ahead."""

    name: str
    messages: int
    share: int


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a journey would do, saved or not: the sentence, the audience, the days ahead."""

    sentence: str
    audience: int
    everyone: bool
    coming: Outlook
    days: tuple[Day, ...]
    night: str
    unreachable: bool
    # How many messages a journey of several steps may send; 0 without steps. What is to come counts those who come in.
    sends: int
    # When a journey about a day that is the same for all speaks next; None for every other, and where that day is over for good.
    next_on: date | None
    fixed: bool


def rehearse(connection: Connection, shop: Shop, journey: Journey, now: datetime, public_url: str) -> Rehearsal:
    """What the journey would do from now on, on or off; nothing is written."""
    today = local_day(now, shop.timezone)
    coming = outlook(connection, shop, journey, now, now + AHEAD)
    days = [today + timedelta(days=ahead) for ahead in range(AHEAD.days + 1)]
    fullest = max((coming.on(day) for day in days), default=0) or 1
    rule = journey.audience_text
    return Rehearsal(
        sentence=journey_words.sentence(journey, called(connection, shop)),
        audience=_count(connection, shop, rule, today) if coming.problem is None else 0,
        everyone=not rule,
        coming=coming,
        days=tuple(Day(_day_name(day), coming.on(day), round(100 * coming.on(day) / fullest)) for day in days),
        night=journey_words.night(journey, policy_of(shop)),
        unreachable=not public_url and journey.kind == "marketing" and "email" in journey.channels,
        sends=len(journey.flow.sends),
        next_on=_next_on(shop, journey, now),
        fixed=journey.trigger.type == FIXED_DATE,
    )


def _next_on(shop: Shop, journey: Journey, now: datetime) -> date | None:
    if journey.trigger.type != FIXED_DATE:
        return None
    here = now.astimezone(zone(shop.timezone))
    # Whose hour of today is over is not written to today.
    return next_day(journey.trigger, here.date() + timedelta(days=here.time() >= journey.send_at))


def stamp(connection: Connection, shop: Shop, now: datetime) -> Hashable:
    """What an outlook hangs on besides the members: a change of it shows at once, also where the outlook is kept for a while."""
    running = [one for one in all_journeys(connection, shop.shop_id) if one.runs]
    return (
        local_day(now, shop.timezone),
        str(shop.settings),
        tuple(available(connection, shop).items()),
        tuple((one.key, one.version, one.enabled_at) for one in running),
    )


def _count(connection: Connection, shop: Shop, rule: str, today: date) -> int:
    return count_rule(connection, shop, rule, today) if rule else count_members(connection, shop)


def _day_name(day: date) -> str:
    return str(format_skeleton("MMMEd", day, locale=get_locale()))
