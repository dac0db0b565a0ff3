"""Why a journey did not take a member in: what was so on a day, worked out of stored rows, also months later.

Its trigger is asked for the member's occasions of that time, and its audience as of the day on which one fell due. What says not since when
(names, tags, consents, lists) counts as it is now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from crm_plugin.birthdays import birthday_of
from crm_plugin.clock import at_local, local_day
from crm_plugin.errors import InvalidInput, RuleError
from crm_plugin.phrases import joined, phrase
from crm_plugin.rules.book import resolved
from crm_plugin.rules.explain import Explanation, explain_from, snapshot_of
from crm_plugin.rules.nodes import Node
from crm_plugin.store import enrolments, member_facts, members, touchpoints
from crm_plugin.store.base import from_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.audience import rule_of
from crm_plugin.touchpoints.due import Asked, between
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps.flow import EVERY_DAYS, ONCE

NOT_ON, UNKNOWN, GONE, NO_OCCASION, BEEN, AUDIENCE, BROKEN, COMES, CHANGED = (
    "not_on", "not_known_yet", "member_gone", "no_occasion", "was_in_before", "audience", "audience_broken", "to_come", "changed_since",
)  # fmt: skip
# Days that may be asked for: orders and birthdays are worked out around them.
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2100, 12, 31)
# How far back is looked where no day was asked for, and how many occasions are told.
LONGEST = timedelta(days=366)
MOST = 5


@dataclass(frozen=True, slots=True)
class Outside:
    """One reason. `due_at` is when the occasion fell due; `rule` and `explained` are the audience as of that day, where that decided."""

    cause: str
    text: str
    due_at: datetime | None = None
    rule: Node | None = None
    explained: Explanation | None = None

    def as_dict(self) -> dict[str, Any]:
        told = {} if self.explained is None else {"as_of": str(self.explained.as_of), **self.explained.as_dict()}
        return {"cause": self.cause, "text": self.text, **({"audience": told} if told else {})}


def require_day(on: date) -> date:
    """The day, where it may be asked for. Raises: InvalidInput."""
    if FIRST_DAY <= on <= LAST_DAY:
        return on
    raise InvalidInput(phrase("Ask for a day from %(first)s to %(last)s.", first=FIRST_DAY, last=LAST_DAY), field="on")


def outside(
    connection: Connection, shop: Shop, journey: Journey, member_id: int, now: datetime, on: date | None = None
) -> tuple[Outside, ...]:
    """Why the member did not come in on a day (the shop's), or since the journey is on; the newest occasion first.

    Empty where every occasion of that time led to a stay or a message. Raises: InvalidInput for a day that `require_day` refuses.
    """
    m = members.c
    member = connection.execute(select(members).where(m.shop_id == shop.shop_id, m.member_id == member_id)).one()
    if on is None:
        since, until = max(journey.enabled_at or now - LONGEST, now - LONGEST), now
    else:
        since = at_local(require_day(on), time(), shop.timezone)
        until = at_local(on + timedelta(days=1), time(), shop.timezone)
    if (first := _before_all(shop, journey, member, until)) is not None:
        return (first,)
    due = _occasions(connection, shop, journey, member, since, until)
    if not due:
        return (_nothing(connection, shop, journey, member),)
    spoken = _spoken(connection, shop, journey, member_id)
    open_ = [row for row in due if row.occasion not in spoken]
    return tuple(_kept_out(connection, shop, journey, member_id, row, now) for row in open_[:MOST])


def _before_all(shop: Shop, journey: Journey, member: Row[Any], until: datetime) -> Outside | None:
    """What keeps everybody out, or the member from everything."""
    if journey.enabled_at is None:
        return Outside(NOT_ON, phrase("The journey was never on."))
    if journey.enabled_at >= until:
        on = local_day(journey.enabled_at, shop.timezone)
        return Outside(NOT_ON, phrase("The journey was switched on (last) only on %(day)s.", day=on))
    if member.first_seen_at >= until:
        seen = local_day(member.first_seen_at, shop.timezone)
        return Outside(UNKNOWN, phrase("The member was not known here before %(day)s.", day=seen))
    if member.state != "active":
        return Outside(GONE, phrase("The member was deleted in the store."))
    return None


def _occasions(
    connection: Connection, shop: Shop, journey: Journey, member: Row[Any], since: datetime, until: datetime
) -> list[Row[Any]]:
    """What its trigger finds for the member between two instants by what is stored now, the newest first."""
    asked = Asked(shop, journey, frozenset({member.zone}), connection.dialect.name == "sqlite", member.member_id)
    found = between(asked, since, until)
    rows = [] if found is None else connection.execute(found).all()
    return sorted(rows, key=lambda row: -row.due_at)


def _spoken(connection: Connection, shop: Shop, journey: Journey, member_id: int) -> set[str]:
    """The occasions that led to a stay or a message: what became of them is told by those."""
    e, t = enrolments.c, touchpoints.c
    own = (e.shop_id == shop.shop_id, e.member_id == member_id, e.journey_key == journey.key)
    sent = (t.shop_id == shop.shop_id, t.member_id == member_id, t.journey_key == journey.key)
    return {
        *connection.execute(select(e.cause).where(*own)).scalars(),
        *connection.execute(select(t.occasion).where(*sent)).scalars(),
    }


def _kept_out(
    connection: Connection, shop: Shop, journey: Journey, member_id: int, row: Row[Any], now: datetime
) -> Outside:
    """Why an occasion that fell due led to nothing."""
    due_at = from_micros(row.due_at)
    day = local_day(due_at, shop.timezone)
    if due_at > now:
        return Outside(COMES, phrase("It falls due on %(day)s.", day=day), due_at)
    if journey.enabled_at is not None and due_at <= journey.enabled_at:
        return Outside(NOT_ON, phrase("It fell due on %(day)s, before the journey was on.", day=day), due_at)
    if (been := _been(connection, shop, journey, member_id, due_at)) is not None:
        return Outside(BEEN, been, due_at)
    try:
        rule = rule_of(journey)
        asked = None if rule is None else resolved(connection, shop.shop_id, rule)
    except RuleError as error:
        return Outside(BROKEN, phrase("Its audience cannot be asked: %(problem)s", problem=error.message), due_at)
    if asked is not None:
        told = explain_from(snapshot_of(connection, shop, member_id, day), asked, day)
        if not told.matches:
            text = phrase("It fell due on %(day)s, and the audience did not hold for the member on that day.", day=day)
            return Outside(AUDIENCE, text, due_at, asked, told)
    return Outside(
        CHANGED,
        phrase(
            "It fell due on %(day)s, and by what is stored now the member would have come in: what it goes by came or was changed "
            "after it was worth reading, or no round was taken in that time.",
            day=day,
        ),
        due_at,
    )


def _been(connection: Connection, shop: Shop, journey: Journey, member_id: int, due_at: datetime) -> str | None:
    """What re-entry says of an earlier stay."""
    if journey.flow.reentry not in (ONCE, EVERY_DAYS):
        return None
    e = enrolments.c
    own = (e.shop_id == shop.shop_id, e.member_id == member_id, e.journey_key == journey.key)
    query = select(e.enrolled_at).where(*own, e.enrolled_at <= due_at).order_by(e.enrolled_at.desc()).limit(1)
    at = connection.execute(query).scalar()
    if at is None or (journey.flow.every_days and at <= due_at - timedelta(days=journey.flow.every_days)):
        return None
    day = local_day(at, shop.timezone)
    if journey.flow.reentry == ONCE:
        return phrase("The member came in on %(day)s, and nobody comes in a second time.", day=day)
    days = journey.flow.every_days
    return phrase("The member came in on %(day)s, and nobody comes in again within %(days)s days.", day=day, days=days)


def _nothing(connection: Connection, shop: Shop, journey: Journey, member: Row[Any]) -> Outside:
    """That its trigger found nothing, and what is known of what it looks at."""
    told = phrase("Nothing that it speaks of fell due for the member in that time.")
    return Outside(NO_OCCASION, joined(told, *_known(connection, shop, journey, member)))


def _known(connection: Connection, shop: Shop, journey: Journey, member: Row[Any]) -> Iterator[str]:
    kind = journey.trigger.type
    if kind == "birthday":
        if member.birth_md is None:
            yield phrase("No birthday is known.")
        else:
            born = birthday_of(member.birth_md)
            if born.lunar:
                yield phrase("The birthday is %(day)s (month and day) by the lunar calendar.", day=born.month_and_day)
            else:
                yield phrase("The birthday is %(day)s (month and day).", day=born.month_and_day)
    elif kind == "joined" or (kind == "anniversary" and journey.trigger.get("of") != "first_order"):
        if member.joined_on is None:
            yield phrase("The day of joining is not known.")
        else:
            yield phrase("The member joined on %(day)s.", day=member.joined_on)
    elif kind in _OF_ORDERS:
        f = member_facts.c
        own = (f.shop_id == shop.shop_id, f.member_id == member.member_id)
        last = connection.execute(select(f.last_order_on).where(*own)).scalar()
        if last is None:
            yield phrase("No order that counts is known.")
        else:
            yield phrase("The last order that counts is of %(day)s.", day=last)
    elif kind in _NOTED:
        yield _NOTED[kind]


_OF_ORDERS = frozenset(
    {
        "anniversary", "lapse", "late_by", "post_purchase", "order_placed", "order_paid", "order_shipped", "order_delivered",
        "first_order", "bought", "refund", "replenishment", "tier_near",
    }
)  # fmt: skip
_NO_EVENT = phrase("No such event was noted, or it was withdrawn.")
_NOTED = {
    "segment_entered": phrase("The member did not come into the segment, or left it again."),
    "segment_left": phrase("The member did not leave the segment, or came back."),
    "tier_up": phrase("The member did not rise to a level that they still hold."),
    "tier_down": phrase("The member did not fall to a level that they still hold."),
    "tier_at_risk": phrase("No level that the member holds ends then."),
    "complaint": _NO_EVENT,
    "points_expiring": _NO_EVENT,
    "coupon_expiring": _NO_EVENT,
    "event": _NO_EVENT,
    "gift_reminder": phrase("The member named no such day to be reminded of."),
    "abandoned_checkout": phrase("No checkout was left, or it was finished, or an order came."),
}
