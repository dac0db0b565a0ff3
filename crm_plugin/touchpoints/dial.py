"""The member's own dial: how much marketing they want, and none before a day. Messages about their own order are not concerned."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, select

from crm_plugin.clock import require_aware
from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.ids import new_id
from crm_plugin.phrases import phrase
from crm_plugin.rules.trigger_kinds import read_whole
from crm_plugin.rules.triggers import BIRTHDAY
from crm_plugin.store import member_dials, members
from crm_plugin.store.events import raise_event
from crm_plugin.store.lists import among
from crm_plugin.store.tenants import shop_by_id
from crm_plugin.store.upserts import insert_into
from crm_plugin.touchpoints.journey import Journey

ALL, MONTHLY, ONLY_BIRTHDAY = "all", "monthly", "birthday"
FREQUENCIES = (ALL, MONTHLY, ONLY_BIRTHDAY)
# The kind of member event that is kept of each turn, with what was chosen before and after.
TURNED = "dial_turned"
# What a month is here: any thirty days.
MONTH = timedelta(days=30)
PER_MONTH = (1, 30)
LONGEST_SNOOZE = timedelta(days=366)


_d = member_dials.c
_DIALS: Select[Any] = select(_d.member_id, _d.frequency, _d.per_month, _d.snooze_until).where(
    _d.shop_id == bindparam("b_shop"), among(_d.member_id, "b_ids")
)


@dataclass(frozen=True, slots=True)
class Dial:
    """What one member chose; `per_month` only with monthly."""

    frequency: str = ALL
    per_month: int | None = None
    snooze_until: datetime | None = None

    def allows(self, journey: Journey) -> bool:
        """Whether the member wants this journey at all."""
        return self.frequency != ONLY_BIRTHDAY or journey.trigger.type == BIRTHDAY

    def as_dict(self) -> dict[str, Any]:
        until = self.snooze_until
        return {
            "frequency": self.frequency,
            "per_month": self.per_month,
            "snooze_until": until.isoformat() if until else None,
        }


def load(connection: Connection, shop_id: int, member_ids: Collection[int]) -> dict[int, Dial]:
    """The dials of these members; who never turned one is left out."""
    theirs = {"b_shop": shop_id, "b_ids": sorted(member_ids)}
    return {row.member_id: _dial(row) for row in connection.execute(_DIALS, theirs)}


def of(connection: Connection, shop_id: int, member_id: int) -> Dial:
    """One member's dial."""
    return load(connection, shop_id, [member_id]).get(member_id, Dial())


def turn(
    connection: Connection,
    shop_id: int,
    member_id: int,
    now: datetime,
    *,
    frequency: str | None = None,
    per_month: int | None = None,
    snooze_until: datetime | None = None,
    awake: bool = False,
    source: str,
) -> Dial:
    """Keep what a member chose; what is None stays as it was, `awake` ends a pause. `source` says who wrote it: link, merchant.

    Raises: InvalidInput for what cannot be chosen, NotFound for a member who is not there.
    """
    m = members.c
    if connection.execute(select(m.member_id).where(m.shop_id == shop_id, m.member_id == member_id)).first() is None:
        raise NotFound(phrase("There is no member %(member_id)s in this shop.", member_id=member_id))
    before = of(connection, shop_id, member_id)
    chosen = _checked(before, frequency, per_month, snooze_until, now)
    if awake:
        chosen = Dial(chosen.frequency, chosen.per_month, None)
    values = {
        "frequency": chosen.frequency,
        "per_month": chosen.per_month,
        "snooze_until": chosen.snooze_until,
        "source": source,
        "updated_at": now,
    }
    connection.execute(
        insert_into(connection, member_dials)
        .values(shop_id=shop_id, member_id=member_id, **values)
        .on_conflict_do_update(index_elements=["shop_id", "member_id"], set_=values)
    )
    if chosen != before:
        told = {"before": before.as_dict(), "after": chosen.as_dict(), "source": source}
        shop = shop_by_id(connection, shop_id)
        raise_event(connection, shop, TURNED, member_id, now, subject=str(new_id()), payload=told)
    return chosen


def _checked(
    before: Dial, frequency: str | None, per_month: int | None, snooze_until: datetime | None, now: datetime
) -> Dial:
    wanted = frequency if frequency is not None else MONTHLY if per_month is not None else before.frequency
    if wanted not in FREQUENCIES:
        raise InvalidInput(
            phrase("There is no frequency %(told)r.", told=wanted),
            field="frequency",
            hint=phrase("Use one of: %(names)s.", names=list(FREQUENCIES)),
        )
    count = (per_month if per_month is not None else before.per_month) if wanted == MONTHLY else None
    if wanted == MONTHLY:
        read_whole(count, "per_month", *PER_MONTH)
    if snooze_until is not None and not now < require_aware(snooze_until) <= now + LONGEST_SNOOZE:
        raise InvalidInput(
            phrase("A pause ends in the future, within a year."),
            field="snooze_until",
            hint=phrase("Who wants nothing for good unsubscribes."),
        )
    return Dial(wanted, count, snooze_until if snooze_until is not None else before.snooze_until)


def _dial(row: Row[Any]) -> Dial:
    return Dial(row.frequency, row.per_month, row.snooze_until)
