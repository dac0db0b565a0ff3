"""Whether what a touchpoint was planned for still stands, asked again just before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from crm_plugin.birthdays import is_kept_on
from crm_plugin.clock import day_number
from crm_plugin.records import OrderStatus
from crm_plugin.rules.trigger_days import anniversaries, everybody, leap_day
from crm_plugin.rules.trigger_kinds import MEMBER, ORDER, PAUSE
from crm_plugin.rules.trigger_members import FIRST_ORDER
from crm_plugin.rules.triggers import BIRTHDAY, LAPSE, POST_PURCHASE, kind_of
from crm_plugin.touchpoints.batch import Batch
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps.ending import INSIDE


def still_relevant(row: Row[Any], journey: Journey, batch: Batch) -> bool:
    """Whether it stands: the birthday, the last order, the order itself, and the audience."""
    wanted = batch.in_audience.get(journey.name)
    if wanted is not None and row.member_id not in wanted:
        return False
    if batch.occasion_of(row).startswith(INSIDE):
        # Whoever was taken in by hand came for no occasion of the trigger.
        return True
    if kind_of(journey.trigger).rechecked:
        return (row.member_id, batch.occasion_of(row)) in batch.holding.get(journey.name, set())
    return STANDS[journey.trigger.type](row, journey, batch)


def said_before(row: Row[Any], journey: Journey, batch: Batch) -> bool:
    """Whether the journey has said it already: of this pause for another order, or of this order to somebody else."""
    return any(_SAID[name](row, journey, batch) for name in kind_of(journey.trigger).once)


def _birthday(row: Row[Any], journey: Journey, batch: Batch) -> bool:
    born = batch.members[row.member_id].birth_md
    return born is not None and is_kept_on(row.occasion_on, born, leap_day(journey.trigger))


def _anniversary(row: Row[Any], journey: Journey, batch: Batch) -> bool:
    """Whether the day is still kept on that of the occasion."""
    facts = batch.facts.get(row.member_id)
    of_order = journey.trigger.get("of") == FIRST_ORDER
    since = (facts.first_order_on if facts else None) if of_order else batch.members[row.member_id].joined_on
    kept = anniversaries(journey.trigger, row.occasion_on + timedelta(days=journey.trigger.days))
    return since is not None and any(day_number(since) == number for number, _occasion, _on in kept)


def _date(row: Row[Any], journey: Journey, batch: Batch) -> bool:
    """Whether the day that was meant is still the one."""
    kept = everybody(journey.trigger, row.occasion_on + timedelta(days=journey.trigger.days))
    return any(occasion == batch.occasion_of(row) for _number, occasion, _on in kept)


def _gift(row: Row[Any], _journey: Journey, batch: Batch) -> bool:
    """Whether the member still wants to be reminded, of that day."""
    told = batch.subjects.reminder(batch.occasion_of(row))
    return told is not None and told.member_id == row.member_id and is_kept_on(row.occasion_on, told.month_day)


def _meant(_row: Row[Any], _journey: Journey, _batch: Batch) -> bool:
    """Whoever is meant, which is asked already."""
    return True


def _pause(row: Row[Any], _journey: Journey, batch: Batch) -> bool:
    facts = batch.facts.get(row.member_id)
    return facts is not None and facts.last_order_on == row.occasion_on


def _order(row: Row[Any], _journey: Journey, batch: Batch) -> bool:
    order = batch.orders.get(row.subject_order_id)
    if order is None or order.member_id != row.member_id:
        return False
    return bool(order.counts) and order.status != OrderStatus.REFUNDED


# By type of trigger, where it is not looked for again by the SQL that planned it.
STANDS: dict[str, Callable[[Row[Any], Journey, Batch], bool]] = {
    BIRTHDAY: _birthday,
    LAPSE: _pause,
    POST_PURCHASE: _order,
    "anniversary": _anniversary,
    "fixed_date": _date,
    "campaign": _meant,
    "tier_at_risk": _meant,
    "gift_reminder": _gift,
}


def _said_of_pause(row: Row[Any], journey: Journey, batch: Batch) -> bool:
    facts = batch.facts.get(row.member_id)
    sent = batch.lapses.get((journey.key, row.member_id), {})
    since = facts.last_order_at if facts is not None else None
    return since is not None and any(at > since for which, at in sent.items() if which != row.occasion)


def _said_of_order(row: Row[Any], journey: Journey, batch: Batch) -> bool:
    return bool(batch.told.get((journey.key, row.subject_order_id or 0), set()) - {row.member_id})


def _said_to_member(row: Row[Any], journey: Journey, batch: Batch) -> bool:
    return bool(batch.spoken.get((journey.key, row.member_id), set()) - {row.occasion})


_SAID: dict[str, Callable[[Row[Any], Journey, Batch], bool]] = {
    PAUSE: _said_of_pause,
    ORDER: _said_of_order,
    MEMBER: _said_to_member,
}
